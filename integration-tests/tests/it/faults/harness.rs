//! A server whose user events go to a real InfluxDB, a real mosquitto and CSV files.

use std::collections::BTreeSet;
use std::path::PathBuf;

use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::numbered::{Census, NumberedSender};
use butler_sos_integration_tests::sandbox::{Metrics, Sandbox, wait_for};
use butler_sos_integration_tests::settings::{Settings, csv, influx, one_topic};
use butler_sos_integration_tests::subscriber::Subscriber;
use serde_json::json;

pub const DATABASE: &str = "senseops";

/// The configuration; ports of destinations may be those of proxies.
pub fn config(influxd_port: u16, broker_port: u16) -> Settings {
    without_broker(influxd_port).and(one_topic("127.0.0.1", broker_port, "sos/all"))
}

/// The same without MQTT.
pub fn without_broker(influxd_port: u16) -> Settings {
    let policy = json!({ "retentionPolicy": { "name": "forever", "duration": "INF" } });
    Settings::user_events().and(influx(1, influxd_port)).and(csv()).and(json!({
        "Butler-SOS": { "influxdbConfig": { "v1Config": policy } },
        "Pipeline": { "influxdb": { "timeoutMs": 3_000 } },
    }))
}

pub struct Harness {
    pub sandbox: Sandbox,
    pub influxd: Influxd,
    pub broker: Mosquitto,
    pub subscriber: Subscriber,
}

impl Harness {
    /// All running; `configure` gets the two servers' ports.
    pub fn start(configure: impl FnOnce(&Influxd, &Mosquitto) -> Settings) -> Self {
        let influxd = Influxd::start_new();
        let broker = Mosquitto::start(&Options::default());
        let subscriber = Subscriber::start(&broker, "sos/#");
        let sandbox = Sandbox::start_new(&configure(&influxd, &broker).text());
        Self { sandbox, influxd, broker, subscriber }
    }

    pub fn csv_directory(&self) -> PathBuf {
        self.sandbox.path().join("csv")
    }

    /// For the running server; the next event has the number `first`.
    pub fn sender(&self, first: u64) -> NumberedSender {
        NumberedSender::new(&self.sandbox, first)
    }

    pub fn in_influxdb(&self) -> Census {
        Census::of_influxdb(&self.influxd, DATABASE)
    }

    pub fn in_csv(&self) -> Census {
        Census::of_csv(&self.csv_directory())
    }

    pub fn in_mqtt(&self) -> Census {
        Census::of_mqtt(&self.subscriber, "sos/all")
    }

    /// Once the server has nothing left to deliver: all three hold `acknowledged` and the same events, InfluxDB and
    /// CSV each of them once. Answers which events there are.
    pub fn assert_delivered(&self, acknowledged: impl IntoIterator<Item = u64> + Clone) -> BTreeSet<u64> {
        let (influxdb, csv) = (self.in_influxdb(), self.in_csv());
        influxdb.assert_holds("InfluxDB", acknowledged.clone());
        influxdb.assert_once("InfluxDB");
        csv.assert_holds("CSV", acknowledged);
        csv.assert_once("CSV");
        assert!(influxdb == csv, "InfluxDB and CSV hold different events");
        let all = influxdb.numbers();
        // The broker has acknowledged them; the subscriber may still be reading.
        wait_for("the subscriber to have every event", || {
            let enough = self.subscriber.count() >= all.len();
            (enough && self.in_mqtt().has_all(all.iter().copied())).then_some(())
        });
        assert_eq!(self.in_mqtt().numbers(), all, "the broker has events that the others have not");
        all
    }

    /// Waits until `destination` has so many events behind it, in this life of the server.
    pub fn wait_until_delivered(&self, destination: &str, events: u64) {
        wait_for(&format!("{destination} to have {events} events"), || {
            let labels = [("destination", destination)];
            let delivered = self.sandbox.metrics().sum("butler_sos_events_delivered_total", &labels);
            (delivered >= events as f64).then_some(())
        });
    }
}

/// What must hold of any server's figures when nothing is under way.
pub fn assert_sound(metrics: &Metrics) {
    assert_eq!(metrics.unaccounted(), 0.0);
    for name in ["butler_sos_events_missed_total", "butler_sos_events_dead_lettered_total"] {
        assert_eq!(metrics.sum(name, &[]), 0.0, "{name}");
    }
}

/// What none of the tests that send at the server's pace may see.
pub fn assert_nothing_shed(metrics: &Metrics) {
    for name in [
        "butler_sos_events_shed_total",
        "butler_sos_events_rejected_total",
        "butler_sos_events_dropped_by_kernel_total",
    ] {
        assert_eq!(metrics.sum(name, &[]), 0.0, "{name}");
    }
}
