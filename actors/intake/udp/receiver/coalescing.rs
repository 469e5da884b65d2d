//! Decides when the receiver pauses and then receives everything that arrived meanwhile, instead of waiting
//! for a first datagram.
//!
//! A wake-up costs more than five datagrams. With sparse traffic a pause collects nothing and only adds
//! latency.

use std::time::Duration;

/// Decides whether to pause before the next read of the socket.
#[derive(Debug)]
pub struct Coalescing {
    length: Duration,
    last_look: Option<Duration>,
    is_next: bool,
}

impl Coalescing {
    /// Uses pauses of `wanted`, or shorter ones if the receive buffer could overflow meanwhile.
    #[must_use]
    pub fn new(wanted: Duration, receive_buffer_bytes: usize) -> Self {
        Self { length: wanted.min(longest(receive_buffer_bytes)), last_look: None, is_next: false }
    }

    /// The pause before the next read, if any.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.is_next.then_some(self.length)
    }

    /// Records that a read at `now` received `taken` datagrams. A pause follows when it would collect at
    /// least two datagrams at the rate since the last read, and when the read left none behind.
    pub fn looked(&mut self, now: Duration, taken: usize, left_none: bool) {
        let gap = self.last_look.replace(now).map(|last| now.saturating_sub(last));
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        let are_dense = gap.is_some_and(|gap| gap.saturating_mul(2) <= self.length.saturating_mul(taken));
        self.is_next = are_dense && left_none && !self.length.is_zero();
    }
}

/// The size of a short datagram in the kernel's buffer, with the kernel's own bookkeeping.
const DATAGRAM_BYTES: u64 = 1_280;

/// The rate of the fastest burst during which a pause must not lose datagrams.
const BURST_RATE: u64 = 400_000;

/// The time in which the fastest burst fills half of the buffer. The kernel allocates twice the requested
/// size.
fn longest(receive_buffer_bytes: usize) -> Duration {
    let datagrams = receive_buffer_bytes as u64 / DATAGRAM_BYTES;
    Duration::from_nanos(datagrams * (1_000_000_000 / BURST_RATE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a pause follows each of four reads with this distance and number of datagrams.
    fn follow(nap_us: u64, gap_us: u64, taken: usize, left_none: bool) -> [bool; 4] {
        let mut coalescing = Coalescing::new(Duration::from_micros(nap_us), 8 << 20);
        [1, 2, 3, 4].map(|look| {
            coalescing.looked(Duration::from_micros(look * gap_us), taken, left_none);
            coalescing.next().is_some()
        })
    }

    #[test]
    fn pauses_only_with_dense_traffic() {
        let check = |gap_us: u64, taken: usize, expect: bool, what: &str| {
            assert_eq!(follow(5_000, gap_us, taken, true), [false, expect, expect, expect], "{what}");
        };
        check(10_000, 1, false, "100/s");
        check(2_501, 1, false, "a little below 400/s");
        check(2_500, 1, true, "400/s");
        check(10, 1, true, "100 000/s");
        check(20_000, 8, true, "eight at a time");
        check(5_000, 500, true, "100 000/s, after pauses");
        check(5_000, 1, false, "a pause that brought one");
        check(5_000, 0, false, "a pause that brought nothing");
    }

    #[test]
    fn does_not_pause_when_datagrams_are_left() {
        assert_eq!(follow(5_000, 10, 512, false), [false; 4]);
    }

    #[test]
    fn does_not_pause_when_pauses_are_off() {
        assert_eq!(follow(0, 0, 64, true), [false; 4]);
    }

    #[test]
    fn a_pause_is_no_longer_than_the_buffer_allows() {
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
