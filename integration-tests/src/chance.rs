//! Chance that can be had again: a seed that a failing test has printed.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// A small generator (splitmix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// From `BUTLER_SOS_SEED`, or from what differs from run to run; prints it either way.
    pub fn printed(what: &str) -> Self {
        let seed = match std::env::var("BUTLER_SOS_SEED") {
            Ok(seed) => seed.parse().expect("BUTLER_SOS_SEED is a number"),
            Err(_) => RandomState::new().hash_one(what),
        };
        println!("{what}: BUTLER_SOS_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of a range that is not empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// One of some.
    pub fn one_of<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.within(0..some.len() as u64) as usize]
    }
}
