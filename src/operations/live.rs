//! The state each second for all listeners: built once for all of them, and not at all without listeners.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::web::Bytes;
use butler_sos_actors::kit::lock::lock;
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use super::answer::Refusal;
use super::sse;
use super::state::State;

const INTERVAL: Duration = Duration::from_secs(1);

/// The listeners, and the last state that was sent.
pub struct Live {
    /// Places for listeners, of this and of the tails (`Pipeline.operations.liveListenersMax`).
    places: Arc<Semaphore>,
    last: watch::Sender<Bytes>,
    runs: Mutex<bool>,
}

/// A listener's place. Dropping it frees it.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Live {
    #[must_use]
    pub fn new(listeners_max: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(listeners_max)),
            last: watch::Sender::new(Bytes::new()),
            runs: Mutex::new(false),
        }
    }

    /// # Errors
    /// When all places are taken.
    pub fn place(&self) -> Result<Place, Refusal> {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit }),
            Err(_) => {
                Err(Refusal::unavailable("too many listen already (Pipeline.operations.liveListenersMax)"))
            }
        }
    }
}

/// Events for one more listener. `state` is called each second while there are listeners.
///
/// # Errors
/// When all places are taken.
pub fn events(
    live: &Arc<Live>,
    state: impl AsyncFn() -> State + 'static,
) -> Result<impl Stream<Item = Bytes> + 'static, Refusal> {
    let place = live.place()?;
    let mut listener = live.last.subscribe();
    let starts = !std::mem::replace(&mut *lock(&live.runs), true);
    if starts {
        // The stored value is from the last time that somebody listened.
        listener.mark_unchanged();
        actix_rt::spawn(notify(Arc::clone(live), state));
    } else {
        listener.mark_changed();
    }
    Ok(futures_util::stream::unfold((listener, place), |(mut listener, place)| async move {
        loop {
            match tokio::time::timeout(sse::HEARTBEAT, listener.changed()).await {
                // The sender lives as long as the server.
                Ok(Err(_)) => return None,
                Ok(Ok(())) => {
                    let bytes = listener.borrow_and_update().clone();
                    if !bytes.is_empty() {
                        return Some((bytes, (listener, place)));
                    }
                }
                Err(_) => return Some((sse::heartbeat(), (listener, place))),
            }
        }
    }))
}

async fn notify(live: Arc<Live>, state: impl AsyncFn() -> State) {
    let mut next = Instant::now();
    loop {
        {
            let mut runs = lock(&live.runs);
            if live.last.receiver_count() == 0 {
                *runs = false;
                return;
            }
        }
        let now = state().await;
        live.last.send_replace(sse::event("state", None, &now));
        next = (next + INTERVAL).max(Instant::now());
        sleep_until(next).await;
    }
}
