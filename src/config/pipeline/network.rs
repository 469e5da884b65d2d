//! `Pipeline.retry`, `Pipeline.influxdb`, `Pipeline.mqtt`: how other servers are spoken to.

use serde::Deserialize;

use butler_sos_settings::section;

/// What the ids of audit events are in InfluxDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum IdsAsFields {
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "true")]
    True,
    #[serde(rename = "false")]
    False,
}

impl IdsAsFields {
    pub const NAMES: &'static [&'static str] = &["auto", "true", "false"];
}

section! {
    /// Pauses between retries of a failing destination. They double from the first to the longest, with jitter.
    pub struct Retry {
        /// The first pause, milliseconds.
        "firstMs" => first_ms: u64 = int(1_000, 1..=3_600_000);
        /// The longest pause, milliseconds.
        "longestMs" => longest_ms: u64 = int(60_000, 1..=86_400_000);
    }
}

section! {
    /// Everything written to InfluxDB.
    pub struct Influxdb {
        /// Prefix of the four user agent tags. Empty for dashboards made for Butler SOS.
        "userAgentTagPrefix" => user_agent_tag_prefix: String = text("qs_");
        /// Milliseconds that an incomplete batch of user events waits for more events.
        "batchLingerMs" => batch_linger_ms: u64 = int(20, 0..=60_000);
        /// Maximum size of a batch in bytes, uncompressed.
        "batchBytesMax" => batch_bytes_max: u64 = bytes("5 MiB", 1_024..=67_108_864);
        /// Bodies from this size are gzipped.
        "gzipBytesMin" => gzip_bytes_min: u64 = bytes("4 KiB", 0..=67_108_864);
        /// Time limit of a request in milliseconds, unless the section of the version sets one.
        "timeoutMs" => timeout_ms: u64 = int(10_000, 100..=600_000);
        /// Whether a missing database or bucket is created.
        "createDatabase" => create_database: bool = yes();
        /// The maximum time limit of a request in milliseconds. After a timeout, the next request is half as large and
        /// has twice the time, up to this value. Timely responses restore both.
        "timeoutMaxMs" => timeout_max_ms: u64 = int(120_000, 100..=3_600_000);
        /// Whether `eventId`, `correlationId` and `selectionTxnId` of audit events are fields, not tags. As tags, each
        /// value is a separate series, and InfluxDB 1 limits their number. `auto`: in InfluxDB 1 they are fields in a
        /// new measurement and keep their type in an existing one; in versions 2 and 3 they are tags. In version 3 such
        /// fields end in `_field`.
        "auditIdsAsFields" => audit_ids_as_fields: IdsAsFields = one_of("auto", IdsAsFields::NAMES);
    }
}

section! {
    /// Everything published by MQTT.
    pub struct Mqtt {
        /// Messages sent and not yet acknowledged.
        "inFlightMax" => in_flight_max: usize = int(1_000, 1..=65_535);
        /// Audit events.
        "auditEvents" => audit_events: MqttAuditEvents = group::<MqttAuditEvents>();
    }
}

section! {
    /// Audit events by MQTT.
    pub struct MqttAuditEvents {
        /// The topic. Empty: audit events are not published.
        "topic" => topic: Option<String> = maybe_text();
    }
}
