//! When the receiver sleeps for a moment and then takes what came meanwhile, instead of waiting for a first datagram.
//!
//! A wake-up costs more than five datagrams. Where they are far apart, a nap gathers nothing and only delays.

use std::time::Duration;

/// Decides before which looks at the socket to sleep.
#[derive(Debug)]
pub struct Naps {
    length: Duration,
    last_look: Option<Duration>,
}

impl Naps {
    /// Naps of `wanted`, or shorter ones where the receive buffer could overflow meanwhile.
    #[must_use]
    pub fn new(wanted: Duration, receive_buffer_bytes: usize) -> Self {
        Self { length: wanted.min(longest(receive_buffer_bytes)), last_look: None }
    }

    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// A look at `now` took the `taken` datagrams that were there and left none. True when a nap would, at the rate
    /// since the last look, bring at least two.
    pub fn is_worth_one(&mut self, now: Duration, taken: usize) -> bool {
        let gap = self.last_look.map(|last| now.saturating_sub(last));
        self.last_look = Some(now);
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        gap.is_some_and(|gap| gap.saturating_mul(2) <= self.length.saturating_mul(taken))
            && !self.length.is_zero()
    }
}

/// What a short datagram takes in the kernel's buffer, with the kernel's own bookkeeping.
const DATAGRAM_BYTES: u64 = 1_280;

/// Datagrams in a second of the fastest burst that a nap must not lose.
const BURST_RATE: u64 = 400_000;

/// In so long the fastest burst fills half of the buffer: the kernel takes twice what it is asked for.
fn longest(receive_buffer_bytes: usize) -> Duration {
    let datagrams = receive_buffer_bytes as u64 / DATAGRAM_BYTES;
    Duration::from_nanos(datagrams * (1_000_000_000 / BURST_RATE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_are_for_dense_traffic() {
        let check = |gap_us: u64, taken: usize, expect: bool, what: &str| {
            let mut naps = Naps::new(Duration::from_millis(5), 8 << 20);
            let decisions: Vec<_> =
                (1..=4).map(|look| naps.is_worth_one(Duration::from_micros(look * gap_us), taken)).collect();
            assert_eq!(decisions, [false, expect, expect, expect], "{what}");
        };
        check(10_000, 1, false, "100/s");
        check(2_501, 1, false, "a little below 400/s");
        check(2_500, 1, true, "400/s");
        check(10, 1, true, "100 000/s");
        check(20_000, 8, true, "eight at a time");
        check(5_000, 500, true, "100 000/s, after naps");
        check(5_000, 1, false, "a nap that brought one");
        check(5_000, 0, false, "a nap that brought nothing");
    }

    #[test]
    fn whoever_wants_no_naps_gets_none() {
        let mut naps = Naps::new(Duration::ZERO, 8 << 20);
        assert!(!naps.is_worth_one(Duration::ZERO, 64));
        assert!(!naps.is_worth_one(Duration::ZERO, 64));
    }

    #[test]
    fn a_nap_is_no_longer_than_the_buffer_has_room_for() {
        let check = |wanted_us: u64, receive_buffer_bytes: usize, expect_ns: u64| {
            let naps = Naps::new(Duration::from_micros(wanted_us), receive_buffer_bytes);
            assert_eq!(naps.length(), Duration::from_nanos(expect_ns), "{wanted_us} {receive_buffer_bytes}");
        };
        check(5_000, 8 << 20, 5_000_000);
        check(100_000, 8 << 20, 16_382_500);
        check(5_000, 212_992, 415_000);
        check(5_000, 4_096, 7_500);
        check(0, 8 << 20, 0);
    }
}
