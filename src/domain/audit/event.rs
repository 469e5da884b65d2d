//! An audit event for destinations: a view of a journal record.
//!
//! Every destination writes the same values under its own names, so this module defines the content of each
//! column. A value of another type than the column's counts as absent, and so does an empty string, because
//! the payload is free-form outside the few types with a schema. Contract: `destinations.md` and
//! `audit-api.md`, "What an event becomes".

use std::borrow::Cow;

use super::body_hash::BodyHash;
use super::conflict_mark::Conflict;
use super::json::{Cursor, Json, Kind, NotJson, write_string};
use super::record::{AuditRecord, RecordError, ScreenshotOutcome};
use super::time::{rfc3339, timestamp_ms};
use crate::file_name::{self, FileStem};
use crate::identity;

type Text<'a> = Option<Cow<'a, str>>;

/// An accepted event. Text borrows from the record unless an escape had to be resolved.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuditEvent<'a> {
    /// The time of receipt, nanoseconds since 1970.
    pub received_ns: u64,
    /// The envelope's `timestamp` as sent, or the time of receipt when that is far in the future.
    pub timestamp: Cow<'a, str>,
    /// The same in milliseconds since 1970, or the time of receipt when the timestamp is not an existing
    /// moment.
    pub timestamp_ms: i64,
    /// The envelope's `timestamp` as sent, when it is far in the future. A wrong or forged clock must not put
    /// events where nobody looks for them and no retention ends.
    pub client_timestamp: Text<'a>,
    pub event_type: Cow<'a, str>,
    pub event_id: Cow<'a, str>,
    /// A number has its original spelling.
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
    /// `payload.event.duration`. Always finite.
    pub duration_ms: Option<f64>,
    pub visible: Option<bool>,
    pub entered_at: Text<'a>,
    pub left_at: Text<'a>,
    pub data_state_id: Option<DataStateId<'a>>,
    pub screenshot_url: Text<'a>,
    /// `details` of a selection, reduced to `qField`, `qSelectedCount`, `qSelected`: compact JSON, an array
    /// with one object per item. `None` without details.
    pub selection_details: Option<String>,
    /// `payload.event.objectData`, of any type.
    pub object_data: Option<Json<'a>>,
    /// The result of a screenshot's download.
    pub screenshot: ScreenshotOutcome<'a>,
    /// Set when the event has the ids of an earlier one.
    pub conflict: Option<Conflict>,
    /// The size of the body.
    pub body_bytes: usize,
}

/// The time of an event, from its `timestamp` and the time of receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub ms: i64,
    /// Whether it is the time of receipt, because the timestamp is not an existing moment or is far in the
    /// future.
    pub is_receipt: bool,
    pub is_ahead: bool,
}

/// A timestamp further ahead of receipt is not used. A day allows clocks in the wrong time zone.
const AHEAD_MS_MAX: i64 = 24 * 60 * 60 * 1000;

impl Moment {
    pub fn of(timestamp: &str, received_ns: u64) -> Self {
        // The cast fits: 2^64 nanoseconds are fewer milliseconds than an i64 holds.
        let received_ms = (received_ns / 1_000_000) as i64;
        match timestamp_ms(timestamp) {
            Some(ms) if ms <= received_ms + AHEAD_MS_MAX => Self { ms, is_receipt: false, is_ahead: false },
            sent => Self { ms: received_ms, is_receipt: true, is_ahead: sent.is_some() },
        }
    }
}

/// `payload.event.dataStateId`. Clients send it as a number or as text.
#[derive(Debug, Clone, PartialEq)]
pub enum DataStateId<'a> {
    /// A finite number and its original spelling.
    Number(f64, &'a str),
    Text(Cow<'a, str>),
}

/// Why a record contains no event. Both cases mean damage, because records in the journal were accepted.
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
        let mut event = Json::walk(record.body, |at| {
            let mut event = Self::default();
            at.members(|key, at| match key {
                "eventId" => event.event_id = string(at.value()),
                "correlationId" => event.correlation_id = at.value().and_then(text_or_number),
                "timestamp" => event.timestamp = string(at.value()),
                "type" => event.event_type = string(at.value()),
                "payload" => event.read_payload(at),
                _ => {}
            });
            event
        })?;
        event.received_ns = record.received_ns;
        event.screenshot = record.screenshot;
        event.body_bytes = record.body.len();
        event.conflict = record.conflict_of.map(|of| Conflict { of, own: BodyHash::of(record.body) });
        let moment = Moment::of(&event.timestamp, record.received_ns);
        event.timestamp_ms = moment.ms;
        if moment.is_ahead {
            let received = Cow::Owned(rfc3339(moment.ms));
            event.client_timestamp = Some(std::mem::replace(&mut event.timestamp, received));
        }
        // Only text without escapes can be borrowed in parts. Other text is rare and copied.
        (event.user_directory, event.user_id) = match &event.user {
            Some(Cow::Borrowed(user)) => parts(user, Cow::Borrowed),
            Some(Cow::Owned(user)) => parts(user, |part| Cow::Owned(part.to_owned())),
            None => (None, None),
        };
        if event.event_type != "selection.state.changed" {
            event.selection_details = None;
        }
        Ok(event)
    }

    /// Of repeated payloads, contexts and events only the last one counts.
    fn read_payload(&mut self, at: &mut Cursor<'a>) {
        self.forget_context();
        self.forget_event();
        at.members(|key, at| match key {
            "context" => self.read_context(at),
            "event" => self.read_event(at),
            _ => {}
        });
    }

    fn read_context(&mut self, at: &mut Cursor<'a>) {
        self.forget_context();
        at.members(|key, at| match key {
            "user" => self.user = at.value().and_then(text),
            "appId" => self.app_id = at.value().and_then(text),
            "appName" => self.app_name = at.value().and_then(text),
            "sheetId" => self.sheet_id = at.value().and_then(text),
            "sheetName" => self.sheet_name = at.value().and_then(text),
            _ => {}
        });
    }

    fn read_event(&mut self, at: &mut Cursor<'a>) {
        self.forget_event();
        at.members(|key, at| match key {
            "objectId" => self.object_id = at.value().and_then(text),
            "selectionTxnId" => self.selection_txn_id = at.value().and_then(text),
            "enterSelectionTxnId" => self.enter_selection_txn_id = at.value().and_then(text),
            "leaveSelectionTxnId" => self.leave_selection_txn_id = at.value().and_then(text),
            "duration" => self.duration_ms = at.value().and_then(Json::number),
            "visible" => self.visible = at.value().and_then(Json::boolean),
            "enteredAt" => self.entered_at = at.value().and_then(text),
            "leftAt" => self.left_at = at.value().and_then(text),
            "dataStateId" => self.data_state_id = at.value().and_then(data_state_id),
            "screenshotUrl" => self.screenshot_url = at.value().and_then(text),
            "details" => self.selection_details = at.value().and_then(reduced),
            "objectData" => self.read_object_data(at),
            _ => {}
        });
    }

    fn read_object_data(&mut self, at: &mut Cursor<'a>) {
        self.object_type = None;
        let place = at.place();
        at.members(|key, at| {
            if key == "objectType" {
                self.object_type = at.value().and_then(text);
            }
        });
        self.object_data = at.since(place);
    }

    fn forget_context(&mut self) {
        (self.user, self.app_id, self.app_name, self.sheet_id, self.sheet_name) = Default::default();
    }

    fn forget_event(&mut self) {
        (self.duration_ms, self.visible, self.data_state_id) = Default::default();
        (self.selection_details, self.object_data, self.object_type) = Default::default();
        (self.object_id, self.entered_at, self.left_at, self.screenshot_url) = Default::default();
        (self.selection_txn_id, self.enter_selection_txn_id, self.leave_selection_txn_id) =
            Default::default();
    }

    /// The name of a file for this event, see [`file_name`].
    pub fn file_name(&self, extension: &str) -> String {
        self.file_stem().with_extension(extension)
    }

    /// The same without the extension.
    pub fn file_stem(&self) -> FileStem {
        let suffix = self.conflict.map(|conflict| conflict.suffix());
        let stem = file_name::stem(self.timestamp_ms, &self.event_id, self.correlation_id.as_deref());
        FileStem::new(stem, suffix.as_deref().unwrap_or_default())
    }

    /// Whether this is a screenshot with a URL to download.
    pub fn is_screenshot(&self) -> bool {
        self.event_type == super::SCREENSHOT_TYPE
    }

    /// `dataStateId` for columns of numbers.
    pub fn data_state_number(&self) -> Option<f64> {
        match self.data_state_id {
            Some(DataStateId::Number(number, _)) => Some(number),
            _ => None,
        }
    }

    /// `dataStateId` for columns of whole numbers: also from text, but never with a fraction.
    pub fn data_state_integer(&self) -> Option<i64> {
        let spelled = match self.data_state_id.as_ref()? {
            DataStateId::Number(_, spelled) => spelled,
            DataStateId::Text(text) => text.trim(),
        };
        if let Ok(exact) = spelled.parse() {
            return Some(exact);
        }
        let number: f64 = spelled.parse().ok()?;
        // The comparison excludes 2^63. Every whole double below fits an i64.
        let fits = number.fract() == 0.0 && number.abs() < 9_223_372_036_854_775_808.0;
        fits.then_some(number as i64)
    }

    /// The paths of stored images as a JSON array; `None` without any.
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

fn string(value: Option<Json<'_>>) -> Cow<'_, str> {
    value.and_then(Json::string).unwrap_or_default()
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

fn data_state_id(value: Json<'_>) -> Option<DataStateId<'_>> {
    match value.number() {
        Some(number) => Some(DataStateId::Number(number, value.text())),
        None => text(value).map(DataStateId::Text),
    }
}

/// The three kept members of each item of a selection's `details`, in their order.
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
            // Writing into a string does not fail.
            let _ = value.write_compact(&mut out);
        }
        out.push('}');
    }
    out.push(']');
    (out.len() > 2).then_some(out)
}
