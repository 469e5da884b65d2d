//! How long an intake's events take, since somebody last asked. No actor: intakes count, whoever reports takes.
//!
//! Counted a batch at a time: every event of a batch takes as long as its batch. Times are kept in classes of a
//! quarter of a power of two, so that however many there are, they take two kilobytes, and a percentile is known to
//! within a fifth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The times of one intake; clones share them.
#[derive(Clone, Default)]
pub struct ProcessingTimes(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Events being worked on.
    running: AtomicU64,
    window: Mutex<Window>,
}

/// Events being worked on, until this is dropped.
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

const CLASSES: usize = 256;

/// Events by their time in nanoseconds.
struct Window {
    /// Class `4 e + q` holds times from `2^e (1 + q/4)` on.
    classes: [u64; CLASSES],
    events: u64,
    sum_ns: u128,
    max_ns: u64,
}

// === impl ProcessingTimes ===

impl ProcessingTimes {
    /// Work on `events` begins.
    pub fn begin(&self, events: u64) -> Running {
        self.0.running.fetch_add(events, Ordering::Relaxed);
        Running { times: self.clone(), events, began: Instant::now() }
    }

    /// Events being worked on.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.0.running.load(Ordering::Relaxed)
    }

    /// The times of all that ended since the last call.
    #[must_use]
    pub fn take(&self) -> TimesTaken {
        std::mem::take(&mut *self.0.window.lock().unwrap_or_else(PoisonError::into_inner)).times()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let took_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.times.0.running.fetch_sub(self.events, Ordering::Relaxed);
        self.times.0.window.lock().unwrap_or_else(PoisonError::into_inner).add(took_ns, self.events);
    }
}

// === impl Window ===

impl Default for Window {
    fn default() -> Self {
        Self { classes: [0; CLASSES], events: 0, sum_ns: 0, max_ns: 0 }
    }
}

impl Window {
    fn add(&mut self, ns: u64, events: u64) {
        if events == 0 {
            return;
        }
        self.classes[class(ns)] += events;
        self.events += events;
        self.sum_ns += u128::from(ns) * u128::from(events);
        self.max_ns = self.max_ns.max(ns);
    }

    fn times(&self) -> TimesTaken {
        if self.events == 0 {
            return TimesTaken::default();
        }
        let wanted = (self.events as f64 * 0.95).ceil() as u64;
        let mut below = 0;
        let p95 = self.classes.iter().position(|events| {
            below += events;
            below >= wanted
        });
        let p95_ns = p95.map_or(self.max_ns, |class| end_of(class).min(self.max_ns));
        TimesTaken {
            avg_ms: self.sum_ns as f64 / self.events as f64 / 1e6,
            p95_ms: p95_ns as f64 / 1e6,
            max_ms: self.max_ns as f64 / 1e6,
        }
    }
}

fn class(ns: u64) -> usize {
    let ns = u128::from(ns.max(1));
    let exponent = ns.ilog2();
    let quarter = ((ns << 2) >> exponent) & 3;
    exponent as usize * 4 + quarter as usize
}

/// The longest time of a class.
fn end_of(class: usize) -> u64 {
    let (exponent, quarter) = (class / 4, (class % 4) as u128);
    let end = ((5 + quarter) << exponent).div_ceil(4);
    u64::try_from(end - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_class_that_ends_behind_it() {
        for ns in (0..64).flat_map(|e| [1_u64 << e, (1 << e) + 1, u64::MAX >> e]).chain([0, 1_000, 999_999]) {
            let class = class(ns);
            assert!(end_of(class) >= ns, "{ns} {class}");
            assert!(end_of(class) as f64 <= ns.max(1) as f64 * 1.26, "{ns} {class}");
        }
    }

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
    fn what_is_dropped_was_worked_on() {
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
