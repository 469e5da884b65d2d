//! Whose download is next: turns between hosts, and at each host between users.
//!
//! A download that waits holds no place. A host that is slow fills its own places and no others, and the last quarter
//! of the places of all hosts is for hosts that have none; at each host the last quarter is for users that have none.
//! So nobody's many downloads keep another one from beginning. Those that failed come after those that were never
//! tried, but for every eighth turn, so that they come at all. Nothing here knows the time.

use std::collections::{HashMap, VecDeque};

/// How many downloads may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnLimits {
    /// In all (`Pipeline.screenshots.concurrency`).
    pub places: usize,
    /// At one host (`Pipeline.screenshots.perHostConcurrency`).
    pub per_host: usize,
}

/// What a download waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    First,
    /// It has failed before.
    Again,
}

/// Every so many turns is one for those that failed.
const AGAIN_EVERY: u32 = 8;
/// One part in so many of the places is for those who have none.
const RESERVED_PART: usize = 4;

/// A place that a download has. To be given back once, by [`Turns::done`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceAt {
    host: String,
    user: String,
}

impl PlaceAt {
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn user(&self) -> &str {
        &self.user
    }
}

/// All that wait, and how many are under way where.
#[derive(Debug)]
pub struct Turns<T> {
    limits: TurnLimits,
    under_way: usize,
    waiting: usize,
    hosts: HashMap<String, Host<T>>,
    /// Whose turn it is; every host that has somebody waiting, once.
    order: VecDeque<String>,
    firsts_in_a_row: u32,
}

#[derive(Debug)]
struct Host<T> {
    under_way: usize,
    /// Of each user that has any.
    of_users: HashMap<String, usize>,
    first: Lane<T>,
    again: Lane<T>,
}

/// Those that wait at one host for the same kind of turn.
#[derive(Debug)]
struct Lane<T> {
    order: VecDeque<String>,
    waiting: HashMap<String, VecDeque<T>>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self { order: VecDeque::new(), waiting: HashMap::new() }
    }
}

impl<T> Lane<T> {
    fn push(&mut self, user: &str, item: T) {
        let queue = self.waiting.entry(user.to_owned()).or_default();
        if queue.is_empty() {
            self.order.push_back(user.to_owned());
        }
        queue.push_back(item);
    }

    /// The first item of the first user that may begin; that user is last then.
    fn take(&mut self, may_begin: impl Fn(&str) -> bool) -> Option<(String, T)> {
        let index = self.order.iter().position(|user| may_begin(user))?;
        let user = self.order.remove(index)?;
        let queue = self.waiting.get_mut(&user)?;
        let item = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&user);
        } else {
            self.order.push_back(user.clone());
        }
        Some((user, item))
    }

    fn retain(&mut self, keep: &impl Fn(&T) -> bool) {
        for queue in self.waiting.values_mut() {
            queue.retain(keep);
        }
        self.waiting.retain(|_, queue| !queue.is_empty());
        self.order.retain(|user| self.waiting.contains_key(user));
    }

    fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }
}

impl<T> Default for Host<T> {
    fn default() -> Self {
        Self { under_way: 0, of_users: HashMap::new(), first: Lane::default(), again: Lane::default() }
    }
}

impl<T> Host<T> {
    fn is_waited_at(&self) -> bool {
        !self.first.order.is_empty() || !self.again.order.is_empty()
    }

    fn lane(&mut self, of: Try) -> &mut Lane<T> {
        match of {
            Try::First => &mut self.first,
            Try::Again => &mut self.again,
        }
    }

    fn begin(&mut self, user: &str) {
        self.under_way += 1;
        *self.of_users.entry(user.to_owned()).or_default() += 1;
    }

    fn end(&mut self, user: &str) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(count) = self.of_users.get_mut(user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_users.remove(user);
            }
        }
    }
}

impl<T> Turns<T> {
    /// A limit of none is one of one: a download that may never begin would wait for ever.
    pub fn new(limits: TurnLimits) -> Self {
        let limits = TurnLimits { places: limits.places.max(1), per_host: limits.per_host.max(1) };
        Self {
            limits,
            under_way: 0,
            waiting: 0,
            hosts: HashMap::new(),
            order: VecDeque::new(),
            firsts_in_a_row: 0,
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many have a place.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Waits for a place at this host.
    pub fn push(&mut self, host: &str, user: &str, of: Try, item: T) {
        let entry = self.hosts.entry(host.to_owned()).or_default();
        if !entry.is_waited_at() {
            self.order.push_back(host.to_owned());
        }
        entry.lane(of).push(user, item);
        self.waiting += 1;
    }

    /// Gives a place to the one whose turn it is; `None` when nobody may begin.
    pub fn begin_next(&mut self) -> Option<(PlaceAt, T)> {
        if self.firsts_in_a_row + 1 >= AGAIN_EVERY
            && let Some(found) = self.next_of(Try::Again)
        {
            return Some(found);
        }
        self.next_of(Try::First).or_else(|| self.next_of(Try::Again))
    }

    fn next_of(&mut self, of: Try) -> Option<(PlaceAt, T)> {
        let TurnLimits { places, per_host } = self.limits;
        let free = places.saturating_sub(self.under_way);
        if free == 0 {
            return None;
        }
        for index in 0..self.order.len() {
            let Some(entry) = self.order.get(index).and_then(|host| self.hosts.get_mut(host)) else {
                continue;
            };
            let free_here = per_host.saturating_sub(entry.under_way);
            let is_reserved = entry.under_way > 0 && free <= places / RESERVED_PART;
            if free_here == 0 || is_reserved {
                continue;
            }
            let Host { of_users, first, again, .. } = entry;
            let lane = match of {
                Try::First => first,
                Try::Again => again,
            };
            let may_begin = |user: &str| free_here > per_host / RESERVED_PART || !of_users.contains_key(user);
            let Some((user, item)) = lane.take(may_begin) else { continue };
            entry.begin(&user);
            let is_waited_at = entry.is_waited_at();
            let host = self.order.remove(index)?;
            if is_waited_at {
                self.order.push_back(host.clone());
            }
            self.under_way += 1;
            self.waiting -= 1;
            self.firsts_in_a_row = if of == Try::First { self.firsts_in_a_row.saturating_add(1) } else { 0 };
            return Some((PlaceAt { host, user }, item));
        }
        None
    }

    /// A redirect leads a download to another host. It goes on at once, for it would wait with a place in its hand;
    /// no other begins there until there is room again.
    pub fn move_to(&mut self, place: &mut PlaceAt, host: &str) {
        if place.host == host {
            return;
        }
        self.end(place);
        host.clone_into(&mut place.host);
        self.hosts.entry(place.host.clone()).or_default().begin(&place.user);
        self.under_way += 1;
    }

    /// A place is free again.
    pub fn done(&mut self, place: &PlaceAt) {
        self.end(place);
    }

    fn end(&mut self, place: &PlaceAt) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(entry) = self.hosts.get_mut(&place.host) {
            entry.end(&place.user);
            if entry.under_way == 0 && !entry.is_waited_at() {
                self.hosts.remove(&place.host);
            }
        }
    }

    /// Lets go of those that wait and are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for entry in self.hosts.values_mut() {
            entry.first.retain(&keep);
            entry.again.retain(&keep);
        }
        self.order.retain(|host| self.hosts.get(host).is_some_and(Host::is_waited_at));
        self.hosts.retain(|_, entry| entry.under_way > 0 || entry.is_waited_at());
        self.waiting = self.hosts.values().map(|entry| entry.first.len() + entry.again.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn turns(places: usize, per_host: usize) -> Turns<u32> {
        Turns::new(TurnLimits { places, per_host })
    }

    fn drain(turns: &mut Turns<u32>) -> Vec<(PlaceAt, u32)> {
        std::iter::from_fn(|| turns.begin_next()).collect()
    }

    fn items(begun: &[(PlaceAt, u32)]) -> Vec<u32> {
        begun.iter().map(|(_, item)| *item).collect()
    }

    #[test]
    fn many_downloads_of_one_user_leave_room_for_others() {
        let mut turns = turns(16, 8);
        for n in 0..200 {
            turns.push("slow.test", "attacker", Try::First, n);
        }
        assert_eq!(drain(&mut turns).len(), 6, "three quarters of the places at the host");
        turns.push("slow.test", "goran", Try::First, 1000);
        turns.push("other.test", "goran", Try::First, 1001);
        turns.push("other.test", "attacker", Try::First, 1002);
        assert_eq!(items(&drain(&mut turns)).into_iter().collect::<HashSet<_>>(), [1000, 1001, 1002].into());
        // And for other hosts, when several are slow.
        for n in 0..50 {
            turns.push("other.test", &format!("user{n}"), Try::First, 2000 + n);
        }
        assert_eq!(turns.under_way() + drain(&mut turns).len(), 12);
        turns.push("third.test", "anna", Try::First, 3000);
        assert_eq!(items(&drain(&mut turns)), [3000]);
    }

    #[test]
    fn hosts_and_users_take_turns() {
        let mut turns = turns(1, 1);
        for (host, user, item) in
            [("a", "x", 1), ("a", "x", 2), ("a", "x", 3), ("a", "y", 4), ("b", "x", 5), ("b", "x", 6)]
        {
            turns.push(host, user, Try::First, item);
        }
        let mut order = Vec::new();
        while let Some((place, item)) = turns.begin_next() {
            order.push(item);
            turns.done(&place);
        }
        assert_eq!(order, [1, 5, 4, 6, 2, 3]);
        assert_eq!((turns.waiting(), turns.under_way(), turns.hosts.len()), (0, 0, 0));
    }

    #[test]
    fn what_failed_comes_last_but_comes() {
        let mut turns = turns(1, 1);
        for n in 0..20 {
            turns.push("a", "x", Try::First, n);
        }
        turns.push("a", "x", Try::Again, 100);
        turns.push("a", "x", Try::Again, 101);
        let mut order = Vec::new();
        while let Some((place, item)) = turns.begin_next() {
            order.push(item);
            turns.done(&place);
        }
        let at = |item| order.iter().position(|found| *found == item).unwrap();
        assert_eq!((at(100), at(101), order.len()), (7, 15, 22));
    }

    #[test]
    fn a_redirect_counts_where_it_leads() {
        let mut turns = turns(8, 2);
        turns.push("a", "x", Try::First, 1);
        let (mut place, _) = turns.begin_next().unwrap();
        turns.move_to(&mut place, "b");
        turns.move_to(&mut place, "b");
        for (user, item) in [("y", 2), ("z", 3), ("w", 4)] {
            turns.push("b", user, Try::First, item);
        }
        assert_eq!(items(&drain(&mut turns)), [2], "one place is left at b");
        assert_eq!(turns.under_way(), 2);
        turns.done(&place);
        assert_eq!(items(&drain(&mut turns)), [3]);
    }

    #[test]
    fn those_that_wait_can_be_let_go() {
        let mut turns = turns(1, 1);
        for n in 0..10 {
            turns.push(["a", "b"][n as usize % 2], "x", if n < 5 { Try::First } else { Try::Again }, n);
        }
        let (place, _) = turns.begin_next().unwrap();
        turns.retain(|item| *item == 7);
        assert_eq!((turns.waiting(), turns.begin_next()), (1, None));
        turns.done(&place);
        assert_eq!(turns.begin_next().map(|(_, item)| item), Some(7));
    }

    #[derive(Debug, Clone)]
    enum Op {
        Push(u8, u8, bool),
        Begin,
        Done(usize),
        Move(usize, u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0u8..3, 0u8..4, any::<bool>()).prop_map(|(host, user, first)| Op::Push(host, user, first)),
            4 => Just(Op::Begin),
            2 => (0usize..16).prop_map(Op::Done),
            1 => (0usize..16, 0u8..3).prop_map(|(which, host)| Op::Move(which, host)),
        ]
    }

    proptest! {
        /// Never more than the places, every accepted download begins once, and when all that is under way ends,
        /// somebody who waits can begin.
        #[test]
        fn every_download_has_its_turn_once(
            ops in proptest::collection::vec(op(), 0..150),
            places in 1usize..9,
            per_host in 1usize..6,
        ) {
            let mut turns = turns(places, per_host);
            let mut held: Vec<PlaceAt> = Vec::new();
            let (mut pushed, mut begun) = (0u32, HashSet::new());
            for op in ops {
                match op {
                    Op::Push(host, user, first) => {
                        let of = if first { Try::First } else { Try::Again };
                        turns.push(&host.to_string(), &user.to_string(), of, pushed);
                        pushed += 1;
                    }
                    Op::Begin => if let Some((place, item)) = turns.begin_next() {
                        prop_assert!(begun.insert(item));
                        held.push(place);
                    },
                    Op::Done(which) if which < held.len() => turns.done(&held.swap_remove(which)),
                    Op::Move(which, host) if which < held.len() => turns.move_to(&mut held[which], &host.to_string()),
                    Op::Done(_) | Op::Move(..) => {}
                }
                prop_assert!(held.len() == turns.under_way() && held.len() <= places);
                prop_assert_eq!(turns.waiting() + begun.len(), pushed as usize);
            }
            while turns.waiting() > 0 {
                held.drain(..).for_each(|place| turns.done(&place));
                let before = begun.len();
                while let Some((place, item)) = turns.begin_next() {
                    prop_assert!(begun.insert(item));
                    held.push(place);
                }
                prop_assert!(begun.len() > before, "nobody begins although nothing is under way");
            }
            prop_assert_eq!(begun.len(), pushed as usize);
        }

        /// A user's one download begins after no more turns than there are hosts and users before it, however many
        /// downloads the others have.
        #[test]
        fn nobody_is_starved(others in 1u32..20, each in 1u32..30, places in 1usize..9) {
            let mut turns = turns(places, places);
            for n in 0..others * each {
                turns.push("a", &format!("user{}", n % others), Try::First, n);
            }
            turns.push("a", "last", Try::First, u32::MAX);
            let mut turns_taken = 0;
            loop {
                let (place, item) = turns.begin_next().expect("somebody waits");
                turns_taken += 1;
                turns.done(&place);
                if item == u32::MAX {
                    break;
                }
            }
            prop_assert!(turns_taken <= others + 1);
        }
    }
}
