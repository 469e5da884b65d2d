//! The times of receipt: no two events share one, and each is as near to the clock as that allows.
//!
//! ```text
//! stamp = microseconds * 1000 + era * 100 + node          (Unix nanoseconds)
//! ```
//!
//! `era` is 0 to 9 and rises, 9 to 0, with each step of the clock back by more than two seconds; `node` is 00. Within
//! an era stamps rise by at least 1000. After a step back the stamps of the next era follow the clock again, and the
//! era's digit keeps them apart from those that the clock has passed through before. A smaller step back is waited
//! out: until the clock has caught up, stamps rise by 1000 each.
//!
//! What is guaranteed: in one process two events never share a stamp, whatever the clock does. Where the clock goes
//! back so often that every digit is taken at a time, a digit that is free there is used; where none is, stamps go on
//! above what was given, and are ahead of the clock. A later process knows the newest stamp of each stream, so the
//! same holds across restarts, unless the clock went back ten times and then comes to the same microsecond once more.

/// Eras, each with a digit of its own.
const ERAS: usize = 10;
/// A step back by more than this begins a new era.
pub const STEP_US: u64 = 2_000_000;
/// A clock beyond this is taken for this: it leaves room for stamps that still rise.
const CLOCK_US_MAX: u64 = u64::MAX / 1_000 - (1 << 40);

/// Gives stamps. Shared by all who stamp, or their stamps are not unique.
#[derive(Debug, Clone, Default)]
pub struct ReceiptClock {
    era: usize,
    /// Of the last stamp.
    last_us: u64,
    /// The highest microsecond that each other era has given.
    highest_us: [u64; ERAS],
}

impl ReceiptClock {
    /// A clock that goes on after `stamps`: the newest one of each stream. The latest era is the one that most of the
    /// circle lies behind.
    #[must_use]
    pub fn after(stamps: impl IntoIterator<Item = u64>) -> Self {
        let mut clock = Self::default();
        for stamp in stamps {
            let (era, us) = (era_of(stamp), stamp / 1_000);
            let ahead = (era + ERAS - clock.era) % ERAS;
            if clock.last_us == 0 || (1..=ERAS / 2).contains(&ahead) {
                clock.enter(era, us.max(clock.highest_us[era]));
            } else if era == clock.era {
                clock.last_us = clock.last_us.max(us);
            } else {
                clock.highest_us[era] = clock.highest_us[era].max(us);
            }
        }
        clock
    }

    /// A stamp for something received at `now_ns`.
    #[inline]
    pub fn stamp(&mut self, now_ns: u64) -> u64 {
        let now_us = (now_ns / 1_000).min(CLOCK_US_MAX);
        if now_us + STEP_US < self.last_us {
            self.step_back(now_us);
        }
        self.last_us = now_us.max(self.last_us + 1);
        self.last_us * 1_000 + self.era as u64 * 100
    }

    /// Begins the next era whose digit is free at this time. Where none is, the one that comes nearest to the clock.
    #[cold]
    fn step_back(&mut self, now_us: u64) {
        let mut nearest = (self.era, self.last_us);
        for ahead in 1..ERAS {
            let era = (self.era + ahead) % ERAS;
            let highest_us = self.highest_us[era];
            if highest_us < now_us || highest_us == 0 {
                return self.enter(era, 0);
            }
            if highest_us < nearest.1 {
                nearest = (era, highest_us);
            }
        }
        self.enter(nearest.0, nearest.1);
    }

    fn enter(&mut self, era: usize, last_us: u64) {
        self.highest_us[self.era] = self.highest_us[self.era].max(self.last_us);
        (self.era, self.last_us) = (era, last_us);
    }
}

/// The era of a stamp.
#[must_use]
pub fn era_of(stamp: u64) -> usize {
    (stamp / 100 % 10) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn stamps(clock: &mut ReceiptClock, times: &[u64]) -> Vec<u64> {
        times.iter().map(|now_ns| clock.stamp(*now_ns)).collect()
    }

    #[test]
    fn a_stamp_is_the_microsecond_and_the_era() {
        let mut clock = ReceiptClock::default();
        assert_eq!(
            stamps(&mut clock, &[9_999_999, 9_999_999, 10_000_500, 10_001_999, 20_000_123]),
            [9_999_000, 10_000_000, 10_001_000, 10_002_000, 20_000_000]
        );
    }

    #[test]
    fn a_small_step_back_is_waited_out() {
        let mut clock = ReceiptClock::default();
        assert_eq!(
            stamps(&mut clock, &[10 * SECOND, 9 * SECOND, 9 * SECOND, 11 * SECOND]),
            [10 * SECOND, 10 * SECOND + 1_000, 10 * SECOND + 2_000, 11 * SECOND]
        );
    }

    #[test]
    fn after_a_larger_step_back_stamps_follow_the_clock_in_the_next_era() {
        let mut clock = ReceiptClock::default();
        let year = 31_536_000 * SECOND;
        assert_eq!(
            stamps(&mut clock, &[10 * SECOND, year, year, 11 * SECOND, 12 * SECOND, 9 * SECOND]),
            [10 * SECOND, year, year + 1_000, 11 * SECOND + 100, 12 * SECOND + 100, 9 * SECOND + 200]
        );
    }

    #[test]
    fn the_era_goes_round() {
        let mut clock = ReceiptClock::default();
        let given =
            stamps(&mut clock, &(0..12).rev().map(|n| 100 * SECOND + n * 10 * SECOND).collect::<Vec<_>>());
        let eras: Vec<usize> = given.iter().map(|stamp| era_of(*stamp)).collect();
        // The first era has been above the times of the eleventh, the second above those of the twelfth.
        assert_eq!(eras[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(given.iter().collect::<HashSet<_>>().len(), 12);
    }

    #[test]
    fn a_digit_that_is_taken_at_a_time_is_passed_over() {
        let mut clock = ReceiptClock::default();
        // Era 1 has been at 500 s, era 2 at 100 s, and era 0 comes round to 300 s.
        stamps(&mut clock, &[1_000 * SECOND, 500 * SECOND, 100 * SECOND]);
        clock.enter(0, 1_000_000_000);
        assert_eq!(clock.stamp(300 * SECOND), 300 * SECOND + 200);
        assert_eq!(clock.stamp(200 * SECOND), 200 * SECOND + 300);
    }

    #[test]
    fn where_no_digit_is_free_stamps_go_on_above_the_lowest() {
        let mut clock = ReceiptClock::default();
        let down: Vec<u64> = (0..10).map(|n| (1_000 - n * 10) * SECOND).collect();
        stamps(&mut clock, &down);
        // All ten have been above: era 9, where it is, is the nearest.
        assert_eq!(stamps(&mut clock, &[SECOND, SECOND]), [910 * SECOND + 1_900, 910 * SECOND + 2_900]);
    }

    #[test]
    fn a_later_process_goes_on_in_the_latest_era() {
        let check = |stamps: &[u64], now_ns: u64, expect: u64| {
            assert_eq!(
                ReceiptClock::after(stamps.iter().copied()).stamp(now_ns),
                expect,
                "{stamps:?} {now_ns}"
            );
        };
        check(&[], 7 * SECOND, 7 * SECOND);
        check(&[10 * SECOND + 300], 11 * SECOND, 11 * SECOND + 300);
        check(&[10 * SECOND + 300], 9 * SECOND, 10 * SECOND + 1_300);
        check(&[10 * SECOND + 300], 7 * SECOND, 7 * SECOND + 400);
        check(&[10 * SECOND + 900], 7 * SECOND, 7 * SECOND);
        // Of two streams the one that was stamped later, whatever its time.
        check(&[90 * SECOND + 300, 10 * SECOND + 400], 11 * SECOND, 11 * SECOND + 400);
        check(&[10 * SECOND + 400, 90 * SECOND + 300], 11 * SECOND, 11 * SECOND + 400);
        check(&[10 * SECOND, 90 * SECOND + 900], 11 * SECOND, 11 * SECOND);
        check(&[10 * SECOND + 400, 12 * SECOND + 400], 11 * SECOND, 12 * SECOND + 1_400);
        // What was stamped by a version that knew no eras.
        check(&[1_795_169_472_345_000_001], 1_795_169_472_345_900_000, 1_795_169_472_345_900_000);
    }

    #[test]
    fn clocks_out_of_all_bounds() {
        let mut clock = ReceiptClock::after([u64::MAX]);
        let given = stamps(&mut clock, &[u64::MAX, u64::MAX, 0, 0, u64::MAX, 0]);
        assert_eq!(given.iter().collect::<HashSet<_>>().len(), given.len());
    }

    /// A clock that jumps about, with the same places again and again.
    fn any_times() -> impl Strategy<Value = Vec<u64>> {
        let place = prop_oneof![0_u64..60, Just(1_000_000), Just(0)];
        prop::collection::vec((place, 0_u64..3_000, 1_usize..4), 0..200).prop_map(|visits| {
            let times = visits
                .into_iter()
                .flat_map(|(second, ns, events)| std::iter::repeat_n(second * SECOND + ns, events));
            times.collect()
        })
    }

    proptest! {
        #[test]
        fn no_two_events_share_a_stamp_whatever_the_clock_does(times in any_times()) {
            let mut clock = ReceiptClock::default();
            let mut seen = HashSet::new();
            let mut last = [0; ERAS];
            for now_ns in times {
                let stamp = clock.stamp(now_ns);
                prop_assert!(seen.insert(stamp), "{stamp} twice");
                prop_assert_eq!(stamp % 100, 0);
                let era = era_of(stamp);
                prop_assert!(stamp >= last[era] + 1_000 || last[era] == 0, "within an era they rise");
                last[era] = stamp;
            }
        }

        /// Two streams, one clock; each restart knows the newest stamp of both. Up to nine steps back.
        #[test]
        fn no_two_events_share_a_stamp_across_restarts(
            lives in prop::collection::vec(
                (0_u64..40, prop::collection::vec((0_u64..2_000_000_000, any::<bool>()), 0..20)), 1..10,
            ),
        ) {
            let mut newest: [Option<u64>; 2] = [None; 2];
            let mut seen = HashSet::new();
            for (began, events) in lives {
                let mut clock = ReceiptClock::after(newest.into_iter().flatten());
                let mut now_ns = began * SECOND;
                for (pause, is_audit) in events {
                    now_ns += pause;
                    let stamp = clock.stamp(now_ns);
                    prop_assert!(seen.insert(stamp), "{stamp} twice");
                    newest[usize::from(is_audit)] = Some(stamp);
                }
            }
        }

        #[test]
        fn stamps_are_near_the_clock_while_digits_are_free(steps in prop::collection::vec(0_u64..100_000, 1..9)) {
            let mut clock = ReceiptClock::default();
            for second in steps {
                let now_ns = second * SECOND;
                let stamp = clock.stamp(now_ns);
                prop_assert!(stamp.abs_diff(now_ns) <= STEP_US * 1_000 + 10_000, "{stamp} at {now_ns}");
            }
        }
    }
}
