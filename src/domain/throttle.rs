//! One line in the log per subject and minute, with how often it happened.
//!
//! The first time is said at once; what follows within a minute is counted and said together when the minute is
//! over. Bounded: at most `entries_max` subjects; the one that was quiet longest is forgotten first, so
//! the worst that a flood of subjects does is a line too many.

use std::hash::Hash;

use lru::LruCache;

const QUIET_MS: u64 = 60_000;

#[derive(Debug)]
pub struct Throttle<K: Hash + Eq> {
    entries_max: usize,
    subjects: LruCache<K, Subject>,
}

#[derive(Debug, Clone, Copy)]
struct Subject {
    said_ms: u64,
    unsaid: u64,
}

impl<K: Hash + Eq + Clone> Throttle<K> {
    pub fn new(entries_max: usize) -> Self {
        Self { entries_max: entries_max.max(1), subjects: LruCache::unbounded() }
    }

    /// Notes that it happened at `now_ms`. Some: say it now, and that it happened so many times.
    pub fn note(&mut self, subject: K, now_ms: u64) -> Option<u64> {
        let Some(known) = self.subjects.get_mut(&subject) else {
            self.subjects.put(subject, Subject { said_ms: now_ms, unsaid: 0 });
            while self.subjects.len() > self.entries_max {
                self.subjects.pop_lru();
            }
            return Some(1);
        };
        known.unsaid += 1;
        if now_ms.saturating_sub(known.said_ms) < QUIET_MS {
            return None;
        }
        known.said_ms = now_ms;
        Some(std::mem::take(&mut known.unsaid))
    }

    /// What is to be said although it does not happen any more; subjects long quiet are forgotten.
    pub fn due(&mut self, now_ms: u64) -> Vec<(K, u64)> {
        let over: Vec<K> = self
            .subjects
            .iter()
            .filter(|(_, subject)| now_ms.saturating_sub(subject.said_ms) >= QUIET_MS)
            .map(|(key, _)| key.clone())
            .collect();
        let mut due = Vec::new();
        for key in over {
            let Some(subject) = self.subjects.peek_mut(&key) else { continue };
            if subject.unsaid == 0 {
                self.subjects.pop(&key);
                continue;
            }
            subject.said_ms = now_ms;
            due.push((key, std::mem::take(&mut subject.unsaid)));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_at_once_then_once_a_minute_with_the_count() {
        let mut throttle = Throttle::new(2);
        assert_eq!(throttle.note("a", 0), Some(1));
        assert_eq!(throttle.note("b", 5), Some(1));
        assert_eq!(throttle.note("a", 10), None);
        assert_eq!(throttle.note("a", 59_999), None);
        assert_eq!(throttle.due(59_999), []);
        assert_eq!(throttle.note("a", 60_000), Some(3));
        assert_eq!(throttle.note("a", 60_001), None);
        assert_eq!(throttle.due(130_000), [("a", 1)]);
        assert_eq!(throttle.due(190_000), []);
        // Forgotten, so it is new.
        assert_eq!(throttle.note("a", 190_001), Some(1));
    }

    #[test]
    fn subjects_are_bounded() {
        let mut throttle = Throttle::new(2);
        for subject in 0..100 {
            assert_eq!(throttle.note(subject, 0), Some(1));
        }
        assert_eq!(throttle.subjects.len(), 2);
    }
}
