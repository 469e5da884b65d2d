//! How old a record is, although the clock has been set since it was appended.
//!
//! A record carries the time that the clock showed. Where the clock was set later, by whatever was seen of it, the
//! difference to the time now is wrong by just that, so it is taken out again. A clock that was set while no process
//! ran is not seen; only that it is behind what is stored shows.

use std::collections::VecDeque;

/// Steps that are told apart. Of older ones, the records between them may seem older or younger than they are.
const STEPS_MAX: usize = 32;

/// Where in a stream the clock was set.
#[derive(Debug, Clone, Default)]
pub struct ClockSteps {
    /// Records below the offset are from before; nanoseconds, negative is back.
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
    fn what_the_clock_was_set_by_is_no_age() {
        let mut steps = ClockSteps::default();
        let check = |steps: &ClockSteps, offset: u64, at_ns: u64, now_ns: u64, expect: u64| {
            assert_eq!(steps.age_ns(offset, at_ns, now_ns), expect, "{offset} {at_ns} {now_ns}");
        };
        check(&steps, 0, 100, 130, 30);
        check(&steps, 0, 130, 100, 0);
        // Offsets 0 to 9 are from before the clock went forward by 1000, those to 19 from before it came back.
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
