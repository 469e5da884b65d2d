//! The envelope: the members of every audit event around its payload.
//!
//! Like Butler SOS, the check stops at the first broken rule of an envelope and reports that one. Where the
//! schema allows a number or text, both are accepted, which the schema states as alternatives.
//! Contract: `audit-api.md`, `schemas/envelope.json`.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::json::{Json, Kind};
use super::outline::Outline;
use super::refusal::Refusal;
use super::schema::{Broken, Schema};

/// Also the reason for a body that is not JSON.
pub const REASON: &str = "Schema validation failed";

pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    Schema::compile(include_str!("schemas/envelope.json")).expect("the envelope's schema compiles")
});

/// The values for later checks.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    pub event_id: Cow<'a, str>,
    /// Text, or a number in its original spelling.
    pub correlation_id: Option<Cow<'a, str>>,
    pub timestamp: Cow<'a, str>,
    pub event_type: Cow<'a, str>,
    pub source_version: Option<Cow<'a, str>>,
    /// `payload.context.appId`, of any type.
    pub app_id: Option<Json<'a>>,
}

/// Checks the envelope's schema.
pub fn check<'a>(body: &Outline<'a>) -> Result<Envelope<'a>, Refusal> {
    match first(SCHEMA.broken_by(body.whole())) {
        None => Ok(read(body)),
        Some(broken) => Err(Refusal {
            status: 400,
            outcome: "dropped",
            reason: REASON,
            details: json!({ "errors": [{
                "instancePath": broken.instance_path,
                "message": broken.message,
                "params": broken.params,
            }]}),
        }),
    }
}

/// The rule that a validator meets first if it stops there: a missing member before a wrong one, wrong ones
/// in the order of the list below.
fn first(broken: Vec<Broken>) -> Option<Broken> {
    const ORDER: [&str; 7] =
        ["schemaVersion", "eventId", "correlationId", "timestamp", "type", "source", "payload"];
    let rank = |broken: &Broken| {
        let member = broken.instance_path.split('/').nth(1);
        let place = member.and_then(|member| ORDER.iter().position(|known| *known == member));
        let missing = broken.params.get("missingProperty").and_then(Value::as_str);
        let missing = missing.and_then(|missing| ORDER.iter().position(|known| *known == missing));
        // A path has one member at most. A missing top-level member has none.
        (place.map_or(0, |place| place + 1), missing)
    };
    broken.into_iter().min_by_key(rank)
}

fn read<'a>(body: &Outline<'a>) -> Envelope<'a> {
    let text = |path: &[&str]| body.at(path).and_then(Json::string);
    Envelope {
        event_id: text(&["eventId"]).unwrap_or_default(),
        correlation_id: body.at(&["correlationId"]).and_then(|id| match id.kind() {
            Kind::Number => Some(Cow::Borrowed(id.text())),
            _ => id.string(),
        }),
        timestamp: text(&["timestamp"]).unwrap_or_default(),
        event_type: text(&["type"]).unwrap_or_default(),
        source_version: text(&["source", "version"]),
        app_id: body.at(&["payload", "context", "appId"]),
    }
}
