//! The account of one event: it is received once and ends once, for whatever reason.

use std::sync::Arc;

use crate::kit::mailbox::InFlight;
use crate::kit::metric::IntakeMeter;

/// An event that is received and not yet counted as ended. If it is dropped open, its client disconnected.
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

    /// Passes the responsibility for the event to the in-flight guard.
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
