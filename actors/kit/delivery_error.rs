//! The error of a failed delivery.

use std::time::Duration;

/// Why a delivery failed. The sink retries it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{class}: {detail}")]
pub struct DeliveryError {
    /// A short stable class for the metric: `connect`, `timeout`, `http-503`, `disk`, …
    pub class: &'static str,
    /// A message for people. Contains no secret.
    pub detail: String,
    /// The pause that the endpoint asked for.
    pub retry_after: Option<Duration>,
}

impl DeliveryError {
    pub fn new(class: &'static str, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into(), retry_after: None }
    }

    /// Whether the endpoint, or a proxy in front of it, timed out.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        matches!(self.class, "timeout" | "http-408" | "http-504")
    }
}
