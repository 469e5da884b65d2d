//! Counts user events by origin. The parser counts, the reporter takes the counts.
//!
//! | event | counted as |
//! |---|---|
//! | an event | received, by type (`qseow-proxy-session`, …), host and origin |
//! | an event of an excluded user | the same, and rejected by type |
//! | anything else | received as `Unknown`, `Unknown`, `Unknown`, and rejected as `Unknown` |
//!
//! Bounds: beyond `series_max` combinations, events are counted with host and origin `other`. The parser
//! holds the lock for a batch, and an event of a known origin needs no allocation.

use crate::kit::lock::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// The counts. Clones share them.
#[derive(Clone)]
pub struct EventCounts(Arc<Mutex<CountTable>>);

/// The counts while they are locked.
#[derive(Debug)]
pub struct CountTable {
    series_max: usize,
    /// By type, host and origin, joined with [`SEPARATOR`].
    received: HashMap<Box<str>, u64>,
    /// By type. There are few types.
    rejected: HashMap<Box<str>, u64>,
    /// A buffer for the key to look up.
    key: String,
}

/// The counts since the last call.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Type, host, origin; sorted.
    pub received: Vec<([String; 3], u64)>,
    /// Type.
    pub rejected: Vec<(String, u64)>,
}

/// No field contains it: the parser removes control characters.
const SEPARATOR: char = '\u{1f}';
/// The value where a datagram has no known origin.
const UNKNOWN: &str = "Unknown";
/// The value beyond the bound.
const OTHER: &str = "other";

// === impl EventCounts ===

impl EventCounts {
    #[must_use]
    pub fn new(series_max: usize) -> Self {
        Self(Arc::new(Mutex::new(CountTable {
            series_max,
            received: HashMap::new(),
            rejected: HashMap::new(),
            key: String::new(),
        })))
    }

    /// Locks the counts to add a batch.
    pub fn lock(&self) -> MutexGuard<'_, CountTable> {
        // Counts are consistent at any time.
        lock(&self.0)
    }

    /// Takes the counts so far and starts again from zero.
    #[must_use]
    pub fn take(&self) -> Counted {
        let mut table = self.lock();
        let received = std::mem::take(&mut table.received);
        let rejected = std::mem::take(&mut table.rejected);
        drop(table);
        let parts = |key: &str| {
            let mut parts = key.split(SEPARATOR).map(str::to_owned);
            std::array::from_fn(|_| parts.next().unwrap_or_default())
        };
        let mut counted = Counted {
            received: received.iter().map(|(key, count)| (parts(key), *count)).collect(),
            rejected: rejected.into_iter().map(|(source, count)| (source.into(), count)).collect(),
        };
        counted.received.sort();
        counted.rejected.sort();
        counted
    }
}

// === impl CountTable ===

impl CountTable {
    /// Counts an event. A missing origin is empty.
    pub fn event(&mut self, source: &str, host: &str, origin: &str, is_excluded: bool) {
        self.receive(source, host, origin);
        if is_excluded {
            self.reject(source);
        }
    }

    /// Counts a datagram that is not an event.
    pub fn no_event(&mut self) {
        self.receive(UNKNOWN, UNKNOWN, UNKNOWN);
        self.reject(UNKNOWN);
    }

    fn receive(&mut self, source: &str, host: &str, origin: &str) {
        self.set_key(source, host, origin);
        if let Some(count) = self.received.get_mut(self.key.as_str()) {
            *count += 1;
            return;
        }
        if self.received.len() >= self.series_max {
            self.set_key(source, OTHER, OTHER);
        }
        *self.received.entry(self.key.as_str().into()).or_default() += 1;
    }

    fn reject(&mut self, source: &str) {
        match self.rejected.get_mut(source) {
            Some(count) => *count += 1,
            None => _ = self.rejected.insert(source.into(), 1),
        }
    }

    fn set_key(&mut self, source: &str, host: &str, origin: &str) {
        self.key.clear();
        for (at, part) in [source, host, origin].into_iter().enumerate() {
            if at > 0 {
                self.key.push(SEPARATOR);
            }
            self.key.push_str(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(counts: &EventCounts, received: &[(&str, u64)], rejected: &[(&str, u64)]) {
        let counted = counts.take();
        let got: Vec<_> = counted.received.iter().map(|(parts, n)| (parts.join(" "), *n)).collect();
        let expect: Vec<_> = received.iter().map(|(parts, n)| ((*parts).to_owned(), *n)).collect();
        assert_eq!(got, expect);
        let expect: Vec<_> = rejected.iter().map(|(source, n)| ((*source).to_owned(), *n)).collect();
        assert_eq!(counted.rejected, expect);
    }

    #[test]
    fn counts_are_separate_and_restart_after_each_report() {
        let counts = EventCounts::new(10);
        {
            let mut table = counts.lock();
            table.event("s", "h", "o", false);
            table.event("s", "h", "o", true);
            table.event("s", "h", "", false);
            table.no_event();
        }
        check(
            &counts,
            &[("Unknown Unknown Unknown", 1), ("s h ", 1), ("s h o", 2)],
            &[("Unknown", 1), ("s", 1)],
        );
        check(&counts, &[], &[]);
    }

    #[test]
    fn beyond_the_bound_events_are_counted_without_their_origin() {
        let counts = EventCounts::new(2);
        for n in 0..5 {
            let mut table = counts.lock();
            table.event("s", &format!("h{n}"), "o", false);
            table.event("s", "h0", "o", false);
        }
        check(&counts, &[("s h0 o", 6), ("s h1 o", 1), ("s other other", 3)], &[]);
    }
}
