//! Events with the same ids and different bodies. The first event is never changed.
//!
//! Ids are `eventId`, `correlationId` and `timestamp`. They name files and identify points in InfluxDB, so an
//! event with the same ids and another body would replace the data of the first one. Therefore the intake,
//! which knows the ids of recent events ([`file_names`]), marks the later one in its record with the hash of
//! the first body. [`super::conflict_mark`] describes the effect.

use super::body_hash::BodyHash;
use super::event::{AuditEvent, Moment};
use super::record::AuditRecord;
use crate::file_name;

/// An event of the journal, in the form that the intake keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    pub hash: BodyHash,
    /// The hash of the first body with its ids.
    pub first: BodyHash,
    pub file_names: Vec<String>,
}

impl Remembered {
    /// `None` for a record that is not an event.
    pub fn of(record: &AuditRecord<'_>) -> Option<Self> {
        let hash = BodyHash::of(record.body);
        let file_names = names_of(&AuditEvent::from_record(record.clone()).ok()?);
        Some(Self { hash, first: record.conflict_of.unwrap_or(hash), file_names })
    }
}

/// File names that no other event may have. Ids with the same file name count as the same ids, also if only
/// their case differs, because some file systems ignore case. For an event whose timestamp is not used, the
/// other ids count.
pub fn file_names(
    event_id: &str,
    correlation_id: Option<&str>,
    timestamp: &str,
    received_ns: u64,
) -> Vec<String> {
    let moment = Moment::of(timestamp, received_ns);
    let mut name = file_name::stem(moment.ms, event_id, correlation_id);
    name.make_ascii_lowercase();
    let untimed = moment.is_receipt.then(|| name[file_name::MOMENT_BYTES..].to_owned());
    std::iter::once(name).chain(untimed).collect()
}

/// Like `file_names`, for a decoded event.
pub fn names_of(event: &AuditEvent<'_>) -> Vec<String> {
    let sent = event.client_timestamp.as_ref().unwrap_or(&event.timestamp);
    file_names(&event.event_id, event.correlation_id.as_deref(), sent, event.received_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000000-0000-4000-8000-00000000ABCD";
    const RECEIVED_NS: u64 = 1_795_169_472_345_000_000;

    #[test]
    fn ids_with_the_same_file_name_are_the_same() {
        let of = |event_id: &str, correlation_id: Option<&str>, timestamp: &str| {
            file_names(event_id, correlation_id, timestamp, RECEIVED_NS)
        };
        let time = "2026-11-20T10:11:12.345Z";
        let first = of(ID, Some("a/b"), time);
        assert_eq!(first, ["20261120t101112.345z_00000000-0000-4000-8000-00000000abcd_a_b"]);
        for (event_id, correlation_id, timestamp, is_same) in [
            (ID, "a/b", "2026-11-20T11:11:12.345+01:00", true),
            (ID, "a/b", "2026-11-20 10:11:12.3450009Z", true),
            (ID.to_lowercase().as_str(), "A_B", time, true),
            (ID, "a/c", time, false),
            (ID, "a/b", "2026-11-20T10:11:12.346Z", false),
            ("00000000-0000-4000-8000-00000000abce", "a/b", time, false),
        ] {
            let other = of(event_id, Some(correlation_id), timestamp);
            assert_eq!(other == first, is_same, "{event_id} {correlation_id} {timestamp}");
        }
        assert_eq!(of(ID, None, time), of(ID, Some(""), time));
    }

    #[test]
    fn an_unused_timestamp_does_not_distinguish_events() {
        let of = |timestamp: &str, received_ns| file_names(ID, Some("c"), timestamp, received_ns);
        let one = of("2031-01-01T00:00:00Z", RECEIVED_NS);
        let other = of("2036-01-01T00:00:00Z", RECEIVED_NS + 1_000_000);
        assert_eq!((one.len(), other.len()), (2, 2));
        assert_ne!(one[0], other[0]);
        assert_eq!(one[1], other[1]);
        // An event with exactly this time would have the same name.
        assert_eq!(of("2026-11-20T10:11:12.345Z", RECEIVED_NS), one[..1]);
    }

    #[test]
    fn a_record_is_kept_with_the_first_body_of_its_ids() {
        let body = format!("{{\"eventId\":\"{ID}\",\"timestamp\":\"2031-01-01T00:00:00Z\"}}");
        let record = AuditRecord::received(RECEIVED_NS, body.as_bytes());
        let hash = BodyHash::of(body.as_bytes());
        let file_names = file_names(ID, None, "2031-01-01T00:00:00Z", RECEIVED_NS);
        let expect = Remembered { hash, first: hash, file_names };
        assert_eq!(Remembered::of(&record), Some(expect.clone()));
        let first = BodyHash([7; 16]);
        let marked = AuditRecord { conflict_of: Some(first), ..record };
        assert_eq!(Remembered::of(&marked), Some(Remembered { first, ..expect }));
        assert_eq!(Remembered::of(&AuditRecord::received(1, b"{")), None);
    }
}
