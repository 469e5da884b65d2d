//! From counts that only grow to what happens in a second, now and over the last minute.

use std::collections::{BTreeMap, VecDeque};

use crate::operations::state::State;

/// Seconds over which a rate is taken, so that it can be read.
const WINDOW_SAMPLES: usize = 4;
/// Figures that a line over time shows, one a second.
pub const MINUTE: usize = 60;

/// What is counted. Names are the actors' own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    /// Events that an intake was given.
    Received(String),
    /// Events of an intake that reached the journal.
    Stored(String),
    /// Records of a stream.
    Appended(String),
    /// Events that a destination took, those of a replay too.
    Delivered(String),
    AllReceived,
    AllDelivered,
    Syncs,
    SyncSeconds,
    CpuSeconds,
}

#[derive(Debug)]
struct Sample {
    unix_ms: u64,
    start_unix_ms: u64,
    counts: BTreeMap<Count, f64>,
}

/// The last few states, as far as rates need them.
#[derive(Debug, Default)]
pub struct Rates {
    samples: VecDeque<Sample>,
    minute: BTreeMap<Count, VecDeque<f64>>,
}

impl Rates {
    /// Takes over a state.
    pub fn add(&mut self, state: &State) {
        let start_unix_ms = state.process.start_unix_ms;
        // Another process: its counts begin anew.
        if let Some(last) = self.samples.back()
            && (last.start_unix_ms != start_unix_ms || last.unix_ms >= state.unix_ms)
        {
            *self = Self::default();
        }
        let counts = counts(state);
        let keys: Vec<Count> = counts.keys().cloned().collect();
        self.samples.push_back(Sample { unix_ms: state.unix_ms, start_unix_ms, counts });
        if self.samples.len() > WINDOW_SAMPLES {
            self.samples.pop_front();
        }
        for key in keys {
            let now = self.now(&key).unwrap_or(0.0);
            let line = self.minute.entry(key).or_default();
            line.push_back(now);
            if line.len() > MINUTE {
                line.pop_front();
            }
        }
    }

    /// Per second; `None` until there are two states to compare.
    #[must_use]
    pub fn now(&self, key: &Count) -> Option<f64> {
        let (more, seconds) = self.more(key)?;
        Some(more / seconds)
    }

    /// Mean time of a sync of the journal; `None` when there was none of late.
    #[must_use]
    pub fn seconds_per_sync(&self) -> Option<f64> {
        let (syncs, _) = self.more(&Count::Syncs).filter(|(syncs, _)| *syncs > 0.0)?;
        Some(self.more(&Count::SyncSeconds)?.0 / syncs)
    }

    /// Oldest first.
    pub fn minute(&self, key: &Count) -> impl Iterator<Item = f64> + '_ {
        self.minute.get(key).into_iter().flatten().copied()
    }

    /// How much more there is than at the window's beginning, and the window's length.
    fn more(&self, key: &Count) -> Option<(f64, f64)> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let of = |sample: &Sample| sample.counts.get(key).copied().unwrap_or(0.0);
        let seconds = last.unix_ms.saturating_sub(first.unix_ms) as f64 / 1_000.0;
        (seconds > 0.0).then(|| ((of(last) - of(first)).max(0.0), seconds))
    }
}

fn counts(state: &State) -> BTreeMap<Count, f64> {
    let mut counts = BTreeMap::new();
    let (mut received, mut delivered) = (0, 0);
    for (name, of) in &state.intakes {
        counts.insert(Count::Received(name.clone()), of.received as f64);
        counts.insert(Count::Stored(name.clone()), of.stored as f64);
        received += of.received;
    }
    for (name, of) in &state.destinations {
        let all = of.figures.delivered_events + of.figures.redelivered_events;
        counts.insert(Count::Delivered(name.clone()), all as f64);
        delivered += all;
    }
    for (name, of) in &state.journal.streams {
        counts.insert(Count::Appended(name.clone()), of.next_offset as f64);
    }
    counts.insert(Count::AllReceived, received as f64);
    counts.insert(Count::AllDelivered, delivered as f64);
    counts.insert(Count::Syncs, state.journal.syncs.count as f64);
    counts.insert(Count::SyncSeconds, state.journal.syncs.seconds_total);
    counts.insert(Count::CpuSeconds, state.process.cpu_seconds);
    counts
}

#[cfg(test)]
mod tests {
    use butler_sos_actors::kit::metric::IntakeFigures;

    use super::*;

    fn state(second: u64, start: u64, received: u64) -> State {
        let mut state = State { unix_ms: second * 1_000, ..State::default() };
        state.process.start_unix_ms = start;
        let intake = IntakeFigures { received, ..IntakeFigures::default() };
        state.intakes.insert("user_events".into(), intake);
        state.journal.syncs.count = second;
        state.journal.syncs.seconds_total = second as f64 / 100.0;
        state
    }

    #[test]
    fn a_rate_is_of_the_last_three_seconds() {
        let mut rates = Rates::default();
        let key = Count::Received("user_events".into());
        assert_eq!(rates.now(&key), None);
        rates.add(&state(1, 7, 100));
        assert_eq!(rates.now(&key), None, "one state tells no rate");
        for second in 2..10 {
            rates.add(&state(second, 7, 100 * second));
            assert_eq!(rates.now(&key), Some(100.0), "{second}");
        }
        rates.add(&state(10, 7, 900));
        assert_eq!(rates.now(&key), Some(200.0 / 3.0));
        assert_eq!(rates.minute(&key).count(), 10);
        assert!((rates.seconds_per_sync().expect("syncs") - 0.01).abs() < 1e-9);
    }

    #[test]
    fn another_process_begins_anew() {
        let mut rates = Rates::default();
        let key = Count::Received("user_events".into());
        rates.add(&state(1, 7, 1_000));
        rates.add(&state(2, 7, 2_000));
        rates.add(&state(3, 8, 5));
        assert_eq!(rates.now(&key), None);
        rates.add(&state(4, 8, 7));
        assert_eq!(rates.now(&key), Some(2.0));
        // A clock that was set back.
        rates.add(&state(2, 8, 8));
        assert_eq!(rates.now(&key), None);
        for second in 3..200 {
            rates.add(&state(second, 8, second));
        }
        assert_eq!(rates.minute(&key).count(), MINUTE);
    }
}
