//! Test helpers of the actors.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use slog::{Discard, Logger, o};

use crate::kit::mailbox::{Envelope, Mailbox};

/// A log that discards everything.
pub fn discard_log() -> Logger {
    Logger::root(Discard, o!())
}

/// Waits until `condition` holds; fails after ten seconds.
pub async fn until(mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "the condition did not come to hold in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The messages that a [`Probe`] has received.
pub type Seen<M> = Arc<Mutex<Vec<M>>>;

type Answer<M> = Box<dyn FnMut(&M) -> <M as Message>::Result>;

/// An actor that records every message of one type and answers each with `answer`.
pub struct Probe<M: Message> {
    seen: Seen<M>,
    answer: Answer<M>,
}

impl<M> Probe<M>
where
    M: Message + Send + Unpin + 'static,
    M::Result: Send + actix::dev::MessageResponse<Self, Envelope<M>>,
{
    /// A mailbox into a new probe, and the messages that the probe receives.
    pub fn mailbox(bound: u32, answer: impl FnMut(&M) -> M::Result + 'static) -> (Mailbox<M>, Seen<M>) {
        let seen = Arc::<Mutex<Vec<M>>>::default();
        let probe = Self { seen: Arc::clone(&seen), answer: Box::new(answer) };
        (Mailbox::new(probe.start(), bound), seen)
    }
}

impl<M: Message + Unpin + 'static> Actor for Probe<M> {
    type Context = Context<Self>;
}

impl<M> Handler<Envelope<M>> for Probe<M>
where
    M: Message + Send + Unpin + 'static,
    M::Result: Send + actix::dev::MessageResponse<Self, Envelope<M>>,
{
    type Result = M::Result;

    fn handle(&mut self, mut envelope: Envelope<M>, _: &mut Self::Context) -> Self::Result {
        envelope.in_flight.settle_all();
        let answer = (self.answer)(&envelope.body);
        self.seen.lock().expect("no test panics while holding this").push(envelope.body);
        answer
    }
}
