//! What is evidence stays what it is: a later event never replaces an earlier one, no depth kills the server, no clock
//! puts events where nobody looks, and object data are kept whatever they are.

use std::collections::BTreeSet;

use butler_sos_actors::kit::clock::unix_ms;
use butler_sos_domain::audit::time::rfc3339;
use butler_sos_domain::audit::{AuditRecord, BodyHash};
use butler_sos_domain::streams::Stream;
use butler_sos_integration_tests::audit_client::{AuditClient, event_id};
use butler_sos_integration_tests::audit_config::{AuditConfig, DATABASE, TOPIC};
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::journal_append::append;
use butler_sos_integration_tests::memory::peak_bytes;
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::sandbox::Sandbox;
use butler_sos_integration_tests::subscriber::Subscriber;
use butler_sos_integration_tests::written::{Row, csv_rows, json_files, parquet_rows, qvd_rows};
use serde_json::{Value, json};

fn event(n: usize, timestamp: &str, event: &str) -> String {
    format!(
        r#"{{"schemaVersion":1,"eventId":"{}","correlationId":"c","timestamp":"{timestamp}","type":"event.test","payload":{{"context":{{"user":"LAB\\goran"}},"event":{event}}}}}"#,
        event_id(n)
    )
}

/// A server with every destination of audit events.
struct World {
    influxd: Influxd,
    subscriber: Subscriber,
    sandbox: Sandbox,
    _broker: Mosquitto,
}

impl World {
    fn start() -> Self {
        let influxd = Influxd::start_new();
        let broker = Mosquitto::start(&Options::default());
        let subscriber = Subscriber::start(&broker, TOPIC);
        let sandbox = Sandbox::start_new(&AuditConfig::everywhere(&influxd, &broker).text());
        Self { influxd, subscriber, sandbox, _broker: broker }
    }

    fn client(&self) -> AuditClient {
        AuditClient::new(self.sandbox.address("audit-events"))
    }

    /// Rows of Parquet, QVD and CSV.
    fn tables(&self) -> [(&'static str, Vec<Row>); 3] {
        let at = |kind: &str| self.sandbox.path().join("data").join(kind);
        [
            ("Parquet", parquet_rows(&at("parquet"))),
            ("QVD", qvd_rows(&at("qvd"))),
            ("CSV", csv_rows(&at("csv"))),
        ]
    }

    fn json_files(&self) -> Vec<(String, Value)> {
        let files = json_files(&self.sandbox.path().join("data/json")).into_iter();
        files.map(|(name, text)| (name, serde_json::from_str(&text).expect("JSON"))).collect()
    }
}

/// One such record made files of its depth squared, and the server died of it at every start.
#[test]
fn a_deep_record_in_the_journal_is_delivered_and_kills_nobody() {
    const LEVELS: usize = 400_000;
    const MEMORY_MAX: u64 = 400 << 20;
    let mut world = World::start();
    let time = rfc3339(unix_ms().cast_signed());
    let deep = |n: usize, event_of: &dyn Fn(&str) -> String| {
        event(n, &time, &event_of(&format!("{}0{}", "[".repeat(LEVELS), "]".repeat(LEVELS))))
    };
    let refused = world.client().post(deep(1, &|deep| format!(r#"{{"objectData":{deep}}}"#)));
    let told = refused.json();
    assert_eq!((refused.status, &told["reason"]), (400, &json!("Schema validation failed")));
    let message = told["details"]["errors"][0]["message"].as_str().expect("words");
    assert_eq!(message, format!("must NOT be nested deeper than 128 levels (depth={})", LEVELS + 3));

    world.client().deliver(event(2, &time, r#"{"objectData":[1]}"#));
    world.sandbox.settle();
    world.sandbox.kill();
    let stored = [
        deep(3, &|deep| format!(r#"{{"objectData":{deep}}}"#)),
        deep(4, &|deep| format!(r#"{{"objectData":{{"objectType":"t","a":{deep}}}}}"#)),
        deep(5, &|deep| format!(r#"{{"objectData":0,"details":[{{"qField":{deep}}}]}}"#))
            .replace("event.test", "selection.state.changed"),
    ];
    let received_ns = u64::try_from(unix_ms().cast_signed()).expect("a time of this age") * 1_000_000;
    for body in &stored {
        let mut record = Vec::new();
        AuditRecord::received(received_ns, body.as_bytes()).encode_into(&mut record);
        append(&world.sandbox.path().join("journal"), Stream::AuditEvents, &record);
    }
    world.sandbox.start();
    world.client().deliver(event(6, &time, r#"{"objectData":{}}"#));
    let metrics = world.sandbox.settle();
    assert_eq!(metrics.sum("butler_sos_events_dead_lettered_total", &[]), 0.0);

    let all: BTreeSet<String> = (2..=6).map(event_id).collect();
    for (kind, rows) in world.tables() {
        let ids: Vec<&str> = rows.iter().filter_map(|row| row["eventId"].as_str()).collect();
        assert_eq!(ids.len(), all.len(), "{kind}");
        assert!(ids.iter().all(|id| all.contains(*id)), "{kind}: {ids:?}");
    }
    let files = json_files(&world.sandbox.path().join("data/json"));
    assert_eq!(files.len(), all.len());
    let longest = files.values().map(String::len).max().expect("files");
    assert!(longest <= 4 * stored[0].len() + 64 * 1024, "{longest}");
    let points = world.influxd.points(DATABASE, "audit_event");
    assert_eq!(points.len(), all.len());
    world.subscriber.wait_for_messages(all.len());
    // People look at it, too.
    let shown = world.sandbox.json("/api/events?stream=audit-events&limit=10");
    assert_eq!(shown["events"].as_array().map(Vec::len), Some(all.len()), "{shown}");
    let peak = peak_bytes(world.sandbox.pid());
    assert!(peak < MEMORY_MAX, "{} MiB", peak >> 20);
}

#[test]
fn the_same_ids_with_another_body_stand_beside_the_first() {
    let mut world = World::start();
    let time = unix_ms().cast_signed();
    let text = rfc3339(time);
    let of = |data: &str| event(1, &text, &format!(r#"{{"objectData":{{"n":{data}}}}}"#));
    let (first, second) = (of("1"), of("2"));
    for body in [&first, &second, &first, &second] {
        world.client().deliver(body);
    }
    assert_eq!(world.sandbox.settle().sum("butler_sos_events_stored_total", &[]), 2.0);
    // What was first is known after a restart.
    world.sandbox.stop();
    world.sandbox.start();
    let third = of("3");
    for body in [&second, &third, &first] {
        world.client().deliver(body);
    }
    let metrics = world.sandbox.settle();
    assert_eq!(metrics.sum("butler_sos_events_stored_total", &[]), 1.0);
    let remarked = [("intake", "audit_events"), ("reason", "conflict")];
    assert_eq!(metrics.sum("butler_sos_events_remarked_total", &remarked), 1.0);

    let of = BodyHash::of(first.as_bytes()).to_string();
    let half = |body: &String| BodyHash::of(body.as_bytes()).to_string()[..16].to_owned();
    let files = world.json_files();
    let named = |suffix: &str| {
        let end = format!("_{}_c{suffix}.json", event_id(1));
        let found = files.iter().find(|(name, _)| name.ends_with(&end));
        &found.unwrap_or_else(|| panic!("no {end} in {files:?}")).1
    };
    assert_eq!(files.len(), 3);
    assert_eq!((&named("")["objectData"]["n"], named("").get("conflictOf")), (&json!(1), None));
    for (n, body) in [(2, &second), (3, &third)] {
        let file = named(&format!("_conflict-{}", half(body)));
        assert_eq!((&file["objectData"]["n"], &file["conflictOf"]), (&json!(n), &json!(of)));
    }
    let points = world.influxd.points(DATABASE, "audit_event");
    assert_eq!(points.len(), 3, "{points:?}");
    let first_ns = u64::try_from(time).expect("a time of this age") * 1_000_000;
    assert_eq!((points[0].time, points[0].fields.get("conflictOf")), (first_ns, None));
    for point in &points[1..] {
        assert!((first_ns + 1..first_ns + 1_000_000).contains(&point.time));
        assert_eq!(point.fields["conflictOf"], of);
    }
    for (kind, rows) in world.tables() {
        let marks = rows.iter().filter(|row| row["tags"].as_str().is_some_and(|tags| tags.contains(&of)));
        assert_eq!((rows.len(), marks.count()), (3, 2), "{kind}");
    }
    let messages = world.subscriber.wait_for_messages(3);
    let marked = messages.iter().filter(|message| message.json()["conflictOf"] == of).count();
    assert_eq!((messages.len(), marked), (3, 2));

    let shown = world.sandbox.json("/api/events?stream=audit-events&limit=10");
    let marks = shown["events"].as_array().expect("events").iter().filter(|event| event["conflictOf"] == of);
    assert_eq!(marks.count(), 2, "{shown}");
    let state = world.sandbox.json("/api/state");
    let reported =
        state["problems"].as_array().expect("problems").iter().any(|of| of["symptom"] == "conflict");
    assert!(reported, "{state}");
    assert!(world.sandbox.log_text().contains("has the ids of an earlier event and a different body"));
}

#[test]
fn a_timestamp_far_ahead_counts_as_the_time_of_receipt() {
    let world = World::start();
    let before = unix_ms().cast_signed();
    let tomorrow = rfc3339(before + 23 * 3_600_000);
    world.client().deliver(event(1, "2099-12-31T00:00:00.000Z", r#"{"objectData":{"n":1}}"#));
    world.client().deliver(event(2, &tomorrow, r#"{"objectData":{"n":2}}"#));
    world.sandbox.settle();
    let after = unix_ms().cast_signed();

    let points = world.influxd.points(DATABASE, "audit_event");
    let ahead = points.iter().find(|point| point.tags["eventId"] == event_id(1)).expect("a point");
    let millis = i64::try_from(ahead.time / 1_000_000).expect("a time of this age");
    assert!((before..=after).contains(&millis), "{ahead:?}");
    assert_eq!(ahead.fields["clientTimestamp"], "2099-12-31T00:00:00.000Z");
    let near = points.iter().find(|point| point.tags["eventId"] == event_id(2)).expect("a point");
    assert_eq!(near.fields.get("clientTimestamp"), None);
    for (kind, rows) in world.tables() {
        let row = rows.iter().find(|row| row["eventId"] == event_id(1)).expect("a row");
        let date = row["date"].as_str().map_or_else(|| row["date"].to_string(), str::to_owned);
        assert!(rfc3339(millis).replace('-', "").starts_with(&date), "{kind}: {row:?}");
        assert!(row["tags"].as_str().is_some_and(|tags| tags.contains("2099-12-31")), "{kind}: {row:?}");
    }
    let files = world.json_files();
    let (name, file) = files.iter().find(|(_, file)| file["eventId"] == event_id(1)).expect("a file");
    assert!(!name.starts_with("2099"), "{name}");
    assert_eq!(file["timestamp"], rfc3339(millis));
    assert_eq!(file["clientTimestamp"], "2099-12-31T00:00:00.000Z");
    let (name, file) = files.iter().find(|(_, file)| file["eventId"] == event_id(2)).expect("a file");
    assert_eq!((file["timestamp"].as_str(), file.get("clientTimestamp")), (Some(tomorrow.as_str()), None));
    assert!(name.starts_with(&tomorrow[..10].replace('-', "")), "{name}");
}

#[test]
fn object_data_arrive_whatever_they_are() {
    const DATA: [&str; 8] = ["[1,2.0,{\"a\":[]}]", "[]", "\"text\"", "\"\"", "1e400", "-0.0", "true", "null"];
    let world = World::start();
    let time = rfc3339(unix_ms().cast_signed());
    for (n, data) in DATA.iter().enumerate() {
        world.client().deliver(event(n, &time, &format!(r#"{{"objectData":{data}}}"#)));
    }
    world.client().deliver(event(DATA.len(), &time, "{}"));
    world.sandbox.settle();
    let points = world.influxd.points(DATABASE, "audit_event");
    let tables = world.tables();
    let files = json_files(&world.sandbox.path().join("data/json"));
    assert_eq!(files.len(), DATA.len(), "none of the event without");
    for (n, data) in DATA.iter().enumerate() {
        let id = event_id(n);
        let point = points.iter().find(|point| point.tags["eventId"] == id).expect("a point");
        assert_eq!(point.fields["objectData"], *data);
        for (kind, rows) in &tables {
            let row = rows.iter().find(|row| row["eventId"] == id).expect("a row");
            // What a spreadsheet could take for a formula has a quote before it.
            let found =
                row["objectData"].as_str().map_or_else(|| row["objectData"].to_string(), str::to_owned);
            assert_eq!(found.trim_start_matches('\''), *data, "{kind}");
        }
        let (_, content) = files.iter().find(|(name, _)| name.contains(&id)).expect("a file");
        let compact: String =
            content.split_once("\"objectData\":").expect("the member").1.split("\"tags\"").take(1).collect();
        let compact: String = compact.chars().filter(|c| !c.is_whitespace()).collect();
        assert_eq!(compact.trim_end_matches(','), *data);
    }
}
