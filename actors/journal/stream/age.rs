//! The age of a record, also when the clock has been set since it was appended.
//!
//! A record contains the wall clock's time of the append. When the clock is set later, by a known amount, the
//! difference to the current time is wrong by that amount, so it is subtracted. A step while no process runs
//! is not detected, unless the clock is then behind stored records.

use std::collections::VecDeque;

/// The maximum number of separate steps. For older steps, the records between them may seem older or younger
/// than they are.
const STEPS_MAX: usize = 32;

/// The positions in a stream where the clock was set.
#[derive(Debug, Clone, Default)]
pub struct ClockSteps {
    /// The step in nanoseconds, negative is back, and the first offset after it.
    steps: VecDeque<(u64, i128)>,
}

impl ClockSteps {
    pub fn note(&mut self, next_offset: u64, by_ns: i128) {
        self.steps.push_back((next_offset, by_ns));
        if self.steps.len() > STEPS_MAX
            && let Some((_, oldest)) = self.steps.pop_front()
            && let Some(next) = self.steps.front_mut()
        {
            next.1 += oldest;
        }
    }

    /// The age of the record at `offset`, which was appended when the clock showed `at_ns`.
    pub fn age_ns(&self, offset: u64, at_ns: u64, now_ns: u64) -> u64 {
        let since: i128 = self.steps.iter().filter(|(end, _)| offset < *end).map(|(_, by_ns)| by_ns).sum();
        let age = i128::from(now_ns) - i128::from(at_ns) - since;
        u64::try_from(age.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_steps_do_not_change_the_age() {
        let mut steps = ClockSteps::default();
        let check = |steps: &ClockSteps, offset: u64, at_ns: u64, now_ns: u64, expect: u64| {
            assert_eq!(steps.age_ns(offset, at_ns, now_ns), expect, "{offset} {at_ns} {now_ns}");
        };
        check(&steps, 0, 100, 130, 30);
        check(&steps, 0, 130, 100, 0);
        // Offsets 0 to 9 are from before the step forward by 1000, offsets 10 to 19 from before the step
        // back.
        steps.note(10, 1_000);
        check(&steps, 9, 100, 1_130, 30);
        check(&steps, 10, 1_130, 1_140, 10);
        steps.note(20, -1_000);
        check(&steps, 9, 100, 170, 70);
        check(&steps, 19, 1_140, 170, 30);
        check(&steps, 20, 165, 170, 5);
    }

    #[test]
    fn steps_are_bounded() {
        let mut steps = ClockSteps::default();
        for offset in 1..=100 {
            steps.note(offset, 1);
        }
        assert_eq!(steps.steps.len(), STEPS_MAX);
        assert_eq!(steps.age_ns(0, 0, 1_000), 1_000 - 100);
        assert_eq!(steps.age_ns(99, 0, 1_000), 1_000 - 1);
    }
}
