//! The refusal of a body by a check.

use serde_json::Value;

/// Why a body is refused: the content of the answer except the time.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// 400 or 422.
    pub status: u16,
    /// `error` for an unreadable body, else `dropped`.
    pub outcome: &'static str,
    pub reason: &'static str,
    /// An object in the contract's form for the reason.
    pub details: Value,
}
