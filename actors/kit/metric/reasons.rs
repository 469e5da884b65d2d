//! Counters by owner and reason that can be listed. A family of the registry cannot be listed.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, RwLock};

use crate::kit::lock::{read, write};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// A family whose labels are an owner (actor, intake, destination) and a reason.
#[derive(Clone)]
pub(super) struct Reasons<L> {
    family: Family<L, Counter>,
    known: Arc<RwLock<Known>>,
    label: fn(&'static str, &'static str) -> L,
}

type Known = BTreeMap<(&'static str, &'static str), Counter>;

impl<L> Reasons<L>
where
    L: Clone + Hash + Eq + EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
{
    pub fn new(label: fn(&'static str, &'static str) -> L) -> Self {
        Self { family: Family::default(), known: Arc::default(), label }
    }

    /// The family for the registry.
    pub fn family(&self) -> Family<L, Counter> {
        self.family.clone()
    }

    pub fn counter(&self, owner: &'static str, reason: &'static str) -> Counter {
        let known = read(&self.known);
        if let Some(counter) = known.get(&(owner, reason)) {
            return counter.clone();
        }
        drop(known);
        let counter = self.family.get_or_create_owned(&(self.label)(owner, reason));
        let mut known = write(&self.known);
        known.entry((owner, reason)).or_insert(counter).clone()
    }

    /// The counts of one owner.
    pub fn of(&self, owner: &'static str) -> BTreeMap<String, u64> {
        let known = read(&self.known);
        let of_owner = known.range((owner, "")..).take_while(|((of, _), _)| *of == owner);
        of_owner.map(|((_, reason), counter)| ((*reason).to_owned(), counter.get())).collect()
    }
}
