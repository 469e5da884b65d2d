//! Any bytes get an answer in the contract's format, and never a 500.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use self::any_event::any_value;
use self::hostile_bodies::{accepted, nearly_an_event, refused};
use super::harness::{Client, Got, Harness, PLAIN, event, limited, request, unlimited};
use crate::intake::audit_http_ingestor::AuditHttpLimits;

#[path = "../../../integration-tests/src/any_event.rs"]
mod any_event;
#[path = "../../../integration-tests/src/hostile_bodies.rs"]
mod hostile_bodies;

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
    run(300, || any_value().prop_map(|json| json.to_string().into_bytes()).boxed()).await;
}

#[actix_rt::test]
async fn any_json_in_an_event_gets_an_answer_of_the_contract() {
    run(500, || nearly_an_event().prop_map(String::into_bytes).boxed()).await;
}

#[actix_rt::test]
async fn a_damaged_event_gets_an_answer_of_the_contract() {
    run(500, || damaged_event().boxed()).await;
}

#[actix_rt::test]
async fn deep_and_long_json_gets_an_answer_of_the_contract() {
    let harness = Harness::start(unlimited());
    let accepted = accepted().into_iter().map(|(name, body)| (name, body.into_bytes(), 202));
    for (name, body, expect) in accepted.chain(refused()) {
        let got = harness.post(&PLAIN, body).await;
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
