//! Lines to keep.

use std::fmt;

use actix::Message;

/// Lines of JSON (without newline) to keep: rejected datagrams, dead letters. Answered when on disk.
#[derive(Clone, Message)]
#[rtype(result = "Result<(), LinesRefused>")]
pub struct AppendLines {
    pub lines: Vec<Vec<u8>>,
}

impl fmt::Debug for AppendLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keep({} lines)", self.lines.len())
    }
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("not kept: {0}")]
pub struct LinesRefused(pub String);
