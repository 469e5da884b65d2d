//! Every destination of audit events, behind the running server, against what was recorded:
//! `golden/audit-events.jsonl`. Files are read back by readers that are not ours.

use std::collections::BTreeMap;

use butler_sos_integration_tests::audit_client::AuditClient;
use butler_sos_integration_tests::audit_config::{AuditConfig, DATABASE, INFLUX_TOKEN, TOPIC};
use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion};
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::line::{Line, read_line};
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::recorded;
use butler_sos_integration_tests::sandbox::Sandbox;
use butler_sos_integration_tests::subscriber::{Message, Subscriber};
use butler_sos_integration_tests::written::{Row, csv_rows, json_files, parquet_rows, qvd_rows};
use serde_json::{Map, Value, json};

/// As recorded, with the contract's differences.
fn cases() -> Vec<Value> {
    let cases = recorded::cases(
        include_str!("../../golden/audit-events.jsonl"),
        include_str!("../../golden/audit-events.differences.jsonl"),
    );
    assert!(cases.len() > 20);
    cases
}

fn config() -> AuditConfig {
    AuditConfig { static_tags: &[("env", "peer")], ..AuditConfig::default() }
}

fn body(case: &Value) -> &str {
    case["body"].as_str().expect("a body")
}

fn event_id(case: &Value) -> String {
    let body: Value = serde_json::from_str(body(case)).expect("JSON");
    body["eventId"].as_str().expect("an id").to_owned()
}

/// Posts every event; waits until all of them are everywhere.
fn post_all(sandbox: &Sandbox, cases: &[Value]) {
    let client = AuditClient::new(sandbox.address("audit-events"));
    for case in cases {
        client.deliver(body(case));
    }
    let metrics = sandbox.settle();
    assert_eq!(metrics.sum("butler_sos_events_stored_total", &[]), cases.len() as f64);
    assert_eq!(metrics.sum("butler_sos_events_dead_lettered_total", &[]), 0.0);
}

// === InfluxDB

#[test]
fn lines_of_each_version() {
    let cases = cases();
    for (number, version) in [(1, FakeVersion::V1), (2, FakeVersion::V2), (3, FakeVersion::V3)] {
        let token = if number == 1 { None } else { Some(INFLUX_TOKEN) };
        let fake = match token {
            Some(token) => FakeInflux::start_with_token(version, token),
            None => FakeInflux::start(version),
        };
        let sandbox =
            Sandbox::start_new(&AuditConfig { influxdb: Some((number, fake.port())), ..config() }.text());
        post_all(&sandbox, &cases);
        let read =
            |line: &str| read_line(line, number == 3).unwrap_or_else(|error| panic!("{line}: {error}"));
        let written: Vec<Line> = fake.points().iter().map(|line| read(line)).collect();
        assert_eq!(written.len(), cases.len());
        let sent: usize =
            fake.writes().iter().filter(|write| write.status == Some(204)).map(|w| w.lines.len()).sum();
        assert_eq!(sent, cases.len(), "each once");
        for case in &cases {
            let id = event_id(case);
            let written: Vec<&Line> = written.iter().filter(|line| line.tags["eventId"] == id).collect();
            let expect = read(case[format!("influx_v{number}")][0].as_str().expect("a line").trim_end());
            assert_eq!(written, [&expect], "{} version {number}", case["name"]);
        }
    }
}

#[test]
fn points_of_a_real_influxdb() {
    let cases = cases();
    let influxd = Influxd::start_new();
    let sandbox = Sandbox::start_new(&AuditConfig { influxdb: Some((1, influxd.port())), ..config() }.text());
    post_all(&sandbox, &cases);
    let series = influxd.query(DATABASE, "SELECT * FROM audit_event GROUP BY *")["series"].take();
    let series = series.as_array().expect("series");
    assert_eq!(series.len(), cases.len(), "events differ in their id");
    for case in &cases {
        let (name, id) = (&case["name"], event_id(case));
        let line = case["influx_v1"][0].as_str().expect("a line").trim_end();
        let expect = read_line(line, false).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = series.iter().find(|series| series["tags"]["eventId"] == *id);
        let found = found.unwrap_or_else(|| panic!("{name} is not there"));
        let tags: BTreeMap<String, String> = found["tags"]
            .as_object()
            .expect("tags")
            .iter()
            // A tag that this series has not is an empty one.
            .filter(|(_, value)| *value != "")
            .map(|(tag, value)| (tag.clone(), value.as_str().expect("text").to_owned()))
            .collect();
        assert_eq!(tags, expect.tags, "{name}");
        let columns = found["columns"].as_array().expect("columns");
        let values = found["values"].as_array().expect("values");
        assert_eq!(values.len(), 1, "{name}");
        let mut fields: BTreeMap<String, Value> = columns
            .iter()
            .zip(values[0].as_array().expect("a row"))
            .filter(|(_, value)| !value.is_null())
            .map(|(column, value)| (column.as_str().expect("a name").to_owned(), value.clone()))
            .collect();
        fields.remove("time");
        assert_eq!(fields.keys().collect::<Vec<_>>(), expect.fields.keys().collect::<Vec<_>>(), "{name}");
        for (field, value) in &fields {
            assert!(is_same(value, &expect.fields[field]), "{name} {field}: {value}");
        }
        let time =
            influxd.rows(DATABASE, &format!("SELECT * FROM audit_event WHERE time = {}", expect.time_ns));
        assert!(!time.is_empty(), "{name}: nothing at {}", expect.time_ns);
    }
}

/// Numbers are the same when their values are: JSON writes 5.0 as `5` or `5.0`.
fn is_same(one: &Value, other: &Value) -> bool {
    one == other || (one.is_number() && one.as_f64() == other.as_f64())
}

// === files and messages

#[test]
fn files_and_messages() {
    let cases = cases();
    let broker = Mosquitto::start(&Options::default());
    let subscriber = Subscriber::start(&broker, TOPIC);
    let sandbox =
        Sandbox::start_new(&AuditConfig { files: true, mqtt: Some(broker.port()), ..config() }.text());
    post_all(&sandbox, &cases);
    let at = |kind: &str| sandbox.path().join("data").join(kind);

    let expect: BTreeMap<String, String> = cases
        .iter()
        .filter(|case| !case["json_file"].is_null())
        .map(|case| {
            let text = |key: &str| case["json_file"][key].as_str().expect("text").to_owned();
            (text("name"), text("content"))
        })
        .collect();
    assert_eq!(json_files(&at("json")), expect);

    let parquet = parquet_rows(&at("parquet"));
    check_rows(&cases, "parquet_row", &parquet, is_same);
    // The recording's reader gave text that looks like a number as a number; these tell the two apart.
    check_rows(&cases, "qvd_row", &qvd_rows(&at("qvd")), |found, expect| {
        let number = found.as_str().and_then(|text| text.parse().ok()).or(found.as_f64());
        is_same(found, expect) || (number.is_some() && number == expect.as_f64())
    });
    // CSV was not recorded: its rows are Parquet's as text, without the tags of the other's section.
    check_rows(&cases, "parquet_row", &csv_rows(&at("csv")), |found, expect| match expect {
        Value::Null => found == "",
        Value::String(text) if text == r#"{"env":"peer"}"# => found == "",
        Value::String(text) => found == text || *found == format!("'{text}"),
        Value::Number(number) => found.as_str().and_then(|text| text.parse().ok()) == number.as_f64(),
        other => found.as_str() == Some(other.to_string().as_str()),
    });

    let messages = subscriber.wait_for_messages(cases.len());
    assert_eq!(messages.len(), cases.len());
    let text = |message: Message| String::from_utf8(message.payload).expect("UTF-8");
    let payloads: Vec<String> = messages.into_iter().map(text).collect();
    for case in &cases {
        let event = format!(",\"event\":{}}}", body(case));
        let found = payloads.iter().filter(|payload| payload.ends_with(&event)).count();
        assert_eq!(found, 1, "{}: published byte for byte", case["name"]);
    }
    assert!(payloads.iter().all(|payload| payload.starts_with("{\"receivedAt\":\"20")));
}

/// Each event has one row, with exactly the recorded columns.
fn check_rows(cases: &[Value], key: &str, rows: &[Row], is_same: impl Fn(&Value, &Value) -> bool) {
    assert_eq!(rows.len(), cases.len(), "{key}");
    for case in cases {
        let name = &case["name"];
        let expect: &Map<String, Value> = case[key].as_object().expect("a row");
        let id = json!(event_id(case));
        let row = rows.iter().find(|row| row["eventId"] == id);
        let row = row.unwrap_or_else(|| panic!("{key} {name} is not there"));
        assert_eq!(row.len(), expect.len(), "{key} {name}");
        for (column, expect) in expect {
            let found = row.get(column).unwrap_or_else(|| panic!("{key} {name} has no {column}"));
            assert!(is_same(found, expect), "{key} {name} {column}: {found} instead of {expect}");
        }
    }
}
