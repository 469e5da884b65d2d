//! The file of an event's object data: one pretty-printed JSON object.
//!
//! `objectData` stands in it as it was sent: key order and the spelling of numbers are kept, only the
//! blanks differ. Lines are indented by depth, so what lies deep may make a huge file of a small body: beyond
//! [`bytes_max`] `objectData` stands on one line, and beyond it still, everything.
//! Contract: `destinations.md`, "JSON object data".

use std::ops::Range;

use crate::audit::json::{Json, Object, write_number};
use crate::audit::{AuditEvent, DataStateId};

use super::audit_columns::{StaticTag, tags_json};

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFile {
    /// Without a directory.
    pub name: String,
    pub content: String,
}

/// A file on several lines has at most so many bytes.
pub fn bytes_max(body_bytes: usize) -> usize {
    4 * body_bytes + 64 * 1024
}

/// The file for `event`, none when the event has no object data.
pub fn object_file(event: &AuditEvent<'_>, tags: &[StaticTag]) -> Option<ObjectFile> {
    let object_data = event.object_data?;
    let duration = event.duration_ms.map(|ms| {
        let mut text = String::new();
        write_number(ms, &mut text);
        text
    });
    let visible = event.visible.map(|visible| if visible { "true" } else { "false" });
    let data_state_id = match event.data_state_id {
        Some(DataStateId::Number(_, spelled)) => Some(spelled),
        _ => None,
    };
    let mut object = Object::with_capacity(1024 + object_data.text().len())
        .text("eventId", &event.event_id)
        .text_or_null("correlationId", event.correlation_id.as_deref())
        .text("timestamp", &event.timestamp)
        .text("eventType", &event.event_type)
        .text_or_null("user", event.user.as_deref())
        .text_or_null("userDirectory", event.user_directory.as_deref())
        .text_or_null("userId", event.user_id.as_deref())
        .text_or_null("appId", event.app_id.as_deref())
        .text_or_null("appName", event.app_name.as_deref())
        .text_or_null("sheetId", event.sheet_id.as_deref())
        .text_or_null("sheetName", event.sheet_name.as_deref())
        .text_or_null("objectId", event.object_id.as_deref())
        .text_or_null("objectType", event.object_type.as_deref())
        .text_or_null("selectionTxnId", event.selection_txn_id.as_deref())
        .json_or_null("durationMs", duration.as_deref())
        .json_or_null("visible", visible)
        .text_or_null("enteredAt", event.entered_at.as_deref())
        .text_or_null("leftAt", event.left_at.as_deref())
        .json_or_null("dataStateId", data_state_id)
        .text_or_null("screenshotUrl", event.screenshot_url.as_deref())
        .json_or_null("screenshotSavedPaths", event.saved_paths_json().as_deref())
        .json_or_null("selectionDetails", event.selection_details.as_deref())
        .json("objectData", object_data.text());
    let end = object.len();
    object = object.json_or_null("tags", tags_json(tags).as_deref());
    if let Some(sha256) = &event.screenshot.sha256 {
        object = object.text("screenshotSha256", sha256);
    }
    if let Some(error) = &event.screenshot.error {
        object = object.text("screenshotError", error);
    }
    if let Some(conflict) = &event.conflict {
        object = object.text("conflictOf", &conflict.of.to_string());
    }
    if let Some(timestamp) = &event.client_timestamp {
        object = object.text("clientTimestamp", timestamp);
    }
    let object_data = end - object_data.text().len()..end;
    let content = laid_out(&object.done(), object_data, bytes_max(event.body_bytes));
    Some(ObjectFile { name: event.file_name("json"), content })
}

fn laid_out(object: &str, object_data: Range<usize>, bytes_max: usize) -> String {
    let json = Json::assembled(object);
    let pretty = |compact| json.pretty(compact, bytes_max);
    pretty(0..0).or_else(|| pretty(object_data)).unwrap_or_else(|| json.compact())
}
