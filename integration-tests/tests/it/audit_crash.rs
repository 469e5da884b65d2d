//! The promise of a 202: whatever happens to the process, the event reaches every destination, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use butler_sos_integration_tests::audit_client::{AuditClient, event_id};
use butler_sos_integration_tests::audit_config::{AuditConfig, DATABASE, TOPIC};
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::sandbox::{Sandbox, wait_for};
use butler_sos_integration_tests::subscriber::Subscriber;
use butler_sos_integration_tests::written::{Row, csv_rows, files, json_files, parquet_rows, qvd_rows};
use serde_json::json;

const EVENTS: usize = 2_000;
const CONNECTIONS: usize = 32;
const KILLS: usize = 5;

fn event(n: usize) -> String {
    json!({
        "schemaVersion": 1, "eventId": event_id(n), "correlationId": n.to_string(),
        "timestamp": format!("2026-11-20T10:{:02}:{:02}.{:03}Z", n / 60_000, n / 1_000 % 60, n % 1_000),
        "type": "event.test", "source": { "kind": "qlik-sense-extension" },
        "payload": {
            "context": { "user": format!("LAB\\user{}", n % 50), "appName": "Sales" },
            "event": { "objectId": format!("o{n}"), "visible": n.is_multiple_of(2), "objectData": { "n": n } },
        },
    })
    .to_string()
}

#[test]
fn every_202_survives_kill_9_in_every_destination() {
    let influxd = Influxd::start_new();
    let broker = Mosquitto::start(&Options::default());
    let subscriber = Subscriber::start(&broker, TOPIC);
    let config = AuditConfig::everywhere(&influxd, &broker);
    let mut sandbox = Sandbox::start_new(&config.text());
    // It stays the same over restarts.
    let server = sandbox.address("audit-events");
    let (next, accepted, unanswered) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let client = AuditClient::new(server);
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= EVENTS {
                        return;
                    }
                    let event = event(n);
                    wait_for("a 202", || match client.try_post(&event) {
                        Some(answer) if answer.status == 202 => Some(()),
                        Some(answer) => panic!("{answer:?}"),
                        None => {
                            unanswered.fetch_add(1, Ordering::Relaxed);
                            None
                        }
                    });
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for kill in 1..=KILLS {
            let enough = EVENTS * kill / (KILLS + 1);
            wait_for("events to be accepted", || (accepted.load(Ordering::Relaxed) >= enough).then_some(()));
            sandbox.kill();
            sandbox.start();
        }
    });
    assert_eq!(accepted.into_inner(), EVENTS);
    assert!(unanswered.into_inner() >= KILLS, "the server was killed while it was spoken to");
    let metrics = sandbox.settle();
    assert_eq!(metrics.sum("butler_sos_events_dead_lettered_total", &[]), 0.0);

    let all: BTreeSet<String> = (0..EVENTS).map(event_id).collect();
    let at = |kind: &str| sandbox.path().join("data").join(kind);
    check_once("Parquet", &all, &parquet_rows(&at("parquet")));
    check_once("QVD", &all, &qvd_rows(&at("qvd")));
    check_once("CSV", &all, &csv_rows(&at("csv")));
    let json: Vec<Row> = json_files(&at("json"))
        .values()
        .map(|content| serde_json::from_str(content).expect("JSON"))
        .collect();
    check_once("JSON", &all, &json);
    for kind in ["parquet", "qvd", "csv", "json"] {
        let all = std::fs::read_dir(at(kind)).expect("a directory").count();
        assert_eq!(files(&at(kind), kind).len(), all, "{kind}: nothing unfinished is left");
    }

    let points = influxd.tag_of_points(DATABASE, "audit_event", "eventId", "objectId");
    let points: Vec<Row> =
        points.into_iter().map(|id| Row::from_iter([("eventId".to_owned(), id.into())])).collect();
    check_once("InfluxDB", &all, &points);

    wait_for("every message", || {
        let payloads = subscriber.json(TOPIC);
        let published =
            payloads.iter().map(|payload| payload["event"]["eventId"].as_str().expect("an id").to_owned());
        (published.collect::<BTreeSet<_>>() == all).then_some(())
    });
    assert!(sandbox.stop().success());
}

/// Every event is there, none twice.
fn check_once(destination: &str, all: &BTreeSet<String>, rows: &[Row]) {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *found.entry(row["eventId"].as_str().expect("an id")).or_default() += 1;
    }
    let lost: Vec<_> = all.iter().filter(|id| !found.contains_key(id.as_str())).collect();
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    assert!(lost.is_empty(), "{destination} has not {lost:?}");
    assert!(twice.is_empty(), "{destination} has more than once {twice:?}");
    assert_eq!(rows.len(), all.len(), "{destination}");
}
