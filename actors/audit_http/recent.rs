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
use openssl::sha::Sha256;
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
        // Not the function of one call, which looks its algorithm up in OpenSSL's providers each time.
        let mut hash = Sha256::new();
        hash.update(body);
        let mut half = [0; 16];
        half.copy_from_slice(&hash.finish()[..16]);
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
#[derive(Debug)]
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

    /// What is known of this event, if anything.
    pub fn meet(&self, fingerprint: &Fingerprint) -> Option<Met> {
        self.lock().meet(fingerprint)
    }

    /// Events that go to the journal together; none so far.
    pub fn announce(&self) -> Announced {
        let (outcome, awaited) = watch::channel(None);
        Announced { recent: self.clone(), fingerprints: Vec::new(), outcome, awaited }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn meet(&mut self, fingerprint: &Fingerprint) -> Option<Met> {
        if self.entries_max == 0 {
            return None;
        }
        if self.stored.get(fingerprint).is_some() {
            return Some(Met::Stored);
        }
        self.under_way.get(fingerprint).cloned().map(Met::UnderWay)
    }

    fn remember(&mut self, fingerprint: Fingerprint) {
        self.stored.put(fingerprint, ());
        while self.stored.len() > self.entries_max {
            self.stored.pop_lru();
        }
    }
}

/// Events under way together, with one outcome; dropped without it, they are lost and may come again.
pub struct Announced {
    recent: Recent,
    fingerprints: Vec<Fingerprint>,
    outcome: watch::Sender<Option<Outcome>>,
    awaited: Awaited,
}

impl Announced {
    /// One more, unless it was met before.
    pub fn add(&mut self, fingerprint: Fingerprint) -> Result<Awaited, Met> {
        let mut table = self.recent.lock();
        if let Some(met) = table.meet(&fingerprint) {
            return Err(met);
        }
        if table.entries_max > 0 {
            table.under_way.insert(fingerprint, self.awaited.clone());
            self.fingerprints.push(fingerprint);
        }
        Ok(self.awaited.clone())
    }

    pub fn finish(mut self, outcome: Outcome) {
        self.leave_table(outcome == Outcome::Stored);
        self.outcome.send_replace(Some(outcome));
    }

    fn leave_table(&mut self, are_stored: bool) {
        let mut table = self.recent.lock();
        for fingerprint in self.fingerprints.drain(..) {
            table.under_way.remove(&fingerprint);
            if are_stored {
                table.remember(fingerprint);
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

    fn print(body: &str) -> Fingerprint {
        Fingerprint::of(body.as_bytes())
    }

    fn met(recent: &Recent, body: &str) -> &'static str {
        match recent.meet(&print(body)) {
            None => "new",
            Some(Met::Stored) => "stored",
            Some(Met::UnderWay(_)) => "under way",
        }
    }

    fn announce(recent: &Recent, bodies: &[&str]) -> (Announced, Awaited) {
        let mut announced = recent.announce();
        let awaited = bodies.iter().map(|body| announced.add(print(body)).expect("not met before")).last();
        (announced, awaited.expect("an event"))
    }

    #[actix_rt::test]
    async fn the_way_of_an_event() {
        let recent = Recent::new(3, ["old", "older but last"]);
        assert_eq!((met(&recent, "old"), met(&recent, "a")), ("stored", "new"));
        let (mut announced, awaited) = announce(&recent, &["a", "b"]);
        assert_eq!((met(&recent, "a"), met(&recent, "b")), ("under way", "under way"));
        assert!(matches!(announced.add(print("a")), Err(Met::UnderWay(_))));
        assert!(matches!(announced.add(print("old")), Err(Met::Stored)));
        announced.finish(Outcome::Stored);
        assert_eq!(outcome(awaited).await, Outcome::Stored);
        assert_eq!((met(&recent, "a"), met(&recent, "b")), ("stored", "stored"));
        // "old" was met last, so the other one made room.
        assert_eq!((met(&recent, "old"), met(&recent, "older but last")), ("stored", "new"));
    }

    #[actix_rt::test]
    async fn what_was_not_stored_may_come_again() {
        let recent = Recent::new(2, [""; 0]);
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
        let recent = Recent::new(0, ["a"]);
        let (announced, _) = announce(&recent, &["a", "a"]);
        announced.finish(Outcome::Stored);
        assert_eq!(met(&recent, "a"), "new");
    }
}
