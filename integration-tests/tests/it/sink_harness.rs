//! The way from a journal on disk to a destination, without the rest of the server.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use butler_sos_actors::journal::actor::{Journal, JournalConfig};
use butler_sos_actors::journal::batch::RecordBatch;
use butler_sos_actors::journal::message::{Append, CatchUp, FetchLimits, PositionOf};
use butler_sos_actors::journal::store::{OnFull, StoreConfig, StreamConfig};
use butler_sos_actors::kit::mailbox::{Envelope, Mailbox};
use butler_sos_actors::kit::message::Consumer;
use butler_sos_actors::kit::metric::{DestinationState, Metrics};
use butler_sos_actors::line_log::message::{AppendLines, LinesRefused};
use butler_sos_actors::sinks::sink::{DeadLetter, Pauses, SinkConfig, SinkMailboxes};
use butler_sos_domain::streams::Stream;
use slog::{Discard, Logger, o};
use tempfile::TempDir;

/// Nothing here takes this long unless it is broken.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A journal of all streams that these consumers read.
pub fn start_journal(
    directory: &Path,
    consumers: Vec<Consumer>,
    not_awaited: Vec<Consumer>,
    metrics: &Metrics,
    log: &Logger,
) -> Addr<Journal> {
    let stream = |stream: Stream| StreamConfig {
        name: stream.name().to_owned(),
        bytes_max: 1 << 28,
        on_full: OnFull::Block,
        room_bytes: 0,
    };
    let config = JournalConfig {
        store: StoreConfig {
            directory: directory.to_owned(),
            streams: Stream::ALL.into_iter().map(stream).collect(),
            segment_bytes_max: 1 << 22,
            retention: Duration::from_secs(3600),
            tail_bytes_max: 1 << 22,
        },
        consumers,
        not_awaited,
        commit_interval: Duration::from_millis(2),
        meter: metrics.journal(),
        actor: metrics.actor("journal"),
        intakes: Default::default(),
        log: log.clone(),
    };
    let store = config.open().unwrap();
    Journal::new(config, store).start()
}

/// A journal, and what sinks need to read from it.
pub struct Harness {
    pub metrics: Metrics,
    pub log: Logger,
    consumers: Vec<Consumer>,
    to_append: Mailbox<Append>,
    to_position: Mailbox<PositionOf>,
    to_catch_up: Mailbox<CatchUp>,
    mailboxes: SinkMailboxes,
    letters: Arc<Mutex<Vec<DeadLetter>>>,
    _directory: TempDir,
}

impl Harness {
    /// For sinks of one stream. Call it inside of a system.
    pub fn new(consumers: Vec<Consumer>) -> Self {
        let directory = TempDir::with_prefix("journal-").unwrap();
        let metrics = Metrics::new();
        let log = Logger::root(Discard, o!());
        let journal = start_journal(directory.path(), consumers.clone(), Vec::new(), &metrics, &log);
        let letters = Arc::<Mutex<Vec<DeadLetter>>>::default();
        let mailboxes = SinkMailboxes {
            to_position: Mailbox::new(journal.clone(), 10),
            to_next: Mailbox::new(journal.clone(), 10),
            to_commit: Mailbox::new(journal.clone(), 10),
            to_dead_letters: Mailbox::new(LineLog(Arc::clone(&letters)).start(), 10),
        };
        Self {
            metrics,
            log,
            consumers,
            to_append: Mailbox::new(journal.clone(), 1_000),
            to_position: Mailbox::new(journal.clone(), 10),
            to_catch_up: Mailbox::new(journal, 10),
            mailboxes,
            letters,
            _directory: directory,
        }
    }

    /// Of a sink that takes so many records at once and begins again after `pause`.
    pub fn sink(&self, consumer: Consumer, records_max: usize, pause: Duration) -> SinkConfig {
        SinkConfig {
            consumer,
            fetch_limits: FetchLimits { records_max, bytes_max: 1 << 24, linger: Duration::ZERO },
            pauses: Pauses { min: pause, max: 4 * pause },
            mailboxes: self.mailboxes.clone(),
            actor: self.metrics.actor(consumer.name),
            meter: self.metrics.destination(consumer.name),
            log: self.log.clone(),
        }
    }

    /// Stores these records together.
    pub async fn append(&self, records: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        let mut batch = RecordBatch::new();
        for record in records {
            batch.push(record.as_ref()).unwrap();
        }
        let append = Append { stream: self.consumers[0].stream, records: batch };
        self.to_append.ask(append).await.unwrap().unwrap();
    }

    /// Waits until everything is delivered or a dead letter, at every sink.
    pub async fn settle(&self) {
        let caught_up = tokio::time::timeout(LIMIT, self.to_catch_up.ask(CatchUp)).await;
        let states = || self.metrics.destination_states();
        caught_up.unwrap_or_else(|_| panic!("not delivered: {:?}", states())).unwrap();
    }

    /// How far the first sink has come.
    pub async fn committed(&self) -> u64 {
        self.to_position.ask(PositionOf(self.consumers[0])).await.unwrap().unwrap().offset
    }

    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.letters.lock().unwrap().clone()
    }

    /// Of the first sink.
    pub fn state(&self) -> DestinationState {
        self.metrics.destination_states().get(self.consumers[0].name).cloned().unwrap_or_default()
    }

    /// Waits until the first sink says that it fails with these words in its error.
    pub async fn wait_for_error(&self, detail: &str) {
        let says = || self.state().last_error.is_some_and(|error| error.contains(detail));
        until(&format!("the error {detail:?}"), says, || format!("{:?}", self.state())).await;
    }
}

/// Waits for a condition, in an arbiter that goes on meanwhile; panics with what is `seen` when it never comes.
pub async fn until(what: &str, condition: impl Fn() -> bool, seen: impl Fn() -> String) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(LIMIT, waiting).await;
    assert!(in_time.is_ok(), "waited {LIMIT:?} for {what}: {}", seen());
}

/// Keeps dead letters in memory.
#[derive(Default)]
pub struct LineLog(Arc<Mutex<Vec<DeadLetter>>>);

impl Actor for LineLog {
    type Context = Context<Self>;
}

impl Handler<Envelope<AppendLines>> for LineLog {
    type Result = Result<(), LinesRefused>;

    fn handle(&mut self, envelope: Envelope<AppendLines>, _: &mut Self::Context) -> Self::Result {
        let letters = envelope.body.lines.iter().map(|line| serde_json::from_slice(line).unwrap());
        self.0.lock().unwrap().extend(letters.collect::<Vec<DeadLetter>>());
        Ok(())
    }
}
