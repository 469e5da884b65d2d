//! Messages to the journal, and its answers.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use actix::Message;

use super::batch::{Batch, RecordBatch};
use crate::kit::message::Consumer;
use butler_sos_domain::streams::Stream;

/// Stores these records. The answer comes when the group commit that contains them is on disk.
#[derive(Message)]
#[rtype(result = "Result<Range<u64>, AppendRefused>")]
pub struct Append {
    pub stream: Stream,
    pub records: RecordBatch,
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Append({}, {} records)", self.stream.name(), self.records.len())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendRefused {
    #[error("the stream is at its size limit and the consumers have not caught up")]
    Full,
    #[error("the disk refused: {0}")]
    Disk(String),
}

/// The position of a consumer, and the note of its last commit.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Position, JournalError>")]
pub struct PositionOf(pub Consumer);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The first record that is not committed.
    pub offset: u64,
    /// The consumer's note. The journal does not interpret it.
    pub note: Vec<u8>,
}

/// Requests records from `from` on. The answer comes when there are some.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Batch, JournalError>")]
pub struct NextBatch {
    pub consumer: Consumer,
    pub from: u64,
    pub fetch_limits: FetchLimits,
}

/// Limits of one batch of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    pub records_max: usize,
    pub bytes_max: usize,
    /// How long to wait after the first record for the batch to fill. With zero, available records are
    /// returned.
    pub linger: Duration,
}

/// Commits that everything below `offset` is delivered. Offset and note change together.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), JournalError>")]
pub struct Commit {
    pub consumer: Consumer,
    pub offset: u64,
    /// `None` keeps the last note.
    pub note: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("the journal does not know consumer {0}")]
    UnknownConsumer(&'static str),
    #[error("the journal's disk refused: {0}")]
    Disk(String),
}

/// Stops lingering. The answer comes when every consumer has committed all records.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CatchUp;

/// The first offset appended at or after a time.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<u64, JournalError>")]
pub struct OffsetAt {
    pub stream: Stream,
    pub unix_ns: u64,
}

/// Requests the range of offsets that contains every record appended in a range of time, for replay. If the
/// clock was set in between, it contains other records too.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Range<u64>, JournalError>")]
pub struct OffsetsWithin {
    pub stream: Stream,
    pub unix_ns: Range<u64>,
}

/// Requests the state of streams and consumers. Also sets their gauges.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "JournalState")]
pub struct JournalStateNow;

#[derive(Debug, Clone, Default)]
pub struct JournalState {
    pub streams: Vec<StreamState>,
    pub consumers: Vec<ConsumerState>,
    /// Why the last append failed, while appends fail.
    pub append_trouble: Option<String>,
    /// The offset of the clock in seconds while it is a problem. Negative is behind.
    pub clock_off_seconds: Option<f64>,
}

/// The state of one stream on disk.
#[derive(Debug, Clone, Copy)]
pub struct StreamState {
    pub stream: Stream,
    pub bytes: u64,
    pub bytes_max: u64,
    pub segments: u64,
    /// The offsets of the oldest record and of the next one.
    pub first_offset: u64,
    pub next_offset: u64,
    /// All records below it are synced.
    pub durable_offset: u64,
    /// Unix nanoseconds; `None` when there is no record.
    pub oldest_record_at_ns: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct ConsumerState {
    pub consumer: Consumer,
    pub committed: u64,
    pub lag_records: u64,
    pub lag_seconds: f64,
}
