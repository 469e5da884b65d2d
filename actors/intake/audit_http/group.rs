//! Groups of events: events that arrive while earlier ones are on their way to the journal are appended
//! together.
//!
//! Each thread that answers requests collects its own group. A group is sent as soon as nothing of its stream
//! is in flight from this thread, or when it is full. So a single event does not wait, and under load one
//! message, one write and one answer serve many events.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use butler_sos_domain::audit::{AuditRecord, BodyHash};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::OwnedSemaphorePermit;

use super::account::Account;
use super::recent::{Added, Announced, Ids, Met, Outcome, Recent};
use crate::journal::batch::RecordBatch;
use crate::journal::message::Append;
use crate::kit::mailbox::{InFlight, Mailbox};
use crate::kit::metric::{ActorMeter, IntakeMeter};
use butler_sos_domain::streams::Stream;

/// Bytes of a record around the body.
const RECORD_OVERHEAD: usize = 80;
/// A group of this size takes no more events, because one damage can destroy everything written together.
const GROUP_BYTES_MAX: usize = 256 * 1024;

/// The groups of one thread.
#[derive(Clone, Default)]
pub struct Groups(Rc<RefCell<BTreeMap<Stream, Lane>>>);

#[derive(Default)]
struct Lane {
    open: Option<Group>,
    /// Tasks that send groups of this lane and wait for their answers.
    senders: usize,
}

/// An event that passed every check.
pub struct Event<'a> {
    pub stream: Stream,
    pub hash: BodyHash,
    pub ids: Vec<Ids>,
    /// The record without a conflict mark. The conflict is found when the event joins.
    pub record: AuditRecord<'a>,
    /// The room that the event occupies until it is answered.
    pub room: OwnedSemaphorePermit,
    pub account: Account,
}

/// The events of one append.
struct Group {
    records: RecordBatch,
    announced: Announced,
    in_flight: InFlight,
    room: Option<OwnedSemaphorePermit>,
    conflicts: u64,
}

/// Sends groups to the journal, for all threads.
pub struct GroupWriter {
    to_journal: Mailbox<Append>,
    recent: Recent,
    meter: Arc<IntakeMeter>,
    actor: ActorMeter,
    panicked: Counter,
}

/// Why an event joined no group.
pub enum NotJoined {
    /// The event was received before.
    Met(Met, Account),
    /// The record is larger than the journal accepts.
    TooLarge(Account),
}

impl Groups {
    /// Adds the event to a group. The group goes to the journal even if the caller does not wait for it.
    pub fn join(&self, writer: &Arc<GroupWriter>, event: Event<'_>) -> Result<Added, NotJoined> {
        let stream = event.stream;
        let full = self.with(stream, |lane| lane.open.take_if(|group| !group.takes(&event.record)));
        if let Some(full) = full {
            self.send(writer, stream, Some(full));
        }
        let (joined, is_idle) = self.with(stream, |lane| {
            let group = lane.open.get_or_insert_with(|| writer.begin());
            (group.join(event), lane.senders == 0)
        });
        if is_idle {
            self.send(writer, stream, None);
        }
        joined
    }

    /// Sends `group`, and then everything that was collected meanwhile. Without a group it first lets tasks
    /// that are ready add their events.
    fn send(&self, writer: &Arc<GroupWriter>, stream: Stream, group: Option<Group>) {
        let (sender, writer) = (Sender::new(self, stream), Arc::clone(writer));
        actix_rt::spawn(async move {
            let mut next = group;
            if next.is_none() {
                tokio::task::yield_now().await;
            }
            while let Some(group) = next.take().or_else(|| sender.take()) {
                writer.store(stream, group).await;
            }
        });
    }

    fn with<T>(&self, stream: Stream, with: impl FnOnce(&mut Lane) -> T) -> T {
        with(self.0.borrow_mut().entry(stream).or_default())
    }
}

/// Counts a sending task until it is dropped, for whatever reason.
struct Sender {
    groups: Groups,
    stream: Stream,
}

impl Sender {
    fn new(groups: &Groups, stream: Stream) -> Self {
        groups.with(stream, |lane| lane.senders += 1);
        Self { groups: groups.clone(), stream }
    }

    fn take(&self) -> Option<Group> {
        self.groups.with(self.stream, |lane| lane.open.take_if(|group| !group.records.is_empty()))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.groups.with(self.stream, |lane| lane.senders -= 1);
    }
}

impl GroupWriter {
    pub fn new(
        to_journal: Mailbox<Append>,
        recent: Recent,
        meter: Arc<IntakeMeter>,
        actor: ActorMeter,
    ) -> Self {
        Self { to_journal, recent, panicked: meter.shed("actor_panic"), meter, actor }
    }

    /// An empty group.
    fn begin(&self) -> Group {
        let mut in_flight = InFlight::default();
        in_flight.answers_for(0, self.panicked.clone());
        Group::new(self.recent.announce(), in_flight)
    }

    /// Sends a group to the journal and passes the outcome to the waiting requests.
    async fn store(&self, stream: Stream, group: Group) {
        let conflicts = group.conflicts();
        let (append, in_flight, finish) = group.into_append(stream);
        self.actor.sent.inc();
        let took = self.meter.times.begin(append.records.len() as u64);
        let outcome = match self.to_journal.ask_with(append, in_flight).await {
            Ok(Ok(_)) => Outcome::Stored,
            Ok(Err(_)) => Outcome::NoRoom,
            Err(_) => Outcome::Lost,
        };
        drop(took);
        if conflicts > 0 && outcome == Outcome::Stored {
            self.meter.remark("conflict").inc_by(conflicts);
        }
        finish(outcome);
    }
}

impl Group {
    fn new(announced: Announced, in_flight: InFlight) -> Self {
        Self { records: RecordBatch::new(), announced, in_flight, room: None, conflicts: 0 }
    }

    fn takes(&self, record: &AuditRecord<'_>) -> bool {
        self.records.is_empty() || self.records.body_bytes() + bytes_max(record) <= GROUP_BYTES_MAX
    }

    fn join(&mut self, event: Event<'_>) -> Result<Added, NotJoined> {
        let Event { hash, ids, mut record, room, account, .. } = event;
        if !self.records.takes(bytes_max(&record)) {
            return Err(NotJoined::TooLarge(account));
        }
        // Before the record is written: an event that is already in flight must not be written again.
        let added = match self.announced.add(hash, ids) {
            Ok(added) => added,
            Err(met) => return Err(NotJoined::Met(met, account)),
        };
        record.conflict_of = added.conflict_of;
        self.conflicts += u64::from(added.conflict_of.is_some());
        self.records.push_with(|out| record.encode_into(out)).expect("the batch takes so many bytes");
        match &mut self.room {
            Some(all) => all.merge(room),
            none => *none = Some(room),
        }
        account.pass_on(&mut self.in_flight);
        Ok(added)
    }

    /// The number of events with the ids of another event.
    fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// The append, and the work to do when the journal has answered.
    fn into_append(self, stream: Stream) -> (Append, InFlight, impl FnOnce(Outcome)) {
        let Self { records, announced, in_flight, room, .. } = self;
        let finish = move |outcome| {
            announced.finish(outcome);
            drop(room);
        };
        (Append { stream, records }, in_flight, finish)
    }
}

fn bytes_max(record: &AuditRecord<'_>) -> usize {
    RECORD_OVERHEAD + record.body.len() + record.sealed.as_deref().map_or(0, <[u8]>::len)
}
