//! The payloads of the types that have a schema. Other types' payloads are free-form.
//! Contract: `audit-api.md`, `schemas/`.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::outline::Outline;
use super::refusal::Refusal;
use super::schema::Schema;

pub const REASON: &str = "Payload validation failed";

static SCHEMAS: LazyLock<[(&str, Schema); 5]> = LazyLock::new(|| {
    [
        ("selection.state.changed", include_str!("schemas/selection.state.changed.json")),
        ("object.view.duration", include_str!("schemas/object.view.duration.json")),
        ("app.model.validated", include_str!("schemas/app.model.validated.json")),
        (super::SCREENSHOT_TYPE, include_str!("schemas/screenshot.url.received.json")),
        ("event.unsupported.visualization", include_str!("schemas/event.unsupported.visualization.json")),
    ]
    .map(|(event_type, source)| (event_type, Schema::compile(source).expect("a payload's schema compiles")))
});

/// The schemas of all types that have one.
pub fn schemas() -> impl Iterator<Item = &'static Schema> {
    SCHEMAS.iter().map(|(_, schema)| schema)
}

/// Checks the payload of an event of that type, and reports every broken rule.
pub fn check(event_type: &str, body: &Outline<'_>) -> Result<(), Refusal> {
    let schema = SCHEMAS.iter().find(|(known, _)| *known == event_type).map(|(_, schema)| schema);
    let (Some(schema), Some(payload)) = (schema, body.part(&["payload"])) else { return Ok(()) };
    let broken = schema.broken_by(payload);
    if broken.is_empty() {
        return Ok(());
    }
    let errors: Vec<Value> = broken
        .into_iter()
        .map(|broken| {
            json!({
                "instancePath": broken.instance_path,
                "schemaPath": broken.schema_path,
                "keyword": broken.keyword,
                "params": broken.params,
                "message": broken.message,
            })
        })
        .collect();
    Err(Refusal { status: 422, outcome: "dropped", reason: REASON, details: json!({ "errors": errors }) })
}
