//! Decides when a queue counts as filling, and when to log that. Pure.
//!
//! Backpressure begins when the queue reaches the threshold, and ends when it has emptied to half of that, so
//! that a queue around the threshold does not change at every check. If it begins again within a minute of
//! the last logged time, neither the beginning nor the end is logged.

use std::time::Duration;

use butler_sos_domain::throttle::OnceAMinute;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Begins,
    /// Begins too soon after the last time to be logged.
    BeginsQuietly,
    /// Ends, after the beginning was logged.
    Ends {
        lasted: Duration,
    },
}

/// The state of one queue.
#[derive(Debug)]
pub struct Backpressure {
    percent: u8,
    state: State,
    log: OnceAMinute,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Calm,
    Filling { since: Duration, is_told: bool },
}

impl Backpressure {
    #[must_use]
    pub fn new(percent: u8) -> Self {
        Self { percent, state: State::Calm, log: OnceAMinute::default() }
    }

    #[must_use]
    pub fn percent(&self) -> u8 {
        self.percent
    }

    /// Checks a queue that holds `depth` of at most `bound`, at the monotonic time `now`.
    pub fn look(&mut self, depth: u32, bound: u32, now: Duration) -> Option<Change> {
        let filled = u64::from(depth) * 100;
        let threshold = u64::from(bound) * u64::from(self.percent);
        match self.state {
            State::Calm if depth > 0 && filled >= threshold => {
                let is_told = self.log.is_due(now);
                self.state = State::Filling { since: now, is_told };
                Some(if is_told { Change::Begins } else { Change::BeginsQuietly })
            }
            State::Filling { since, is_told } if filled * 2 < threshold || depth == 0 => {
                self.state = State::Calm;
                is_told.then(|| Change::Ends { lasted: now.saturating_sub(since) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks depths of a queue of 100 at times in seconds. The threshold is 80 %.
    fn check(looks: &[(u64, u32, Option<Change>)]) {
        let mut backpressure = Backpressure::new(80);
        for &(seconds, depth, expect) in looks {
            let got = backpressure.look(depth, 100, Duration::from_secs(seconds));
            assert_eq!(got, expect, "{depth} at {seconds} s");
        }
    }

    #[test]
    fn logged_once_when_it_begins_and_once_when_it_ends() {
        let ends = |seconds| Some(Change::Ends { lasted: Duration::from_secs(seconds) });
        check(&[
            (0, 79, None),
            (1, 80, Some(Change::Begins)),
            (2, 100, None),
            (3, 79, None),
            (4, 81, None),
            (5, 40, None),
            (6, 39, ends(5)),
            (7, 0, None),
        ]);
        // At least a minute is between two logged beginnings.
        check(&[
            (0, 80, Some(Change::Begins)),
            (1, 0, ends(1)),
            (59, 80, Some(Change::BeginsQuietly)),
            (61, 90, None),
            (62, 0, None),
            (63, 80, Some(Change::Begins)),
            (64, 0, ends(1)),
        ]);
    }

    #[test]
    fn begins_at_the_threshold_and_ends_at_half_of_it() {
        let look = |percent, depth, bound| Backpressure::new(percent).look(depth, bound, Duration::ZERO);
        assert_eq!(look(100, 1, 1), Some(Change::Begins));
        assert_eq!(look(100, 99, 100), None);
        assert_eq!(look(1, 0, 1), None, "an empty queue is calm");
        assert_eq!(look(1, 1, 1_000), None);
        assert_eq!(look(80, u32::MAX, u32::MAX), Some(Change::Begins));
        let mut one = Backpressure::new(1);
        one.look(1, 1, Duration::ZERO);
        assert!(one.look(0, 1, Duration::ZERO).is_some());
    }
}
