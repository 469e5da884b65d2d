//! The threads of actors: arbiters, each with a few threads for blocking work.

use actix_rt::Arbiter;

use super::StartError;

/// The maximum of concurrent blocking tasks of one arbiter: file writes, compression, name resolution. Others
/// wait, so that a slow day does not leave threads behind.
const BLOCKING_MAX: usize = 4;

/// An arbiter for actors with little blocking work.
pub fn arbiter() -> Result<Arbiter, StartError> {
    arbiter_for(BLOCKING_MAX)
}

/// An arbiter for actors with up to `tasks` blocking tasks.
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
