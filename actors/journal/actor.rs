//! The journal: the one place where events are on disk between intake and destinations.
//!
//! Receives: `Append`, `PositionOf`, `NextBatch`, `Commit`, `CatchUp`, `OffsetAt`, `JournalStateNow`.
//! Sends: nothing; it answers.
//! Keeps: the [`Store`], who waits for records, who waits for a sync.
//! When full: `Append` is refused, or the oldest records go, as the stream's policy says.
//! When it fails: a refused write is an answer; a panic reopens the store from its files.
//!
//! Syncs run on a blocking thread, one per lane (a stream, or the commits) at a time, while
//! appends and reads go on; everything that arrived during one sync is covered by the next.
//! That is the group commit: under load one sync serves many appends, alone nobody waits.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, ResponseFuture, Supervised,
    WrapFuture,
};
use slog::{Logger, error, info, warn};
use tokio::sync::oneshot;

use super::batch::Batch;
use super::store::{ConsumerId, Start, Store, StoreConfig, StoreError, StreamId, SyncDone, SyncJob};
use super::stream::{AppendError, frame_bytes};
use crate::guard::guard;
use crate::message::{
    Append, AppendRefused, CatchUp, Commit, Consumer, ConsumerState, JournalError, JournalState,
    JournalStateNow, NextBatch, OffsetAt, Position, PositionOf, Stream, StreamState,
};
use crate::metric::{ActorMeter, IntakeMeter, JournalMeter, StreamFigures};
use crate::outlet::{Parcel, Passage};

/// What the actor needs to know (`Pipeline.journal`).
#[derive(Clone)]
pub struct JournalConfig {
    pub store: StoreConfig,
    /// Everyone who reads; a consumer of the store that is not listed is forgotten.
    pub consumers: Vec<Consumer>,
    /// Those of them that the drain does not wait for: who tries again for hours is not behind, but patient.
    pub not_awaited: Vec<Consumer>,
    /// How long user events may wait for their sync; the other streams never wait.
    pub commit_interval: Duration,
    pub meter: JournalMeter,
    pub actor: ActorMeter,
    /// Counts of the intakes whose events end here.
    pub intakes: BTreeMap<Stream, IntakeMeter>,
    pub log: Logger,
}

impl JournalConfig {
    /// Opens the store and says what had to be mended.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process holds it; otherwise what the disk says.
    pub fn open(&self) -> Result<Store, StoreError> {
        let (store, recoveries) = Store::open(self.store.clone())?;
        for recovery in recoveries {
            warn!(self.log, "the journal was not whole and has been mended"; "recovery" => ?recovery);
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
    /// When set, no batch lingers.
    draining: bool,
    catching_up: Vec<oneshot::Sender<()>>,
    /// Streams that took nothing when they were last asked to.
    append_trouble: BTreeMap<Stream, AppendTrouble>,
    /// An append in which the journal panicked: whether its events are stored shows when the files are open again.
    undecided: Option<Undecided>,
    #[cfg(test)]
    panics_in_append: Option<PanicMoment>,
}

/// Why a stream takes nothing.
struct AppendTrouble {
    error: String,
    /// What was refused would have taken so many on disk.
    bytes: u64,
}

/// See [`Journal::undecided`].
struct Undecided {
    stream: Stream,
    /// Its records are below this offset, if they are there.
    end: u64,
    passage: Passage,
}

/// Where a test wants an append to panic.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PanicMoment {
    BeforeWriting,
    AfterWriting,
}

/// The store with its names looked up.
struct Open {
    store: Store,
    streams: BTreeMap<Stream, StreamId>,
    consumers: BTreeMap<Consumer, ConsumerId>,
}

/// Who waits for records.
struct Reader {
    number: u64,
    question: NextBatch,
    /// A timer already runs for it.
    lingers: bool,
    answer: oneshot::Sender<Result<Batch, JournalError>>,
}

/// What is synced on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Stream(Stream),
    Commits,
}

#[derive(Default)]
struct LaneState {
    running: bool,
    /// Something came after the running sync began, or a timer runs for the next one.
    wanted: bool,
    /// That timer runs because the last one failed.
    pauses: bool,
    /// For the next sync.
    waiting: Vec<Waiter>,
    /// For the sync that runs.
    under_way: Vec<Waiter>,
}

/// Who waits for a sync.
struct Waiter {
    /// What it waits for is below this offset of the lane's stream.
    end: u64,
    answer: oneshot::Sender<Result<(), String>>,
}

const COLLECT_INTERVAL: Duration = Duration::from_secs(10);
/// A stream that takes nothing is tried again this often, so that it is known to take events before one comes.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);
/// A sync that failed is tried again after this.
const SYNC_PAUSE: Duration = Duration::from_secs(1);

impl Journal {
    /// An actor on a store that is already open, so that a locked or broken one stops the start.
    #[must_use]
    pub fn new(config: JournalConfig, store: Store) -> Self {
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
            #[cfg(test)]
            panics_in_append: None,
        };
        journal.adopt(store);
        journal
    }

    /// Looks up streams, registers consumers, forgets those that are not configured any more.
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
                        info!(self.config.log, "a destination is no longer configured, its position is forgotten";
                            "stream" => stream.name(), "destination" => name);
                    }
                }
                Err(error) => {
                    warn!(self.config.log, "cannot forget old consumers"; "error" => %error);
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

    // --- appending and syncing

    fn append(&mut self, append: Append, passage: &mut Passage) -> Result<(), AppendRefused> {
        let Append { stream, mut records } = append;
        let now_ns = now_ns();
        let bytes = frame_bytes(&records);
        #[cfg(test)]
        self.panic_if(PanicMoment::BeforeWriting);
        let result = match self.stream_of(stream) {
            Some((store, id)) => store.append(id, &mut records, now_ns),
            None => Err(AppendError::UnknownStream),
        };
        #[cfg(test)]
        self.panic_if(PanicMoment::AfterWriting);
        let events = passage.settle_all();
        let intake = self.config.intakes.get(&stream);
        match result {
            Ok(appended) => {
                if let Some(intake) = intake {
                    intake.stored.inc_by(events);
                }
                self.append_trouble_is_over(stream);
                for dropped in appended.dropped {
                    warn!(self.config.log, "the journal is full, its oldest events were dropped undelivered";
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
                let trouble = AppendTrouble { error: error.to_string(), bytes };
                // Said when it begins, not for every event that meets it.
                if self.append_trouble.insert(stream, trouble).is_none() {
                    error!(self.config.log, "the journal takes no events";
                        "stream" => stream.name(), "error" => %error);
                }
                Err(refused)
            }
        }
    }

    fn append_trouble_is_over(&mut self, stream: Stream) {
        if self.append_trouble.remove(&stream).is_some() {
            info!(self.config.log, "the journal takes events again"; "stream" => stream.name());
        }
    }

    /// Whoever waits until the journal is ready again sends nothing, so no append would tell.
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

    /// Asks for a sync of `lane`, and for `waiting` to be told when what is there now is on disk.
    fn want_sync(&mut self, lane: Lane, waiting: Option<Waiter>, ctx: &mut Context<Self>) {
        let state = self.lanes.entry(lane).or_default();
        state.waiting.extend(waiting);
        if state.running || state.pauses {
            state.wanted = true;
        } else if lane == Lane::Stream(Stream::UserEvents) && !self.draining {
            if !std::mem::replace(&mut state.wanted, true) {
                ctx.run_later(self.config.commit_interval, move |journal, ctx| journal.sync(lane, ctx));
            }
        } else {
            self.sync(lane, ctx);
        }
    }

    fn sync(&mut self, lane: Lane, ctx: &mut Context<Self>) {
        let job = self.sync_job(lane);
        let state = self.lanes.entry(lane).or_default();
        if state.running {
            return;
        }
        (state.wanted, state.pauses) = (false, false);
        let waiting = std::mem::take(&mut state.waiting);
        match job {
            Ok(None) => tell(waiting, &Ok(())),
            Err(error) => self.sync_failed(lane, waiting, error, ctx),
            Ok(Some(job)) => {
                state.running = true;
                state.under_way = waiting;
                let begun = Instant::now();
                #[cfg(test)]
                let faults = super::disk::faults::planned();
                let run = actix_rt::task::spawn_blocking(move || {
                    #[cfg(test)]
                    super::disk::faults::plan(faults);
                    job.run()
                });
                ctx.spawn(run.into_actor(self).map(move |done, journal, ctx| {
                    journal.config.meter.synced(begun.elapsed());
                    journal.synced(lane, done.ok(), ctx);
                }));
            }
        }
    }

    fn sync_job(&mut self, lane: Lane) -> Result<Option<SyncJob>, String> {
        let Some(open) = &mut self.open else { return Err("reopening".to_owned()) };
        match lane {
            Lane::Commits => open.store.sync_commits_job().map_err(|error| error.to_string()),
            Lane::Stream(stream) => match open.streams.get(&stream) {
                Some(id) => open.store.sync_job(*id).map_err(|error| error.to_string()),
                None => Ok(None),
            },
        }
    }

    fn synced(&mut self, lane: Lane, done: Option<SyncDone>, ctx: &mut Context<Self>) {
        let result = match (done, &mut self.open) {
            (Some(done), Some(open)) => open.store.sync_done(done).map_err(|error| error.to_string()),
            _ => Err("the sync did not end".to_owned()),
        };
        let state = self.lanes.entry(lane).or_default();
        state.running = false;
        let waited = std::mem::take(&mut state.under_way);
        match result {
            Err(error) => self.sync_failed(lane, waited, error, ctx),
            done => {
                tell(waited, &done);
                if std::mem::take(&mut state.wanted) {
                    self.want_sync(lane, None, ctx);
                }
            }
        }
    }

    /// Whoever waits for records waits on: they are in the log and will be delivered, so nobody may hear that they are
    /// not stored and send them again. A commit was not made, and its sink makes it again.
    fn sync_failed(&mut self, lane: Lane, waited: Vec<Waiter>, error: String, ctx: &mut Context<Self>) {
        self.config.meter.append_failed();
        error!(self.config.log, "a sync of the journal failed"; "lane" => ?lane, "error" => &error);
        let state = self.lanes.entry(lane).or_default();
        match lane {
            Lane::Stream(_) => state.waiting.splice(..0, waited).for_each(drop),
            Lane::Commits => tell(waited, &Err(error)),
        }
        (state.wanted, state.pauses) = (true, true);
        ctx.run_later(SYNC_PAUSE, move |journal, ctx| journal.sync(lane, ctx));
    }

    /// After a reopening, which has synced all that it found: who waited learns whether its records are there. Who is
    /// told that they are not will send them again, so this must not be said of records that are.
    fn answer_after_reopening(&mut self) {
        if let Some(Undecided { stream, end, mut passage }) = self.undecided.take()
            && self.stream_of(stream).is_some_and(|(store, id)| end <= store.next_offset(id))
            && let Some(intake) = self.config.intakes.get(&stream)
        {
            intake.stored.inc_by(passage.settle_all());
        }
        for (lane, state) in std::mem::take(&mut self.lanes) {
            let end = match lane {
                Lane::Stream(stream) => self.stream_of(stream).map(|(store, id)| store.next_offset(id)),
                Lane::Commits => None,
            };
            for waiter in state.under_way.into_iter().chain(state.waiting) {
                let is_there = end.is_some_and(|end| waiter.end <= end);
                let result = if is_there { Ok(()) } else { Err("the journal restarted".to_owned()) };
                tell(vec![waiter], &result);
            }
        }
    }

    // --- reading

    fn stream_of(&mut self, stream: Stream) -> Option<(&mut Store, StreamId)> {
        let open = self.open.as_mut()?;
        let id = *open.streams.get(&stream)?;
        Some((&mut open.store, id))
    }

    /// Records that wait beyond `from`.
    fn available(&mut self, question: &NextBatch) -> u64 {
        let from = question.from;
        self.stream_of(question.consumer.stream)
            .map_or(0, |(store, id)| store.next_offset(id).saturating_sub(from))
    }

    fn read(&mut self, question: &NextBatch) -> Result<Batch, JournalError> {
        let (store, id) = self
            .stream_of(question.consumer.stream)
            .ok_or(JournalError::UnknownConsumer(question.consumer.name))?;
        let appetite = question.appetite;
        store
            .read(id, question.from, appetite.records_max, appetite.bytes_max)
            .map_err(|error| JournalError::Disk(error.to_string()))
    }

    /// Serves the readers of `stream` whose batch is ready, and starts the others' timers.
    fn serve(&mut self, stream: Stream, ctx: &mut Context<Self>) {
        let mut at = 0;
        while let Some(reader) = self.readers.get(at) {
            let question = reader.question;
            if question.consumer.stream != stream {
                at += 1;
                continue;
            }
            let available = self.available(&question);
            let full = available >= question.appetite.records_max as u64;
            let lingers = !question.appetite.linger.is_zero() && !self.draining;
            if available == 0 {
                at += 1;
            } else if full || !lingers {
                self.answer(at);
            } else {
                let reader = &mut self.readers[at];
                if !std::mem::replace(&mut reader.lingers, true) {
                    let number = reader.number;
                    ctx.run_later(question.appetite.linger, move |journal, _| {
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
            // The reader may have gone in the meantime; nothing is lost by that.
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

    // --- looking after the files

    fn collect(&mut self) {
        if let Some(open) = &mut self.open
            && let Err(error) = open.store.collect(now_ns())
        {
            warn!(self.config.log, "cannot remove old segments"; "error" => %error);
        }
    }

    fn state(&mut self) -> JournalState {
        let append_trouble = self.append_trouble.values().next().map(|trouble| trouble.error.clone());
        let mut state = JournalState { append_trouble, ..JournalState::default() };
        let Some(open) = &mut self.open else { return state };
        let streams = match open.store.stats(now_ns()) {
            Ok(streams) => streams,
            Err(error) => {
                warn!(self.config.log, "cannot read the journal's state"; "error" => %error);
                return state;
            }
        };
        for stats in streams {
            let Some(stream) = Stream::ALL.into_iter().find(|stream| stream.name() == stats.name) else {
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
    /// Whatever the panic left half-done in memory is forgotten; the files are the truth.
    fn restarting(&mut self, _: &mut Self::Context) {
        self.open = None;
        self.readers.clear();
        self.catching_up.clear();
        match self.config.open() {
            Ok(store) => {
                self.adopt(store);
                self.answer_after_reopening();
            }
            Err(error) => panic!("the journal cannot be opened again: {error}"),
        }
    }
}

impl Handler<Parcel<Append>> for Journal {
    type Result = ResponseFuture<Result<Range<u64>, AppendRefused>>;

    fn handle(&mut self, parcel: Parcel<Append>, ctx: &mut Self::Context) -> Self::Result {
        let Parcel { body: append, mut passage } = parcel;
        self.config.actor.received.inc();
        let stream = append.stream;
        let records = append.records.len() as u64;
        let start = self.stream_of(stream).map_or(0, |(store, id)| store.next_offset(id));
        let offsets = start..start + records;
        // Who asks must learn whether the records are there even if this panics once they are: told otherwise, a client
        // would send them again. So the answer is waited for before anything is written.
        let (answer, on_disk) = oneshot::channel();
        let lane = Lane::Stream(stream);
        self.lanes.entry(lane).or_default().waiting.push(Waiter { end: offsets.end, answer });
        let done = guard(|| {
            self.append(append, &mut passage)?;
            self.want_sync(lane, None, ctx);
            self.serve(stream, ctx);
            Ok(())
        });
        match done {
            Ok(Ok(())) => drop(passage),
            Ok(Err(refused)) => {
                self.lanes.entry(lane).or_default().waiting.pop();
                return Box::pin(async { Err(refused) });
            }
            Err(panic) => {
                self.undecided = Some(Undecided { stream, end: offsets.end, passage });
                // Nothing else is handled before the restart.
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

impl Handler<Parcel<NextBatch>> for Journal {
    type Result = ResponseFuture<Result<Batch, JournalError>>;

    fn handle(&mut self, parcel: Parcel<NextBatch>, ctx: &mut Self::Context) -> Self::Result {
        let question = parcel.body;
        self.config.actor.received.inc();
        let (answer, batch) = oneshot::channel();
        self.reader_last += 1;
        self.readers.push(Reader { number: self.reader_last, question, lingers: false, answer });
        self.serve(question.consumer.stream, ctx);
        let passage = parcel.passage;
        Box::pin(async move {
            let answer = batch.await;
            drop(passage);
            answer.unwrap_or(Err(JournalError::Disk("the journal restarted".to_owned())))
        })
    }
}

impl Handler<Parcel<Commit>> for Journal {
    type Result = ResponseFuture<Result<(), JournalError>>;

    fn handle(&mut self, parcel: Parcel<Commit>, ctx: &mut Self::Context) -> Self::Result {
        self.config.actor.received.inc();
        let committed = self.commit(&parcel.body);
        self.tell_when_caught_up();
        if committed.is_err() || parcel.body.note.is_none() {
            return Box::pin(async { committed });
        }
        // Who notes something relies on it after a power cut too: on the note, and on the records
        // that it speaks of.
        let (stream, end) = (parcel.body.consumer.stream, parcel.body.offset);
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

impl Handler<Parcel<PositionOf>> for Journal {
    type Result = Result<Position, JournalError>;

    fn handle(&mut self, parcel: Parcel<PositionOf>, _: &mut Self::Context) -> Self::Result {
        self.position(parcel.body.0)
    }
}

impl Handler<Parcel<CatchUp>> for Journal {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Parcel<CatchUp>, ctx: &mut Self::Context) -> Self::Result {
        self.draining = true;
        for stream in Stream::ALL {
            self.sync(Lane::Stream(stream), ctx);
            self.serve(stream, ctx);
        }
        let (caught_up, all_there) = oneshot::channel();
        self.catching_up.push(caught_up);
        self.tell_when_caught_up();
        Box::pin(async move {
            // A restarted journal drops the question; whoever asked has a time limit anyway.
            let _ = all_there.await;
        })
    }
}

impl Handler<Parcel<OffsetAt>> for Journal {
    type Result = Result<u64, JournalError>;

    fn handle(&mut self, parcel: Parcel<OffsetAt>, _: &mut Self::Context) -> Self::Result {
        let OffsetAt { stream, unix_ns } = parcel.body;
        let (store, id) =
            self.stream_of(stream).ok_or(JournalError::Disk("the stream is not open".to_owned()))?;
        store.find_time(id, unix_ns).map_err(|error| JournalError::Disk(error.to_string()))
    }
}

impl Handler<Parcel<JournalStateNow>> for Journal {
    type Result = MessageResult<Parcel<JournalStateNow>>;

    fn handle(&mut self, _: Parcel<JournalStateNow>, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.state())
    }
}

fn tell(waiting: Vec<Waiter>, result: &Result<(), String>) {
    for waiter in waiting {
        // Whoever does not wait any more needs no answer.
        let _ = waiter.answer.send(result.clone());
    }
}

/// Unix time in nanoseconds.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use actix::Addr;
    use tempfile::TempDir;

    use super::*;
    use crate::journal::batch::RecordBatch;
    use crate::journal::disk;
    use crate::journal::store::{OnFull, StreamConfig};
    use crate::message::Appetite;
    use crate::metric::Metrics;
    use crate::outlet::Outlet;
    use crate::testing::discard_log;

    const SINK: Consumer = Consumer { stream: Stream::AuditEvents, name: "csv_sink" };

    /// Reads nothing, so that its stream fills up.
    const STUCK: Consumer = Consumer { stream: Stream::UserEvents, name: "influx_sink" };

    /// Keeps some of its records for later.
    const PATIENT: Consumer = Consumer { stream: Stream::Screenshots, name: "redirect_walker" };

    struct Bench {
        _directory: TempDir,
        to_append: Outlet<Append>,
        to_next: Outlet<NextBatch>,
        to_commit: Outlet<Commit>,
        to_position: Outlet<PositionOf>,
        to_catch_up: Outlet<CatchUp>,
        to_state: Outlet<JournalStateNow>,
        metrics: Metrics,
    }

    fn config(directory: &Path, metrics: &Metrics, bytes_max: u64) -> JournalConfig {
        let stream = |stream: Stream| StreamConfig {
            name: stream.name().to_owned(),
            bytes_max,
            on_full: OnFull::Block,
            room_bytes: if stream == Stream::AuditEvents { 1 << 10 } else { 0 },
        };
        JournalConfig {
            store: StoreConfig {
                directory: directory.to_owned(),
                streams: Stream::ALL.into_iter().map(stream).collect(),
                segment_bytes_max: 1 << 20,
                retention: Duration::from_secs(3600),
                tail_bytes_max: 1 << 20,
            },
            consumers: vec![SINK, STUCK, PATIENT],
            not_awaited: vec![PATIENT],
            commit_interval: Duration::from_millis(5),
            meter: metrics.journal(),
            actor: metrics.actor("journal"),
            intakes: BTreeMap::from([(Stream::UserEvents, metrics.intake("user_events"))]),
            log: discard_log(),
        }
    }

    fn bench(bytes_max: u64) -> Bench {
        let directory = TempDir::new().unwrap();
        let metrics = Metrics::new();
        let config = config(directory.path(), &metrics, bytes_max);
        let store = config.open().unwrap();
        let addr: Addr<Journal> = Journal::new(config, store).start();
        Bench {
            _directory: directory,
            to_append: Outlet::new(addr.clone(), 1_000),
            to_next: Outlet::new(addr.clone(), 10),
            to_commit: Outlet::new(addr.clone(), 10),
            to_position: Outlet::new(addr.clone(), 10),
            to_catch_up: Outlet::new(addr.clone(), 10),
            to_state: Outlet::new(addr, 10),
            metrics,
        }
    }

    fn append(stream: Stream, texts: &[&str]) -> Append {
        let mut records = RecordBatch::new();
        for text in texts {
            records.push(text.as_bytes()).unwrap();
        }
        Append { stream, records }
    }

    fn next(from: u64, records_max: usize, linger: Duration) -> NextBatch {
        NextBatch { consumer: SINK, from, appetite: Appetite { records_max, bytes_max: 1 << 20, linger } }
    }

    fn texts(batch: &Batch) -> Vec<String> {
        batch.iter().map(|record| String::from_utf8_lossy(record.data).into_owned()).collect()
    }

    #[actix_rt::test]
    async fn what_is_answered_is_on_disk_and_readable() {
        let bench = bench(1 << 24);
        let offsets = bench.to_append.ask(append(Stream::AuditEvents, &["a", "b"])).await.unwrap().unwrap();
        assert_eq!(offsets, 0..2);
        let batch = bench.to_next.ask(next(0, 10, Duration::ZERO)).await.unwrap().unwrap();
        assert_eq!(texts(&batch), ["a", "b"]);
        assert_eq!(batch.next_offset(), 2);
    }

    #[actix_rt::test]
    async fn a_reader_waits_for_records() {
        let bench = bench(1 << 24);
        let (batch, appended) = tokio::join!(
            bench.to_next.ask(next(0, 10, Duration::ZERO)),
            bench.to_append.ask(append(Stream::AuditEvents, &["late"])),
        );
        appended.unwrap().unwrap();
        assert_eq!(texts(&batch.unwrap().unwrap()), ["late"]);
    }

    #[actix_rt::test]
    async fn a_lingering_batch_fills_up_or_is_cut_short_by_the_drain() {
        let bench = bench(1 << 24);
        let hour = Duration::from_secs(3600);
        let (full, ..) = tokio::join!(bench.to_next.ask(next(0, 2, hour)), async {
            bench.to_append.ask(append(Stream::AuditEvents, &["a"])).await.unwrap().unwrap();
            bench.to_append.ask(append(Stream::AuditEvents, &["b", "c"])).await.unwrap().unwrap();
        });
        assert_eq!(texts(&full.unwrap().unwrap()), ["a", "b"]);

        let commit = |offset| Commit { consumer: SINK, offset, note: None };
        bench.to_commit.ask(commit(2)).await.unwrap().unwrap();
        let (rest, drained) = tokio::join!(
            async {
                let rest = bench.to_next.ask(next(2, 2, hour)).await.unwrap().unwrap();
                bench.to_commit.ask(commit(rest.next_offset())).await.unwrap().unwrap();
                rest
            },
            bench.to_catch_up.ask(CatchUp),
        );
        drained.unwrap();
        assert_eq!(texts(&rest), ["c"]);
    }

    #[actix_rt::test]
    async fn the_drain_waits_for_those_whom_it_is_to_wait_for() {
        let bench = bench(1 << 24);
        bench.to_append.ask(append(Stream::Screenshots, &["later"])).await.unwrap().unwrap();
        bench.to_catch_up.ask(CatchUp).await.unwrap();

        bench.to_append.ask(append(Stream::AuditEvents, &["a"])).await.unwrap().unwrap();
        let drained = bench.to_catch_up.ask(CatchUp);
        tokio::pin!(drained);
        let begun = bench.to_position.ask(PositionOf(SINK));
        // The question is in the journal's hands before the next one is answered.
        tokio::select! {
            biased;
            _ = &mut drained => panic!("the sink is behind"),
            position = begun => assert_eq!(position.unwrap().unwrap().offset, 0),
        }
        let commit = Commit { consumer: SINK, offset: 1, note: None };
        bench.to_commit.ask(commit).await.unwrap().unwrap();
        drained.await.unwrap();
    }

    #[actix_rt::test]
    async fn offset_and_note_are_committed_together() {
        let bench = bench(1 << 24);
        bench.to_append.ask(append(Stream::AuditEvents, &["a", "b"])).await.unwrap().unwrap();
        let commit = Commit { consumer: SINK, offset: 1, note: Some(b"file 7".to_vec()) };
        bench.to_commit.ask(commit).await.unwrap().unwrap();
        let position = bench.to_position.ask(PositionOf(SINK)).await.unwrap().unwrap();
        assert_eq!(position, Position { offset: 1, note: b"file 7".to_vec() });
        let stranger = Consumer { stream: Stream::UserEvents, name: "stranger" };
        assert!(bench.to_position.ask(PositionOf(stranger)).await.unwrap().is_err());
    }

    /// Makes the journal panic at its next turn.
    #[derive(actix::Message)]
    #[rtype(result = "()")]
    struct Break;

    impl Handler<Parcel<Break>> for Journal {
        type Result = ();

        fn handle(&mut self, _: Parcel<Break>, _: &mut Self::Context) {
            panic!("a test wants it");
        }
    }

    /// A journal under supervision.
    fn supervised(journal: Journal, metrics: &Metrics) -> Addr<Journal> {
        let supervision = crate::supervisor::Supervision {
            policy: crate::supervisor::RestartPolicy {
                backoff: Duration::from_millis(1),
                ..Default::default()
            },
            log: discard_log(),
            give_up: std::sync::Arc::new(|_| {}),
            #[cfg(feature = "test-panics")]
            switches: Default::default(),
        };
        supervision.start(&actix_rt::Arbiter::current(), metrics.actor("journal"), move || journal)
    }

    #[actix_rt::test]
    async fn who_waits_for_a_sync_is_told_the_truth_when_the_journal_panics() {
        let directory = TempDir::new().unwrap();
        let metrics = Metrics::new();
        let mut config = config(directory.path(), &metrics, 1 << 24);
        // No sync comes by itself.
        config.commit_interval = Duration::from_secs(3600);
        let store = config.open().unwrap();
        let journal = supervised(Journal::new(config, store), &metrics);
        let to_append: Outlet<Append> = Outlet::new(journal.clone(), 10);
        let to_break: Outlet<Break> = Outlet::new(journal.clone(), 10);
        let (appended, broken) =
            tokio::join!(to_append.ask(append(Stream::UserEvents, &["a", "b"])), to_break.ask(Break),);
        assert!(broken.is_err());
        assert_eq!(appended.unwrap().unwrap(), 0..2);
        let to_next: Outlet<NextBatch> = Outlet::new(journal, 10);
        let question = NextBatch { consumer: STUCK, ..next(0, 10, Duration::ZERO) };
        assert_eq!(texts(&to_next.ask(question).await.unwrap().unwrap()), ["a", "b"]);
    }

    /// Told that its events are not stored, a client sends them again: this must not be said of events that are.
    #[actix_rt::test]
    async fn who_asked_is_told_the_truth_when_the_append_itself_panics() {
        for moment in [PanicMoment::BeforeWriting, PanicMoment::AfterWriting] {
            let directory = TempDir::new().unwrap();
            let metrics = Metrics::new();
            let config = config(directory.path(), &metrics, 1 << 24);
            let store = config.open().unwrap();
            let mut journal = Journal::new(config, store);
            journal.panics_in_append = Some(moment);
            let journal = supervised(journal, &metrics);
            let to_append: Outlet<Append> = Outlet::new(journal.clone(), 10);
            let intake = metrics.intake("user_events");
            let send = || {
                let mut passage = Passage::default();
                passage.answers_for(2, intake.shed("actor_panic"));
                to_append.ask_with(append(Stream::UserEvents, &["a", "b"]), passage)
            };
            // The second comes before the restart, and is handled after it.
            let (first, second) = tokio::join!(send(), send());
            let stored = u64::from(first.unwrap().is_ok()) * 2;
            assert_eq!(stored, if moment == PanicMoment::AfterWriting { 2 } else { 0 }, "{moment:?}");
            assert_eq!(second.unwrap().unwrap(), stored..stored + 2);
            let to_next: Outlet<NextBatch> = Outlet::new(journal, 10);
            let question = NextBatch { consumer: STUCK, ..next(0, 10, Duration::ZERO) };
            let batch = to_next.ask(question).await.unwrap().unwrap();
            assert_eq!(batch.len() as u64, stored + 2, "{moment:?}");
            assert_eq!((intake.stored.get(), intake.shed("actor_panic").get()), (stored + 2, 2 - stored));
        }
    }

    /// Waits for what the state says of trouble with appends.
    async fn until_trouble_is(to_state: &Outlet<JournalStateNow>, expect: bool) -> Option<String> {
        let looks = async {
            loop {
                let state = to_state.ask(JournalStateNow).await.unwrap();
                if state.append_trouble.is_some() == expect {
                    return state.append_trouble;
                }
                actix_rt::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), looks).await.expect("trouble that begins and ends")
    }

    #[actix_rt::test]
    async fn room_on_the_disk_is_noticed_without_an_append() {
        let bench = bench(1 << 24);
        bench.to_append.ask(append(Stream::AuditEvents, &["before"])).await.unwrap().unwrap();
        disk::faults::break_disk(&[disk::faults::Call::Write(10)], 28);
        assert!(bench.to_append.ask(append(Stream::AuditEvents, &["refused"])).await.unwrap().is_err());
        let trouble = until_trouble_is(&bench.to_state, true).await.unwrap();
        assert!(trouble.contains("no space"), "{trouble}");
        disk::faults::heal();
        until_trouble_is(&bench.to_state, false).await;
        // Nothing of the trial is left.
        bench.to_append.ask(append(Stream::AuditEvents, &["after"])).await.unwrap().unwrap();
        let batch = bench.to_next.ask(next(0, 10, Duration::ZERO)).await.unwrap().unwrap();
        assert_eq!(texts(&batch), ["before", "after"]);
    }

    #[actix_rt::test]
    async fn who_waits_for_a_sync_that_fails_waits_for_the_next() {
        let bench = bench(1 << 24);
        disk::faults::break_disk(&[disk::faults::Call::Sync], 5);
        let appended = bench.to_append.ask(append(Stream::AuditEvents, &["a", "b"]));
        tokio::pin!(appended);
        let failed = async {
            crate::testing::until(|| {
                bench.metrics.expose().contains("butler_sos_journal_append_errors_total 2")
            })
            .await;
        };
        tokio::select! {
            biased;
            answer = &mut appended => panic!("answered although nothing was synced: {answer:?}"),
            () = failed => {}
        }
        disk::faults::heal();
        assert_eq!(appended.await.unwrap().unwrap(), 0..2);
        let batch = bench.to_next.ask(next(0, 10, Duration::ZERO)).await.unwrap().unwrap();
        assert_eq!(texts(&batch), ["a", "b"]);
    }

    #[actix_rt::test]
    async fn trouble_of_one_stream_is_not_over_when_another_takes_events() {
        let bench = bench(1 << 16);
        let text = "x".repeat(10_000);
        while bench.to_append.ask(append(Stream::UserEvents, &[&text])).await.unwrap().is_ok() {}
        bench.to_append.ask(append(Stream::AuditEvents, &["taken"])).await.unwrap().unwrap();
        assert!(bench.to_state.ask(JournalStateNow).await.unwrap().append_trouble.is_some());
    }

    #[actix_rt::test]
    async fn a_full_stream_refuses_and_every_event_is_accounted_for() {
        let bench = bench(1 << 16);
        let intake = bench.metrics.intake("user_events");
        let text = "x".repeat(10_000);
        let mut refused = 0;
        for _ in 0..10 {
            let mut passage = Passage::default();
            passage.answers_for(1, intake.shed("actor_panic"));
            let append = append(Stream::UserEvents, &[&text]);
            refused += u64::from(bench.to_append.ask_with(append, passage).await.unwrap().is_err());
        }
        assert!(refused > 0);
        assert_eq!(intake.shed("journal_full").get(), refused);
        assert_eq!(intake.stored.get(), 10 - refused);
        assert_eq!(intake.shed("actor_panic").get(), 0);
    }
}
