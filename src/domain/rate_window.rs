//! How often somebody may come: a count per key in windows of fixed length.
//!
//! A key's window opens with its first request and lasts a minute; within it so many requests pass and the
//! rest are refused with the time until the window ends. That is what Fastify's limiter does, and what its
//! headers tell (`x-ratelimit-remaining` counts down, `x-ratelimit-reset` is when all are back). A leaky bucket
//! (GCRA) gives requests back one at a time and lets twice as many through in the first minute, so it can tell
//! neither figure. Contract: `audit-api.md`, "Rate limit".
//!
//! Bounded: at most `entries_max` keys; the one that was quiet longest is forgotten first.

use std::hash::Hash;

use lru::LruCache;

/// Length of a window, milliseconds.
const WINDOW_MS: u64 = 60_000;

/// The counts of all keys.
#[derive(Debug)]
pub struct RateWindows<K: Hash + Eq> {
    requests_max: u32,
    entries_max: usize,
    windows: LruCache<K, Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    opened_ms: u64,
    requests: u32,
}

/// A key that has used up its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// Requests that a window lets through.
    pub limit: u32,
    /// Whole seconds, rounded up, until the window ends: 1 to 60.
    pub reset_seconds: u64,
}

impl<K: Hash + Eq> RateWindows<K> {
    pub fn new(requests_max: u32, entries_max: usize) -> Self {
        Self { requests_max, entries_max: entries_max.max(1), windows: LruCache::unbounded() }
    }

    /// Counts one request of `key` at `now_ms`, which is any clock that does not run backwards.
    pub fn count(&mut self, key: K, now_ms: u64) -> Result<(), Exceeded> {
        let window = self.windows.get_or_insert_mut(key, || Window { opened_ms: now_ms, requests: 0 });
        if now_ms.saturating_sub(window.opened_ms) >= WINDOW_MS {
            *window = Window { opened_ms: now_ms, requests: 0 };
        }
        let left_ms = WINDOW_MS - now_ms.saturating_sub(window.opened_ms);
        let passes = window.requests < self.requests_max;
        window.requests += u32::from(passes);
        while self.windows.len() > self.entries_max {
            self.windows.pop_lru();
        }
        if passes {
            return Ok(());
        }
        Err(Exceeded { limit: self.requests_max, reset_seconds: left_ms.div_ceil(1_000) })
    }

    pub fn len(&self) -> usize {
        self.windows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
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
                prop_assert!(times.windows(7).all(|seven| seven[6] - seven[0] >= WINDOW_MS));
            }
        }
    }
}
