//! The file of an event's object data: one pretty-printed JSON object.
//!
//! `objectData` stands in it as it was sent: key order and the spelling of numbers are kept, only the
//! blanks differ. Contract: `destinations.md`, "JSON object data".

use crate::audit::json::{Json, write_number, write_string};
use crate::audit::{AuditEvent, DataStateId};
use crate::file_name::file_name;

use super::audit_columns::{StaticTag, tags_json};

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFile {
    /// Without a directory.
    pub name: String,
    pub content: String,
}

/// The file for `event`, none when the event has no object data.
pub fn object_file(event: &AuditEvent<'_>, tags: &[StaticTag]) -> Option<ObjectFile> {
    let object_data = event.object_data?;
    let mut members = Members(String::with_capacity(1024 + object_data.text().len()));
    members.text("eventId", Some(&event.event_id));
    members.text("correlationId", event.correlation_id.as_deref());
    members.text("timestamp", Some(&event.timestamp));
    members.text("eventType", Some(&event.event_type));
    members.text("user", event.user.as_deref());
    members.text("userDirectory", event.user_directory.as_deref());
    members.text("userId", event.user_id.as_deref());
    members.text("appId", event.app_id.as_deref());
    members.text("appName", event.app_name.as_deref());
    members.text("sheetId", event.sheet_id.as_deref());
    members.text("sheetName", event.sheet_name.as_deref());
    members.text("objectId", event.object_id.as_deref());
    members.text("objectType", event.object_type.as_deref());
    members.text("selectionTxnId", event.selection_txn_id.as_deref());
    let mut duration = String::new();
    if let Some(ms) = event.duration_ms {
        write_number(ms, &mut duration);
    }
    members.json("durationMs", event.duration_ms.is_some().then_some(&duration));
    members.json("visible", event.visible.map(|visible| if visible { "true" } else { "false" }));
    members.text("enteredAt", event.entered_at.as_deref());
    members.text("leftAt", event.left_at.as_deref());
    members.json(
        "dataStateId",
        match &event.data_state_id {
            Some(DataStateId::Number(_, spelled)) => Some(spelled),
            _ => None,
        },
    );
    members.text("screenshotUrl", event.screenshot_url.as_deref());
    members.json("screenshotSavedPaths", event.saved_paths_json().as_deref());
    members.json("selectionDetails", event.selection_details.as_deref());
    members.json("objectData", Some(object_data.text()));
    members.json("tags", tags_json(tags).as_deref());
    if event.screenshot.sha256.is_some() {
        members.text("screenshotSha256", event.screenshot.sha256.as_deref());
    }
    if event.screenshot.error.is_some() {
        members.text("screenshotError", event.screenshot.error.as_deref());
    }
    Some(ObjectFile {
        name: file_name(event.timestamp_ms, &event.event_id, event.correlation_id.as_deref(), "json"),
        content: members.pretty(),
    })
}

/// An object in the making, without its brackets.
struct Members(String);

impl Members {
    fn json(&mut self, name: &str, value: Option<&str>) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        write_string(name, &mut self.0);
        self.0.push(':');
        self.0.push_str(value.unwrap_or("null"));
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        self.json(name, value.map(|_| ""));
        if let Some(value) = value {
            write_string(value, &mut self.0);
        }
    }

    fn pretty(mut self) -> String {
        self.0.push('}');
        Json::assembled(&self.0).pretty()
    }
}
