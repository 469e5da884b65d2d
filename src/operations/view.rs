//! What is known about the running server, gathered when somebody asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use butler_sos_actors::message::{JournalState, JournalStateNow};
use butler_sos_actors::metric::{ActorMeter, DestinationMeter, Metrics};
use butler_sos_actors::outlet::Outlet;
use serde::Serialize;

use super::process::ProcessView;

/// How full an actor's mailbox is, asked when shown.
pub struct MailboxGauge {
    meter: ActorMeter,
    depth_and_bound: Box<dyn Fn() -> (u32, u32) + Send + Sync>,
}

impl MailboxGauge {
    pub fn new<M>(meter: ActorMeter, outlet: Outlet<M>) -> Self
    where
        M: actix::Message + Send + 'static,
        M::Result: Send,
    {
        Self { meter, depth_and_bound: Box::new(move || (outlet.depth(), outlet.bound())) }
    }
}

/// Everything that can be shown.
#[derive(Clone)]
pub struct View {
    pub metrics: Metrics,
    pub to_journal_state: Outlet<JournalStateNow>,
    pub mailboxes: Arc<Vec<MailboxGauge>>,
    pub destinations: Arc<BTreeMap<&'static str, DestinationMeter>>,
    /// Intake has stopped, destinations catch up.
    pub draining: Arc<AtomicBool>,
    pub process: ProcessView,
    /// The effective configuration, without its secrets.
    pub configuration: Arc<str>,
    #[cfg(feature = "test-panics")]
    pub switches: butler_sos_actors::supervisor::PanicSwitches,
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
    pub last_error_unix_ms: Option<u64>,
}

/// The journal answers in well under this, or not at all.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(2);

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
        let mut reasons = Vec::new();
        let mut warnings = Vec::new();
        let stopping = self.draining.load(Ordering::Relaxed);
        if stopping {
            reasons.push("the server is stopping".to_owned());
        }
        let journal = self.journal_state().await;
        match &journal {
            None => reasons.push("the journal does not answer".to_owned()),
            Some(JournalState { append_trouble: Some(trouble), .. }) => {
                reasons.push(format!("the journal takes no events: {trouble}"));
            }
            Some(_) => {}
        }
        let lag: BTreeMap<_, _> =
            journal.iter().flat_map(|j| &j.consumers).map(|c| (c.consumer.name, c)).collect();
        let mut destinations = BTreeMap::new();
        for (name, state) in self.metrics.destination_states() {
            let (lag_events, lag_seconds) =
                lag.get(name).map_or((0, 0.0), |consumer| (consumer.lag_records, consumer.lag_seconds));
            if !state.up {
                let words = state.last_error.as_deref().unwrap_or("no answer yet");
                warnings
                    .push(format!("{name} does not take events ({words}); {lag_events} wait in the journal"));
            }
            destinations.insert(
                name,
                DestinationReadiness {
                    up: state.up,
                    lag_events,
                    lag_seconds,
                    last_error: state.last_error,
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
}
