//! What actors of all kinds say to each other. Messages of one kind of actor stand in its folder's `message.rs`.
//!
//! Facts are a noun and a participle (`DatagramsReceived`), questions are nouns (`NextBatch`).
//! Messages carry batches: one message per event would cost more than the event's work.
//! `Debug` prints counts, not payloads.

use actix::Message;
use butler_sos_domain::streams::Stream;

/// Who reads a stream, with an offset of its own. `name` is also the destination's metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Consumer {
    pub stream: Stream,
    pub name: &'static str,
}

/// The intake takes nothing from now on; answered when what it had taken is on disk, refused,
/// or on its way to the journal.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Close;
