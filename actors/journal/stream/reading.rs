//! Reads a stream from an offset on: from memory or from its segments, skipping damage.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::{ReadError, Stream};
use crate::journal::batch::{Batch, BatchBuilder, SkippedBecause};
use crate::journal::frame::Frame;
use crate::journal::segment::{self, SegmentReader, Step};

/// The maximum number of remembered reader positions.
const CURSORS_MAX: usize = 16;
/// The limit over all segments of a stream; an entry has 16 bytes.
const INDEX_ENTRIES_MAX: usize = 1 << 16;
/// A remembered position keeps a partly read frame only up to this size.
const CURSOR_FRAME_BYTES_MAX: usize = 256 << 10;

/// The position where a reader stopped, so that its next read need not search.
#[derive(Debug)]
pub(super) struct Cursor {
    next_offset: u64,
    pub(super) segment: u64,
    reader: SegmentReader,
    /// The frame in which it stopped, unless it stopped between two frames.
    frame: Option<Frame>,
}

impl Stream {
    /// Reads at most this many records and bytes from an offset on. Skips damaged and removed records:
    /// `next_offset` of the result is greater than `from` unless `from` is the end or `records_max` is 0.
    pub fn read(&mut self, from: u64, records_max: usize, bytes_max: usize) -> Result<Batch, ReadError> {
        if from > self.next_offset {
            return Err(ReadError::Beyond { offset: from, end: self.next_offset });
        }
        let mut out = BatchBuilder::new(from, records_max, bytes_max);
        if out.is_full() {
            return Ok(out.finish());
        }
        out.skip_to(self.first_offset(), SkippedBecause::Removed);
        while !out.is_full() && out.next_offset() < self.next_offset {
            if self.tail.holds(out.next_offset()) {
                self.tail.read(&mut out);
                break;
            }
            let is_damaged = self.read_segment(&mut out)?;
            // Searching through damage takes time: at most one damaged segment per call.
            if is_damaged {
                break;
            }
        }
        Ok(out.finish())
    }

    /// Reads the segment that contains the next offset, to its end or until the batch is full. Returns
    /// whether anything was skipped.
    fn read_segment(&mut self, out: &mut BatchBuilder) -> Result<bool, ReadError> {
        let at = self.segment_at(out.next_offset());
        let bound = self.bound_of(at);
        let mut cursor = match self.cursor_at(at, out.next_offset()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The file was removed while the store is open.
                out.skip_to(bound, SkippedBecause::Damaged);
                return Ok(true);
            }
            cursor => cursor?,
        };
        let mut has_skipped = false;
        if let Some(frame) = cursor.frame.take_if(|frame| frame.contains(out.next_offset())) {
            out.take_from(&frame);
            cursor.frame = frame.contains(out.next_offset()).then_some(frame);
        }
        while !out.is_full() && !self.tail.holds(out.next_offset()) {
            let segment = &mut self.segments[at];
            match cursor.reader.step(segment.bytes, bound, out.next_offset())? {
                Step::Frame(frame, position) => {
                    segment.index.note(frame.header.base_offset, position);
                    out.take_from(&frame);
                    cursor.frame = frame.contains(out.next_offset()).then_some(frame);
                }
                Step::Passed(header, position) => {
                    segment.index.note(header.base_offset, position);
                }
                Step::Damaged(lost) => {
                    has_skipped |= lost.end > out.next_offset();
                    out.skip_to(lost.end, SkippedBecause::Damaged);
                }
                Step::End => {
                    has_skipped |= bound > out.next_offset();
                    out.skip_to(bound, SkippedBecause::Damaged);
                    return Ok(has_skipped);
                }
            }
        }
        if !self.tail.holds(out.next_offset()) {
            cursor.next_offset = out.next_offset();
            cursor.frame = cursor.frame.filter(|frame| frame.memory_bytes <= CURSOR_FRAME_BYTES_MAX);
            if self.cursors.len() >= CURSORS_MAX {
                self.cursors.pop_front();
            }
            self.cursors.push_back(cursor);
        }
        self.bound_index(at);
        Ok(has_skipped)
    }

    /// The remembered position of a reader that stopped here, or the nearest known position before it.
    fn cursor_at(&mut self, at: usize, offset: u64) -> io::Result<Cursor> {
        let base_offset = self.segments[at].base_offset;
        let known = self
            .cursors
            .iter()
            .position(|cursor| cursor.next_offset == offset && cursor.segment == base_offset);
        if let Some(cursor) = known.and_then(|known| self.cursors.remove(known)) {
            // A reader that stopped inside a frame that was too large to keep has already passed it.
            let is_inside = cursor.frame.as_ref().is_some_and(|frame| frame.contains(offset));
            if is_inside || cursor.reader.expected_offset() <= offset {
                return Ok(cursor);
            }
        }
        let file = self.file_of(at)?;
        let (expected, position) = self.segments[at].index.before(offset).unwrap_or((base_offset, 0));
        let reader = SegmentReader::new(file, self.store_id, position, expected);
        Ok(Cursor { next_offset: offset, segment: base_offset, reader, frame: None })
    }

    pub(super) fn file_of(&self, at: usize) -> io::Result<Arc<File>> {
        let segment = &self.segments[at];
        match &segment.file {
            Some(file) => Ok(file.clone()),
            None => Ok(Arc::new(File::open(self.directory.join(segment::file_name(segment.base_offset)))?)),
        }
    }

    /// The segment whose range contains an offset; the first one for smaller offsets.
    fn segment_at(&self, offset: u64) -> usize {
        self.segments.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1)
    }

    /// All offsets of a segment are below this.
    pub(super) fn bound_of(&self, at: usize) -> u64 {
        self.segments.get(at + 1).map_or(self.next_offset, |next| next.base_offset)
    }

    fn bound_index(&mut self, touched: usize) {
        let entries: usize = self.segments.iter().map(|segment| segment.index.len()).sum();
        if entries > INDEX_ENTRIES_MAX {
            let last = self.segments.len() - 1;
            let others = self.segments.iter_mut().enumerate().filter(|(at, _)| *at != touched && *at != last);
            others.for_each(|(_, segment)| segment.index.clear());
        }
    }
}
