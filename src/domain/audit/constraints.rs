//! Constraints of an envelope beyond its schema: ids are UUIDs, the type is a known one. All violations are
//! reported at once. Contract: `audit-api.md`, "Semantic constraints".

use serde_json::{Value, json};

use super::envelope::Envelope;
use super::json::Kind;
use super::refusal::Refusal;
use crate::uuid::is_uuid;

pub const REASON: &str = "One or more constraint violations";

const CORRELATION_ID_CHARACTERS_MAX: usize = 64;

/// The maximum length of a quoted value in a message.
const QUOTED_CHARACTERS_MAX: usize = 256;

/// The recognised types, besides `event.<anything>`.
const TYPES: [&str; 7] = [
    "selection.state.changed",
    "object.visibility.changed",
    "object.view.duration",
    "navigation.sheet.loaded",
    "app.model.validated",
    super::SCREENSHOT_TYPE,
    "audit.event",
];

pub fn check(envelope: &Envelope<'_>) -> Result<(), Refusal> {
    let violations = violations(envelope);
    if violations.is_empty() {
        return Ok(());
    }
    let errors: Vec<Value> = violations.into_iter().map(|message| json!({ "message": message })).collect();
    Err(Refusal { status: 422, outcome: "dropped", reason: REASON, details: json!({ "errors": errors }) })
}

fn violations(envelope: &Envelope<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if !is_uuid(&envelope.event_id) {
        found.push(format!("eventId is not a valid UUID (\"{}\")", quoted(&envelope.event_id)));
    }
    let length = envelope.correlation_id.as_deref().map_or(0, |id| id.chars().count());
    if length > CORRELATION_ID_CHARACTERS_MAX {
        found.push(format!(
            "correlationId exceeds {CORRELATION_ID_CHARACTERS_MAX} characters (length={length})"
        ));
    }
    if let Some(app_id) = envelope.app_id.filter(|app_id| app_id.kind() != Kind::Null) {
        let text = app_id.string();
        if !text.as_deref().is_some_and(is_uuid) {
            let shown = text.unwrap_or_else(|| app_id.text().into());
            found.push(format!("payload.context.appId is not a valid UUID (\"{}\")", quoted(&shown)));
        }
    }
    if !is_recognised(&envelope.event_type) {
        found.push(format!("type is not a recognised event type (\"{}\")", quoted(&envelope.event_type)));
    }
    found
}

/// Whether Butler SOS knows the type, so that it is not the sender's own name.
pub(super) fn is_word_of_program(event_type: &str) -> bool {
    TYPES.contains(&event_type) || matches!(event_type, "event.bookmark" | "event.unsupported.visualization")
}

fn is_recognised(event_type: &str) -> bool {
    TYPES.contains(&event_type) || event_type.strip_prefix("event.").is_some_and(|rest| !rest.is_empty())
}

fn quoted(text: &str) -> &str {
    let end = text.char_indices().nth(QUOTED_CHARACTERS_MAX).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::json::Json;
    use std::borrow::Cow;

    fn check(event_id: &str, correlation_id: &str, event_type: &str, app_id: Option<&str>, expect: &[&str]) {
        let envelope = Envelope {
            event_id: Cow::Borrowed(event_id),
            correlation_id: Some(Cow::Borrowed(correlation_id)),
            timestamp: Cow::Borrowed(""),
            event_type: Cow::Borrowed(event_type),
            source_version: None,
            app_id: app_id.map(|app_id| Json::parse(app_id.as_bytes()).expect("JSON")),
        };
        assert_eq!(violations(&envelope), expect);
    }

    #[test]
    fn reports_all_violations() {
        const ID: &str = "00000000-0000-4000-8000-000000000001";
        check(ID, "", "audit.event", None, &[]);
        check(ID, &"å".repeat(64), "event.bookmark", Some(&format!("\"{ID}\"")), &[]);
        check(ID, "", "event.unsupported.visualization", Some("null"), &[]);
        check(ID, "", "event.", None, &["type is not a recognised event type (\"event.\")"]);
        check(ID, "", "Audit.Event", None, &["type is not a recognised event type (\"Audit.Event\")"]);
        check(ID, "", "audit.event", Some("5"), &["payload.context.appId is not a valid UUID (\"5\")"]);
        check(ID, "", "audit.event", Some("\"\""), &["payload.context.appId is not a valid UUID (\"\")"]);
        check(
            "x",
            &"😀".repeat(65),
            "bogus",
            Some("\"y\""),
            &[
                "eventId is not a valid UUID (\"x\")",
                "correlationId exceeds 64 characters (length=65)",
                "payload.context.appId is not a valid UUID (\"y\")",
                "type is not a recognised event type (\"bogus\")",
            ],
        );
        let long = "x".repeat(1_000_000);
        let reported = format!("eventId is not a valid UUID (\"{}\")", "x".repeat(QUOTED_CHARACTERS_MAX));
        check(&long, "", "audit.event", None, &[&reported]);
    }
}
