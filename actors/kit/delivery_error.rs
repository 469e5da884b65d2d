//! Why a destination did not take a batch.

use std::time::Duration;

/// Why a delivery did not succeed; it will be tried again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{class}: {detail}")]
pub struct DeliveryError {
    /// A short stable word for the metric: `connect`, `timeout`, `http-503`, `disk`, …
    pub class: &'static str,
    /// For people. Holds no secret.
    pub detail: String,
    /// What the endpoint asked for.
    pub retry_after: Option<Duration>,
}

impl DeliveryError {
    pub fn new(class: &'static str, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into(), retry_after: None }
    }

    /// The endpoint, or a proxy before it, ran out of time.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        matches!(self.class, "timeout" | "http-408" | "http-504")
    }
}
