//! Around every item of outside data: a panic costs the item, not its neighbours.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::kit::supervisor::panic_text;

/// Runs `work`; a panic becomes its text.
///
/// For pure work on one item. The caller must be able to forget whatever `work` was building.
pub fn guard<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_text(&*panic))
}
