//! Reads a segment file from front to back: [`SegmentReader`] walks its frames, with or without their bodies,
//! and skips damage. [`SparseIndex`] tells a reader where to begin.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::frame::{Frame, FrameError, HEADER_BYTES, Header, MAGIC};
use crate::kit::platform;

/// The size of one read from disk, unless the next frame is larger.
const CHUNK_BYTES: usize = 128 << 10;
/// The minimum distance between entries of an index.
const INDEX_STEP_BYTES: u64 = 64 << 10;

pub const EXTENSION: &str = "log";

pub fn file_name(base_offset: u64) -> String {
    format!("{base_offset:020}.{EXTENSION}")
}

/// The base offset in a segment's file name; `None` for any other file.
pub fn base_offset_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    if all_digits { digits.parse().ok() } else { None }
}

#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error("cannot read a segment: {0}")]
    Io(#[from] io::Error),
    #[error("the journal holds {0}")]
    Format(FrameError),
}

/// The result of one step through a segment.
#[derive(Debug)]
pub enum Step {
    /// A complete, checked frame that ends after the wanted offset, and its position.
    Frame(Frame, u64),
    /// The header and position of a frame before the wanted offset.
    Passed(Header, u64),
    /// Lost offsets. The range is empty for bytes that belong to no record.
    Damaged(Range<u64>),
    /// No good frame follows.
    End,
}

/// Walks one segment. Its buffer has about 128 KiB, or one frame if that is larger.
#[derive(Debug)]
pub struct SegmentReader {
    file: Arc<File>,
    store_id: u64,
    /// The expected position of the next frame.
    position: u64,
    /// The expected offset of the next frame.
    expected: u64,
    buffer: Vec<u8>,
    buffer_position: u64,
}

impl SegmentReader {
    /// `position` is 0, or the position of a frame with base offset `expected`.
    pub fn new(file: Arc<File>, store_id: u64, position: u64, expected: u64) -> SegmentReader {
        SegmentReader { file, store_id, position, expected, buffer: Vec::new(), buffer_position: 0 }
    }

    /// The expected offset of the next frame.
    pub fn expected_offset(&self) -> u64 {
        self.expected
    }

    /// The next step in a file of `file_bytes`, whose offsets are all below `bound`. Bodies of frames that
    /// end at or before `wanted` are not read. After `End` the reader keeps its position and can continue
    /// when the file has grown.
    ///
    /// # Errors
    /// `Io`; `Format` for a frame of a later format version. The reader then keeps its position.
    pub fn step(&mut self, file_bytes: u64, bound: u64, wanted: u64) -> Result<Step, SegmentError> {
        if self.position >= file_bytes {
            return Ok(Step::End);
        }
        let Some(header) = self.header_at(self.position, file_bytes, bound)? else {
            return self.search(file_bytes, bound);
        };
        if header.base_offset > self.expected {
            let lost = self.expected..header.base_offset;
            self.expected = header.base_offset;
            return Ok(Step::Damaged(lost));
        }
        let position = self.position;
        let step = if header.end_offset() <= wanted {
            Step::Passed(header, position)
        } else {
            match self.frame_at(position, header, file_bytes)? {
                Some(frame) => Step::Frame(frame, position),
                None => Step::Damaged(header.base_offset..header.end_offset()),
            }
        };
        self.position += header.frame_bytes();
        self.expected = header.end_offset();
        Ok(step)
    }

    /// Searches the next good frame, header and body checked, from a position without a frame.
    fn search(&mut self, file_bytes: u64, bound: u64) -> Result<Step, SegmentError> {
        let mut position = self.position + 1;
        while position + HEADER_BYTES as u64 <= file_bytes {
            let window = self.bytes_at(position, HEADER_BYTES, file_bytes)?;
            let Some(skip) = window.iter().position(|byte| *byte == MAGIC[0]) else {
                position += window.len() as u64;
                continue;
            };
            position += skip as u64;
            if let Some(header) = self.header_at(position, file_bytes, bound)?
                && self.frame_at(position, header, file_bytes)?.is_some()
            {
                let lost = self.expected..header.base_offset;
                self.position = position;
                self.expected = header.base_offset;
                return Ok(Step::Damaged(lost));
            }
            position += 1;
        }
        Ok(Step::End)
    }

    /// A header that fits into the file and the sequence.
    fn header_at(
        &mut self,
        position: u64,
        file_bytes: u64,
        bound: u64,
    ) -> Result<Option<Header>, SegmentError> {
        let (store_id, expected) = (self.store_id, self.expected);
        match Header::decode(self.bytes_at(position, HEADER_BYTES, file_bytes)?, store_id) {
            Ok(header) => {
                let fits = header.base_offset >= expected
                    && header.end_offset() <= bound
                    && position + header.frame_bytes() <= file_bytes;
                Ok(fits.then_some(header))
            }
            Err(error @ FrameError::Format(_)) => Err(SegmentError::Format(error)),
            Err(_) => Ok(None),
        }
    }

    fn frame_at(
        &mut self,
        position: u64,
        header: Header,
        file_bytes: u64,
    ) -> Result<Option<Frame>, SegmentError> {
        // At most BODY_BYTES_MAX, which `decode` checked.
        let frame_bytes = header.frame_bytes() as usize;
        let bytes = self.bytes_at(position, frame_bytes, file_bytes)?;
        Ok(bytes.get(..frame_bytes).and_then(|bytes| Frame::copy_checked(header, bytes).ok()))
    }

    /// At least `wanted` bytes from `position` on, or fewer at the end of the file.
    fn bytes_at(&mut self, position: u64, wanted: usize, file_bytes: u64) -> io::Result<&[u8]> {
        let buffered = self.buffer_position..self.buffer_position + self.buffer.len() as u64;
        let end = file_bytes.min(position + wanted as u64);
        if position < buffered.start || end > buffered.end {
            let length = file_bytes.saturating_sub(position).min(wanted.max(CHUNK_BYTES) as u64) as usize;
            if self.buffer.capacity() > CHUNK_BYTES.max(length) {
                self.buffer = Vec::new();
            }
            self.buffer.clear();
            self.buffer.resize(length, 0);
            self.buffer_position = position;
            if let Err(error) = platform::read_exact_at(&self.file, &mut self.buffer, position) {
                self.buffer.clear();
                // A file that was truncated meanwhile is damage, not a disk error.
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    return Err(error);
                }
            }
        }
        let skip = (position - self.buffer_position).min(self.buffer.len() as u64) as usize;
        Ok(&self.buffer[skip..])
    }
}

/// Positions of some frames of a segment, in order, as readers found them.
#[derive(Debug, Default)]
pub struct SparseIndex {
    /// (base offset, position)
    entries: Vec<(u64, u64)>,
}

impl SparseIndex {
    /// Adds an entry, unless it is near the last one. Returns whether it was added.
    pub fn note(&mut self, base_offset: u64, position: u64) -> bool {
        let far_enough = match self.entries.last() {
            Some((_, last)) => position >= last + INDEX_STEP_BYTES,
            None => position >= INDEX_STEP_BYTES,
        };
        if far_enough {
            self.entries.push((base_offset, position));
        }
        far_enough
    }

    /// The last known frame that begins at or before `offset`.
    pub fn before(&self, offset: u64) -> Option<(u64, u64)> {
        let after = self.entries.partition_point(|(base_offset, _)| *base_offset <= offset);
        self.entries[..after].last().copied()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn clear(&mut self) {
        self.entries = Vec::new();
    }
}

/// The result of a full scan of a segment.
#[derive(Debug, Default)]
pub struct Scan {
    /// The end of the last good frame, and the offset after its last record.
    pub good_bytes: u64,
    pub next_offset: u64,
    /// Offsets that are lost before the last good frame.
    pub damaged: Vec<Range<u64>>,
    /// Whether only good frames are before `good_bytes`.
    pub is_whole: bool,
    pub last_appended_at_ns: Option<u64>,
    /// The lowest and the highest append time.
    pub span_ns: Option<(u64, u64)>,
    pub index: SparseIndex,
}

/// Reads and checks every frame of a segment.
///
/// # Errors
/// As [`SegmentReader::step`].
pub fn scan(file: Arc<File>, store_id: u64, base_offset: u64, file_bytes: u64) -> Result<Scan, SegmentError> {
    let mut reader = SegmentReader::new(file, store_id, 0, base_offset);
    let mut scan = Scan { next_offset: base_offset, is_whole: true, ..Scan::default() };
    let mut damaged_since: Vec<Range<u64>> = Vec::new();
    loop {
        match reader.step(file_bytes, u64::MAX, 0)? {
            Step::Frame(frame, position) => {
                scan.is_whole &= damaged_since.is_empty();
                scan.damaged.extend(damaged_since.drain(..).filter(|lost| !lost.is_empty()));
                scan.index.note(frame.header.base_offset, position);
                scan.good_bytes = position + frame.header.frame_bytes();
                scan.next_offset = frame.header.end_offset();
                let at_ns = frame.header.appended_at_ns;
                scan.last_appended_at_ns = Some(at_ns);
                scan.span_ns = Some(span_with(scan.span_ns, at_ns));
            }
            Step::Damaged(lost) => damaged_since.push(lost),
            Step::Passed(..) => {}
            Step::End => return Ok(scan),
        }
    }
}

/// Extends a span of time to include one more moment.
pub fn span_with(span_ns: Option<(u64, u64)>, at_ns: u64) -> (u64, u64) {
    span_ns.map_or((at_ns, at_ns), |(low, high)| (low.min(at_ns), high.max(at_ns)))
}

/// Whether a range of a file contains only zeros.
///
/// # Errors
/// When the file cannot be read.
pub fn is_room(file: &File, range: Range<u64>) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut position = range.start;
    while position < range.end {
        let length = (range.end - position).min(CHUNK_BYTES as u64) as usize;
        platform::read_exact_at(file, &mut chunk[..length], position)?;
        if chunk[..length].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        position += length as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::batch::RecordBatch;
    use super::*;

    fn frame(base_offset: u64, records: &[&[u8]], store_id: u64) -> Vec<u8> {
        let mut batch = RecordBatch::new();
        for record in records {
            batch.push(record).unwrap();
        }
        batch.seal(base_offset, base_offset, store_id).1.to_vec()
    }

    fn file_of(bytes: &[u8]) -> Arc<File> {
        let file = tempfile::tempfile().unwrap();
        platform::write_all_at(&file, bytes, 0).unwrap();
        Arc::new(file)
    }

    fn scan_bytes(bytes: &[u8]) -> (u64, u64, Vec<(u64, u64)>) {
        let scan = scan(file_of(bytes), 1, 10, bytes.len() as u64).unwrap();
        let damaged = scan.damaged.into_iter().map(|lost| (lost.start, lost.end)).collect();
        (scan.good_bytes, scan.next_offset, damaged)
    }

    #[test]
    fn names_are_read_back_and_others_are_not() {
        assert_eq!(base_offset_of(&file_name(42)), Some(42));
        assert_eq!(base_offset_of(&file_name(u64::MAX)), Some(u64::MAX));
        for other in
            ["42.log", "00000000000000000042.lo", "+0000000000000000042.log", "99999999999999999999.log", ""]
        {
            assert_eq!(base_offset_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_tail_cut_at_any_byte_ends_at_the_last_whole_frame() {
        let first = frame(10, &[b"a", b"b"], 1);
        let second = frame(12, &[b"c", b"", b"dd"], 1);
        let all = [first.clone(), second].concat();
        for cut in first.len()..all.len() {
            assert_eq!(scan_bytes(&all[..cut]), (first.len() as u64, 12, vec![]), "cut at {cut}");
        }
        assert_eq!(scan_bytes(&all), (all.len() as u64, 15, vec![]));
        for cut in 0..first.len() {
            assert_eq!(scan_bytes(&all[..cut]), (0, 10, vec![]), "cut at {cut}");
        }
    }

    #[test]
    fn any_flipped_bit_in_the_middle_loses_only_its_frame() {
        let frames = [frame(10, &[b"a"], 1), frame(11, &[b"bb", b"c"], 1), frame(13, &[b"d"], 1)];
        let all = frames.concat();
        for bit in frames[0].len() * 8..(frames[0].len() + frames[1].len()) * 8 {
            let mut flipped = all.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(scan_bytes(&flipped), (all.len() as u64, 14, vec![(11, 13)]), "bit {bit}");
        }
    }

    #[test]
    fn room_is_zeros_alone() {
        let check = |bytes: &[u8], from: u64, expect: bool| {
            assert_eq!(is_room(&file_of(bytes), from..bytes.len() as u64).unwrap(), expect);
        };
        check(b"", 0, true);
        check(b"ab\0\0", 2, true);
        check(b"ab\0\0", 1, false);
        check(b"ab\0c\0", 2, false);
        let mut long = vec![0; 3 * CHUNK_BYTES];
        check(&long, 5, true);
        long[CHUNK_BYTES + 7] = 1;
        check(&long, 5, false);
    }

    #[test]
    fn bytes_inside_a_record_are_not_mistaken_for_a_frame() {
        let forged = frame(11, &[b"forged"], 2);
        let mut bytes = [frame(10, &[&forged], 1), frame(11, &[b"true"], 1)].concat();
        bytes[20] ^= 1;
        assert_eq!(scan_bytes(&bytes), (bytes.len() as u64, 12, vec![(10, 11)]));
    }

    #[test]
    fn garbage_between_frames_loses_no_record_and_a_gap_is_reported() {
        let rubbish = vec![b'B'; 300_000];
        let bytes = [frame(10, &[b"a"], 1), rubbish, frame(11, &[b"b"], 1), frame(15, &[b"c"], 1)].concat();
        assert_eq!(scan_bytes(&bytes), (bytes.len() as u64, 16, vec![(12, 15)]));
    }

    #[test]
    fn a_frame_with_an_earlier_offset_is_ignored() {
        let good = frame(10, &[b"a", b"b"], 1);
        let bytes = [good.clone(), frame(11, &[b"again"], 1)].concat();
        assert_eq!(scan_bytes(&bytes), (good.len() as u64, 12, vec![]));
    }

    #[test]
    fn skipping_frames_and_filling_the_index_needs_headers_only() {
        let record = vec![7; 30_000];
        let bytes: Vec<u8> = (10..30).flat_map(|offset| frame(offset, &[&record], 1)).collect();
        let mut reader = SegmentReader::new(file_of(&bytes), 1, 0, 10);
        let mut index = SparseIndex::default();
        let mut passed = 0;
        let found = loop {
            match reader.step(bytes.len() as u64, 30, 25).unwrap() {
                Step::Passed(header, position) => {
                    index.note(header.base_offset, position);
                    passed += 1;
                }
                Step::Frame(frame, _) => break frame.header.base_offset,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((passed, found), (15, 25));
        assert_eq!(index.before(12), None);
        assert_eq!(index.before(14), Some((13, 3 * 30_052)));
        assert_eq!(index.len(), 4);
    }
}
