//! The MQTT destination with a real journal before it and a real mosquitto behind it.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::Actor;
use butler_sos_actors::kit::message::Consumer;
use butler_sos_actors::sinks::mqtt::mqtt_sink::{Mqtt, MqttConfig, MqttSink, MqttTls, MqttVersion};
use butler_sos_actors::sinks::records::audit_events::AuditEventMessages;
use butler_sos_actors::sinks::records::user_events::UserEventMessages;
use butler_sos_domain::audit::AuditRecord;
use butler_sos_domain::encode::mqtt::{UserPayload, UserTopics};
use butler_sos_domain::event::UserEvent;
use butler_sos_domain::streams::Stream;
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use paho_mqtt as mqtt;
use serde_json::Value;

use crate::sink_harness::{Harness, LIMIT, until};

const CONSUMER: Consumer = Consumer { stream: Stream::UserEvents, name: "mqtt_sink" };

fn harness() -> Harness {
    Harness::new(vec![CONSUMER])
}

fn start_sink(harness: &Harness, make: impl Fn() -> Mqtt + Send + Sync + 'static) {
    start_hasty_sink(harness, Duration::from_millis(20), make);
}

fn start_hasty_sink(harness: &Harness, pause: Duration, make: impl Fn() -> Mqtt + Send + Sync + 'static) {
    MqttSink::new(harness.sink(CONSUMER, 500, pause), make).start();
}

fn has_errors(harness: &Harness, class: &str) -> bool {
    harness.metrics.expose().contains(&format!("reason=\"{class}\""))
}

// === events

const COMMANDS: [(&str, &str); 4] = [
    ("Start session", "sos/session/start"),
    ("Stop session", "sos/session/stop"),
    ("Open connection", "sos/connection/open"),
    ("Close connection", "sos/connection/close"),
];

fn topics() -> UserTopics {
    let own = |at: usize| Some(COMMANDS[at].1.to_owned());
    UserTopics {
        everything: Some("sos/all".to_owned()),
        session_start: own(0),
        session_stop: own(1),
        connection_open: own(2),
        connection_close: own(3),
    }
}

/// Event `n` has the command `n mod 4` and its number as context.
fn events(numbers: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    let record = |n: usize| {
        let event = UserEvent {
            received_ns: n as u64,
            message_type: "qseow-proxy-session".into(),
            host: "pro2-win1".into(),
            command: COMMANDS[n % 4].0.into(),
            user_directory: Some("LAB".into()),
            user_id: Some("göran".into()),
            context: Some(n.to_string().into()),
            ..UserEvent::default()
        };
        let mut out = Vec::new();
        event.encode_into(&mut out);
        out
    };
    numbers.map(record).collect()
}

fn config(broker: &Mosquitto) -> MqttConfig {
    MqttConfig {
        host: "localhost".to_owned(),
        port: broker.port(),
        timeout: Duration::from_secs(5),
        ..MqttConfig::default()
    }
}

// === a subscriber

struct Subscriber {
    client: mqtt::AsyncClient,
    messages: mqtt::AsyncReceiver<Option<mqtt::Message>>,
}

impl Subscriber {
    /// Everything below `sos/`, kept by the broker while this one is away.
    async fn new(broker: &Mosquitto) -> Self {
        let create = mqtt::CreateOptionsBuilder::new()
            .server_uri(format!("mqtt://localhost:{}", broker.port()))
            .client_id("subscriber")
            .persistence(mqtt::PersistenceType::None)
            .finalize();
        let mut client = mqtt::AsyncClient::new(create).unwrap();
        let messages = client.get_stream(100_000);
        let connect = mqtt::ConnectOptionsBuilder::new_v3().clean_session(false).finalize();
        client.connect(connect).await.unwrap();
        client.subscribe("sos/#", 1).await.unwrap();
        Self { client, messages }
    }

    /// Topic and payload of the next message.
    async fn next(&self) -> (String, Value) {
        loop {
            let message = tokio::time::timeout(LIMIT, self.messages.recv()).await.expect("a message in time");
            match message.expect("an open stream") {
                Some(message) => {
                    let payload = serde_json::from_slice(message.payload()).expect("JSON");
                    return (message.topic().to_owned(), payload);
                }
                None => self.reconnect().await,
            }
        }
    }

    async fn reconnect(&self) {
        let deadline = tokio::time::Instant::now() + LIMIT;
        while self.client.reconnect().await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "the broker does not come back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Collects until each topic has the numbers that it should have: which ones, and how many messages.
    async fn expect(&self, numbers: std::ops::Range<usize>) -> usize {
        let end = numbers.end;
        let mut missing: BTreeSet<(String, usize)> = BTreeSet::new();
        for n in numbers {
            missing.insert(("sos/all".to_owned(), n));
            missing.insert((COMMANDS[n % 4].1.to_owned(), n));
        }
        let mut got = 0;
        while !missing.is_empty() {
            let (topic, payload) = self.next().await;
            assert_eq!((&payload["host"], &payload["userId"]), (&"pro2-win1".into(), &"göran".into()));
            assert_eq!(payload["tags"]["env"], "test");
            let number: usize = payload["context"].as_str().unwrap().parse().unwrap();
            // One of before may come again: a broker that goes away has not acknowledged all it has passed on.
            let belongs = topic == "sos/all" || topic == COMMANDS[number % 4].1;
            assert!(belongs && number < end, "{number} does not belong to {topic}");
            missing.remove(&(topic, number));
            got += 1;
        }
        got
    }
}

fn user_messages() -> UserEventMessages {
    let tags = [("env".to_owned(), "test".to_owned())];
    UserEventMessages { payload: UserPayload::new(&tags), topics: topics() }
}

// === tests

#[actix_rt::test]
async fn every_event_reaches_each_of_its_topics() {
    for (version, qos, window) in [
        (MqttVersion::V5, 1, 1_000),
        (MqttVersion::V3, 1, 1),
        (MqttVersion::V5, 2, 100),
        (MqttVersion::V3, 0, 10),
    ] {
        let broker = Mosquitto::start(&Options::default());
        let subscriber = Subscriber::new(&broker).await;
        let harness = harness();
        let config = MqttConfig { version, qos, in_flight_max: window, ..config(&broker) };
        start_sink(&harness, move || Mqtt::new(config.clone(), user_messages()));
        harness.append(&events(0..1_000)).await;
        harness.settle().await;
        assert_eq!(subscriber.expect(0..1_000).await, 2_000, "{version:?} QoS {qos}");
        assert_eq!(harness.committed().await, 1_000);
        // Counted as soon as the journal knows, not before.
        let counted = "events_delivered_total{destination=\"mqtt_sink\"} 1000\n";
        until(counted, || harness.metrics.expose().contains(counted), || harness.metrics.expose()).await;
    }
}

#[actix_rt::test]
async fn what_is_wrong_is_named_without_the_password() {
    let login = ("sos", "s3cret-word");
    let broker = Mosquitto::start(&Options { tls: true, login: Some(login), ..Options::default() });
    let tls = MqttTls { ca: Some(broker.authority()), ..MqttTls::default() };
    let wrong = |password: &str, tls: Option<MqttTls>, version, host: &str| MqttConfig {
        host: host.to_owned(),
        tls,
        version,
        username: Some("sos".to_owned()),
        password: Some(password.to_owned().into()),
        ..config(&broker)
    };
    for (config, class) in [
        (wrong("wrong-w0rd", Some(tls.clone()), MqttVersion::V5, "localhost"), "auth"),
        (wrong("wrong-w0rd", Some(tls.clone()), MqttVersion::V3, "localhost"), "auth"),
        // The system does not know this authority.
        (wrong("s3cret-word", Some(MqttTls::default()), MqttVersion::V5, "localhost"), "tls"),
        // Nobody listens there.
        (wrong("s3cret-word", Some(tls), MqttVersion::V5, "127.0.0.2"), "connect"),
    ] {
        let harness = harness();
        start_sink(&harness, move || Mqtt::new(config.clone(), user_messages()));
        harness.append(&events(0..1)).await;
        let states = || format!("{:?}", harness.metrics.destination_states());
        until(class, || has_errors(&harness, class), states).await;
        assert_eq!(harness.committed().await, 0);
        let detail = states();
        assert!(!detail.contains("w0rd") && !detail.contains("s3cret"), "{detail}");
    }
}

#[actix_rt::test]
async fn nothing_is_lost_while_the_broker_is_away() {
    for version in [MqttVersion::V5, MqttVersion::V3] {
        let mut broker = Mosquitto::start(&Options::default());
        let subscriber = Subscriber::new(&broker).await;
        let harness = harness();
        let config = MqttConfig { version, in_flight_max: 50, ..config(&broker) };
        start_sink(&harness, move || Mqtt::new(config.clone(), user_messages()));
        harness.append(&events(0..300)).await;
        subscriber.expect(0..300).await;

        // Away while events come.
        broker.stop();
        harness.append(&events(300..3_000)).await;
        assert!(harness.committed().await < 3_000);
        broker.start_again();
        subscriber.expect(300..3_000).await;

        // Away in the middle of a delivery.
        harness.append(&events(3_000..12_000)).await;
        broker.stop();
        broker.start_again();
        subscriber.expect(3_000..12_000).await;
        harness.settle().await;
        assert_eq!(harness.committed().await, 12_000);
    }
}

#[actix_rt::test]
async fn an_event_that_the_broker_will_not_take_costs_itself_alone() {
    for version in [MqttVersion::V5, MqttVersion::V3] {
        let broker = Mosquitto::start(&Options {
            lines: vec!["max_packet_size 30000".to_owned()],
            ..Options::default()
        });
        let subscriber = Subscriber::new(&broker).await;
        let harness = harness();
        let config = MqttConfig { version, ..config(&broker) };
        start_sink(&harness, move || {
            Mqtt::new(config.clone(), AuditEventMessages { topic: "sos/audit".to_owned() })
        });
        let event = |n: usize| {
            let body = match n {
                3 => format!("{{\"n\":{n},\"long\":\"{}\"}}", "x".repeat(40_000)),
                5 => format!("{{\"n\":{n},\"long\":\"{}\"}}", "x".repeat(20_000)),
                _ => format!("{{\"n\":{n}}}"),
            };
            let mut out = Vec::new();
            AuditRecord::received(1_795_169_472_345_000_000, body.as_bytes()).encode_into(&mut out);
            out
        };
        let mut records: Vec<_> = (0..8).map(event).collect();
        records[6] = b"\x07damaged".to_vec();
        harness.append(&records).await;
        harness.settle().await;
        let mut got = BTreeSet::new();
        while got.len() < 6 {
            let (topic, payload) = subscriber.next().await;
            assert_eq!(
                (topic.as_str(), payload["receivedAt"].as_str()),
                ("sos/audit", Some("2026-11-20T10:11:12.345Z"))
            );
            got.insert(payload["event"]["n"].as_u64().unwrap());
        }
        assert_eq!(got, BTreeSet::from([0, 1, 2, 4, 5, 7]), "{version:?}");
        let dead = "events_dead_lettered_total{destination=\"mqtt_sink\"} 2";
        assert!(harness.metrics.expose().contains(dead), "{version:?}");
    }
}

#[actix_rt::test]
async fn many_connections_leave_nothing_behind() {
    let mut broker = Mosquitto::start(&Options::default());
    broker.stop();
    let harness = harness();
    let config = config(&broker);
    start_hasty_sink(&harness, Duration::from_millis(1), move || Mqtt::new(config.clone(), user_messages()));
    let files_and_threads = || {
        let count = |of: &str| std::fs::read_dir(format!("/proc/self/{of}")).unwrap().count();
        (count("fd"), count("task"))
    };
    let mut before = (0, 0);
    for round in 0..20 {
        harness.append(&events(round * 100..round * 100 + 100)).await;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        broker.start_again();
        harness.settle().await;
        broker.stop();
        if round == 4 {
            before = files_and_threads();
        }
    }
    // Other tests of this process have files and threads too, which they give back: what stays was left behind.
    let are_back = || {
        let (files, threads) = files_and_threads();
        files <= before.0 + 10 && threads <= before.1 + 10
    };
    until("files and threads to be given back", are_back, || {
        format!("{before:?}, then {:?}", files_and_threads())
    })
    .await;
}
