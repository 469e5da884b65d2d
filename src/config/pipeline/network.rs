//! `Pipeline.appDirectory`, `Pipeline.retry`, `Pipeline.influxdb`, `Pipeline.mqtt`: how other servers are spoken to.

use serde::Deserialize;

use crate::config::schema::section;

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
    /// Questions to QRS for names of apps.
    pub struct AppDirectory {
        /// QRS's port.
        "port" => port: u16 = remote_port(4242);
        /// Milliseconds that one question may take.
        "timeoutMs" => timeout_ms: u64 = int(30_000, 100..=600_000);
        /// Most names kept.
        "entriesMax" => entries_max: usize = int(100_000, 1..=10_000_000);
        /// Largest answer.
        "bodyBytesMax" => body_bytes_max: u64 = bytes("128 MiB", 1_024..=4_294_967_296);
    }
}

section! {
    /// Pauses between tries at a destination that fails. They double from the first to the longest, with jitter.
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
        /// Put before the names of the four user-agent tags. Empty for dashboards made for Butler SOS.
        "userAgentTagPrefix" => user_agent_tag_prefix: String = text("qs_");
        /// Milliseconds that a batch of user events waits for more when there is not a full one.
        "batchLingerMs" => batch_linger_ms: u64 = int(20, 0..=60_000);
        /// Most bytes of a batch, uncompressed.
        "batchBytesMax" => batch_bytes_max: u64 = bytes("5 MiB", 1_024..=67_108_864);
        /// Bodies from this size are gzipped.
        "gzipBytesMin" => gzip_bytes_min: u64 = bytes("4 KiB", 0..=67_108_864);
        /// Milliseconds that a request may take, where the version's own section names no time.
        "timeoutMs" => timeout_ms: u64 = int(10_000, 100..=600_000);
        /// Whether a database or bucket that is not there is made.
        "createDatabase" => create_database: bool = yes();
        /// The longest time for a request, milliseconds: one that gets no answer in time is halved, and the next may
        /// take twice as long, up to this. Answers in good time bring both back.
        "timeoutMaxMs" => timeout_max_ms: u64 = int(120_000, 100..=3_600_000);
        /// Whether `eventId`, `correlationId` and `selectionTxnId` of audit events are fields, not tags. As tags each
        /// value is a series of its own, of which InfluxDB 1 takes a limited number. `auto`: in InfluxDB 1 they are
        /// fields where the measurement is not there yet, and where it is, what they are there; tags in versions 2
        /// and 3. In version 3 such fields end in `_field`.
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
        /// The topic; none: audit events are not published.
        "topic" => topic: Option<String> = maybe_text();
    }
}
