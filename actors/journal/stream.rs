//! One stream: its segments on disk, its tail in memory, the positions of its readers. Formats and invariants
//! are at the head of the journal module.
//!
//! This file opens, extends and shrinks it; the rest is in [`reading`], [`syncing`], [`times`] and [`age`].

mod age;
mod reading;
mod syncing;
mod times;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use self::age::ClockSteps;
use self::reading::Cursor;
pub use self::syncing::Unsynced;
use super::batch::RecordBatch;
use super::disk;
use super::frame::HEADER_BYTES;
use super::segment::{self, SegmentError, SparseIndex};
use super::tail::Tail;
use crate::kit::platform::{self, Modes};

/// The minimum size of segments, also for a very small stream.
const SEGMENT_BYTES_MIN: u64 = 4 << 10;
/// The size of a trial write.
const TRIAL_BYTES_MAX: u64 = 1 << 20;
/// A segment takes records for this part of the retention, so that no record outlives the retention by much
/// more.
const SEGMENTS_PER_RETENTION: u32 = 8;
/// The minimum time between new files, also with a short retention.
const SEGMENT_AGE_MIN: Duration = Duration::from_secs(60);

/// The limits of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes_max: u64,
    pub segment_bytes_max: u64,
    pub tail_bytes_max: usize,
    /// Zeros to write ahead of the log, so that a sync need not extend the file; 0: none.
    pub room_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("the stream holds {bytes} bytes that are still needed, of at most {bytes_max}")]
    Full { bytes: u64, bytes_max: u64 },
    #[error("a batch of {bytes} bytes can never fit into a stream of {bytes_max}")]
    TooLarge { bytes: u64, bytes_max: u64 },
    #[error("no space on the disk: {0}")]
    NoSpace(#[source] io::Error),
    #[error("cannot append: {0}")]
    Io(#[source] io::Error),
    #[error("no such stream")]
    UnknownStream,
}

impl AppendError {
    /// Whether the same batch may succeed later without anybody's action.
    pub fn is_transient(&self) -> bool {
        matches!(self, AppendError::Full { .. } | AppendError::NoSpace(_) | AppendError::Io(_))
    }
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> AppendError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                AppendError::NoSpace(error)
            }
            _ => AppendError::Io(error),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error("offset {offset} is beyond the end {end} of the stream")]
    Beyond { offset: u64, end: u64 },
    #[error("no such stream")]
    UnknownStream,
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Segment(error.into())
    }
}

/// One segment file. The last one is the active one.
#[derive(Debug)]
struct Segment {
    base_offset: u64,
    bytes: u64,
    /// The end of the written-ahead room, which only the active segment has.
    room_end: u64,
    /// The synced part of the file.
    synced_bytes: u64,
    /// Append times of the first frame, and of a record near the end with its offset, as far as they are
    /// known without reading.
    oldest_at_ns: Option<u64>,
    newest_at: Option<(u64, u64)>,
    /// The lowest and the highest append time, as far as they are known. The clock may have been set in
    /// between.
    span_ns: Option<(u64, u64)>,
    index: SparseIndex,
    /// Open while the segment is active or not synced.
    file: Option<Arc<File>>,
}

#[derive(Debug)]
pub struct Stream {
    directory: PathBuf,
    store_id: u64,
    limits: Limits,
    segments: VecDeque<Segment>,
    next_offset: u64,
    /// The offset after the last frame in the active segment. It is less than `next_offset` after a lost
    /// tail.
    active_end: u64,
    bytes: u64,
    tail: Tail,
    cursors: VecDeque<Cursor>,
    /// The active file may contain bytes other than zeros after its good frames.
    must_cut: bool,
    /// A sync failed: its bytes must be written again before the next one.
    must_rewrite: bool,
    /// The number of such rewrites. A sync that began before the last one does not count.
    rewrites: u64,
    /// A file was created since the last sync of the directory began.
    directory_changed: bool,
    durable_offset: u64,
    clock_steps: ClockSteps,
}

/// Repairs of a stream when it was opened.
#[derive(Debug, Default)]
pub struct Mended {
    pub damaged: Vec<Range<u64>>,
    /// The offset at which the sequence continues, and the number of bytes cut off.
    pub tail_cut: Option<(u64, u64)>,
    /// Offsets that a consumer had committed but that no longer exist.
    pub skipped: Option<Range<u64>>,
}

impl Stream {
    /// Opens or creates a stream. Reads only the last segment. `committed` is the largest offset that a
    /// consumer committed.
    ///
    /// # Errors
    /// When a directory or file cannot be read, created, cut or synced, or is of a later format version.
    pub fn open(
        directory: PathBuf,
        store_id: u64,
        limits: Limits,
        committed: u64,
    ) -> Result<(Stream, Mended), SegmentError> {
        platform::create_directories(&directory, Modes::default())?;
        let mut segments = list(&directory)?;
        let mut mended = Mended::default();
        let mut end = 0;
        let mut must_roll = true;
        if let Some(last) = segments.back_mut() {
            let path = directory.join(segment::file_name(last.base_offset));
            let file = Arc::new(platform::open_to_write(&path)?);
            let scan = segment::scan(file.clone(), store_id, last.base_offset, last.bytes)?;
            if scan.good_bytes < last.bytes {
                if !segment::is_room(&file, scan.good_bytes..last.bytes)? {
                    mended.tail_cut = Some((scan.next_offset, last.bytes - scan.good_bytes));
                }
                disk::set_len(&file, scan.good_bytes)?;
            }
            mended.damaged = scan.damaged;
            (last.bytes, last.room_end, last.synced_bytes) =
                (scan.good_bytes, scan.good_bytes, scan.good_bytes);
            last.newest_at =
                scan.last_appended_at_ns.map(|at_ns| (scan.next_offset.saturating_sub(1), at_ns));
            last.span_ns = scan.span_ns;
            last.index = scan.index;
            // Data of a process that died may be in the page cache only.
            disk::sync_data(&file)?;
            last.file = Some(file);
            end = scan.next_offset;
            // A header without its body would cover the records that are appended here.
            must_roll = !scan.is_whole;
        }
        if let Some(before_last) = segments.len().checked_sub(2).and_then(|at| segments.get(at)) {
            disk::sync_data(&File::open(directory.join(segment::file_name(before_last.base_offset)))?)?;
        }
        if committed > end {
            // In a stream without segments these offsets have no records either.
            mended.skipped = Some(end..committed);
        }
        let next_offset = end.max(committed);
        let mut stream = Stream {
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            tail: Tail::new(limits.tail_bytes_max),
            directory,
            store_id,
            limits,
            segments,
            next_offset,
            active_end: end,
            cursors: VecDeque::new(),
            must_cut: false,
            must_rewrite: false,
            rewrites: 0,
            directory_changed: false,
            durable_offset: next_offset,
            clock_steps: ClockSteps::default(),
        };
        if must_roll {
            stream.roll()?;
            stream.directory_changed = false;
        }
        disk::sync_directory(&stream.directory)?;
        Ok((stream, mended))
    }

    pub fn first_offset(&self) -> u64 {
        self.segments.front().map_or(self.next_offset, |segment| segment.base_offset)
    }

    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// All records below it are synced.
    pub fn durable_offset(&self) -> u64 {
        self.durable_offset
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    pub fn bytes_max(&self) -> u64 {
        self.limits.bytes_max
    }

    /// Appends one frame. Call `make_room` before. On success the batch is empty; on an error it is
    /// unchanged.
    pub fn append(&mut self, batch: &mut RecordBatch, now_ns: u64) -> Result<Range<u64>, AppendError> {
        let start = self.next_offset;
        if batch.is_empty() {
            return Ok(start..start);
        }
        let frame_bytes = frame_bytes(batch);
        let active_bytes = self.segments.back().map_or(0, |active| active.bytes);
        let is_too_long = active_bytes > 0 && active_bytes + frame_bytes > self.segment_bytes_max();
        if is_too_long || self.active_end != self.next_offset {
            self.roll()?;
        }
        self.cut()?;
        self.make_segment_room(frame_bytes)?;
        let (header, bytes) = batch.seal(start, now_ns, self.store_id);
        let Some((active, file)) = active(&mut self.segments) else { return Err(AppendError::UnknownStream) };
        if let Err(error) = disk::write_all_at(&file, bytes, active.bytes) {
            self.must_cut = true;
            // If this fails too, the next append tries again.
            let _ = self.cut();
            return Err(error.into());
        }
        active.index.note(start, active.bytes);
        active.bytes += frame_bytes;
        active.room_end = active.room_end.max(active.bytes);
        active.oldest_at_ns.get_or_insert(now_ns);
        active.newest_at = Some((header.end_offset().saturating_sub(1), now_ns));
        active.span_ns = Some(segment::span_with(active.span_ns, now_ns));
        self.bytes += frame_bytes;
        self.next_offset = header.end_offset();
        self.active_end = self.next_offset;
        self.tail.push(batch.take_frame(header));
        Ok(start..self.next_offset)
    }

    /// Writes zeros after the last frame when the next one would pass their end. Later frames overwrite them,
    /// and their sync need not update the length of the file.
    fn make_segment_room(&mut self, frame_bytes: u64) -> io::Result<()> {
        let segment_bytes_max = self.segment_bytes_max();
        let Some((active, file)) = active(&mut self.segments) else { return Ok(()) };
        let frame_end = active.bytes + frame_bytes;
        if self.limits.room_bytes == 0 || frame_end <= active.room_end {
            return Ok(());
        }
        let room_end = (frame_end + self.limits.room_bytes).min(segment_bytes_max);
        let zeros = vec![0; room_end.saturating_sub(active.room_end) as usize];
        if disk::write_all_at(&file, &zeros, active.room_end).is_err() {
            // Appends work without written-ahead room. If there is no space for the frame itself, its own
            // write fails.
            self.must_cut = true;
            return self.cut();
        }
        active.room_end = active.room_end.max(room_end);
        Ok(())
    }

    /// Writes as many bytes as the frame would need after the last one, and removes them again.
    pub fn try_write(&mut self, frame_bytes: u64) -> Result<(), AppendError> {
        self.cut()?;
        let Some((active, file)) = active(&mut self.segments) else { return Err(AppendError::UnknownStream) };
        let zeros = vec![0; frame_bytes.min(TRIAL_BYTES_MAX) as usize];
        if active.bytes + frame_bytes <= active.room_end {
            // Write zeros over the existing zeros: a disk that has become read-only refuses that too.
            return Ok(disk::write_all_at(&file, &zeros, active.bytes)?);
        }
        self.must_cut = true;
        let written = disk::write_all_at(&file, &zeros, active.bytes);
        self.cut()?;
        Ok(written?)
    }

    /// Removes the oldest segments until a frame of this size fits under the limit. Only segments below
    /// `floor` unless `drop_needed`.
    pub fn make_room(&mut self, frame_bytes: u64, floor: u64, drop_needed: bool) -> Result<(), AppendError> {
        let bytes_max = self.limits.bytes_max;
        if frame_bytes > bytes_max {
            return Err(AppendError::TooLarge { bytes: frame_bytes, bytes_max });
        }
        while self.bytes + frame_bytes > bytes_max {
            let oldest_end = self.segments.get(1).map_or(self.next_offset, |second| second.base_offset);
            if oldest_end > floor && !drop_needed {
                return Err(AppendError::Full { bytes: self.bytes, bytes_max });
            }
            if self.segments.len() == 1 {
                self.roll()?;
            }
            self.remove_oldest()?;
        }
        Ok(())
    }

    /// Removes the oldest segment if no consumer needs it and it is not the active one.
    pub fn give_back(&mut self, floor: u64) -> io::Result<bool> {
        let is_unneeded = self.segments.get(1).is_some_and(|second| second.base_offset <= floor);
        if is_unneeded {
            self.remove_oldest()?;
        }
        Ok(is_unneeded)
    }

    fn segment_bytes_max(&self) -> u64 {
        // Space is freed by segments, so a segment is a small part of the limit.
        self.limits.segment_bytes_max.min((self.limits.bytes_max / 8).max(SEGMENT_BYTES_MIN))
    }

    /// Begins a new active segment at the next offset.
    fn roll(&mut self) -> io::Result<()> {
        self.must_cut |= self.segments.back().is_some_and(|active| active.room_end > active.bytes);
        self.cut()?;
        // At most two segments are unsynced at any time, so that an open need not check more.
        let at = self.segments.len().saturating_sub(2);
        if self.segments.len() >= 2 {
            self.rewrite()?;
            let segment = &mut self.segments[at];
            if segment.synced_bytes < segment.bytes
                && let Some(file) = &segment.file
            {
                if let Err(error) = disk::sync_data(file) {
                    self.must_rewrite = true;
                    return Err(error);
                }
                segment.synced_bytes = segment.bytes;
                segment.file = None;
            }
        }
        let base_offset = self.next_offset;
        let file = Arc::new(disk::create(&self.directory.join(segment::file_name(base_offset)))?);
        self.directory_changed = true;
        if let Some(active) = self.segments.back_mut() {
            if active.synced_bytes == active.bytes {
                active.file = None;
            }
            if active.base_offset == base_offset {
                // It was empty, and has just been created again.
                self.segments.pop_back();
            }
        }
        let segment = Segment { file: Some(file), ..Segment::closed(base_offset, 0) };
        self.segments.push_back(segment);
        self.active_end = base_offset;
        Ok(())
    }

    /// Removes everything after the last good frame: the rest of a failed write, and the written-ahead room.
    fn cut(&mut self) -> io::Result<()> {
        if self.must_cut
            && let Some((active, file)) = active(&mut self.segments)
        {
            disk::set_len(&file, active.bytes)?;
            active.room_end = active.bytes;
            self.must_cut = false;
        }
        Ok(())
    }

    fn remove_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.segments.front() else { return Ok(()) };
        match fs::remove_file(self.directory.join(segment::file_name(oldest.base_offset))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if let Some(removed) = self.segments.pop_front() {
            self.bytes -= removed.bytes;
            self.cursors.retain(|cursor| cursor.segment != removed.base_offset);
        }
        Ok(())
    }

    /// Removes whole segments below `floor` whose newest record is older than the retention. Keeps the active
    /// one.
    pub fn collect(&mut self, floor: u64, retention: Duration, now_ns: u64) -> Result<Range<u64>, ReadError> {
        let first = self.first_offset();
        while self.segments.len() > 1 && self.segments[1].base_offset <= floor {
            let age = self.newest_at(0)?.map(|(offset, at_ns)| self.age(offset, at_ns, now_ns));
            if age.is_some_and(|age| age <= retention) {
                break;
            }
            self.remove_oldest()?;
        }
        Ok(first..self.first_offset())
    }

    /// Begins a new segment when the active one has been written to for long enough, so that records are
    /// removed in time even if it never fills.
    pub fn roll_if_old(&mut self, retention: Duration, now_ns: u64) -> Result<(), ReadError> {
        let Some(last) = self.segments.len().checked_sub(1) else { return Ok(()) };
        let offset = self.segments[last].base_offset;
        let age = self.oldest_at_ns(last)?.map(|at_ns| self.age(offset, at_ns, now_ns));
        if is_old_enough_to_roll(age, retention) {
            self.roll()?;
        }
        Ok(())
    }
}

/// Whether to close an active segment, by the age of its first record (`None`: it is empty).
fn is_old_enough_to_roll(age: Option<Duration>, retention: Duration) -> bool {
    let age_max = (retention / SEGMENTS_PER_RETENTION).max(SEGMENT_AGE_MIN);
    age.is_some_and(|age| age >= age_max)
}

/// The size of a batch on disk.
pub fn frame_bytes(batch: &RecordBatch) -> u64 {
    (HEADER_BYTES + batch.body_bytes()) as u64
}

impl Segment {
    /// The entry of an existing file, or of an empty one.
    fn closed(base_offset: u64, bytes: u64) -> Segment {
        Segment {
            base_offset,
            bytes,
            room_end: bytes,
            synced_bytes: bytes,
            oldest_at_ns: None,
            newest_at: None,
            span_ns: None,
            index: SparseIndex::default(),
            file: None,
        }
    }
}

/// The active segment and its file.
fn active(segments: &mut VecDeque<Segment>) -> Option<(&mut Segment, Arc<File>)> {
    let segment = segments.back_mut()?;
    let file = segment.file.clone()?;
    Some((segment, file))
}

fn list(directory: &Path) -> io::Result<VecDeque<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(base_offset) = name.to_str().and_then(segment::base_offset_of) {
            segments.push(Segment::closed(base_offset, entry.metadata()?.len()));
        }
    }
    segments.sort_by_key(|segment| segment.base_offset);
    Ok(segments.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_closed_by_age() {
        const HOUR: Duration = Duration::from_secs(3_600);
        let check = |age: Option<Duration>, retention_hours: u32, expect: bool| {
            assert_eq!(
                is_old_enough_to_roll(age, HOUR * retention_hours),
                expect,
                "{age:?} {retention_hours}"
            );
        };
        // The default of 24 hours: three hours per segment.
        check(Some(3 * HOUR - Duration::from_nanos(1)), 24, false);
        check(Some(3 * HOUR), 24, true);
        // An empty segment is never closed.
        check(None, 24, false);
        check(None, 0, false);
        // Without retention there is still no new file every ten seconds.
        check(Some(HOUR / 61), 0, false);
        check(Some(HOUR / 60), 0, true);
    }
}
