//! Append times of records, from the headers of segments.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::{ClockSteps, ReadError, Stream};
use crate::journal::frame::{Frame, HEADER_BYTES, Header};
use crate::journal::segment::{self, SegmentReader, Step};

impl Stream {
    /// The range of offsets that contains every record appended in a range of time. If the clock was set in
    /// between, it contains other records too. Empty, at the end, when there is no such record.
    pub fn find_times(&mut self, times_ns: &Range<u64>) -> Result<Range<u64>, ReadError> {
        // No clock reaches this value: callers use it to find the end.
        let is_never = times_ns.is_empty() || times_ns.start == u64::MAX;
        let segments = if is_never { 0 } else { self.segments.len() };
        let (mut first, mut last) = (None, None);
        for at in 0..segments {
            first = self.times_in(at, times_ns)?;
            if first.is_some() {
                break;
            }
        }
        for at in (0..segments).rev() {
            last = self.times_in(at, times_ns)?;
            if last.is_some() {
                break;
            }
        }
        match (first, last) {
            (Some(first), Some(last)) => Ok(first.start..last.end),
            _ => Ok(self.next_offset..self.next_offset),
        }
    }

    /// Like `find_times`, within one segment; `None` when it contains no such record.
    fn times_in(&mut self, at: usize, times_ns: &Range<u64>) -> Result<Option<Range<u64>>, ReadError> {
        let Some((low, high)) = self.span_ns(at)? else { return Ok(None) };
        if high < times_ns.start || low >= times_ns.end {
            return Ok(None);
        }
        if low >= times_ns.start && high < times_ns.end {
            return Ok(Some(self.segments[at].base_offset..self.bound_of(at)));
        }
        let mut found: Option<Range<u64>> = None;
        self.walk_headers(at, |header| {
            if times_ns.contains(&header.appended_at_ns) {
                let start = found.as_ref().map_or(header.base_offset, |found| found.start);
                found = Some(start..header.end_offset());
            }
            None::<()>
        })?;
        Ok(found)
    }

    /// The lowest and the highest append time of a segment's records. Reads the headers of a segment that an
    /// earlier process closed, once.
    fn span_ns(&mut self, at: usize) -> Result<Option<(u64, u64)>, ReadError> {
        if self.segments[at].span_ns.is_none() {
            let mut span_ns = None;
            self.walk_headers(at, |header| {
                span_ns = Some(segment::span_with(span_ns, header.appended_at_ns));
                None::<()>
            })?;
            self.segments[at].span_ns = span_ns;
        }
        Ok(self.segments[at].span_ns)
    }

    /// The age of the record at `offset`, corrected for clock steps.
    pub(in crate::journal) fn age(&self, offset: u64, at_ns: u64, now_ns: u64) -> Duration {
        Duration::from_nanos(self.clock_steps.age_ns(offset, at_ns, now_ns))
    }

    /// Records that the clock was set. All existing records were appended before.
    pub(in crate::journal) fn note_clock_step(&mut self, by_ns: i128) {
        self.clock_steps.note(self.next_offset, by_ns);
    }

    pub(in crate::journal) fn clock_steps(&self) -> &ClockSteps {
        &self.clock_steps
    }

    /// Restores clock steps that were recorded before a reopening.
    pub(in crate::journal) fn set_clock_steps(&mut self, steps: ClockSteps) {
        self.clock_steps = steps;
    }

    /// The append time of the newest record.
    pub fn newest_record_at_ns(&mut self) -> Result<Option<u64>, ReadError> {
        for at in (0..self.segments.len()).rev() {
            if let Some((_, at_ns)) = self.segments[at].newest_at {
                return Ok(Some(at_ns));
            }
            let mut newest = None;
            self.walk_headers(at, |header| {
                newest = Some(header.appended_at_ns);
                None::<()>
            })?;
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }

    /// The append time of the record at or after an offset; `None` when there is none.
    pub fn appended_at_ns(&mut self, offset: u64) -> Result<Option<u64>, ReadError> {
        if let Some(frame) = self.tail.frame(offset) {
            return Ok(Some(frame.header.appended_at_ns));
        }
        let mut from = offset.max(self.first_offset());
        while from < self.next_offset {
            let batch = self.read(from, 1, 0)?;
            if let Some(record) = batch.iter().next() {
                return Ok(Some(record.appended_at_ns));
            }
            from = batch.next_offset();
        }
        Ok(None)
    }

    /// The append time of the oldest record.
    pub fn oldest_record_at_ns(&mut self) -> Result<Option<u64>, ReadError> {
        for at in 0..self.segments.len() {
            if let Some(oldest) = self.oldest_at_ns(at)? {
                return Ok(Some(oldest));
            }
        }
        Ok(None)
    }

    pub(super) fn oldest_at_ns(&mut self, at: usize) -> Result<Option<u64>, ReadError> {
        if self.segments[at].oldest_at_ns.is_none() {
            let oldest = self.walk_headers(at, |header| Some(header.appended_at_ns))?;
            self.segments[at].oldest_at_ns = oldest;
        }
        Ok(self.segments[at].oldest_at_ns)
    }

    /// The offset and append time of a segment's last record, or of the next segment's first record if that
    /// is cheaper to read.
    pub(super) fn newest_at(&mut self, at: usize) -> Result<Option<(u64, u64)>, ReadError> {
        if self.segments[at].newest_at.is_none() {
            let mut newest = match self.segments.get(at + 1).map(|next| next.base_offset) {
                Some(offset) => self.oldest_at_ns(at + 1)?.map(|at_ns| (offset, at_ns)),
                None => None,
            };
            if newest.is_none() {
                self.walk_headers(at, |header| {
                    newest = Some((header.end_offset().saturating_sub(1), header.appended_at_ns));
                    None::<()>
                })?;
            }
            self.segments[at].newest_at = newest;
        }
        Ok(self.segments[at].newest_at)
    }

    /// Calls `visit` with the headers of a segment in order, until it returns a value.
    fn walk_headers<T>(
        &self,
        at: usize,
        mut visit: impl FnMut(&Header) -> Option<T>,
    ) -> Result<Option<T>, ReadError> {
        let segment = &self.segments[at];
        if segment.bytes < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let file = match self.file_of(at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut reader = SegmentReader::new(file, self.store_id, 0, segment.base_offset);
        loop {
            // All offsets are unwanted here, so no body is read.
            match reader.step(segment.bytes, self.bound_of(at), u64::MAX)? {
                Step::Frame(Frame { header, .. }, _) | Step::Passed(header, _) => {
                    if let Some(answer) = visit(&header) {
                        return Ok(Some(answer));
                    }
                }
                Step::Damaged(_) => {}
                Step::End => return Ok(None),
            }
        }
    }
}
