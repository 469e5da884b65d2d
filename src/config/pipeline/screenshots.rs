//! `Pipeline.screenshots`: limits of downloads (screenshots contract).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::schema::section;

section! {
    /// Downloads of screenshots.
    pub struct ScreenshotDownloads {
        /// Whether images may be downloaded by plain http: `false`, `withoutTickets` (images that need no login) or
        /// `true` (tickets and sessions go over the network in clear text, as Butler SOS sends them; not advised).
        "allowHttp" => allow_http: AllowHttp = one_of("false", AllowHttp::NAMES);
        /// Ports that images may come from. Empty: every port of https, and port 80 of http where that is allowed.
        /// Naming them is better: other services of these hosts are then out of reach.
        "allowedPorts" => allowed_ports: Vec<u16> = list_of_ports();
        /// Where a session goes when a redirect leads to another allowed host: `allowedHosts` (along, as Butler SOS
        /// does it) or `ownHost` (only where its cookie belongs, as in a browser).
        "carrySessions" => carry_sessions: CarrySessions = one_of("allowedHosts", CarrySessions::NAMES);
        /// For whom tickets are asked when the event names the user (`auth.mode: userTicket`).
        "ticketUsers" => ticket_users: TicketUsers = group::<TicketUsers>();
        /// Hops of one walk.
        "redirectsMax" => redirects_max: u32 = int(5, 0..=50);
        /// Largest image.
        "bytesMax" => bytes_max: u64 = bytes("50 MiB", 1_024..=4_294_967_296);
        /// After how long a download that keeps failing is given up. Qlik's temporary content is gone after a
        /// day.
        "giveUpAfter" => give_up_after_seconds: u64 = seconds("24h", 0..=31_536_000);
        /// Downloads waiting for a later try.
        "retryEntriesMax" => retry_entries_max: usize = int(100_000, 1..=10_000_000);
        /// Downloads at a time. `Pipeline.actors.redirectWalker.concurrency` wins when it is given.
        "concurrency" => concurrency: usize = int(16, 1..=1_024);
        /// Downloads at a time from one host. The last quarter is for users who have none under way there, as the last
        /// quarter of all is for hosts that have none.
        "perHostConcurrency" => per_host_concurrency: usize = int(8, 1..=1_024);
        /// Downloads that are taken up and wait for their turn, pause or are under way. The rest waits in the journal.
        "waitingEntriesMax" => waiting_entries_max: usize = int(2_048, 1..=100_000);
        /// Sessions of one user at a time, over all virtual proxies. For one more the least recently used one that no
        /// download uses is ended. Qlik Sense locks a user out who has more than five. 0: no bound.
        "sessionsPerUserMax" => sessions_per_user_max: usize = int(3, 0..=1_000);
        /// Addresses of hosts that the resolver does not know or knows otherwise: `name: address`.
        "resolve" => resolve: BTreeMap<String, String> = map_of_text();
    }
}

section! {
    /// Users that may have tickets. An entry is a directory, or a user as DIRECTORY\\ID; case does not matter.
    pub struct TicketUsers {
        /// Nobody else has tickets. Empty: everybody who is not denied.
        "allow" => allow: Vec<String> = list_of_text();
        /// These have none.
        "deny" => deny: Vec<String> = list_of_text();
        /// Whether the directory INTERNAL, Qlik Sense's own service accounts, is denied too.
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
