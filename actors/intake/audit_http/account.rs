//! The account of one event: received once, and ended once, by whatever reason.

use std::sync::Arc;

use crate::kit::mailbox::InFlight;
use crate::kit::metric::IntakeMeter;

/// One event received whose end is not counted yet. Dropped open, its client went away in the middle.
pub struct Account {
    meter: Arc<IntakeMeter>,
    is_open: bool,
}

impl Account {
    /// Counts one more event as received.
    pub fn open(meter: &Arc<IntakeMeter>) -> Self {
        meter.received.inc();
        Self { meter: Arc::clone(meter), is_open: true }
    }

    pub fn rejected(mut self, reason: &'static str) {
        self.is_open = false;
        self.meter.rejected(reason).inc();
    }

    pub fn shed(mut self, reason: &'static str) {
        self.is_open = false;
        self.meter.shed(reason).inc();
    }

    /// From here on the in-flight guard answers for the event.
    pub fn pass_on(mut self, in_flight: &mut InFlight) {
        self.is_open = false;
        in_flight.join();
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.is_open {
            self.meter.rejected("incomplete").inc();
        }
    }
}
