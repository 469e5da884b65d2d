//! What the intake must know of events that are in the journal already, read before the journal's actor has it.

use butler_sos_actors::journal::store::Store;
use butler_sos_actors::message::{Consumer, Stream};
use butler_sos_domain::audit::AuditRecord;
use butler_sos_domain::audit::conflict::Remembered;
use butler_sos_domain::event::UserEvent;

/// So many of the newest audit events are recognised when they are sent again after a restart.
const RECENT_RECORDS: u64 = 10_000;
const READ_BYTES: usize = 4 << 20;

/// The time of receipt of the last user event, Unix nanoseconds; 0 when there is none.
pub fn last_user_event_ns(store: &mut Store) -> u64 {
    let mut last = 0;
    newest(store, Stream::UserEvents, 1, |record| {
        last = UserEvent::decode(record).map_or(last, |event| event.received_ns);
    });
    last
}

/// The newest audit events, screenshots included, the newest last.
pub fn audit_events(store: &mut Store) -> Vec<Remembered> {
    let mut events = Vec::new();
    for stream in [Stream::Screenshots, Stream::AuditEvents] {
        newest(store, stream, RECENT_RECORDS, |record| {
            events.extend(AuditRecord::decode(record).ok().as_ref().and_then(Remembered::of));
        });
    }
    events
}

/// Whether records wait for `consumer`, of whom the store may know nothing.
pub fn waits_for(store: &mut Store, consumer: Consumer) -> bool {
    let Ok(streams) = store.stats(0) else { return false };
    streams
        .iter()
        .filter(|stats| stats.name == consumer.stream.name())
        .flat_map(|stats| &stats.consumers)
        .any(|of| of.name == consumer.name && of.lag_records > 0)
}

/// The last `records` of a stream, in their order. What cannot be read is passed over: it is the journal's to tell.
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
