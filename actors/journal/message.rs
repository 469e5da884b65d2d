//! What the journal is asked, and answers.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use actix::Message;

use super::batch::{Batch, RecordBatch};
use crate::kit::message::Consumer;
use butler_sos_domain::streams::Stream;

/// Store these records; answered when the group commit that holds them is on disk.
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

/// How far a consumer has got, and what it noted with its last commit.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Position, JournalError>")]
pub struct PositionOf(pub Consumer);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The first record that is not yet committed.
    pub offset: u64,
    /// What the consumer noted: opaque to the journal.
    pub note: Vec<u8>,
}

/// Records from `from` on; answered when there are some.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Batch, JournalError>")]
pub struct NextBatch {
    pub consumer: Consumer,
    pub from: u64,
    pub fetch_limits: FetchLimits,
}

/// How much a consumer takes at once, and how long it lets a batch grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    pub records_max: usize,
    pub bytes_max: usize,
    /// Wait this long after the first record for the batch to fill; zero takes what is there.
    pub linger: Duration,
}

/// Everything below `offset` is delivered. Offset and note change together.
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

/// From now on no batch lingers; answered when every consumer has committed all there is.
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

/// The offsets among which every record is that was appended in a range of time, for replay. Where the clock was set in
/// between there are others among them.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Range<u64>, JournalError>")]
pub struct OffsetsWithin {
    pub stream: Stream,
    pub unix_ns: Range<u64>,
}

/// The state of streams and consumers; also sets their gauges.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "JournalState")]
pub struct JournalStateNow;

#[derive(Debug, Clone, Default)]
pub struct JournalState {
    pub streams: Vec<StreamState>,
    pub consumers: Vec<ConsumerState>,
    /// Why the last append failed, while appends fail.
    pub append_trouble: Option<String>,
    /// How far the clock is from where it should be, while that is a problem: seconds, negative is behind.
    pub clock_off_seconds: Option<f64>,
}

/// One stream on disk.
#[derive(Debug, Clone, Copy)]
pub struct StreamState {
    pub stream: Stream,
    pub bytes: u64,
    pub bytes_max: u64,
    pub segments: u64,
    /// The oldest record there is, and where the next one will be.
    pub first_offset: u64,
    pub next_offset: u64,
    /// Everything below is on the medium.
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
