//! Whether the server accepts events and delivers them: the answer of `/ready` and `/health`.

use std::collections::BTreeMap;

use butler_sos_actors::journal::message::JournalState;
use butler_sos_actors::kit::metric::{DestinationMeter, Metrics};
use serde::Serialize;

use super::advice::off;

/// The answer of `/ready` and `/health`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Intake has stopped.
    #[serde(skip)]
    pub stopping: bool,
    pub status: &'static str,
    /// Why no event can be accepted at the moment.
    pub reasons: Vec<String>,
    /// Where events wait, although they are safe.
    pub warnings: Vec<String>,
    pub destinations: BTreeMap<&'static str, DestinationReadiness>,
    /// For supervisors of this process. The reasons contain it as text.
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

impl Readiness {
    /// Evaluates the journal and the destinations. `journal` is `None` when it does not answer.
    pub fn of(
        stopping: bool,
        journal: Option<&JournalState>,
        metrics: &Metrics,
        meters: &BTreeMap<&'static str, DestinationMeter>,
    ) -> Self {
        let mut reasons = Vec::new();
        let mut warnings = Vec::new();
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
        for (name, state) in metrics.destination_states() {
            let (lag_events, lag_seconds) =
                lag.get(name).map_or((0, 0.0), |consumer| (consumer.lag_records, consumer.lag_seconds));
            if !state.up {
                let detail = state.last_error.as_deref().unwrap_or("no response yet");
                warnings.push(format!("{name} is down ({detail}); {lag_events} events wait in the journal"));
            }
            let parked = meters.get(name).map_or(0, |meter| meter.parked.get());
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
        Self { stopping, status, reasons, warnings, destinations, journal_answers }
    }
}
