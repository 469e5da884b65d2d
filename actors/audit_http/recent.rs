//! Events that came lately, so that one that is sent twice is stored once.
//!
//! A client that got no 202 (its connection was cut, this process was killed) cannot know whether its event is
//! on disk, and sends it again. An event is recognised by all of its bytes: the same `eventId` with another
//! body is another event. What is remembered is the first half of the body's SHA-256: nobody can make two
//! events that are taken for one.
//!
//! Bounded: `entries_max` stored events, the one that was met longest ago out first; those under way are
//! bounded by the intake's queue. None at all when `entries_max` is 0.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use openssl::sha::sha256;
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

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    pub fn of(body: &[u8]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&sha256(body)[..16]);
        Self(half)
    }
}

/// The table, shared by all threads.
#[derive(Clone)]
pub struct Recent(Arc<Mutex<Table>>);

struct Table {
    entries_max: usize,
    stored: LruCache<Fingerprint, ()>,
    under_way: HashMap<Fingerprint, Awaited>,
}

/// What the table knows of an event.
pub enum Met {
    Stored,
    UnderWay(Awaited),
}

impl Recent {
    /// A table that knows `stored` bodies, the newest last.
    pub fn new<B: AsRef<[u8]>>(entries_max: usize, stored: impl IntoIterator<Item = B>) -> Self {
        let recent = Self(Arc::new(Mutex::new(Table {
            entries_max,
            stored: LruCache::unbounded(),
            under_way: HashMap::new(),
        })));
        if entries_max > 0 {
            let mut table = recent.lock();
            for body in stored {
                table.remember(Fingerprint::of(body.as_ref()));
            }
        }
        recent
    }

    /// Announces an event that goes to the journal, unless it was met before.
    pub fn announce(&self, fingerprint: Fingerprint) -> Result<Announced, Met> {
        let mut table = self.lock();
        let (outcome, awaited) = watch::channel(None);
        if table.entries_max > 0 {
            if table.stored.get(&fingerprint).is_some() {
                return Err(Met::Stored);
            }
            if let Some(awaited) = table.under_way.get(&fingerprint) {
                return Err(Met::UnderWay(awaited.clone()));
            }
            table.under_way.insert(fingerprint, awaited);
        }
        drop(table);
        Ok(Announced { recent: self.clone(), fingerprint, outcome })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remember(&mut self, fingerprint: Fingerprint) {
        self.stored.put(fingerprint, ());
        while self.stored.len() > self.entries_max {
            self.stored.pop_lru();
        }
    }
}

/// An event under way; dropped without an outcome, it is lost and may come again.
pub struct Announced {
    recent: Recent,
    fingerprint: Fingerprint,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Announced {
    pub fn awaited(&self) -> Awaited {
        self.outcome.subscribe()
    }

    pub fn finish(self, outcome: Outcome) {
        if outcome == Outcome::Stored {
            let mut table = self.recent.lock();
            if table.entries_max > 0 {
                table.remember(self.fingerprint);
            }
        }
        self.outcome.send_replace(Some(outcome));
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.recent.lock().under_way.remove(&self.fingerprint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(recent: &Recent, body: &str) -> &'static str {
        match recent.announce(Fingerprint::of(body.as_bytes())) {
            Ok(_) => "new",
            Err(Met::Stored) => "stored",
            Err(Met::UnderWay(_)) => "under way",
        }
    }

    fn announce(recent: &Recent, body: &str) -> Announced {
        recent.announce(Fingerprint::of(body.as_bytes())).ok().expect("not met before")
    }

    #[actix_rt::test]
    async fn the_way_of_an_event() {
        let recent = Recent::new(2, ["old", "older but last"]);
        assert_eq!((met(&recent, "old"), met(&recent, "a")), ("stored", "new"));
        let announced = announce(&recent, "a");
        assert_eq!(met(&recent, "a"), "under way");
        let second = announced.awaited();
        announced.finish(Outcome::Stored);
        assert_eq!(outcome(second).await, Outcome::Stored);
        assert_eq!(met(&recent, "a"), "stored");
        // "old" was met last, so the other one made room.
        assert_eq!((met(&recent, "old"), met(&recent, "older but last")), ("stored", "new"));
    }

    #[actix_rt::test]
    async fn what_was_not_stored_may_come_again() {
        let recent = Recent::new(2, [""; 0]);
        let announced = announce(&recent, "a");
        let awaited = announced.awaited();
        announced.finish(Outcome::NoRoom);
        assert_eq!(outcome(awaited).await, Outcome::NoRoom);
        let announced = announce(&recent, "a");
        let awaited = announced.awaited();
        drop(announced);
        assert_eq!(outcome(awaited).await, Outcome::Lost);
        assert_eq!(met(&recent, "a"), "new");
    }

    #[actix_rt::test]
    async fn none_are_remembered_when_none_may() {
        let recent = Recent::new(0, ["a"]);
        let (first, second) = (announce(&recent, "a"), announce(&recent, "a"));
        first.finish(Outcome::Stored);
        second.finish(Outcome::Stored);
        assert_eq!(met(&recent, "a"), "new");
    }
}
