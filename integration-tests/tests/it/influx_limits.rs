//! A real InfluxDB 1 at its limits, a page in place of an InfluxDB, and a disk that takes no dead letters: nothing is
//! lost, and `/ready` and the problems say so.

use std::collections::BTreeSet;

use butler_sos_integration_tests::audit_client::{AuditClient, event_id};
use butler_sos_integration_tests::audit_config::{AuditConfig, DATABASE, INFLUX_TOKEN};
use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion, Fault};
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::numbered::{Census, datagram};
use butler_sos_integration_tests::sandbox::{Sandbox, wait_for};
use butler_sos_integration_tests::sender::Sender;
use butler_sos_integration_tests::settings::{Settings, influx};
use serde_json::json;

const PARKED: &str = "butler_sos_destination_parked_events";

fn parked(sandbox: &Sandbox) -> f64 {
    sandbox.metrics().sum(PARKED, &[])
}

fn dead(sandbox: &Sandbox) -> f64 {
    sandbox.metrics().sum("butler_sos_events_dead_lettered_total", &[])
}

fn symptoms(sandbox: &Sandbox) -> Vec<String> {
    let state = sandbox.json("/api/state");
    let problems = state["problems"].as_array().expect("a list").iter();
    problems.map(|problem| problem["symptom"].as_str().expect("text").to_owned()).collect()
}

fn wait_for_symptom(sandbox: &Sandbox, symptom: &str) {
    wait_for(symptom, || symptoms(sandbox).iter().any(|of| of == symptom).then_some(()));
}

/// Points of user events.
fn points(influxd: &Influxd) -> u64 {
    influxd.count("senseops", "user_events", "userFull")
}

fn audit_event(n: usize) -> String {
    json!({
        "schemaVersion": 1, "eventId": event_id(n), "timestamp": "2026-11-20T10:11:12.345Z", "type": "event.test",
        "payload": { "context": {}, "event": { "objectId": "o" } },
    })
    .to_string()
}

fn post(sandbox: &Sandbox, events: std::ops::Range<usize>) {
    let client = AuditClient::new(sandbox.address("audit-events"));
    events.for_each(|n| client.deliver(audit_event(n)));
}

fn audit_config(influxd: &Influxd, ids_as_fields: &str) -> Settings {
    let config = AuditConfig { influxdb: Some((1, influxd.port())), ..AuditConfig::default() };
    config.settings().and(json!({ "Pipeline": {
        "influxdb": { "auditIdsAsFields": ids_as_fields },
        "deadLetters": { "parkedRetrySeconds": 1 },
    } }))
}

fn stored(influxd: &Influxd) -> Vec<String> {
    let mut ids = influxd.tag_of_points(DATABASE, "audit_event", "eventId", "objectId");
    ids.sort();
    ids
}

fn ids(events: std::ops::Range<usize>) -> Vec<String> {
    events.map(event_id).collect()
}

#[test]
fn user_events_beyond_a_limit_of_series_are_parked_and_come_when_it_is_raised() {
    const EVENTS: u64 = 40;
    let mut influxd = Influxd::start_new_with_limits(0, 25);
    let settings = Settings::user_events()
        .and(influx(1, influxd.port()))
        .and(json!({ "Pipeline": { "deadLetters": { "parkedRetrySeconds": 1 } } }));
    let mut sandbox = Sandbox::start_new(&settings.text());
    let mut sender = Sender::new(sandbox.udp(), sandbox.address("operations"), 50);
    // Those of users that are known already still arrive: the batch goes on without the others.
    sender.send((0..EVENTS).map(datagram));
    wait_for("the limit to keep events out", || (parked(&sandbox) > 0.0).then_some(()));
    sandbox.settle_after(EVENTS);
    sender.send((0..10).map(datagram));
    sandbox.settle_after(EVENTS + 10);
    let (kept_out, there) = (parked(&sandbox), points(&influxd));
    assert_eq!(kept_out as u64 + there, EVENTS + 10);
    assert!(there > 0);
    assert_eq!(dead(&sandbox), 0.0);
    wait_for_symptom(&sandbox, "parked");
    assert!(sandbox.get("/ready").1.contains("parked"), "{}", sandbox.get("/ready").1);

    sandbox.kill();
    influxd.stop();
    influxd.limit(0, 0);
    influxd.start();
    sandbox.start();
    wait_for("everything to be there", || (points(&influxd) == EVENTS + 10).then_some(()));
    wait_for("nothing to be parked", || (parked(&sandbox) == 0.0).then_some(()));
    assert_eq!(points(&influxd), EVENTS + 10, "each once");
    assert_eq!(Census::of_influxdb(&influxd, "senseops").numbers(), (0..EVENTS).collect::<BTreeSet<_>>());
    assert!(!symptoms(&sandbox).contains(&"parked".to_owned()));
    assert_eq!(dead(&sandbox), 0.0);
}

#[test]
fn in_a_new_database_ids_are_fields_and_no_limit_is_met() {
    let influxd = Influxd::start_new_with_limits(20, 1_000);
    let mut sandbox = Sandbox::start_new(&audit_config(&influxd, "auto").text());
    post(&sandbox, 0..60);
    sandbox.settle();
    assert_eq!(stored(&influxd), ids(0..60), "all of one millisecond, and each a point of its own");
    assert_eq!(parked(&sandbox) + dead(&sandbox), 0.0);
    let tags = influxd.rows(DATABASE, "SHOW TAG KEYS FROM audit_event");
    assert!(!tags.is_empty() && tags.iter().all(|row| row[0] != "eventId"), "{tags:?}");

    // The answer is the same after a restart.
    sandbox.kill();
    sandbox.start();
    post(&sandbox, 60..70);
    sandbox.settle();
    assert_eq!(stored(&influxd), ids(0..70));
    assert_eq!(influxd.rows(DATABASE, "SHOW TAG KEYS FROM audit_event"), tags);
}

#[test]
fn where_ids_are_tags_they_stay_tags_and_what_a_limit_keeps_out_is_parked() {
    let mut influxd = Influxd::start_new_with_limits(20, 1_000);
    influxd.query("", &format!("CREATE DATABASE {DATABASE}"));
    // What Butler SOS wrote.
    let (status, detail) =
        influxd.write(DATABASE, "audit_event,eventId=old objectId=\"o\" 1795169472345000000");
    assert_eq!(status, 204, "{detail}");
    let mut sandbox = Sandbox::start_new(&audit_config(&influxd, "auto").text());
    // What comes in one batch may go beyond the limit together.
    for events in [0..40, 40..60] {
        post(&sandbox, events);
        sandbox.settle();
    }
    let kept_out = parked(&sandbox);
    assert!(kept_out > 0.0);
    assert_eq!(stored(&influxd).len() + kept_out as usize, 61);
    assert_eq!(dead(&sandbox), 0.0);
    wait_for_symptom(&sandbox, "parked");

    // Neither a restart nor a new try without room loses one.
    sandbox.kill();
    sandbox.start();
    wait_for("them to be parked still", || (parked(&sandbox) == kept_out).then_some(()));
    influxd.stop();
    influxd.limit(0, 0);
    influxd.start();
    wait_for("nothing to be parked", || (parked(&sandbox) == 0.0).then_some(()));
    let expect: BTreeSet<String> = ids(0..60).into_iter().chain(["old".to_owned()]).collect();
    let all = stored(&influxd);
    assert_eq!(all.len(), 61, "each once");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), expect);
}

#[test]
fn without_room_to_park_the_destination_waits() {
    let mut influxd = Influxd::start_new_with_limits(20, 1_000);
    let settings = audit_config(&influxd, "false")
        .and(json!({ "Pipeline": { "deadLetters": { "parkedBytesMax": 65_536 } } }));
    let sandbox = Sandbox::start_new(&settings.text());
    post(&sandbox, 0..300);
    wait_for("the parking to be full", || {
        sandbox.get("/ready").1.contains("\"lastErrorClass\":\"parking-full\"").then_some(())
    });
    assert_eq!(dead(&sandbox), 0.0);
    influxd.stop();
    influxd.limit(0, 0);
    influxd.start();
    wait_for("everything to be there", || (stored(&influxd) == ids(0..300)).then_some(()));
    wait_for("nothing to be parked", || (parked(&sandbox) == 0.0).then_some(()));
    assert_eq!(dead(&sandbox), 0.0);
}

#[test]
fn a_page_in_place_of_influxdb_delivers_nothing() {
    for (number, version) in [(1, FakeVersion::V1), (2, FakeVersion::V2), (3, FakeVersion::V3)] {
        let fake = FakeInflux::start(version);
        let config = AuditConfig { influxdb: Some((number, fake.port())), ..AuditConfig::default() };
        fake.be_a_page(true);
        let sandbox = Sandbox::start_new(&config.text());
        post(&sandbox, 0..5);
        let is_told =
            || sandbox.get("/ready").1.contains("\"lastErrorClass\":\"not-influxdb\"").then_some(());
        wait_for("it to be told", is_told);
        wait_for_symptom(&sandbox, "destination-down");
        let delivered = |sandbox: &Sandbox| sandbox.metrics().sum("butler_sos_events_delivered_total", &[]);
        assert_eq!(delivered(&sandbox), 0.0, "version {number}");

        // Only the way of the writes leads elsewhere.
        fake.outage(Some(Fault::Page(200)));
        fake.be_a_page(false);
        wait_for("a write to meet the page", || {
            fake.writes().iter().any(|of| of.status == Some(200)).then_some(())
        });
        wait_for("it to be told", is_told);
        assert_eq!(delivered(&sandbox), 0.0, "version {number}");

        fake.outage(None);
        sandbox.settle();
        assert_eq!(fake.points().len(), 5, "version {number}");
        assert_eq!(dead(&sandbox), 0.0);
    }
}

#[test]
fn a_500_about_the_type_of_a_field_costs_one_event() {
    let fake = FakeInflux::start_with_token(FakeVersion::V2, INFLUX_TOKEN);
    fake.hold_type("audit_event", "sheetName", "float");
    fake.answer_conflicts_with(500);
    let config = AuditConfig { influxdb: Some((2, fake.port())), ..AuditConfig::default() };
    let sandbox = Sandbox::start_new(&config.text());
    let client = AuditClient::new(sandbox.address("audit-events"));
    post(&sandbox, 0..3);
    let poisoned = json!({ "schemaVersion": 1, "eventId": event_id(3), "timestamp": "2026-11-20T10:11:12.345Z",
        "type": "event.test", "payload": { "context": { "sheetName": "Sheet" }, "event": { "objectId": "o" } } });
    client.deliver(poisoned.to_string());
    post(&sandbox, 4..6);
    sandbox.settle();
    assert_eq!(dead(&sandbox), 1.0);
    assert_eq!(fake.points().len(), 5);
}

#[test]
fn a_disk_that_takes_no_dead_letters_is_a_problem_of_its_own() {
    let fake = FakeInflux::start_with_token(FakeVersion::V2, INFLUX_TOKEN);
    fake.hold_type("audit_event", "objectId", "float");
    let config = AuditConfig { influxdb: Some((2, fake.port())), ..AuditConfig::default() };
    let mut sandbox = Sandbox::new(&config.text());
    let place = sandbox.path().join("dead-letters");
    std::fs::write(&place, "a file where the directory should be").expect("a file");
    sandbox.start();
    post(&sandbox, 0..1);
    wait_for_symptom(&sandbox, "dead-letters-refused");
    wait_for_symptom(&sandbox, "destination-down");
    assert_ne!(sandbox.ready().1["status"], "ok");
    assert_eq!(dead(&sandbox), 0.0);

    std::fs::remove_file(&place).expect("the file");
    wait_for("the dead letter to be kept", || (dead(&sandbox) == 1.0).then_some(()));
    wait_for("it to go on", || (!symptoms(&sandbox).contains(&"destination-down".to_owned())).then_some(()));
}

#[test]
fn dead_letters_that_make_room_are_told() {
    let fake = FakeInflux::start_with_token(FakeVersion::V2, INFLUX_TOKEN);
    fake.hold_type("audit_event", "objectId", "float");
    let config = AuditConfig { influxdb: Some((2, fake.port())), ..AuditConfig::default() };
    let settings = config.settings().and(json!({ "Pipeline": { "deadLetters": { "bytesMax": 4_096 } } }));
    let sandbox = Sandbox::start_new(&settings.text());
    post(&sandbox, 0..20);
    wait_for_symptom(&sandbox, "dead-letters-evicted");
    assert!(
        sandbox.log_text().contains("the line log evicted old lines to free space"),
        "{}",
        sandbox.log_text()
    );
    let labels = [("actor", "dead_letter_keeper"), ("reason", "evicted")];
    assert!(sandbox.metrics().sum("butler_sos_messages_rejected_total", &labels) > 0.0);
}
