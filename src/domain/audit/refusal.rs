//! What every check of a body answers when it does not let the body pass.

use serde_json::Value;

/// Why a body is not taken: what the answer says, save the time.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// 400 or 422.
    pub status: u16,
    /// `error` for a body that could not be read, else `dropped`.
    pub outcome: &'static str,
    pub reason: &'static str,
    /// An object, as the contract lays it out for the reason.
    pub details: Value,
}
