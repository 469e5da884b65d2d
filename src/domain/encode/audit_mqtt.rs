//! Audit events as MQTT messages. Contract: destinations.md, "MQTT".
//!
//! ```json
//! {"receivedAt":"2026-11-20T10:11:12.345Z","event":{…the body, byte for byte as it was sent…}}
//! ```
//!
//! The event of a screenshot has the result of its download before `event`, each member only when it is set:
//! `screenshotSavedPaths` (array), `screenshotSha256`, `screenshotError`. An event with the ids of an earlier
//! one has `conflictOf` there.

use super::json_text::ObjectWriter;
use crate::audit::AuditRecord;
use crate::audit::time::rfc3339;
use crate::json_string::write_string;

/// Appends the payload of one event.
pub fn write(record: &AuditRecord<'_>, out: &mut Vec<u8>) {
    let received_ms = i64::try_from(record.received_ns / 1_000_000).unwrap_or(i64::MAX);
    let mut object = ObjectWriter::new(out);
    object.text("receivedAt", &rfc3339(received_ms));
    let screenshot = &record.screenshot;
    if !screenshot.saved_paths.is_empty() {
        let mut paths = String::from("[");
        for path in &screenshot.saved_paths {
            if paths.len() > 1 {
                paths.push(',');
            }
            write_string(path, &mut paths);
        }
        paths.push(']');
        object.json("screenshotSavedPaths", paths.as_bytes());
    }
    object
        .text_if_some("screenshotSha256", screenshot.sha256.as_deref())
        .text_if_some("screenshotError", screenshot.error.as_deref())
        .text_if_some("conflictOf", record.conflict_of.map(|first| first.to_string()).as_deref())
        .json("event", record.body);
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{BodyHash, ScreenshotOutcome};

    #[test]
    fn a_conflict_is_marked() {
        let conflict_of = Some(BodyHash([0xab; 16]));
        let mut out = Vec::new();
        write(&AuditRecord { conflict_of, ..AuditRecord::received(0, b"{}") }, &mut out);
        let expect = r#"{"receivedAt":"1970-01-01T00:00:00.000Z","conflictOf":"abababababababababababababababab","event":{}}"#;
        assert_eq!(String::from_utf8_lossy(&out), expect);
    }

    #[test]
    fn payloads() {
        let check = |screenshot: ScreenshotOutcome<'_>, expect: &str| {
            let body = br#"{ "n": 1.50 }"#;
            let received_ns = 1_795_169_472_345_999_999;
            let record = AuditRecord { received_ns, screenshot, body, ..AuditRecord::default() };
            let mut out = Vec::new();
            write(&record, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expect);
        };
        check(
            ScreenshotOutcome::default(),
            r#"{"receivedAt":"2026-11-20T10:11:12.345Z","event":{ "n": 1.50 }}"#,
        );
        check(
            ScreenshotOutcome {
                saved_paths: vec!["/a".into(), "/\"".into()],
                sha256: Some("00".into()),
                error: None,
            },
            concat!(
                r#"{"receivedAt":"2026-11-20T10:11:12.345Z","screenshotSavedPaths":["/a","/\""],"#,
                r#""screenshotSha256":"00","event":{ "n": 1.50 }}"#
            ),
        );
    }
}
