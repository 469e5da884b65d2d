//! User events from UDP to real servers and files: all of them, once, everywhere the same.

use std::collections::{BTreeMap, BTreeSet};

use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::sandbox::{Metrics, Sandbox, wait_for};
use butler_sos_integration_tests::sender::send;
use butler_sos_integration_tests::settings::{Settings, csv, influx, mqtt};
use butler_sos_integration_tests::subscriber::Subscriber;
use butler_sos_integration_tests::written::csv_table;
use serde_json::{Value, json};

use crate::sent_events::{Sent, mixed};

const TAG: (&str, &str) = ("the, env", "our dev, a=b\\");

fn tagged() -> Value {
    json!({ "Butler-SOS": { "userEvents": { "tags": [{ "name": TAG.0, "value": TAG.1 }] } } })
}

fn datagrams(events: &[Sent]) -> Vec<&[u8]> {
    events.iter().map(|event| event.datagram.as_slice()).collect()
}

/// Nothing was rejected or refused, and everything was delivered, by the server's own count; the figures.
fn check_counts(sandbox: &Sandbox, events: &[Sent], destinations: &[&'static str]) -> Metrics {
    let count = events.len() as f64;
    let delivered = |metrics: &Metrics, destination| {
        metrics.sum("butler_sos_events_delivered_total", &[("destination", destination)])
    };
    // Counted as soon as the journal knows, not before.
    let metrics = wait_for("all events to be counted as delivered", || {
        let metrics = sandbox.metrics();
        destinations.iter().all(|of| delivered(&metrics, *of) >= count).then_some(metrics)
    });
    assert_eq!(metrics.sum("butler_sos_events_stored_total", &[("intake", "user_events")]), count);
    assert_eq!(metrics.unaccounted(), 0.0);
    for destination in destinations {
        assert_eq!(delivered(&metrics, *destination), count, "{destination}");
        let dead = metrics.sum("butler_sos_events_dead_lettered_total", &[("destination", *destination)]);
        assert_eq!(dead, 0.0, "{destination}");
    }
    metrics
}

#[test]
fn every_event_is_everywhere() {
    let influxd = Influxd::start_new_with_admin("sos", "one s3cret, = word");
    let broker = Mosquitto::start(&Options::default());
    let subscriber = Subscriber::start(&broker, "#");
    let settings = Settings::user_events()
        .and(influx(1, influxd.port()))
        .and(mqtt(&broker))
        .and(csv())
        .and(tagged())
        .and(json!({
            "Butler-SOS": { "influxdbConfig": {
                "maxBatchSize": 300,
                "v1Config": { "auth": { "enable": true, "username": "sos", "password": "one s3cret, = word" } },
            } },
            // Several files.
            "Pipeline": { "csv": { "userEvents": { "rotateBytes": 200_000 } } },
        }));
    let sandbox = Sandbox::start_new(&settings.text());
    let mut events = mixed(2_500);
    // One event again and again: the same tags, the same batch, a point each.
    events.extend(vec![events[1].clone(); 100]);
    send(&sandbox, &datagrams(&events));
    let metrics = check_counts(&sandbox, &events, &["influx_sink", "mqtt_sink", "csv_sink"]);
    let batches = metrics.sum("butler_sos_batches_delivered_total", &[("destination", "influx_sink")]);
    assert!(batches >= 9.0, "{batches} batches");

    check_influxdb(&influxd, &events);
    check_messages(&subscriber, &events);
    check_csv(&sandbox, &events);

    assert!(!sandbox.log_text().contains("s3cret"));
    assert!(sandbox.log_lines().iter().all(|line| !line.contains("\"level\":\"error\"")));
}

#[test]
fn a_broker_with_a_password() {
    check_broker(&Options { login: Some(("sos", "s3cret, = word")), ..Options::default() }, json!({}));
}

#[test]
fn a_broker_with_tls() {
    // By its address, which its certificate names, too.
    check_broker(&Options { tls: true, ..Options::default() }, json!({ "brokerHost": "127.0.0.1" }));
}

#[test]
fn a_broker_with_tls_password_client_certificate_and_version_5() {
    let options = Options {
        tls: true,
        client_certificate: true,
        login: Some(("sos", "s3cret, = word")),
        lines: Vec::new(),
    };
    check_broker(&options, json!({ "version": 5, "qos": 2 }));
}

fn check_broker(options: &Options, more: Value) {
    let broker = Mosquitto::start(options);
    let subscriber = Subscriber::start(&broker, "#");
    let settings = Settings::user_events()
        .and(mqtt(&broker))
        .and(tagged())
        .and(json!({ "Butler-SOS": { "mqttConfig": more } }));
    let sandbox = Sandbox::start_new(&settings.text());
    let events = mixed(300);
    send(&sandbox, &datagrams(&events));
    check_counts(&sandbox, &events, &["mqtt_sink"]);
    check_messages(&subscriber, &events);
    assert!(!sandbox.log_text().contains("s3cret"));
}

// === InfluxDB

/// Tags by the keys of MQTT.
const TAGS: [(&str, &str); 11] = [
    ("host", "host"),
    ("event_action", "command"),
    ("userDirectory", "userDir"),
    ("userId", "userId"),
    ("origin", "origin"),
    ("appId", "appId"),
    ("appName", "appName"),
    ("qs_uaBrowserName", "uaBrowserName"),
    ("qs_uaBrowserMajorVersion", "uaBrowserMajorVersion"),
    ("qs_uaOsName", "uaOsName"),
    ("qs_uaOsVersion", "uaOsVersion"),
];

/// A tag's value as InfluxDB has it: one that ends in a backslash gets a blank.
fn as_tag(value: &str) -> String {
    if value.ends_with('\\') { format!("{value} ") } else { value.to_owned() }
}

fn tags_of(event: &Sent) -> BTreeMap<String, String> {
    let own = TAGS.map(|(tag, key)| (tag, event.part(key).to_owned()));
    let more = [("userFull", event.user_full()), (TAG.0, TAG.1.to_owned())];
    let all = own.into_iter().chain(more).filter(|(_, value)| !value.is_empty());
    all.map(|(tag, value)| (tag.to_owned(), as_tag(&value))).collect()
}

fn fields_of(event: &Sent) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::from([
        ("userFull".to_owned(), event.user_full().into()),
        ("userId".to_owned(), event.part("userId").into()),
    ]);
    for key in ["appId", "appName"] {
        if let Some(value) = event.parts.get(key) {
            fields.insert(key.to_owned(), value.as_str().into());
        }
    }
    fields
}

fn check_influxdb(influxd: &Influxd, events: &[Sent]) {
    let points = influxd.points("senseops", "user_events");
    assert_eq!(points.len(), events.len());
    for (point, event) in points.iter().zip(events) {
        assert_eq!((&point.tags, &point.fields), (&tags_of(event), &fields_of(event)));
    }
    let measurements = influxd.rows("senseops", "SHOW MEASUREMENTS");
    assert_eq!(measurements, [[Value::from("user_events")]], "nothing breaks out of its line");

    // What people ask.
    assert_eq!(influxd.count("senseops", "user_events", "userId"), events.len() as u64);
    let ids: BTreeSet<&str> = events.iter().map(|event| event.part("userId")).collect();
    let distinct = "SELECT COUNT(\"distinct\") FROM (SELECT DISTINCT(\"userId\") FROM \"user_events\")";
    assert_eq!(influxd.rows("senseops", distinct)[0][1], ids.len());
    for command in ["Start session", "Stop session", "Open connection", "Close connection"] {
        let count = events.iter().filter(|event| event.part("command") == command).count();
        let of = format!(
            "SELECT COUNT(\"userId\") FROM \"user_events\" WHERE \"event_action\" = '{command}' AND \"{}\" = '{}'",
            TAG.0,
            as_tag(TAG.1).replace('\\', "\\\\"),
        );
        assert_eq!(influxd.rows("senseops", &of)[0][1], count, "{command}");
    }
    for (tag, _) in TAGS.into_iter().chain([("userFull", "")]) {
        let stored: BTreeSet<String> =
            influxd.tag_values("senseops", "user_events", tag).into_iter().collect();
        let sent: BTreeSet<String> = events.iter().filter_map(|event| tags_of(event).remove(tag)).collect();
        assert_eq!(stored, sent, "{tag}");
    }
}

// === MQTT

const EVERYTHING: &str = "qliksense/userevent";
const TOPICS: [(&str, &str); 4] = [
    ("qliksense/userevent/session/start", "Start session"),
    ("qliksense/userevent/session/stop", "Stop session"),
    ("qliksense/userevent/connection/open", "Open connection"),
    ("qliksense/userevent/connection/close", "Close connection"),
];

fn payload_of(event: &Sent) -> Value {
    let mut payload = json!(event.parts);
    payload["tags"] = json!({ TAG.0: TAG.1 });
    payload
}

/// Each topic got what belongs to it, in order, once.
fn check_messages(subscriber: &Subscriber, events: &[Sent]) {
    let mut expect = BTreeMap::<&str, Vec<Value>>::new();
    for event in events {
        let own = TOPICS.iter().find(|(_, command)| *command == event.part("command"));
        for topic in own.map(|(topic, _)| *topic).into_iter().chain([EVERYTHING]) {
            expect.entry(topic).or_default().push(payload_of(event));
        }
    }
    let messages = subscriber.wait_for_messages(expect.values().map(Vec::len).sum());
    let mut got = BTreeMap::<&str, Vec<Value>>::new();
    for message in &messages {
        got.entry(&message.topic).or_default().push(message.json());
    }
    assert_eq!(got.keys().collect::<Vec<_>>(), expect.keys().collect::<Vec<_>>());
    for (topic, expect) in expect {
        assert_eq!(got[topic].len(), expect.len(), "{topic}");
        for (at, (got, expect)) in got[topic].iter().zip(&expect).enumerate() {
            assert_eq!(got, expect, "{topic}, message {at}");
        }
    }
}

// === CSV

/// The columns behind the timestamp by the keys of MQTT; `userFull` has none.
pub const COLUMNS: [(&str, &str); 15] = [
    ("host", "host"),
    ("event_action", "command"),
    ("userFull", ""),
    ("userDirectory", "userDir"),
    ("userId", "userId"),
    ("origin", "origin"),
    ("context", "context"),
    ("message", "message"),
    ("appId", "appId"),
    ("appName", "appName"),
    ("uaBrowserName", "uaBrowserName"),
    ("uaBrowserMajorVersion", "uaBrowserMajorVersion"),
    ("uaOsName", "uaOsName"),
    ("uaOsVersion", "uaOsVersion"),
    ("messageType", "messageType"),
];

fn check_csv(sandbox: &Sandbox, events: &[Sent]) {
    let directory = sandbox.path().join("csv");
    assert!(std::fs::read_dir(&directory).expect("a directory").count() >= 3, "several files");
    let (columns, rows) = csv_table(&directory);
    let expect: Vec<&str> = ["timestamp"].into_iter().chain(COLUMNS.map(|(column, _)| column)).collect();
    assert_eq!(columns, expect);
    assert_eq!(rows.len(), events.len());
    let times: Vec<&String> = rows.iter().map(|row| &row[0]).collect();
    assert!(times.windows(2).all(|two| two[0] < two[1]));
    for (row, event) in rows.iter().zip(events) {
        let full = event.user_full();
        let value = |key: &str| neutralised(if key.is_empty() { &full } else { event.part(key) });
        let expect: Vec<String> = COLUMNS.iter().map(|(_, key)| value(key)).collect();
        assert_eq!(row[1..], expect);
    }
}

/// A value that a spreadsheet would run gets a quote before it.
fn neutralised(value: &str) -> String {
    if value.starts_with(['=', '+', '-', '@', '\t']) { format!("'{value}") } else { value.to_owned() }
}
