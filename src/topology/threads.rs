//! The threads that actors live on: an arbiter, and beside it a few for work that blocks.

use actix_rt::Arbiter;

use super::StartError;

/// How much of what the actors of one arbiter do may block at once: writing a file, compressing a body, looking up a
/// name. More waits its turn, so that a slow day does not leave threads behind.
const BLOCKING_MAX: usize = 4;

/// An arbiter for actors that block in a place or two.
pub fn arbiter() -> Result<Arbiter, StartError> {
    arbiter_for(BLOCKING_MAX)
}

/// An arbiter for actors of which `tasks` may block at once.
pub fn arbiter_for(tasks: usize) -> Result<Arbiter, StartError> {
    let runtime = move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(tasks.max(BLOCKING_MAX))
            .thread_name("blocking")
            .build()
    };
    Arbiter::try_with_tokio_rt(runtime).map_err(|error| StartError::unavailable("a thread", error))
}
