//! The body of every answer of the POST endpoint. Contract: `audit-api.md`, "Endpoints".

use serde::Serialize;
use serde_json::Value;

use super::refusal::Refusal;

/// `{"status","receivedAt","outcome","reason"?,"details"?}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer<'a> {
    status: &'static str,
    received_at: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Value>,
}

impl<'a> Answer<'a> {
    /// 202. `received_at` is ISO 8601 in UTC with milliseconds, as [`rfc3339`](super::time::rfc3339) writes it.
    pub fn processed(received_at: &'a str) -> Self {
        Self { status: "accepted", received_at, outcome: "processed", reason: None, details: None }
    }

    /// 4xx for an error that the client can fix: `Unauthorized`, `Rate limit exceeded`, `Event queue is
    /// full`.
    pub fn dropped(received_at: &'a str, reason: &'a str) -> Self {
        Self { status: "error", received_at, outcome: "dropped", reason: Some(reason), details: None }
    }

    /// For an unreadable body or an internal error: `Payload too large`, `Internal error while processing
    /// event`.
    pub fn error(received_at: &'a str, reason: &'a str) -> Self {
        Self { outcome: "error", ..Self::dropped(received_at, reason) }
    }

    /// For a refusal by [`check`](super::check).
    pub fn refused(received_at: &'a str, refusal: &'a Refusal) -> Self {
        let details = Some(&refusal.details);
        Self { outcome: refusal.outcome, details, ..Self::dropped(received_at, refusal.reason) }
    }

    /// The body's text.
    pub fn to_json(&self) -> String {
        // Text and values always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let check = |answer: Answer<'_>, expect: &str| assert_eq!(answer.to_json(), expect);
        check(Answer::processed("T"), r#"{"status":"accepted","receivedAt":"T","outcome":"processed"}"#);
        check(
            Answer::dropped("T", "Unauthorized"),
            r#"{"status":"error","receivedAt":"T","outcome":"dropped","reason":"Unauthorized"}"#,
        );
        check(
            Answer::error("T", "Payload too large"),
            r#"{"status":"error","receivedAt":"T","outcome":"error","reason":"Payload too large"}"#,
        );
        let refusal = super::super::check(b"[]", None).expect_err("refused");
        check(
            Answer::refused("T", &refusal),
            r#"{"status":"error","receivedAt":"T","outcome":"dropped","reason":"Schema validation failed","details":{"errors":[{"instancePath":"","message":"must be object","params":{"type":"object"}}]}}"#,
        );
    }
}
