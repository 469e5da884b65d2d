//! The queue from an intake to the journal, with the metrics that Butler SOS reports of its queues.
//!
//! Counts are since the last report. Their meaning:
//!
//! | field | user events | audit events |
//! |---|---|---|
//! | `queue_size` | datagrams between the socket and the journal's answer (a large one counts for each 4 KiB) | events between the checks and the journal's answer |
//! | `queue_max_size`, `queue_utilization_pct` | `messageQueue.maxSize`, and its used part | the same |
//! | `queue_running` | datagrams in the parser | events on their way to the disk |
//! | `messages_received` | datagrams from the socket | requests to the event address |
//! | `messages_queued` | received and not dropped | the same |
//! | `messages_processed` | stored, and those of excluded users | stored, and duplicates |
//! | `messages_failed` | datagrams that are not events, or made the parser panic | events that the checks
//! reject |
//! | `messages_dropped_rate_limit` | over `rateLimit` | over `queue.rateLimit` or a client's `rateLimit` |
//! | `messages_dropped_size` | over `maxMessageSize` | over the size of a body |
//! | `messages_dropped_queue_full` | no room in the queue or in the journal | the same |
//! | `messages_dropped_total` | these three, from sources that are not allowed, disk errors, lost in a panic
//! | these three, without the token, of another media type, truncated, while stopping, disk errors, lost in a
//! panic |
//! | `processing_time_…_ms` | from the start of the parser's work on a batch until it is passed to the
//! journal, the same for each of its events | from the end of the checks until the event is on disk |
//! | `rate_limit_current` | accepted per minute, if `rateLimit` is on; else 0 | the same, for
//! `queue.rateLimit` |
//! | `backpressure_active` | the queue is at `backpressureThreshold`, or was since the last report | the
//! queue is there now |
//!
//! So received = queued + dropped, and queued = processed + failed + in flight. Datagrams that the kernel
//! dropped do not count as received.

use std::time::Duration;

use butler_sos_domain::encode::own_lines::QueueFigures;
use prometheus_client::metrics::counter::Counter;

use crate::kit::metric::IntakeMeter;
use crate::kit::metric::processing_times::{ProcessingTimes, TimesTaken};

/// The meaning of an intake's counters, by their reasons.
pub struct Meanings {
    pub queue_type: &'static str,
    processed: &'static [Reason],
    failed: &'static [Reason],
    rate_limit: &'static [Reason],
    queue_full: &'static [Reason],
    size: &'static [Reason],
    other: &'static [Reason],
}

#[derive(Clone, Copy)]
enum Reason {
    Rejected(&'static str),
    Shed(&'static str),
}

use Reason::{Rejected, Shed};

pub const USER_EVENTS: Meanings = Meanings {
    queue_type: "user_events",
    processed: &[Rejected("excluded_user")],
    failed: &[
        Rejected("unknown-type"),
        Rejected("too-few-fields"),
        Rejected("empty-host"),
        Rejected("empty-command"),
        Rejected("parser-panic"),
        Rejected("too-large-to-store"),
    ],
    rate_limit: &[Rejected("rate_limit")],
    queue_full: &[Shed("queue_full"), Shed("journal_full")],
    size: &[Rejected("size")],
    other: &[Rejected("source"), Shed("journal_disk"), Shed("actor_panic")],
};

pub const AUDIT_EVENTS: Meanings = Meanings {
    queue_type: "audit_events",
    processed: &[Rejected("duplicate")],
    failed: &[
        Rejected("not_json"),
        Rejected("schema"),
        Rejected("constraints"),
        Rejected("version"),
        Rejected("payload"),
        Rejected("poison"),
    ],
    rate_limit: &[Rejected("rate_limit"), Rejected("queue_rate_limit")],
    queue_full: &[Shed("queue_full"), Shed("journal_full")],
    size: &[Rejected("too_large")],
    other: &[
        Rejected("unauthorized"),
        Rejected("media_type"),
        Rejected("incomplete"),
        Shed("draining"),
        Shed("journal_disk"),
        Shed("actor_panic"),
    ],
};

/// One queue to report.
pub struct QueueView {
    received: Counter,
    stored: Counter,
    /// Counts when the queue reached its threshold.
    filled: Counter,
    processed: Vec<Counter>,
    failed: Vec<Counter>,
    rate_limit: Vec<Counter>,
    queue_full: Vec<Counter>,
    size: Vec<Counter>,
    other: Vec<Counter>,
    times: ProcessingTimes,
    depth: Box<dyn Fn() -> u32 + Send + Sync>,
    limits: QueueLimits,
}

/// The configured limits of a queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    pub size_max: u32,
    pub threshold_percent: u8,
    /// Whether a rate limit is on.
    pub is_rate_limited: bool,
}

/// All counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    received: u64,
    filled: u64,
    processed: u64,
    failed: u64,
    rate_limit: u64,
    queue_full: u64,
    size: u64,
    other: u64,
}

impl QueueView {
    pub fn new(
        meanings: &Meanings,
        intake: &IntakeMeter,
        limits: QueueLimits,
        depth: impl Fn() -> u32 + Send + Sync + 'static,
    ) -> Self {
        let counters = |reasons: &[Reason]| {
            let counter = |reason: &Reason| match reason {
                Rejected(reason) => intake.rejected(reason),
                Shed(reason) => intake.shed(reason),
            };
            reasons.iter().map(counter).collect::<Vec<_>>()
        };
        Self {
            received: intake.received.clone(),
            stored: intake.stored.clone(),
            filled: intake.remark("backpressure"),
            processed: counters(meanings.processed),
            failed: counters(meanings.failed),
            rate_limit: counters(meanings.rate_limit),
            queue_full: counters(meanings.queue_full),
            size: counters(meanings.size),
            other: counters(meanings.other),
            times: intake.times.clone(),
            depth: Box::new(depth),
            limits,
        }
    }

    /// The current counts. They are read in reverse order of an event's path, so that no event appears as
    /// processed before it appears as received.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let sum = |counters: &[Counter]| counters.iter().map(Counter::get).sum::<u64>();
        Totals {
            processed: self.stored.get() + sum(&self.processed),
            failed: sum(&self.failed),
            queue_full: sum(&self.queue_full),
            other: sum(&self.other),
            size: sum(&self.size),
            rate_limit: sum(&self.rate_limit),
            filled: self.filled.get(),
            received: self.received.get(),
        }
    }

    /// The metrics between two readings with the distance `since`. Takes the processing times.
    #[must_use]
    pub fn figures(&self, before: &Totals, now: &Totals, since: Duration) -> QueueFigures {
        let running = self.times.running();
        figures(before, now, since, self.limits, ((self.depth)(), running), self.times.take())
    }
}

fn figures(
    before: &Totals,
    now: &Totals,
    since: Duration,
    limits: QueueLimits,
    (depth, running): (u32, u64),
    times: TimesTaken,
) -> QueueFigures {
    let received = now.received - before.received;
    let rate_limit = now.rate_limit - before.rate_limit;
    let queue_full = now.queue_full - before.queue_full;
    let size = now.size - before.size;
    let dropped = rate_limit + queue_full + size + (now.other - before.other);
    let queued = received.saturating_sub(dropped);
    let size_max = limits.size_max.max(1);
    let utilization_percent = f64::from(depth) * 100.0 / f64::from(size_max);
    let per_minute = queued as f64 * 60.0 / since.as_secs_f64().max(0.001);
    QueueFigures {
        queue_size: u64::from(depth),
        queue_max_size: u64::from(limits.size_max),
        utilization_percent,
        running,
        received,
        queued,
        processed: now.processed - before.processed,
        failed: now.failed - before.failed,
        dropped_total: dropped,
        dropped_rate_limit: rate_limit,
        dropped_queue_full: queue_full,
        dropped_size: size,
        processing_ms_avg: times.avg_ms,
        processing_ms_p95: times.p95_ms,
        processing_ms_max: times.max_ms,
        rate_limit_current: if limits.is_rate_limited { per_minute.round() as u64 } else { 0 },
        is_backpressure: now.filled > before.filled
            || (depth > 0 && utilization_percent >= f64::from(limits.threshold_percent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::metric::Metrics;

    const LIMITS: QueueLimits = QueueLimits { size_max: 200, threshold_percent: 80, is_rate_limited: true };

    #[test]
    fn received_equals_queued_plus_dropped() {
        let metrics = Metrics::new();
        for meanings in [USER_EVENTS, AUDIT_EVENTS] {
            let intake = metrics.intake(meanings.queue_type);
            let view = QueueView::new(&meanings, &intake, LIMITS, || 40);
            let before = view.totals();
            intake.received.inc_by(100);
            intake.stored.inc_by(50);
            let all = [meanings.processed, meanings.failed, meanings.rate_limit, meanings.queue_full];
            for reason in all.into_iter().chain([meanings.size, meanings.other]).flatten() {
                match reason {
                    Rejected(reason) => intake.rejected(reason).inc(),
                    Shed(reason) => intake.shed(reason).inc(),
                };
            }
            drop(intake.times.begin(3));
            let figures = view.figures(&before, &view.totals(), Duration::from_secs(30));
            assert_eq!(figures.received, figures.queued + figures.dropped_total);
            assert!(figures.queued >= figures.processed + figures.failed);
            assert_eq!(figures.processed, 51);
            assert_eq!(figures.dropped_size, 1);
            assert_eq!(figures.rate_limit_current, figures.queued * 2);
            assert_eq!((figures.queue_size, figures.utilization_percent), (40, 20.0));
            assert!(!figures.is_backpressure && figures.processing_ms_max > 0.0);
            let next = view.figures(&view.totals(), &view.totals(), Duration::from_secs(30));
            assert_eq!((next.received, next.queued, next.dropped_total), (0, 0, 0));
            assert_eq!(next.processing_ms_max, 0.0);
        }
    }

    #[test]
    fn a_queue_that_filled_since_the_last_report_is_reported() {
        let metrics = Metrics::new();
        let intake = metrics.intake("user_events");
        let check = |depth, filled, expect| {
            let view = QueueView::new(&USER_EVENTS, &intake, LIMITS, move || depth);
            let before = view.totals();
            intake.remark("backpressure").inc_by(filled);
            let figures = view.figures(&before, &view.totals(), Duration::from_secs(1));
            assert_eq!(figures.is_backpressure, expect, "{depth} {filled}");
        };
        check(159, 0, false);
        check(160, 0, true);
        check(0, 1, true);
    }
}
