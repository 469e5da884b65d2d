//! The table of audit events: one row per event, the same columns in Parquet, QVD and CSV.
//! Contract: `destinations.md`, "Parquet and QVD".

use std::borrow::Cow;

use crate::audit::AuditEvent;
use crate::audit::json::{Json, Object};
use crate::audit::time::compact_date;

/// A static tag of the configuration: name and value.
pub type StaticTag = (String, String);

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    Integer,
    Float,
    Boolean,
}

/// One value of a row, of its column's type or null.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'r> {
    Null,
    Text(Cow<'r, str>),
    Integer(i64),
    /// Finite.
    Float(f64),
    Boolean(bool),
}

/// The input of a row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'r> {
    pub event: &'r AuditEvent<'r>,
    /// See [`tags_json`].
    pub tags: Option<&'r str>,
}

pub struct Column {
    pub name: &'static str,
    pub column_type: ColumnType,
    pub cell: for<'r> fn(Row<'r>) -> Cell<'r>,
}

/// All columns in order.
pub const COLUMNS: [Column; 27] = {
    use ColumnType::{Boolean, Float, Integer, Text};
    [
        column("timestamp", Integer, |row| Cell::Integer(row.event.timestamp_ms)),
        column("date", Text, |row| Cell::Text(compact_date(row.event.timestamp_ms).into())),
        column("eventId", Text, |row| required(&row.event.event_id)),
        column("correlationId", Text, |row| text(&row.event.correlation_id)),
        column("eventType", Text, |row| required(&row.event.event_type)),
        column("user", Text, |row| text(&row.event.user)),
        column("userDirectory", Text, |row| text(&row.event.user_directory)),
        column("userId", Text, |row| text(&row.event.user_id)),
        column("appId", Text, |row| text(&row.event.app_id)),
        column("appName", Text, |row| text(&row.event.app_name)),
        column("sheetId", Text, |row| text(&row.event.sheet_id)),
        column("sheetName", Text, |row| text(&row.event.sheet_name)),
        column("objectId", Text, |row| text(&row.event.object_id)),
        column("objectType", Text, |row| text(&row.event.object_type)),
        column("selectionTxnId", Text, |row| text(&row.event.selection_txn_id)),
        column("durationMs", Float, |row| row.event.duration_ms.map_or(Cell::Null, Cell::Float)),
        column("visible", Boolean, |row| row.event.visible.map_or(Cell::Null, Cell::Boolean)),
        column("enteredAt", Text, |row| text(&row.event.entered_at)),
        column("leftAt", Text, |row| text(&row.event.left_at)),
        column("dataStateId", Integer, |row| {
            row.event.data_state_integer().map_or(Cell::Null, Cell::Integer)
        }),
        column("selectionDetails", Text, |row| {
            row.event.selection_details.as_deref().map_or(Cell::Null, |details| Cell::Text(details.into()))
        }),
        column("screenshotUrl", Text, |row| text(&row.event.screenshot_url)),
        column("screenshotSavedPaths", Text, |row| owned(row.event.saved_paths_json())),
        column("objectData", Text, |row| owned(row.event.object_data.map(Json::compact))),
        column("tags", Text, tags),
        column("screenshotSha256", Text, |row| text(&row.event.screenshot.sha256)),
        column("screenshotError", Text, |row| text(&row.event.screenshot.error)),
    ]
};

const fn column(
    name: &'static str,
    column_type: ColumnType,
    cell: for<'r> fn(Row<'r>) -> Cell<'r>,
) -> Column {
    Column { name, column_type, cell }
}

/// The static tags and, for marked events, the marks, so that the columns do not change.
fn tags(row: Row<'_>) -> Cell<'_> {
    let marks = [
        ("conflictOf", row.event.conflict.map(|conflict| conflict.of.to_string().into())),
        ("clientTimestamp", row.event.client_timestamp.as_deref().map(Cow::Borrowed)),
    ];
    let mut marks = marks.into_iter().filter_map(|(name, value)| Some((name, value?))).peekable();
    if marks.peek().is_none() {
        return row.tags.map_or(Cell::Null, |tags| Cell::Text(tags.into()));
    }
    let tags = Object::of_members(row.tags.unwrap_or_default());
    let marked = marks.fold(tags, |object, (name, value): (_, Cow<'_, str>)| object.text(name, &value));
    Cell::Text(marked.done().into())
}

fn required(value: &str) -> Cell<'_> {
    Cell::Text(Cow::Borrowed(value))
}

fn text<'r>(value: &'r Option<Cow<'_, str>>) -> Cell<'r> {
    value.as_deref().map_or(Cell::Null, |value| Cell::Text(value.into()))
}

fn owned<'r>(value: Option<String>) -> Cell<'r> {
    value.map_or(Cell::Null, |value| Cell::Text(value.into()))
}

/// The static tags as a JSON object in the configuration's order; `None` without tags.
pub fn tags_json(tags: &[StaticTag]) -> Option<String> {
    let object = tags.iter().fold(Object::new(), |object, (name, value)| object.text(name, value));
    (!tags.is_empty()).then(|| object.done())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{BodyHash, Conflict};

    #[test]
    fn marks_are_in_the_tags_column() {
        let conflict = Some(Conflict { of: BodyHash([1; 16]), own: BodyHash([2; 16]) });
        let client_timestamp = Some("2036-01-01T00:00:00Z".into());
        let check = |event: AuditEvent<'_>, tags: Option<&str>, expect: Cell<'_>| {
            assert_eq!(super::tags(Row { event: &event, tags }), expect);
        };
        let text = |text: &'static str| Cell::Text(text.into());
        let plain = AuditEvent::default;
        check(plain(), None, Cell::Null);
        check(plain(), Some(r#"{"env":"peer"}"#), text(r#"{"env":"peer"}"#));
        let one = AuditEvent { conflict, ..plain() };
        check(one.clone(), None, text(r#"{"conflictOf":"01010101010101010101010101010101"}"#));
        check(
            AuditEvent { client_timestamp, ..one },
            Some(r#"{"env":"peer"}"#),
            text(
                r#"{"env":"peer","conflictOf":"01010101010101010101010101010101","clientTimestamp":"2036-01-01T00:00:00Z"}"#,
            ),
        );
    }
}
