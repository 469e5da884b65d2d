//! The view of the running server, collected on request.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use butler_sos_actors::journal::message::{JournalState, JournalStateNow, OffsetsWithin};
use butler_sos_actors::kit::clock::unix_ms;
use butler_sos_actors::kit::lock::lock;
use butler_sos_actors::kit::mailbox::Mailbox;
use butler_sos_actors::kit::metric::{ActorMeter, DestinationMeter, Metrics};
use butler_sos_actors::line_log::message::AppendLines;
use slog::Logger;

use super::advice::problems;
use super::history::{History, INTERVAL};
use super::jobs::{Jobs, RedeliveryPort};
use super::journal_port::JournalPort;
use super::journal_reader::JournalReader;
use super::live::Live;
use super::process::ProcessView;
use super::readiness::Readiness;
use super::redeliverer::Redeliverer;
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

/// Everything that can be displayed, and the mailboxes for changes.
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
    /// Names of streams, intakes and destinations in display order, each with its label.
    pub labels: Arc<Vec<(String, String)>>,
    /// Directories of what is kept aside.
    pub dead_letters: PathBuf,
    pub quarantine: PathBuf,
    pub storage: Storage,
    /// The intake has stopped, and destinations catch up.
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

impl View {
    /// The part that asks the journal.
    pub fn journal(&self) -> JournalPort {
        let (to_journal, meters) = (self.to_journal_state.clone(), Arc::clone(&self.destinations));
        JournalPort { to_journal, meters }
    }

    /// The part that delivers once more.
    pub fn redeliverer(&self) -> Redeliverer {
        Redeliverer {
            ports: Arc::clone(&self.redelivery),
            jobs: Arc::clone(&self.jobs),
            journal: self.journal(),
            reader: self.reader.clone(),
            to_offsets: self.to_offsets.clone(),
            to_dead_letters: self.to_dead_letters.clone(),
            dead_letters: self.dead_letters.clone(),
            log: self.log.clone(),
        }
    }

    /// Sets the gauges that other parts own, and writes the exposition.
    pub async fn exposition(&self) -> String {
        let _ = self.journal().state().await;
        for mailbox in self.mailboxes.iter() {
            let (depth, bound) = (mailbox.depth_and_bound)();
            mailbox.meter.set_mailbox(depth, bound);
        }
        self.metrics.set_process(&self.process.figures());
        self.metrics.expose()
    }

    pub async fn readiness(&self) -> Readiness {
        self.readiness_with(self.journal().state().await.as_ref())
    }

    fn readiness_with(&self, journal: Option<&JournalState>) -> Readiness {
        let stopping = self.draining.load(Ordering::Relaxed);
        Readiness::of(stopping, journal, &self.metrics, &self.destinations)
    }

    /// The current state.
    pub async fn state(&self) -> State {
        let journal = self.journal().state().await;
        let Readiness { status, reasons, warnings, .. } = self.readiness_with(journal.as_ref());
        let figures = self.metrics.figures();
        let before = {
            let now = Instant::now();
            let mut history = lock(&self.history);
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
            labels: self.labels.to_vec(),
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

    /// Takes samples at intervals, for as long as the server runs.
    pub async fn keep_history(self) {
        loop {
            {
                let mut history = lock(&self.history);
                history.add(Instant::now(), || self.metrics.figures());
            }
            tokio::time::sleep(INTERVAL + Duration::from_millis(10)).await;
        }
    }
}
