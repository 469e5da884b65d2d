//! `Pipeline.appDirectory`, `Pipeline.retry`, `Pipeline.influxdb`, `Pipeline.mqtt`: how other servers are spoken to.

use crate::config::schema::section;

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
