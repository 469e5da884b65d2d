//! `Pipeline.screenshots`: limits of downloads (screenshots contract).

use std::collections::BTreeMap;

use serde::Deserialize;

use butler_sos_settings::section;

section! {
    /// Downloads of screenshots.
    pub struct ScreenshotDownloads {
        /// Whether images can be downloaded over plain http: `false`, `withoutTickets` (images that need no login) or
        /// `true` (tickets and session cookies are sent in clear text, as in Butler SOS; not recommended).
        "allowHttp" => allow_http: AllowHttp = one_of("false", AllowHttp::NAMES);
        /// Allowed ports of images. Empty: every https port, and http port 80 if http is allowed. Set the ports to
        /// prevent access to other services of these hosts.
        "allowedPorts" => allowed_ports: Vec<u16> = list_of_ports();
        /// Where a session cookie is sent when a redirect leads to another allowed host: `allowedHosts` (to that host,
        /// as in Butler SOS) or `ownHost` (only to the host of the cookie, as in a browser).
        "carrySessions" => carry_sessions: CarrySessions = one_of("allowedHosts", CarrySessions::NAMES);
        /// Users for whom tickets are requested when the event names the user (`auth.mode: userTicket`).
        "ticketUsers" => ticket_users: TicketUsers = group::<TicketUsers>();
        /// Maximum number of redirects.
        "redirectsMax" => redirects_max: u32 = int(5, 0..=50);
        /// Maximum image size.
        "bytesMax" => bytes_max: u64 = bytes("50 MiB", 1_024..=4_294_967_296);
        /// Time after which a failing download is abandoned. Temporary content of Qlik Sense expires after a day.
        "giveUpAfter" => give_up_after_seconds: u64 = seconds("24h", 0..=31_536_000);
        /// Maximum number of downloads that wait for a retry.
        "retryEntriesMax" => retry_entries_max: usize = int(100_000, 1..=10_000_000);
        /// Concurrent downloads. `Pipeline.actors.redirectWalker.concurrency` overrides it.
        "concurrency" => concurrency: usize = int(16, 1..=1_024);
        /// Concurrent downloads from one host. The last quarter is reserved for users without a running download there,
        /// and the last quarter of all downloads for hosts without one.
        "perHostConcurrency" => per_host_concurrency: usize = int(8, 1..=1_024);
        /// Maximum number of downloads that are queued, paused or running. The others wait in the journal.
        "waitingEntriesMax" => waiting_entries_max: usize = int(2_048, 1..=100_000);
        /// Concurrent sessions of one user over all virtual proxies. Beyond it, the least recently used idle session is
        /// ended. Qlik Sense locks out a user with more than five sessions. 0: no limit.
        "sessionsPerUserMax" => sessions_per_user_max: usize = int(3, 0..=1_000);
        /// Addresses that override the resolver: `name: address`.
        "resolve" => resolve: BTreeMap<String, String> = map_of_text();
    }
}

section! {
    /// Users that may have tickets. An entry is a directory, or a user as DIRECTORY\\ID; case does not matter.
    pub struct TicketUsers {
        /// Only these users get tickets. Empty: every user who is not denied.
        "allow" => allow: Vec<String> = list_of_text();
        /// These users get no tickets.
        "deny" => deny: Vec<String> = list_of_text();
        /// Whether the directory INTERNAL, the service accounts of Qlik Sense, is also denied.
        "denyInternal" => deny_internal: bool = yes();
    }
}

/// What may be downloaded by plain http.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum AllowHttp {
    #[serde(rename = "false")]
    False,
    #[serde(rename = "withoutTickets")]
    WithoutTickets,
    #[serde(rename = "true")]
    True,
}

impl AllowHttp {
    pub const NAMES: &'static [&'static str] = &["false", "withoutTickets", "true"];
}

/// Where sessions go on redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum CarrySessions {
    #[serde(rename = "allowedHosts")]
    AllowedHosts,
    #[serde(rename = "ownHost")]
    OwnHost,
}

impl CarrySessions {
    pub const NAMES: &'static [&'static str] = &["allowedHosts", "ownHost"];
}
