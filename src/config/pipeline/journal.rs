//! `Pipeline.journal`: the durable log (delivery contract).

use serde::Deserialize;

use butler_sos_domain::streams::Stream;
use butler_sos_settings::section;

section! {
    /// The durable log between intake and destinations.
    pub struct Journal {
        /// Directory of its files. One server per directory.
        "directory" => directory: String = text("./data/journal");
        /// Milliseconds between two fsyncs; an event is safe after the next fsync.
        "commitIntervalMs" => commit_interval_ms: u64 = int(50, 1..=10_000);
        /// Hours that events are kept for `replay` after all destinations have received them.
        "retentionHours" => retention_hours: u64 = int(24, 0..=87_600);
        /// Maximum size on disk of each stream (user events, audit events, screenshots).
        "bytesMax" => bytes_max: u64 = bytes("4 GiB", 65_536..=1_125_899_906_842_624);
        /// Bytes of one file; at most an eighth of `bytesMax` is used.
        "segmentBytesMax" => segment_bytes_max: u64 = bytes("64 MiB", 65_536..=4_294_967_296);
        /// Bytes of the newest events of each stream that are kept in memory, so that destinations without lag do not
        /// read from disk.
        "tailBytesMax" => tail_bytes_max: u64 = bytes("32 MiB", 0..=4_294_967_296);
        /// What happens when `bytesMax` is reached.
        "onFull" => on_full: OnFull = group::<OnFull>();
    }
}

section! {
    /// What happens when the journal is full: `block` (take nothing until there is room) or `dropOldest` (counted).
    pub struct OnFull {
        /// User events: UDP cannot wait.
        "userEvents" => user_events: FullPolicy = one_of("dropOldest", FullPolicy::NAMES);
        /// Audit events: with `block` the API returns 503 and the client must retry.
        "auditEvents" => audit_events: FullPolicy = one_of("block", FullPolicy::NAMES);
        /// Pending screenshot downloads.
        "screenshots" => screenshots: FullPolicy = one_of("block", FullPolicy::NAMES);
    }
}

impl OnFull {
    pub fn of(&self, stream: Stream) -> FullPolicy {
        match stream {
            Stream::UserEvents => self.user_events,
            Stream::AuditEvents => self.audit_events,
            Stream::Screenshots => self.screenshots,
        }
    }
}

/// What happens when the journal is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum FullPolicy {
    #[serde(rename = "block")]
    Block,
    #[serde(rename = "dropOldest")]
    DropOldest,
}

impl FullPolicy {
    pub const NAMES: &'static [&'static str] = &["block", "dropOldest"];
}
