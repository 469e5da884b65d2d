//! A server with user events for InfluxDB, an MQTT broker and New Relic, each behind a proxy, and for CSV files.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use butler_sos_integration_tests::certificates::Pair;
use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion};
use butler_sos_integration_tests::fake_new_relic::FakeNewRelic;
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::line::read_line;
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::numbered::{Census, NumberedSender, number};
use butler_sos_integration_tests::sandbox::{Metrics, Sandbox, wait_for};
use butler_sos_integration_tests::settings::{Settings, csv, influx, new_relic, one_topic};
use butler_sos_integration_tests::subscriber::Subscriber;
use butler_sos_integration_tests::tcp_proxy::{Mode, TcpProxy};
use butler_sos_integration_tests::tls_front::TlsFront;
use serde_json::{Value, json};

pub const INFLUX: &str = "influx_sink";
pub const BROKER: &str = "mqtt_sink";
pub const NEW_RELIC: &str = "new_relic_sink";
pub const CSV: &str = "csv_sink";
pub const DESTINATIONS: [&str; 4] = [INFLUX, BROKER, NEW_RELIC, CSV];

const DATABASE: &str = "senseops";
const ACCOUNT: (&str, &str) = ("4711", "sekrit-key-1");

/// How the server gets to the far sides.
pub struct Plan<'a> {
    /// Of InfluxDB: 1 is the real one.
    pub version: u8,
    /// The name that the server knows all of them by.
    pub host: &'a str,
    /// TLS in front of all of them, with this certificate at first, and where its authority's is.
    pub tls: Option<(&'a Pair, PathBuf)>,
    /// Before the server's command line.
    pub wrapper: Vec<String>,
    pub more: Value,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self { version: 1, host: "127.0.0.1", tls: None, wrapper: Vec::new(), more: json!({}) }
    }
}

pub struct Harness {
    pub sandbox: Sandbox,
    pub proxies: BTreeMap<&'static str, TcpProxy>,
    pub fronts: BTreeMap<&'static str, TlsFront>,
    influx: Influx,
    _broker: Mosquitto,
    subscriber: Subscriber,
    relic: FakeNewRelic,
    sender: NumberedSender,
}

enum Influx {
    Real(Influxd),
    Fake(FakeInflux),
}

impl Harness {
    pub fn start(plan: Plan<'_>) -> Self {
        let influx = match plan.version {
            1 => Influx::Real(Influxd::start_new()),
            2 => Influx::Fake(FakeInflux::start_with_token(FakeVersion::V2, "t0ken")),
            _ => Influx::Fake(FakeInflux::start_with_token(FakeVersion::V3, "t0ken")),
        };
        let broker = Mosquitto::start(&Options::default());
        let subscriber = Subscriber::start(&broker, "sos/#");
        let relic = FakeNewRelic::start(&[ACCOUNT]);
        let targets: [(&str, SocketAddr); 3] = [
            (INFLUX, influx.address()),
            (BROKER, ([127, 0, 0, 1], broker.port()).into()),
            (NEW_RELIC, relic.address()),
        ];
        let (mut proxies, mut fronts) = (BTreeMap::new(), BTreeMap::new());
        for (name, mut target) in targets {
            if let Some((pair, _)) = &plan.tls {
                let front = TlsFront::start(target, pair);
                target = front.address();
                fronts.insert(name, front);
            }
            proxies.insert(name, TcpProxy::start(target));
        }
        let port = |name| proxies[name].port();
        let config = config(&plan, port(INFLUX), port(BROKER), port(NEW_RELIC));
        let mut sandbox = Sandbox::new(&config);
        if let Some((_, authority)) = &plan.tls {
            // The one way to make New Relic's authority another one.
            sandbox.set_environment("SSL_CERT_FILE", authority.display().to_string());
        }
        sandbox.wrap(plan.wrapper);
        sandbox.start();
        let sender = NumberedSender::new(&sandbox, 0);
        Self { sandbox, proxies, fronts, influx, _broker: broker, subscriber, relic, sender }
    }

    /// Sends some more events, without waiting for any destination.
    pub fn send(&mut self, events: u64) {
        self.sender.send(events);
    }

    pub fn sent(&self) -> u64 {
        self.sender.next()
    }

    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.sandbox.metrics().sum(name, labels)
    }

    /// Errors of a class that a destination has met.
    pub fn errors(&self, destination: &str, class: &str) -> f64 {
        let labels = [("destination", destination), ("reason", class)];
        self.metric("butler_sos_delivery_errors_total", &labels)
    }

    pub fn ready(&self) -> Value {
        let (status, body) = self.sandbox.ready();
        assert_eq!(status, 200, "an outage does not make the server unready: {body}");
        body
    }

    /// All but these have everything, whatever these do.
    pub fn assert_others_go_on(&self, away: &[&str]) {
        for other in DESTINATIONS.into_iter().filter(|name| !away.contains(name)) {
            wait_for(&format!("{other} not to wait for {away:?}"), || {
                let delivered = self.metric("butler_sos_events_delivered_total", &[("destination", other)]);
                (delivered >= self.sent() as f64).then_some(())
            });
        }
        let named = self.ready();
        for other in DESTINATIONS.into_iter().filter(|name| !away.contains(name)) {
            assert_eq!(named["destinations"][other]["up"], true, "{other}: {named}");
        }
    }

    /// `destination` is named as away, for this reason, and its events wait.
    pub fn assert_away(&self, destination: &str, class: &str, detail: &[&str]) {
        let reported = wait_for(&format!("{destination} to be away with {class}: {detail:?}"), || {
            let reported = self.ready()["destinations"][destination].take();
            let error = reported["lastError"].as_str().unwrap_or_default();
            let is_it = reported["up"] == false
                && reported["lastErrorClass"] == class
                && detail.iter().all(|detail| error.contains(detail));
            is_it.then_some(reported)
        });
        assert!(reported["lagEvents"].as_u64() > Some(0), "{reported}");
        assert!(self.errors(destination, class) > 0.0, "counted by its class: {class}");
    }

    /// Everybody has everything: InfluxDB and CSV once.
    pub fn assert_recovered(&self) -> Metrics {
        self.assert_recovered_within(Duration::from_secs(60))
    }

    pub fn assert_recovered_within(&self, limit: Duration) -> Metrics {
        let sent = self.sent();
        let metrics = self.sandbox.settle_within(limit, sent);
        for name in [
            "butler_sos_events_missed_total",
            "butler_sos_events_dead_lettered_total",
            "butler_sos_events_shed_total",
            "butler_sos_events_rejected_total",
        ] {
            assert_eq!(metrics.sum(name, &[]), 0.0, "{name}");
        }
        let all = 0..sent;
        for (name, census) in [("InfluxDB", self.in_influx()), ("CSV", self.in_csv())] {
            census.assert_holds(name, all.clone());
            census.assert_once(name);
            assert_eq!(census.len() as u64, sent, "{name}");
        }
        self.in_new_relic().assert_holds("New Relic", all.clone());
        wait_for("the subscriber to have every event", || self.in_mqtt().has_all(all.clone()).then_some(()));
        wait_for("everybody to be up", || (self.ready()["status"] == "ok").then_some(()));
        metrics
    }

    // --- what is where

    pub fn in_influx(&self) -> Census {
        match &self.influx {
            Influx::Real(influxd) => Census::of_influxdb(influxd, DATABASE),
            Influx::Fake(fake) => {
                let of = |line: &String| {
                    let tags = read_line(line, false).expect("a line").tags;
                    number(&tags["userId"], &tags["appId"]).expect("one of ours")
                };
                fake.points().iter().map(of).collect()
            }
        }
    }

    pub fn in_csv(&self) -> Census {
        Census::of_csv(&self.sandbox.path().join("csv"))
    }

    pub fn in_mqtt(&self) -> Census {
        Census::of_mqtt(&self.subscriber, "sos/all")
    }

    pub fn in_new_relic(&self) -> Census {
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let events = self.relic.events(ACCOUNT.0);
        let of = |event| number(&text(event, "qs_userId"), &text(event, "qs_appId")).expect("one of ours");
        events.iter().map(of).collect()
    }

    // --- all proxies

    pub fn set_all(&self, mode: Mode) {
        self.proxies.values().for_each(|proxy| proxy.set(mode));
    }

    /// Connections that are kept know nothing of a new certificate or a new address.
    pub fn cut_all(&self) {
        self.proxies.values().for_each(TcpProxy::cut_all);
    }
}

impl Influx {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Real(influxd) => influxd.address(),
            Self::Fake(fake) => fake.address(),
        }
    }
}

fn config(plan: &Plan<'_>, influx_port: u16, broker_port: u16, relic_port: u16) -> String {
    let host = plan.host;
    let (scheme, broker_tls) = match &plan.tls {
        Some((_, authority)) => ("https", json!({ "enable": true, "ca": authority })),
        None => ("http", json!({ "enable": false })),
    };
    let relic = format!("{scheme}://{host}:{relic_port}");
    let ca = plan.tls.as_ref().map(|(_, authority)| authority);
    Settings::user_events()
        .and(influx(plan.version, influx_port))
        .and(new_relic(&relic, ACCOUNT, false))
        .and(one_topic(host, broker_port, "sos/all"))
        .and(csv())
        .and(json!({
            "Butler-SOS": {
                "influxdbConfig": {
                    "host": host, "scheme": scheme, "ca": ca,
                    "v1Config": { "retentionPolicy": { "name": "forever", "duration": "INF" } },
                    "v3Config": { "writeTimeout": 1_000 },
                },
                "mqttConfig": { "tls": broker_tls },
            },
            "Pipeline": { "influxdb": { "timeoutMs": 1_000 } },
        }))
        .and(plan.more.clone())
        .text()
}
