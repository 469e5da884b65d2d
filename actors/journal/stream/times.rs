//! When records of a stream were appended, found in the headers of its segments.

use std::io;

use super::{ReadError, Stream};
use crate::journal::frame::{Frame, HEADER_BYTES, Header};
use crate::journal::segment::{SegmentReader, Step};

impl Stream {
    /// The first offset whose record was appended at or after a time; the end when there is none.
    pub fn find_time(&mut self, at_ns: u64) -> Result<u64, ReadError> {
        // The last segment that begins before the time may hold it; those before cannot.
        let mut start = 0;
        for at in 1..self.segments.len() {
            match self.oldest_at_ns(at)? {
                Some(oldest_at_ns) if oldest_at_ns >= at_ns => break,
                Some(_) => start = at,
                None => {}
            }
        }
        for at in start..self.segments.len() {
            let found = self.walk_headers(at, |header| {
                if header.appended_at_ns >= at_ns { Some(header.base_offset) } else { None }
            })?;
            if let Some(offset) = found {
                return Ok(offset);
            }
        }
        Ok(self.next_offset)
    }

    /// When the record at or after an offset was appended; `None` when there is none.
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

    /// When the oldest record was appended.
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

    /// Of a segment that is not the active one: at most this. The next segment's first record tells with one small read.
    pub(super) fn newest_at_ns(&mut self, at: usize) -> Result<Option<u64>, ReadError> {
        if self.segments[at].newest_at_ns.is_none() {
            let mut newest = self.oldest_at_ns(at + 1)?;
            if newest.is_none() {
                self.walk_headers(at, |header| {
                    newest = newest.max(Some(header.appended_at_ns));
                    None::<()>
                })?;
            }
            self.segments[at].newest_at_ns = newest;
        }
        Ok(self.segments[at].newest_at_ns)
    }

    /// Shows the headers of a segment in order until `visit` answers.
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
            // With everything below the bound unwanted, no body is looked at.
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
