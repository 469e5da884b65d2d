//! `Pipeline:`, the settings that Butler SOS does not have. The section stands beside `Butler-SOS:`, so that a file
//! with both still loads there.

pub mod actors;
pub mod files;
pub mod journal;
pub mod network;
pub mod operations;
pub mod privacy;
pub mod screenshots;

use self::{
    actors::{Actors, Supervision},
    files::{Csv, DeadLetters, Files, Quarantine},
    journal::Journal,
    network::{Influxdb, Mqtt, Retry},
    operations::{Log, Operations, OwnMeasurements},
    privacy::Privacy,
    screenshots::ScreenshotDownloads,
};
use butler_sos_actors::intake::app_directory::AppDirectoryLimits;
use butler_sos_actors::intake::audit_http_ingestor::AuditHttpLimits;
use butler_sos_actors::intake::udp::limits::UdpLimits;
use butler_sos_actors::intake::user_parser::UserParsing;
use butler_sos_settings::section;

section! {
    /// The pipeline: actors, journal, limits, and what Butler SOS has no key for.
    pub struct Pipeline {
        /// Mailbox sizes and threads of the actors.
        "actors" => actors: Actors = group::<Actors>();
        /// What happens when an actor panics.
        "supervision" => supervision: Supervision = group::<Supervision>();
        /// The durable log between intake and destinations.
        "journal" => journal: Journal = group::<Journal>();
        /// The UDP socket.
        "udp" => udp: UdpLimits = group::<UdpLimits>();
        /// Parsing of user events.
        "userParsing" => user_parsing: UserParsing = group::<UserParsing>();
        /// The audit API.
        "audit" => audit: AuditHttpLimits = group::<AuditHttpLimits>();
        /// Downloads of screenshots.
        "screenshots" => screenshots: ScreenshotDownloads = group::<ScreenshotDownloads>();
        /// Requests to QRS for app names.
        "appDirectory" => app_directory: AppDirectoryLimits = group::<AppDirectoryLimits>();
        /// Pauses between retries of a failing destination.
        "retry" => retry: Retry = group::<Retry>();
        /// Everything written to InfluxDB.
        "influxdb" => influxdb: Influxdb = group::<Influxdb>();
        /// Everything published by MQTT.
        "mqtt" => mqtt: Mqtt = group::<Mqtt>();
        /// Export files: CSV, JSON, Parquet and QVD.
        "files" => files: Files = group::<Files>();
        /// CSV files: the destination that requires no other software.
        "csv" => csv: Csv = group::<Csv>();
        /// Events that a destination rejected.
        "deadLetters" => dead_letters: DeadLetters = group::<DeadLetters>();
        /// Datagrams that are not user events.
        "quarantine" => quarantine: Quarantine = group::<Quarantine>();
        /// Privacy.
        "privacy" => privacy: Privacy = group::<Privacy>();
        /// Format and queue of log lines.
        "log" => log: Log = group::<Log>();
        /// Own measurements in InfluxDB. They describe the current state: while InfluxDB is down, they are dropped and
        /// counted (`/metrics`).
        "ownMeasurements" => own_measurements: OwnMeasurements = group::<OwnMeasurements>();
        /// Metrics, health and dashboard.
        "operations" => operations: Operations = group::<Operations>();
        /// Seconds that destinations have to catch up when the server stops.
        "drainSeconds" => drain_seconds: u64 = int(20, 0..=3_600);
    }
}
