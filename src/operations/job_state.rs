//! How a retry or a replay is going, as the API tells it.

use serde::{Deserialize, Serialize};

/// How a job is going.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobState {
    pub id: u64,
    pub kind: JobKind,
    pub destination: String,
    pub phase: Phase,
    pub started_unix_ms: u64,
    pub ended_unix_ms: Option<u64>,
    /// Events to be delivered, and how many of them have been dealt with.
    pub total: u64,
    pub done: u64,
    pub delivered: u64,
    pub refused: u64,
    /// Why it waits at present, or ended early.
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
