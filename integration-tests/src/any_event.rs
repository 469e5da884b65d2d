//! Strategies for any JSON, and for any audit event that the API accepts.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Text with everything that some format gives a meaning to.
pub fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c\\\\,= \"'\n\r\t\0\u{7f}\u{e5}\u{2028}\u{1f600}=+@-]{0,12}",
        any::<String>(),
        Just("UserDirectory=LAB; UserId=a\\,b=".to_owned()),
        Just("LAB\\".to_owned()),
    ]
}

pub fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any_text(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// The body of an event that is accepted, with anything where anything is allowed.
pub fn accepted_body() -> impl Strategy<Value = String> {
    let optional = |value: BoxedStrategy<Value>| prop::option::of(value);
    let context = ["user", "appName", "sheetId", "sheetName"];
    let event = [
        "objectId",
        "selectionTxnId",
        "enterSelectionTxnId",
        "duration",
        "visible",
        "enteredAt",
        "leftAt",
        "dataStateId",
        "screenshotUrl",
        "details",
        "objectData",
    ];
    let text = any_text().prop_map(Value::from).boxed();
    let any = any_value().boxed();
    let object = prop::collection::btree_map(any_text(), any_value(), 0..4)
        .prop_map(|map| map.into_iter().chain([("objectType".to_owned(), json!("a,\\"))]).collect::<Value>());
    (
        prop::collection::vec(optional(text.clone()), context.len()),
        prop::collection::vec(optional(prop_oneof![text, any, object.boxed()].boxed()), event.len()),
        prop::option::of("[a-z\\\\,= \n]{0,64}"),
        any_text(),
    )
        .prop_map(move |(context_values, event_values, correlation_id, event_type)| {
            let object = |names: &[&str], values: Vec<Option<Value>>| -> Map<String, Value> {
                let members = names.iter().zip(values);
                members.filter_map(|(name, value)| Some(((*name).to_owned(), value?))).collect()
            };
            let mut body = json!({
                "schemaVersion": "1",
                "eventId": "00000000-0000-4000-8000-000000000001",
                "timestamp": "2026-11-20T10:11:12.345Z",
                "type": format!("event.x{event_type}"),
                "payload": { "context": object(&context, context_values), "event": object(&event, event_values) },
            });
            if let Some(id) = correlation_id {
                body["correlationId"] = json!(id);
            }
            body.to_string()
        })
}
