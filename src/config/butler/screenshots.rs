//! `Butler-SOS.auditEvents.destination.screenshots`: images that events name (screenshots contract).

use serde::Deserialize;

use butler_sos_settings::section;

section! {
    /// Screenshots: images named by `screenshot.url.received` events, downloaded and kept.
    pub struct Screenshots {
        /// Whether images are downloaded.
        "enable" => enable: bool = no();
        /// Time limit of one download in milliseconds, including redirects.
        "downloadTimeoutMs" => download_timeout_ms: u64 = int(15_000, 100..=3_600_000);
        /// Allowed host names of images, including every host of a chain of redirects. Names only: no scheme, port or
        /// path. Empty: nothing is downloaded. The resolved addresses are not checked: list only names whose addresses
        /// nobody else can change.
        "allowedImageDownloadHosts" => allowed_image_download_hosts: Vec<String> = list_of_text();
        /// How downloads log in.
        "auth" => auth: Auth = group::<Auth>();
        /// Where images are kept; each target gets its own copy.
        "storageTargets" => storage_targets: Vec<StorageTarget> = list_of::<StorageTarget>();
        ignored "addInImageMetadata";
        ignored "crop";
    }
}

section! {
    /// How a download logs in.
    pub struct Auth {
        /// `none`, `qpsTicket` (always the same user) or `userTicket` (the user of the event).
        "mode" => mode: AuthMode = one_of("none", AuthMode::NAMES);
        /// The Qlik Sense proxy service that issues tickets.
        "qps" => qps: Qps = group::<Qps>();
        /// Sessions kept for later downloads.
        "sessionCache" => session_cache: SessionCache = group::<SessionCache>();
    }
}

/// How a download logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum AuthMode {
    #[serde(rename = "none")]
    None,
    #[serde(rename = "qpsTicket")]
    QpsTicket,
    #[serde(rename = "userTicket")]
    UserTicket,
}

impl AuthMode {
    pub const NAMES: &'static [&'static str] = &["none", "qpsTicket", "userTicket"];
}

section! {
    /// The Qlik Sense proxy service.
    pub struct Qps {
        /// Host name, as in the certificate.
        "host" => host: Option<String> = maybe_text();
        /// Port.
        "port" => port: u16 = remote_port(4243);
        /// With `qpsTicket`: the directory of the user.
        "userDirectory" => user_directory: Option<String> = maybe_text();
        /// With `qpsTicket`: the id of the user.
        "userId" => user_id: Option<String> = maybe_text();
        /// With `qpsTicket`: the prefix of the virtual proxy; empty for the default one.
        "virtualProxy" => virtual_proxy: Option<String> = maybe_text();
        /// Time limit of a ticket request in milliseconds.
        "ticketTimeoutMs" => ticket_timeout_ms: u64 = int(5_000, 100..=600_000);
        /// Name of the session cookie if it does not begin with `X-Qlik-Session`. Not known to Butler SOS.
        "sessionCookieName" => session_cookie_name: Option<String> = maybe_text();
    }
}

section! {
    /// Sessions kept for later downloads, in memory only.
    pub struct SessionCache {
        /// Whether they are kept.
        "enable" => enable: bool = no();
        /// Age at which a session is deleted, in seconds, counted from when it was made. Fractions are legal.
        "ttlSeconds" => ttl_seconds: f64 = float(120.0, 0.001..=2_147_483.0);
        /// Maximum number of sessions; the least recently used one is evicted.
        "maxEntries" => max_entries: u32 = int(100, 1..=1_000_000);
    }
}

section! {
    /// A place where images are kept.
    pub struct StorageTarget {
        /// Whether it is used.
        "enable" => enable: bool = no();
        /// `flat`: all files in one directory.
        "type" => kind: StorageKind = one_of("flat", &["flat"]);
        /// The directory.
        "directory" => directory: String = needed_text();
    }
}

/// How a storage target arranges its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum StorageKind {
    #[serde(rename = "flat")]
    Flat,
}
