//! `Butler-SOS.qlikSenseEvents`: how many user events came and how many were rejected, written to InfluxDB.

use super::NameValue;
use butler_sos_settings::section;

section! {
    /// Counts of user events, each since the write before. Log events are not received here.
    pub struct QlikSenseEvents {
        /// To the InfluxDB of `influxdbConfig`. While it is down, counts are dropped.
        "influxdb" => influxdb: CountsInfluxdb = group::<CountsInfluxdb>();
        /// Events received, by source (the type of event), host and subsystem (the event's origin). A datagram that is
        /// not an event counts as `Unknown` in all three.
        "eventCount" => event_count: EventCount = group::<EventCount>();
        /// Events of users in `userEvents.excludeUser` by source, and datagrams that are not events as `Unknown`.
        "rejectedEventCount" => rejected_event_count: RejectedEventCount = group::<RejectedEventCount>();
    }
}

section! {
    /// Counts in InfluxDB.
    pub struct CountsInfluxdb {
        /// Whether counts are written.
        "enable" => enable: bool = no();
        /// Milliseconds between two writes.
        "writeFrequency" => write_frequency: u64 = millis(20_000);
    }
}

section! {
    /// Events received.
    pub struct EventCount {
        /// Whether they are counted in InfluxDB.
        "enable" => enable: bool = no();
        /// The measurement.
        "influxdb" => influxdb: EventCountInfluxdb = group::<EventCountInfluxdb>();
    }
}

section! {
    /// The measurement of events received.
    pub struct EventCountInfluxdb {
        /// Its name.
        "measurementName" => measurement_name: String = text("event_count");
        /// Tags added to each point.
        "tags" => tags: Vec<NameValue> = list_of::<NameValue>();
    }
}

section! {
    /// Events rejected.
    pub struct RejectedEventCount {
        /// Whether they are counted in InfluxDB.
        "enable" => enable: bool = no();
        /// The measurement.
        "influxdb" => influxdb: RejectedEventCountInfluxdb = group::<RejectedEventCountInfluxdb>();
    }
}

section! {
    /// The measurement of events rejected.
    pub struct RejectedEventCountInfluxdb {
        /// Its name.
        "measurementName" => measurement_name: String = text("rejected_event_count");
    }
}
