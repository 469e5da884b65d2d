//! Earlier values of the counters, so that problems that have passed are not reported for ever.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use butler_sos_actors::kit::metric::Figures;

/// A problem within this time counts as present.
pub const WINDOW: Duration = Duration::from_secs(300);
/// The interval between two samples.
pub const INTERVAL: Duration = Duration::from_secs(15);

/// The samples of the last [`WINDOW`], oldest first, slightly more than twenty at most.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<(Instant, Figures)>,
}

impl History {
    /// Takes a sample when the last one is old enough.
    pub fn add(&mut self, now: Instant, figures: impl FnOnce() -> Figures) {
        if self.samples.back().is_some_and(|(at, _)| now.saturating_duration_since(*at) < INTERVAL) {
            return;
        }
        self.samples.push_back((now, figures()));
        while self.samples.len() > 1
            && self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// The metrics at the window's beginning. Before the first sample all are zero.
    #[must_use]
    pub fn before(&self, now: Instant) -> Figures {
        let is_whole = |(at, _): &&(Instant, Figures)| now.saturating_duration_since(*at) >= WINDOW;
        self.samples.front().filter(is_whole).map(|(_, figures)| figures.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_moves_on() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut history = History::default();
        for second in 0..1_000 {
            history.add(at(second), || Figures { append_errors: second, ..Figures::default() });
        }
        assert!(history.samples.len() <= 22, "{}", history.samples.len());
        let before = history.before(at(999)).append_errors;
        assert!((680..=699).contains(&before), "{before}");
    }

    #[test]
    fn a_new_server_has_no_history() {
        let start = Instant::now();
        let mut history = History::default();
        history.add(start, || Figures { append_errors: 3, ..Figures::default() });
        assert_eq!(history.before(start + Duration::from_secs(20)).append_errors, 0);
    }
}
