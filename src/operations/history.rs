//! What the counters were a little while ago, so that trouble that has passed does not stay red for ever.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use butler_sos_actors::kit::metric::Figures;

/// How far back trouble counts as present.
pub const WINDOW: Duration = Duration::from_secs(300);
/// Between two samples.
pub const INTERVAL: Duration = Duration::from_secs(15);

/// The samples of the last [`WINDOW`], oldest first; a few more than twenty at most.
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

    /// The figures at the window's beginning; before the first sample everything was zero.
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
    fn a_young_server_had_nothing_before() {
        let start = Instant::now();
        let mut history = History::default();
        history.add(start, || Figures { append_errors: 3, ..Figures::default() });
        assert_eq!(history.before(start + Duration::from_secs(20)).append_errors, 0);
    }
}
