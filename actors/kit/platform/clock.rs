//! The monotonic clock.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine started, including sleep. `None` where the kernel has no such clock.
#[must_use]
pub fn since_boot_ns() -> Option<u64> {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let ns = i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec());
    Some(u64::try_from(ns).unwrap_or(u64::MAX))
}
