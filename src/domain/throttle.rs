//! What is logged at most once a minute: one thing, or each of many with how often it happened; and a cap on lines of
//! every kind.
//!
//! The first time is said at once; what follows within a minute is counted and said together when the minute is
//! over. Bounded: at most `entries_max` subjects; the one that was quiet longest is forgotten first, so
//! the worst that a flood of subjects does is a line too many.

use std::hash::Hash;
use std::time::Duration;

use lru::LruCache;

const QUIET: Duration = Duration::from_secs(60);
const QUIET_MS: u64 = 60_000;

/// One thing that is logged at once, and then not before a minute has passed.
#[derive(Debug, Clone, Copy, Default)]
pub struct OnceAMinute {
    last: Option<Duration>,
}

impl OnceAMinute {
    /// Whether it is to be logged at `now`, which is any clock that does not run backwards.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let is_due = self.last.is_none_or(|last| now.saturating_sub(last) >= QUIET);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

/// The same for each of many subjects, counted.
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
        self.note_if(subject, now_ms, || true)
    }

    /// The same where another limit has a word, too: asked when it is time to say it. What it does not allow stays
    /// counted.
    pub fn note_if(&mut self, subject: K, now_ms: u64, may_say: impl FnOnce() -> bool) -> Option<u64> {
        let Some(known) = self.subjects.get_mut(&subject) else {
            if !may_say() {
                return None;
            }
            self.subjects.put(subject, Subject { said_ms: now_ms, unsaid: 0 });
            while self.subjects.len() > self.entries_max {
                self.subjects.pop_lru();
            }
            return Some(1);
        };
        known.unsaid += 1;
        if now_ms.saturating_sub(known.said_ms) < QUIET_MS || !may_say() {
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

/// So many lines of one kind in a minute, and how many more there would have been.
///
/// A kind's minute begins with its first line. Bounded: at most `entries_max` kinds; the one that was quiet longest is
/// forgotten first, with what it has to tell.
#[derive(Debug)]
pub struct LineCap<K: Hash + Eq> {
    lines_max: u32,
    entries_max: usize,
    kinds: LruCache<K, Minute>,
}

#[derive(Debug, Clone, Copy)]
struct Minute {
    began_ms: u64,
    lines: u32,
    held_back: u64,
}

impl<K: Hash + Eq + Clone> LineCap<K> {
    pub fn new(lines_max: u32, entries_max: usize) -> Self {
        Self { lines_max, entries_max: entries_max.max(1), kinds: LruCache::unbounded() }
    }

    /// Whether one more line of this kind may be written at `now_ms`.
    pub fn may_write(&mut self, kind: K, now_ms: u64) -> bool {
        let new = Minute { began_ms: now_ms, lines: 0, held_back: 0 };
        let minute = self.kinds.get_or_insert_mut(kind, || new);
        // What was held back is told before its minute is forgotten.
        if now_ms.saturating_sub(minute.began_ms) >= QUIET_MS && minute.held_back == 0 {
            *minute = new;
        }
        let may = minute.lines < self.lines_max;
        minute.lines += u32::from(may);
        minute.held_back += u64::from(!may);
        while self.kinds.len() > self.entries_max {
            self.kinds.pop_lru();
        }
        may
    }

    /// Kinds whose minute is over, with the number of lines that were held back; at the end of the log, of all kinds.
    pub fn held_back(&mut self, now_ms: u64, is_end: bool) -> Vec<(K, u64)> {
        let mut reported = Vec::new();
        for (kind, minute) in &mut self.kinds {
            let is_over = is_end || now_ms.saturating_sub(minute.began_ms) >= QUIET_MS;
            if is_over && minute.held_back > 0 {
                reported.push((kind.clone(), minute.held_back));
                *minute = Minute { began_ms: now_ms, lines: 0, held_back: 0 };
            }
        }
        reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_due_once_a_minute() {
        let mut line = OnceAMinute::default();
        let mut check = |seconds, expect| assert_eq!(line.is_due(Duration::from_secs(seconds)), expect);
        check(7, true);
        check(7, false);
        check(66, false);
        check(67, true);
        check(0, false);
    }

    #[test]
    fn what_another_limit_keeps_back_stays_counted() {
        let mut throttle = Throttle::new(2);
        assert_eq!(throttle.note_if("a", 0, || false), None);
        assert_eq!(throttle.note_if("a", 1, || true), Some(1), "what was never said is not remembered");
        assert_eq!(throttle.note_if("a", 60_000, || panic!("it is not time to say it")), None);
        assert_eq!(throttle.note_if("a", 60_001, || false), None);
        assert_eq!(throttle.note_if("a", 60_002, || true), Some(3));
    }

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

    #[test]
    fn lines_of_a_kind_are_capped_and_what_was_held_back_is_told() {
        let mut cap = LineCap::new(3, 10);
        let written = (0..10).filter(|_| cap.may_write("a", 5)).count();
        assert_eq!(written, 3);
        assert!(cap.may_write("b", 6), "another kind has lines of its own");
        assert_eq!(cap.held_back(59_999, false), []);
        assert_eq!(cap.held_back(60_005, false), [("a", 7)]);
        assert_eq!(cap.held_back(60_005, false), []);
        assert!(cap.may_write("a", 60_006));
        // A quiet kind begins anew without being asked.
        assert_eq!((0..5).filter(|_| cap.may_write("b", 500_000)).count(), 3);
        assert_eq!(cap.held_back(500_001, true), [("b", 2)]);
    }

    #[test]
    fn kinds_are_bounded() {
        let mut cap = LineCap::new(1, 5);
        assert!((0..100).all(|kind| cap.may_write(kind, 0)));
        assert_eq!(cap.kinds.len(), 5);
    }
}
