//! Tracks which records of a stream are done when they are not done in order.
//!
//! Everything below [`OffsetWindow::done_below`] is done and may be committed. Each finished record leaves a
//! trace in another stream; from the offset [`OffsetWindow::trace_from`] on, that stream contains the traces
//! of all records that are done but not committed. Both offsets go into one commit, so that a reader of the
//! traces knows after a crash which records not to repeat.

use std::collections::{BTreeMap, BTreeSet};

/// The state of one reader.
#[derive(Debug, Default)]
pub struct OffsetWindow {
    /// The first offset that was not read yet.
    next: u64,
    open: BTreeSet<u64>,
    /// The trace offsets of records that are done and not below the first open one.
    traces: BTreeMap<u64, u64>,
    /// All future traces are at or after this offset.
    traces_end: u64,
}

impl OffsetWindow {
    /// Begins at `next`. Future traces are at or after `traces_end`.
    pub fn new(next: u64, traces_end: u64) -> Self {
        Self { next, traces_end, ..Self::default() }
    }

    /// The first offset that was not read yet.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Everything below `next` was read. Records that were not opened are done.
    pub fn advance(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Opens a record that is in progress.
    pub fn open(&mut self, offset: u64) {
        self.open.insert(offset);
        self.advance(offset.saturating_add(1));
    }

    /// Marks a record as done. `trace` is the offset of its trace, if it left one.
    pub fn done(&mut self, offset: u64, trace: Option<u64>) {
        self.open.remove(&offset);
        if let Some(trace) = trace {
            self.traces.insert(offset, trace);
            self.traces_end = self.traces_end.max(trace.saturating_add(1));
        }
        let done_below = self.done_below();
        self.traces = self.traces.split_off(&done_below);
    }

    /// The offset to commit.
    pub fn done_below(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }

    /// The offset from which on the traces of all records are found that are done but not below `done_below`,
    /// now and after any more work.
    pub fn trace_from(&self) -> u64 {
        self.traces.values().copied().min().unwrap_or(self.traces_end).min(self.traces_end)
    }

    /// The number of records in progress.
    pub fn under_way(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commits_up_to_the_first_open_record() {
        let mut window = OffsetWindow::new(5, 100);
        assert_eq!((window.done_below(), window.trace_from()), (5, 100));
        for offset in 5..9 {
            window.open(offset);
        }
        window.done(7, Some(100));
        assert_eq!((window.done_below(), window.trace_from()), (5, 100));
        window.done(5, Some(101));
        assert_eq!((window.done_below(), window.trace_from()), (6, 100));
        window.done(6, Some(104));
        assert_eq!((window.done_below(), window.trace_from()), (8, 105));
        window.done(8, None);
        assert_eq!((window.done_below(), window.trace_from(), window.under_way()), (9, 105, 0));
        // Damaged and removed records are skipped.
        window.advance(20);
        assert_eq!(window.done_below(), 20);
    }

    proptest! {
        /// At any crash, the traces from the committed offset on include every finished record that would be
        /// read again.
        #[test]
        fn no_done_record_is_forgotten(order in Just((0u64..12).collect::<Vec<_>>()).prop_shuffle()) {
            let mut window = OffsetWindow::new(0, 50);
            let mut traces: Vec<(u64, u64)> = Vec::new();
            let mut end = 50;
            (0..12).for_each(|offset| window.open(offset));
            for offset in order {
                traces.push((end, offset));
                window.done(offset, Some(end));
                end += 2;
                let seen: BTreeSet<u64> =
                    traces.iter().filter(|(at, _)| *at >= window.trace_from()).map(|(_, of)| *of).collect();
                for (_, of) in traces.iter().filter(|(_, of)| *of >= window.done_below()) {
                    prop_assert!(seen.contains(of));
                }
            }
            prop_assert_eq!(window.done_below(), 12);
        }
    }
}
