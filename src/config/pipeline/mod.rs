//! `Pipeline:`, the settings that Butler SOS does not have. The section stands beside `Butler-SOS:`, so that a file
//! with both still loads there.

pub mod actors;
pub mod files;
pub mod intake;
pub mod journal;
pub mod network;
pub mod operations;
pub mod privacy;
pub mod screenshots;

use self::{
    actors::{Actors, Supervision},
    files::{Csv, DeadLetters, Files, Quarantine},
    intake::{AuditIntake, Udp, UserParsing},
    journal::Journal,
    network::{AppDirectory, Influxdb, Mqtt, Retry},
    operations::{Log, Operations, OwnMeasurements},
    privacy::Privacy,
    screenshots::ScreenshotDownloads,
};
use crate::config::schema::section;

section! {
    /// The pipeline: actors, journal, limits, and what Butler SOS has no key for.
    pub struct Pipeline {
        /// Bounds and threads of each actor.
        "actors" => actors: Actors = group::<Actors>();
        /// What happens when an actor panics.
        "supervision" => supervision: Supervision = group::<Supervision>();
        /// The durable log between intake and destinations.
        "journal" => journal: Journal = group::<Journal>();
        /// The UDP socket.
        "udp" => udp: Udp = group::<Udp>();
        /// Parsing of user events.
        "userParsing" => user_parsing: UserParsing = group::<UserParsing>();
        /// The audit API.
        "audit" => audit: AuditIntake = group::<AuditIntake>();
        /// Downloads of screenshots.
        "screenshots" => screenshots: ScreenshotDownloads = group::<ScreenshotDownloads>();
        /// Questions to QRS for names of apps.
        "appDirectory" => app_directory: AppDirectory = group::<AppDirectory>();
        /// Pauses between tries at a destination that fails.
        "retry" => retry: Retry = group::<Retry>();
        /// Everything written to InfluxDB.
        "influxdb" => influxdb: Influxdb = group::<Influxdb>();
        /// Everything published by MQTT.
        "mqtt" => mqtt: Mqtt = group::<Mqtt>();
        /// Files for others: CSV, JSON, Parquet and QVD.
        "files" => files: Files = group::<Files>();
        /// CSV files: the destination that needs nothing else installed.
        "csv" => csv: Csv = group::<Csv>();
        /// Events that a destination refused.
        "deadLetters" => dead_letters: DeadLetters = group::<DeadLetters>();
        /// Datagrams that are no user events.
        "quarantine" => quarantine: Quarantine = group::<Quarantine>();
        /// What is not stored of people.
        "privacy" => privacy: Privacy = group::<Privacy>();
        /// How log lines look and where they wait.
        "log" => log: Log = group::<Log>();
        /// What the server writes to InfluxDB about itself. Such points are about now: while InfluxDB is away they are
        /// dropped and counted (`/metrics`), not kept for later.
        "ownMeasurements" => own_measurements: OwnMeasurements = group::<OwnMeasurements>();
        /// Metrics, health and dashboard.
        "operations" => operations: Operations = group::<Operations>();
        /// Seconds that destinations get to catch up when the server is told to stop.
        "drainSeconds" => drain_seconds: u64 = int(20, 0..=3_600);
    }
}
