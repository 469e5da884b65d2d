//! One item that somebody cannot take costs itself alone, and is kept with the reason.
//!
//! | who | what it cannot take | where it goes | shown by |
//! |---|---|---|---|
//! | UDP intake, user parser | no layout of a proxy, not UTF-8, too long, from a stranger | quarantine, `rejected` by reason | `conservation` |
//! | user parser | a datagram that makes it panic | quarantine, `actor_panic` | `user_parser::tests::a_datagram_that_panics_affects_no_other_datagram` |
//! | audit API | no JSON, no envelope, a payload against its schema | answered 400 or 422, `rejected` by reason | `golden_audit_api`, `audit_hostile` |
//! | every encoder and destination | a record of the journal that is no event | dead letter | here |
//! | InfluxDB 1 (real), 2, 3 | a field of another type than there is | dead letter, InfluxDB's words | here, `influx_versions`, `real_influx` |
//! | InfluxDB 1 (real), 2, 3 | a line that it cannot parse | dead letter, InfluxDB's words | `influx_versions`, `real_influx` |
//! | MQTT (real) | a message larger than the broker takes | dead letter | `real_mosquitto` |
//! | New Relic | an event that it answers 400 to | dead letter, its words | `new_relic` |
//! | screenshots | what is no image, too large, no URL, no user | the event goes on with `screenshotError` | `screenshots::server` |
//! | redirect walker | a record of the journal that is no event | dead letter | here |
//! | app directory | what is no app in QRS's answer | passed over | `app_directory::tests` |

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use butler_sos_domain::audit::AuditRecord;
use butler_sos_domain::streams::Stream;
use butler_sos_integration_tests::audit_client::{AuditClient, event_id};
use butler_sos_integration_tests::audit_config::{AuditConfig, DATABASE, INFLUX_TOKEN};
use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion};
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::journal_append::append;
use butler_sos_integration_tests::numbered::NumberedSender;
use butler_sos_integration_tests::sandbox::{Metrics, Sandbox, wait_for};
use butler_sos_integration_tests::tcp_proxy::Mode;
use butler_sos_integration_tests::written::{csv_rows, files, json_files, parquet_rows, qvd_rows};
use serde_json::{Value, json};

use crate::everything::Everything;

const TIME: &str = "2026-11-20T10:11:12.345Z";
/// The same in InfluxDB's words: types of fields hold for a shard, a range of time.
const TIME_NS: &str = "1795169472345000000";

fn event(n: usize, context: Value) -> String {
    json!({
        "schemaVersion": 1, "eventId": event_id(n), "timestamp": TIME, "type": "event.test",
        "payload": { "context": context, "event": { "objectId": "o", "objectData": { "n": n } } },
    })
    .to_string()
}

const EVENTS: usize = 200;
const POISONED: [usize; 2] = [57, 133];

/// The measurement holds numbers in `sheetName`; only the poisoned events have that field.
fn post(sandbox: &Sandbox) {
    let client = AuditClient::new(sandbox.address("audit-events"));
    for n in 0..EVENTS {
        let context = if POISONED.contains(&n) { json!({ "sheetName": "Sheet" }) } else { json!({}) };
        client.deliver(event(n, context));
    }
}

fn dead_letters(directory: &Path) -> Vec<Value> {
    let texts =
        files(directory, "jsonl").into_iter().map(|path| std::fs::read_to_string(path).expect("a file"));
    let lines: Vec<String> =
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn check_letters(sandbox: &Sandbox, metrics: &Metrics, detail: &[&str]) {
    let letters = dead_letters(&sandbox.path().join("dead-letters"));
    assert_eq!(letters.len(), POISONED.len(), "{letters:?}");
    for (letter, n) in letters.iter().zip(POISONED) {
        assert_eq!(letter["destination"], "audit_influx_sink", "{letter}");
        let record = hex::decode(letter["record"].as_str().expect("a record")).expect("hexadecimal digits");
        let kept: Value =
            serde_json::from_slice(AuditRecord::decode(&record).expect("a record").body).expect("JSON");
        assert_eq!(kept["eventId"], *event_id(n));
        let reason = letter["reason"].as_str().expect("a reason");
        assert!(detail.iter().all(|word| reason.contains(word)), "InfluxDB's own words: {reason}");
    }
    let counted = |labels: &[_]| metrics.sum("butler_sos_events_dead_lettered_total", labels);
    assert_eq!(counted(&[("destination", "audit_influx_sink")]), POISONED.len() as f64);
    assert_eq!(counted(&[]), POISONED.len() as f64, "no other destination refuses anything");
    // Counted as soon as the journal knows, not before.
    wait_for("the others to be counted as delivered", || {
        let delivered = [("destination", "audit_influx_sink")];
        let delivered = sandbox.metrics().sum("butler_sos_events_delivered_total", &delivered);
        (delivered == (EVENTS - POISONED.len()) as f64).then_some(())
    });
}

#[test]
fn a_field_of_another_type_in_a_real_influxdb() {
    let mut influxd = Influxd::start_new();
    influxd.query("", &format!("CREATE DATABASE {DATABASE}"));
    assert_eq!(influxd.write(DATABASE, &format!("audit_event sheetName=1 {TIME_NS}")).0, 204);
    // While it is away all events gather, so that they come in one batch.
    influxd.stop();
    let config = AuditConfig { influxdb: Some((1, influxd.port())), files: true, ..AuditConfig::default() };
    let sandbox = Sandbox::start_new(&config.text());
    post(&sandbox);
    influxd.start();
    let metrics = sandbox.settle();

    let mut stored = influxd.tag_of_points(DATABASE, "audit_event", "eventId", "objectId");
    stored.sort();
    let neighbours: Vec<String> = (0..EVENTS).filter(|n| !POISONED.contains(n)).map(event_id).collect();
    assert!(stored == neighbours, "{} points: {stored:?}", stored.len());
    check_letters(&sandbox, &metrics, &["field type conflict", "sheetName"]);
    let at = |kind: &str| sandbox.path().join("data").join(kind);
    assert_eq!(json_files(&at("json")).len(), EVENTS);
    assert_eq!(parquet_rows(&at("parquet")).len(), EVENTS);
    assert_eq!(qvd_rows(&at("qvd")).len(), EVENTS);
    assert_eq!(csv_rows(&at("csv")).len(), EVENTS);
}

#[test]
fn a_field_of_another_type_in_newer_versions() {
    for (number, version, detail) in [
        (2, FakeVersion::V2, ["field type conflict", "sheetName"]),
        (3, FakeVersion::V3, ["invalid column type", "sheetName"]),
    ] {
        let fake = FakeInflux::start_with_token(version, INFLUX_TOKEN);
        let config = AuditConfig { influxdb: Some((number, fake.port())), ..AuditConfig::default() };
        let sandbox = Sandbox::start_new(&config.text());
        fake.hold_type("audit_event", "sheetName", "float");
        post(&sandbox);
        let metrics = sandbox.settle();
        assert_eq!(fake.points().len(), EVENTS - POISONED.len(), "version {number}");
        check_letters(&sandbox, &metrics, &detail);
    }
}

/// The destinations of each stream, with everything switched on.
const READERS: [(Stream, &[&str]); 3] = [
    (Stream::UserEvents, &["influx_sink", "mqtt_sink", "new_relic_sink", "csv_sink"]),
    (
        Stream::AuditEvents,
        &["audit_influx_sink", "audit_mqtt_sink", "audit_csv_sink", "json_sink", "parquet_sink", "qvd_sink"],
    ),
    (Stream::Screenshots, &["redirect_walker"]),
];

/// Of each stream, one record that nobody can read, between events that wait.
#[test]
fn a_record_that_is_no_event_at_every_destination() {
    const SOME: u64 = 40;
    const DAMAGED: &[u8] = b"\x63no event";
    let mut harness = Everything::start(json!({}));
    let mut posted = BTreeSet::new();
    // Whoever is away has neighbours on both sides in one batch.
    harness.proxies.values().for_each(|proxy| proxy.set(Mode::Refuse));
    NumberedSender::new(&harness.sandbox, 0).send(SOME);
    let mut poster = harness.poster(1);
    posted.extend((0..SOME).map(|_| poster.post()));
    wait_for("user events to be stored", || {
        let stored =
            harness.sandbox.metrics().sum("butler_sos_events_stored_total", &[("intake", "user_events")]);
        (stored == SOME as f64).then_some(())
    });
    harness.sandbox.kill();
    for (stream, _) in READERS {
        append(&harness.sandbox.path().join("journal"), stream, DAMAGED);
    }
    harness.sandbox.start();
    NumberedSender::new(&harness.sandbox, SOME).send(SOME);
    let mut poster = harness.poster(1_000);
    posted.extend((0..SOME).map(|_| poster.post()));
    harness.proxies.values().for_each(|proxy| proxy.resume());
    let metrics = harness.settle_within(Duration::from_secs(60), SOME);

    let mut found = BTreeMap::<String, u64>::new();
    for letter in dead_letters(&harness.sandbox.path().join("dead-letters")) {
        assert_eq!(
            hex::decode(letter["record"].as_str().expect("a record")).expect("hexadecimal digits"),
            DAMAGED,
            "{letter}"
        );
        assert!(!letter["reason"].as_str().expect("a reason").is_empty(), "{letter}");
        *found.entry(letter["destination"].as_str().expect("a name").to_owned()).or_default() += 1;
    }
    let all = READERS.iter().flat_map(|(_, readers)| readers.iter());
    let expect: BTreeMap<String, u64> = all.map(|name| ((*name).to_owned(), 1)).collect();
    assert_eq!(found, expect, "one dead letter of each");
    for name in expect.keys() {
        let labels = [("destination", name.as_str())];
        assert_eq!(metrics.sum("butler_sos_events_dead_lettered_total", &labels), 1.0, "{name}");
    }
    // Its neighbours are everywhere.
    harness.assert_user_events(2 * SOME, 0);
    harness.assert_audit_events(&posted);
}
