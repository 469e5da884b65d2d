//! Events that came lately, so that one that is sent twice is stored once, and one that comes with the ids of another is
//! known as such.
//!
//! A client that got no 202 (its connection was cut, this process was killed) cannot know whether its event is
//! on disk, and sends it again. An event is recognised by all of its bytes, as they are stored: the same ids with another
//! body are another event, which is marked ([`butler_sos_domain::audit::conflict`]). What is remembered is the first half
//! of the body's SHA-256: nobody can make two events that are taken for one.
//!
//! Bounded: `entries_max` stored events and as many ids, those that were met longest ago out first; those under way are
//! bounded by the intake's queue. None at all when `entries_max` is 0.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::kit::lock::lock;
use butler_sos_domain::audit::BodyHash;
use butler_sos_domain::audit::conflict::Remembered;
use lru::LruCache;
use tokio::sync::watch;

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk.
    Stored,
    /// The journal is full, or its disk refuses.
    NoRoom,
    /// The journal did not answer.
    Lost,
}

/// Says the outcome when there is one.
pub type Awaited = watch::Receiver<Option<Outcome>>;

/// Waits for the outcome; lost when nobody can say it any more.
pub async fn outcome(mut awaited: Awaited) -> Outcome {
    match awaited.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.unwrap_or(Outcome::Lost),
        Err(_) => Outcome::Lost,
    }
}

/// The ids of an event, by the name that they make.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ids(u64, u64);

/// The table, shared by all threads.
#[derive(Clone)]
pub struct Recent {
    table: Arc<Mutex<Table>>,
    /// Nobody outside can make two names that these hash to the same.
    seeds: [RandomState; 2],
    entries_max: usize,
}

struct Table {
    entries_max: usize,
    stored: LruCache<BodyHash, ()>,
    under_way: HashMap<BodyHash, Awaited>,
    /// The body that came first, stored or under way.
    first: LruCache<Ids, BodyHash>,
}

/// What the table knows of an event.
#[derive(Debug)]
pub enum Met {
    Stored,
    UnderWay(Awaited),
}

impl Recent {
    /// A table that knows `stored` events, the newest last.
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

    /// Whether anything is remembered.
    pub fn is_on(&self) -> bool {
        self.entries_max > 0
    }

    /// What stands for these names of an event.
    pub fn ids(&self, file_names: &[String]) -> Vec<Ids> {
        let [one, other] = &self.seeds;
        file_names.iter().map(|name| Ids(one.hash_one(name), other.hash_one(name))).collect()
    }

    /// What is known of this event, if anything.
    pub fn meet(&self, hash: &BodyHash) -> Option<Met> {
        self.lock().meet(hash)
    }

    /// Events that go to the journal together; none so far.
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

    /// The body that has one of these ids already, when it is another one; else they are this one's.
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

/// Events under way together, with one outcome; dropped without it, they are lost and may come again.
pub struct Announced {
    recent: Recent,
    events: Vec<Announcement>,
    outcome: watch::Sender<Option<Outcome>>,
    awaited: Awaited,
}

struct Announcement {
    hash: BodyHash,
    /// Those that are its own.
    ids: Vec<Ids>,
}

/// An event that was not met before.
pub struct Added {
    pub awaited: Awaited,
    /// The body that came first with its ids.
    pub conflict_of: Option<BodyHash>,
}

impl Announced {
    /// One more, unless it was met before.
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

    /// A body's ids are what stands before its colon.
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

    /// What the body is told to be in conflict with when it comes; it is stored.
    fn conflict_of(recent: &Recent, body: &str) -> Option<BodyHash> {
        let mut announced = recent.announce();
        let added = add(&mut announced, body).unwrap_or_else(|_| panic!("met before"));
        announced.finish(Outcome::Stored);
        added.conflict_of
    }

    #[actix_rt::test]
    async fn the_way_of_an_event() {
        let recent = Recent::new(3, remembered(&["old", "older but last"]));
        assert_eq!((met(&recent, "old"), met(&recent, "a")), ("stored", "new"));
        let (mut announced, awaited) = announce(&recent, &["a", "b"]);
        assert_eq!((met(&recent, "a"), met(&recent, "b")), ("under way", "under way"));
        assert!(matches!(add(&mut announced, "a"), Err(Met::UnderWay(_))));
        assert!(matches!(add(&mut announced, "old"), Err(Met::Stored)));
        announced.finish(Outcome::Stored);
        assert_eq!(outcome(awaited).await, Outcome::Stored);
        assert_eq!((met(&recent, "a"), met(&recent, "b")), ("stored", "stored"));
        // "old" was met last, so the other one made room.
        assert_eq!((met(&recent, "old"), met(&recent, "older but last")), ("stored", "new"));
    }

    #[actix_rt::test]
    async fn what_was_not_stored_may_come_again() {
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
    async fn none_are_remembered_when_none_may() {
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
        // Sent again they are duplicates, marked or not.
        assert_eq!(
            (met(&recent, "old:1"), met(&recent, "old:2"), met(&recent, "a:2")),
            ("stored", "stored", "stored")
        );
    }

    #[test]
    fn a_marked_event_of_the_journal_tells_of_the_first() {
        let marked = Remembered { first: hash("a:1"), ..remembered(&["a:2"]).remove(0) };
        let recent = Recent::new(10, [marked]);
        assert_eq!(conflict_of(&recent, "a:3"), Some(hash("a:1")));
    }

    #[test]
    fn those_under_way_count() {
        let recent = Recent::new(10, []);
        let (mut first, _) = announce(&recent, &["a:1"]);
        // In the same group, and in another one.
        let same = add(&mut first, "a:2").unwrap_or_else(|_| panic!("met before"));
        assert_eq!(same.conflict_of, Some(hash("a:1")));
        assert_eq!(conflict_of(&recent, "a:3"), Some(hash("a:1")));
        // The ids of what was not stored are free again.
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
