//! `Butler-SOS.auditEvents`: the HTTP API and the destinations of audit events (audit-api and destinations contracts).

use serde::Deserialize;

use super::{
    NameValue,
    influxdb::{V1Config, V2Config, V3Config},
    screenshots::Screenshots,
    user_events::MessageRateLimit,
};
use butler_sos_settings::{secret::Secret, section};

section! {
    /// Audit events: the HTTP API for the Audit.qs extension, and what becomes of its events.
    pub struct AuditEvents {
        /// Whether the API is served.
        "enable" => enable: bool = no();
        /// Address to listen on.
        "host" => host: String = text("127.0.0.1");
        /// Port to listen on.
        "port" => port: u16 = listen_port(8181);
        /// The token that clients must send. Empty: no token is required.
        "apiToken" => api_token: Secret = secret();
        /// The destinations of the events.
        "destination" => destination: Destination = group::<Destination>();
        /// HTTPS.
        "tls" => tls: Tls = group::<Tls>();
        /// The queue between the API and the journal.
        "queue" => queue: AuditQueue = group::<AuditQueue>();
        /// Web pages that can post from a browser.
        "cors" => cors: Cors = group::<Cors>();
        /// Limit for each client address.
        "rateLimit" => rate_limit: ClientRateLimit = group::<ClientRateLimit>();
    }
}

section! {
    /// HTTPS of the audit API.
    pub struct Tls {
        /// Whether the API uses HTTPS.
        "enable" => enable: bool = no();
        /// The certificate chain of the server, PEM.
        "cert" => cert: Option<String> = maybe_text();
        /// Its key, PEM.
        "key" => key: Option<String> = maybe_text();
        /// If set, clients must present a certificate signed by this one.
        "ca" => ca: Option<String> = maybe_text();
        /// The passphrase of the key.
        "passphrase" => passphrase: Secret = secret();
        /// The minimum TLS version; 1.2 or later.
        "minVersion" => min_version: TlsVersion = one_of("TLSv1.2", TlsVersion::NAMES);
    }
}

/// Versions of TLS that may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    #[serde(rename = "TLSv1.2")]
    V1_2,
    #[serde(rename = "TLSv1.3")]
    V1_3,
}

impl TlsVersion {
    pub const NAMES: &'static [&'static str] = &["TLSv1.2", "TLSv1.3"];
}

section! {
    /// The queue of the audit API.
    pub struct AuditQueue {
        /// The queue size.
        "messageQueue" => message_queue: AuditMessageQueue = group::<AuditMessageQueue>();
        /// A limit for all clients together.
        "rateLimit" => rate_limit: MessageRateLimit = group::<MessageRateLimit>();
        /// Queue metrics that are written to InfluxDB. While InfluxDB is down, they are dropped.
        "queueMetrics" => queue_metrics: AuditQueueMetrics = group::<AuditQueueMetrics>();
    }
}

section! {
    /// The bound between the API and the journal.
    pub struct AuditMessageQueue {
        /// Maximum number of events that wait for the journal; beyond it the API returns 503. Butler SOS has 200; a
        /// file that sets 200 gets 200.
        "maxSize" => max_size: u32 = int(10_000, 1..=10_000_000);
        /// Warn when the queue is this full, in percent.
        "backpressureThreshold" => backpressure_threshold: u8 = int(80, 1..=100);
        ignored "maxConcurrent";
    }
}

section! {
    /// Queue metrics of audit events.
    pub struct AuditQueueMetrics {
        /// To the InfluxDB of `influxdbConfig`.
        "influxdb" => influxdb: AuditQueueMetricsInfluxdb = group::<AuditQueueMetricsInfluxdb>();
    }
}

section! {
    /// The measurement with the queue's figures.
    pub struct AuditQueueMetricsInfluxdb {
        /// Whether it is written.
        "enable" => enable: bool = no();
        /// Milliseconds between two points.
        "writeFrequency" => write_frequency: u64 = millis(20_000);
        /// Its name.
        "measurementName" => measurement_name: String = text("audit_events_queue");
        /// Tags added to each point.
        "tags" => tags: Vec<NameValue> = list_of::<NameValue>();
    }
}

section! {
    /// Cross-origin requests.
    pub struct Cors {
        /// Origins that can post, such as `https://qlik.example.com`, or `*`. Empty: no CORS headers at all.
        "allowedOrigins" => allowed_origins: Vec<String> = list_of_text();
    }
}

section! {
    /// Limit for each client address.
    pub struct ClientRateLimit {
        /// Whether the limit is enabled.
        "enable" => enable: bool = yes();
        /// Requests of one address in a minute.
        "maxPerMinute" => max_per_minute: u32 = int(300, 1..=1_000_000_000);
    }
}

section! {
    /// Destinations of audit events.
    pub struct Destination {
        /// Whether events are stored anywhere.
        "enable" => enable: bool = no();
        /// Comma list of `influxdb`, `json`, `parquet`, `qvd`.
        "type" => kinds: String = text("influxdb");
        /// InfluxDB.
        "influxdb" => influxdb: AuditInfluxdb = group::<AuditInfluxdb>();
        /// One JSON file for the data of each object.
        "json" => json: AuditJson = group::<AuditJson>();
        /// Parquet files.
        "parquet" => parquet: AuditParquet = group::<AuditParquet>();
        /// QVD files.
        "qvd" => qvd: AuditQvd = group::<AuditQvd>();
        /// Downloads of the images that events name.
        "screenshots" => screenshots: Screenshots = group::<Screenshots>();
    }
}

/// Names that `destination.type` may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DestinationKind {
    Influxdb,
    Json,
    Parquet,
    Qvd,
}

impl DestinationKind {
    pub const ALL: [Self; 4] = [Self::Influxdb, Self::Json, Self::Parquet, Self::Qvd];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Influxdb => "influxdb",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Qvd => "qvd",
        }
    }

    /// Blanks and case are ignored.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| name.trim().eq_ignore_ascii_case(kind.name()))
    }
}

impl Destination {
    /// Where files of this kind are written: the setting below `destination`, and the directory.
    pub fn directory(&self, kind: DestinationKind) -> Option<(&'static str, &str)> {
        match kind {
            DestinationKind::Influxdb => None,
            DestinationKind::Json => {
                Some(("json.objectdata.exportDirectory", &self.json.objectdata.export_directory))
            }
            DestinationKind::Parquet => {
                Some(("parquet.metadata.exportDirectory", &self.parquet.metadata.export_directory))
            }
            DestinationKind::Qvd => {
                Some(("qvd.metadata.exportDirectory", &self.qvd.metadata.export_directory))
            }
        }
    }

    /// Whether events go to this kind of destination.
    pub fn has(&self, kind: DestinationKind) -> bool {
        self.enable && self.kinds.split(',').any(|name| DestinationKind::parse(name) == Some(kind))
    }
}

section! {
    /// Audit events in InfluxDB.
    pub struct AuditInfluxdb {
        /// One point per event.
        "metadata" => metadata: AuditInfluxdbMetadata = group::<AuditInfluxdbMetadata>();
        ignored "objectdata";
    }
}

section! {
    /// The InfluxDB of audit events, independent of `influxdbConfig`.
    pub struct AuditInfluxdbMetadata {
        /// `http` or `https`. Not known to Butler SOS.
        "scheme" => scheme: super::influxdb::Scheme = one_of("http", super::influxdb::Scheme::NAMES);
        /// Host name or address.
        "host" => host: String = text("localhost");
        /// Port.
        "port" => port: u16 = remote_port(8086);
        /// An additional CA certificate (PEM) to verify the server. Not known to Butler SOS.
        "ca" => ca: Option<String> = maybe_text();
        /// Version of InfluxDB: 1, 2 or 3.
        "version" => version: u8 = int(1, 1..=3);
        /// Maximum number of lines in a batch.
        "maxBatchSize" => max_batch_size: u32 = int(1_000, 1..=10_000);
        /// Milliseconds that a batch waits for more events after its first one. 0: no wait.
        "writeFrequency" => write_frequency: u64 = int(20_000, 0..=86_400_000);
        /// Name of the measurement.
        "measurementName" => measurement_name: String = text("audit_event");
        /// Value of the tag `auditEventSchemaVersion`, whatever version an event names; empty: 1.
        "auditEventSchemaVersion" => audit_event_schema_version: String = text("1");
        /// Tags added to every point.
        "staticTags" => static_tags: Vec<NameValue> = list_of::<NameValue>();
        /// When `version` is 1.
        "v1Config" => v1: V1Config = group::<V1Config>();
        /// When `version` is 2.
        "v2Config" => v2: V2Config = group::<V2Config>();
        /// When `version` is 3. `description` is accepted and has no effect: InfluxDB 3 keeps none.
        "v3Config" => v3: V3Config = group::<V3Config>();
    }
}

section! {
    /// Audit events as JSON files.
    pub struct AuditJson {
        /// The data of objects.
        "objectdata" => objectdata: JsonObjectdata = group::<JsonObjectdata>();
    }
}

section! {
    /// One JSON file for each event that carries an object's data.
    pub struct JsonObjectdata {
        /// Whether they are written.
        "enable" => enable: bool = no();
        /// Directory of the files.
        "exportDirectory" => export_directory: String = text("./audit-events/json");
        /// Written as `tags` into every file.
        "staticTags" => static_tags: Vec<NameValue> = list_of::<NameValue>();
    }
}

section! {
    /// Audit events as Parquet files.
    pub struct AuditParquet {
        /// One row per event.
        "metadata" => metadata: ParquetMetadata = group::<ParquetMetadata>();
        ignored "objectdata";
    }
}

section! {
    /// Parquet files, one row an event.
    pub struct ParquetMetadata {
        /// Directory of the files.
        "exportDirectory" => export_directory: String = text("./audit-events/parquet");
        /// Maximum number of rows in a file.
        "maxBatchSize" => max_batch_size: u32 = int(1_000, 1..=10_000);
        /// Milliseconds that a file waits for more events after its first one. 0: no wait.
        "writeFrequency" => write_frequency: u64 = int(20_000, 0..=86_400_000);
        /// Written as `tags` into every row.
        "staticTags" => static_tags: Vec<NameValue> = list_of::<NameValue>();
    }
}

section! {
    /// Audit events as QVD files.
    pub struct AuditQvd {
        /// One row per event.
        "metadata" => metadata: QvdMetadata = group::<QvdMetadata>();
        ignored "objectdata";
    }
}

section! {
    /// QVD files, one row an event.
    pub struct QvdMetadata {
        /// Directory of the files.
        "exportDirectory" => export_directory: String = text("./audit-events/qvd");
        /// Maximum number of rows in a file.
        "maxBatchSize" => max_batch_size: u32 = int(1_000, 1..=10_000);
        /// Milliseconds that a file waits for more events after its first one. 0: no wait.
        "writeFrequency" => write_frequency: u64 = int(20_000, 0..=86_400_000);
        /// Written as `tags` into every row.
        "staticTags" => static_tags: Vec<NameValue> = list_of::<NameValue>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_a_comma_list_without_case_or_blanks() {
        let destination =
            Destination { enable: true, kinds: " InfluxDB ,qvd".into(), ..Destination::default() };
        assert!(destination.has(DestinationKind::Influxdb));
        assert!(destination.has(DestinationKind::Qvd));
        assert!(!destination.has(DestinationKind::Json));
        let off = Destination { enable: false, ..destination };
        assert!(!off.has(DestinationKind::Influxdb));
    }
}
