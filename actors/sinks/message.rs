//! Messages that order a sink to deliver records again.

use std::fmt;

use actix::Message;

use crate::journal::batch::Batch;

/// Delivers these records out of turn and moves no position. The answer comes when the endpoint accepted or
/// refused them, or failed. It may cover only a first part: the answer's `next_offset` says where to
/// continue.
#[derive(Clone, Message)]
#[rtype(result = "Result<Redelivered, NotRedelivered>")]
pub struct Redeliver {
    pub batch: Batch,
}

impl fmt::Debug for Redeliver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redeliver({} records from {})", self.batch.len(), self.batch.from_offset())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redelivered {
    /// All records below this offset are accepted or refused.
    pub next_offset: u64,
    pub events: u64,
    /// Offsets and reasons of refused records. They do not become dead letters again.
    pub refused: Vec<(u64, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {detail}")]
pub struct NotRedelivered {
    pub class: &'static str,
    /// A message for people. Contains no secret.
    pub detail: String,
}
