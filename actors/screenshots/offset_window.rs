//! Which records of a stream are done with, when they are not done in order.
//!
//! Everything below [`OffsetWindow::done_below`] is done and may be committed. Each record leaves a trace in another
//! stream when it is done; [`OffsetWindow::trace_from`] is an offset there from which on the traces of all records
//! that are done but not committed are found. Both go into one commit, so that after a crash a reader of the traces
//! knows what not to do again.

use std::collections::{BTreeMap, BTreeSet};

/// The state of one reader.
#[derive(Debug, Default)]
pub struct OffsetWindow {
    /// The first offset that was not taken up yet.
    next: u64,
    open: BTreeSet<u64>,
    /// Of records that are done and not below the first open one: where their trace is.
    traces: BTreeMap<u64, u64>,
    /// Every trace that comes from now on is at or behind this.
    traces_end: u64,
}

impl OffsetWindow {
    /// Begins at `next`; traces that come are at or behind `traces_end`.
    pub fn new(next: u64, traces_end: u64) -> Self {
        Self { next, traces_end, ..Self::default() }
    }

    /// The first offset that was not taken up yet.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Everything below `next` is taken up; what is not opened is done.
    pub fn advance(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// A record that is under way.
    pub fn open(&mut self, offset: u64) {
        self.open.insert(offset);
        self.advance(offset.saturating_add(1));
    }

    /// A record is done; `trace` is the offset of its trace, if it left one.
    pub fn done(&mut self, offset: u64, trace: Option<u64>) {
        self.open.remove(&offset);
        if let Some(trace) = trace {
            self.traces.insert(offset, trace);
            self.traces_end = self.traces_end.max(trace.saturating_add(1));
        }
        let done_below = self.done_below();
        self.traces = self.traces.split_off(&done_below);
    }

    /// What may be committed.
    pub fn done_below(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }

    /// Where the traces of all that is done but not below `done_below` begin, now and after any more work.
    pub fn trace_from(&self) -> u64 {
        self.traces.values().copied().min().unwrap_or(self.traces_end).min(self.traces_end)
    }

    /// Records under way.
    pub fn under_way(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn done_out_of_order() {
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
        // Records that were damaged or gone are passed over.
        window.advance(20);
        assert_eq!(window.done_below(), 20);
    }

    proptest! {
        /// Whenever the process dies, the traces from the committed place on tell of every record that is done and
        /// would be read again.
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
