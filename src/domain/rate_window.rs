//! How often somebody may come: a count in windows of fixed length, one for all or one per key.
//!
//! A window opens with its first request and lasts a minute; within it so many requests pass and the
//! rest are refused with the time until the window ends. That is what Fastify's limiter does, and what its
//! headers tell (`x-ratelimit-remaining` counts down, `x-ratelimit-reset` is when all are back). A leaky bucket
//! (GCRA) gives requests back one at a time and lets twice as many through in the first minute, so it can tell
//! neither figure. Contract: `audit-api.md`, "Rate limit".
//!
//! Bounded: at most `entries_max` keys; the one that was quiet longest is forgotten first.

use std::hash::Hash;
use std::time::Duration;

use lru::LruCache;

/// Length of a window.
const WINDOW: Duration = Duration::from_secs(60);

/// One window for all.
#[derive(Debug)]
pub struct RateWindow {
    requests_max: u64,
    window: Option<Window>,
}

/// A window for each key.
#[derive(Debug)]
pub struct RateWindows<K: Hash + Eq> {
    requests_max: u32,
    entries_max: usize,
    windows: LruCache<K, Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    opened: Duration,
    requests: u64,
}

/// A key that has used up its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// Requests that a window lets through.
    pub limit: u32,
    /// Whole seconds, rounded up, until the window ends: 1 to 60.
    pub reset_seconds: u64,
}

// === impl RateWindow ===

impl RateWindow {
    #[must_use]
    pub fn new(requests_max: u64) -> Self {
        Self { requests_max, window: None }
    }

    /// Whether one more passes at `now`, which is any clock that does not run backwards.
    pub fn take(&mut self, now: Duration) -> bool {
        self.window.get_or_insert(Window::open(now)).take(self.requests_max, now)
    }
}

// === impl RateWindows ===

impl<K: Hash + Eq> RateWindows<K> {
    pub fn new(requests_max: u32, entries_max: usize) -> Self {
        Self { requests_max, entries_max: entries_max.max(1), windows: LruCache::unbounded() }
    }

    /// Counts one request of `key` at `now_ms`, which is any clock that does not run backwards.
    pub fn count(&mut self, key: K, now_ms: u64) -> Result<(), Exceeded> {
        let now = Duration::from_millis(now_ms);
        let window = self.windows.get_or_insert_mut(key, || Window::open(now));
        let passes = window.take(u64::from(self.requests_max), now);
        let left = WINDOW.saturating_sub(window.age(now));
        while self.windows.len() > self.entries_max {
            self.windows.pop_lru();
        }
        if passes {
            return Ok(());
        }
        let reset_seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Err(Exceeded { limit: self.requests_max, reset_seconds })
    }

    pub fn len(&self) -> usize {
        self.windows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }
}

// === impl Window ===

impl Window {
    fn open(now: Duration) -> Self {
        Self { opened: now, requests: 0 }
    }

    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.opened)
    }

    /// Whether one more passes; the next window opens when this one is over.
    fn take(&mut self, requests_max: u64, now: Duration) -> bool {
        if self.age(now) >= WINDOW {
            *self = Self::open(now);
        }
        let passes = self.requests < requests_max;
        self.requests += u64::from(passes);
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_window_opens_with_the_first_request() {
        let mut windows = RateWindows::new(2, 10);
        let mut check = |key: &'static str, now_ms: u64, expect: Result<(), u64>| {
            let got = windows.count(key, now_ms).map_err(|exceeded| exceeded.reset_seconds);
            assert_eq!(got, expect, "{key} at {now_ms}");
        };
        check("a", 1_000, Ok(()));
        check("a", 1_001, Ok(()));
        check("a", 1_001, Err(60));
        check("b", 1_001, Ok(()));
        check("a", 31_000, Err(30));
        check("a", 60_999, Err(1));
        check("a", 61_000, Ok(()));
        check("a", 61_000, Ok(()));
        check("a", 61_000, Err(60));
        // A clock that steps back does no harm.
        check("a", 0, Err(60));
    }

    #[test]
    fn one_window_for_all_lasts_a_minute() {
        let mut window = RateWindow::new(2);
        let mut check =
            |ms: u64, expect: bool| assert_eq!(window.take(Duration::from_millis(ms)), expect, "{ms}");
        check(50_000, true);
        check(50_000, true);
        check(109_999, false);
        check(110_000, true);
        check(110_000, true);
        check(110_001, false);
        check(400_000, true);
        assert!(!RateWindow::new(0).take(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn bounds_hold(requests in prop::collection::vec((0_u8..20, 0_u64..50_000), 0..300)) {
            let mut windows = RateWindows::new(3, 5);
            let mut passed = std::collections::HashMap::<u8, Vec<u64>>::new();
            let mut now_ms = 0;
            let mut distinct = RateWindows::new(3, 100);
            for (key, pause_ms) in requests {
                now_ms += pause_ms / 10;
                let _ = windows.count(key, now_ms);
                prop_assert!(windows.len() <= 5);
                if distinct.count(key, now_ms).is_ok() {
                    passed.entry(key).or_default().push(now_ms);
                }
            }
            // Any four that passed are spread over more than one window.
            for times in passed.values() {
                prop_assert!(times.windows(7).all(|seven| seven[6] - seven[0] >= 60_000));
            }
        }
    }
}
