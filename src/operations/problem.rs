//! Something that is wrong with the server, as people are told it.

use serde::{Deserialize, Serialize};

/// Something that is wrong at present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    pub severity: Severity,
    /// A short stable word; see the table at the head of [`super::advice`].
    pub symptom: String,
    /// The intake, actor, stream or destination that it is about.
    pub place: String,
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// The worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Events are lost, or none can be taken.
    Error,
    /// Events are safe but wait, or somebody should look.
    Warning,
    Notice,
}
