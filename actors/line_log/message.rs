//! Messages of the line log.

use std::fmt;

use actix::Message;

/// Stores lines of JSON (without newline): rejected datagrams, dead letters. The answer comes when they are
/// on disk.
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
