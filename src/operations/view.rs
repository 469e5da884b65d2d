//! What is known about the running server, gathered when somebody asks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use butler_sos_actors::kit::clock::unix_ms;
use butler_sos_actors::kit::mailbox::Mailbox;
use butler_sos_actors::kit::message::{
    AppendLines, JournalState, JournalStateNow, OffsetsWithin, Stream, StreamState,
};
use butler_sos_actors::kit::metric::{ActorMeter, DestinationMeter, Metrics};
use serde::Serialize;
use slog::Logger;

use super::advice::{off, problems};
use super::answer::Refusal;
use super::history::{History, INTERVAL};
use super::jobs::{Jobs, RedeliveryPort};
use super::journal_reader::{JOURNAL_TIMEOUT, JournalReader};
use super::live::Live;
use super::process::ProcessView;
use super::screenshots::Storage;
use super::state::{Listening, MailboxState, ProcessNow, State};
use crate::config::ShownConfiguration;

/// How full an actor's mailbox is, asked when shown.
pub struct MailboxGauge {
    meter: ActorMeter,
    depth_and_bound: Box<dyn Fn() -> (u32, u32) + Send + Sync>,
}

impl MailboxGauge {
    pub fn new<M>(meter: ActorMeter, mailbox: Mailbox<M>) -> Self
    where
        M: actix::Message + Send + 'static,
        M::Result: Send,
    {
        Self { meter, depth_and_bound: Box::new(move || (mailbox.depth(), mailbox.bound())) }
    }
}

/// Everything that can be shown, and whom to ask to change something.
#[derive(Clone)]
pub struct View {
    pub metrics: Metrics,
    pub to_journal_state: Mailbox<JournalStateNow>,
    pub to_offsets: Mailbox<OffsetsWithin>,
    pub to_dead_letters: Mailbox<AppendLines>,
    pub reader: JournalReader,
    pub mailboxes: Arc<Vec<MailboxGauge>>,
    pub destinations: Arc<BTreeMap<&'static str, DestinationMeter>>,
    pub redelivery: Arc<BTreeMap<&'static str, RedeliveryPort>>,
    pub jobs: Arc<Jobs>,
    pub live: Arc<Live>,
    pub history: Arc<Mutex<History>>,
    pub listening: Arc<Vec<Listening>>,
    /// Directories of what is kept aside.
    pub dead_letters: PathBuf,
    pub quarantine: PathBuf,
    pub storage: Storage,
    /// Intake has stopped, destinations catch up.
    pub draining: Arc<AtomicBool>,
    pub process: ProcessView,
    /// The effective configuration, without its secrets.
    pub configuration: ShownConfiguration,
    /// The same for the listener of `configVisualisation`.
    pub configuration_page: ShownConfiguration,
    pub log: Logger,
    #[cfg(feature = "test-panics")]
    pub switches: butler_sos_actors::kit::supervisor::PanicSwitches,
}

/// The answer of `/ready` and `/health`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Intake has stopped.
    #[serde(skip)]
    pub stopping: bool,
    pub status: &'static str,
    /// Why no event can be taken at the moment.
    pub reasons: Vec<String>,
    /// Where events wait although they are safe.
    pub warnings: Vec<String>,
    pub destinations: BTreeMap<&'static str, DestinationReadiness>,
    /// For those who watch over this process; in words it is among the reasons.
    #[serde(skip)]
    pub journal_answers: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationReadiness {
    pub up: bool,
    pub lag_events: u64,
    pub lag_seconds: f64,
    pub last_error: Option<String>,
    pub last_error_class: Option<&'static str>,
    pub last_error_unix_ms: Option<u64>,
}

impl View {
    /// Sets every gauge that somebody else knows, and writes the exposition.
    pub async fn exposition(&self) -> String {
        let _ = self.journal_state().await;
        for mailbox in self.mailboxes.iter() {
            let (depth, bound) = (mailbox.depth_and_bound)();
            mailbox.meter.set_mailbox(depth, bound);
        }
        self.metrics.set_process(&self.process.figures());
        self.metrics.expose()
    }

    pub async fn readiness(&self) -> Readiness {
        self.readiness_with(self.journal_state().await.as_ref())
    }

    fn readiness_with(&self, journal: Option<&JournalState>) -> Readiness {
        let mut reasons = Vec::new();
        let mut warnings = Vec::new();
        let stopping = self.draining.load(Ordering::Relaxed);
        if stopping {
            reasons.push("the server is stopping".to_owned());
        }
        match journal {
            None => reasons.push("the journal does not respond".to_owned()),
            Some(JournalState { append_trouble: Some(trouble), .. }) => {
                reasons.push(format!("the journal rejects events: {trouble}"));
            }
            Some(_) => {}
        }
        if let Some(off_seconds) = journal.and_then(|journal| journal.clock_off_seconds) {
            warnings.push(format!("the clock is {}", off(off_seconds)));
        }
        let lag: BTreeMap<_, _> =
            journal.iter().flat_map(|j| &j.consumers).map(|c| (c.consumer.name, c)).collect();
        let mut destinations = BTreeMap::new();
        for (name, state) in self.metrics.destination_states() {
            let (lag_events, lag_seconds) =
                lag.get(name).map_or((0, 0.0), |consumer| (consumer.lag_records, consumer.lag_seconds));
            if !state.up {
                let detail = state.last_error.as_deref().unwrap_or("no response yet");
                warnings.push(format!("{name} is down ({detail}); {lag_events} events wait in the journal"));
            }
            let parked = self.destinations.get(name).map_or(0, |meter| meter.parked.get());
            if parked > 0 {
                warnings.push(format!(
                    "a limit of {name} blocks events; {parked} events are parked until the limit is raised"
                ));
            }
            destinations.insert(
                name,
                DestinationReadiness {
                    up: state.up,
                    lag_events,
                    lag_seconds,
                    last_error: state.last_error,
                    last_error_class: state.last_error_class,
                    last_error_unix_ms: state.last_error_unix_ms,
                },
            );
        }
        let status = match (reasons.is_empty(), warnings.is_empty()) {
            (false, _) => "not ready",
            (true, false) => "degraded",
            (true, true) => "ok",
        };
        let journal_answers = journal.is_some();
        Readiness { stopping, status, reasons, warnings, destinations, journal_answers }
    }

    /// Everything at this moment.
    pub async fn state(&self) -> State {
        let journal = self.journal_state().await;
        let Readiness { status, reasons, warnings, .. } = self.readiness_with(journal.as_ref());
        let figures = self.metrics.figures();
        let before = {
            let now = Instant::now();
            let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            history.add(now, || figures.clone());
            history.before(now)
        };
        let unix_ms = unix_ms();
        let process = self.process.figures();
        let start_unix_ms = (process.start_unix_seconds * 1_000.0) as u64;
        let mut state = State {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            unix_ms,
            uptime_seconds: unix_ms.saturating_sub(start_unix_ms) as f64 / 1_000.0,
            status: status.to_owned(),
            reasons,
            warnings,
            draining: self.draining.load(Ordering::Relaxed),
            listening: self.listening.to_vec(),
            jobs: self.jobs.states(),
            process: ProcessNow {
                pid: std::process::id(),
                resident_bytes: process.resident_bytes,
                open_fds: process.open_fds,
                threads: process.threads,
                cpu_seconds: process.cpu_seconds,
                start_unix_ms,
            },
            ..State::default()
        };
        state.put_figures(figures, &self.mailboxes_now());
        state.put_journal(journal.as_ref());
        for (name, port) in self.redelivery.iter() {
            if let Some(destination) = state.destinations.get_mut(*name) {
                destination.can_retry = true;
                destination.replay_refused = port.replay_refused.map(str::to_owned);
            }
        }
        state.problems = problems(&state, &before);
        state
    }

    fn mailboxes_now(&self) -> BTreeMap<String, MailboxState> {
        let mut mailboxes: BTreeMap<String, MailboxState> = BTreeMap::new();
        for mailbox in self.mailboxes.iter() {
            let (depth, bound) = (mailbox.depth_and_bound)();
            mailboxes.insert(mailbox.meter.name().to_owned(), MailboxState { depth, bound });
        }
        mailboxes
    }

    /// Takes a sample every now and then, for as long as the server runs.
    pub async fn keep_history(self) {
        loop {
            {
                let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
                history.add(Instant::now(), || self.metrics.figures());
            }
            tokio::time::sleep(INTERVAL + Duration::from_millis(10)).await;
        }
    }

    /// The journal's state, the lag without what is held; sets the lag gauges on the way.
    async fn journal_state(&self) -> Option<JournalState> {
        let held = |name: &str| self.destinations.get(name).map_or(0, DestinationMeter::held);
        let held_before: BTreeMap<_, _> = self.destinations.keys().map(|name| (*name, held(name))).collect();
        let ask = self.to_journal_state.ask(JournalStateNow);
        let mut state = tokio::time::timeout(JOURNAL_TIMEOUT, ask).await.ok()?.ok()?;
        for consumer in &mut state.consumers {
            let name = consumer.consumer.name;
            // Work went on meanwhile: rather one too many is said to wait than one too few.
            let held = held(name).min(held_before.get(name).copied().unwrap_or(0));
            consumer.lag_records = consumer.lag_records.saturating_sub(held);
            if consumer.lag_records == 0 {
                consumer.lag_seconds = 0.0;
            }
            if let Some(meter) = self.destinations.get(name) {
                meter.lag_events.set(i64::try_from(consumer.lag_records).unwrap_or(i64::MAX));
                meter.lag_seconds.set(consumer.lag_seconds);
            }
        }
        Some(state)
    }

    /// The journal's state, or why it cannot be told.
    pub async fn journal(&self) -> Result<JournalState, Refusal> {
        self.journal_state().await.ok_or_else(|| Refusal::unavailable("the journal does not respond"))
    }

    pub async fn streams(&self) -> Result<Vec<StreamState>, Refusal> {
        Ok(self.journal().await?.streams)
    }

    pub async fn stream(&self, stream: Stream) -> Result<StreamState, Refusal> {
        let found = self.streams().await?.into_iter().find(|of| of.stream == stream);
        found.ok_or_else(|| Refusal::unavailable("the journal is being opened"))
    }
}
