//! The audit API against recorded requests and answers: `golden/audit-api.jsonl`.

use std::collections::BTreeSet;

use butler_sos_integration_tests::audit_config::AuditConfig;
use butler_sos_integration_tests::http::Http;
use butler_sos_integration_tests::recorded;
use butler_sos_integration_tests::sandbox::Sandbox;
use serde_json::Value;

/// The body of a request; `@N` stands for so many bytes.
fn body_of(request: &Value) -> String {
    let body = request["body"].as_str().unwrap_or_default();
    match body.strip_prefix('@') {
        Some(length) => "x".repeat(length.parse().expect("a length")),
        None => body.to_owned(),
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

#[test]
fn recorded_answers() {
    let cases = recorded::cases(
        include_str!("../../golden/audit-api.jsonl"),
        include_str!("../../golden/audit-api.differences.jsonl"),
    );
    let config = AuditConfig {
        token: "sekrit",
        allowed_origins: vec!["https://qlik.test".to_owned()],
        files: true,
        ..AuditConfig::default()
    };
    let sandbox = Sandbox::start_new(&config.text());
    let client = Http::new(sandbox.address("audit-events"));
    let (mut posted, mut accepted) = (0, BTreeSet::new());
    for case in &cases {
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
        let got = client
            .send(text("method"), text("path"), &headers, &body)
            .unwrap_or_else(|error| panic!("{name}: {error}"));

        assert_eq!(got.status, recorded["status"], "{name}: {got:?}");
        for (header, value) in recorded["headers"].as_object().expect("headers") {
            assert_eq!(got.header(header), value.as_str(), "{name}: {header}");
        }
        posted += u64::from(text("method") == "POST");
        if got.status == 202 {
            accepted.insert(body);
        }
        if recorded["body"] == "" {
            assert_eq!(got.text(), "", "{name}");
            continue;
        }
        let answer = without_times(got.json());
        assert_eq!(answer["outcome"], recorded["body"]["outcome"], "{name}");
        assert_eq!(answer["reason"], recorded["body"]["reason"], "{name}");
        assert_eq!(paths(&answer), paths(&recorded["body"]), "{name}");
        // The wording is free, yet it is the recorded one.
        assert_eq!(answer, recorded["body"], "{name}");
    }
    assert!(cases.len() > 50 && accepted.len() > 20, "{} cases, {} accepted", cases.len(), accepted.len());

    let metrics = sandbox.settle();
    let count =
        |what: &str| metrics.sum(&format!("butler_sos_events_{what}_total"), &[("intake", "audit_events")]);
    assert_eq!(count("received"), posted as f64);
    assert_eq!(count("stored"), accepted.len() as f64, "what was sent is stored, once");
}
