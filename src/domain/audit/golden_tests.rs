//! The content checks against recorded answers: `golden/audit-api.jsonl`.
//!
//! Checks that depend on more than the content (token, size, media type, origin, path) are tested in their
//! own modules.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{check, test_connection};
use crate::recorded;

/// The recordings, adjusted by the contract's differences.
fn cases() -> Vec<Value> {
    recorded::cases(
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../integration-tests/golden/audit-api.jsonl")),
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../integration-tests/golden/audit-api.differences.jsonl"
        )),
    )
}

/// Cases that are decided before the content is checked.
const NOT_CONTENT: [&str; 3] = ["h_badtoken", "h_basic", "h_big"];

fn header<'a>(case: &'a Value, name: &str) -> Option<&'a str> {
    case["request"]["headers"][name].as_str()
}

fn paths(details: &Value) -> BTreeSet<&str> {
    let errors = details["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    errors.iter().filter_map(|error| error["instancePath"].as_str()).collect()
}

#[test]
fn recorded_answers() {
    let mut seen = 0;
    for case in cases() {
        let name = case["name"].as_str().unwrap_or_default();
        if case["request"]["method"] != "POST" || NOT_CONTENT.contains(&name) {
            continue;
        }
        seen += 1;
        let body = case["request"]["body"].as_str().expect("a body");
        let response = &case["response"];
        match check(body.as_bytes(), header(&case, "X-Audit-QS-Version")) {
            Ok(accepted) => {
                assert_eq!(response["status"], 202, "{name}");
                let sent: Value = serde_json::from_str(body).expect("JSON");
                assert_eq!(sent["eventId"], *accepted.event_id, "{name}");
                assert_eq!(sent["type"], *accepted.event_type, "{name}");
                assert_eq!(accepted.audit_qs_version.is_none(), name == "h_ver_none", "{name}");
            }
            Err(refusal) => {
                let recorded = &response["body"];
                assert_eq!(response["status"], refusal.status, "{name}");
                assert_eq!(recorded["outcome"], refusal.outcome, "{name}");
                assert_eq!(recorded["reason"], refusal.reason, "{name}");
                assert_eq!(paths(&recorded["details"]), paths(&refusal.details), "{name}");
                // The wording is free, but it must be identical.
                assert_eq!(recorded["details"], refusal.details, "{name}");
            }
        }
    }
    assert!(seen > 40, "{seen} cases");
}

#[test]
fn recorded_connection_tests() {
    for case in cases() {
        if case["request"]["path"] == "/api/v1/test-connection" && case["response"]["status"] == 200 {
            let body = test_connection(header(&case, "X-Audit-QS-Version")).body("<time>");
            assert_eq!(case["response"]["body"], body, "{}", case["name"]);
        }
    }
}
