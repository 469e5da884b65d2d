//! Messages that all kinds of actors use. Messages of one kind of actor are in the `message.rs` of its
//! folder.
//!
//! Facts are a noun and a participle (`DatagramsReceived`), questions are nouns (`NextBatch`).
//! Messages carry batches: one message per event would cost more than the event's work.
//! `Debug` prints counts, not payloads.

use actix::Message;
use butler_sos_domain::streams::Stream;

/// A consumer of a stream, with its own offset. `name` is also the destination's metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Consumer {
    pub stream: Stream,
    pub name: &'static str,
}

/// Closes the intake. The answer comes when everything it had accepted is on disk, refused, or on its way to
/// the journal.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Close;
