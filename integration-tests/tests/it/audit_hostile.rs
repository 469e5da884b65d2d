//! Whatever is accepted is a point that a real InfluxDB takes, a row that readers of others read, a message that a
//! broker passes on. What the API answers to whatever comes is tested beside it.

use std::collections::BTreeSet;

use butler_sos_integration_tests::any_event::accepted_body;
use butler_sos_integration_tests::audit_client::{AuditClient, event_id};
use butler_sos_integration_tests::audit_config::{AuditConfig, DATABASE, TOPIC};
use butler_sos_integration_tests::hostile_bodies::{ID, accepted, nearly_an_event};
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::sandbox::{Sandbox, wait_for};
use butler_sos_integration_tests::subscriber::Subscriber;
use butler_sos_integration_tests::written::{Row, csv_rows, parquet_rows, qvd_rows};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

/// Values of a strategy, as many as are asked for.
fn generated<T>(strategy: &impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = TestRunner::new(Config::default());
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

#[test]
fn what_is_accepted_is_taken_everywhere() {
    let influxd = Influxd::start_new();
    let broker = Mosquitto::start(&Options::default());
    let subscriber = Subscriber::start(&broker, TOPIC);
    let config = AuditConfig::everywhere(&influxd, &broker);
    let sandbox = Sandbox::start_new(&config.text());
    let client = AuditClient::new(sandbox.address("audit-events"));

    let named = accepted();
    let anything = generated(&accepted_body(), 500).into_iter().map(|body| ("generated", body));
    let bodies: Vec<(&str, String)> = named.into_iter().chain(anything).collect();
    for (n, (name, body)) in bodies.iter().enumerate() {
        let answer = client.post(body.replacen(ID, &event_id(n), 1));
        assert_eq!(answer.status, 202, "{name}: {answer:?} to {}", &body[..body.len().min(2_000)]);
    }
    let name = |id: &str| {
        let n: usize = id.rsplit('-').next().and_then(|n| n.parse().ok()).expect("one of ours");
        let (name, body) = &bodies[n];
        format!("{name}: {}", body.chars().take(1_000).collect::<String>())
    };
    let metrics = sandbox.settle();
    assert_eq!(metrics.sum("butler_sos_events_stored_total", &[]), bodies.len() as f64);
    let dead_letters = std::fs::read_dir(sandbox.path().join("dead-letters"));
    let dead_letters =
        dead_letters.into_iter().flatten().flatten().map(|entry| std::fs::read_to_string(entry.path()));
    let dead_letters: Vec<String> =
        dead_letters.flatten().map(|text| text.chars().take(3_000).collect()).collect();
    assert_eq!(metrics.sum("butler_sos_events_dead_lettered_total", &[]), 0.0, "{dead_letters:?}");

    let all: BTreeSet<String> = (0..bodies.len()).map(event_id).collect();
    let check = |destination: &str, found: Vec<String>| {
        assert_eq!(found.len(), all.len(), "{destination}");
        let missing = all.difference(&found.into_iter().collect()).next().map(|id| name(id));
        assert_eq!(missing, None, "{destination}");
    };
    let series = influxd.query(DATABASE, "SELECT * FROM audit_event GROUP BY eventId")["series"].take();
    let series = series.as_array().expect("series").iter();
    check("InfluxDB", series.map(|one| one["tags"]["eventId"].as_str().expect("an id").to_owned()).collect());
    let ids = |rows: Vec<Row>| -> Vec<String> {
        rows.iter().map(|row| row["eventId"].as_str().expect("an id").to_owned()).collect()
    };
    let at = |kind: &str| sandbox.path().join("data").join(kind);
    check("Parquet", ids(parquet_rows(&at("parquet"))));
    check("QVD", ids(qvd_rows(&at("qvd"))));
    check("CSV", ids(csv_rows(&at("csv"))));
    wait_for("every message", || (subscriber.count() >= all.len()).then_some(()));
}

#[test]
fn what_is_nearly_an_event_is_answered_and_costs_nobody_anything() {
    let sandbox = Sandbox::start_new(&AuditConfig { files: true, ..AuditConfig::default() }.text());
    let client = AuditClient::new(sandbox.address("audit-events"));
    let mut accepted = 0;
    for body in generated(&nearly_an_event(), 400) {
        let answer = client.post(&body);
        assert!(matches!(answer.status, 202 | 400 | 422), "{answer:?} to {body}");
        accepted += u64::from(answer.status == 202);
    }
    assert!(accepted > 0);
    // The same event again is answered as before, and stored once.
    let metrics = sandbox.settle();
    assert!(metrics.sum("butler_sos_events_stored_total", &[]) <= accepted as f64);
    assert_eq!(metrics.sum("butler_sos_events_dead_lettered_total", &[]), 0.0);
    assert_eq!(metrics.sum("butler_sos_actor_restarts_total", &[]), 0.0, "nothing panicked");
}
