//! Whatever is posted is answered, never with a 500; and whatever is accepted is a point that a real InfluxDB
//! takes, a row that readers of others read, a message that a broker passes on.

use std::collections::BTreeSet;

use butler_sos_integration_tests::any_event::{accepted_body, any_value};
use butler_sos_integration_tests::audit_client::{AuditClient, event_id};
use butler_sos_integration_tests::audit_config::{AuditConfig, DATABASE, TOPIC};
use butler_sos_integration_tests::http::Answer;
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::sandbox::{Sandbox, wait_for};
use butler_sos_integration_tests::subscriber::Subscriber;
use butler_sos_integration_tests::written::{Row, csv_rows, parquet_rows, qvd_rows};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

const ID: &str = "00000000-0000-4000-8000-000000000001";

/// An event whose `payload.context` and `payload.event` hold this.
fn event(context: &str, event: &str) -> String {
    format!(
        r#"{{"schemaVersion":1,"eventId":"{ID}","timestamp":"2026-11-20T10:11:12.345Z","type":"event.test","payload":{{"context":{{{context}}},"event":{{{event}}}}}}}"#
    )
}

/// Events that are accepted and break what is careless.
fn hostile() -> Vec<(&'static str, String)> {
    let mega = "x".repeat(1_000_000);
    // Less than a megabyte, more as soon as it is escaped.
    let quotes = r#"\""#.repeat(500_000);
    let deep = format!("{}{}", r#"{"a":["#.repeat(50), "]}".repeat(50));
    let nines = "9".repeat(100_000);
    let plain = event("", r#""objectId":"o""#);
    vec![
        ("deep nesting", event("", &format!(r#""objectData":{deep},"details":[{deep}]"#))),
        (
            "huge numbers",
            event("", r#""duration":1e999999,"dataStateId":-1e999999,"objectData":{"n":1e999999}"#),
        ),
        (
            "largest numbers",
            event("", r#""duration":1.7976931348623157e308,"dataStateId":-1.7976931348623157e308"#),
        ),
        ("smallest number", event("", r#""duration":5e-324,"dataStateId":-0.0"#)),
        (
            "long numbers",
            event("", &format!(r#""duration":{nines},"dataStateId":{nines},"objectData":{{"n":{nines}}}"#)),
        ),
        (
            "duplicate keys",
            event(r#""user":"a","user":"b""#, r#""objectId":"o","objectId":5,"visible":true,"visible":"x""#),
        ),
        (
            "duplicate object data",
            event("", r#""objectData":{"objectType":"a","objectType":5},"objectData":{"objectType":"b"}"#),
        ),
        (
            "lone surrogates",
            event(
                r#""user":"\ud800","appName":"\udc00x","sheetName":"\ud800\ud800""#,
                r#""objectId":"\udfff","objectData":{"\ud800":"\ud800"}"#,
            ),
        ),
        (
            "NUL",
            event(
                r#""user":"a\u0000b","appName":"\u0000","sheetName":"\u0000""#,
                r#""objectId":"\u0000","objectData":{"\u0000":"\u0000"}"#,
            ),
        ),
        (
            "line ends",
            event(
                r#""user":"a\nb,c=d e=1i 5\n","appName":"\r\n","sheetName":"\n""#,
                r#""objectId":"a\nm f=1 1\n""#,
            ),
        ),
        (
            "backslashes",
            event(
                r#""user":"\\","appName":"\\\\","sheetName":"\\""#,
                r#""objectId":"\\\"","enteredAt":"\\\\\"""#,
            ),
        ),
        (
            "all control characters",
            event(r#""user":"\u0001\u0002\u0003\u001f\u007f\u0085","sheetId":"\u0001\u001f""#, ""),
        ),
        ("a megabyte of tag", event(&format!(r#""user":"{mega}""#), "")),
        ("a megabyte of field", event(&format!(r#""sheetName":"{mega}""#), "")),
        ("a megabyte of object data", event("", &format!(r#""objectData":{{"k":"{mega}"}}"#))),
        ("a megabyte of quotes", event(&format!(r#""sheetName":"{quotes}""#), "")),
        ("a megabyte of objects", event("", &format!(r#""details":[{}{{}}]"#, "{},".repeat(300_000)))),
        ("a megabyte of blanks", format!("{}{plain}", " ".repeat(1_000_000))),
        ("a byte order mark", format!("\u{feff}{plain}")),
        ("the first year", plain.replace("2026-", "0000-")),
        ("the last year", plain.replace("2026-", "9999-")),
        (
            "the edge of InfluxDB's times",
            plain.replace("2026-11-20T10:11:12.345Z", "2262-04-11T23:47:16.854Z"),
        ),
        ("the other edge", plain.replace("2026-11-20T10:11:12.345Z", "1677-09-21T00:12:43.146Z")),
        ("a leap second", plain.replace("2026-11-20T10:11:12.345Z", "2016-12-31T23:59:60Z")),
        ("nothing in it", event("", "")),
        ("a long type", plain.replace("event.test", &format!("event.{}", ", =".repeat(10_000)))),
        ("names that InfluxDB keeps", event("", r#""objectData":{"time":1,"_field":2,"objectType":"time"}"#)),
    ]
}

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

    let named = hostile();
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

/// Any JSON, and events with a part that is anything.
fn nearly_an_event() -> impl Strategy<Value = String> {
    let places = vec![
        "",
        "/schemaVersion",
        "/eventId",
        "/correlationId",
        "/timestamp",
        "/type",
        "/source",
        "/payload",
        "/payload/context",
        "/payload/context/appId",
        "/payload/event",
    ];
    (accepted_body(), prop::sample::select(places), any_value()).prop_map(|(body, place, part)| {
        let mut body: Value = serde_json::from_str(&body).expect("JSON");
        match body.pointer_mut(place) {
            Some(old) => *old = part,
            None => body["source"] = part,
        }
        body.to_string()
    })
}

fn check_answer(answer: &Answer) {
    let body = &answer.json();
    let expect: &[&str] = match answer.status {
        202 => {
            assert_eq!(
                (&body["status"], &body["outcome"]),
                (&"accepted".into(), &"processed".into()),
                "{body}"
            );
            assert_eq!(body.get("reason"), None);
            return;
        }
        400 => &["Schema validation failed"],
        413 => &["Payload too large"],
        422 => &[
            "One or more constraint violations",
            "Incompatible Audit.qs version",
            "Payload validation failed",
        ],
        status => panic!("{status}: {body}"),
    };
    assert_eq!(body["status"], "error", "{body}");
    assert!(matches!(body["outcome"].as_str(), Some("error" | "dropped")), "{body}");
    assert!(expect.contains(&body["reason"].as_str().unwrap_or_default()), "{body}");
}

#[test]
fn anything_is_answered() {
    let sandbox = Sandbox::start_new(&AuditConfig { files: true, ..AuditConfig::default() }.text());
    let client = AuditClient::new(sandbox.address("audit-events"));
    for (name, body, status) in [
        ("nothing", String::new(), 400),
        ("blanks", " \n\t".to_owned(), 400),
        ("deep arrays", "[".repeat(1_000_000), 400),
        ("deep objects", r#"{"a":"#.repeat(200_000), 400),
        ("deep and whole", format!("{}{}", "[".repeat(500_000), "]".repeat(500_000)), 400),
        ("a raw NUL", event("", "\"objectId\":\"a\0b\""), 400),
        ("two values", format!("{0}{0}", event("", "")), 400),
        ("a number alone", "9".repeat(1_000_000), 400),
        ("a text alone", format!("\"{}\"", "x".repeat(1_000_000)), 400),
        ("more than is taken", " ".repeat(1_048_577), 413),
        ("a wrong id of a megabyte", event("", "").replace(ID, &"x".repeat(1_000_000)), 422),
    ] {
        let answer = client.post(&body);
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        check_answer(&answer);
    }
    for body in [&b"\xff\xfe"[..], b"{\"a\":\"\xff\"}", b"\0", b"\xed\xa0\x80"] {
        let answer = client.post(body);
        assert_eq!(answer.status, 400, "{answer:?} to {body:?}");
    }
    let mut accepted = 0;
    for body in generated(&nearly_an_event(), 400) {
        let answer = client.post(&body);
        check_answer(&answer);
        accepted += u64::from(answer.status == 202);
    }
    assert!(accepted > 0);
    // The same event again is answered as before, and stored once.
    let metrics = sandbox.settle();
    assert!(metrics.sum("butler_sos_events_stored_total", &[]) <= accepted as f64);
    assert_eq!(metrics.sum("butler_sos_events_dead_lettered_total", &[]), 0.0);
    assert_eq!(metrics.sum("butler_sos_actor_restarts_total", &[]), 0.0, "nothing panicked");
}
