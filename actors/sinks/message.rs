//! Records that a sink delivers once more.

use std::fmt;

use actix::Message;

use crate::journal::batch::Batch;

/// Deliver these records out of turn, whatever is committed. Answered when the endpoint took or refused them, or did
/// neither. A first part of them may be all that is done: the answer's `next_offset` says where to go on.
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
    /// Everything below is taken or refused.
    pub next_offset: u64,
    pub events: u64,
    /// Offsets and reasons of what the endpoint will not take. They are not kept as dead letters again.
    pub refused: Vec<(u64, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {detail}")]
pub struct NotRedelivered {
    pub class: &'static str,
    /// For people. Holds no secret.
    pub detail: String,
}
