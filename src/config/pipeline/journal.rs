//! `Pipeline.journal`: the durable log (delivery contract).

use serde::Deserialize;

use crate::config::schema::section;

section! {
    /// The durable log between intake and destinations.
    pub struct Journal {
        /// Directory of its files. One server per directory.
        "directory" => directory: String = text("./data/journal");
        /// Milliseconds between two syncs to disk; an event is safe after the one that follows it.
        "commitIntervalMs" => commit_interval_ms: u64 = int(50, 1..=10_000);
        /// Hours that events are kept after every destination has them, for `replay`.
        "retentionHours" => retention_hours: u64 = int(24, 0..=87_600);
        /// Most bytes on disk of each stream (user events, audit events, screenshots).
        "bytesMax" => bytes_max: u64 = bytes("4 GiB", 65_536..=1_125_899_906_842_624);
        /// Bytes of one file; at most an eighth of `bytesMax` is used.
        "segmentBytesMax" => segment_bytes_max: u64 = bytes("64 MiB", 65_536..=4_294_967_296);
        /// Bytes of each stream's newest events kept in memory, so that destinations that keep up read nothing from disk.
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
        /// Audit events: the API answers 503 and the client keeps the event.
        "auditEvents" => audit_events: FullPolicy = one_of("block", FullPolicy::NAMES);
        /// Screenshots still to download.
        "screenshots" => screenshots: FullPolicy = one_of("block", FullPolicy::NAMES);
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
