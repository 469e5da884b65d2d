//! How much a slow endpoint gets in one request, and how long it may take. Pure.
//!
//! A request that times out halves the lines of the next ones and doubles their time-out, up to a maximum: a server
//! that is slow because the batch is large gets a smaller one, and one that is slow anyhow gets more time. Answers
//! that come in good time bring both back, step by step, so that a bad hour does not stay for ever.

use std::time::Duration;

/// What one request may hold and take at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    usual: Duration,
    timeout_max: Duration,
    timeout: Duration,
    lines_max: usize,
}

impl Pace {
    /// `usual` is the configured time-out, `timeout_max` the longest; a shorter one than `usual` counts as `usual`.
    #[must_use]
    pub fn new(usual: Duration, timeout_max: Duration) -> Self {
        Self { usual, timeout_max: timeout_max.max(usual), timeout: usual, lines_max: usize::MAX }
    }

    /// For the next request.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Most lines of the next request, at least 1.
    #[must_use]
    pub fn lines_max(&self) -> usize {
        self.lines_max
    }

    /// A request of so many lines got no answer in time.
    pub fn timed_out(&mut self, lines: usize) {
        self.lines_max = (lines.min(self.lines_max) / 2).max(1);
        self.timeout = self.timeout.saturating_mul(2).min(self.timeout_max);
    }

    /// A request of so many lines was answered after this time.
    pub fn answered(&mut self, lines: usize, took: Duration) {
        // An answer that only just came says that there is no room for more; one to few lines says nothing about many.
        let in_good_time = took <= self.timeout * 3 / 4;
        if in_good_time && lines >= self.lines_max {
            self.lines_max = self.lines_max.saturating_mul(2);
        }
        if took <= self.timeout * 3 / 8 {
            self.timeout = (self.timeout / 2).max(self.usual);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> Pace {
        Pace::new(10 * SECOND, 60 * SECOND)
    }

    #[test]
    fn a_timeout_halves_the_lines_and_doubles_the_time_up_to_the_maximum() {
        let mut pace = pace();
        let mut steps = Vec::new();
        for _ in 0..5 {
            pace.timed_out(1_000);
            steps.push((pace.lines_max(), pace.timeout().as_secs()));
        }
        assert_eq!(steps, [(500, 20), (250, 40), (125, 60), (62, 60), (31, 60)]);
        pace.timed_out(1);
        assert_eq!(pace.lines_max(), 1);
        let mut impatient = Pace::new(10 * SECOND, SECOND);
        impatient.timed_out(9);
        assert_eq!(impatient.timeout(), 10 * SECOND);
    }

    #[test]
    fn answers_in_good_time_bring_both_back() {
        let mut pace = pace();
        (0..3).for_each(|_| pace.timed_out(1_000));
        pace.answered(10, SECOND);
        assert_eq!(
            (pace.lines_max(), pace.timeout()),
            (125, 30 * SECOND),
            "few lines prove nothing about many"
        );
        for expect in [(250, 15), (500, 10), (1_000, 10), (2_000, 10)] {
            pace.answered(pace.lines_max(), SECOND);
            assert_eq!((pace.lines_max(), pace.timeout().as_secs()), expect);
        }
        (0..100).for_each(|_| pace.answered(usize::MAX, SECOND));
        assert_eq!(pace.lines_max(), usize::MAX);
    }

    #[test]
    fn a_server_that_is_always_slow_keeps_its_time() {
        // Twelve seconds an answer, whatever is asked.
        let mut pace = pace();
        let mut timeouts = 0;
        for _ in 0..50 {
            match 12 * SECOND <= pace.timeout() {
                true => pace.answered(pace.lines_max().min(1_000), 12 * SECOND),
                false => {
                    timeouts += 1;
                    pace.timed_out(1_000);
                }
            }
        }
        assert_eq!(timeouts, 1);
        assert!(pace.lines_max() >= 1_000, "and it gets whole batches again");
    }

    #[test]
    fn a_server_that_is_slow_by_the_line_gets_what_it_can_do() {
        // A tenth of a second a line.
        let mut pace = pace();
        let mut taken = 0;
        for _ in 0..30 {
            let lines = pace.lines_max().min(1_000);
            let took = SECOND * u32::try_from(lines).unwrap() / 10;
            match took <= pace.timeout() {
                true => {
                    taken += lines;
                    pace.answered(lines, took);
                }
                false => pace.timed_out(lines),
            }
        }
        assert!(taken > 5_000, "{taken} lines in 30 requests");
    }
}
