//! Any bytes get an answer in the contract's format, and never a 500.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::harness::{Client, Got, Harness, PLAIN, event, limited, request, unlimited};
use crate::intake::audit_http_ingestor::AuditHttpLimits;

/// Checks an answer to a POST against the contract's table.
fn check_shape(got: &Got) -> Result<(), TestCaseError> {
    let body = got.json();
    let expect = match got.status {
        202 => ("accepted", "processed", Value::Null),
        400 | 422 => ("error", body["outcome"].as_str().unwrap_or_default(), body["reason"].clone()),
        413 => ("error", "error", json!("Payload too large")),
        status => return Err(TestCaseError::fail(format!("status {status}: {body}"))),
    };
    prop_assert_eq!(&body["status"], expect.0);
    prop_assert_eq!(&body["outcome"], expect.1);
    prop_assert_eq!(&body["reason"], &expect.2);
    let reasons: &[&str] = match got.status {
        400 => &["Schema validation failed"],
        422 => &[
            "One or more constraint violations",
            "Incompatible Audit.qs version",
            "Payload validation failed",
        ],
        _ => return Ok(()),
    };
    prop_assert!(reasons.contains(&expect.2.as_str().unwrap_or_default()), "{}", body);
    prop_assert!(matches!(expect.1, "dropped" | "error"), "{}", body);
    prop_assert!(body["details"].is_object(), "{}", body);
    prop_assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
    Ok(())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..8).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "schemaVersion",
            "eventId",
            "correlationId",
            "timestamp",
            "type",
            "source",
            "payload",
            "context",
            "event",
            "user",
            "appId",
            "details",
            "version",
            "kind",
            "__proto__",
            "constructor",
        ])
        .prop_map(str::to_owned),
    ]
}

/// A valid event with one part replaced.
fn nearly_an_event() -> impl Strategy<Value = Vec<u8>> {
    let pointers = vec![
        "/schemaVersion",
        "/eventId",
        "/timestamp",
        "/type",
        "/source",
        "/source/version",
        "/source/kind",
        "/payload",
        "/payload/context",
        "/payload/context/user",
        "/payload/event",
    ];
    (prop::sample::select(pointers), any_json(), any::<u32>()).prop_map(|(pointer, part, n)| {
        let mut event: Value = serde_json::from_str(&event(n % 1_000_000)).expect("JSON");
        if let Some(place) = event.pointer_mut(pointer) {
            *place = part;
        }
        event.to_string().into_bytes()
    })
}

/// A valid event with some bytes damaged.
fn damaged_event() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6).prop_map(|damage| {
        let mut bytes = event(1).into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

async fn run(cases: u32, bodies: fn() -> BoxedStrategy<Vec<u8>>) {
    let harness = Harness::start(unlimited());
    let address = harness.address;
    actix_rt::task::spawn_blocking(move || {
        let client = std::cell::RefCell::new(Client::connect(address));
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&bodies(), |body| {
                let got = client.borrow_mut().ask(&request("POST", "/api/v1/audit-event", &PLAIN, &body));
                check_shape(&got)
            })
            .unwrap();
    })
    .await
    .unwrap();
    harness.assert_conserved();
}

#[actix_rt::test]
async fn any_bytes_get_an_answer_of_the_contract() {
    run(500, || prop::collection::vec(any::<u8>(), 0..400).boxed()).await;
}

#[actix_rt::test]
async fn any_json_gets_an_answer_of_the_contract() {
    run(300, || any_json().prop_map(|json| json.to_string().into_bytes()).boxed()).await;
}

#[actix_rt::test]
async fn any_json_in_an_event_gets_an_answer_of_the_contract() {
    run(500, || nearly_an_event().boxed()).await;
}

#[actix_rt::test]
async fn a_damaged_event_gets_an_answer_of_the_contract() {
    run(500, || damaged_event().boxed()).await;
}

#[actix_rt::test]
async fn deep_and_long_json_gets_an_answer_of_the_contract() {
    let with_user = |user: &str| event(1).replace(r#""LAB\\goran""#, user);
    let mega = "x".repeat(1_000_000);
    let harness = Harness::start(unlimited());
    for (name, body, expect) in [
        ("nothing", String::new(), 400),
        ("deep arrays", "[".repeat(100_000), 400),
        ("deep objects", r#"{"a":"#.repeat(100_000), 400),
        ("deep and whole", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), 400),
        ("deep in the payload", with_user(&format!("{}{}", "[".repeat(50), "]".repeat(50))), 202),
        ("huge number", with_user("1e999999"), 202),
        ("long number", with_user(&"9".repeat(100_000)), 202),
        ("lone surrogate", with_user(r#""\ud800""#), 202),
        ("NUL", with_user(r#""a\u0000b""#), 202),
        ("raw NUL", with_user("\"a\0b\""), 400),
        ("1 MB of text", with_user(&format!("\"{mega}\"")), 202),
        ("1 MB key", event(2).replacen('{', &format!("{{\"{mega}\":1,"), 1), 202),
        ("same key twice", event(3).replacen('{', r#"{"extra":1,"extra":2,"#, 1), 202),
        ("same id twice", event(4).replacen('{', r#"{"eventId":"x","#, 1), 202),
        ("byte order mark", format!("\u{feff}{}", event(5)), 202),
        ("two values", format!("{}{}", event(6), event(6)), 400),
    ] {
        let got = harness.post_event(&body).await;
        check_shape(&got).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(got.status, expect, "{name}: {}", &got.body[..got.body.len().min(300)]);
    }
    harness.assert_conserved();
}

#[actix_rt::test]
async fn large_bodies_wait_for_room_and_small_ones_do_not() {
    let config = limited(AuditHttpLimits {
        large_bodies_bytes_max: 64 * 1024,
        body_timeout_seconds: 1,
        ..AuditHttpLimits::default()
    });
    let harness = Harness::start(config);
    let large = |n| event(n).replacen('{', &format!("{{\"x\":\"{}\",", "y".repeat(40_000)), 1);
    // One request takes the room and stops sending.
    let address = harness.address;
    let head = request("POST", "/api/v1/audit-event", &PLAIN, large(1).as_bytes());
    let mut slow = actix_rt::task::spawn_blocking(move || {
        let mut client = Client::connect(address);
        client.write(&head[..30_000]);
        client
    })
    .await
    .unwrap();
    let mut statuses = Vec::new();
    // When the slow request times out, its room is free again.
    for n in 2..6 {
        assert_eq!(harness.post_event(&event(n)).await.status, 202);
        let got = harness.post_event(&large(n + 100)).await;
        assert!(got.status == 202 || got.header("retry-after") == Some("30"), "{got:?}");
        statuses.push(got.status);
    }
    assert_eq!(statuses.last(), Some(&202), "{statuses:?}");
    let got = actix_rt::task::spawn_blocking(move || slow.ask(b"")).await.unwrap();
    assert_eq!(got.status, 408);
    harness.assert_conserved();
}

#[actix_rt::test]
async fn a_long_head_is_refused() {
    let harness =
        Harness::start(limited(AuditHttpLimits { header_bytes_max: 2_000, ..AuditHttpLimits::default() }));
    let long = "x".repeat(2_000);
    let got = harness.post(&[PLAIN[0], PLAIN[1], ("X", &long)], event(1)).await;
    assert_eq!((got.status, got.header("connection")), (431, Some("close")), "{got:?}");
    assert_eq!(got.json()["reason"], "Request header fields too large");
    assert_eq!(harness.post(&[PLAIN[0], PLAIN[1], ("X", &long[..1_000])], event(1)).await.status, 202);
    harness.assert_conserved();
}
