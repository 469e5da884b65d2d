//! A problem of the server, as reported to people.

use serde::{Deserialize, Serialize};

/// A current problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    pub severity: Severity,
    /// A short stable word; see the table at the head of [`super::advice`].
    pub symptom: String,
    /// The intake, actor, stream or destination with the problem.
    pub place: String,
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// The worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Events are lost, or none can be accepted.
    Error,
    /// Events are safe but wait, or an administrator should look.
    Warning,
    Notice,
}
