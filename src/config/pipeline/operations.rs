//! `Pipeline.log`, `Pipeline.operations` and `Pipeline.ownMeasurements`.

use serde::Deserialize;

use butler_sos_settings::{secret::Secret, section};

section! {
    /// Format and queue of log lines.
    pub struct Log {
        /// `human` (with colour on a terminal) or `json`.
        "format" => format: LogFormat = one_of("human", LogFormat::NAMES);
        /// Maximum number of lines in the log queue; more are dropped, counted and logged.
        "queueMax" => queue_max: usize = int(8_192, 16..=1_000_000);
        /// Number of log files; the oldest are deleted. 0: no limit.
        "filesMax" => files_max: u32 = int(30, 0..=10_000);
        /// Maximum size of a log file; further lines of the day go to a numbered part.
        "fileBytesMax" => file_bytes_max: u64 = bytes("256 MiB", 65_536..=1_099_511_627_776);
        /// Maximum number of lines per message and minute at levels error, warn and info; the number of suppressed
        /// lines is logged. 0: no limit.
        "linesPerMinuteMax" => lines_per_minute_max: u32 = int(60, 0..=1_000_000);
        /// Maximum line length in characters; longer lines are truncated.
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
        /// Address to listen on. Without a token, other machines can access only `/metrics` and `/health`.
        "host" => host: String = text("127.0.0.1");
        /// Port to listen on.
        "port" => port: u16 = listen_port(9842);
        /// The token that the dashboard and the commands must send. Empty: no token is required.
        "token" => token: Secret = secret();
        /// Concurrent connections; more wait.
        "connectionsMax" => connections_max: usize = int(256, 8..=100_000);
        /// Concurrent dashboards and `tail` commands; more are rejected.
        "liveListenersMax" => live_listeners_max: usize = int(32, 1..=10_000);
        /// Maximum number of records that a query for the newest events reads.
        "scanRecordsMax" => scan_records_max: u64 = int(20_000, 100..=10_000_000);
    }
}

section! {
    /// What the server writes to InfluxDB about itself. Such points are about now: while InfluxDB is away they are
    /// dropped and counted, not kept for later.
    pub struct OwnMeasurements {
        /// Combinations of source, host and subsystem that `qlikSenseEvents.eventCount` distinguishes between two
        /// writes; further ones are counted with host and subsystem `other`.
        "seriesMax" => series_max: usize = int(1_000, 1..=100_000);
        /// Milliseconds between two writes of `errorTracking`. Errors that could not be written are written with the
        /// next.
        "errorsWriteFrequency" => errors_write_frequency: u64 = millis(20_000);
    }
}
