//! A POST's body is accepted, and is then an event everywhere, or is refused in the contract's words.

use butler_sos_domain::audit::{Answer, AuditEvent, AuditRecord, check};
use butler_sos_domain::encode::audit_line::AuditPoint;
use butler_sos_domain::encode::audit_mqtt;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{VERSIONS, assert_one_line};

pub fn run(bytes: &[u8]) {
    // With a version in the header, too: what stands before a first line feed.
    let cut = bytes.iter().position(|byte| *byte == b'\n');
    let header = cut.and_then(|cut| std::str::from_utf8(&bytes[..cut]).ok());
    for (body, version) in [(bytes, None), (&bytes[cut.map_or(0, |cut| cut + 1)..], header)] {
        match check(body, version) {
            Ok(_) => accepted(body),
            Err(refusal) => {
                assert!(matches!(refusal.status, 400 | 422), "{refusal:?}");
                let text = Answer::refused("2026-11-20T10:11:12.345Z", &refusal).to_json();
                let answer: Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(answer["status"], "error");
                assert_eq!(answer["reason"], refusal.reason);
            }
        }
    }
}

fn accepted(body: &[u8]) {
    let record = AuditRecord::received(1, body);
    let mut bytes = Vec::new();
    record.encode_into(&mut bytes);
    assert_eq!(AuditRecord::decode(&bytes).as_ref(), Ok(&record));
    let event = AuditEvent::from_bytes(&bytes).expect("what is accepted is an event");
    for version in VERSIONS {
        let mut line = Vec::new();
        AuditPoint::new(version, "", &[]).write(&event, &mut line);
        assert_one_line(version, &line);
    }
    let mut message = Vec::new();
    audit_mqtt::write(&record, &mut message);
    // The body is in it as it came, with numbers that no double holds.
    serde_json::from_slice::<IgnoredAny>(&message).expect("JSON");
}
