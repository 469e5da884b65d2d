//! Requests by the administrator (SIGHUP) to read certificates and CAs again.
//!
//! Size and time show changes of most files. This is for changes that they do not show, especially of the
//! system's CAs, and for clients that are created once. The process has one counter, because one signal
//! concerns every client.

use std::sync::atomic::{AtomicU64, Ordering};

static ASKED: AtomicU64 = AtomicU64::new(0);

/// Makes every client read its files before its next connection.
pub fn ask() {
    ASKED.fetch_add(1, Ordering::Relaxed);
}

/// The number of requests. A client that was created at another number must be created again.
#[must_use]
pub fn asked() -> u64 {
    ASKED.load(Ordering::Relaxed)
}
