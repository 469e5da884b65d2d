//! Recent events of the journal that the intake must know, read before the journal's actor starts.

use butler_sos_actors::journal::store::Store;
use butler_sos_actors::kit::clock::Clock;
use butler_sos_actors::kit::message::Consumer;
use butler_sos_domain::audit::AuditRecord;
use butler_sos_domain::audit::conflict::Remembered;
use butler_sos_domain::event::UserEvent;
use butler_sos_domain::streams::Stream;

/// The number of newest audit events that are recognised as duplicates after a restart.
const RECENT_RECORDS: u64 = 10_000;
const READ_BYTES: usize = 4 << 20;

/// The state from events of earlier runs.
pub struct Recent {
    /// Continues after the newest stamp of these events.
    pub clock: Clock,
    /// The newest audit events, including screenshots, the newest last.
    pub audit_events: Vec<Remembered>,
}

/// Reads the newest events of the journal; audit events only if it `has_audit_api`.
pub fn read(store: &mut Store, has_audit_api: bool) -> Recent {
    let mut stamps = Vec::new();
    newest(store, Stream::UserEvents, 1, |record| {
        stamps.extend(UserEvent::decode(record).map(|event| event.received_ns));
    });
    let mut audit_events = Vec::new();
    let records = if has_audit_api { RECENT_RECORDS } else { 1 };
    for stream in [Stream::Screenshots, Stream::AuditEvents] {
        newest(store, stream, records, |record| {
            let Ok(record) = AuditRecord::decode(record) else { return };
            // A screenshot is appended when it is finished, so the last record need not have the newest
            // stamp.
            stamps.push(record.received_ns);
            if has_audit_api {
                audit_events.extend(Remembered::of(&record));
            }
        });
    }
    Recent { clock: Clock::after(stamps), audit_events }
}

/// Whether records wait for `consumer`. The store may not know it.
pub fn waits_for(store: &mut Store, consumer: Consumer) -> bool {
    let Ok(streams) = store.stats(0) else { return false };
    streams
        .iter()
        .filter(|stats| stats.name == consumer.stream.name())
        .flat_map(|stats| &stats.consumers)
        .any(|of| of.name == consumer.name && of.lag_records > 0)
}

/// The last `records` of a stream in order. Unreadable records are skipped, because the journal reports them.
fn newest(store: &mut Store, stream: Stream, records: u64, mut each: impl FnMut(&[u8])) {
    let Some(id) = store.stream(stream.name()) else { return };
    let end = store.next_offset(id);
    let mut from = end.saturating_sub(records);
    while from < end {
        let Ok(batch) = store.read(id, from, 1_000, READ_BYTES) else { return };
        batch.iter().for_each(|record| each(record.data));
        if batch.next_offset() <= from {
            return;
        }
        from = batch.next_offset();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use butler_sos_actors::journal::batch::RecordBatch;
    use butler_sos_actors::journal::store::{OnFull, StoreConfig, StreamConfig};
    use butler_sos_actors::kit::clock::unix_ns;
    use tempfile::TempDir;

    use super::*;

    fn store(directory: &TempDir) -> Store {
        let stream = |stream: Stream| StreamConfig {
            name: stream.name().to_owned(),
            bytes_max: 1 << 30,
            on_full: OnFull::Block,
            room_bytes: 0,
        };
        let config = StoreConfig {
            directory: directory.path().to_owned(),
            streams: Stream::ALL.into_iter().map(stream).collect(),
            segment_bytes_max: 1 << 22,
            retention: Duration::from_secs(86_400),
            tail_bytes_max: 1 << 22,
        };
        Store::open(config).expect("a new journal").0
    }

    #[test]
    fn the_clock_continues_after_the_newest_stamp_at_any_position() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = store(&directory);
        let stream = store.stream(Stream::AuditEvents.name()).expect("a stream");
        // The wall clock was set back since, and the screenshot of an earlier event was finished last.
        let newest = unix_ns() + 1_500_000_000;
        for received_ns in [newest, newest - 1_000_000_000] {
            let mut batch = RecordBatch::new();
            let record = AuditRecord::received(received_ns, b"{}");
            batch.push_with(|buffer| record.encode_into(buffer)).expect("a small record");
            store.append(stream, &mut batch, received_ns).expect("room");
        }
        let recent = read(&mut store, true);
        assert!(recent.clock.stamp() > newest);
    }
}
