//! How many sessions a user has at once, over all virtual proxies, and who waits for one to end.
//!
//! Qlik Sense locks a user out who has too many sessions, and whoever posts events can make up virtual proxies. So each
//! session takes a *slot* of its user from before its ticket is asked for until its end is over; with no slot left
//! the asker waits. Which session ends to make room is the caller's choice. Sessions that nobody asked for (a proxy
//! opened one by itself) are counted too, even beyond the bound. Rules: contract, screenshots.md, "The walk" 4.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::num::NonZeroUsize;

/// All slots. `U`: the user. `W`: one that waits.
#[derive(Debug)]
pub struct SessionSlots<U, W> {
    /// `None`: no bound, and nothing is counted.
    per_user_max: Option<NonZeroUsize>,
    users: HashMap<U, Slots<W>>,
}

#[derive(Debug)]
struct Slots<W> {
    /// Sessions that are being opened, are open, or are being ended.
    taken: usize,
    /// Those of them that are being ended.
    ending: usize,
    waiting: VecDeque<W>,
}

impl<W> Default for Slots<W> {
    fn default() -> Self {
        Self { taken: 0, ending: 0, waiting: VecDeque::new() }
    }
}

impl<U: Eq + Hash + Clone, W> SessionSlots<U, W> {
    pub fn new(per_user_max: Option<NonZeroUsize>) -> Self {
        Self { per_user_max, users: HashMap::new() }
    }

    /// Takes a slot; without one the waiter is kept until [`SessionSlots::free`] or [`SessionSlots::ended`] gives it
    /// back.
    pub fn take(&mut self, user: &U, waiter: W) -> Option<W> {
        let Some(max) = self.per_user_max else { return Some(waiter) };
        let slots = self.users.entry(user.clone()).or_default();
        if slots.taken < max.get() && slots.waiting.is_empty() {
            slots.taken += 1;
            return Some(waiter);
        }
        slots.waiting.push_back(waiter);
        None
    }

    /// Counts a session that opened without a slot of its own.
    pub fn add(&mut self, user: &U) {
        if self.per_user_max.is_some() {
            self.users.entry(user.clone()).or_default().taken += 1;
        }
    }

    /// Whether one waits for whom no session is being ended yet.
    pub fn wants_room(&self, user: &U) -> bool {
        self.users.get(user).is_some_and(|slots| slots.waiting.len() > slots.ending)
    }

    /// The end of a session begins; its slot stays taken.
    pub fn ending(&mut self, user: &U) {
        if let Some(slots) = self.users.get_mut(user) {
            slots.ending += 1;
        }
    }

    /// A session has ended: the next one that waits has the slot now.
    pub fn ended(&mut self, user: &U) -> Option<W> {
        if let Some(slots) = self.users.get_mut(user) {
            slots.ending = slots.ending.saturating_sub(1);
        }
        self.free(user)
    }

    /// A slot is given back unused: the next one that waits has it now.
    pub fn free(&mut self, user: &U) -> Option<W> {
        let max = self.per_user_max?.get();
        let slots = self.users.get_mut(user)?;
        slots.taken = slots.taken.saturating_sub(1);
        let next = if slots.taken < max { slots.waiting.pop_front() } else { None };
        if next.is_some() {
            slots.taken += 1;
        } else if slots.taken == 0 && slots.waiting.is_empty() {
            self.users.remove(user);
        }
        next
    }

    /// The users of whom somebody waits.
    pub fn users_that_wait(&self) -> Vec<U> {
        let waiting = self.users.iter().filter(|(_, slots)| !slots.waiting.is_empty());
        waiting.map(|(user, _)| user.clone()).collect()
    }

    /// Slots that are taken.
    pub fn taken(&self, user: &U) -> usize {
        self.users.get(user).map_or(0, |slots| slots.taken)
    }

    /// Forgets everything; those who waited come back.
    pub fn drain(&mut self) -> Vec<W> {
        self.users.drain().flat_map(|(_, slots)| slots.waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slots(max: usize) -> SessionSlots<&'static str, u32> {
        SessionSlots::new(NonZeroUsize::new(max))
    }

    #[test]
    fn one_more_than_the_bound_waits_for_an_end() {
        let mut slots = slots(2);
        assert_eq!((slots.take(&"goran", 1), slots.take(&"goran", 2)), (Some(1), Some(2)));
        assert_eq!(slots.take(&"goran", 3), None);
        assert_eq!(slots.take(&"anna", 4), Some(4), "another user");
        assert!(slots.wants_room(&"goran") && !slots.wants_room(&"anna"));
        slots.ending(&"goran");
        assert!(!slots.wants_room(&"goran"), "one ends already");
        assert_eq!(slots.users_that_wait(), ["goran"]);
        assert_eq!(slots.ended(&"goran"), Some(3));
        assert_eq!((slots.taken(&"goran"), slots.ended(&"goran"), slots.free(&"goran")), (2, None, None));
        assert_eq!(slots.taken(&"goran"), 0);
    }

    #[test]
    fn first_come_first_served() {
        let mut slots = slots(1);
        slots.take(&"goran", 1);
        assert_eq!((slots.take(&"goran", 2), slots.take(&"goran", 3)), (None, None));
        assert_eq!(
            (slots.free(&"goran"), slots.free(&"goran"), slots.free(&"goran")),
            (Some(2), Some(3), None)
        );
    }

    #[test]
    fn a_session_that_nobody_asked_for_counts() {
        let mut slots = slots(1);
        slots.take(&"goran", 1);
        slots.add(&"goran");
        assert_eq!(slots.take(&"goran", 2), None);
        assert_eq!(slots.free(&"goran"), None, "still one too many");
        assert_eq!(slots.free(&"goran"), Some(2));
    }

    #[test]
    fn without_a_bound_nobody_waits() {
        let mut slots = slots(0);
        for n in 0..100 {
            assert_eq!(slots.take(&"goran", n), Some(n));
        }
        slots.add(&"goran");
        assert_eq!(
            (slots.free(&"goran"), slots.taken(&"goran"), slots.wants_room(&"goran")),
            (None, 0, false)
        );
    }

    #[test]
    fn drained() {
        let mut slots = slots(1);
        slots.take(&"goran", 1);
        slots.take(&"goran", 2);
        assert_eq!(slots.drain(), [2]);
        assert_eq!((slots.ended(&"goran"), slots.taken(&"goran")), (None, 0));
    }

    proptest! {
        /// Never more slots than the bound, and everybody who waits is served once all slots have been given back.
        #[test]
        fn nobody_waits_for_ever(ops in proptest::collection::vec((0u8..4, 0u8..3), 0..100), max in 1usize..4) {
            let mut slots: SessionSlots<u8, usize> = SessionSlots::new(NonZeroUsize::new(max));
            let (mut asked, mut served) = (0, Vec::new());
            let mut held = [0usize; 3];
            for (what, user) in ops {
                let index = usize::from(user);
                if what < 2 {
                    asked += 1;
                    if let Some(go) = slots.take(&user, asked) {
                        served.push(go);
                        held[index] += 1;
                    }
                } else if held[index] > 0 {
                    held[index] -= 1;
                    let next = if what == 2 { slots.free(&user) } else { slots.ending(&user); slots.ended(&user) };
                    if let Some(go) = next {
                        served.push(go);
                        held[index] += 1;
                    }
                }
                prop_assert!(slots.taken(&user) <= max && slots.taken(&user) == held[index]);
            }
            for user in 0..3u8 {
                while held[usize::from(user)] > 0 {
                    match slots.free(&user) {
                        Some(go) => served.push(go),
                        None => held[usize::from(user)] -= 1,
                    }
                }
            }
            served.sort_unstable();
            prop_assert_eq!(served, (1..=asked).collect::<Vec<_>>());
        }
    }
}
