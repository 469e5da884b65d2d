//! Audit events: what the HTTP API accepts, the journal's record, and the view for destinations.
//!
//! ```text
//! body ─ check ─┬─ Accepted ─► AuditRecord ─► journal ─► AuditEvent ─► encode::{audit_line, object_json, …}
//!               └─ Refusal (status, reason, details)
//! ```
//!
//! Contract: `audit-api.md`.

pub mod answer;
pub mod body_hash;
pub mod check;
pub mod conflict;
pub mod conflict_mark;
pub mod constraints;
pub mod envelope;
pub mod event;
mod instance;
pub mod json;
mod outline;
pub mod payload;
pub mod pseudonymous;
pub mod record;
pub mod refusal;
pub mod sample;
mod schema;
pub mod time;
pub mod version;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod hostile_tests;

pub use answer::Answer;
pub use body_hash::BodyHash;
pub use check::{Accepted, check};
pub use conflict_mark::Conflict;
pub use event::{AuditEvent, DataStateId, EventError};
pub use record::{AuditRecord, RecordError, ScreenshotOutcome};
pub use refusal::Refusal;
pub use version::{BUTLER_SOS_VERSION, ConnectionTest, test_connection};

/// The type of events with a screenshot's URL.
pub const SCREENSHOT_TYPE: &str = "screenshot.url.received";
