//! Configurations of servers that take audit events, in the words of an administrator.

use std::fmt::Write as _;

/// What a test wants of its server; [`AuditConfig::yaml`] writes it down.
///
/// Limits per client are off, batches wait for next to nothing, InfluxDB keeps points of any age, and all files
/// are below the sandbox's `data`.
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
    pub fn yaml(&self) -> String {
        let mut kinds = Vec::new();
        let mut destinations = String::new();
        let tags: Vec<String> = self
            .static_tags
            .iter()
            .map(|(name, value)| format!("{{ name: '{name}', value: '{value}' }}"))
            .collect();
        let tags = format!("staticTags: [{}]", tags.join(", "));
        if let Some((version, port)) = self.influxdb {
            kinds.push("influxdb");
            _ = write!(
                destinations,
                "
      influxdb:
        metadata:
          host: 127.0.0.1
          port: {port}
          version: {version}
          writeFrequency: 20
          {tags}
          v1Config: {{ dbName: {DATABASE}, retentionPolicy: {{ name: forever, duration: INF }} }}
          v2Config: {{ org: {DATABASE}, bucket: {DATABASE}, token: {INFLUX_TOKEN} }}
          v3Config: {{ database: {DATABASE}, token: {INFLUX_TOKEN} }}"
            );
        }
        if self.files {
            kinds.extend(["json", "parquet", "qvd"]);
            _ = write!(
                destinations,
                "
      json:
        objectdata: {{ enable: true, exportDirectory: '{{dir}}/data/json', {tags} }}"
            );
            for kind in ["parquet", "qvd"] {
                _ = write!(
                    destinations,
                    "
      {kind}:
        metadata: {{ exportDirectory: '{{dir}}/data/{kind}', writeFrequency: 100, {tags} }}"
                );
            }
        }
        let tls = match &self.tls {
            Some((cert, key)) => format!("{{ enable: true, cert: '{cert}', key: '{key}' }}"),
            None => "{ enable: false }".to_owned(),
        };
        let mqtt = match self.mqtt {
            Some(port) => format!("{{ enable: true, brokerHost: 127.0.0.1, brokerPort: {port} }}"),
            None => "{ enable: false }".to_owned(),
        };
        let topic = if self.mqtt.is_some() { TOPIC } else { "null" };
        let origins: Vec<String> = self.allowed_origins.iter().map(|origin| format!("'{origin}'")).collect();
        format!(
            "\
Butler-SOS:
  logLevel: info
  mqttConfig: {mqtt}
  auditEvents:
    enable: true
    host: 127.0.0.1
    port: 0
    apiToken: '{token}'
    tls: {tls}
    cors: {{ allowedOrigins: [{origins}] }}
    rateLimit: {{ enable: false }}
    destination:
      enable: {enable}
      type: '{kinds}'{destinations}
Pipeline:
  journal: {{ directory: '{{dir}}/data/journal', commitIntervalMs: 5 }}
  deadLetters: {{ directory: '{{dir}}/data/dead-letters' }}
  retry: {{ firstMs: 20, longestMs: 200 }}
  operations: {{ host: 127.0.0.1, port: 0 }}
  mqtt: {{ auditEvents: {{ topic: {topic} }} }}
  csv:
    auditEvents: {{ enable: {files}, exportDirectory: '{{dir}}/data/csv' }}
",
            token = self.token,
            origins = origins.join(", "),
            enable = !kinds.is_empty(),
            kinds = if kinds.is_empty() { "json".to_owned() } else { kinds.join(",") },
            files = self.files,
        )
    }
}
