//! The clocks of the machine, and the shared clock that stamps received data for both intakes.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::kit::lock::lock;
use butler_sos_domain::receipt_clock::ReceiptClock;

use super::platform::clock::since_boot_ns;

/// Stamps times of receipt. All clones share one state, so stamps are unique over all streams.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<Mutex<ReceiptClock>>);

impl Clock {
    /// Starts after the newest of the stored stamps.
    #[must_use]
    pub fn after(stamps: impl IntoIterator<Item = u64>) -> Self {
        Self(Arc::new(Mutex::new(ReceiptClock::after(stamps))))
    }

    /// Locks the clock to take several stamps. Hold the guard only while stamping.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ReceiptClock> {
        lock(&self.0)
    }

    /// Returns one stamp for something received now.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        // Read the time under the lock, so that a later caller gets a later time.
        let mut clock = self.lock();
        clock.stamp(unix_ns())
    }
}

/// The wall clock, in Unix nanoseconds.
#[must_use]
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The wall clock, in Unix milliseconds.
#[must_use]
pub fn unix_ms() -> u64 {
    unix_ns() / 1_000_000
}

/// Nanoseconds of a monotonic clock that also counts while the machine sleeps.
#[must_use]
pub fn steady_ns() -> u64 {
    // The wall clock is the fallback. Clock jumps are not detected then.
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
