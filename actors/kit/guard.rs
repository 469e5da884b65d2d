//! Guards each item of outside data: a panic loses only the item that caused it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::kit::supervisor::panic_text;

/// Runs `work` and returns the message of a panic as an error.
///
/// For pure work on one item. The caller must be able to forget whatever `work` was building.
pub fn guard<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_text(&*panic))
}
