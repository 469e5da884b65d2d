//! When certificates and authorities are to be read again: the administrator said so (SIGHUP).
//!
//! Most files are followed by size and time as well. This is for what does not show there, the system's authorities
//! above all, and for clients that are made once. One number for the process, because one signal means every client.

use std::sync::atomic::{AtomicU64, Ordering};

static ASKED: AtomicU64 = AtomicU64::new(0);

/// From now on every client reads its files before its next connection.
pub fn ask() {
    ASKED.fetch_add(1, Ordering::Relaxed);
}

/// How often it was asked for. A client that was made at another number is to be made anew.
#[must_use]
pub fn asked() -> u64 {
    ASKED.load(Ordering::Relaxed)
}
