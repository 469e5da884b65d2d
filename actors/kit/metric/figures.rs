//! All metrics as values, for callers that need more than a scrape.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ActorMeter, DestinationMeter, DestinationState, IntakeLabel, IntakeMeter, Metrics};
use crate::kit::lock::lock;

/// Every count at one moment, by the name of its owner.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    pub actors: BTreeMap<String, ActorFigures>,
    pub intakes: BTreeMap<String, IntakeFigures>,
    pub destinations: BTreeMap<String, DestinationFigures>,
    pub syncs: SyncFigures,
    /// Appends that the journal refused, and syncs that failed.
    pub append_errors: u64,
}

/// Counts of one actor. Reasons are the short stable words of the metric's label.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActorFigures {
    pub received: u64,
    pub sent: u64,
    pub restarts: u64,
    pub rejected: BTreeMap<String, u64>,
    /// Conditions that an administrator should know for as long as the process runs: symptom and object.
    #[serde(default)]
    pub notes: BTreeMap<String, String>,
}

/// The outcome of every event that an intake received.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntakeFigures {
    pub received: u64,
    pub stored: u64,
    /// `None` for an intake without its own receive buffer, and on a system that does not report the figure.
    pub dropped_by_kernel: Option<u64>,
    pub rejected: BTreeMap<String, u64>,
    pub shed: BTreeMap<String, u64>,
    /// Events that were kept but have a property that an administrator may want to know.
    pub remarks: BTreeMap<String, u64>,
}

/// Counts of one destination since the start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationFigures {
    /// The last delivery succeeded.
    pub up: bool,
    pub delivered_events: u64,
    pub delivered_batches: u64,
    pub delivered_bytes: u64,
    /// Events that a retry or a replay delivered.
    pub redelivered_events: u64,
    pub dead_lettered: u64,
    /// Removed or damaged before delivery.
    pub missed: u64,
    /// Events that failed, were logged, and are retried later. They do not count as waiting.
    pub deferred: u64,
    /// Events on disk until a limit of the destination is raised. They do not count as waiting.
    #[serde(default)]
    pub parked: u64,
    /// Failed deliveries by class.
    pub errors: BTreeMap<String, u64>,
    pub last_error: Option<String>,
    /// A key of `errors`.
    pub last_error_class: Option<String>,
    pub last_error_unix_ms: Option<u64>,
}

/// Syncs of the journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncFigures {
    pub count: u64,
    pub seconds_total: f64,
    pub seconds_last: f64,
}

impl Metrics {
    /// All counts as they are now. Each is exact, but they are not of one instant.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let owners = self.owners();
        let states = self.destination_states();
        Figures {
            actors: owners.actors.iter().map(|(name, meter)| ((*name).to_owned(), meter.figures())).collect(),
            intakes: owners
                .intakes
                .iter()
                .map(|(name, meter)| ((*name).to_owned(), meter.figures()))
                .collect(),
            destinations: owners
                .destinations
                .iter()
                .map(|(name, meter)| {
                    ((*name).to_owned(), meter.figures(states.get(name).cloned().unwrap_or_default()))
                })
                .collect(),
            syncs: lock(&self.stream.syncs).clone(),
            append_errors: self.stream.append_errors.get(),
        }
    }
}

impl ActorMeter {
    fn figures(&self) -> ActorFigures {
        ActorFigures {
            received: self.received.get(),
            sent: self.sent.get(),
            restarts: self.restarts.get(),
            rejected: self.rejected.of(self.name),
            notes: self.notes(),
        }
    }

    fn notes(&self) -> BTreeMap<String, String> {
        let notes = lock(&self.notes);
        notes.iter().map(|(symptom, about)| ((*symptom).to_owned(), about.clone())).collect()
    }
}

impl IntakeMeter {
    fn figures(&self) -> IntakeFigures {
        IntakeFigures {
            received: self.received.get(),
            stored: self.stored.get(),
            dropped_by_kernel: self.kernel.get(&IntakeLabel { intake: self.name }).map(|of| of.get()),
            rejected: self.rejected.of(self.name),
            shed: self.shed.of(self.name),
            remarks: self.remarks.of(self.name),
        }
    }
}

impl DestinationMeter {
    fn figures(&self, state: DestinationState) -> DestinationFigures {
        DestinationFigures {
            up: state.up,
            delivered_events: self.delivered.get(),
            delivered_batches: self.batches.get(),
            delivered_bytes: self.bytes.get(),
            redelivered_events: self.redelivered.get(),
            dead_lettered: self.dead_lettered.get(),
            missed: self.missed.get(),
            deferred: u64::try_from(self.deferred.get()).unwrap_or(0),
            parked: u64::try_from(self.parked.get()).unwrap_or(0),
            errors: self.errors.of(self.name),
            last_error: state.last_error,
            last_error_class: state.last_error_class.map(str::to_owned),
            last_error_unix_ms: state.last_error_unix_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_belong_to_their_owner_only() {
        let metrics = Metrics::new();
        let intake = metrics.intake("user_events");
        intake.received.inc_by(7);
        intake.shed("queue_full").inc_by(2);
        metrics.intake("user_event").shed("queue_full").inc_by(5);
        let meter = metrics.destination("influx_sink");
        meter.failed("http-503", "busy", 9);
        meter.failed("http-503", "busy", 10);
        metrics.actor("journal").rejected("damaged", 3);
        let figures = metrics.figures();
        assert_eq!(figures.intakes["user_events"].received, 7);
        assert_eq!(figures.intakes["user_events"].shed, BTreeMap::from([("queue_full".to_owned(), 2)]));
        let influx = &figures.destinations["influx_sink"];
        assert_eq!((influx.up, influx.errors["http-503"]), (false, 2));
        assert_eq!((influx.last_error.as_deref(), influx.last_error_unix_ms), (Some("busy"), Some(10)));
        assert_eq!(figures.actors["journal"].rejected["damaged"], 3);
        // The first note of a symptom is kept, also when a later handle adds another.
        metrics.actor("journal").note("odd", "first");
        metrics.actor("journal").note("odd", "second");
        assert_eq!(metrics.figures().actors["journal"].notes["odd"], "first");
        assert!(metrics.expose().contains("butler_sos_delivery_errors_total"));
    }
}
