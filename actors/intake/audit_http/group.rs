//! Events that go to the journal together: all that came while those before them were under way.
//!
//! Each thread that answers requests gathers its own. A group leaves as soon as nothing of its stream is under way from
//! this thread, or when it is full. So alone nobody waits, and under load one message, one write and one answer serve
//! many events.

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
/// A group of so many bytes takes no more events: what is written together can be damaged together.
const GROUP_BYTES_MAX: usize = 256 * 1024;

/// The groups of one thread.
#[derive(Clone, Default)]
pub struct Groups(Rc<RefCell<BTreeMap<Stream, Lane>>>);

#[derive(Default)]
struct Lane {
    open: Option<Group>,
    /// Who sends groups of this lane and waits for their answers.
    senders: usize,
}

/// An event that every check has let through.
pub struct Event<'a> {
    pub stream: Stream,
    pub hash: BodyHash,
    pub ids: Vec<Ids>,
    /// Without the mark of a conflict, which is found when it joins.
    pub record: AuditRecord<'a>,
    /// What it occupies until it is answered.
    pub room: OwnedSemaphorePermit,
    pub account: Account,
}

/// What goes to the journal as one append.
struct Group {
    records: RecordBatch,
    announced: Announced,
    in_flight: InFlight,
    room: Option<OwnedSemaphorePermit>,
    conflicts: u64,
}

/// Brings groups to the journal, for all threads.
pub struct GroupWriter {
    to_journal: Mailbox<Append>,
    recent: Recent,
    meter: Arc<IntakeMeter>,
    actor: ActorMeter,
    panicked: Counter,
}

/// Why an event is in no group.
pub enum NotJoined {
    /// It was met before.
    Met(Met, Account),
    /// No journal takes a record of that size.
    TooLarge(Account),
}

impl Groups {
    /// Puts the event into a group, which goes to the journal also when the caller does not wait for it.
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

    /// Sends `group`, and then whatever has gathered meanwhile; without a group, what those who are ready now still
    /// bring goes too.
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

/// One who sends; counted as such until it is dropped, for whatever reason.
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

    /// A group without events.
    fn begin(&self) -> Group {
        let mut in_flight = InFlight::default();
        in_flight.answers_for(0, self.panicked.clone());
        Group::new(self.recent.announce(), in_flight)
    }

    /// Brings a group to the journal and tells those who wait how it ended.
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
        // Before the record: of an event that is under way elsewhere nothing is to be written.
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

    /// How many of its events came with the ids of another one.
    fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// What goes to the journal, and what is done when it has answered.
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
