//! Detects jumps of the wall clock with a monotonic clock.
//!
//! The monotonic clock continues while the machine sleeps. The difference between the wall clock and the time
//! expected from the monotonic clock is the amount by which the wall clock was set. A jump by more than two
//! seconds counts, and is a problem until the clock is set back, or for a day; then the new time is accepted.

/// A smaller difference does not count as a jump.
const TOLERANCE_NS: i128 = 2_000_000_000;
/// How long a jump is reported.
const SHOWN_NS: u64 = 24 * 3_600 * 1_000_000_000;

/// The state of one clock.
#[derive(Debug, Clone)]
pub struct ClockWatch {
    /// The expected difference between the wall clock and the monotonic clock.
    expected: i128,
    /// The sum of all jumps, and the time of the last one.
    off: Option<(i128, u64)>,
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockChange {
    /// The clock jumped since the last check, and now has this offset. Nanoseconds; negative is back.
    Jumped { by_ns: i128, off_ns: i128 },
    /// The clock jumped back to the expected time.
    Returned { by_ns: i128 },
}

impl ClockChange {
    /// The step of the clock since the last check.
    #[must_use]
    pub fn by_ns(self) -> i128 {
        match self {
            Self::Jumped { by_ns, .. } | Self::Returned { by_ns } => by_ns,
        }
    }
}

impl ClockWatch {
    /// Starts with this time as the expected one.
    #[must_use]
    pub fn new(unix_ns: u64, steady_ns: u64) -> Self {
        Self { expected: i128::from(unix_ns) - i128::from(steady_ns), off: None }
    }

    /// The clock is behind a time from before the start, so it was set back in between.
    #[must_use]
    pub fn behind(mut self, by_ns: u64, steady_ns: u64) -> Self {
        if i128::from(by_ns) > TOLERANCE_NS {
            self.expected += i128::from(by_ns);
            self.off = Some((-i128::from(by_ns), steady_ns));
        }
        self
    }

    /// Checks both clocks.
    pub fn look(&mut self, unix_ns: u64, steady_ns: u64) -> Option<ClockChange> {
        let off_ns = i128::from(unix_ns) - i128::from(steady_ns) - self.expected;
        let (known_ns, since_ns) = self.off.unwrap_or((0, steady_ns));
        let by_ns = off_ns - known_ns;
        if by_ns.abs() <= TOLERANCE_NS {
            if self.off.is_some() && steady_ns.saturating_sub(since_ns) >= SHOWN_NS {
                self.expected += known_ns;
                self.off = None;
            }
            return None;
        }
        if off_ns.abs() <= TOLERANCE_NS {
            self.off = None;
            return Some(ClockChange::Returned { by_ns });
        }
        self.off = Some((off_ns, steady_ns));
        Some(ClockChange::Jumped { by_ns, off_ns })
    }

    /// The offset of the clock from the expected time, while it is a problem. Seconds; negative is behind.
    #[must_use]
    pub fn off_seconds(&self) -> Option<f64> {
        self.off.map(|(off_ns, _)| off_ns as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const NOON: u64 = 1_795_262_400 * SECOND;
    const YEAR: u64 = 31_536_000 * SECOND;

    #[test]
    fn a_jump_is_reported_once_and_shown_until_the_clock_is_corrected() {
        let mut watch = ClockWatch::new(NOON, 5 * SECOND);
        let mut check = |unix_ns: u64, steady_ns: u64, change: Option<ClockChange>, off: Option<f64>| {
            assert_eq!(watch.look(unix_ns, steady_ns), change, "{steady_ns}");
            assert_eq!(watch.off_seconds(), off, "{steady_ns}");
        };
        check(NOON + 100 * SECOND, 105 * SECOND, None, None);
        // Two seconds do not count as a jump.
        check(NOON + 112 * SECOND, 115 * SECOND, None, None);
        let year = i128::from(YEAR);
        let jumped = ClockChange::Jumped { by_ns: year, off_ns: year };
        check(NOON + 110 * SECOND + YEAR, 115 * SECOND, Some(jumped), Some(31_536_000.0));
        check(NOON + 210 * SECOND + YEAR, 215 * SECOND, None, Some(31_536_000.0));
        // A further jump.
        let hour = i128::from(3_600 * SECOND);
        let jumped = ClockChange::Jumped { by_ns: hour, off_ns: year + hour };
        check(NOON + 3_815 * SECOND + YEAR, 220 * SECOND, Some(jumped), Some(31_539_600.0));
        let returned = ClockChange::Returned { by_ns: -year - hour };
        check(NOON + 216 * SECOND, 221 * SECOND, Some(returned), None);
        let back = ClockChange::Jumped { by_ns: -hour, off_ns: -hour };
        check(NOON - 3_383 * SECOND, 222 * SECOND, Some(back), Some(-3_600.0));
    }

    #[test]
    fn after_a_day_the_new_time_is_accepted() {
        let mut watch = ClockWatch::new(NOON, 0);
        assert!(watch.look(NOON + YEAR, SECOND).is_some());
        let day = 24 * 3_600 * SECOND;
        assert_eq!(watch.look(NOON + YEAR + day - 2 * SECOND, day - SECOND), None);
        assert!(watch.off_seconds().is_some());
        assert_eq!(watch.look(NOON + YEAR + day, day + SECOND), None);
        assert_eq!(watch.off_seconds(), None);
        assert_eq!(watch.look(NOON + YEAR + 2 * day, 2 * day + SECOND), None);
    }

    #[test]
    fn a_clock_behind_the_newest_record_was_set_back() {
        assert_eq!(ClockWatch::new(NOON, 0).behind(2 * SECOND, 0).off_seconds(), None);
        let mut watch = ClockWatch::new(NOON, 0).behind(YEAR, 0);
        assert_eq!(watch.off_seconds(), Some(-31_536_000.0));
        assert_eq!(watch.look(NOON + SECOND, SECOND), None);
        let returned = ClockChange::Returned { by_ns: i128::from(YEAR) };
        assert_eq!(watch.look(NOON + YEAR + 2 * SECOND, 2 * SECOND), Some(returned));
        assert_eq!(watch.off_seconds(), None);
    }
}
