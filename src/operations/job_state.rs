//! The progress of a retry or a replay, as the API reports it.

use serde::{Deserialize, Serialize};

/// The progress of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobState {
    pub id: u64,
    pub kind: JobKind,
    pub destination: String,
    pub phase: Phase,
    pub started_unix_ms: u64,
    pub ended_unix_ms: Option<u64>,
    /// The number of events to deliver, and how many of them are done.
    pub total: u64,
    pub done: u64,
    pub delivered: u64,
    pub refused: u64,
    /// Why it currently waits, or ended early.
    pub trouble: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobKind {
    Retry,
    Replay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    Running,
    Done,
    /// On request.
    Stopped,
    Failed,
}
