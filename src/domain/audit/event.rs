//! An audit event as destinations see it: a view over a journal record.
//!
//! Every destination writes the same values under its own names, so what a column holds is decided here,
//! once. A value of another type than the column's is as good as absent, and so is an empty string: the
//! payload is free-form outside the few types that have a schema. Contract: `destinations.md` and
//! `audit-api.md`, "What an event becomes".

use std::borrow::Cow;

use super::json::{Json, Kind, NotJson, write_string};
use super::record::{AuditRecord, RecordError, ScreenshotOutcome};
use super::time::timestamp_ms;
use crate::identity;

type Text<'a> = Option<Cow<'a, str>>;

/// An accepted event. Text borrows from the record wherever no escape had to be resolved.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuditEvent<'a> {
    /// When the server took it, nanoseconds since 1970.
    pub received_ns: u64,
    /// The envelope's `timestamp` as sent.
    pub timestamp: Cow<'a, str>,
    /// The same in milliseconds since 1970, or the time of receipt when it names no moment that exists.
    pub timestamp_ms: i64,
    /// The envelope's `schemaVersion` as text, `1` for `1`, `1.0` and `"1"`.
    pub schema_version: Cow<'a, str>,
    pub event_type: Cow<'a, str>,
    pub event_id: Cow<'a, str>,
    /// A number stands here as it was spelled.
    pub correlation_id: Text<'a>,

    /// The whole of `payload.context.user`.
    pub user: Text<'a>,
    /// Its directory and its id, both or none, by the rules of `screenshots.md`.
    pub user_directory: Text<'a>,
    pub user_id: Text<'a>,
    pub app_id: Text<'a>,
    pub app_name: Text<'a>,
    pub sheet_id: Text<'a>,
    pub sheet_name: Text<'a>,

    pub object_id: Text<'a>,
    /// `objectData.objectType`.
    pub object_type: Text<'a>,
    pub selection_txn_id: Text<'a>,
    pub enter_selection_txn_id: Text<'a>,
    pub leave_selection_txn_id: Text<'a>,
    /// `payload.event.duration`; finite.
    pub duration_ms: Option<f64>,
    pub visible: Option<bool>,
    pub entered_at: Text<'a>,
    pub left_at: Text<'a>,
    pub data_state_id: Option<DataStateId<'a>>,
    pub screenshot_url: Text<'a>,
    /// `details` of a selection, reduced to `qField`, `qSelectedCount`, `qSelected`: compact JSON, an array
    /// with one object for each item. None when there are no details.
    pub selection_details: Option<String>,
    /// `payload.event.objectData` when it is an object.
    pub object_data: Option<Json<'a>>,
    /// How the download of a screenshot ended.
    pub screenshot: ScreenshotOutcome<'a>,
}

/// `payload.event.dataStateId`, which clients send as a number or as its text.
#[derive(Debug, Clone, PartialEq)]
pub enum DataStateId<'a> {
    /// A finite number and how it was spelled.
    Number(f64, &'a str),
    Text(Cow<'a, str>),
}

/// Why a record yields no event. Both mean damage: what is in the journal was accepted once.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("audit record whose body is not JSON: {0}")]
    Body(#[from] NotJson),
}

impl<'a> AuditEvent<'a> {
    /// Decodes a journal record and reads its body.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, EventError> {
        Self::from_record(AuditRecord::decode(bytes)?)
    }

    /// Reads the body of `record`.
    pub fn from_record(record: AuditRecord<'a>) -> Result<Self, EventError> {
        let body = Json::parse(record.body)?;
        let mut event =
            Self { received_ns: record.received_ns, screenshot: record.screenshot, ..Self::default() };
        let (mut context, mut details_of) = (None, None);
        for (key, value) in body.members() {
            match &*key {
                "schemaVersion" => event.schema_version = schema_version(value),
                "eventId" => event.event_id = value.string().unwrap_or_default(),
                "correlationId" => event.correlation_id = text_or_number(value),
                "timestamp" => event.timestamp = value.string().unwrap_or_default(),
                "type" => event.event_type = value.string().unwrap_or_default(),
                "payload" => {
                    (context, details_of) = (None, None);
                    for (key, value) in value.members() {
                        match &*key {
                            "context" => context = Some(value),
                            "event" => details_of = Some(value),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        event.timestamp_ms =
            timestamp_ms(&event.timestamp).unwrap_or((record.received_ns / 1_000_000) as i64);
        if let Some(context) = context {
            event.read_context(context);
        }
        if let Some(details_of) = details_of {
            event.read_event(details_of);
        }
        Ok(event)
    }

    fn read_context(&mut self, context: Json<'a>) {
        for (key, value) in context.members() {
            match &*key {
                "user" => self.user = text(value),
                "appId" => self.app_id = text(value),
                "appName" => self.app_name = text(value),
                "sheetId" => self.sheet_id = text(value),
                "sheetName" => self.sheet_name = text(value),
                _ => {}
            }
        }
        // Only text without escapes can lend its parts; the rest is rare and copied.
        (self.user_directory, self.user_id) = match &self.user {
            Some(Cow::Borrowed(user)) => parts(user, Cow::Borrowed),
            Some(Cow::Owned(user)) => parts(user, |part| Cow::Owned(part.to_owned())),
            None => (None, None),
        };
    }

    fn read_event(&mut self, event: Json<'a>) {
        for (key, value) in event.members() {
            match &*key {
                "objectId" => self.object_id = text(value),
                "selectionTxnId" => self.selection_txn_id = text(value),
                "enterSelectionTxnId" => self.enter_selection_txn_id = text(value),
                "leaveSelectionTxnId" => self.leave_selection_txn_id = text(value),
                "duration" => self.duration_ms = value.number(),
                "visible" => self.visible = value.boolean(),
                "enteredAt" => self.entered_at = text(value),
                "leftAt" => self.left_at = text(value),
                "dataStateId" => self.data_state_id = data_state_id(value),
                "screenshotUrl" => self.screenshot_url = text(value),
                "details" if self.event_type == "selection.state.changed" => {
                    self.selection_details = reduced(value);
                }
                "objectData" => {
                    self.object_data = Some(value).filter(|data| data.kind() == Kind::Object);
                }
                _ => {}
            }
        }
        self.object_type = self.object_data.and_then(|data| data.get("objectType")).and_then(text);
    }

    /// Whether this is a screenshot that can be downloaded.
    pub fn is_screenshot(&self) -> bool {
        self.event_type == super::SCREENSHOT_TYPE
    }

    /// `dataStateId` where a column takes numbers only.
    pub fn data_state_number(&self) -> Option<f64> {
        match self.data_state_id {
            Some(DataStateId::Number(number, _)) => Some(number),
            _ => None,
        }
    }

    /// `dataStateId` where a column takes whole numbers only: also from text, none with a fraction.
    pub fn data_state_integer(&self) -> Option<i64> {
        let spelled = match self.data_state_id.as_ref()? {
            DataStateId::Number(_, spelled) => spelled,
            DataStateId::Text(text) => text.trim(),
        };
        if let Ok(exact) = spelled.parse() {
            return Some(exact);
        }
        let number: f64 = spelled.parse().ok()?;
        // 2^63 itself is out; below it every whole double is an i64.
        let fits = number.fract() == 0.0 && number.abs() < 9_223_372_036_854_775_808.0;
        fits.then_some(number as i64)
    }

    /// Where the images were written, as a JSON array; none when nowhere.
    pub fn saved_paths_json(&self) -> Option<String> {
        let mut paths = self.screenshot.saved_paths.iter();
        let mut out = String::from("[");
        write_string(paths.next()?, &mut out);
        for path in paths {
            out.push(',');
            write_string(path, &mut out);
        }
        out.push(']');
        Some(out)
    }
}

/// Directory and id of a user, both or none.
fn parts<'u, 'a>(user: &'u str, keep: impl Fn(&'u str) -> Cow<'a, str>) -> (Text<'a>, Text<'a>) {
    identity::parse(user).map(|known| (keep(known.directory), keep(known.id))).unzip()
}

fn text(value: Json<'_>) -> Option<Cow<'_, str>> {
    value.string().filter(|text| !text.is_empty())
}

fn text_or_number(value: Json<'_>) -> Option<Cow<'_, str>> {
    match value.kind() {
        Kind::Number => Some(Cow::Borrowed(value.text())),
        _ => text(value),
    }
}

fn schema_version(value: Json<'_>) -> Cow<'_, str> {
    match value.number() {
        Some(number) if number.abs() < 1e15 => Cow::Owned(format!("{number}")),
        _ => text_or_number(value).unwrap_or_default(),
    }
}

fn data_state_id(value: Json<'_>) -> Option<DataStateId<'_>> {
    match value.number() {
        Some(number) => Some(DataStateId::Number(number, value.text())),
        None => text(value).map(DataStateId::Text),
    }
}

/// Each item of a selection's `details` with the three parts that are kept, in their order.
fn reduced(details: Json<'_>) -> Option<String> {
    const KEPT: [&str; 3] = ["qField", "qSelectedCount", "qSelected"];
    let mut out = String::from("[");
    for item in details.items() {
        if out.len() > 1 {
            out.push(',');
        }
        out.push('{');
        let mut values = [None; KEPT.len()];
        for (key, value) in item.members() {
            if let Some(place) = KEPT.iter().position(|kept| *kept == key) {
                values[place] = Some(value);
            }
        }
        let mut first = true;
        for (name, value) in KEPT.iter().zip(values) {
            let Some(value) = value else { continue };
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            out.push('"');
            out.push_str(name);
            out.push_str("\":");
            value.write_compact(&mut out);
        }
        out.push('}');
    }
    out.push(']');
    (out.len() > 2).then_some(out)
}
