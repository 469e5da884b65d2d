//! From a body to the journal: content, duplicates, limits, and the counts.
//!
//! Each POST is one received event, and has exactly one of these outcomes, whatever the client or a panic
//! does:
//!
//! | counted as | when |
//! |---|---|
//! | stored | the journal has it (counted there) |
//! | rejected | by reason: `rate_limit`, `unauthorized`, `too_large`, `media_type`, `incomplete`, `not_json`, `schema`, `constraints`, `version`, `payload`, `duplicate`, `queue_rate_limit`, `poison` |
//! | shed | by reason: `queue_full`, `draining`, `actor_panic`; `journal_full`, `journal_disk` (counted by the journal) |

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use butler_sos_domain::audit::pseudonymous::{Pseudonymous, pseudonymous};
use butler_sos_domain::audit::{
    self, Accepted, AuditEvent, AuditRecord, BodyHash, Refusal, conflict, constraints, envelope, payload,
    version,
};
use butler_sos_domain::pseudonym::{NONCE_BYTES, Pseudonymizer};
use butler_sos_domain::rate_window::{Exceeded, RateWindows};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::account::Account;
use super::group::{Event, GroupWriter, Groups, NotJoined};
use super::recent::{Added, Awaited, Met, Outcome, Recent, outcome};
use crate::journal::message::Append;
use crate::kit::clock::Clock;
use crate::kit::guard::guard;
use crate::kit::lock::lock;
use crate::kit::mailbox::Mailbox;
use crate::kit::metric::{ActorMeter, IntakeMeter};
use butler_sos_domain::streams::Stream;

/// The time limit for a client that waits for its event to be on disk.
const SYNC_PATIENCE: Duration = Duration::from_secs(10);

/// State that all threads share.
pub struct Intake {
    writer: Arc<GroupWriter>,
    recent: Recent,
    /// One permit for each event that waits for the journal's answer.
    room: Arc<Semaphore>,
    queue_max: u32,
    queue_rate: Option<Mutex<RateWindows<()>>>,
    closed: AtomicBool,
    screenshots: bool,
    privacy: Option<Privacy>,
    meter: Arc<IntakeMeter>,
    actor: ActorMeter,
    since: Instant,
    clock: Clock,
}

/// Replaces users' names before anything is stored (`Pipeline.privacy.pseudonymise`).
#[derive(Clone)]
pub struct Privacy {
    pub pseudonymizer: Arc<Pseudonymizer>,
    /// Whether downloads of screenshots are made in the user's own name (`auth.mode: userTicket`).
    pub user_is_needed: bool,
}

/// The stored form of a body.
struct Kept<'a> {
    body: Cow<'a, [u8]>,
    /// For [`AuditRecord::sealed`].
    sealed: Option<Vec<u8>>,
}

/// The outcome of an event with a complete body.
#[derive(Debug, PartialEq)]
pub enum Taken {
    /// On disk.
    Stored(Stored),
    Refused(Refusal),
    RateLimited(Exceeded),
    NoRoom,
    Failed,
}

/// Properties of a stored event that cause warnings.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// False: the request had no Audit.qs version.
    pub has_version: bool,
    /// The event's id, if another event has the same ids.
    pub conflict: Option<String>,
}

impl Intake {
    pub fn new(
        to_journal: Mailbox<Append>,
        recent: Recent,
        queue_max: u32,
        queue_per_minute: Option<u32>,
        screenshots: bool,
        meter: IntakeMeter,
        actor: ActorMeter,
    ) -> Self {
        let (queue_max, meter) = (queue_max.max(1), Arc::new(meter));
        let writer = GroupWriter::new(to_journal, recent.clone(), Arc::clone(&meter), actor.clone());
        Self {
            writer: Arc::new(writer),
            recent,
            room: Arc::new(Semaphore::new(queue_max as usize)),
            queue_max,
            queue_rate: queue_per_minute.map(|limit| Mutex::new(RateWindows::new(limit, 1))),
            closed: AtomicBool::new(false),
            screenshots,
            privacy: None,
            meter,
            actor,
            since: Instant::now(),
            clock: Clock::default(),
        }
    }

    /// Replaces users' names.
    pub fn private(mut self, privacy: Option<Privacy>) -> Self {
        self.privacy = privacy;
        self
    }

    /// Stamps events with a clock that other intakes share.
    pub fn stamped_by(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the account of one more POST.
    pub fn account(&self) -> Account {
        self.actor.received.inc();
        Account::open(&self.meter)
    }

    /// The number of events on their way to the journal's answer, and its bound.
    pub fn depth(&self) -> (u32, u32) {
        let free = u32::try_from(self.room.available_permits()).unwrap_or(self.queue_max);
        (self.queue_max.saturating_sub(free), self.queue_max)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Refuses everything from now on. The future completes when the events in flight are answered.
    pub fn close(&self) -> impl Future<Output = ()> + 'static {
        self.closed.store(true, Ordering::SeqCst);
        let (room, all) = (Arc::clone(&self.room), self.queue_max);
        async move { drop(room.acquire_many_owned(all).await) }
    }

    /// Takes a body: checks its content, then stores it. Continues when the caller is dropped.
    pub async fn take(&self, body: &[u8], version: Option<&str>, account: Account, groups: &Groups) -> Taken {
        let received_ns = self.clock.stamp();
        let checked = guard(|| {
            let accepted = audit::check(body, version)?;
            let stream = if accepted.is_screenshot() && self.screenshots {
                Stream::Screenshots
            } else {
                Stream::AuditEvents
            };
            let kept = self.kept(body, stream);
            let file_names =
                kept.as_ref().map_or_else(Vec::new, |kept| self.file_names(&accepted, kept, received_ns));
            Ok::<_, Refusal>((stream, accepted, kept, file_names))
        });
        let (stream, accepted, kept, file_names) = match checked {
            Ok(Ok((stream, accepted, Some(kept), file_names))) => (stream, accepted, kept, file_names),
            Ok(Err(refusal)) => {
                account.rejected(refusal_label(&refusal));
                return Taken::Refused(refusal);
            }
            // An event whose names cannot be replaced is not stored.
            Ok(Ok((_, _, None, _))) | Err(_) => {
                self.actor.failed("poison");
                account.rejected("poison");
                return Taken::Failed;
            }
        };
        if self.is_closed() {
            account.shed("draining");
            return Taken::NoRoom;
        }
        let mut stored = Stored { has_version: accepted.audit_qs_version.is_some(), conflict: None };
        let hash = BodyHash::of(&kept.body);
        if let Some(met) = self.recent.meet(&hash) {
            return self.met(met, account, stored).await;
        }
        if let Err(exceeded) = self.count_queue_rate() {
            account.rejected("queue_rate_limit");
            return Taken::RateLimited(exceeded);
        }
        // Closing waits for the events that have room, so an event that gets it later must see that the
        // intake is closed.
        let room = Arc::clone(&self.room).try_acquire_owned().ok().filter(|_| !self.is_closed());
        let Some(room) = room else {
            account.shed(if self.is_closed() { "draining" } else { "queue_full" });
            return Taken::NoRoom;
        };
        let record = AuditRecord {
            sealed: kept.sealed.as_deref().map(Cow::Borrowed),
            ..AuditRecord::received(received_ns, &kept.body)
        };
        let ids = self.recent.ids(&file_names);
        match groups.join(&self.writer, Event { stream, hash, ids, record, room, account }) {
            Ok(Added { awaited, conflict_of }) => {
                stored.conflict = conflict_of.map(|_| accepted.event_id.into_owned());
                self.taken(awaited, stored).await
            }
            Err(NotJoined::Met(met, account)) => self.met(met, account, stored).await,
            Err(NotJoined::TooLarge(account)) => {
                account.shed("queue_full");
                Taken::NoRoom
            }
        }
    }

    /// A duplicate has the outcome of the event that it repeats.
    async fn met(&self, met: Met, account: Account, stored: Stored) -> Taken {
        account.rejected("duplicate");
        match met {
            Met::Stored => Taken::Stored(stored),
            Met::UnderWay(awaited) => self.taken(awaited, stored).await,
        }
    }

    /// The file names of the event as stored: pseudonyms can change its ids.
    fn file_names(&self, accepted: &Accepted<'_>, kept: &Kept<'_>, received_ns: u64) -> Vec<String> {
        if !self.recent.is_on() {
            return Vec::new();
        }
        if self.privacy.is_some() {
            let event = AuditEvent::from_record(AuditRecord::received(received_ns, &kept.body));
            return event.map_or_else(|_| Vec::new(), |event| conflict::names_of(&event));
        }
        let Accepted { event_id, correlation_id, timestamp, .. } = accepted;
        conflict::file_names(event_id, correlation_id.as_deref(), timestamp, received_ns)
    }

    /// The stored form: the body as it is, or without names; `None` when they cannot be replaced.
    fn kept<'a>(&self, body: &'a [u8], stream: Stream) -> Option<Kept<'a>> {
        let Some(privacy) = &self.privacy else {
            return Some(Kept { body: Cow::Borrowed(body), sealed: None });
        };
        let Pseudonymous { body, mut clear } = pseudonymous(&privacy.pseudonymizer, body).ok()?;
        if stream != Stream::Screenshots {
            return Some(Kept { body, sealed: None });
        }
        if !privacy.user_is_needed {
            clear.user = None;
        }
        let mut nonce = [0; NONCE_BYTES];
        openssl::rand::rand_bytes(&mut nonce).ok()?;
        let sealed = clear.seal(&privacy.pseudonymizer, &nonce).ok()?;
        Some(Kept { body, sealed: Some(sealed) })
    }

    /// The outcome of the event. While the disk does not sync there is none: the client is asked to retry,
    /// and then waits for the same event.
    async fn taken(&self, awaited: Awaited, stored: Stored) -> Taken {
        match timeout(SYNC_PATIENCE, outcome(awaited)).await.unwrap_or(Outcome::NoRoom) {
            Outcome::Stored => Taken::Stored(stored),
            Outcome::NoRoom => Taken::NoRoom,
            // While the process stops, the journal may end first.
            Outcome::Lost if self.is_closed() => Taken::NoRoom,
            Outcome::Lost => Taken::Failed,
        }
    }

    fn count_queue_rate(&self) -> Result<(), Exceeded> {
        let Some(rate) = &self.queue_rate else { return Ok(()) };
        let now_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        lock(rate).count((), now_ms)
    }
}

fn refusal_label(refusal: &Refusal) -> &'static str {
    match refusal.reason {
        constraints::REASON => "constraints",
        version::REASON => "version",
        payload::REASON => "payload",
        envelope::REASON if refusal.outcome == "dropped" => "schema",
        _ => "not_json",
    }
}
