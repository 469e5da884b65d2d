//! The sessions that downloads share: one ticket at a time per user, every session ended at QPS.
//!
//! Receives: `SessionFor`, `SessionNews`, `EndAllSessions`.
//! Sends: `TicketFor` and `SessionsOver` to the ticket actor.
//! Keeps: the session table and who waits for whom; in memory only.
//! When full: the least recently used session is ended; its outlets hold the askers back.
//! When it fails: a restart ends every session it had, and those who waited are told to try again.
//!
//! With the cache on, the first download of a key leads: it gets a ticket, and all others of the key wait for the
//! session that it opens. With the cache off no session is shared, so the downloads of one key take turns: Qlik
//! Sense locks a user out who has more than five sessions at once. Contract: screenshots.md, "The walk" 3, 4, 8, 10.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, Supervised, WrapFuture};
use butler_sos_domain::session::{Evicted, Lookup, SessionKey, SessionTable};
use butler_sos_domain::session_cookie::{SessionCookie, SessionCookies};
use butler_sos_domain::single_flight::{Flights, Joined, Lease};
use slog::{Logger, debug, warn};
use tokio::sync::{oneshot, watch};

use crate::metric::ActorMeter;
use crate::outlet::{Outlet, Parcel};
use crate::screenshot_message::{
    EndAllSessions, Grant, SessionFor, SessionNews, SessionsOver, TicketFailed, TicketFor,
};

/// What the actor needs to know (`auth.sessionCache`).
#[derive(Clone)]
pub struct SessionCacheConfig {
    /// `None`: the cache is off.
    pub cache: Option<CacheLimits>,
    /// A leader that has said nothing for so long is given up.
    pub lead_max: Duration,
    pub to_tickets: Outlet<TicketFor>,
    pub to_endings: Outlet<SessionsOver>,
    pub actor: ActorMeter,
    pub log: Logger,
}

#[derive(Debug, Clone, Copy)]
pub struct CacheLimits {
    /// `ttlSeconds`, counted from a session's creation.
    pub ttl: Duration,
    pub entries_max: NonZeroUsize,
}

/// How long one that brought news waits until sessions are ended: the next ticket should find them gone.
const ENDING_AWAITED_MAX: Duration = Duration::from_secs(1);

type Answer = Result<Grant, TicketFailed>;
type Waiting = oneshot::Sender<Answer>;

/// The actor.
pub struct SessionCacheActor {
    config: SessionCacheConfig,
    table: Option<SessionTable>,
    flights: Flights<SessionKey, Waiting>,
    /// No session is kept any more.
    is_closed: bool,
    is_expiry_timed: bool,
    /// Endings under way.
    endings: watch::Sender<usize>,
}

impl SessionCacheActor {
    #[must_use]
    pub fn new(config: SessionCacheConfig) -> Self {
        let table = config.cache.map(|limits| SessionTable::new(limits.ttl, limits.entries_max));
        Self {
            config,
            table,
            flights: Flights::default(),
            is_closed: false,
            is_expiry_timed: false,
            endings: watch::Sender::new(0),
        }
    }

    // --- asking

    fn ask(&mut self, key: SessionKey, asker: Waiting, ctx: &mut Context<Self>) {
        let found = self.table.as_mut().map_or(Lookup::Miss, |table| table.get(&key, Instant::now()));
        match found {
            Lookup::Hit(session) => {
                self.config.actor.sent.inc();
                // An asker that is gone needs no session.
                let _ = asker.send(Ok(Grant::Session(session)));
                return;
            }
            Lookup::Miss => {}
            Lookup::Expired(evicted) => self.end_evicted(evicted, ctx),
        }
        match self.flights.join(key.clone(), asker) {
            Joined::Waits => {}
            Joined::Leads(asker, lease) => self.lead(key, asker, lease, ctx),
        }
    }

    /// Gets a ticket for the one that leads now.
    fn lead(&mut self, key: SessionKey, asker: Waiting, lease: Lease, ctx: &mut Context<Self>) {
        let to_tickets = self.config.to_tickets.clone();
        let asked = {
            let key = key.clone();
            async move { to_tickets.ask(TicketFor(key)).await }
        };
        ctx.spawn(asked.into_actor(self).map(move |ticket, cache, ctx| {
            let ticket = ticket.unwrap_or_else(|gone| Err(TicketFailed { words: gone.to_string() }));
            match ticket {
                Ok(ticket) => cache.grant(key, asker, Grant::Ticket { ticket, lease }, lease, ctx),
                Err(failed) => {
                    // QPS would not answer the others differently in this moment.
                    for waiting in cache.flights.land(&key, lease) {
                        let _ = waiting.send(Err(failed.clone()));
                    }
                    let _ = asker.send(Err(failed));
                }
            }
        }));
    }

    fn grant(
        &mut self,
        key: SessionKey,
        asker: Waiting,
        grant: Grant,
        lease: Lease,
        ctx: &mut Context<Self>,
    ) {
        self.config.actor.sent.inc();
        if asker.send(Ok(grant)).is_err() {
            // Gone while the ticket was on its way, which now ends by itself.
            self.hand_on(&key, lease, ctx);
            return;
        }
        ctx.run_later(self.config.lead_max, move |cache, ctx| {
            if cache.flights.is_led_by(&key, lease) {
                warn!(
                    cache.config.log,
                    "a download with a ticket said nothing for too long, the next one leads"
                );
                cache.hand_on(&key, lease, ctx);
            }
        });
    }

    /// The flight goes on under the next one that still waits, or is over.
    fn hand_on(&mut self, key: &SessionKey, mut lease: Lease, ctx: &mut Context<Self>) {
        while let Some((asker, next)) = self.flights.hand_on(key, lease) {
            if !asker.is_closed() {
                return self.lead(key.clone(), asker, next, ctx);
            }
            lease = next;
        }
    }

    // --- keeping and ending

    fn opened(
        &mut self,
        key: &SessionKey,
        lease: Option<Lease>,
        session: SessionCookies,
        ctx: &mut Context<Self>,
    ) {
        let Some(table) = self.table.as_mut().filter(|_| !self.is_closed) else {
            self.end(key, session.iter().cloned().collect(), ctx);
            return;
        };
        let evicted = table.put(key.clone(), session.clone(), Instant::now());
        if let Some(evicted) = evicted {
            self.end_evicted(evicted, ctx);
        }
        if let Some(lease) = lease {
            for waiting in self.flights.land(key, lease) {
                self.config.actor.sent.inc();
                let _ = waiting.send(Ok(Grant::Session(session.clone())));
            }
        }
        self.time_expiry(ctx);
    }

    fn end_evicted(&mut self, evicted: Evicted, ctx: &mut Context<Self>) {
        debug!(self.config.log, "session leaves the cache"; "why" => ?evicted.why, "session" => ?evicted.session);
        self.end(&evicted.key, evicted.session.iter().cloned().collect(), ctx);
    }

    /// Has sessions ended at QPS; the receiver is told when that was tried.
    fn end(
        &mut self,
        key: &SessionKey,
        sessions: Vec<SessionCookie>,
        ctx: &mut Context<Self>,
    ) -> oneshot::Receiver<()> {
        let (ended, told) = oneshot::channel();
        if sessions.is_empty() {
            return told;
        }
        let over = SessionsOver { virtual_proxy: key.virtual_proxy().clone(), sessions };
        let to_endings = self.config.to_endings.clone();
        let under_way = UnderWay::new(self.endings.clone());
        ctx.spawn(
            async move {
                let _under_way = under_way;
                // Best effort: an actor that is gone for good ends no sessions.
                let _ = to_endings.ask(over).await;
                // Nobody need wait for it.
                let _ = ended.send(());
            }
            .into_actor(self),
        );
        told
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
    }
}

impl Supervised for SessionCacheActor {
    fn restarting(&mut self, ctx: &mut Self::Context) {
        // Leases go on counting, so that a leader of before cannot end a flight of now.
        drop(self.flights.drain());
        self.is_expiry_timed = false;
        self.drain(ctx);
    }
}

impl Handler<Parcel<SessionFor>> for SessionCacheActor {
    type Result = ResponseFuture<Answer>;

    fn handle(&mut self, parcel: Parcel<SessionFor>, ctx: &mut Self::Context) -> Self::Result {
        self.config.actor.received.inc();
        let (asker, answer) = oneshot::channel();
        self.ask(parcel.body.0, asker, ctx);
        let passage = parcel.passage;
        Box::pin(async move {
            let _passage = passage;
            answer
                .await
                .unwrap_or_else(|_| Err(TicketFailed { words: "the session cache restarted".to_owned() }))
        })
    }
}

impl Handler<Parcel<SessionNews>> for SessionCacheActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, parcel: Parcel<SessionNews>, ctx: &mut Self::Context) -> Self::Result {
        self.config.actor.received.inc();
        let SessionNews { key, lease, opened, rejected, discarded, is_over } = parcel.body;
        let mut over = discarded;
        for session in &rejected {
            if let Some(evicted) = self.table.as_mut().and_then(|table| table.reject(&key, session)) {
                over.extend(evicted.session.iter().cloned());
            }
        }
        let ended = self.end(&key, over, ctx);
        if let Some(session) = opened {
            self.opened(&key, lease, session, ctx);
        }
        if let Some(lease) = lease.filter(|_| is_over) {
            self.hand_on(&key, lease, ctx);
        }
        let passage = parcel.passage;
        Box::pin(async move {
            let _passage = passage;
            // Fails when there was nothing to end.
            let _ = tokio::time::timeout(ENDING_AWAITED_MAX, ended).await;
        })
    }
}

impl Handler<Parcel<EndAllSessions>> for SessionCacheActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, parcel: Parcel<EndAllSessions>, ctx: &mut Self::Context) -> Self::Result {
        self.is_closed = true;
        drop(self.flights.drain());
        self.drain(ctx);
        let mut endings = self.endings.subscribe();
        Box::pin(async move {
            let _passage = parcel.passage;
            // Fails only when the actor is gone, and its endings with it.
            let _ = endings.wait_for(|count| *count == 0).await;
        })
    }
}
