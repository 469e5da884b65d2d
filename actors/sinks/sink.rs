//! The pull–write–commit loop of all destinations.
//!
//! Receives: `Redeliver`; it pulls everything else.
//! Sends: `PositionOf`, `NextBatch`, `Commit` to the journal, `AppendLines` to the dead letters.
//! Keeps: its position, which the journal keeps durable.
//! When full: the journal keeps the events; memory holds one batch.
//! When it fails: an expected failure causes a growing pause; after a panic the sink restarts at its last
//! commit.

mod parking;
mod redelivery;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Message, Supervised, WrapFuture};
use backon::{BackoffBuilder, ExponentialBuilder};
use serde::{Deserialize, Serialize};
use slog::{Logger, error, info, warn};

pub use self::parking::ParkingConfig;
use self::parking::{Parking, ParkingSpace};
use self::redelivery::{OrderBook, Orders};
use crate::journal::batch::Batch;
use crate::journal::client;
use crate::journal::message::{Commit, FetchLimits, NextBatch, Position, PositionOf};
use crate::kit::clock::unix_ms;
use crate::kit::delivery_error::DeliveryError;
use crate::kit::mailbox::Mailbox;
use crate::kit::message::Consumer;
use crate::kit::metric::{ActorMeter, DestinationMeter};
use crate::line_log::message::AppendLines;

/// An endpoint that takes batches. Delivery state that must survive is in the journal.
pub trait Destination: 'static {
    /// Why a replay is refused for this destination; `None` where a replay is allowed.
    const REPLAY_REFUSED: Option<&'static str> = None;

    /// Restores the endpoint to the last commit, before the first batch and after a restart.
    ///
    /// Returns what the endpoint has accepted beyond that commit, if it can tell: the process died between
    /// the two. The sink then commits it and does not deliver it again.
    fn resume(
        &mut self,
        position: &Position,
    ) -> impl Future<Output = Result<Option<Delivered>, DeliveryError>> {
        let _ = position;
        async { Ok(None) }
    }

    /// Delivers the batch or a first part of it, or returns why it cannot.
    ///
    /// It is called again with the same batch after an error, so it must be safe to repeat. Items that the
    /// endpoint will never accept are in [`Delivered::refused`].
    fn deliver(
        &mut self,
        batch: &Batch,
        progress: &Progress,
    ) -> impl Future<Output = Result<Delivered, DeliveryError>>;
}

/// The part of a batch that the endpoint accepted.
#[derive(Debug, Default)]
pub struct Delivered {
    /// All records below this offset are delivered or refused. At most the end of the batch.
    pub next_offset: u64,
    pub events: u64,
    pub bytes: u64,
    pub refused: Vec<Refused>,
    /// Valid events that must wait until an administrator raises a limit of the endpoint.
    pub parked: Vec<Refused>,
    /// The note to commit with the offset; `None` keeps the last note.
    pub note: Option<Vec<u8>>,
}

/// An event that the endpoint will never accept.
#[derive(Debug, Clone)]
pub struct Refused {
    pub offset: u64,
    /// The endpoint's message, or what is wrong with the event.
    pub reason: String,
    pub record: Vec<u8>,
}

/// Lets a destination store a durable note before a step that cannot be undone.
pub struct Progress {
    consumer: Consumer,
    commit: Mailbox<Commit>,
    offset: u64,
}

impl Progress {
    #[cfg(test)]
    pub(crate) fn for_test(consumer: Consumer, commit: Mailbox<Commit>, offset: u64) -> Self {
        Self { consumer, commit, offset }
    }

    /// Stores `note` at the offset where the batch began.
    pub async fn note(&self, note: Vec<u8>) -> Result<(), DeliveryError> {
        let commit = Commit { consumer: self.consumer, offset: self.offset, note: Some(note) };
        match self.commit.ask(commit).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(DeliveryError::new("journal", error.to_string())),
            Err(gone) => Err(DeliveryError::new("journal", gone.to_string())),
        }
    }
}

/// Pauses between attempts (`Pipeline.retry`).
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    pub min: Duration,
    pub max: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { min: Duration::from_secs(1), max: Duration::from_secs(60) }
    }
}

impl Pauses {
    /// Growing pauses with jitter, without end.
    pub fn growing(self) -> impl Iterator<Item = Duration> {
        let max = self.max;
        ExponentialBuilder::default()
            .with_min_delay(self.min)
            .with_max_delay(self.max)
            .without_max_times()
            .with_jitter()
            .build()
            .map(move |pause| pause.min(max))
    }
}

/// The settings of a sink, besides its destination.
#[derive(Clone)]
pub struct SinkConfig {
    pub consumer: Consumer,
    pub fetch_limits: FetchLimits,
    pub pauses: Pauses,
    pub mailboxes: SinkMailboxes,
    pub actor: ActorMeter,
    pub meter: DestinationMeter,
    pub log: Logger,
}

/// The mailboxes that a sink sends to.
#[derive(Clone)]
pub struct SinkMailboxes {
    pub to_position: Mailbox<PositionOf>,
    pub to_next: Mailbox<NextBatch>,
    pub to_commit: Mailbox<Commit>,
    pub to_dead_letters: Mailbox<AppendLines>,
}

/// The actor. Its loop runs in its own context so that the supervisor sees its panics.
pub struct Sink<D> {
    config: SinkConfig,
    make: Arc<dyn Fn() -> D + Send + Sync>,
    parking: Option<ParkingSpace>,
    orders: OrderBook,
}

impl<D: Destination> Sink<D> {
    pub fn new(config: SinkConfig, make: impl Fn() -> D + Send + Sync + 'static) -> Self {
        Self { config, make: Arc::new(make), parking: None, orders: OrderBook::default() }
    }

    /// Parks events that a limit of the endpoint keeps out. Without parking they become dead letters.
    #[must_use]
    pub fn with_parking(mut self, config: ParkingConfig) -> Self {
        self.parking = Some(ParkingSpace::new(config));
        self
    }
}

impl<D: Destination> Actor for Sink<D> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let orders = self.orders.open();
        let parking = self.parking.clone().map(Parking::new);
        let run = Run { config: self.config.clone(), destination: (self.make)(), parking, orders };
        ctx.spawn(run.forever().into_actor(self));
    }
}

impl<D: Destination> Supervised for Sink<D> {}

struct Run<D> {
    config: SinkConfig,
    destination: D,
    parking: Option<Parking>,
    orders: Orders,
}

impl<D: Destination> Run<D> {
    async fn forever(mut self) {
        let mut from = self.resume().await;
        loop {
            let batch = self.next_batch(&mut from).await;
            self.report_skipped(&batch);
            if batch.is_empty() {
                from = batch.next_offset();
                self.commit(from, None).await;
                continue;
            }
            self.config.actor.received.inc();
            let delivered = self.deliver(&batch, from).await;
            from = self.settle(delivered).await;
        }
    }

    /// Makes a delivery final. Returns the offset to continue from.
    async fn settle(&self, delivered: Delivered) -> u64 {
        self.dead_letter(&delivered.refused).await;
        self.commit(delivered.next_offset, delivered.note).await;
        self.config.actor.sent.inc();
        self.config.meter.batches.inc();
        self.config.meter.delivered.inc_by(delivered.events);
        self.config.meter.bytes.inc_by(delivered.bytes);
        delivered.next_offset
    }

    /// Returns the offset to continue from, after the endpoint was restored to the last commit.
    async fn resume(&mut self) -> u64 {
        let mut pauses = self.config.pauses.growing();
        loop {
            let position =
                self.config.ask(&self.config.mailboxes.to_position, PositionOf(self.config.consumer)).await;
            match self.destination.resume(&position).await {
                Ok(taken) => {
                    self.config.meter.set_up();
                    return match taken {
                        Some(taken) => self.settle(taken).await,
                        None => position.offset,
                    };
                }
                Err(trouble) => self.pause(&trouble, &mut pauses).await,
            }
        }
    }

    async fn deliver(&mut self, batch: &Batch, from: u64) -> Delivered {
        let progress = Progress {
            consumer: self.config.consumer,
            commit: self.config.mailboxes.to_commit.clone(),
            offset: from,
        };
        let mut pauses = self.config.pauses.growing();
        let mut failures = 0_u64;
        loop {
            match self.destination.deliver(batch, &progress).await {
                Ok(mut delivered) => match self.park(&mut delivered).await {
                    Ok(()) => {
                        if failures > 0 {
                            info!(self.config.log, "destination is up again";
                                "destination" => self.config.meter.name(), "failures" => failures);
                        }
                        self.config.meter.set_up();
                        return delivered;
                    }
                    // No event is settled: the whole batch is retried, and parked events may free space
                    // meanwhile.
                    Err(trouble) => {
                        failures += 1;
                        self.pause(&trouble, &mut pauses).await;
                        self.retry_parked_if_due(from).await;
                    }
                },
                Err(trouble) => {
                    failures += 1;
                    self.pause(&trouble, &mut pauses).await;
                }
            }
        }
    }

    async fn pause(&self, trouble: &DeliveryError, pauses: &mut impl Iterator<Item = Duration>) {
        let pause = pauses.next().unwrap_or(self.config.pauses.max);
        let pause = trouble.retry_after.map_or(pause, |asked| asked.max(self.config.pauses.min));
        self.config.meter.failed(trouble.class, &trouble.detail, unix_ms());
        warn!(self.config.log, "destination is down, will retry";
            "destination" => self.config.meter.name(), "class" => trouble.class,
            "error" => &trouble.detail, "pause_ms" => pause.as_millis());
        tokio::time::sleep(pause).await;
    }

    fn report_skipped(&self, batch: &Batch) {
        for skipped in batch.skipped() {
            let events = skipped.offsets.end - skipped.offsets.start;
            self.config.meter.missed.inc_by(events);
            error!(self.config.log, "records were removed from the journal before delivery";
                "destination" => self.config.meter.name(), "records" => events,
                "from" => skipped.offsets.start, "why" => ?skipped.why);
        }
    }

    /// Stores refused events as dead letters, before the commit drops them.
    async fn dead_letter(&self, refused: &[Refused]) {
        if refused.is_empty() {
            return;
        }
        let time = unix_ms();
        let name = self.config.meter.name();
        let stream = self.config.consumer.stream.name();
        let letters = refused.iter().map(|refused| DeadLetter::new(time, name, stream, refused));
        let lines: Vec<Vec<u8>> = letters.map(|letter| letter.to_line()).collect();
        while let Err(error) = self.keep(lines.clone()).await {
            self.config.meter.failed(DEAD_LETTERS_REFUSED, &error, unix_ms());
            error!(self.config.log, "cannot store a dead letter, will retry";
                "destination" => name, "error" => error);
            tokio::time::sleep(self.config.pauses.min).await;
        }
        self.config.meter.set_up();
        self.config.meter.dead_lettered.inc_by(refused.len() as u64);
        for refused in refused.iter().take(DEAD_LETTERS_LOGGED_MAX) {
            warn!(self.config.log, "event rejected by the destination, stored as a dead letter";
                "destination" => name, "offset" => refused.offset, "reason" => &refused.reason);
        }
    }

    async fn keep(&self, lines: Vec<Vec<u8>>) -> Result<(), String> {
        match self.config.mailboxes.to_dead_letters.ask(AppendLines { lines }).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(refused.to_string()),
            Err(gone) => Err(gone.to_string()),
        }
    }

    async fn commit(&self, offset: u64, note: Option<Vec<u8>>) {
        let commit = Commit { consumer: self.config.consumer, offset, note };
        self.config.ask(&self.config.mailboxes.to_commit, commit).await;
    }
}

impl SinkConfig {
    /// Calls [`client::ask`] in the name of this destination.
    async fn ask<M, T, E>(&self, mailbox: &Mailbox<M>, question: M) -> T
    where
        M: Message<Result = Result<T, E>> + Clone + Send + 'static,
        T: Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        client::ask(mailbox, question, &self.log, Some(self.meter.name())).await
    }
}

/// The class of a destination's error while its dead letters cannot be kept.
pub const DEAD_LETTERS_REFUSED: &str = "dead-letters";
const DEAD_LETTERS_LOGGED_MAX: usize = 10;

/// An event that a destination refused, as stored: one JSON object per line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Unix milliseconds.
    pub time: u64,
    pub destination: String,
    pub stream: String,
    pub offset: u64,
    pub reason: String,
    /// The journal record in hex, which a retry delivers.
    pub record: String,
}

impl DeadLetter {
    pub(crate) fn new(time: u64, destination: &str, stream: &str, refused: &Refused) -> Self {
        Self {
            time,
            destination: destination.to_owned(),
            stream: stream.to_owned(),
            offset: refused.offset,
            reason: refused.reason.chars().take(REASON_CHARS_MAX).collect(),
            record: hex::encode(&refused.record),
        }
    }

    /// The journal record; `None` when the hex is invalid.
    #[must_use]
    pub fn record_bytes(&self) -> Option<Vec<u8>> {
        hex::decode(&self.record).ok()
    }

    pub(crate) fn to_line(&self) -> Vec<u8> {
        // Strings and numbers always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

const REASON_CHARS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::message::JournalError;
    use crate::journal::testing::batch_of;
    use crate::kit::metric::Metrics;
    use crate::kit::testing::{Probe, discard_log, until};
    use butler_sos_domain::streams::Stream;

    /// Has accepted everything below 5 when it resumes, and accepts three records at a time.
    struct Ahead;

    impl Destination for Ahead {
        async fn resume(&mut self, position: &Position) -> Result<Option<Delivered>, DeliveryError> {
            assert_eq!((position.offset, position.note.as_slice()), (2, b"noted".as_slice()));
            Ok(Some(Delivered { next_offset: 5, events: 3, note: Some(Vec::new()), ..Delivered::default() }))
        }

        async fn deliver(&mut self, batch: &Batch, _: &Progress) -> Result<Delivered, DeliveryError> {
            let next_offset = batch.next_offset().min(batch.from_offset() + 3);
            let events = next_offset - batch.from_offset();
            Ok(Delivered { next_offset, events, ..Delivered::default() })
        }
    }

    #[actix_rt::test]
    async fn records_accepted_before_a_crash_are_committed_and_not_delivered_again() {
        let metrics = Metrics::new();
        let position = Position { offset: 2, note: b"noted".to_vec() };
        let (to_position, _) = Probe::<PositionOf>::mailbox(4, move |_| Ok(position.clone()));
        // Records 5 to 9, then a journal that does not answer.
        let (to_next, _) = Probe::<NextBatch>::mailbox(4, |next| match next.from {
            10 => Err(JournalError::Disk("no more".to_owned())),
            from => Ok(batch_of(from, &vec![b"x"; (10 - from) as usize])),
        });
        let (to_commit, commits) = Probe::<Commit>::mailbox(4, |_| Ok(()));
        let (to_dead_letters, _) = Probe::<AppendLines>::mailbox(4, |_| Ok(()));
        let config = SinkConfig {
            consumer: Consumer { stream: Stream::UserEvents, name: "ahead" },
            fetch_limits: FetchLimits { records_max: 100, bytes_max: 100, linger: Duration::ZERO },
            pauses: Pauses::default(),
            mailboxes: SinkMailboxes { to_position, to_next, to_commit, to_dead_letters },
            actor: metrics.actor("ahead"),
            meter: metrics.destination("ahead"),
            log: discard_log(),
        };
        Sink::new(config, || Ahead).start();
        until(|| commits.lock().unwrap().len() == 3).await;
        let commits: Vec<_> =
            commits.lock().unwrap().iter().map(|commit| (commit.offset, commit.note.clone())).collect();
        assert_eq!(commits, [(5, Some(Vec::new())), (8, None), (10, None)]);
        assert_eq!(metrics.destination("ahead").delivered.get(), 8);
    }
}
