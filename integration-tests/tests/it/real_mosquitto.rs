//! The MQTT destination with a real journal before it and a real mosquitto behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use actix::Actor;
use butler_sos_actors::journal::actor::{Journal, JournalConfig};
use butler_sos_actors::journal::batch::RecordBatch;
use butler_sos_actors::journal::store::{OnFull, StoreConfig, StreamConfig};
use butler_sos_actors::message::{
    Append, Appetite, CatchUp, Consumer, Keep, KeepRefused, PositionOf, Stream,
};
use butler_sos_actors::metric::Metrics;
use butler_sos_actors::mqtt_sink::{Mqtt, MqttConfig, MqttSink, MqttTls, MqttVersion};
use butler_sos_actors::outlet::{Outlet, Parcel};
use butler_sos_actors::sink::{Pauses, SinkConfig, SinkOutlets};
use butler_sos_domain::audit::AuditRecord;
use butler_sos_domain::encode::mqtt::UserTopics;
use butler_sos_domain::event::UserEvent;
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use paho_mqtt as mqtt;
use serde_json::Value;
use slog::{Discard, Logger, o};
use tempfile::TempDir;

const CONSUMER: Consumer = Consumer { stream: Stream::UserEvents, name: "mqtt_sink" };
const LIMIT: Duration = Duration::from_secs(60);

// === a journal and a sink

/// Keeps dead letters where the test can count them.
struct DeadLetters;

impl Actor for DeadLetters {
    type Context = actix::Context<Self>;
}

impl actix::Handler<Parcel<Keep>> for DeadLetters {
    type Result = Result<(), KeepRefused>;

    fn handle(&mut self, _: Parcel<Keep>, _: &mut Self::Context) -> Self::Result {
        Ok(())
    }
}

struct Bench {
    _directory: TempDir,
    metrics: Metrics,
    to_append: Outlet<Append>,
    to_position: Outlet<PositionOf>,
    to_catch_up: Outlet<CatchUp>,
    outlets: SinkOutlets,
}

impl Bench {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let metrics = Metrics::new();
        let config = journal_config(directory.path(), &metrics);
        let store = config.open().unwrap();
        let journal = Journal::new(config, store).start();
        let outlets = SinkOutlets {
            to_position: Outlet::new(journal.clone(), 4),
            to_next: Outlet::new(journal.clone(), 4),
            to_commit: Outlet::new(journal.clone(), 4),
            to_dead_letters: Outlet::new(DeadLetters.start(), 4),
        };
        Self {
            _directory: directory,
            metrics,
            to_append: Outlet::new(journal.clone(), 100),
            to_position: Outlet::new(journal.clone(), 4),
            to_catch_up: Outlet::new(journal, 4),
            outlets,
        }
    }

    fn start_sink(&self, make: impl Fn() -> Mqtt + Send + Sync + 'static) {
        self.start_hasty_sink(Duration::from_millis(20), make);
    }

    fn start_hasty_sink(&self, pause: Duration, make: impl Fn() -> Mqtt + Send + Sync + 'static) {
        let config = SinkConfig {
            consumer: CONSUMER,
            appetite: Appetite { records_max: 500, bytes_max: 4 << 20, linger: Duration::ZERO },
            pauses: Pauses { min: pause, max: 10 * pause },
            outlets: self.outlets.clone(),
            actor: self.metrics.actor("mqtt_sink"),
            meter: self.metrics.destination("mqtt_sink"),
            log: Logger::root(Discard, o!()),
        };
        MqttSink::new(config, make).start();
    }

    async fn append(&self, records: &[Vec<u8>]) {
        for some in records.chunks(200) {
            let mut batch = RecordBatch::new();
            for record in some {
                batch.push(record).unwrap();
            }
            let append = Append { stream: CONSUMER.stream, records: batch };
            self.to_append.ask(append).await.unwrap().unwrap();
        }
    }

    async fn caught_up(&self) {
        let caught_up = tokio::time::timeout(LIMIT, self.to_catch_up.ask(CatchUp)).await;
        caught_up
            .unwrap_or_else(|_| panic!("the sink did not catch up: {:?}", self.metrics.destination_states()))
            .unwrap();
    }

    async fn committed(&self) -> u64 {
        self.to_position.ask(PositionOf(CONSUMER)).await.unwrap().unwrap().offset
    }

    fn errors(&self, class: &str) -> bool {
        self.metrics.expose().contains(&format!("reason=\"{class}\""))
    }
}

fn journal_config(directory: &Path, metrics: &Metrics) -> JournalConfig {
    let stream = |stream: Stream| StreamConfig {
        name: stream.name().to_owned(),
        bytes_max: 256 << 20,
        on_full: OnFull::Block,
    };
    JournalConfig {
        store: StoreConfig {
            directory: directory.to_owned(),
            streams: Stream::ALL.into_iter().map(stream).collect(),
            segment_bytes_max: 1 << 20,
            retention: Duration::from_secs(3600),
            tail_bytes_max: 1 << 20,
        },
        consumers: vec![CONSUMER],
        not_awaited: Vec::new(),
        commit_interval: Duration::from_millis(5),
        meter: metrics.journal(),
        actor: metrics.actor("journal"),
        intakes: BTreeMap::new(),
        log: Logger::root(Discard, o!()),
    }
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
    async fn new(broker: &Mosquitto, options: &mut mqtt::ConnectOptionsBuilder, tls: bool) -> Self {
        let scheme = if tls { "mqtts" } else { "mqtt" };
        let create = mqtt::CreateOptionsBuilder::new()
            .server_uri(format!("{scheme}://localhost:{}", broker.port()))
            .client_id("subscriber")
            .persistence(mqtt::PersistenceType::None)
            .finalize();
        let mut client = mqtt::AsyncClient::new(create).unwrap();
        let messages = client.get_stream(100_000);
        client.connect(options.clean_session(false).finalize()).await.unwrap();
        client.subscribe("sos/#", 1).await.unwrap();
        Self { client, messages }
    }

    async fn plain(broker: &Mosquitto) -> Self {
        Self::new(broker, &mut mqtt::ConnectOptionsBuilder::new_v3(), false).await
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
        let mut missing: BTreeSet<(String, usize)> = BTreeSet::new();
        for n in numbers {
            missing.insert(("sos/all".to_owned(), n));
            missing.insert((COMMANDS[n % 4].1.to_owned(), n));
        }
        let all = missing.clone();
        let mut got = 0;
        while !missing.is_empty() {
            let (topic, payload) = self.next().await;
            assert_eq!((&payload["host"], &payload["userId"]), (&"pro2-win1".into(), &"göran".into()));
            assert_eq!(payload["tags"]["env"], "test");
            let number: usize = payload["context"].as_str().unwrap().parse().unwrap();
            assert!(all.contains(&(topic.clone(), number)), "{number} does not belong to {topic}");
            missing.remove(&(topic, number));
            got += 1;
        }
        got
    }
}

fn tags() -> Vec<(String, String)> {
    vec![("env".to_owned(), "test".to_owned())]
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
        let subscriber = Subscriber::plain(&broker).await;
        let bench = Bench::new();
        let config = MqttConfig { version, qos, in_flight_max: window, ..config(&broker) };
        bench.start_sink(move || Mqtt::user_events(config.clone(), topics(), &tags()));
        bench.append(&events(0..1_000)).await;
        bench.caught_up().await;
        assert_eq!(subscriber.expect(0..1_000).await, 2_000, "{version:?} QoS {qos}");
        assert_eq!(bench.committed().await, 1_000);
        assert!(bench.metrics.expose().contains("events_delivered_total{destination=\"mqtt_sink\"} 1000"));
    }
}

#[actix_rt::test]
async fn tls_with_password_and_client_certificate() {
    let login = ("sos", "s3cret-word");
    let options = Options { tls: true, client_certificate: true, login: Some(login), lines: Vec::new() };
    let broker = Mosquitto::start(&options);
    let (cert, key) = broker.client_certificate();
    let mut ssl = mqtt::SslOptionsBuilder::new();
    ssl.trust_store(broker.authority()).unwrap().key_store(&cert).unwrap().private_key(&key).unwrap();
    let mut connect = mqtt::ConnectOptionsBuilder::new_v3();
    connect.ssl_options(ssl.finalize()).user_name(login.0).password(login.1);
    let subscriber = Subscriber::new(&broker, &mut connect, true).await;

    let tls = MqttTls { ca: Some(broker.authority()), cert: Some(cert), key: Some(key), passphrase: None };
    for host in ["localhost", "127.0.0.1"] {
        let config = MqttConfig {
            host: host.to_owned(),
            tls: Some(tls.clone()),
            username: Some(login.0.to_owned()),
            password: Some(login.1.to_owned().into()),
            ..config(&broker)
        };
        let bench = Bench::new();
        bench.start_sink(move || Mqtt::user_events(config.clone(), topics(), &tags()));
        bench.append(&events(0..100)).await;
        bench.caught_up().await;
        subscriber.expect(0..100).await;
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
        (wrong("s3cret-word", Some(MqttTls::default()), MqttVersion::V5, "localhost"), "connect"),
        // The certificate is for another name.
        (wrong("s3cret-word", Some(tls), MqttVersion::V5, "127.0.0.2"), "connect"),
    ] {
        let bench = Bench::new();
        bench.start_sink(move || Mqtt::user_events(config.clone(), topics(), &tags()));
        bench.append(&events(0..1)).await;
        let deadline = tokio::time::Instant::now() + LIMIT;
        while !bench.errors(class) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "no {class}: {:?}",
                bench.metrics.destination_states()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(bench.committed().await, 0);
        let words = format!("{:?}", bench.metrics.destination_states());
        assert!(!words.contains("w0rd") && !words.contains("s3cret"), "{words}");
    }
}

#[actix_rt::test]
async fn nothing_is_lost_while_the_broker_is_away() {
    for version in [MqttVersion::V5, MqttVersion::V3] {
        let mut broker = Mosquitto::start(&Options::default());
        let subscriber = Subscriber::plain(&broker).await;
        let bench = Bench::new();
        let config = MqttConfig { version, in_flight_max: 50, ..config(&broker) };
        bench.start_sink(move || Mqtt::user_events(config.clone(), topics(), &tags()));
        bench.append(&events(0..300)).await;
        subscriber.expect(0..300).await;

        // Away while events come.
        broker.stop();
        bench.append(&events(300..3_000)).await;
        assert!(bench.committed().await < 3_000);
        broker.start_again();
        subscriber.expect(300..3_000).await;

        // Away in the middle of a delivery.
        bench.append(&events(3_000..12_000)).await;
        broker.stop();
        broker.start_again();
        subscriber.expect(3_000..12_000).await;
        bench.caught_up().await;
        assert_eq!(bench.committed().await, 12_000);
    }
}

#[actix_rt::test]
async fn an_event_that_the_broker_will_not_take_costs_itself_alone() {
    for version in [MqttVersion::V5, MqttVersion::V3] {
        let broker = Mosquitto::start(&Options {
            lines: vec!["max_packet_size 30000".to_owned()],
            ..Options::default()
        });
        let subscriber = Subscriber::plain(&broker).await;
        let bench = Bench::new();
        let config = MqttConfig { version, ..config(&broker) };
        bench.start_sink(move || Mqtt::audit_events(config.clone(), "sos/audit".to_owned()));
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
        bench.append(&records).await;
        bench.caught_up().await;
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
        assert!(bench.metrics.expose().contains(dead), "{version:?}");
    }
}

#[actix_rt::test]
async fn many_connections_leave_nothing_behind() {
    let mut broker = Mosquitto::start(&Options::default());
    broker.stop();
    let bench = Bench::new();
    let config = config(&broker);
    bench.start_hasty_sink(Duration::from_millis(1), move || {
        Mqtt::user_events(config.clone(), topics(), &tags())
    });
    let files_and_threads = || {
        let count = |of: &str| std::fs::read_dir(format!("/proc/self/{of}")).unwrap().count();
        (count("fd"), count("task"))
    };
    let mut before = (0, 0);
    for round in 0..20 {
        bench.append(&events(round * 100..round * 100 + 100)).await;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        broker.start_again();
        bench.caught_up().await;
        broker.stop();
        if round == 4 {
            before = files_and_threads();
        }
    }
    let (files, threads) = files_and_threads();
    eprintln!("{before:?} {:?}", (files, threads));
    assert!(files <= before.0 + 10 && threads <= before.1 + 10, "{before:?}, then {files}, {threads}");
}
