//! Configurations of servers that take audit events, by what a test wants of them.

use serde_json::{Value, json};

use crate::influxd::Influxd;
use crate::mosquitto::Mosquitto;
use crate::settings::Settings;

/// What a test wants of its server; [`AuditConfig::text`] writes it down.
///
/// Limits per client are off, batches wait for next to nothing, InfluxDB keeps points of any age (a recorded day is
/// soon older than a retention), ids are tags there as Butler SOS writes them (unless a test says otherwise), and what
/// destinations write is below the sandbox's `data`.
#[derive(Debug, Clone, Default)]
pub struct AuditConfig {
    /// Version and port of an InfluxDB on this machine; database, bucket and organisation are [`DATABASE`].
    pub influxdb: Option<(u8, u16)>,
    /// JSON, Parquet, QVD and CSV.
    pub files: bool,
    /// The port of a broker on this machine; the topic is [`TOPIC`].
    pub mqtt: Option<u16>,
    pub token: &'static str,
    pub allowed_origins: Vec<String>,
    /// Certificate and key, PEM.
    pub tls: Option<(String, String)>,
    /// `staticTags` of all destinations that know them.
    pub static_tags: &'static [(&'static str, &'static str)],
}

pub const DATABASE: &str = "audit";
pub const TOPIC: &str = "sos/audit";
/// Token of versions 2 and 3.
pub const INFLUX_TOKEN: &str = "t0ken";

impl AuditConfig {
    /// To every destination.
    pub fn everywhere(influxd: &Influxd, broker: &Mosquitto) -> Self {
        let (influxdb, mqtt) = (Some((1, influxd.port())), Some(broker.port()));
        Self { influxdb, mqtt, files: true, ..Self::default() }
    }

    pub fn text(&self) -> String {
        self.settings().text()
    }

    pub fn settings(&self) -> Settings {
        let mut kinds = Vec::new();
        let mut settings = Settings::bare().and(json!({ "Butler-SOS": { "auditEvents": {
            "enable": true, "host": "127.0.0.1", "port": 0,
            "apiToken": self.token,
            "cors": { "allowedOrigins": self.allowed_origins },
            "rateLimit": { "enable": false },
        } }, "Pipeline": { "influxdb": { "auditIdsAsFields": false } } }));
        if let Some((cert, key)) = &self.tls {
            let tls = json!({ "enable": true, "cert": cert, "key": key });
            settings = settings.and(json!({ "Butler-SOS": { "auditEvents": { "tls": tls } } }));
        }
        if let Some((version, port)) = self.influxdb {
            kinds.push("influxdb");
            settings = settings.and(self.destination("influxdb", "metadata", json!({
                "host": "127.0.0.1", "port": port, "version": version, "writeFrequency": 20,
                "v1Config": { "dbName": DATABASE, "retentionPolicy": { "name": "forever", "duration": "INF" } },
                "v2Config": { "org": DATABASE, "bucket": DATABASE, "token": INFLUX_TOKEN },
                "v3Config": { "database": DATABASE, "token": INFLUX_TOKEN },
            })));
        }
        if self.files {
            kinds.extend(["json", "parquet", "qvd"]);
            let csv = json!({ "enable": true, "exportDirectory": "{dir}/data/csv" });
            settings = settings
                .and(self.destination(
                    "json",
                    "objectdata",
                    json!({ "enable": true, "exportDirectory": "{dir}/data/json" }),
                ))
                .and(self.rows("parquet"))
                .and(self.rows("qvd"))
                .and(json!({ "Pipeline": { "csv": { "auditEvents": csv } } }));
        }
        if let Some(port) = self.mqtt {
            settings = settings.and(json!({
                "Butler-SOS": { "mqttConfig": { "enable": true, "brokerHost": "127.0.0.1", "brokerPort": port } },
                "Pipeline": { "mqtt": { "auditEvents": { "topic": TOPIC } } },
            }));
        }
        if !kinds.is_empty() {
            let kinds = json!({ "enable": true, "type": kinds.join(",") });
            settings = settings.and(json!({ "Butler-SOS": { "auditEvents": { "destination": kinds } } }));
        }
        settings
    }

    /// Parquet or QVD, which are written in rows.
    fn rows(&self, kind: &str) -> Value {
        let directory = format!("{{dir}}/data/{kind}");
        self.destination(kind, "metadata", json!({ "exportDirectory": directory, "writeFrequency": 100 }))
    }

    /// One destination, with the tags that all of them have.
    fn destination(&self, kind: &str, section: &str, mut settings: Value) -> Value {
        let tag = |(name, value): &(&str, &str)| json!({ "name": name, "value": value });
        settings["staticTags"] = self.static_tags.iter().map(tag).collect();
        json!({ "Butler-SOS": { "auditEvents": { "destination": { kind: { section: settings } } } } })
    }
}
