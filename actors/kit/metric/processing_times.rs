//! The time that an intake's events take, since the last report. Intakes record the times, the reporter takes
//! them.
//!
//! Times are recorded by batch: every event of a batch takes as long as its batch. The histogram has buckets
//! of a quarter of a power of two, so it needs two kilobytes for any number of events, and a percentile is
//! accurate to within a fifth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::kit::lock::lock;
use butler_sos_domain::histogram::Histogram;

/// The times of one intake; clones share them.
#[derive(Clone, Default)]
pub struct ProcessingTimes(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Events in progress.
    running: AtomicU64,
    window: Mutex<Window>,
}

/// Counts events as in progress until it is dropped.
#[must_use = "the time ends when this is dropped"]
pub struct Running {
    times: ProcessingTimes,
    events: u64,
    began: Instant,
}

/// Times of events, in milliseconds; all zero when there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TimesTaken {
    pub avg_ms: f64,
    pub p95_ms: f64,
    pub max_ms: f64,
}

/// Buckets per power of two.
const STEPS: u64 = 4;

/// Event counts by time in nanoseconds.
#[derive(Default)]
struct Window {
    times_ns: Histogram<STEPS>,
    sum_ns: u128,
}

impl ProcessingTimes {
    /// Starts the work on `events`.
    pub fn begin(&self, events: u64) -> Running {
        self.0.running.fetch_add(events, Ordering::Relaxed);
        Running { times: self.clone(), events, began: Instant::now() }
    }

    /// Events in progress.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.0.running.load(Ordering::Relaxed)
    }

    /// Takes the times of all work that ended since the last call.
    #[must_use]
    pub fn take(&self) -> TimesTaken {
        std::mem::take(&mut *lock(&self.0.window)).times()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let took_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.times.0.running.fetch_sub(self.events, Ordering::Relaxed);
        lock(&self.times.0.window).add(took_ns, self.events);
    }
}

impl Window {
    fn add(&mut self, ns: u64, events: u64) {
        self.times_ns.add(ns, events);
        self.sum_ns += u128::from(ns) * u128::from(events);
    }

    fn times(&self) -> TimesTaken {
        if self.times_ns.count() == 0 {
            return TimesTaken::default();
        }
        TimesTaken {
            avg_ms: self.sum_ns as f64 / self.times_ns.count() as f64 / 1e6,
            p95_ms: self.times_ns.quantile(0.95) as f64 / 1e6,
            max_ms: self.times_ns.max() as f64 / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        let check = |times: &[(u64, u64)], expect: (f64, f64, f64)| {
            let mut window = Window::default();
            times.iter().for_each(|(ns, events)| window.add(*ns, *events));
            let got = window.times();
            assert!((got.avg_ms - expect.0).abs() < 1e-9, "{got:?}");
            assert!((got.p95_ms / expect.1 - 1.0).abs() < 0.26, "{got:?}");
            assert_eq!(got.max_ms, expect.2);
        };
        check(&[(2_000_000, 1)], (2.0, 2.0, 2.0));
        check(&[(1_000_000, 99), (64_000_000, 1)], (1.63, 1.0, 64.0));
        check(&[(1_000_000, 90), (64_000_000, 10)], (7.3, 64.0, 64.0));
        assert_eq!(Window::default().times(), TimesTaken::default());
    }

    #[test]
    fn dropping_the_guard_records_the_time() {
        let times = ProcessingTimes::default();
        let one = times.begin(3);
        let two = times.clone().begin(2);
        assert_eq!(times.running(), 5);
        drop(one);
        assert_eq!(times.running(), 2);
        drop(two);
        assert!(times.take().max_ms > 0.0);
        assert_eq!(times.take(), TimesTaken::default());
    }
}
