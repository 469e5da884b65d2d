//! The only way from one actor to another.
//!
//! actix's mailbox bound holds for one shared address and only with `try_send`; `do_send`, concurrent `send`s
//! and every clone exceed it. A [`Mailbox`] has its own bound, counted in the receiver's unit of work
//! (events, messages) and shared by all clones. It sends in three ways:
//!
//! * [`Mailbox::offer`] never waits: without room it returns the message, which the caller sheds and counts;
//! * [`Mailbox::deliver`] waits for room;
//! * [`Mailbox::ask`] waits for room and for the answer.
//!
//! A message travels in an [`Envelope`] with its [`InFlight`] guard: the room that it occupies and the events
//! that it stands for. A stage may pass the guard on to the next stage, so one bound can cover the way from
//! socket to journal. Dropping the guard frees the room and counts unsettled events as lost.

use std::fmt;
use std::sync::Arc;

use actix::{Message, Recipient};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A message and the room that it occupies until it is dropped.
pub struct Envelope<M> {
    pub body: M,
    pub in_flight: InFlight,
}

impl<M: Message> Message for Envelope<M> {
    type Result = M::Result;
}

/// The room that a message occupies, and its events that are not yet accounted for.
#[derive(Default)]
pub struct InFlight {
    _room: Option<OwnedSemaphorePermit>,
    open_events: u64,
    lost: Option<Counter>,
}

impl InFlight {
    fn with_room(room: OwnedSemaphorePermit) -> Self {
        Self { _room: Some(room), open_events: 0, lost: None }
    }

    /// Makes this guard responsible for `events`: those not settled when it is dropped count as `lost`.
    pub fn answers_for(&mut self, events: u64, lost: Counter) {
        self.open_events = events;
        self.lost = Some(lost);
    }

    /// Adds one event to those that the guard is responsible for.
    pub fn join(&mut self) {
        self.open_events += 1;
    }

    /// Marks `events` as accounted for elsewhere (stored, rejected, shed).
    pub fn settle(&mut self, events: u64) {
        debug_assert!(events <= self.open_events, "more settled than were there");
        self.open_events = self.open_events.saturating_sub(events);
    }

    /// Marks all remaining events as accounted for and returns their number.
    pub fn settle_all(&mut self) -> u64 {
        std::mem::take(&mut self.open_events)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.open_events > 0
            && let Some(lost) = &self.lost
        {
            lost.inc_by(self.open_events);
        }
    }
}

/// The sending end of a connection between two actors. Clones share its bound.
pub struct Mailbox<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    to: Recipient<Envelope<M>>,
    room: Arc<Semaphore>,
    bound: u32,
}

/// The receiver has stopped for good because the process is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receiving actor is gone")]
pub struct Gone;

impl<M> Mailbox<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// A mailbox into `to` that holds at most `bound` units of work.
    pub fn new(to: impl Into<Recipient<Envelope<M>>>, bound: u32) -> Self {
        let bound = bound.max(1);
        Self { to: to.into(), room: Arc::new(Semaphore::new(bound as usize)), bound }
    }

    /// Sends without waiting; gives the message back when there is no room for its `weight`.
    pub fn offer(&self, body: M, weight: u32) -> Result<(), M> {
        self.offer_with(body, weight, InFlight::default())
    }

    /// Like [`Mailbox::offer`], with a guard that is already responsible for its events. A refusal settles
    /// the guard: the caller sheds and counts.
    pub fn offer_with(&self, body: M, weight: u32, mut in_flight: InFlight) -> Result<(), M> {
        // A message heavier than the whole bound is accepted when nothing else is in flight.
        match Arc::clone(&self.room).try_acquire_many_owned(weight.min(self.bound)) {
            Ok(room) => {
                in_flight._room = Some(room);
                self.pass(body, in_flight);
                Ok(())
            }
            Err(_) => {
                in_flight.open_events = 0;
                Err(body)
            }
        }
    }

    /// Sends, waiting for room.
    pub async fn deliver(&self, body: M, weight: u32) -> Result<(), Gone> {
        let room = self.acquire(weight).await?;
        self.pass(body, InFlight::with_room(room));
        Ok(())
    }

    /// Sends, waiting for room and then for the answer.
    pub async fn ask(&self, body: M) -> Result<M::Result, Gone> {
        let room = self.acquire(1).await?;
        let in_flight = InFlight::with_room(room);
        self.to.send(Envelope { body, in_flight }).await.map_err(|_| Gone)
    }

    /// Like [`Mailbox::ask`], with a guard that is already responsible for its events.
    pub async fn ask_with(&self, body: M, mut in_flight: InFlight) -> Result<M::Result, Gone> {
        in_flight._room = Some(self.acquire(1).await?);
        self.to.send(Envelope { body, in_flight }).await.map_err(|_| Gone)
    }

    /// Sends with the room that an earlier mailbox of the same chain has granted.
    #[expect(clippy::disallowed_methods, reason = "the guard in flight holds the bound that do_send ignores")]
    pub fn pass(&self, body: M, in_flight: InFlight) {
        self.to.do_send(Envelope { body, in_flight });
    }

    /// Units of work in flight.
    pub fn depth(&self) -> u32 {
        self.bound - u32::try_from(self.room.available_permits()).unwrap_or(self.bound).min(self.bound)
    }

    pub fn bound(&self) -> u32 {
        self.bound
    }

    async fn acquire(&self, weight: u32) -> Result<OwnedSemaphorePermit, Gone> {
        Arc::clone(&self.room).acquire_many_owned(weight.min(self.bound)).await.map_err(|_| Gone)
    }
}

impl<M> Clone for Mailbox<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Self { to: self.to.clone(), room: Arc::clone(&self.room), bound: self.bound }
    }
}

impl<M> fmt::Debug for Mailbox<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({}/{})", self.depth(), self.bound)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use actix::{Actor, Context, Handler, ResponseFuture};

    use super::*;

    #[derive(Message, Debug, PartialEq)]
    #[rtype(result = "u32")]
    struct Work(u32);

    /// Finishes a unit of work when the gate opens.
    struct Worker {
        gate: Arc<Semaphore>,
        done: Arc<Mutex<Vec<u32>>>,
    }

    impl Actor for Worker {
        type Context = Context<Self>;
    }

    impl Handler<Envelope<Work>> for Worker {
        type Result = ResponseFuture<u32>;

        fn handle(&mut self, envelope: Envelope<Work>, _: &mut Self::Context) -> Self::Result {
            let (gate, done) = (Arc::clone(&self.gate), Arc::clone(&self.done));
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                done.lock().unwrap().push(envelope.body.0);
                drop(envelope.in_flight);
                envelope.body.0
            })
        }
    }

    fn mailbox(bound: u32) -> (Mailbox<Work>, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        let addr = Worker { gate: Arc::clone(&gate), done: Arc::default() }.start();
        (Mailbox::new(addr, bound), gate)
    }

    #[actix_rt::test]
    async fn all_clones_share_one_bound() {
        let (mailbox, _gate) = mailbox(4);
        let other = mailbox.clone();
        for n in 0..2 {
            mailbox.offer(Work(n), 1).unwrap();
            other.offer(Work(n), 1).unwrap();
        }
        assert_eq!(mailbox.offer(Work(9), 1), Err(Work(9)));
        assert_eq!(other.offer(Work(9), 1), Err(Work(9)));
        assert_eq!(mailbox.depth(), 4);
    }

    #[actix_rt::test]
    async fn finished_work_frees_its_room() {
        let (mailbox, gate) = mailbox(1);
        mailbox.offer(Work(1), 1).unwrap();
        let waits = mailbox.deliver(Work(2), 1);
        gate.add_permits(1);
        waits.await.unwrap();
        gate.add_permits(1);
        let (answer, ()) = tokio::join!(mailbox.ask(Work(3)), async { gate.add_permits(1) });
        assert_eq!(answer, Ok(3));
    }

    #[actix_rt::test]
    async fn a_message_heavier_than_the_bound_passes_alone() {
        let (mailbox, _gate) = mailbox(10);
        mailbox.offer(Work(1), 7).unwrap();
        assert!(mailbox.offer(Work(2), 4).is_err());
        mailbox.offer(Work(2), 3).unwrap();
        let (mailbox, _gate) = self::mailbox(10);
        mailbox.offer(Work(1), 1_000).unwrap();
        assert!(mailbox.offer(Work(2), 1).is_err());
    }

    #[test]
    fn unsettled_events_are_counted_as_lost() {
        let lost = Counter::default();
        let mut in_flight = InFlight::default();
        in_flight.answers_for(10, lost.clone());
        in_flight.settle(7);
        drop(in_flight);
        assert_eq!(lost.get(), 3);
    }
}
