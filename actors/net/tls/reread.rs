//! Requests by the administrator (SIGHUP) to read certificates and CAs again.
//!
//! Most files are followed by size and time as well. This is for what does not show there, the system's authorities
//! above all, and for clients that are made once. One value for the server, because one signal means every client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Reread(Arc<AtomicU64>);

impl Reread {
    /// From now on every client reads its files before its next connection.
    pub fn ask(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was asked for. A client that was made at another number is to be made anew.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
