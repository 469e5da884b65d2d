//! The store: a directory, its lock, its streams and their consumers. Formats and invariants are at the head of the
//! journal module.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::batch::{Batch, RecordBatch};
use super::consumers::{ConsumerError, Consumers, NAME_BYTES_MAX};
use super::disk;
use super::frame::{self, HEADER_BYTES};
use super::segment::{self, SegmentError};
pub use super::stream::{AppendError, ReadError};
use super::stream::{ClockSteps, Limits, Stream, Unsynced, frame_bytes};
use crate::kit::platform::{self, Modes};

const STORE_FILE: &str = "store";
const STORE_LINE: &str = "butler-sos journal 1 ";
const CONSUMERS_FILE: &str = "consumers";

pub const SEGMENT_BYTES_MAX_DEFAULT: u64 = 64 << 20;
pub const TAIL_BYTES_MAX_DEFAULT: usize = 16 << 20;
pub const RETENTION_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Enough for about ten extensions a second at the highest rate of audit events.
pub const ROOM_BYTES_DEFAULT: u64 = 4 << 20;
pub const BYTES_MAX_DEFAULT: u64 = 4 << 30;

/// Contract: delivery, "The journal".
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub directory: PathBuf,
    pub streams: Vec<StreamConfig>,
    /// A new file begins when a segment would exceed this. At most an eighth of a stream's `bytes_max` is
    /// used.
    pub segment_bytes_max: u64,
    /// How long delivered records stay, while there is room.
    pub retention: Duration,
    /// Memory for the newest frames of each stream.
    pub tail_bytes_max: usize,
}

#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Also the name of its directory: letters, digits, `-`, `_`.
    pub name: String,
    pub bytes_max: u64,
    pub on_full: OnFull,
    /// Zeros to write ahead of the log, for streams that are synced often: a sync without a change of the
    /// file's length is several times as fast. 0: none.
    pub room_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// `append` returns `Full`.
    Block,
    /// The oldest segment is removed, delivered or not. The append reports the loss of each consumer.
    DropOldest,
}

/// The index of a stream in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(usize);

/// A registered consumer of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerId {
    stream: usize,
    place: usize,
}

impl ConsumerId {
    pub fn stream(&self) -> StreamId {
        StreamId(self.stream)
    }
}

/// The start position of a new consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Oldest,
    Newest,
}

/// The last commit of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The first record that is not delivered.
    pub offset: u64,
    /// The consumer's note. The store does not interpret it.
    pub note: Vec<u8>,
}

/// Repairs that were made when the store was opened. Each is worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The end of the log was damaged: `bytes` were cut off, and the sequence continues at `offset`.
    TailCut { stream: String, offset: u64, bytes: u64 },
    /// Lost records in the last segment. Reads skip them.
    Damaged { stream: String, from: u64, to: u64 },
    /// The log ends before an offset that a consumer has committed. These offsets are not used again.
    OffsetsSkipped { stream: String, from: u64, to: u64 },
    /// Damaged slots in the file of consumers. Their consumers continue from an earlier commit, or from the
    /// start position.
    CommitsDamaged { slots: usize },
    /// The store's identity was missing and was restored from its frames.
    IdentityRestored,
}

/// Records that were dropped before a consumer had read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub consumer: String,
    pub offsets: Range<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    pub offsets: Range<u64>,
    pub dropped: Vec<Dropped>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("journal {directory}: another process holds it")]
    Locked { directory: PathBuf },
    #[error("journal {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("journal {path}: {source}")]
    Segment { path: PathBuf, source: SegmentError },
    #[error("journal: {0:?} is not a name for a stream")]
    StreamName(String),
    #[error("journal {path}: not a journal of this version")]
    Version { path: PathBuf },
}

#[derive(Clone, Debug, PartialEq)]
pub struct StreamStats {
    pub name: String,
    pub bytes: u64,
    pub bytes_max: u64,
    pub segments: usize,
    pub first_offset: u64,
    pub next_offset: u64,
    pub durable_offset: u64,
    /// Unix nanoseconds; `None` when there is no record.
    pub oldest_record_at_ns: Option<u64>,
    pub consumers: Vec<ConsumerStats>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerStats {
    pub name: String,
    pub committed: u64,
    /// The number of records that the consumer has not committed, without removed ones.
    pub lag_records: u64,
    /// The age of the oldest uncommitted record; 0 without any.
    pub lag_seconds: f64,
}

/// A sync that can run on another thread while appends continue: `run` it and pass the result to
/// [`Store::sync_done`]. Dropping it is safe.
#[derive(Debug)]
pub struct SyncJob {
    what: SyncWhat,
}

#[derive(Debug)]
enum SyncWhat {
    Stream { stream: usize, unsynced: Unsynced },
    Commits { file: Arc<File>, number: u64 },
}

/// The result of a [`SyncJob`].
#[derive(Debug)]
pub struct SyncDone {
    what: SyncWhat,
    result: io::Result<()>,
}

impl SyncJob {
    /// Blocks until the bytes are on the medium.
    pub fn run(self) -> SyncDone {
        let result = match &self.what {
            SyncWhat::Commits { file, .. } => disk::sync_data(file),
            SyncWhat::Stream { unsynced, .. } => {
                let files = unsynced.files.iter().try_for_each(|file| disk::sync_data(file));
                let directory = unsynced.directory.as_deref().map_or(Ok(()), disk::sync_directory);
                files.and(directory)
            }
        };
        SyncDone { what: self.what, result }
    }
}

#[derive(Debug)]
struct Member {
    name: String,
    on_full: OnFull,
    stream: Stream,
    /// Losses that are not reported yet, because the append that dropped the records failed afterwards.
    dropped: Vec<Dropped>,
}

/// See the head of the journal module.
#[derive(Debug)]
pub struct Store {
    members: Vec<Member>,
    consumers: Consumers,
    retention: Duration,
    /// Index, offset and append time of the first record that a consumer waits for, as last looked up.
    waiting: Vec<(usize, u64, Option<u64>)>,
    /// Held while the store is open.
    _lock: File,
}

impl Store {
    /// Opens or creates a store. The time does not depend on the number of records.
    ///
    /// # Errors
    /// `Locked` when another process (or another `Store`) holds it; `Version` when a later version wrote it; `Io` and
    /// `Segment` name the file.
    pub fn open(config: StoreConfig) -> Result<(Store, Vec<Recovery>), StoreError> {
        let directory = config.directory;
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { path, source }
        };
        if let Some(bad) = config.streams.iter().find(|stream| !is_stream_name(&stream.name)) {
            return Err(StoreError::StreamName(bad.name.clone()));
        }
        platform::create_directories(&directory, Modes::default()).map_err(at(&directory))?;
        let mut recoveries = Vec::new();
        let lock = lock(&directory)?;
        let store_id = identity(&lock, &directory, &config.streams, &mut recoveries)?;
        let path = directory.join(CONSUMERS_FILE);
        let (consumers, slots) = Consumers::open(&path).map_err(at(&path))?;
        if slots > 0 {
            recoveries.push(Recovery::CommitsDamaged { slots });
        }
        let mut members = Vec::new();
        for StreamConfig { name, bytes_max, on_full, room_bytes } in config.streams {
            let limits = Limits {
                bytes_max,
                segment_bytes_max: config.segment_bytes_max,
                tail_bytes_max: config.tail_bytes_max,
                room_bytes,
            };
            let committed =
                consumers.of_stream(&name).map(|(_, consumer)| consumer.offset).max().unwrap_or(0);
            let path = directory.join(&name);
            let (stream, mended) = Stream::open(path.clone(), store_id, limits, committed)
                .map_err(|source| StoreError::Segment { path, source })?;
            let name_of = || name.clone();
            recoveries.extend(mended.damaged.into_iter().map(|lost| Recovery::Damaged {
                stream: name_of(),
                from: lost.start,
                to: lost.end,
            }));
            recoveries.extend(mended.tail_cut.map(|(offset, bytes)| Recovery::TailCut {
                stream: name_of(),
                offset,
                bytes,
            }));
            recoveries.extend(mended.skipped.map(|lost| Recovery::OffsetsSkipped {
                stream: name_of(),
                from: lost.start,
                to: lost.end,
            }));
            members.push(Member { name, on_full, stream, dropped: Vec::new() });
        }
        disk::sync_directory(&directory).map_err(at(&directory))?;
        let (retention, waiting) = (config.retention, Vec::new());
        Ok((Store { members, consumers, retention, waiting, _lock: lock }, recoveries))
    }

    pub fn stream(&self, name: &str) -> Option<StreamId> {
        self.members.iter().position(|member| member.name == name).map(StreamId)
    }

    /// The offset of the next record.
    pub fn next_offset(&self, stream: StreamId) -> u64 {
        self.members.get(stream.0).map_or(0, |member| member.stream.next_offset())
    }

    /// All records below it are synced. A destination that must never see a record that a power cut could
    /// revoke reads up to here.
    pub fn durable_offset(&self, stream: StreamId) -> u64 {
        self.members.get(stream.0).map_or(0, |member| member.stream.durable_offset())
    }

    // --- append and sync ---

    /// Appends all records of a batch as one frame, with one write. On success the batch is empty (its memory
    /// has become the log's tail); on an error it is unchanged and can be retried. Room is made first, by
    /// removing records that all consumers have and, with `DropOldest`, others.
    ///
    /// # Errors
    /// `Full` (only with `Block`), `NoSpace`, `Io`: the log is unchanged and works again when the cause is
    /// gone. `TooLarge`: never possible.
    pub fn append(
        &mut self,
        stream: StreamId,
        batch: &mut RecordBatch,
        now_ns: u64,
    ) -> Result<Appended, AppendError> {
        let floor = self.floor(stream.0);
        let member = self.members.get_mut(stream.0).ok_or(AppendError::UnknownStream)?;
        let drop_needed = member.on_full == OnFull::DropOldest;
        if batch.is_empty() {
            let end = member.stream.next_offset();
            return Ok(Appended { offsets: end..end, dropped: Vec::new() });
        }
        let first_before = member.stream.first_offset();
        let made = member.stream.make_room(frame_bytes(batch), floor, drop_needed);
        let removed = first_before..member.stream.first_offset();
        self.note_dropped(stream.0, removed);
        made?;
        let offsets = loop {
            match self.members[stream.0].stream.append(batch, now_ns) {
                Err(AppendError::NoSpace(error)) => {
                    if !self.give_back() {
                        return Err(AppendError::NoSpace(error));
                    }
                }
                result => break result?,
            }
        };
        Ok(Appended { offsets, dropped: std::mem::take(&mut self.members[stream.0].dropped) })
    }

    /// Tests on the disk whether a frame of this size could be appended. Leaves nothing behind.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn try_append(&mut self, stream: StreamId, frame_bytes: u64) -> Result<(), AppendError> {
        let floor = self.floor(stream.0);
        let member = self.members.get_mut(stream.0).ok_or(AppendError::UnknownStream)?;
        // A trial drops no undelivered records; the append itself may.
        if member.on_full == OnFull::Block {
            member.stream.make_room(frame_bytes, floor, false)?;
        }
        loop {
            match self.members[stream.0].stream.try_write(frame_bytes) {
                Err(AppendError::NoSpace(error)) => {
                    if !self.give_back() {
                        return Err(AppendError::NoSpace(error));
                    }
                }
                result => return result,
            }
        }
    }

    /// The pending sync of a stream; `None` when all of it is synced.
    ///
    /// # Errors
    /// When bytes that a failed sync covered cannot be written again.
    pub fn sync_job(&mut self, stream: StreamId) -> io::Result<Option<SyncJob>> {
        let Some(member) = self.members.get_mut(stream.0) else { return Ok(None) };
        let unsynced = member.stream.unsynced()?;
        Ok(unsynced.map(|unsynced| SyncJob { what: SyncWhat::Stream { stream: stream.0, unsynced } }))
    }

    /// The pending sync of the commits of all streams.
    ///
    /// # Errors
    /// When commits that a failed sync covered cannot be written again.
    pub fn sync_commits_job(&mut self) -> Result<Option<SyncJob>, ConsumerError> {
        let begun = self.consumers.sync_begin()?;
        Ok(begun.map(|(file, number)| SyncJob { what: SyncWhat::Commits { file, number } }))
    }

    /// Records the result of a job.
    ///
    /// # Errors
    /// The error of the job. The durable part is then unchanged, and the next job covers the same bytes
    /// again.
    pub fn sync_done(&mut self, done: SyncDone) -> io::Result<()> {
        let good = done.result.is_ok();
        match &done.what {
            SyncWhat::Commits { number, .. } => self.consumers.sync_done(*number, good),
            SyncWhat::Stream { stream, unsynced } => {
                if let Some(member) = self.members.get_mut(*stream) {
                    member.stream.synced(unsynced, good);
                }
            }
        }
        done.result
    }

    /// Syncs a stream and returns its durable offset.
    ///
    /// # Errors
    /// As [`Store::sync_job`] and [`Store::sync_done`].
    pub fn sync(&mut self, stream: StreamId) -> io::Result<u64> {
        if let Some(job) = self.sync_job(stream)? {
            self.sync_done(job.run())?;
        }
        Ok(self.durable_offset(stream))
    }

    /// Syncs all commits.
    ///
    /// # Errors
    /// As [`Store::sync_commits_job`] and [`Store::sync_done`].
    pub fn sync_commits(&mut self) -> Result<(), ConsumerError> {
        if let Some(job) = self.sync_commits_job()? {
            self.sync_done(job.run())?;
        }
        Ok(())
    }

    // --- read and commit ---

    /// Reads at most this many records and bytes (at least one record, whatever its size), from memory or
    /// disk. The `next_offset` of the result is where to continue: it is greater than `from` unless `from` is
    /// the end or `records_max` is 0, and it is after skipped offsets, which the result names.
    ///
    /// # Errors
    /// `Beyond` when `from` is after the end; `Segment` for an error of disk or format, which may be
    /// temporary.
    pub fn read(
        &mut self,
        stream: StreamId,
        from: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Batch, ReadError> {
        let member = self.members.get_mut(stream.0).ok_or(ReadError::UnknownStream)?;
        member.stream.read(from, records_max, bytes_max)
    }

    /// The range of offsets that contains every record appended in a range of time (Unix nanoseconds); empty,
    /// at the end, when there is none. If the clock was set in between, it contains other records too.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn find_times(&mut self, stream: StreamId, times_ns: &Range<u64>) -> Result<Range<u64>, ReadError> {
        self.members.get_mut(stream.0).ok_or(ReadError::UnknownStream)?.stream.find_times(times_ns)
    }

    // --- the clock ---

    /// The clock was set by this much since the last call with a time: existing records do not get older by
    /// it.
    pub fn note_clock_step(&mut self, by_ns: i128) {
        self.members.iter_mut().for_each(|member| member.stream.note_clock_step(by_ns));
    }

    /// The recorded clock steps, for the store that is opened next.
    #[must_use]
    pub fn clock_steps(&self) -> Vec<ClockSteps> {
        self.members.iter().map(|member| member.stream.clock_steps().clone()).collect()
    }

    /// Restores the clock steps of an earlier store with the same configuration.
    pub fn set_clock_steps(&mut self, steps: Vec<ClockSteps>) {
        for (member, steps) in self.members.iter_mut().zip(steps) {
            member.stream.set_clock_steps(steps);
        }
    }

    /// The latest time at which a newest record was appended; `None` when there is no record.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn newest_record_at_ns(&mut self) -> Result<Option<u64>, ReadError> {
        let mut newest = None;
        for member in &mut self.members {
            newest = newest.max(member.stream.newest_record_at_ns()?);
        }
        Ok(newest)
    }

    /// The consumer with this name. A new one begins at `start`, and is synced when this returns.
    ///
    /// # Errors
    /// `Name`, `TooMany`, `Io`.
    pub fn register(
        &mut self,
        stream: StreamId,
        name: &str,
        start: Start,
    ) -> Result<ConsumerId, ConsumerError> {
        let member = self.members.get(stream.0).ok_or(ConsumerError::Unknown)?;
        let known = self.consumers.of_stream(&member.name).find(|(_, consumer)| consumer.name == name);
        let place = match (known.map(|(place, _)| place), start) {
            (Some(place), _) => place,
            (None, Start::Oldest) => self.consumers.add(&member.name, name, member.stream.first_offset())?,
            (None, Start::Newest) => self.consumers.add(&member.name, name, member.stream.next_offset())?,
        };
        Ok(ConsumerId { stream: stream.0, place })
    }

    /// Removes a consumer, so that no space is kept for it.
    ///
    /// # Errors
    /// `Unknown`, `Io`.
    pub fn unregister(&mut self, consumer: ConsumerId) -> Result<(), ConsumerError> {
        self.consumers.retire(consumer.place)
    }

    /// Removes all consumers of a stream except these. Returns the removed ones.
    ///
    /// # Errors
    /// `Io`.
    pub fn retain_consumers(
        &mut self,
        stream: StreamId,
        names: &[&str],
    ) -> Result<Vec<String>, ConsumerError> {
        let member = self.members.get(stream.0).ok_or(ConsumerError::Unknown)?;
        let all = self.consumers.of_stream(&member.name);
        let gone: Vec<_> = all
            .filter(|(_, consumer)| !names.contains(&consumer.name.as_str()))
            .map(|(place, consumer)| (place, consumer.name.clone()))
            .collect();
        gone.into_iter().map(|(place, name)| self.consumers.retire(place).map(|()| name)).collect()
    }

    /// `None` for an unregistered consumer.
    pub fn committed(&self, consumer: ConsumerId) -> Option<Committed> {
        let consumer = self.consumers.get(consumer.place)?;
        Some(Committed { offset: consumer.offset, note: consumer.note.clone() })
    }

    /// Commits that everything below `offset` is delivered. Offset and note change together; `None` keeps the
    /// note. When this returns, the commit survives the death of the process; after the next `sync_commits`,
    /// a power cut.
    ///
    /// # Errors
    /// `Offset` when it is before the last commit or after the end; `NoteTooLong`; `Unknown`; `Io`. Nothing
    /// has changed then.
    pub fn commit(
        &mut self,
        consumer: ConsumerId,
        offset: u64,
        note: Option<&[u8]>,
    ) -> Result<(), ConsumerError> {
        let end = self.next_offset(consumer.stream());
        self.consumers.commit(consumer.place, offset, note, end)
    }

    // --- space ---

    /// Removes segments that no consumer needs and whose records are older than the retention, and closes
    /// those that have been written to for long enough. Returns the number of removed records.
    ///
    /// # Errors
    /// When a file cannot be read, created or removed. Earlier removals stay.
    pub fn collect(&mut self, now_ns: u64) -> Result<u64, ReadError> {
        let mut removed = 0;
        for at in 0..self.members.len() {
            let floor = self.floor(at);
            let stream = &mut self.members[at].stream;
            let gone = stream.collect(floor, self.retention, now_ns)?;
            removed += gone.end - gone.start;
            stream.roll_if_old(self.retention, now_ns)?;
        }
        Ok(removed)
    }

    /// # Errors
    /// When the append time of a record cannot be read.
    pub fn stats(&mut self, now_ns: u64) -> Result<Vec<StreamStats>, ReadError> {
        let mut all = Vec::new();
        for Member { name, stream, .. } in &mut self.members {
            let (first_offset, next_offset) = (stream.first_offset(), stream.next_offset());
            let mut consumers = Vec::new();
            for (place, consumer) in self.consumers.of_stream(name) {
                let from = consumer.offset.max(first_offset);
                let known = self.waiting.iter().position(|(of, ..)| *of == place);
                let waiting_since_ns = match known.map(|at| self.waiting[at]) {
                    Some((_, offset, Some(at_ns))) if offset == from && from < next_offset => Some(at_ns),
                    _ => stream.appended_at_ns(from)?,
                };
                match known {
                    Some(at) => self.waiting[at] = (place, from, waiting_since_ns),
                    None => self.waiting.push((place, from, waiting_since_ns)),
                }
                let waits = waiting_since_ns.map(|since_ns| stream.age(from, since_ns, now_ns));
                consumers.push(ConsumerStats {
                    name: consumer.name.clone(),
                    committed: consumer.offset,
                    lag_records: next_offset - from,
                    lag_seconds: waits.unwrap_or_default().as_secs_f64(),
                });
            }
            all.push(StreamStats {
                name: name.clone(),
                bytes: stream.bytes(),
                bytes_max: stream.bytes_max(),
                segments: stream.segments(),
                first_offset,
                next_offset,
                durable_offset: stream.durable_offset(),
                oldest_record_at_ns: stream.oldest_record_at_ns()?,
                consumers,
            });
        }
        Ok(all)
    }

    /// Every consumer of the stream has the records below.
    fn floor(&self, at: usize) -> u64 {
        let Some(member) = self.members.get(at) else { return 0 };
        let committed = self.consumers.of_stream(&member.name).map(|(_, consumer)| consumer.offset);
        committed.min().unwrap_or(member.stream.next_offset())
    }

    /// On a full disk: removes one segment that only the retention keeps.
    fn give_back(&mut self) -> bool {
        (0..self.members.len()).any(|at| {
            let floor = self.floor(at);
            self.members[at].stream.give_back(floor).unwrap_or(false)
        })
    }

    fn note_dropped(&mut self, at: usize, removed: Range<u64>) {
        let member = &mut self.members[at];
        for (_, consumer) in self.consumers.of_stream(&member.name) {
            let from = consumer.offset.max(removed.start);
            if from >= removed.end {
                continue;
            }
            match member.dropped.iter_mut().find(|dropped| dropped.consumer == consumer.name) {
                // Segments are removed in order, so the range continues the recorded one.
                Some(dropped) => dropped.offsets.end = removed.end,
                None => member
                    .dropped
                    .push(Dropped { consumer: consumer.name.clone(), offsets: from..removed.end }),
            }
        }
    }
}

fn is_stream_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    // Two names are reserved for files of the store.
    let is_free = name != STORE_FILE && name != CONSUMERS_FILE;
    is_free && (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_good)
}

/// The store's own file, locked while it is open.
fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join(STORE_FILE);
    let opened = platform::open_or_create(&path);
    let file = opened.map_err(|source| StoreError::Io { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreError::Io { path, source }),
    }
}

/// Whether a process has the store in this directory open, as far as our rights show it.
pub fn is_held(directory: &Path) -> bool {
    let file = File::open(directory.join(STORE_FILE));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Reads the store id, creates one, or restores it from the frames when the file is invalid.
fn identity(
    file: &File,
    directory: &Path,
    streams: &[StreamConfig],
    recoveries: &mut Vec<Recovery>,
) -> Result<u64, StoreError> {
    let path = directory.join(STORE_FILE);
    let at = |source| StoreError::Io { path: path.clone(), source };
    let mut line = String::new();
    // A file that is not text counts as missing.
    let _ = file.take(256).read_to_string(&mut line);
    if let Some(id) = line.trim_end().strip_prefix(STORE_LINE) {
        if let Ok(id) = u64::from_str_radix(id, 16) {
            return Ok(id);
        }
    } else if line.starts_with(STORE_LINE.trim_end_matches("1 ")) {
        return Err(StoreError::Version { path });
    }
    let found = streams.iter().find_map(|stream| id_in_frames(&directory.join(&stream.name)));
    if found.is_some() {
        recoveries.push(Recovery::IdentityRestored);
    }
    let id = found.unwrap_or_else(rand::random);
    let mut bytes = Vec::new();
    writeln!(bytes, "{STORE_LINE}{id:016x}").map_err(at)?;
    file.set_len(0)
        .and_then(|()| platform::write_all_at(file, &bytes, 0))
        .and_then(|()| file.sync_all())
        .map_err(at)?;
    Ok(id)
}

/// The store id in the first frame of any segment.
fn id_in_frames(stream: &Path) -> Option<u64> {
    fs::read_dir(stream).ok()?.flatten().find_map(|entry| {
        segment::base_offset_of(entry.file_name().to_str()?)?;
        let mut header = [0; HEADER_BYTES];
        File::open(entry.path()).ok()?.read_exact(&mut header).ok()?;
        frame::store_id_of(&header)
    })
}
