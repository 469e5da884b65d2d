//! Records to append ([`RecordBatch`]) and records that were read ([`Batch`]).
//!
//! Both have the layout of a frame, so that an append neither copies nor allocates per record, and a read
//! returns slices of the frames.

use std::ops::Range;

use super::frame::{BODY_BYTES_MAX, Frame, HEADER_BYTES, Header, LENGTH_BYTES};

/// Records to append together, in one allocation with room for the frame's header in front.
#[derive(Debug, Default)]
pub struct RecordBatch {
    /// Room for the header, then the records, each after its length. Bytes beyond `end` are from an
    /// unfinished push.
    buffer: Vec<u8>,
    end: usize,
    records: u32,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    #[error("a record of {bytes} bytes does not fit into a batch that holds {held} of {max} bytes")]
    TooLarge { bytes: usize, held: usize, max: usize },
}

impl RecordBatch {
    pub fn new() -> RecordBatch {
        RecordBatch::default()
    }

    /// Reserves this many bytes for records with their lengths.
    pub fn with_capacity(body_bytes: usize) -> RecordBatch {
        let mut buffer = Vec::with_capacity(HEADER_BYTES + body_bytes);
        buffer.resize(HEADER_BYTES, 0);
        RecordBatch { buffer, end: HEADER_BYTES, records: 0 }
    }

    pub fn len(&self) -> usize {
        self.records as usize
    }

    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The size of all records with their lengths.
    pub fn body_bytes(&self) -> usize {
        self.end.saturating_sub(HEADER_BYTES)
    }

    /// Whether one more record of this size fits.
    pub fn takes(&self, bytes: usize) -> bool {
        self.body_bytes() + LENGTH_BYTES + bytes <= BODY_BYTES_MAX
    }

    /// The records in order, for tests.
    #[cfg(test)]
    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = HEADER_BYTES;
        (0..self.records).map_while(move |_| {
            let data = record_at(&self.buffer, at)?;
            at += LENGTH_BYTES + data.len();
            Some(data)
        })
    }

    /// Removes the records, keeps the allocation.
    pub fn clear(&mut self) {
        self.end = self.end.min(HEADER_BYTES);
        self.buffer.truncate(self.end);
        self.records = 0;
    }

    /// # Errors
    /// `TooLarge` when the batch would exceed 32 MiB; it is then unchanged.
    pub fn push(&mut self, record: &[u8]) -> Result<(), PushError> {
        self.push_with(|buffer| buffer.extend_from_slice(record))
    }

    /// Adds the bytes that `write` appends to the buffer as one record. `write` must not change existing
    /// bytes. When it panics, the batch is unchanged.
    ///
    /// # Errors
    /// `TooLarge` when the batch would exceed 32 MiB; it is then unchanged.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), PushError> {
        self.try_push_with(|buffer| {
            write(buffer);
            Ok(())
        })
    }

    /// Like `push_with`. When `write` fails, the batch is unchanged.
    ///
    /// # Errors
    /// The error of `write`, and `TooLarge`.
    pub fn try_push_with<E: From<PushError>>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.end = self.end.max(HEADER_BYTES);
        // Also removes bytes of a `write` that panicked.
        self.buffer.resize(self.end, 0);
        let start = self.end + LENGTH_BYTES;
        self.buffer.resize(start, 0);
        let written = write(&mut self.buffer);
        assert!(self.buffer.len() >= start, "a record's writer shortened the batch");
        if let Err(error) = written {
            self.buffer.truncate(self.end);
            return Err(error);
        }
        let bytes = self.buffer.len() - start;
        if self.buffer.len() - HEADER_BYTES > BODY_BYTES_MAX {
            self.buffer.truncate(self.end);
            return Err(PushError::TooLarge { bytes, held: self.body_bytes(), max: BODY_BYTES_MAX }.into());
        }
        // The cast fits: the value is at most BODY_BYTES_MAX.
        self.buffer[self.end..start].copy_from_slice(&(bytes as u32).to_le_bytes());
        self.end = self.buffer.len();
        self.records += 1;
        Ok(())
    }

    /// Fills in the header and returns the bytes to write.
    pub(super) fn seal(&mut self, base_offset: u64, appended_at_ns: u64, store_id: u64) -> (Header, &[u8]) {
        self.buffer.truncate(self.end);
        let body = &self.buffer[HEADER_BYTES..];
        let header = Header {
            base_offset,
            appended_at_ns,
            records: self.records,
            body_bytes: body.len() as u32,
            body_crc: crc32fast::hash(body),
        };
        self.buffer[..HEADER_BYTES].copy_from_slice(&header.encode(store_id));
        (header, &self.buffer)
    }

    /// The sealed bytes as a frame, without a copy. The batch is then empty and has no allocation.
    pub(super) fn take_frame(&mut self, header: Header) -> Frame {
        let buffer = std::mem::take(&mut self.buffer);
        *self = RecordBatch::default();
        let memory_bytes = buffer.capacity();
        Frame { header, bytes: buffer.into(), memory_bytes }
    }
}

/// One record, as it was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: u64,
    /// Unix nanoseconds.
    pub appended_at_ns: u64,
    pub data: &'a [u8],
}

/// Offsets that a read skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub offsets: Range<u64>,
    pub why: SkippedBecause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkippedBecause {
    /// The bytes on disk are not those that were written, or were lost in a power cut.
    Damaged,
    /// Removed by age, or dropped because the stream was full.
    Removed,
}

/// Part of a frame.
#[derive(Clone, Debug)]
struct Part {
    frame: Frame,
    /// The position of the first record's length in the frame.
    at: usize,
    first_offset: u64,
    records: usize,
}

/// Records that were read, as slices of reference-counted frames. Cheap to clone and to send.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    parts: Vec<Part>,
    skipped: Vec<Skipped>,
    from: u64,
    next_offset: u64,
    records: usize,
    bytes: usize,
}

impl Batch {
    /// The offset where the read began.
    pub fn from_offset(&self) -> u64 {
        self.from
    }

    /// The offset of the next read, and of the commit after delivery. It is after skipped offsets.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether there are no records. `next_offset` may still be after skipped offsets.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The size of the records without their lengths.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Skipped offsets in order.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// A batch of one record, as a read from its offset would return it.
    ///
    /// # Errors
    /// `TooLarge` when it is larger than a record of a journal can be.
    pub fn of_one(offset: u64, data: &[u8]) -> Result<Batch, PushError> {
        Self::of_many(offset, [data])
    }

    /// A batch of these records, numbered from `from` on.
    ///
    /// # Errors
    /// `TooLarge` when together they are larger than a batch of a journal can be.
    pub fn of_many<'a>(from: u64, records: impl IntoIterator<Item = &'a [u8]>) -> Result<Batch, PushError> {
        let mut batch = RecordBatch::new();
        for record in records {
            batch.push(record)?;
        }
        let (header, _) = batch.seal(from, 0, 0);
        let mut out = BatchBuilder::new(from, usize::MAX, usize::MAX);
        out.take_from(&batch.take_frame(header));
        Ok(out.finish())
    }

    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.parts.iter().flat_map(|part| {
            let mut at = part.at;
            (0..part.records).map_while(move |i| {
                let data = record_at(&part.frame.bytes, at)?;
                at += LENGTH_BYTES + data.len();
                Some(Record {
                    offset: part.first_offset + i as u64,
                    appended_at_ns: part.frame.header.appended_at_ns,
                    data,
                })
            })
        })
    }
}

fn record_at(frame: &[u8], at: usize) -> Option<&[u8]> {
    let (length, rest) = frame.get(at..)?.split_first_chunk()?;
    rest.get(..u32::from_le_bytes(*length) as usize)
}

/// A batch that is being read, with its remaining limits.
#[derive(Debug)]
pub(super) struct BatchBuilder {
    batch: Batch,
    records_max: usize,
    bytes_max: usize,
    full: bool,
}

impl BatchBuilder {
    pub fn new(from: u64, records_max: usize, bytes_max: usize) -> BatchBuilder {
        let batch = Batch { from, next_offset: from, ..Batch::default() };
        BatchBuilder { batch, records_max, bytes_max, full: records_max == 0 }
    }

    pub fn next_offset(&self) -> u64 {
        self.batch.next_offset
    }

    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Skips everything before `to`.
    pub fn skip_to(&mut self, to: u64, why: SkippedBecause) {
        let from = self.batch.next_offset;
        if to <= from {
            return;
        }
        self.batch.next_offset = to;
        match self.batch.skipped.last_mut() {
            Some(last) if last.offsets.end == from && last.why == why => last.offsets.end = to,
            _ => self.batch.skipped.push(Skipped { offsets: from..to, why }),
        }
    }

    /// Adds records of a frame that contains `next_offset`, within the limits.
    pub fn take_from(&mut self, frame: &Frame) {
        debug_assert!(frame.contains(self.batch.next_offset));
        let mut at = HEADER_BYTES;
        for _ in frame.header.base_offset..self.batch.next_offset {
            at += LENGTH_BYTES + record_at(&frame.bytes, at).map_or(0, <[u8]>::len);
        }
        let mut part = Part { frame: frame.clone(), at, first_offset: self.batch.next_offset, records: 0 };
        while frame.contains(self.batch.next_offset) {
            let Some(data) = record_at(&frame.bytes, at) else { break };
            // The first record is taken whatever its size, or a reader could never pass it.
            let fits = self.batch.bytes + data.len() <= self.bytes_max || self.batch.records == 0;
            if self.batch.records >= self.records_max || !fits {
                self.full = true;
                break;
            }
            at += LENGTH_BYTES + data.len();
            part.records += 1;
            self.batch.records += 1;
            self.batch.bytes += data.len();
            self.batch.next_offset += 1;
        }
        self.full |= self.batch.records >= self.records_max;
        if part.records > 0 {
            self.batch.parts.push(part);
        }
    }

    pub fn finish(self) -> Batch {
        self.batch
    }
}

#[cfg(test)]
impl Batch {
    /// The result of a read from offset `from`, with these records.
    pub(crate) fn of_records<'a>(from: u64, records: impl IntoIterator<Item = &'a [u8]>) -> Batch {
        let mut batch = RecordBatch::new();
        for record in records {
            batch.push(record).expect("a test's records are small");
        }
        let (header, bytes) = batch.seal(from, 1, 1);
        let frame = Frame::copy_checked(header, bytes).expect("just sealed");
        let mut out = BatchBuilder::new(from, usize::MAX, usize::MAX);
        out.take_from(&frame);
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_that_fails_or_panics_changes_nothing() {
        let mut batch = RecordBatch::with_capacity(100);
        batch.push(b"one").unwrap();
        let refused = batch.try_push_with(|buffer| {
            buffer.extend_from_slice(b"half");
            Err(PushError::TooLarge { bytes: 0, held: 0, max: 0 })
        });
        assert!(refused.is_err());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            batch.push_with(|buffer| {
                buffer.extend_from_slice(b"half");
                panic!("poison");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!((batch.len(), batch.body_bytes()), (1, 7));
        batch.push(b"").unwrap();
        batch.push(b"two").unwrap();
        let (header, bytes) = batch.seal(10, 99, 1);
        let frame = Frame::copy_checked(header, bytes).unwrap();
        let mut out = BatchBuilder::new(11, 10, 100);
        out.take_from(&frame);
        let out = out.finish();
        let got: Vec<_> = out.iter().map(|r| (r.offset, r.appended_at_ns, r.data)).collect();
        assert_eq!(got, [(11, 99, b"".as_slice()), (12, 99, b"two")]);
        assert_eq!(out.next_offset(), 13);
    }

    #[test]
    fn a_batch_has_a_size_limit() {
        let mut batch = RecordBatch::new();
        let record = vec![0; BODY_BYTES_MAX - 4 - 14];
        batch.push(&record).unwrap();
        batch.push(b"0123456789").unwrap();
        let expect = PushError::TooLarge { bytes: 0, held: BODY_BYTES_MAX, max: BODY_BYTES_MAX };
        assert_eq!(batch.push(b""), Err(expect));
        assert_eq!(batch.len(), 2);
        batch.clear();
        assert_eq!((batch.len(), batch.body_bytes()), (0, 0));
    }

    #[test]
    fn a_single_record_is_a_batch() {
        let batch = Batch::of_one(41, b"letter").unwrap();
        assert_eq!((batch.from_offset(), batch.next_offset(), batch.len()), (41, 42, 1));
        let got: Vec<_> = batch.iter().map(|record| (record.offset, record.data)).collect();
        assert_eq!(got, [(41, b"letter".as_slice())]);
        assert!(Batch::of_one(0, &vec![0; BODY_BYTES_MAX]).is_err());
    }

    #[test]
    fn limits_cut_between_records_but_always_return_one() {
        let mut batch = RecordBatch::new();
        for record in ["aaaa", "bbbb", "cccc"] {
            batch.push(record.as_bytes()).unwrap();
        }
        let (header, bytes) = batch.seal(0, 0, 1);
        let frame = Frame::copy_checked(header, bytes).unwrap();
        for (records_max, bytes_max, expect) in
            [(9, 0, 1), (9, 8, 2), (9, 11, 2), (2, 99, 2), (9, 99, 3), (0, 9, 0)]
        {
            let mut out = BatchBuilder::new(0, records_max, bytes_max);
            if !out.is_full() {
                out.take_from(&frame);
            }
            assert_eq!(out.finish().len(), expect, "{records_max} records, {bytes_max} bytes");
        }
    }
}
