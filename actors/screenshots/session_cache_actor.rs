//! The sessions that downloads share: one ticket at a time per user, and every session is ended at QPS.
//!
//! Receives: `SessionFor`, `SessionNews`, `EndAllSessions`.
//! Sends: `TicketFor` and `SessionsOver` to the ticket actor.
//! Keeps: the session table and the waiting downloads; in memory only.
//! When full: the least recently used session is ended; its mailboxes bound the number of waiting requests.
//! When it fails: a restart ends every session it had, and waiting downloads retry.
//!
//! With the cache on, the first download of a key leads: it gets a ticket, and all others of the key wait for
//! the session that it opens. With the cache off no session is shared, so the downloads of one key take
//! turns: Qlik Sense locks out a user with more than five sessions at once. For the same reason a user's
//! sessions are counted over all virtual proxies and hosts: without a free slot, the least recently used idle
//! session is ended first, and while all are in use the download waits. Contract: screenshots.md, "The walk"
//! 3, 4, 8, 10.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, Supervised, WrapFuture};
use butler_sos_domain::session::{Evicted, Lookup, SessionKey, SessionTable, SessionUser};
use butler_sos_domain::session_cookie::{SessionCookie, SessionCookies};
use butler_sos_domain::session_slots::SessionSlots;
use butler_sos_domain::single_flight::{Flights, Joined, Lease};
use futures_util::future::join_all;
use secrecy::SecretString;
use slog::{Logger, debug, warn};
use tokio::sync::{oneshot, watch};

use crate::kit::mailbox::{Envelope, Mailbox};
use crate::kit::metric::ActorMeter;
use crate::screenshots::message::{
    EndAllSessions, Grant, SessionFor, SessionNews, SessionsOver, TicketFailed, TicketFor,
};
use crate::screenshots::session_use::SessionUses;

/// The settings of the actor (`auth.sessionCache`).
#[derive(Clone)]
pub struct SessionCacheConfig {
    /// `None`: the cache is off.
    pub cache: Option<CacheLimits>,
    /// `Pipeline.screenshots.sessionsPerUserMax`; `None`: no limit.
    pub per_user_max: Option<NonZeroUsize>,
    /// A leader without a report for this long is given up.
    pub lead_max: Duration,
    pub to_tickets: Mailbox<TicketFor>,
    pub to_endings: Mailbox<SessionsOver>,
    pub actor: ActorMeter,
    pub log: Logger,
}

#[derive(Debug, Clone, Copy)]
pub struct CacheLimits {
    /// `ttlSeconds`, counted from a session's creation.
    pub ttl: Duration,
    pub entries_max: NonZeroUsize,
}

/// How long a report of news waits until sessions are ended, so that the next ticket comes after that.
const ENDING_AWAITED_MAX: Duration = Duration::from_secs(1);

type Answer = Result<Grant, TicketFailed>;

/// A download that requests a session. Its key spells the user as its own event does.
struct Asker {
    key: SessionKey,
    answer: oneshot::Sender<Answer>,
}

/// The download of a flight that may open a session.
struct Leader {
    asker: Asker,
    lease: Lease,
}

/// The owner of the slots of sessions that are being ended.
#[derive(Clone, Copy)]
enum SlotsOf {
    /// The session itself, which has a slot since it was opened.
    Themselves,
    /// No slot was counted for it.
    Nobody,
}

/// The actor.
pub struct SessionCacheActor {
    config: SessionCacheConfig,
    table: Option<SessionTable>,
    flights: Flights<SessionKey, Asker>,
    slots: SessionSlots<SessionUser, Leader>,
    uses: SessionUses,
    /// No session is kept any more.
    is_closed: bool,
    is_expiry_timed: bool,
    /// The number of sessions that are being ended.
    endings: watch::Sender<usize>,
}

impl SessionCacheActor {
    #[must_use]
    pub fn new(config: SessionCacheConfig) -> Self {
        let table = config.cache.map(|limits| SessionTable::new(limits.ttl, limits.entries_max));
        let slots = SessionSlots::new(config.per_user_max);
        Self {
            config,
            table,
            flights: Flights::default(),
            slots,
            uses: SessionUses::default(),
            is_closed: false,
            is_expiry_timed: false,
            endings: watch::Sender::new(0),
        }
    }

    // --- asking

    fn ask(&mut self, asker: Asker, ctx: &mut Context<Self>) {
        let found = self.table.as_mut().map_or(Lookup::Miss, |table| table.get(&asker.key, Instant::now()));
        match found {
            Lookup::Hit(session) => return self.share(asker, session),
            Lookup::Miss => {}
            Lookup::Expired(evicted) => drop(self.end_evicted(evicted, ctx)),
        }
        match self.flights.join(asker.key.clone(), asker) {
            Joined::Waits => {}
            Joined::Leads(asker, lease) => self.lead(Leader { asker, lease }, ctx),
        }
    }

    fn share(&mut self, asker: Asker, session: SessionCookies) {
        self.config.actor.sent.inc();
        let session_use = self.uses.begin(&asker.key);
        // A download that is gone needs no session.
        let _ = asker.answer.send(Ok(Grant::Session { session, session_use }));
    }

    /// Takes a slot for the new leader. Without a free slot it waits.
    fn lead(&mut self, leader: Leader, ctx: &mut Context<Self>) {
        let user = leader.asker.key.user().clone();
        match self.slots.take(&user, leader) {
            Some(leader) => self.get_ticket(leader, ctx),
            None => self.make_room(&user, ctx),
        }
    }

    /// Ends idle sessions for leaders that wait for a slot.
    fn make_room(&mut self, user: &SessionUser, ctx: &mut Context<Self>) {
        while self.slots.wants_room(user) {
            let uses = &self.uses;
            let taken_over =
                self.table.as_mut().and_then(|table| table.take_over(user, |key| uses.is_idle(key)));
            match taken_over {
                Some(evicted) => drop(self.end_evicted(evicted, ctx)),
                // All are in use. The end of a use calls this again.
                None => return,
            }
        }
    }

    /// A waiting leader got a slot.
    fn has_slot(&mut self, leader: Option<Leader>, ctx: &mut Context<Self>) {
        let Some(leader) = leader else { return };
        if leader.asker.answer.is_closed() {
            self.hand_on(&leader.asker.key, leader.lease, ctx);
        } else {
            self.get_ticket(leader, ctx);
        }
    }

    fn give_back_slot(&mut self, user: &SessionUser, ctx: &mut Context<Self>) {
        let next = self.slots.free(user);
        self.has_slot(next, ctx);
    }

    /// Gets a ticket for a leader with a slot.
    fn get_ticket(&mut self, leader: Leader, ctx: &mut Context<Self>) {
        let to_tickets = self.config.to_tickets.clone();
        let asked = {
            let key = leader.asker.key.clone();
            async move { to_tickets.ask(TicketFor(key)).await }
        };
        ctx.spawn(asked.into_actor(self).map(move |ticket, cache, ctx| {
            let ticket = ticket.unwrap_or_else(|gone| Err(TicketFailed { detail: gone.to_string() }));
            match ticket {
                Ok(ticket) => cache.grant(leader, ticket, ctx),
                Err(failed) => {
                    let Leader { asker, lease } = leader;
                    if cache.flights.is_led_by(&asker.key, lease) {
                        // QPS would give the waiting downloads the same answer now.
                        for waiting in cache.flights.land(&asker.key, lease) {
                            let _ = waiting.answer.send(Err(failed.clone()));
                        }
                        cache.give_back_slot(asker.key.user(), ctx);
                    }
                    let _ = asker.answer.send(Err(failed));
                }
            }
        }));
    }

    fn grant(&mut self, leader: Leader, ticket: SecretString, ctx: &mut Context<Self>) {
        self.config.actor.sent.inc();
        let Leader { asker: Asker { key, answer }, lease } = leader;
        let session_use = self.uses.begin(&key);
        if answer.send(Ok(Grant::Ticket { ticket, lease, session_use })).is_err() {
            // The leader is gone. Its ticket expires by itself.
            self.hand_on(&key, lease, ctx);
            return;
        }
        ctx.run_later(self.config.lead_max, move |cache, ctx| {
            if cache.flights.is_led_by(&key, lease) {
                warn!(
                    cache.config.log,
                    "a download with a ticket timed out, the next download opens the session"
                );
                cache.hand_on(&key, lease, ctx);
            }
        });
    }

    /// Passes the flight and its slot to the next waiting download, or ends the flight.
    fn hand_on(&mut self, key: &SessionKey, lease: Lease, ctx: &mut Context<Self>) {
        if !self.flights.is_led_by(key, lease) {
            return;
        }
        match self.next_leader(key, lease) {
            Some(leader) => self.get_ticket(leader, ctx),
            None => self.give_back_slot(key.user(), ctx),
        }
    }

    fn next_leader(&mut self, key: &SessionKey, mut lease: Lease) -> Option<Leader> {
        while let Some((asker, next)) = self.flights.hand_on(key, lease) {
            if !asker.answer.is_closed() {
                return Some(Leader { asker, lease: next });
            }
            lease = next;
        }
        None
    }

    // --- keeping and ending

    /// Whether sessions are kept after their download.
    fn is_kept(&self) -> bool {
        self.table.is_some() && !self.is_closed
    }

    fn opened(
        &mut self,
        key: &SessionKey,
        lease: Option<Lease>,
        session: SessionCookies,
        ctx: &mut Context<Self>,
    ) {
        let Some(table) = self.table.as_mut() else { return };
        let held = table.holds(key, &session);
        let evicted = table.put(key.clone(), session.clone(), Instant::now());
        let led = lease.filter(|lease| self.flights.is_led_by(key, *lease));
        let landed = led.map(|lease| self.flights.land(key, lease)).unwrap_or_default();
        for waiting in landed {
            self.share(waiting, session.clone());
        }
        // The session has the flight's slot, or that of the session that it replaced.
        match (held, led) {
            (Some(true), Some(_)) => self.give_back_slot(key.user(), ctx),
            (Some(true), None) => {}
            (_, Some(_)) => {}
            (_, None) => self.slots.add(key.user()),
        }
        match evicted {
            Some(evicted) => drop(self.end_evicted(evicted, ctx)),
            None if held == Some(false) => self.give_back_slot(key.user(), ctx),
            None => {}
        }
        self.time_expiry(ctx);
    }

    fn end_evicted(&mut self, evicted: Evicted, ctx: &mut Context<Self>) -> Option<oneshot::Receiver<()>> {
        debug!(self.config.log, "session removed from the cache"; "why" => ?evicted.why, "session" => ?evicted.session);
        self.end(&evicted.key, evicted.session.iter().cloned().collect(), SlotsOf::Themselves, ctx)
    }

    /// Ends sessions at QPS. The receiver is notified when that was tried.
    fn end(
        &mut self,
        key: &SessionKey,
        sessions: Vec<SessionCookie>,
        slots_of: SlotsOf,
        ctx: &mut Context<Self>,
    ) -> Option<oneshot::Receiver<()>> {
        let user = key.user().clone();
        if sessions.is_empty() {
            if matches!(slots_of, SlotsOf::Themselves) {
                self.give_back_slot(&user, ctx);
            }
            return None;
        }
        let slots = match slots_of {
            SlotsOf::Themselves => 1,
            SlotsOf::Nobody => sessions.len(),
        };
        for _ in 0..slots {
            if matches!(slots_of, SlotsOf::Nobody) {
                self.slots.add(&user);
            }
            self.slots.ending(&user);
        }
        let (ended, reported) = oneshot::channel();
        let over = SessionsOver { virtual_proxy: key.virtual_proxy().clone(), sessions };
        let to_endings = self.config.to_endings.clone();
        let under_way = UnderWay::new(self.endings.clone());
        let ending = async move {
            let _under_way = under_way;
            // Best effort: if the ticket actor is gone for good, sessions are not ended.
            let _ = to_endings.ask(over).await;
            // The caller may not wait for it.
            let _ = ended.send(());
        };
        ctx.spawn(ending.into_actor(self).map(move |(), cache, ctx| {
            for _ in 0..slots {
                let next = cache.slots.ended(&user);
                cache.has_slot(next, ctx);
            }
            cache.make_room(&user, ctx);
        }));
        Some(reported)
    }

    /// When a session becomes idle, a leader that waits for a slot may get one.
    fn watch_uses(&mut self, ctx: &mut Context<Self>) {
        let changed = self.uses.changed();
        ctx.spawn(async move { changed.notified().await }.into_actor(self).map(|(), cache, ctx| {
            for user in cache.slots.users_that_wait() {
                cache.make_room(&user, ctx);
            }
            cache.watch_uses(ctx);
        }));
    }

    fn time_expiry(&mut self, ctx: &mut Context<Self>) {
        if self.is_expiry_timed {
            return;
        }
        let Some(at) = self.table.as_ref().and_then(SessionTable::next_expiry) else { return };
        self.is_expiry_timed = true;
        ctx.run_later(at.saturating_duration_since(Instant::now()), |cache, ctx| {
            cache.is_expiry_timed = false;
            let expired = cache.table.as_mut().map(|table| table.expire(Instant::now())).unwrap_or_default();
            for evicted in expired {
                cache.end_evicted(evicted, ctx);
            }
            cache.time_expiry(ctx);
        });
    }

    fn drain(&mut self, ctx: &mut Context<Self>) {
        for evicted in self.table.as_mut().map(SessionTable::drain).unwrap_or_default() {
            self.end_evicted(evicted, ctx);
        }
    }
}

/// Counts an ending until it is dropped.
struct UnderWay(watch::Sender<usize>);

impl UnderWay {
    fn new(endings: watch::Sender<usize>) -> Self {
        endings.send_modify(|count| *count += 1);
        Self(endings)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Actor for SessionCacheActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.time_expiry(ctx);
        if self.config.per_user_max.is_some() {
            self.watch_uses(ctx);
        }
    }
}

impl Supervised for SessionCacheActor {
    fn restarting(&mut self, ctx: &mut Self::Context) {
        // Lease numbers continue, so that a leader from before cannot end a new flight.
        drop((self.flights.drain(), self.slots.drain()));
        self.is_expiry_timed = false;
        self.drain(ctx);
    }
}

impl Handler<Envelope<SessionFor>> for SessionCacheActor {
    type Result = ResponseFuture<Answer>;

    fn handle(&mut self, envelope: Envelope<SessionFor>, ctx: &mut Self::Context) -> Self::Result {
        self.config.actor.received.inc();
        let (asker, answer) = oneshot::channel();
        self.ask(Asker { key: envelope.body.0, answer: asker }, ctx);
        let in_flight = envelope.in_flight;
        Box::pin(async move {
            let _in_flight = in_flight;
            answer
                .await
                .unwrap_or_else(|_| Err(TicketFailed { detail: "the session cache restarted".to_owned() }))
        })
    }
}

impl Handler<Envelope<SessionNews>> for SessionCacheActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, envelope: Envelope<SessionNews>, ctx: &mut Self::Context) -> Self::Result {
        self.config.actor.received.inc();
        let SessionNews { key, lease, opened, rejected, discarded, is_over } = envelope.body;
        let mut ended = Vec::new();
        for session in &rejected {
            if let Some(evicted) = self.table.as_mut().and_then(|table| table.reject(&key, session)) {
                ended.extend(self.end_evicted(evicted, ctx));
            }
        }
        ended.extend(self.end(&key, discarded, SlotsOf::Nobody, ctx));
        let over = lease.filter(|lease| is_over && self.flights.is_led_by(&key, *lease));
        match opened {
            Some(session) if self.is_kept() => {
                self.opened(&key, lease, session, ctx);
                if let Some(lease) = over {
                    self.hand_on(&key, lease, ctx);
                }
            }
            Some(session) => {
                // The session has the flight's slot until it is ended, so the next one needs another slot.
                let slots_of = if over.is_some() { SlotsOf::Themselves } else { SlotsOf::Nobody };
                self.end(&key, session.iter().cloned().collect(), slots_of, ctx);
                if let Some(next) = over.and_then(|lease| self.next_leader(&key, lease)) {
                    self.lead(next, ctx);
                }
            }
            None => {
                if let Some(lease) = over {
                    self.hand_on(&key, lease, ctx);
                }
            }
        }
        let in_flight = envelope.in_flight;
        Box::pin(async move {
            let _in_flight = in_flight;
            // Cancelled when the actor restarts.
            let _ = tokio::time::timeout(ENDING_AWAITED_MAX, join_all(ended)).await;
        })
    }
}

impl Handler<Envelope<EndAllSessions>> for SessionCacheActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, envelope: Envelope<EndAllSessions>, ctx: &mut Self::Context) -> Self::Result {
        self.is_closed = true;
        drop((self.flights.drain(), self.slots.drain()));
        self.drain(ctx);
        let mut endings = self.endings.subscribe();
        Box::pin(async move {
            let _in_flight = envelope.in_flight;
            // Fails only when the actor is gone.
            let _ = endings.wait_for(|count| *count == 0).await;
        })
    }
}
