//! Recent events, so that an event that is sent twice is stored once, and an event with the ids of another
//! one is recognised.
//!
//! A client without a 202 (a cut connection, a killed process) cannot know whether its event is on disk, and
//! sends it again. An event is identified by all bytes of its stored body: the same ids with another body are
//! another event, which is marked ([`butler_sos_domain::audit::conflict`]). The table stores the first half
//! of the body's SHA-256, so nobody can construct two events that count as the same.
//!
//! Bounds: `entries_max` stored events and as many ids, the least recently used out first. The intake's queue
//! bounds the events in flight. With `entries_max` 0 the table stores nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::kit::lock::lock;
use butler_sos_domain::audit::BodyHash;
use butler_sos_domain::audit::conflict::Remembered;
use lru::LruCache;
use tokio::sync::watch;

/// The outcome of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk.
    Stored,
    /// The journal is full, or its disk refuses.
    NoRoom,
    /// The journal did not answer.
    Lost,
}

/// Resolves to the outcome.
pub type Awaited = watch::Receiver<Option<Outcome>>;

/// Waits for the outcome. It is `Lost` when the sender is gone.
pub async fn outcome(mut awaited: Awaited) -> Outcome {
    match awaited.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.unwrap_or(Outcome::Lost),
        Err(_) => Outcome::Lost,
    }
}

/// The ids of an event, as a hash of the file name that they form.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ids(u64, u64);

/// The table that all threads share.
#[derive(Clone)]
pub struct Recent {
    table: Arc<Mutex<Table>>,
    /// Random seeds, so that nobody can construct two names with the same hash.
    seeds: [RandomState; 2],
    entries_max: usize,
}

struct Table {
    entries_max: usize,
    stored: LruCache<BodyHash, ()>,
    under_way: HashMap<BodyHash, Awaited>,
    /// The first body with these ids, stored or in flight.
    first: LruCache<Ids, BodyHash>,
}

/// The known state of an event.
#[derive(Debug)]
pub enum Met {
    Stored,
    UnderWay(Awaited),
}

impl Recent {
    /// A table with the `stored` events, the newest last.
    pub fn new(entries_max: usize, stored: impl IntoIterator<Item = Remembered>) -> Self {
        let table = Table {
            entries_max,
            stored: LruCache::unbounded(),
            under_way: HashMap::new(),
            first: LruCache::unbounded(),
        };
        let seeds = [RandomState::new(), RandomState::new()];
        let recent = Self { table: Arc::new(Mutex::new(table)), seeds, entries_max };
        if entries_max > 0 {
            let mut table = recent.lock();
            for event in stored {
                table.remember(event.hash);
                table.claim(&recent.ids(&event.file_names), event.first);
            }
        }
        recent
    }

    /// Whether the table stores anything.
    pub fn is_on(&self) -> bool {
        self.entries_max > 0
    }

    /// The keys for the file names of an event.
    pub fn ids(&self, file_names: &[String]) -> Vec<Ids> {
        let [one, other] = &self.seeds;
        file_names.iter().map(|name| Ids(one.hash_one(name), other.hash_one(name))).collect()
    }

    /// The known state of this event, if any.
    pub fn meet(&self, hash: &BodyHash) -> Option<Met> {
        self.lock().meet(hash)
    }

    /// Starts an empty group of events that go to the journal together.
    pub fn announce(&self) -> Announced {
        let (outcome, awaited) = watch::channel(None);
        Announced { recent: self.clone(), events: Vec::new(), outcome, awaited }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Table {
    fn meet(&mut self, hash: &BodyHash) -> Option<Met> {
        if self.entries_max == 0 {
            return None;
        }
        if self.stored.get(hash).is_some() {
            return Some(Met::Stored);
        }
        self.under_way.get(hash).cloned().map(Met::UnderWay)
    }

    fn remember(&mut self, hash: BodyHash) {
        self.stored.put(hash, ());
        while self.stored.len() > self.entries_max {
            self.stored.pop_lru();
        }
    }

    /// Returns the body that already has one of these ids, if it is another body. Otherwise the ids become
    /// this body's.
    fn claim(&mut self, ids: &[Ids], hash: BodyHash) -> Option<BodyHash> {
        let first = ids.iter().find_map(|ids| self.first.get(ids).copied());
        if let Some(other) = first.filter(|first| *first != hash) {
            return Some(other);
        }
        for ids in ids {
            self.first.put(*ids, hash);
        }
        while self.first.len() > self.entries_max {
            self.first.pop_lru();
        }
        None
    }
}

/// Events in flight together, with one outcome. Dropped without an outcome, they are lost and may be sent
/// again.
pub struct Announced {
    recent: Recent,
    events: Vec<Announcement>,
    outcome: watch::Sender<Option<Outcome>>,
    awaited: Awaited,
}

struct Announcement {
    hash: BodyHash,
    /// Ids that the event owns.
    ids: Vec<Ids>,
}

/// An event that was not received before.
pub struct Added {
    pub awaited: Awaited,
    /// The first body with its ids.
    pub conflict_of: Option<BodyHash>,
}

impl Announced {
    /// Adds an event, unless it was received before.
    pub fn add(&mut self, hash: BodyHash, ids: Vec<Ids>) -> Result<Added, Met> {
        let mut table = self.recent.lock();
        if let Some(met) = table.meet(&hash) {
            return Err(met);
        }
        let mut conflict_of = None;
        if table.entries_max > 0 {
            table.under_way.insert(hash, self.awaited.clone());
            conflict_of = table.claim(&ids, hash);
            let ids = if conflict_of.is_none() { ids } else { Vec::new() };
            self.events.push(Announcement { hash, ids });
        }
        Ok(Added { awaited: self.awaited.clone(), conflict_of })
    }

    pub fn finish(mut self, outcome: Outcome) {
        self.leave_table(outcome == Outcome::Stored);
        self.outcome.send_replace(Some(outcome));
    }

    fn leave_table(&mut self, are_stored: bool) {
        let mut table = self.recent.lock();
        for Announcement { hash, ids } in self.events.drain(..) {
            table.under_way.remove(&hash);
            if are_stored {
                table.remember(hash);
                continue;
            }
            for ids in ids {
                if table.first.peek(&ids) == Some(&hash) {
                    table.first.pop(&ids);
                }
            }
        }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.leave_table(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(body: &str) -> BodyHash {
        BodyHash::of(body.as_bytes())
    }

    fn remembered(bodies: &[&str]) -> Vec<Remembered> {
        let of =
            |body: &&str| Remembered { hash: hash(body), first: hash(body), file_names: vec![ids_of(body)] };
        bodies.iter().map(of).collect()
    }

    /// The ids of a test body are the text before its colon.
    fn ids_of(body: &str) -> String {
        body.split(':').next().unwrap_or_default().to_owned()
    }

    fn met(recent: &Recent, body: &str) -> &'static str {
        match recent.meet(&hash(body)) {
            None => "new",
            Some(Met::Stored) => "stored",
            Some(Met::UnderWay(_)) => "under way",
        }
    }

    fn add(announced: &mut Announced, body: &str) -> Result<Added, Met> {
        let ids = announced.recent.ids(&[ids_of(body)]);
        announced.add(hash(body), ids)
    }

    fn announce(recent: &Recent, bodies: &[&str]) -> (Announced, Awaited) {
        let mut announced = recent.announce();
        let added = bodies
            .iter()
            .map(|body| add(&mut announced, body).unwrap_or_else(|_| panic!("met before")))
            .last();
        (announced, added.expect("an event").awaited)
    }

    /// Stores the body and returns the event that it is in conflict with.
    fn conflict_of(recent: &Recent, body: &str) -> Option<BodyHash> {
        let mut announced = recent.announce();
        let added = add(&mut announced, body).unwrap_or_else(|_| panic!("met before"));
        announced.finish(Outcome::Stored);
        added.conflict_of
    }

    #[actix_rt::test]
    async fn an_event_is_new_then_in_flight_then_stored() {
        let recent = Recent::new(3, remembered(&["old", "older but last"]));
        assert_eq!((met(&recent, "old"), met(&recent, "a")), ("stored", "new"));
        let (mut announced, awaited) = announce(&recent, &["a", "b"]);
        assert_eq!((met(&recent, "a"), met(&recent, "b")), ("under way", "under way"));
        assert!(matches!(add(&mut announced, "a"), Err(Met::UnderWay(_))));
        assert!(matches!(add(&mut announced, "old"), Err(Met::Stored)));
        announced.finish(Outcome::Stored);
        assert_eq!(outcome(awaited).await, Outcome::Stored);
        assert_eq!((met(&recent, "a"), met(&recent, "b")), ("stored", "stored"));
        // "old" was used last, so the other one was evicted.
        assert_eq!((met(&recent, "old"), met(&recent, "older but last")), ("stored", "new"));
    }

    #[actix_rt::test]
    async fn an_event_that_was_not_stored_may_be_sent_again() {
        let recent = Recent::new(2, []);
        let (announced, awaited) = announce(&recent, &["a"]);
        announced.finish(Outcome::NoRoom);
        assert_eq!(outcome(awaited).await, Outcome::NoRoom);
        let (announced, awaited) = announce(&recent, &["a", "b"]);
        drop(announced);
        assert_eq!(outcome(awaited).await, Outcome::Lost);
        assert_eq!((met(&recent, "a"), met(&recent, "b")), ("new", "new"));
    }

    #[actix_rt::test]
    async fn stores_nothing_with_a_limit_of_zero() {
        let recent = Recent::new(0, remembered(&["a"]));
        let (announced, _) = announce(&recent, &["a", "a", "a:2"]);
        announced.finish(Outcome::Stored);
        assert_eq!(met(&recent, "a"), "new");
        assert_eq!(conflict_of(&recent, "a:3"), None);
    }

    #[test]
    fn the_same_ids_with_another_body_are_a_conflict_with_the_first() {
        let recent = Recent::new(10, remembered(&["old:1"]));
        assert_eq!(conflict_of(&recent, "old:2"), Some(hash("old:1")));
        assert_eq!(conflict_of(&recent, "old:3"), Some(hash("old:1")));
        assert_eq!(conflict_of(&recent, "a:1"), None);
        assert_eq!(conflict_of(&recent, "a:2"), Some(hash("a:1")));
        // Sent again they are duplicates, with or without the mark.
        assert_eq!(
            (met(&recent, "old:1"), met(&recent, "old:2"), met(&recent, "a:2")),
            ("stored", "stored", "stored")
        );
    }

    #[test]
    fn a_marked_event_in_the_journal_restores_the_first_one() {
        let marked = Remembered { first: hash("a:1"), ..remembered(&["a:2"]).remove(0) };
        let recent = Recent::new(10, [marked]);
        assert_eq!(conflict_of(&recent, "a:3"), Some(hash("a:1")));
    }

    #[test]
    fn events_in_flight_count_for_conflicts() {
        let recent = Recent::new(10, []);
        let (mut first, _) = announce(&recent, &["a:1"]);
        // In the same group, and in another one.
        let same = add(&mut first, "a:2").unwrap_or_else(|_| panic!("met before"));
        assert_eq!(same.conflict_of, Some(hash("a:1")));
        assert_eq!(conflict_of(&recent, "a:3"), Some(hash("a:1")));
        // The ids of an event that was not stored are free again.
        drop(first);
        assert_eq!(conflict_of(&recent, "a:4"), None);
        assert_eq!(conflict_of(&recent, "a:1"), Some(hash("a:4")));
    }

    #[test]
    fn ids_are_bounded() {
        let recent = Recent::new(2, []);
        for body in ["a:1", "b:1", "c:1"] {
            assert_eq!(conflict_of(&recent, body), None);
        }
        assert_eq!(recent.lock().first.len(), 2);
        assert_eq!(conflict_of(&recent, "c:2"), Some(hash("c:1")));
        assert_eq!(conflict_of(&recent, "a:2"), None);
    }
}
