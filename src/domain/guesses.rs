//! How long the answer to a wrong token waits. A right one is never asked about here, so it never waits.
//!
//! A client may be wrong some times for nothing; then each wrong token waits twice as long as the one before, up to a
//! maximum, until the client has been quiet for a minute. All clients together are counted in the same way, so that
//! somebody with many addresses waits too. That slows a guesser down and stops none: what keeps a token safe is its
//! length.
//!
//! Bounded: at most `entries_max` clients; the one that was quiet longest is forgotten first.

use std::hash::Hash;

use lru::LruCache;

/// Wrong tokens of one client that wait for nothing: somebody who types has typed wrong.
const FREE: u32 = 10;
/// Wrong tokens of all clients together that wait for nothing.
const FREE_OF_ALL: u32 = 300;
const FIRST_MS: u64 = 50;
const LONGEST_MS: u64 = 250;
/// After so long without a wrong token a client begins anew.
const QUIET_MS: u64 = 60_000;

/// The wrong tokens of all clients.
#[derive(Debug)]
pub struct Guesses<K: Hash + Eq> {
    entries_max: usize,
    clients: LruCache<K, Wrong>,
    all: Wrong,
}

#[derive(Debug, Clone, Copy, Default)]
struct Wrong {
    count: u32,
    last_ms: u64,
}

// === impl Guesses ===

impl<K: Hash + Eq> Guesses<K> {
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        Self { entries_max: entries_max.max(1), clients: LruCache::unbounded(), all: Wrong::default() }
    }

    /// Counts one wrong token of `client` at `now_ms`, which is any clock that does not run backwards; how many
    /// milliseconds its answer is to wait.
    pub fn count(&mut self, client: K, now_ms: u64) -> u64 {
        let of_all = self.all.count(FREE_OF_ALL, now_ms);
        let of_client = self.clients.get_or_insert_mut(client, Wrong::default).count(FREE, now_ms);
        while self.clients.len() > self.entries_max {
            self.clients.pop_lru();
        }
        of_client.max(of_all)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }
}

impl Wrong {
    fn count(&mut self, free: u32, now_ms: u64) -> u64 {
        if now_ms.saturating_sub(self.last_ms) >= QUIET_MS {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.last_ms = now_ms;
        match self.count.saturating_sub(free) {
            0 => 0,
            over => FIRST_MS.checked_shl(over - 1).filter(|ms| *ms > 0).unwrap_or(LONGEST_MS).min(LONGEST_MS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(guesses: &mut Guesses<u32>, client: u32, count: usize, now_ms: u64) -> Vec<u64> {
        (0..count).map(|_| guesses.count(client, now_ms)).collect()
    }

    #[test]
    fn some_are_free_and_then_each_waits_longer() {
        let mut guesses = Guesses::new(10);
        assert_eq!(delays(&mut guesses, 1, 10, 1_000), [0; 10]);
        assert_eq!(delays(&mut guesses, 1, 6, 2_000), [50, 100, 200, 250, 250, 250]);
        // Another client is another client.
        assert_eq!(delays(&mut guesses, 2, 1, 2_000), [0]);
        // For ever, as long as it goes on.
        assert!(delays(&mut guesses, 1, 200, 61_999).iter().all(|ms| *ms == LONGEST_MS));
        assert_eq!(delays(&mut guesses, 1, 1, 121_999), [0]);
    }

    #[test]
    fn many_clients_together_wait_too() {
        let mut guesses = Guesses::new(1_000);
        let of_each: Vec<u64> = (0..310).map(|client| guesses.count(client, 0)).collect();
        assert!(of_each[..300].iter().all(|ms| *ms == 0));
        assert_eq!(of_each[300..304], [50, 100, 200, 250]);
        assert_eq!(guesses.count(1_000, 60_000), 0);
    }

    #[test]
    fn clients_are_bounded() {
        let mut guesses = Guesses::new(3);
        (0..100).for_each(|client| _ = guesses.count(client, 0));
        assert_eq!(guesses.len(), 3);
    }
}
