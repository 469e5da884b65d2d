//! The server against recorded requests and answers: `golden/audit-api.jsonl`.

use std::collections::BTreeSet;

use secrecy::SecretString;
use serde_json::Value;

use super::bench::{Bench, request, unlimited};
use crate::audit_http_ingestor::AuditHttpConfig;

const CASES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../integration-tests/golden/audit-api.jsonl"));

/// Where the contract differs from what was recorded: case, what is answered instead, why.
const DIFFERENCES: [(&str, &str, &str); 3] = [
    (
        "h_badjson",
        "Schema validation failed",
        "400 has one reason, also for what is not JSON; `details` say that it is not",
    ),
    ("h_big", "Payload too large", "413 has a reason of its own"),
    ("n_404", "Not found", "404 has a body in the shape of every other answer"),
];

fn body_of(request: &Value) -> Vec<u8> {
    let body = request["body"].as_str().unwrap_or_default();
    match body.strip_prefix('@') {
        Some(length) => vec![b'x'; length.parse().expect("a length")],
        None => body.as_bytes().to_vec(),
    }
}

fn paths(body: &Value) -> BTreeSet<&str> {
    let errors = body["details"]["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    errors.iter().filter_map(|error| error["instancePath"].as_str()).collect()
}

/// The same values, the times aside.
fn without_times(mut body: Value) -> Value {
    for key in ["receivedAt", "timestamp"] {
        if let Some(time) = body.get_mut(key) {
            let text = time.as_str().unwrap_or_default();
            assert!(text.len() == 24 && text.ends_with('Z'), "ISO 8601 with milliseconds: {text}");
            *time = "<time>".into();
        }
    }
    body
}

#[actix_rt::test]
async fn recorded_answers() {
    let bench = Bench::start(AuditHttpConfig {
        api_token: Some(SecretString::from("sekrit")),
        allowed_origins: vec!["https://qlik.test".to_owned()],
        ..unlimited()
    });
    let mut stored = Vec::new();
    for line in CASES.lines() {
        let case: Value = serde_json::from_str(line).expect("a case");
        let name = case["name"].as_str().expect("a name");
        let (asked, recorded) = (&case["request"], &case["response"]);
        let headers: Vec<(&str, &str)> = asked["headers"]
            .as_object()
            .expect("headers")
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().expect("text")))
            .collect();
        let text = |key: &str| asked[key].as_str().expect("text");
        let body = body_of(asked);
        let got = bench.send(request(text("method"), text("path"), &headers, &body)).await;

        assert_eq!(got.status, recorded["status"], "{name}: {got:?}");
        for (header, value) in recorded["headers"].as_object().expect("headers") {
            assert_eq!(got.header(header), value.as_str(), "{name}: {header}");
        }
        if got.status == 202 && !stored.contains(&body) {
            stored.push(body);
        }
        if recorded["body"] == "" {
            assert_eq!(got.body, "", "{name}");
            continue;
        }
        let answer = without_times(got.json());
        if let Some((_, reason, _)) = DIFFERENCES.iter().find(|(different, ..)| *different == name) {
            assert_eq!(answer["status"], "error", "{name}");
            assert_eq!(answer["outcome"], "error", "{name}");
            assert_eq!(answer["reason"], *reason, "{name}");
            continue;
        }
        assert_eq!(answer["outcome"], recorded["body"]["outcome"], "{name}");
        assert_eq!(answer["reason"], recorded["body"]["reason"], "{name}");
        assert_eq!(paths(&answer), paths(&recorded["body"]), "{name}");
        // The wording is free, yet it is the recorded one.
        assert_eq!(answer, recorded["body"], "{name}");
    }
    let bodies: Vec<Vec<u8>> = bench.stored().into_iter().map(|(_, body)| body.into_bytes()).collect();
    assert_eq!(bodies, stored, "what was sent is what is stored, once");
    bench.assert_conserved();
}
