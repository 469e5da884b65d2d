//! The clocks of the machine, and the one that stamps what both intakes receive.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::kit::lock::lock;
use butler_sos_domain::receipt_clock::ReceiptClock;

use super::platform::clock::since_boot_ns;

/// Stamps times of receipt. Its clones are one clock: that is what keeps stamps unique over all streams.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<Mutex<ReceiptClock>>);

impl Clock {
    /// Goes on after the newest stamps that are stored.
    #[must_use]
    pub fn after(stamps: impl IntoIterator<Item = u64>) -> Self {
        Self(Arc::new(Mutex::new(ReceiptClock::after(stamps))))
    }

    /// For several stamps; held for as long as it takes to give them.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ReceiptClock> {
        lock(&self.0)
    }

    /// One stamp for something received now.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        // Under the lock: who comes later has the later time.
        let mut clock = self.lock();
        clock.stamp(unix_ns())
    }
}

/// What the clock of the day says, Unix nanoseconds.
#[must_use]
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What the clock of the day says, Unix milliseconds.
#[must_use]
pub fn unix_ms() -> u64 {
    unix_ns() / 1_000_000
}

/// Nanoseconds of a clock that nobody sets and that counts on while the machine sleeps.
#[must_use]
pub fn steady_ns() -> u64 {
    // Without such a clock no jump is seen.
    since_boot_ns().unwrap_or_else(unix_ns)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn threads_that_stamp_at_once_never_share_a_stamp() {
        let clock = Clock::after([unix_ns() + 500_000_000]);
        let stamps: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..2_000).map(|_| clock.stamp()).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(stamps.iter().collect::<HashSet<_>>().len(), 8_000);
    }
}
