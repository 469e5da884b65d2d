//! The way from a journal on disk to an InfluxDB, without the rest of the server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler};
use butler_sos_actors::influx_client::{
    BODY_BYTES_MAX, GZIP_BYTES_MIN, InfluxConfig, InfluxTarget, RetentionPolicy, Scheme,
};
use butler_sos_actors::influx_sink::{Influx, InfluxSink, LineEncoder};
use butler_sos_actors::journal::actor::{Journal, JournalConfig};
use butler_sos_actors::journal::batch::{Record, RecordBatch};
use butler_sos_actors::journal::store::{OnFull, StoreConfig, StreamConfig};
use butler_sos_actors::message::{Append, Appetite, CatchUp, Consumer, Keep, KeepRefused, Stream};
use butler_sos_actors::metric::{DestinationState, Metrics};
use butler_sos_actors::outlet::{Outlet, Parcel};
use butler_sos_actors::sink::{DeadLetter, Pauses, SinkConfig, SinkOutlets};
use slog::{Discard, Logger, o};
use tempfile::TempDir;

const NAME: &str = "influx_sink";

pub struct Bench {
    _directory: TempDir,
    stream: Stream,
    to_append: Outlet<Append>,
    to_catch_up: Outlet<CatchUp>,
    letters: Arc<Mutex<Vec<DeadLetter>>>,
    metrics: Metrics,
}

impl Bench {
    /// A journal and a running sink. Call it inside of a system.
    pub fn start<E>(
        config: InfluxConfig,
        stream: Stream,
        encoder: impl Fn() -> E + Send + Sync + 'static,
    ) -> Self
    where
        E: LineEncoder + 'static,
    {
        let directory = TempDir::with_prefix("journal-").unwrap();
        let metrics = Metrics::new();
        let log = Logger::root(Discard, o!());
        let consumer = Consumer { stream, name: NAME };
        let stream_config = |stream: Stream| StreamConfig {
            name: stream.name().to_owned(),
            bytes_max: 1 << 26,
            on_full: OnFull::Block,
        };
        let journal_config = JournalConfig {
            store: StoreConfig {
                directory: directory.path().to_owned(),
                streams: Stream::ALL.into_iter().map(stream_config).collect(),
                segment_bytes_max: 1 << 22,
                retention: Duration::from_secs(3600),
                tail_bytes_max: 1 << 22,
            },
            consumers: vec![consumer],
            not_awaited: Vec::new(),
            commit_interval: Duration::from_millis(1),
            meter: metrics.journal(),
            actor: metrics.actor("journal"),
            intakes: Default::default(),
            log: log.clone(),
        };
        let store = journal_config.open().unwrap();
        let journal = Journal::new(journal_config, store).start();
        let letters = Arc::<Mutex<Vec<DeadLetter>>>::default();
        let keeper = Keeper(Arc::clone(&letters)).start();
        let sink_config = SinkConfig {
            consumer,
            appetite: Appetite { records_max: 1_000, bytes_max: 1 << 22, linger: Duration::ZERO },
            pauses: Pauses { min: Duration::from_millis(5), max: Duration::from_millis(20) },
            outlets: SinkOutlets {
                to_position: Outlet::new(journal.clone(), 10),
                to_next: Outlet::new(journal.clone(), 10),
                to_commit: Outlet::new(journal.clone(), 10),
                to_dead_letters: Outlet::new(keeper, 10),
            },
            actor: metrics.actor(NAME),
            meter: metrics.destination(NAME),
            log: log.clone(),
        };
        InfluxSink::new(sink_config, move || Influx::new(config.clone(), encoder(), log.clone())).start();
        Self {
            _directory: directory,
            stream,
            to_append: Outlet::new(journal.clone(), 1_000),
            to_catch_up: Outlet::new(journal, 10),
            letters,
            metrics,
        }
    }

    /// Stores these records together.
    pub async fn append(&self, records: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        let mut batch = RecordBatch::new();
        for record in records {
            batch.push(record.as_ref()).unwrap();
        }
        self.to_append.ask(Append { stream: self.stream, records: batch }).await.unwrap().unwrap();
    }

    /// Waits until everything is delivered or a dead letter.
    pub async fn settle(&self) {
        let caught_up = self.to_catch_up.ask(CatchUp);
        tokio::time::timeout(Duration::from_secs(60), caught_up).await.expect("delivery ends").unwrap();
    }

    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.letters.lock().unwrap().clone()
    }

    pub fn state(&self) -> DestinationState {
        self.metrics.destination_states().get(NAME).cloned().unwrap_or_default()
    }

    /// Waits until the destination says that it fails with these words in its error.
    pub async fn wait_for_error(&self, words: &str) {
        let says = || self.state().last_error.is_some_and(|error| error.contains(words));
        let waiting = async {
            while !says() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        assert!(in_time.is_ok(), "no {words:?} in {:?}", self.state());
    }
}

/// Keeps dead letters in memory.
pub struct Keeper(pub Arc<Mutex<Vec<DeadLetter>>>);

impl Actor for Keeper {
    type Context = Context<Self>;
}

impl Handler<Parcel<Keep>> for Keeper {
    type Result = Result<(), KeepRefused>;

    fn handle(&mut self, parcel: Parcel<Keep>, _: &mut Self::Context) -> Self::Result {
        let letters = parcel.body.lines.iter().map(|line| serde_json::from_slice(line).unwrap());
        self.0.lock().unwrap().extend(letters.collect::<Vec<DeadLetter>>());
        Ok(())
    }
}

/// A record is its own line.
pub struct Plain;

impl LineEncoder for Plain {
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(record.data);
        out.push(b'\n');
        Ok(())
    }
}

pub fn config(port: u16, target: InfluxTarget) -> InfluxConfig {
    InfluxConfig {
        scheme: Scheme::Http,
        host: "127.0.0.1".to_owned(),
        port,
        write_timeout: Duration::from_secs(2),
        body_bytes_max: BODY_BYTES_MAX,
        gzip_bytes_min: GZIP_BYTES_MIN,
        create_database: true,
        target,
    }
}

pub fn v1(auth: Option<(&str, &str)>) -> InfluxTarget {
    InfluxTarget::V1 {
        database: "senseops".to_owned(),
        policy: RetentionPolicy { name: "ten days".to_owned(), duration: "10d".to_owned() },
        auth: auth.map(|(name, password)| (name.to_owned(), password.into())),
    }
}

pub fn v2() -> InfluxTarget {
    InfluxTarget::V2 {
        org: "an org".to_owned(),
        bucket: "events".to_owned(),
        description: "what happened".to_owned(),
        token: "t0ken".into(),
        retention: "10d".to_owned(),
    }
}

pub fn v3() -> InfluxTarget {
    InfluxTarget::V3 { database: "events".to_owned(), token: "t0ken".into(), retention: "10d".to_owned() }
}

/// Now, ns since 1970.
pub fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}
