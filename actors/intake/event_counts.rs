//! How many user events came from where. No actor: the parser counts, whoever reports takes.
//!
//! | event | counted as |
//! |---|---|
//! | an event | received, by its type (`qseow-proxy-session`, …), host and origin |
//! | of a user who is excluded | the same, and rejected by its type |
//! | no event | received as `Unknown`, `Unknown`, `Unknown`, and rejected as `Unknown` |
//!
//! Bounded: of more than `series_max` combinations the further ones are counted with host and origin `other`. The
//! parser holds the lock for a batch, and an event that came from where one came before costs no allocation.

use crate::kit::lock::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// The counts; clones share them.
#[derive(Clone)]
pub struct EventCounts(Arc<Mutex<CountTable>>);

/// The counts while somebody counts.
#[derive(Debug)]
pub struct CountTable {
    series_max: usize,
    /// By type, host and origin, one behind the other with [`SEPARATOR`] between them.
    received: HashMap<Box<str>, u64>,
    /// By type, of which there are few.
    rejected: HashMap<Box<str>, u64>,
    /// A key being looked up.
    key: String,
}

/// What was counted since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Type, host, origin; in their order.
    pub received: Vec<([String; 3], u64)>,
    /// Type.
    pub rejected: Vec<(String, u64)>,
}

/// No field holds it: the parser takes control characters out.
const SEPARATOR: char = '\u{1f}';
/// What stands where nothing is known of a datagram.
const UNKNOWN: &str = "Unknown";
/// What stands where the bound is met.
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

    /// To count a batch.
    pub fn lock(&self) -> MutexGuard<'_, CountTable> {
        // Counts are whole at any time.
        lock(&self.0)
    }

    /// The counts so far; counting begins anew.
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
    /// An event; an origin that is not there is empty.
    pub fn event(&mut self, source: &str, host: &str, origin: &str, is_excluded: bool) {
        self.receive(source, host, origin);
        if is_excluded {
            self.reject(source);
        }
    }

    /// A datagram that is no event.
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
    fn counts_are_kept_apart_and_begin_anew() {
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
    fn beyond_the_bound_nothing_is_lost_but_the_name() {
        let counts = EventCounts::new(2);
        for n in 0..5 {
            let mut table = counts.lock();
            table.event("s", &format!("h{n}"), "o", false);
            table.event("s", "h0", "o", false);
        }
        check(&counts, &[("s h0 o", 6), ("s h1 o", 1), ("s other other", 3)], &[]);
    }
}
