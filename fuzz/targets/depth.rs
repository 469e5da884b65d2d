//! However deep an event is nested, it is refused from a level on, and what a journal holds of it stays small everywhere.

use butler_sos_domain::audit::{AuditEvent, AuditRecord, check};
use butler_sos_domain::encode::audit_csv::AuditCsv;
use butler_sos_domain::encode::audit_line::AuditPoint;
use butler_sos_domain::encode::object_json::object_file;
use butler_sos_domain::encode::{csv, parquet, qvd};

use super::VERSIONS;

const DEPTH_MAX: usize = 128;
/// Of any output: so many times the body, and what stands around it.
const TIMES_MAX: usize = 4;
const AROUND: usize = 64 * 1024;
const BODY_BYTES_MAX: usize = 128 * 1024;

/// Two bytes are a step: what it opens, and how often. What is open at the end is closed.
pub fn run(bytes: &[u8]) {
    let (mut data, mut open) = (String::new(), Vec::new());
    for step in bytes.chunks(2) {
        let times = usize::from(*step.get(1).unwrap_or(&1)) + 1;
        for _ in 0..if step[0] & 8 == 0 { times } else { times * 64 } {
            if data.len() + open.len() > BODY_BYTES_MAX {
                break;
            }
            match step[0] % 6 {
                0 => begin(&mut data, &mut open, "[", "]"),
                1 => begin(&mut data, &mut open, "{\"a\":", "}"),
                2 => begin(&mut data, &mut open, "{\"\\\"\":0,\"objectType\":", "}"),
                3 => begin(&mut data, &mut open, "[[],{},\";=\",", "]"),
                4 => begin(&mut data, &mut open, "[\"[{\\u0001\\\\\", ", "]"),
                _ => {
                    if let Some(close) = open.pop() {
                        if open.is_empty() {
                            open.push(close);
                            break;
                        }
                        data.push('0');
                        data.push_str(close);
                        data.push(',');
                        data.push_str(if close == "}" || open.last() == Some(&"}") { "\"b\":" } else { "" });
                    }
                }
            }
        }
    }
    data.push('0');
    while let Some(close) = open.pop() {
        data.push_str(close);
    }
    for event in [
        format!("{{\"objectData\":{data}}}"),
        format!("{{\"objectData\":0,\"details\":[{{\"qField\":{data}}}]}}"),
    ] {
        body(&event);
    }
}

fn begin(data: &mut String, open: &mut Vec<&'static str>, begins: &str, ends: &'static str) {
    data.push_str(begins);
    open.push(ends);
}

fn body(event: &str) {
    let body = format!(
        "{{\"schemaVersion\":1,\"eventId\":\"00000000-0000-4000-8000-000000000001\",\"timestamp\":\"2026-11-20T10:11:12.345Z\",\
         \"type\":\"event.x\",\"payload\":{{\"context\":{{}},\"event\":{event}}}}}"
    );
    let depth = depth(&body);
    match check(body.as_bytes(), None) {
        Ok(_) => assert!(depth <= DEPTH_MAX, "{depth} levels are accepted"),
        Err(refusal) => {
            assert_eq!(refusal.status, 400, "{refusal:?}");
            if refusal.outcome == "dropped" {
                assert!(depth > DEPTH_MAX, "{depth} levels are refused");
            } else {
                return;
            }
        }
    }
    let event = AuditEvent::from_record(AuditRecord::received(1_795_169_473_000_000_000, body.as_bytes()));
    let event = event.expect("JSON of any depth is an event");
    let bounded = |what: &str, bytes: usize| {
        assert!(bytes <= TIMES_MAX * body.len() + AROUND, "{what}: {bytes} of {}", body.len());
    };
    for version in VERSIONS {
        let mut line = Vec::new();
        AuditPoint::new(version, "", &[]).write(&event, &mut line);
        bounded("a line", line.len());
    }
    bounded("JSON", object_file(&event, &[]).map_or(0, |file| file.content.len()));
    let mut row = csv::writer(Vec::new());
    AuditCsv::new(&[], true).write_row(&mut row, &event).expect("a row");
    bounded("CSV", row.into_inner().expect("written").len());
    let events = std::slice::from_ref(&event);
    let mut file = Vec::new();
    parquet::write_file(&mut file, events, &[], None).expect("written");
    bounded("Parquet", file.len());
    file.clear();
    qvd::write_file(&mut file, events, &[], None, 0).expect("written");
    bounded("QVD", file.len());
}

/// Counted otherwise than the server does: a byte at a time.
fn depth(text: &str) -> usize {
    let (mut open, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        if in_text {
            (in_text, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
