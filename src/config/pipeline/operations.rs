//! `Pipeline.log`, `Pipeline.operations` and `Pipeline.ownMeasurements`.

use serde::Deserialize;

use crate::config::{schema::section, secret::Secret};

section! {
    /// How log lines look and where they wait.
    pub struct Log {
        /// `human` (colour when it is a terminal) or `json`.
        "format" => format: LogFormat = one_of("human", LogFormat::NAMES);
        /// Lines that may wait to be written; more are dropped, counted and told.
        "queueMax" => queue_max: usize = int(8_192, 16..=1_000_000);
        /// Log files kept, the oldest deleted; 0: all.
        "filesMax" => files_max: u32 = int(30, 0..=10_000);
        /// Largest log file; a day's next lines go to a numbered part.
        "fileBytesMax" => file_bytes_max: u64 = bytes("256 MiB", 65_536..=1_099_511_627_776);
        /// Lines of one kind (one message) in a minute at levels error, warn and info; how many more there would have
        /// been is told. 0: as many as there are.
        "linesPerMinuteMax" => lines_per_minute_max: u32 = int(60, 0..=1_000_000);
        /// Longest line, in characters; more is cut.
        "lineCharactersMax" => line_characters_max: usize = int(16_384, 256..=1_048_576);
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Human,
    Json,
}

impl LogFormat {
    pub const NAMES: &'static [&'static str] = &["human", "json"];
}

section! {
    /// Metrics, health and dashboard.
    pub struct Operations {
        /// Address to listen on. Off this machine, without a token, only `/metrics` and `/health` answer.
        "host" => host: String = text("127.0.0.1");
        /// Port to listen on.
        "port" => port: u16 = listen_port(9842);
        /// The token that the dashboard and the commands send; empty: none is asked for.
        "token" => token: Secret = secret();
        /// Connections to it at a time; more wait.
        "connectionsMax" => connections_max: usize = int(256, 8..=100_000);
        /// Dashboards and `tail` commands that may listen at a time; one more is told so.
        "liveListenersMax" => live_listeners_max: usize = int(32, 1..=10_000);
        /// Records that one look for the newest events reads at most.
        "scanRecordsMax" => scan_records_max: u64 = int(20_000, 100..=10_000_000);
    }
}

section! {
    /// What the server writes to InfluxDB about itself. Such points are about now: while InfluxDB is away they are
    /// dropped and counted, not kept for later.
    pub struct OwnMeasurements {
        /// Combinations of source, host and subsystem that `qlikSenseEvents.eventCount` tells apart between two writes;
        /// events of further ones are counted with host and subsystem `other`.
        "seriesMax" => series_max: usize = int(1_000, 1..=100_000);
        /// Milliseconds between two writes of `errorTracking`. Errors that could not be written are written with the
        /// next.
        "errorsWriteFrequency" => errors_write_frequency: u64 = millis(20_000);
    }
}
