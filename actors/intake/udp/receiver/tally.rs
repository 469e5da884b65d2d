//! The outcome of datagrams, for the metrics and the log.

use std::io;
use std::time::Duration;

use butler_sos_domain::throttle::OnceAMinute;
use prometheus_client::metrics::counter::Counter;
use slog::{Logger, warn};

use crate::intake::udp::datagram_filter::Refusal;
use crate::intake::udp::port::UdpPort;
use crate::kit::metric::IntakeMeter;

/// The intake's counters, looked up once.
#[derive(Clone)]
pub(crate) struct IntakeCounters {
    pub received: Counter,
    pub rejected: [Counter; Refusal::ALL.len()],
    pub queue_full: Counter,
    pub lost: Counter,
    /// `None` where the system does not report kernel drops.
    pub kernel: Option<Counter>,
    pub backpressure: Counter,
}

impl IntakeCounters {
    pub fn new(intake: &IntakeMeter, port: &UdpPort) -> Self {
        Self {
            received: intake.received.clone(),
            rejected: Refusal::ALL.map(|refusal| intake.rejected(refusal.reason())),
            queue_full: intake.shed("queue_full"),
            lost: intake.shed("actor_panic"),
            kernel: port.bound.kernel_drops().map(|_| intake.kernel()),
            backpressure: intake.remark("backpressure"),
        }
    }
}

/// The outcome of the datagrams of one turn. When it is dropped, those without an outcome count as lost in a
/// panic.
pub struct Tally<'a> {
    counters: &'a IntakeCounters,
    received: u64,
    open: u64,
    rejected: [u64; Refusal::ALL.len()],
    shed: u64,
}

impl<'a> Tally<'a> {
    pub fn new(counters: &'a IntakeCounters) -> Self {
        Self { counters, received: 0, open: 0, rejected: [0; Refusal::ALL.len()], shed: 0 }
    }

    pub fn receive(&mut self) {
        self.open += 1;
        self.received += 1;
    }

    pub fn forward(&mut self, datagrams: u64) {
        self.open -= datagrams;
    }

    pub fn reject(&mut self, refusal: Refusal) {
        self.open -= 1;
        self.rejected[refusal as usize] += 1;
    }

    pub fn shed(&mut self, datagrams: u64) {
        self.open -= datagrams;
        self.shed += datagrams;
    }

    /// Call it before the datagrams are forwarded, so that no event appears as stored before it appears as
    /// received.
    pub fn count_received(&mut self) {
        self.counters.received.inc_by(std::mem::take(&mut self.received));
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.count_received();
        for (counter, rejected) in self.counters.rejected.iter().zip(self.rejected) {
            counter.inc_by(rejected);
        }
        self.counters.queue_full.inc_by(self.shed);
        self.counters.lost.inc_by(self.open);
    }
}

/// Logs dropped datagrams at most once a minute, with the number since the last line.
#[derive(Default)]
pub struct DropLog {
    rejected: [u64; Refusal::ALL.len()],
    shed: u64,
    drops: OnceAMinute,
    errors: OnceAMinute,
}

impl DropLog {
    pub fn add(&mut self, tally: &Tally<'_>, now: Duration, log: &Logger) {
        for (sum, new) in self.rejected.iter_mut().zip(tally.rejected) {
            *sum += new;
        }
        self.shed += tally.shed;
        let any = self.shed + self.rejected.iter().sum::<u64>() > 0;
        if any && self.drops.is_due(now) {
            let [source, size, rate_limit] = self.rejected;
            warn!(log, "datagrams dropped";
                "source" => source, "size" => size, "rate_limit" => rate_limit, "queue_full" => self.shed);
            *self = Self { drops: self.drops, errors: self.errors, ..Self::default() };
        }
    }

    pub fn error(&mut self, error: &io::Error, now: Duration, log: &Logger) {
        if self.errors.is_due(now) {
            warn!(log, "cannot receive datagrams, will retry"; "error" => %error);
        }
    }
}
