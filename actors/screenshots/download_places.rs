//! Slots for downloads, assigned in the order that [`Turns`] decides.
//!
//! The redirect walker adds downloads and takes those whose turn it is. A download that waits for its next
//! attempt has left its slot and asks for another. Dropping a slot frees it, however the download ends.

use std::cell::RefCell;
use std::rc::Rc;

use butler_sos_domain::turns::{PlaceAt, Try, TurnLimits, Turns};
use tokio::sync::{Notify, oneshot};

/// The use of a slot. `T`: a download that has not begun.
pub enum Turn<T> {
    Begin(T, Place),
    /// A running download has a slot again and was notified.
    GoesOn,
}

enum Waiting<T> {
    Begin(T),
    GoOn(oneshot::Sender<Place>),
}

/// All slots of one arbiter.
pub struct Places<T> {
    turns: RefCell<Turns<Waiting<T>>>,
    changed: Notify,
}

impl<T: 'static> Places<T> {
    #[must_use]
    pub fn new(limits: TurnLimits) -> Rc<Self> {
        Rc::new(Self { turns: RefCell::new(Turns::new(limits)), changed: Notify::new() })
    }

    /// Adds a download that begins when it is its turn.
    pub fn push(&self, host: &str, user: &str, download: T) {
        self.turns.borrow_mut().push(host, user, Try::First, Waiting::Begin(download));
        self.changed.notify_one();
    }

    /// Waits for a slot for a download that failed before.
    pub async fn again(self: Rc<Self>, host: &str, user: &str) -> Place {
        let (sender, place) = oneshot::channel();
        self.turns.borrow_mut().push(host, user, Try::Again, Waiting::GoOn(sender));
        self.changed.notify_one();
        match place.await {
            Ok(place) => place,
            // The walker is gone, and its waiting downloads are dropped with it.
            Err(_) => std::future::pending().await,
        }
    }

    /// Assigns the next slot; `None` when no download may begin.
    pub fn next(self: &Rc<Self>) -> Option<Turn<T>> {
        let (at, waiting) = self.turns.borrow_mut().begin_next()?;
        let place = Place { at, of: Rc::clone(self) as Rc<dyn Of> };
        match waiting {
            Waiting::Begin(download) => Some(Turn::Begin(download, place)),
            Waiting::GoOn(waiting) => {
                // A download that is gone drops its slot, which frees it.
                let _ = waiting.send(place);
                Some(Turn::GoesOn)
            }
        }
    }

    /// Drops the downloads that have not begun.
    pub fn close(&self) {
        self.turns.borrow_mut().retain(|waiting| matches!(waiting, Waiting::GoOn(_)));
    }

    /// The number of downloads that wait for a slot.
    pub fn waiting(&self) -> usize {
        self.turns.borrow().waiting()
    }

    /// Completes when a slot became free or a download was added. Several changes at once count as one.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// The operations of a slot that do not depend on `T`.
trait Of {
    fn move_to(&self, at: &mut PlaceAt, host: &str);
    fn done(&self, at: &PlaceAt);
    fn again(self: Rc<Self>, at: PlaceAt) -> std::pin::Pin<Box<dyn Future<Output = Place>>>;
}

impl<T: 'static> Of for Places<T> {
    fn move_to(&self, at: &mut PlaceAt, host: &str) {
        if at.host() != host {
            self.turns.borrow_mut().move_to(at, host);
            self.changed.notify_one();
        }
    }

    fn done(&self, at: &PlaceAt) {
        self.turns.borrow_mut().done(at);
        self.changed.notify_one();
    }

    fn again(self: Rc<Self>, at: PlaceAt) -> std::pin::Pin<Box<dyn Future<Output = Place>>> {
        Box::pin(async move { Places::again(self, at.host(), at.user()).await })
    }
}

/// A slot at a host. Dropping it frees it.
pub struct Place {
    at: PlaceAt,
    of: Rc<dyn Of>,
}

impl Place {
    /// Moves the slot to the host of a redirect.
    pub fn move_to(&mut self, host: &str) {
        self.of.move_to(&mut self.at, host);
    }

    /// Leaves the slot for now.
    #[must_use]
    pub fn leave(self) -> Left {
        Left { at: self.at.clone(), of: Rc::clone(&self.of) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.done(&self.at);
    }
}

/// A slot that was left.
pub struct Left {
    at: PlaceAt,
    of: Rc<dyn Of>,
}

impl Left {
    /// Waits for a slot again, after downloads that were never tried.
    pub async fn again(self) -> Place {
        self.of.again(self.at).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[actix_rt::test]
    async fn a_dropped_slot_is_free_again() {
        let places = Places::new(TurnLimits { places: 1, per_host: 1 });
        places.push("a", "x", 1);
        places.push("a", "x", 2);
        let Some(Turn::Begin(1, place)) = places.next() else { panic!() };
        assert!(places.next().is_none() && places.waiting() == 1);
        // It continues after the other one.
        let left = place.leave();
        places.changed().now_or_never().expect("it was told");
        let mut again = Box::pin(left.again());
        assert!(again.as_mut().now_or_never().is_none());
        let Some(Turn::Begin(2, other)) = places.next() else { panic!() };
        drop(other);
        assert!(matches!(places.next(), Some(Turn::GoesOn)));
        let place = again.now_or_never().expect("a place");
        places.push("a", "x", 3);
        assert!(places.next().is_none());
        drop(place);
        places.close();
        assert!(places.next().is_none() && places.waiting() == 0);
    }

    #[actix_rt::test]
    async fn a_cancelled_download_keeps_no_slot() {
        let places = Places::<u32>::new(TurnLimits { places: 1, per_host: 1 });
        let gone = Rc::clone(&places).again("a", "x").now_or_never();
        assert!(gone.is_none() && places.waiting() == 1);
        assert!(matches!(places.next(), Some(Turn::GoesOn)));
        places.push("a", "x", 1);
        assert!(matches!(places.next(), Some(Turn::Begin(1, _))));
    }
}
