//! The journal: it stores all events on disk between intake and destinations.
//!
//! Receives: `Append`, `PositionOf`, `NextBatch`, `Commit`, `CatchUp`, `OffsetAt`, `OffsetsWithin`, `JournalStateNow`.
//! Sends: nothing; it answers.
//! Keeps: the [`Store`], the readers that wait for records, the callers that wait for a sync.
//! When full: `Append` is refused, or the oldest records are dropped, by the stream's policy.
//! When it fails: a refused write is an answer; a panic reopens the store from its files.
//!
//! At every reading of the clock it also checks for jumps: a jump is logged, and does not change the age of
//! records.
//!
//! Syncs run concurrently, at most one at a time per lane (a stream, or the commits) ([`syncing`]).

mod syncing;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult, ResponseFuture, Supervised, WrapFuture};
use butler_sos_domain::clock_watch::{ClockChange, ClockWatch};
use slog::{Logger, error, info, warn};
use tokio::sync::oneshot;

use self::syncing::{Lane, LaneState, Waiter, answer_all};
use super::batch::Batch;
use super::store::{ConsumerId, Start, Store, StoreConfig, StoreError, StreamId};
use super::stream::{AppendError, frame_bytes};
use crate::journal::message::{
    Append, AppendRefused, CatchUp, Commit, ConsumerState, JournalError, JournalState, JournalStateNow,
    NextBatch, OffsetAt, OffsetsWithin, Position, PositionOf, StreamState,
};
use crate::kit::clock::{steady_ns, unix_ns};
use crate::kit::guard::guard;
use crate::kit::mailbox::{Envelope, InFlight};
use crate::kit::message::Consumer;
use crate::kit::metric::{ActorMeter, IntakeMeter, JournalMeter, StreamFigures};
use butler_sos_domain::streams::Stream;

/// The settings of the actor (`Pipeline.journal`).
#[derive(Clone)]
pub struct JournalConfig {
    pub store: StoreConfig,
    /// All consumers. A consumer of the store that is not listed is unregistered.
    pub consumers: Vec<Consumer>,
    /// Consumers that the drain does not wait for, because they may retry for hours.
    pub not_awaited: Vec<Consumer>,
    /// The maximum wait of user events for their sync. The other streams never wait.
    pub commit_interval: Duration,
    pub meter: JournalMeter,
    pub actor: ActorMeter,
    /// Meters of the intakes whose events are stored here.
    pub intakes: BTreeMap<Stream, IntakeMeter>,
    pub log: Logger,
}

impl JournalConfig {
    /// Opens the store and logs repairs.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process holds it; otherwise the error of the disk.
    pub fn open(&self) -> Result<Store, StoreError> {
        let (store, recoveries) = Store::open(self.store.clone())?;
        for recovery in recoveries {
            warn!(self.log, "the journal was damaged and has been repaired"; "recovery" => ?recovery);
        }
        Ok(store)
    }
}

/// The actor.
pub struct Journal {
    config: JournalConfig,
    /// `None` only between a panic and the reopening.
    open: Option<Open>,
    readers: Vec<Reader>,
    reader_last: u64,
    lanes: BTreeMap<Lane, LaneState>,
    /// While it is set, no batch lingers.
    draining: bool,
    catching_up: Vec<oneshot::Sender<()>>,
    /// Streams whose last append failed.
    append_trouble: BTreeMap<Stream, AppendFailure>,
    /// An append during which the journal panicked. Whether its events are stored is known after the
    /// reopening.
    undecided: Option<Undecided>,
    /// The wall clock and the monotonic clock, in nanoseconds.
    clocks: Clocks,
    watch: ClockWatch,
    #[cfg(test)]
    panics_in_append: Option<PanicMoment>,
}

type Clocks = Box<dyn Fn() -> (u64, u64) + Send>;

/// Why a stream accepts no append.
struct AppendFailure {
    error: String,
    /// The size on disk of the append that was refused.
    bytes: u64,
}

/// See [`Journal::undecided`].
struct Undecided {
    stream: Stream,
    /// The append's records are below this offset, if they are stored.
    end: u64,
    in_flight: InFlight,
}

/// Where a test makes an append panic.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PanicMoment {
    BeforeWriting,
    AfterWriting,
}

/// The store with its stream and consumer ids.
struct Open {
    store: Store,
    streams: BTreeMap<Stream, StreamId>,
    consumers: BTreeMap<Consumer, ConsumerId>,
}

/// A reader that waits for records.
struct Reader {
    number: u64,
    question: NextBatch,
    /// Whether a timer already runs for it.
    lingers: bool,
    answer: oneshot::Sender<Result<Batch, JournalError>>,
}

const COLLECT_INTERVAL: Duration = Duration::from_secs(10);
/// The interval of trial appends to a stream that accepts none, so that recovery is known before an event
/// arrives.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

impl Journal {
    /// An actor with a store that is already open, so that a locked or broken store stops the start.
    #[must_use]
    pub fn new(config: JournalConfig, store: Store) -> Self {
        Self::with_clocks(config, store, Box::new(|| (unix_ns(), steady_ns())))
    }

    fn with_clocks(config: JournalConfig, mut store: Store, clocks: Clocks) -> Self {
        let watch = watch(&mut store, clocks(), &config);
        let mut journal = Self {
            config,
            open: None,
            readers: Vec::new(),
            reader_last: 0,
            lanes: BTreeMap::new(),
            draining: false,
            catching_up: Vec::new(),
            append_trouble: BTreeMap::new(),
            undecided: None,
            clocks,
            watch,
            #[cfg(test)]
            panics_in_append: None,
        };
        journal.adopt(store);
        journal
    }

    /// Looks up streams, registers consumers, and unregisters those that are no longer configured.
    fn adopt(&mut self, mut store: Store) {
        let streams: BTreeMap<_, _> =
            Stream::ALL.iter().filter_map(|stream| Some((*stream, store.stream(stream.name())?))).collect();
        let mut consumers = BTreeMap::new();
        for (stream, id) in &streams {
            let wanted: Vec<_> = self.config.consumers.iter().filter(|c| c.stream == *stream).collect();
            let names: Vec<_> = wanted.iter().map(|consumer| consumer.name).collect();
            match store.retain_consumers(*id, &names) {
                Ok(gone) => {
                    for name in gone {
                        info!(self.config.log, "removed the position of a destination that is no longer configured";
                            "stream" => stream.name(), "destination" => name);
                    }
                }
                Err(error) => {
                    warn!(self.config.log, "cannot remove the positions of old consumers"; "error" => %error);
                }
            }
            for consumer in wanted {
                match store.register(*id, consumer.name, Start::Oldest) {
                    Ok(id) => {
                        consumers.insert(*consumer, id);
                    }
                    Err(error) => error!(self.config.log, "cannot register a consumer";
                        "destination" => consumer.name, "error" => %error),
                }
            }
        }
        self.open = Some(Open { store, streams, consumers });
    }

    // --- appending

    fn append(&mut self, append: Append, in_flight: &mut InFlight) -> Result<(), AppendRefused> {
        let Append { stream, mut records } = append;
        let now_ns = self.now_ns();
        let bytes = frame_bytes(&records);
        #[cfg(test)]
        self.panic_if(PanicMoment::BeforeWriting);
        let result = match self.stream_of(stream) {
            Some((store, id)) => store.append(id, &mut records, now_ns),
            None => Err(AppendError::UnknownStream),
        };
        #[cfg(test)]
        self.panic_if(PanicMoment::AfterWriting);
        let events = in_flight.settle_all();
        let intake = self.config.intakes.get(&stream);
        match result {
            Ok(appended) => {
                if let Some(intake) = intake {
                    intake.stored.inc_by(events);
                }
                self.append_trouble_is_over(stream);
                for dropped in appended.dropped {
                    warn!(self.config.log, "the journal is full, dropped its oldest events before delivery";
                        "stream" => stream.name(), "destination" => dropped.consumer,
                        "events" => dropped.offsets.end - dropped.offsets.start);
                }
                Ok(())
            }
            Err(error) => {
                self.config.meter.append_failed();
                let (reason, refused) = match &error {
                    AppendError::Full { .. } | AppendError::TooLarge { .. } => {
                        ("journal_full", AppendRefused::Full)
                    }
                    _ => ("journal_disk", AppendRefused::Disk(error.to_string())),
                };
                self.config.actor.failed(reason);
                if let Some(intake) = intake {
                    intake.shed(reason).inc_by(events);
                }
                let trouble = AppendFailure { error: error.to_string(), bytes };
                // Log the beginning, not every event.
                if self.append_trouble.insert(stream, trouble).is_none() {
                    error!(self.config.log, "the journal rejects events";
                        "stream" => stream.name(), "error" => %error);
                }
                Err(refused)
            }
        }
    }

    fn append_trouble_is_over(&mut self, stream: Stream) {
        if self.append_trouble.remove(&stream).is_some() {
            info!(self.config.log, "the journal accepts events again"; "stream" => stream.name());
        }
    }

    /// Callers that wait until the journal is ready again send nothing, so no append would show the recovery.
    fn look_for_room(&mut self) {
        let Some(open) = &mut self.open else { return };
        let (store, streams) = (&mut open.store, &open.streams);
        let tried = self.append_trouble.iter().filter_map(|(stream, trouble)| {
            let id = *streams.get(stream)?;
            store.try_append(id, trouble.bytes).is_ok().then_some(*stream)
        });
        for stream in tried.collect::<Vec<_>>() {
            self.append_trouble_is_over(stream);
        }
    }

    #[cfg(test)]
    fn panic_if(&mut self, moment: PanicMoment) {
        if self.panics_in_append.take_if(|wanted| *wanted == moment).is_some() {
            panic!("a test wants it");
        }
    }

    /// After a reopening, which has synced everything that it found, answers the waiting appends. A client
    /// that gets "not stored" sends its events again, so this answer must not be given for stored records.
    fn answer_after_reopening(&mut self) {
        if let Some(Undecided { stream, end, mut in_flight }) = self.undecided.take()
            && self.stream_of(stream).is_some_and(|(store, id)| end <= store.next_offset(id))
            && let Some(intake) = self.config.intakes.get(&stream)
        {
            intake.stored.inc_by(in_flight.settle_all());
        }
        for (lane, state) in std::mem::take(&mut self.lanes) {
            let end = match lane {
                Lane::Stream(stream) => self.stream_of(stream).map(|(store, id)| store.next_offset(id)),
                Lane::Commits => None,
            };
            for waiter in state.under_way.into_iter().chain(state.waiting) {
                let is_there = end.is_some_and(|end| waiter.end <= end);
                let result = if is_there { Ok(()) } else { Err("the journal restarted".to_owned()) };
                answer_all(vec![waiter], &result);
            }
        }
    }

    // --- reading

    fn stream_of(&mut self, stream: Stream) -> Option<(&mut Store, StreamId)> {
        let open = self.open.as_mut()?;
        let id = *open.streams.get(&stream)?;
        Some((&mut open.store, id))
    }

    /// The number of records from `from` on.
    fn available(&mut self, question: &NextBatch) -> u64 {
        let from = question.from;
        self.stream_of(question.consumer.stream)
            .map_or(0, |(store, id)| store.next_offset(id).saturating_sub(from))
    }

    fn read(&mut self, question: &NextBatch) -> Result<Batch, JournalError> {
        let (store, id) = self
            .stream_of(question.consumer.stream)
            .ok_or(JournalError::UnknownConsumer(question.consumer.name))?;
        let fetch_limits = question.fetch_limits;
        store
            .read(id, question.from, fetch_limits.records_max, fetch_limits.bytes_max)
            .map_err(|error| JournalError::Disk(error.to_string()))
    }

    /// Serves the readers of `stream` whose batch is ready, and starts timers for the others.
    fn serve(&mut self, stream: Stream, ctx: &mut Context<Self>) {
        let mut at = 0;
        while let Some(reader) = self.readers.get(at) {
            let question = reader.question;
            if question.consumer.stream != stream {
                at += 1;
                continue;
            }
            let available = self.available(&question);
            let full = available >= question.fetch_limits.records_max as u64;
            let lingers = !question.fetch_limits.linger.is_zero() && !self.draining;
            if available == 0 {
                at += 1;
            } else if full || !lingers {
                self.answer(at);
            } else {
                let reader = &mut self.readers[at];
                if !std::mem::replace(&mut reader.lingers, true) {
                    let number = reader.number;
                    ctx.run_later(question.fetch_limits.linger, move |journal, _| {
                        if let Some(at) = journal.readers.iter().position(|r| r.number == number) {
                            journal.answer(at);
                        }
                    });
                }
                at += 1;
            }
        }
    }

    fn answer(&mut self, at: usize) {
        let reader = self.readers.swap_remove(at);
        if !reader.answer.is_closed() {
            let batch = self.read(&reader.question);
            // The reader may be gone in the meantime, which loses nothing.
            let _ = reader.answer.send(batch);
        }
    }

    // --- committing

    fn commit(&mut self, commit: &Commit) -> Result<(), JournalError> {
        let name = commit.consumer.name;
        let open = self.open.as_mut().ok_or(JournalError::Disk("reopening".to_owned()))?;
        let id = *open.consumers.get(&commit.consumer).ok_or(JournalError::UnknownConsumer(name))?;
        open.store
            .commit(id, commit.offset, commit.note.as_deref())
            .map_err(|error| JournalError::Disk(error.to_string()))
    }

    fn position(&self, consumer: Consumer) -> Result<Position, JournalError> {
        let unknown = JournalError::UnknownConsumer(consumer.name);
        let open = self.open.as_ref().ok_or(JournalError::Disk("reopening".to_owned()))?;
        let id = *open.consumers.get(&consumer).ok_or(unknown.clone())?;
        let committed = open.store.committed(id).ok_or(unknown)?;
        Ok(Position { offset: committed.offset, note: committed.note })
    }

    fn tell_when_caught_up(&mut self) {
        if self.catching_up.is_empty() {
            return;
        }
        let Some(open) = &self.open else { return };
        let mut awaited =
            open.consumers.iter().filter(|(consumer, _)| !self.config.not_awaited.contains(consumer));
        let behind = awaited.any(|(_, id)| {
            open.store.committed(*id).is_some_and(|c| c.offset < open.store.next_offset(id.stream()))
        });
        if !behind {
            for waiting in self.catching_up.drain(..) {
                let _ = waiting.send(());
            }
        }
    }

    // --- looking after the clock and the files

    /// The current time. A jump since the last call is logged, and removed from the age of records.
    fn now_ns(&mut self) -> u64 {
        let (unix_ns, steady_ns) = (self.clocks)();
        let change = self.watch.look(unix_ns, steady_ns);
        let off_seconds = self.watch.off_seconds();
        if let Some(change) = change {
            if let Some(open) = &mut self.open {
                open.store.note_clock_step(change.by_ns());
            }
            self.config.meter.clock_jumped(off_seconds);
            let by_seconds = change.by_ns() as f64 / 1e9;
            match change {
                ClockChange::Jumped { .. } => {
                    warn!(self.config.log, "the clock jumped, times of receipt follow it";
                        "by_seconds" => by_seconds, "off_seconds" => off_seconds);
                }
                ClockChange::Returned { .. } => {
                    info!(self.config.log, "the clock is correct again, times of receipt follow it";
                        "by_seconds" => by_seconds);
                }
            }
        } else if off_seconds.is_none() {
            self.config.meter.clock_is_right();
        }
        unix_ns
    }

    fn collect(&mut self) {
        let now_ns = self.now_ns();
        if let Some(open) = &mut self.open
            && let Err(error) = open.store.collect(now_ns)
        {
            warn!(self.config.log, "cannot remove old segments"; "error" => %error);
        }
    }

    fn state(&mut self) -> JournalState {
        let now_ns = self.now_ns();
        let append_trouble = self.append_trouble.values().next().map(|trouble| trouble.error.clone());
        let clock_off_seconds = self.watch.off_seconds();
        let mut state = JournalState { append_trouble, clock_off_seconds, ..JournalState::default() };
        let Some(open) = &mut self.open else { return state };
        let streams = match open.store.stats(now_ns) {
            Ok(streams) => streams,
            Err(error) => {
                warn!(self.config.log, "cannot read the state of the journal"; "error" => %error);
                return state;
            }
        };
        for stats in streams {
            let Some(stream) = Stream::named(&stats.name) else {
                continue;
            };
            let figures = StreamFigures {
                bytes: stats.bytes,
                bytes_max: stats.bytes_max,
                segments: stats.segments as u64,
                records: stats.next_offset - stats.first_offset,
            };
            self.config.meter.set_stream(stream.name(), &figures);
            state.streams.push(StreamState {
                stream,
                bytes: stats.bytes,
                bytes_max: stats.bytes_max,
                segments: stats.segments as u64,
                first_offset: stats.first_offset,
                next_offset: stats.next_offset,
                durable_offset: stats.durable_offset,
                oldest_record_at_ns: stats.oldest_record_at_ns,
            });
            for consumer in self.config.consumers.iter().filter(|consumer| consumer.stream == stream) {
                if let Some(of) = stats.consumers.iter().find(|of| of.name == consumer.name) {
                    state.consumers.push(ConsumerState {
                        consumer: *consumer,
                        committed: of.committed,
                        lag_records: of.lag_records,
                        lag_seconds: of.lag_seconds,
                    });
                }
            }
        }
        state
    }
}

impl Actor for Journal {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(COLLECT_INTERVAL, |journal, ctx| {
            journal.collect();
            journal.want_sync(Lane::Commits, None, ctx);
        });
        ctx.run_interval(ROOM_INTERVAL, |journal, _| journal.look_for_room());
    }
}

impl Supervised for Journal {
    /// Discards state that the panic may have left inconsistent. The files are the truth.
    fn restarting(&mut self, _: &mut Self::Context) {
        let steps = self.open.take().map(|open| open.store.clock_steps());
        self.readers.clear();
        self.catching_up.clear();
        match self.config.open() {
            Ok(mut store) => {
                store.set_clock_steps(steps.unwrap_or_default());
                self.adopt(store);
                self.answer_after_reopening();
            }
            Err(error) => panic!("the journal cannot be opened again: {error}"),
        }
    }
}

impl Handler<Envelope<Append>> for Journal {
    type Result = ResponseFuture<Result<Range<u64>, AppendRefused>>;

    fn handle(&mut self, envelope: Envelope<Append>, ctx: &mut Self::Context) -> Self::Result {
        let Envelope { body: append, mut in_flight } = envelope;
        self.config.actor.received.inc();
        let stream = append.stream;
        let records = append.records.len() as u64;
        let start = self.stream_of(stream).map_or(0, |(store, id)| store.next_offset(id));
        let offsets = start..start + records;
        // The caller must learn whether its records are stored even if this panics after storing them:
        // otherwise a client would send them again. So the answer is registered before anything is written.
        let (answer, on_disk) = oneshot::channel();
        let lane = Lane::Stream(stream);
        self.lanes.entry(lane).or_default().waiting.push(Waiter { end: offsets.end, answer });
        let done = guard(|| {
            self.append(append, &mut in_flight)?;
            self.want_sync(lane, None, ctx);
            self.serve(stream, ctx);
            Ok(())
        });
        match done {
            Ok(Ok(())) => drop(in_flight),
            Ok(Err(refused)) => {
                self.lanes.entry(lane).or_default().waiting.pop();
                return Box::pin(async { Err(refused) });
            }
            Err(panic) => {
                self.undecided = Some(Undecided { stream, end: offsets.end, in_flight });
                // Handle nothing else before the restart.
                ctx.wait(async move { panic!("{panic}") }.into_actor(self));
            }
        }
        Box::pin(async move {
            match on_disk.await {
                Ok(Ok(())) => Ok(offsets),
                Ok(Err(error)) => Err(AppendRefused::Disk(error)),
                Err(_) => Err(AppendRefused::Disk("the journal restarted".to_owned())),
            }
        })
    }
}

impl Handler<Envelope<NextBatch>> for Journal {
    type Result = ResponseFuture<Result<Batch, JournalError>>;

    fn handle(&mut self, envelope: Envelope<NextBatch>, ctx: &mut Self::Context) -> Self::Result {
        let question = envelope.body;
        self.config.actor.received.inc();
        let (answer, batch) = oneshot::channel();
        self.reader_last += 1;
        self.readers.push(Reader { number: self.reader_last, question, lingers: false, answer });
        self.serve(question.consumer.stream, ctx);
        let in_flight = envelope.in_flight;
        Box::pin(async move {
            let answer = batch.await;
            drop(in_flight);
            answer.unwrap_or(Err(JournalError::Disk("the journal restarted".to_owned())))
        })
    }
}

impl Handler<Envelope<Commit>> for Journal {
    type Result = ResponseFuture<Result<(), JournalError>>;

    fn handle(&mut self, envelope: Envelope<Commit>, ctx: &mut Self::Context) -> Self::Result {
        self.config.actor.received.inc();
        let committed = self.commit(&envelope.body);
        self.tell_when_caught_up();
        if committed.is_err() || envelope.body.note.is_none() {
            return Box::pin(async { committed });
        }
        // A consumer relies on its note after a power cut too: sync the note, and the records that it refers
        // to.
        let (stream, end) = (envelope.body.consumer.stream, envelope.body.offset);
        let mut to_wait_for = Vec::new();
        if self.stream_of(stream).is_some_and(|(store, id)| store.durable_offset(id) < end) {
            let (answer, records_on_disk) = oneshot::channel();
            self.want_sync(Lane::Stream(stream), Some(Waiter { end, answer }), ctx);
            to_wait_for.push(records_on_disk);
        }
        let (answer, note_on_disk) = oneshot::channel();
        self.want_sync(Lane::Commits, Some(Waiter { end: 0, answer }), ctx);
        to_wait_for.push(note_on_disk);
        Box::pin(async move {
            for on_disk in to_wait_for {
                match on_disk.await {
                    Ok(result) => result.map_err(JournalError::Disk)?,
                    Err(_) => return Err(JournalError::Disk("the journal restarted".to_owned())),
                }
            }
            Ok(())
        })
    }
}

impl Handler<Envelope<PositionOf>> for Journal {
    type Result = Result<Position, JournalError>;

    fn handle(&mut self, envelope: Envelope<PositionOf>, _: &mut Self::Context) -> Self::Result {
        self.position(envelope.body.0)
    }
}

impl Handler<Envelope<CatchUp>> for Journal {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Envelope<CatchUp>, ctx: &mut Self::Context) -> Self::Result {
        self.draining = true;
        for stream in Stream::ALL {
            self.sync(Lane::Stream(stream), ctx);
            self.serve(stream, ctx);
        }
        let (caught_up, all_there) = oneshot::channel();
        self.catching_up.push(caught_up);
        self.tell_when_caught_up();
        Box::pin(async move {
            // A restarted journal drops the request. The caller has a time limit.
            let _ = all_there.await;
        })
    }
}

impl Handler<Envelope<OffsetAt>> for Journal {
    type Result = Result<u64, JournalError>;

    fn handle(&mut self, envelope: Envelope<OffsetAt>, _: &mut Self::Context) -> Self::Result {
        let OffsetAt { stream, unix_ns } = envelope.body;
        let (store, id) =
            self.stream_of(stream).ok_or(JournalError::Disk("the stream is not open".to_owned()))?;
        let found = store.find_times(id, &(unix_ns..u64::MAX));
        found.map(|found| found.start).map_err(|error| JournalError::Disk(error.to_string()))
    }
}

impl Handler<Envelope<OffsetsWithin>> for Journal {
    type Result = Result<Range<u64>, JournalError>;

    fn handle(&mut self, envelope: Envelope<OffsetsWithin>, _: &mut Self::Context) -> Self::Result {
        let OffsetsWithin { stream, unix_ns } = envelope.body;
        let (store, id) =
            self.stream_of(stream).ok_or(JournalError::Disk("the stream is not open".to_owned()))?;
        store.find_times(id, &unix_ns).map_err(|error| JournalError::Disk(error.to_string()))
    }
}

impl Handler<Envelope<JournalStateNow>> for Journal {
    type Result = MessageResult<Envelope<JournalStateNow>>;

    fn handle(&mut self, _: Envelope<JournalStateNow>, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.state())
    }
}

/// Starts the check for clock jumps. A clock behind the newest record was set back while the server was down.
fn watch(store: &mut Store, (unix_ns, steady_ns): (u64, u64), config: &JournalConfig) -> ClockWatch {
    let newest = store.newest_record_at_ns().unwrap_or_default().unwrap_or_default();
    let watch = ClockWatch::new(unix_ns, steady_ns).behind(newest.saturating_sub(unix_ns), steady_ns);
    if let Some(off_seconds) = watch.off_seconds() {
        // Stored records seem to be from the future, by as much as the clock is behind.
        store.note_clock_step(-i128::from(newest - unix_ns));
        config.meter.clock_jumped(Some(off_seconds));
        warn!(config.log, "the clock is behind the newest stored event, times of receipt follow the clock";
            "off_seconds" => off_seconds);
    }
    watch
}

#[cfg(test)]
mod tests;
