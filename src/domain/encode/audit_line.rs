//! Audit events as InfluxDB points. Contract: `destinations.md`, "InfluxDB".
//!
//! All three versions get the same tags and fields; only backslashes are written differently, which
//! [`LineWriter`] handles. Two rules prevent refusals of points that clients can produce: a point without a
//! field gets `received=true`, and one with a time outside InfluxDB's range gets its time of receipt. An
//! event with the ids of an earlier one is a point of its own: see [`crate::audit::conflict`].
//!
//! Tag values are part of the key of a series, which InfluxDB limits to 65 535 bytes. Types without a schema
//! may contain longer text, so a tag's value is cut at [`TAG_BYTES_MAX`].

use std::borrow::Cow;

use openssl::sha::Sha256;

use super::audit_columns::StaticTag;
use super::line_protocol::{LineWriter, Strip, Version, encode_tags};
use crate::audit::AuditEvent;

pub const DEFAULT_MEASUREMENT: &str = "audit_event";
pub const DEFAULT_SCHEMA_VERSION: &str = "1";

/// The maximum size of a tag's value; far above every limit of the schemas.
pub const TAG_BYTES_MAX: usize = 1024;

/// Tags and fields of the event itself, and names that InfluxDB reserves. A static tag cannot have one of
/// these names: two tags of one name, and in version 3 a tag and a field, make a line invalid.
const TAKEN: [&str; 36] = [
    "eventType",
    "auditEventSchemaVersion",
    "eventId",
    "correlationId",
    "selectionTxnId",
    "eventId_field",
    "correlationId_field",
    "selectionTxnId_field",
    "user",
    "userDirectory",
    "userId",
    "appId",
    "appName",
    "objectType",
    "sheetId",
    "sheetName",
    "objectId",
    "enteredAt",
    "leftAt",
    "enterSelectionTxnId",
    "leaveSelectionTxnId",
    "selectionDetails",
    "screenshotUrl",
    "screenshotSavedPaths",
    "objectData",
    "durationMs",
    "dataStateId",
    "visible",
    "screenshotSha256",
    "screenshotError",
    "conflictOf",
    "clientTimestamp",
    "received",
    "time",
    "_field",
    "_measurement",
];

/// Times that every version of InfluxDB accepts. The extreme values mean "no time".
const TIME_NS: std::ops::RangeInclusive<i128> = i64::MIN as i128 + 2..=i64::MAX as i128 - 1;

/// Whether a static tag may not have this name, because the event or InfluxDB uses it.
pub fn is_taken(name: &str) -> bool {
    name.is_empty() || TAKEN.contains(&name)
}

/// Encodes audit events as points. Created once from the configuration.
#[derive(Debug, Clone)]
pub struct AuditPoint {
    version: Version,
    measurement: String,
    /// Value of the tag `auditEventSchemaVersion`.
    schema_version: String,
    /// Encoded for a line.
    static_tags: Vec<u8>,
    /// See [`Self::set_ids_as_fields`].
    ids_as_fields: bool,
}

impl AuditPoint {
    /// `tags` are the configured ones; one whose name [`is_taken`] is left out. An empty measurement is
    /// [`DEFAULT_MEASUREMENT`].
    pub fn new(version: Version, measurement: &str, tags: &[StaticTag]) -> Self {
        let measurement = if measurement.is_empty() { DEFAULT_MEASUREMENT } else { measurement }.to_owned();
        let tags: Vec<_> = tags
            .iter()
            .filter(|(name, _)| !is_taken(name))
            .map(|(name, value)| (name.as_str(), bounded(value)))
            .collect();
        let schema_version = DEFAULT_SCHEMA_VERSION.to_owned();
        let static_tags = encode_tags(version, tags);
        Self { version, measurement, schema_version, static_tags, ids_as_fields: false }
    }

    /// Sets the version in the points: the configured one, independent of the event, as in Butler SOS. An
    /// empty one becomes [`DEFAULT_SCHEMA_VERSION`], because the tag is always present.
    #[must_use]
    pub fn with_schema_version(mut self, schema_version: &str) -> Self {
        if !schema_version.is_empty() {
            self.schema_version = bounded(schema_version).to_owned();
        }
        self
    }

    #[must_use]
    pub fn measurement(&self) -> &str {
        &self.measurement
    }

    /// Writes `eventId`, `correlationId` and `selectionTxnId` as fields, not tags, because each of their
    /// values would be a series. Points then differ by their times, whose last six digits are derived from
    /// the ids.
    ///
    /// In version 3 a tag and a field of the same name make a line invalid, so there the fields end in
    /// `_field`, like those of user events.
    pub fn set_ids_as_fields(&mut self, are_fields: bool) {
        self.ids_as_fields = are_fields;
    }

    /// The ids, with the names of their tags and fields.
    fn ids<'e>(event: &'e AuditEvent<'_>) -> [(&'static str, &'static str, &'static str, &'e str); 3] {
        let text = |value: &'e Option<Cow<'_, str>>| value.as_deref().unwrap_or("");
        [
            (",eventId=", "eventId", "eventId_field", &*event.event_id),
            (",correlationId=", "correlationId", "correlationId_field", text(&event.correlation_id)),
            (",selectionTxnId=", "selectionTxnId", "selectionTxnId_field", text(&event.selection_txn_id)),
        ]
    }

    /// Appends the event's line, newline included.
    pub fn write(&self, event: &AuditEvent<'_>, out: &mut Vec<u8>) {
        let mut line = LineWriter::new(out, self.version, &self.measurement);
        for (key, value) in
            [(",eventType=", &*event.event_type), (",auditEventSchemaVersion=", &self.schema_version)]
        {
            line.tag_with_encoded_key(key, &[bounded(value)], Strip::Nothing);
        }
        if !self.ids_as_fields {
            for (key, _, _, value) in Self::ids(event) {
                line.tag_with_encoded_key(key, &[bounded(value)], Strip::Nothing);
            }
        }
        for (key, value) in [
            (",user=", event.user.as_ref()),
            (",userDirectory=", event.user_directory.as_ref()),
            (",userId=", event.user_id.as_ref()),
            (",appId=", event.app_id.as_ref()),
            (",appName=", event.app_name.as_ref()),
            (",objectType=", event.object_type.as_ref()),
        ] {
            line.tag_with_encoded_key(key, &[value.map_or("", |value| bounded(value))], Strip::Nothing);
        }
        line.encoded_tags(&self.static_tags);

        for (name, value) in [
            ("sheetId", &event.sheet_id),
            ("sheetName", &event.sheet_name),
            ("objectId", &event.object_id),
            ("enteredAt", &event.entered_at),
            ("leftAt", &event.left_at),
            ("enterSelectionTxnId", &event.enter_selection_txn_id),
            ("leaveSelectionTxnId", &event.leave_selection_txn_id),
            ("screenshotUrl", &event.screenshot_url),
            ("screenshotSha256", &event.screenshot.sha256),
            ("screenshotError", &event.screenshot.error),
            ("clientTimestamp", &event.client_timestamp),
        ] {
            if let Some(value) = value {
                line.text(name, value);
            }
        }
        if let Some(conflict) = &event.conflict {
            line.text("conflictOf", &conflict.of.to_string());
        }
        if let Some(details) = &event.selection_details {
            line.text("selectionDetails", details);
        }
        if let Some(paths) = event.saved_paths_json() {
            line.text("screenshotSavedPaths", &paths);
        }
        if let Some(data) = event.object_data {
            line.text_from("objectData", |out| data.write_compact(out));
        }
        for (name, value) in [("durationMs", event.duration_ms), ("dataStateId", event.data_state_number())] {
            if let Some(value) = value {
                line.float(name, value);
            }
        }
        if let Some(visible) = event.visible {
            line.boolean("visible", visible);
        }
        if self.ids_as_fields {
            for (_, field, field_of_3, value) in Self::ids(event) {
                // Written also when it is empty, because dashboards filter by a pattern that matches
                // everything.
                if !value.is_empty() || field == "correlationId" {
                    line.text(if self.version == Version::V3 { field_of_3 } else { field }, bounded(value));
                }
            }
        }
        if line.field_count() == 0 {
            line.boolean("received", true);
        }
        line.finish(if self.ids_as_fields { time_of_ids_ns(event) } else { time_ns(event) });
    }
}

/// The event's time, or the time of receipt if it is out of InfluxDB's range. The time of a conflict is a
/// little later, so that it does not replace the first point.
fn time_ns(event: &AuditEvent<'_>) -> i64 {
    let later = event.conflict.map_or(0, |conflict| conflict.offset_ns());
    let ns = i128::from(event.timestamp_ms) * 1_000_000 + i128::from(later);
    if TIME_NS.contains(&ns) {
        return ns as i64;
    }
    i128::from(event.received_ns).min(*TIME_NS.end()) as i64
}

/// The event's time, with digits derived from its ids after the milliseconds. Events of one millisecond
/// without distinguishing tags become two points, and a repeated event the same point. A conflict has the ids
/// of another event, so its digits are derived from its body.
fn time_of_ids_ns(event: &AuditEvent<'_>) -> i64 {
    if event.conflict.is_some() {
        return time_ns(event);
    }
    let mut hasher = Sha256::new();
    for (.., id) in AuditPoint::ids(event) {
        hasher.update(id.as_bytes());
        hasher.update(b"\0");
    }
    let hash = hasher.finish();
    let behind = u64::from_be_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]])
        % NS_OF_A_MS;
    let ns = i128::from(event.timestamp_ms) * i128::from(NS_OF_A_MS) + i128::from(behind);
    // Times of receipt are unique anyway.
    if TIME_NS.contains(&ns) { ns as i64 } else { time_ns(event) }
}

const NS_OF_A_MS: u64 = 1_000_000;

fn bounded(value: &str) -> &str {
    &value[..value.floor_char_boundary(TAG_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{BodyHash, Conflict, ScreenshotOutcome};

    fn written(version: Version, tags: &[(&str, &str)], event: &AuditEvent<'_>) -> String {
        let tags: Vec<StaticTag> =
            tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut out = Vec::new();
        AuditPoint::new(version, "", &tags).write(event, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    fn event() -> AuditEvent<'static> {
        AuditEvent {
            received_ns: 5_000_000_000,
            timestamp_ms: 1,
            event_type: "audit.event".into(),
            event_id: "id".into(),
            ..AuditEvent::default()
        }
    }

    #[test]
    fn a_point_without_fields_gets_a_field() {
        for version in [Version::V1, Version::V2, Version::V3] {
            assert_eq!(
                written(version, &[("env", "peer"), ("empty", "")], &event()),
                "audit_event,eventType=audit.event,auditEventSchemaVersion=1,eventId=id,env=peer received=true 1000000\n"
            );
        }
    }

    #[test]
    fn ids_are_tags_or_fields() {
        let event = AuditEvent {
            correlation_id: Some("c".into()),
            selection_txn_id: Some("s \"1\"".into()),
            sheet_name: Some("sheet".into()),
            ..event()
        };
        let written = |version, event: &AuditEvent<'_>| {
            let mut point = AuditPoint::new(version, "", &[]);
            point.set_ids_as_fields(true);
            let mut out = Vec::new();
            point.write(event, &mut out);
            String::from_utf8(out).expect("UTF-8")
        };
        let head = "audit_event,eventType=audit.event,auditEventSchemaVersion=1 sheetName=\"sheet\",";
        for version in [Version::V1, Version::V2] {
            let line = written(version, &event);
            let ids = r#"eventId="id",correlationId="c",selectionTxnId="s \"1\"" "#;
            assert!(line.starts_with(&format!("{head}{ids}")), "{line}");
        }
        let line = written(Version::V3, &event);
        let ids = r#"eventId_field="id",correlationId_field="c",selectionTxnId_field="s \"1\"" "#;
        assert!(line.starts_with(&format!("{head}{ids}")), "{line}");

        let time = |event: &AuditEvent<'_>| -> i64 {
            let line = written(Version::V1, event);
            line.trim_end().rsplit(' ').next().expect("a time").parse().expect("a number")
        };
        let times: std::collections::BTreeSet<i64> = (0..100)
            .map(|n| time(&AuditEvent { event_id: format!("id{n}").into(), ..event.clone() }))
            .collect();
        assert_eq!(times.len(), 100, "events of one millisecond are points of their own");
        assert!(times.iter().all(|time| time / 1_000_000 == 1), "and keep their millisecond: {times:?}");
        assert_eq!(time(&event), time(&event.clone()));
        let far = AuditEvent { timestamp_ms: 9_223_372_036_855, received_ns: 7, ..event };
        assert_eq!(time(&far), 7);
    }

    #[test]
    fn writes_the_result_of_a_download() {
        let screenshot = ScreenshotOutcome {
            saved_paths: vec!["/a \"b\".png".into(), "/c.png".into()],
            sha256: Some("00ff".into()),
            error: Some("timeout".into()),
        };
        let line = written(Version::V1, &[], &AuditEvent { screenshot, ..event() });
        assert!(line.contains(" screenshotSha256=\"00ff\",screenshotError=\"timeout\""), "{line}");
        assert!(line.contains(r#"screenshotSavedPaths="[\"/a \\\"b\\\".png\",\"/c.png\"]""#), "{line}");
    }

    #[test]
    fn a_conflict_is_a_point_of_its_own() {
        let conflict = Conflict { of: BodyHash([0xab; 16]), own: BodyHash([0; 16]) };
        let line = written(Version::V1, &[], &AuditEvent { conflict: Some(conflict), ..event() });
        let of = "ab".repeat(16);
        let expect = format!(
            "audit_event,eventType=audit.event,auditEventSchemaVersion=1,eventId=id conflictOf=\"{of}\" 1000001\n"
        );
        assert_eq!(line, expect);
    }

    #[test]
    fn a_conflict_is_a_point_of_its_own_where_ids_are_fields_too() {
        let time = |conflict| {
            let mut out = Vec::new();
            let mut point = AuditPoint::new(Version::V1, "", &[]);
            point.set_ids_as_fields(true);
            point.write(&AuditEvent { conflict, ..event() }, &mut out);
            let line = String::from_utf8(out).expect("UTF-8");
            line.trim_end().rsplit(' ').next().expect("a time").to_owned()
        };
        let of = BodyHash([0xab; 16]);
        let conflict = |byte| Some(Conflict { of, own: BodyHash([byte; 16]) });
        let times = [time(None), time(conflict(0)), time(conflict(1))];
        assert!(times[0] != times[1] && times[1] != times[2] && times[0] != times[2], "{times:?}");
        assert_eq!(times[1], "1000001");
    }

    #[test]
    fn times_out_of_range_become_the_time_of_receipt() {
        let check = |timestamp_ms: i64, received_ns: u64, expect: &str| {
            let line = written(Version::V2, &[], &AuditEvent { timestamp_ms, received_ns, ..event() });
            assert_eq!(line.trim_end().rsplit(' ').next(), Some(expect));
        };
        check(-1, 7, "-1000000");
        check(9_223_372_036_854, 7, "9223372036854000000");
        check(9_223_372_036_855, 7, "7");
        check(-62_167_219_200_000, 7, "7");
        check(253_402_300_799_000, u64::MAX, "9223372036854775806");
    }

    #[test]
    fn static_tags_with_reserved_names_are_omitted() {
        let tags = [("user", "x"), ("time", "x"), ("sheetId", "x"), ("", "x"), ("a b", "1"), ("a b", "2")];
        let line = written(Version::V3, &tags, &event());
        assert!(line.contains(r",eventId=id,a\ b=2 received"), "{line}");
    }

    #[test]
    fn the_schema_version_is_configured_and_always_present() {
        let check = |configured: &str, expect: &str| {
            let mut out = Vec::new();
            AuditPoint::new(Version::V1, "", &[]).with_schema_version(configured).write(&event(), &mut out);
            let line = String::from_utf8(out).expect("UTF-8");
            assert!(line.contains(&format!(",auditEventSchemaVersion={expect},eventId=id ")), "{line}");
        };
        check("1", "1");
        check("2.1 beta", r"2.1\ beta");
        check("", "1");
    }

    #[test]
    fn long_text_in_tags_is_cut() {
        let long = ",".repeat(1_000_000);
        let text = || Some(std::borrow::Cow::Borrowed(long.as_str()));
        let event = AuditEvent {
            user: text(),
            user_directory: text(),
            user_id: text(),
            app_name: text(),
            object_type: text(),
            selection_txn_id: text(),
            event_type: long.as_str().into(),
            ..event()
        };
        assert!(written(Version::V1, &[], &event).len() < 65_535);
    }
}
