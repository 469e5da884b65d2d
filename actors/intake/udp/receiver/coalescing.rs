//! When the receiver sleeps for a moment and then takes what came meanwhile, instead of waiting for a first datagram.
//!
//! A wake-up costs more than five datagrams. Where they are far apart, a pause gathers nothing and only delays.

use std::time::Duration;

/// Decides before which looks at the socket to sleep.
#[derive(Debug)]
pub struct Coalescing {
    length: Duration,
    last_look: Option<Duration>,
    is_next: bool,
}

impl Coalescing {
    /// Coalescing of `wanted`, or shorter ones where the receive buffer could overflow meanwhile.
    #[must_use]
    pub fn new(wanted: Duration, receive_buffer_bytes: usize) -> Self {
        Self { length: wanted.min(longest(receive_buffer_bytes)), last_look: None, is_next: false }
    }

    /// How long to sleep before the next look, if at all.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.is_next.then_some(self.length)
    }

    /// A look at `now` took `taken` datagrams. A pause follows when it would, at the rate since the last look, bring at
    /// least two, and when the look left none behind.
    pub fn looked(&mut self, now: Duration, taken: usize, left_none: bool) {
        let gap = self.last_look.replace(now).map(|last| now.saturating_sub(last));
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        let are_dense = gap.is_some_and(|gap| gap.saturating_mul(2) <= self.length.saturating_mul(taken));
        self.is_next = are_dense && left_none && !self.length.is_zero();
    }
}

/// What a short datagram takes in the kernel's buffer, with the kernel's own bookkeeping.
const DATAGRAM_BYTES: u64 = 1_280;

/// Datagrams in a second of the fastest burst that a pause must not lose.
const BURST_RATE: u64 = 400_000;

/// In so long the fastest burst fills half of the buffer: the kernel takes twice what it is asked for.
fn longest(receive_buffer_bytes: usize) -> Duration {
    let datagrams = receive_buffer_bytes as u64 / DATAGRAM_BYTES;
    Duration::from_nanos(datagrams * (1_000_000_000 / BURST_RATE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each of four looks, so far apart and with so many datagrams, is followed by a pause.
    fn follow(nap_us: u64, gap_us: u64, taken: usize, left_none: bool) -> [bool; 4] {
        let mut coalescing = Coalescing::new(Duration::from_micros(nap_us), 8 << 20);
        [1, 2, 3, 4].map(|look| {
            coalescing.looked(Duration::from_micros(look * gap_us), taken, left_none);
            coalescing.next().is_some()
        })
    }

    #[test]
    fn naps_are_for_dense_traffic() {
        let check = |gap_us: u64, taken: usize, expect: bool, what: &str| {
            assert_eq!(follow(5_000, gap_us, taken, true), [false, expect, expect, expect], "{what}");
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
    fn whoever_has_not_taken_all_does_not_sleep() {
        assert_eq!(follow(5_000, 10, 512, false), [false; 4]);
    }

    #[test]
    fn whoever_wants_no_naps_gets_none() {
        assert_eq!(follow(0, 0, 64, true), [false; 4]);
    }

    #[test]
    fn a_nap_is_no_longer_than_the_buffer_has_room_for() {
        let check = |wanted_us: u64, receive_buffer_bytes: usize, expect_ns: u64| {
            let coalescing = Coalescing::new(Duration::from_micros(wanted_us), receive_buffer_bytes);
            assert_eq!(
                coalescing.length,
                Duration::from_nanos(expect_ns),
                "{wanted_us} {receive_buffer_bytes}"
            );
        };
        check(5_000, 8 << 20, 5_000_000);
        check(100_000, 8 << 20, 16_382_500);
        check(5_000, 212_992, 415_000);
        check(5_000, 4_096, 7_500);
        check(0, 8 << 20, 0);
    }
}
