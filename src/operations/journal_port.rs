//! Requests the state of the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use butler_sos_actors::journal::message::{JournalState, JournalStateNow, StreamState};
use butler_sos_actors::kit::mailbox::Mailbox;
use butler_sos_actors::kit::metric::DestinationMeter;
use butler_sos_domain::streams::Stream;

use super::answer::Refusal;
use super::journal_reader::JOURNAL_TIMEOUT;

/// The journal's mailbox, and the destinations whose lag it reports.
#[derive(Clone)]
pub struct JournalPort {
    pub to_journal: Mailbox<JournalStateNow>,
    pub meters: Arc<BTreeMap<&'static str, DestinationMeter>>,
}

impl JournalPort {
    /// The journal's state, with the lag reduced by records that are already done. Also sets the lag gauges.
    pub async fn state(&self) -> Option<JournalState> {
        let held = |name: &str| self.meters.get(name).map_or(0, DestinationMeter::held);
        let held_before: BTreeMap<_, _> = self.meters.keys().map(|name| (*name, held(name))).collect();
        let ask = self.to_journal.ask(JournalStateNow);
        let mut state = tokio::time::timeout(JOURNAL_TIMEOUT, ask).await.ok()?.ok()?;
        for consumer in &mut state.consumers {
            let name = consumer.consumer.name;
            // Work continued meanwhile: reporting one waiting record too many is better than one too few.
            let held = held(name).min(held_before.get(name).copied().unwrap_or(0));
            consumer.lag_records = consumer.lag_records.saturating_sub(held);
            if consumer.lag_records == 0 {
                consumer.lag_seconds = 0.0;
            }
            if let Some(meter) = self.meters.get(name) {
                meter.lag_events.set(i64::try_from(consumer.lag_records).unwrap_or(i64::MAX));
                meter.lag_seconds.set(consumer.lag_seconds);
            }
        }
        Some(state)
    }

    /// The journal's state, or why it is not available.
    pub async fn now(&self) -> Result<JournalState, Refusal> {
        self.state().await.ok_or_else(|| Refusal::unavailable("the journal does not respond"))
    }

    pub async fn streams(&self) -> Result<Vec<StreamState>, Refusal> {
        Ok(self.now().await?.streams)
    }

    pub async fn stream(&self, stream: Stream) -> Result<StreamState, Refusal> {
        let found = self.streams().await?.into_iter().find(|of| of.stream == stream);
        found.ok_or_else(|| Refusal::unavailable("the journal is being opened"))
    }
}
