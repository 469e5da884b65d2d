//! One at a time per key: who asks Qlik Sense for a session, and who waits for it.
//!
//! Qlik Sense allows a user five sessions at once and locks the user out for minutes after that, so of many
//! downloads for one user only one *leads*: it gets a ticket and redeems it. The others wait for its session.
//! A leader that ends without a session hands the lead to the next one waiting. A lead is a numbered lease: a
//! leader that was given up cannot end the flight of its successor. Rules: contract, screenshots.md, "The walk" 4.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Proof of leading a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease(u64);

/// What became of one that asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined<W> {
    /// Nobody was under way: go, and say how it ended with this lease.
    Leads(W, Lease),
    /// Another leads; the waiter is kept until then.
    Waits,
}

/// All flights under way. `K`: whose session. `W`: how to answer one that waits.
#[derive(Debug)]
pub struct Flights<K, W> {
    flights: HashMap<K, Flight<W>>,
    leases: u64,
}

#[derive(Debug)]
struct Flight<W> {
    lease: Lease,
    waiting: VecDeque<W>,
}

impl<K, W> Default for Flights<K, W> {
    fn default() -> Self {
        Self { flights: HashMap::new(), leases: 0 }
    }
}

impl<K: Eq + Hash + Clone, W> Flights<K, W> {
    /// Leads the flight of this key, or waits for the one under way.
    pub fn join(&mut self, key: K, waiter: W) -> Joined<W> {
        match self.flights.entry(key) {
            Entry::Occupied(mut flight) => {
                flight.get_mut().waiting.push_back(waiter);
                Joined::Waits
            }
            Entry::Vacant(place) => {
                self.leases += 1;
                let lease = Lease(self.leases);
                place.insert(Flight { lease, waiting: VecDeque::new() });
                Joined::Leads(waiter, lease)
            }
        }
    }

    /// Ends a flight, with a session or with a failure that all share: those who waited, first come first.
    /// Nobody, when the lease is not the flight's.
    pub fn land(&mut self, key: &K, lease: Lease) -> Vec<W> {
        if !self.is_led_by(key, lease) {
            return Vec::new();
        }
        self.flights.remove(key).map(|flight| flight.waiting.into()).unwrap_or_default()
    }

    /// Hands the lead on, after a flight that neither brought a session nor a failure that all share. The next
    /// leader, or `None` when nobody waits (the flight is over) or the lease is not the flight's.
    pub fn hand_on(&mut self, key: &K, lease: Lease) -> Option<(W, Lease)> {
        if !self.is_led_by(key, lease) {
            return None;
        }
        let flight = self.flights.get_mut(key)?;
        match flight.waiting.pop_front() {
            Some(next) => {
                self.leases += 1;
                flight.lease = Lease(self.leases);
                Some((next, flight.lease))
            }
            None => {
                self.flights.remove(key);
                None
            }
        }
    }

    /// Whether this lease still leads the flight of this key.
    pub fn is_led_by(&self, key: &K, lease: Lease) -> bool {
        self.flights.get(key).is_some_and(|flight| flight.lease == lease)
    }

    /// Flights under way.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// All that wait, over all flights.
    pub fn waiting(&self) -> usize {
        self.flights.values().map(|flight| flight.waiting.len()).sum()
    }

    /// Ends all flights: everyone who waited.
    pub fn drain(&mut self) -> Vec<W> {
        self.flights.drain().flat_map(|(_, flight)| flight.waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn lead<W>(joined: Joined<W>) -> Lease {
        match joined {
            Joined::Leads(_, lease) => lease,
            Joined::Waits => panic!("waits"),
        }
    }

    #[test]
    fn one_leads_the_others_wait() {
        let mut flights = Flights::default();
        let lease = lead(flights.join("goran", 1));
        assert_eq!(flights.join("goran", 2), Joined::Waits);
        assert_eq!(flights.join("goran", 3), Joined::Waits);
        assert!(matches!(flights.join("anna", 4), Joined::Leads(4, _)));
        assert_eq!((flights.len(), flights.waiting()), (2, 2));
        assert_eq!(flights.land(&"goran", lease), [2, 3]);
        assert!(flights.land(&"goran", lease).is_empty());
        assert!(matches!(flights.join("goran", 5), Joined::Leads(5, _)));
    }

    #[test]
    fn the_lead_is_handed_on() {
        let mut flights = Flights::default();
        let first = lead(flights.join("goran", 1));
        flights.join("goran", 2);
        flights.join("goran", 3);
        let (next, second) = flights.hand_on(&"goran", first).unwrap();
        assert_eq!(next, 2);
        // The first leader's late word changes nothing.
        assert!(flights.land(&"goran", first).is_empty());
        assert_eq!(flights.hand_on(&"goran", first), None);
        assert!(flights.is_led_by(&"goran", second));
        let (next, third) = flights.hand_on(&"goran", second).unwrap();
        assert_eq!(next, 3);
        assert_eq!(flights.hand_on(&"goran", third), None);
        assert!(flights.is_empty());
    }

    #[test]
    fn drained() {
        let mut flights = Flights::default();
        flights.join("a", 1);
        flights.join("a", 2);
        flights.join("b", 3);
        assert_eq!(flights.drain(), [2]);
        assert!(flights.is_empty());
    }

    proptest! {
        /// Over any interleaving: one leader per key, every one that joined is answered once, under its own key.
        #[test]
        fn everyone_is_answered_once(ops in proptest::collection::vec((0u8..5, 0u8..4), 0..120)) {
            let mut flights: Flights<u8, (u8, usize)> = Flights::default();
            let mut leaders: HashMap<u8, Lease> = HashMap::new();
            let mut joined = 0;
            let mut answered = HashSet::new();
            for (what, key) in ops {
                match (what, leaders.get(&key).copied()) {
                    (0..=2, leader) => {
                        joined += 1;
                        match flights.join(key, (key, joined)) {
                            Joined::Leads((k, n), lease) => {
                                prop_assert!(leader.is_none() && k == key);
                                leaders.insert(key, lease);
                                prop_assert!(answered.insert(n));
                            }
                            Joined::Waits => prop_assert!(leader.is_some()),
                        }
                    }
                    (3, Some(lease)) => {
                        leaders.remove(&key);
                        for (k, n) in flights.land(&key, lease) {
                            prop_assert!(k == key && answered.insert(n));
                        }
                    }
                    (_, Some(lease)) => {
                        leaders.remove(&key);
                        if let Some(((k, n), lease)) = flights.hand_on(&key, lease) {
                            prop_assert!(k == key && answered.insert(n));
                            leaders.insert(key, lease);
                        }
                    }
                    (_, None) => {}
                }
                prop_assert_eq!(flights.len(), leaders.len());
            }
            for (_, n) in flights.drain() {
                prop_assert!(answered.insert(n));
            }
            prop_assert_eq!(answered.len(), joined);
        }
    }
}
