//! Limits the size of an event at each destination: no body, including bodies in old journals that were
//! accepted without today's checks, grows by more than a small factor. The table in `docs/reliability.md`
//! contains these figures.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::audit_csv::AuditCsv;
use super::audit_line::AuditPoint;
use super::line_protocol::Version;
use super::object_json::object_file;
use super::{audit_mqtt, parquet, qvd};
use crate::audit::{AuditEvent, AuditRecord, BodyHash};

/// The maximum factor of each output over the body's length, and a constant for the surrounding text.
const LINE: usize = 2;
const JSON: usize = 4;
const CSV: usize = 4;
const MQTT: usize = 1;
const PARQUET: usize = 3;
const QVD: usize = 2;
const AROUND: usize = 64 * 1024;

/// A quarter of the default limit, enough to show faster growth.
const BODY_BYTES: usize = 256 * 1024;

/// A time of receipt with which the timestamps of the bodies below are used.
const RECEIVED_NS: u64 = 1_795_169_473_000_000_000;

fn body(event_type: &str, context: &str, event: &str) -> String {
    format!(
        "{{\"schemaVersion\":1,\"eventId\":\"00000000-0000-4000-8000-000000000001\",\"timestamp\":\"2026-11-20T10:11:12.345Z\",\
         \"type\":\"{event_type}\",\"payload\":{{\"context\":{{{context}}},\"event\":{event}}}}}"
    )
}

/// Repeats `item` until there are `bytes`.
fn filled(bytes: usize, item: &str) -> String {
    item.repeat(bytes / item.len())
}

/// Nests `open` and `close` until there are `bytes`.
fn nested(bytes: usize, open: &str, close: &str) -> String {
    let levels = bytes / (open.len() + close.len());
    format!("{}0{}", open.repeat(levels), close.repeat(levels))
}

/// Bodies that maximise the output of a destination.
fn hostile_bodies(bytes: usize) -> Vec<(&'static str, String)> {
    let object_data = |data: &str| body("audit.event", "", &format!("{{\"objectData\":{data}}}"));
    let details = |details: &str| {
        body("selection.state.changed", "", &format!("{{\"objectData\":0,\"details\":{details}}}"))
    };
    let array = |item: &str| format!("[{}0]", filled(bytes, &format!("{item},")));
    let text = |item: &str| format!("\"{}\"", filled(bytes, item));
    let user = |item: &str| {
        body("audit.event", &format!("\"user\":\"a\\\\{}\"", filled(bytes, item)), "{\"objectData\":0}")
    };
    let object_type = |item: &str| object_data(&format!("{{\"objectType\":{}}}", text(item)));
    let mut members = String::from("{");
    for n in 0.. {
        if members.len() > bytes {
            break;
        }
        let _ = write!(members, "\"{n}\":{n},");
    }
    members.push_str("\"\":0}");
    // As deep as the limit allows, and slightly deeper.
    let steps = |depth: usize| {
        let item = format!("{}0{},", "[".repeat(depth), "]".repeat(depth));
        format!("[{}0]", filled(bytes, &item))
    };
    vec![
        ("arrays", object_data(&nested(bytes, "[", "]"))),
        ("objects", object_data(&nested(bytes, "{\"\":", "}"))),
        ("half as deep", object_data(&format!("[{},{}]", nested(bytes / 2, "[", "]"), array("0")))),
        ("steps of 4", object_data(&steps(4))),
        ("steps of 100", object_data(&steps(100))),
        ("deep details", details(&format!("[{{\"qField\":{}}}]", nested(bytes, "[", "]")))),
        ("wide details", details(&array("0"))),
        ("numbers", object_data(&array("0"))),
        ("empty objects", object_data(&array("{}"))),
        ("members", object_data(&members)),
        ("empty names", object_data(&format!("{{{}\"\":0}}", filled(bytes, "\"\":0,")))),
        ("quotes", object_data(&text("\\\""))),
        ("backslashes", object_data(&text("\\\\"))),
        ("controls", object_data(&text("\\u0001"))),
        ("NUL", object_type("\\u0000")),
        ("half pairs", object_type("\\ud800")),
        ("formulas", object_data(&text(";="))),
        ("formulas in a type", object_type(";=")),
        ("quotes in a type", object_type("\\\"")),
        ("formulas in a user", user(";=")),
        ("quotes in a user", user("\\\"")),
        ("commas in a user", user(",")),
        ("noise", object_data(&format!("\"{}\"", noise(bytes)))),
        (
            "noise in a user",
            body("audit.event", &format!("\"user\":\"a\\\\{}\"", noise(bytes)), "{\"objectData\":0}"),
        ),
        ("sheet", body("audit.event", &format!("\"sheetName\":{}", text("\\\"")), "{\"objectData\":0}")),
        (
            "objects after each other",
            body(
                "audit.event",
                "",
                &format!("{{{}\"objectData\":[0]}}", filled(bytes, "\"objectData\":[[]],")),
            ),
        ),
    ]
}

/// Incompressible text.
fn noise(bytes: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(
            b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[(state >> 40) as usize % 64],
        )
    };
    (0..bytes).map(|_| next()).collect()
}

/// The output size of every destination for a body, and its limit.
fn sizes(body: &str) -> [(&'static str, usize, usize); 8] {
    let record = AuditRecord {
        conflict_of: Some(BodyHash([1; 16])),
        ..AuditRecord::received(RECEIVED_NS, body.as_bytes())
    };
    let mut message = Vec::new();
    audit_mqtt::write(&record, &mut message);
    let event = AuditEvent::from_record(record).expect("an event");
    let tags = [("env".to_owned(), "prod".to_owned())];
    let line = |version| {
        let mut out = Vec::new();
        AuditPoint::new(version, "", &tags).write(&event, &mut out);
        out.len()
    };
    let json = object_file(&event, &tags).map_or(0, |file| file.content.len());
    let mut writer = super::csv::writer(Vec::new());
    AuditCsv::new(&tags, true).write_row(&mut writer, &event).expect("a row");
    let row = writer.into_inner().expect("in memory");
    let events = std::slice::from_ref(&event);
    let mut columns = Vec::new();
    parquet::write_file(&mut columns, events, &tags, None).expect("written");
    let mut table = Vec::new();
    qvd::write_file(&mut table, events, &tags, None, 0).expect("written");
    let max = |factor: usize| factor * body.len() + AROUND;
    [
        ("InfluxDB 1", line(Version::V1), max(LINE)),
        ("InfluxDB 2", line(Version::V2), max(LINE)),
        ("InfluxDB 3", line(Version::V3), max(LINE)),
        ("JSON", json, max(JSON)),
        ("CSV", row.len(), max(CSV)),
        ("MQTT", message.len(), max(MQTT)),
        ("Parquet", columns.len(), max(PARQUET)),
        ("QVD", table.len(), max(QVD)),
    ]
}

#[test]
fn no_body_grows_without_bound() {
    for (name, body) in hostile_bodies(BODY_BYTES) {
        for (destination, bytes, max) in sizes(&body) {
            assert!(bytes <= max, "{destination}, {name}: {bytes} of {} bytes", body.len());
        }
    }
}

#[test]
fn deep_object_data_is_on_one_line() {
    let check = |event: &str, has_lines: bool| {
        let body = body("selection.state.changed", "", event);
        let record = AuditRecord::received(RECEIVED_NS, body.as_bytes());
        let content =
            object_file(&AuditEvent::from_record(record).expect("an event"), &[]).expect("a file").content;
        assert_eq!(content.contains("\n  \"eventId\""), has_lines);
        let object: serde_json::Map<String, serde_json::Value> = match serde_json::from_str(&content) {
            Ok(object) => object,
            // `serde_json` does not build values of that depth.
            Err(error) => return assert!(error.to_string().contains("recursion limit"), "{error}"),
        };
        assert!(object.contains_key("objectData"));
    };
    let deep = nested(20_000, "[", "]");
    check("{\"objectData\":[[0]]}", true);
    check(&format!("{{\"objectData\":{deep}}}"), true);
    check(&format!("{{\"objectData\":{deep},\"details\":[{{\"qField\":{deep}}}]}}"), false);
    // The exact limit: the largest object that fits is on several lines.
    for levels in 170..200 {
        let data = format!("{}0{}", "[".repeat(levels), "]".repeat(levels));
        let body = body("audit.event", "", &format!("{{\"objectData\":{data}}}"));
        let record = AuditRecord::received(RECEIVED_NS, body.as_bytes());
        let content =
            object_file(&AuditEvent::from_record(record).expect("an event"), &[]).expect("a file").content;
        let is_pretty = !content.contains("[[");
        // Each level has two lines, except for the innermost value.
        let lines: usize = (1..=levels).map(|level| 2 * (2 + 1 + 2 * level)).sum();
        if lines > 4 * body.len() + AROUND {
            assert!(!is_pretty, "{levels}");
        }
        if lines + 4_096 < 4 * body.len() + AROUND {
            assert!(is_pretty, "{levels}");
        }
        assert!(content.len() <= 4 * body.len() + AROUND, "{levels}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The same for random bodies: parts of hostile bodies in each other's positions.
    #[test]
    fn no_mixture_grows_without_bound(
        parts in prop::collection::vec((prop::sample::select(vec![
            "[", "]", "{\"a\":", "}", "0,", "\"", "\\\"", "\\\\", "\\u0001", ";=", "\\u0000", "å", "\\ud800", " ", ",", ":",
        ]), 1_usize..200), 0..12),
        place in 0_usize..5,
    ) {
        let text: String = parts.iter().map(|(part, times)| part.repeat(*times)).collect();
        let data = match serde_json::from_str::<&serde_json::value::RawValue>(&text) {
            Ok(raw) => raw.get().to_owned(),
            Err(_) => {
                let inside = text.replace('"', "").replace('\\', "\\\\");
                format!("\"{inside}\"")
            }
        };
        let body = match place {
            0 => body("audit.event", "", &format!("{{\"objectData\":{data}}}")),
            1 => body("audit.event", "", &format!("{{\"objectData\":{{\"objectType\":{data}}}}}")),
            2 => body("audit.event", &format!("\"user\":{data}"), "{\"objectData\":0}"),
            3 => body("audit.event", "", &format!("{{\"screenshotUrl\":{data},\"objectData\":0}}")),
            _ => body("selection.state.changed", "", &format!("{{\"details\":[{{\"qField\":{data}}}]}}")),
        };
        for (destination, bytes, max) in sizes(&body) {
            prop_assert!(bytes <= max, "{}: {} of {}", destination, bytes, body.len());
        }
    }
}
