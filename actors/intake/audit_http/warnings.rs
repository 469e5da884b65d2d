//! Warnings about clients: one line per source address and minute, with the count.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;

use crate::kit::lock::lock;
use butler_sos_domain::throttle::Throttle;
use slog::{Logger, warn};

/// The maximum number of pairs of warning and source.
const SUBJECTS_MAX: usize = 4_096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Warning {
    Unauthorized,
    NoVersion,
    Conflict,
    RateLimited,
    TooLarge,
    HeadTooLarge,
    MediaType,
    Incomplete,
    Content,
    QueueRateLimited,
    NoRoom,
    /// The queue is filled above its threshold. This warning has no source.
    QueueFilling,
}

impl Warning {
    fn detail(self) -> &'static str {
        match self {
            Self::Unauthorized => "audit API: missing or wrong token",
            Self::NoVersion => "audit API: events without an Audit.qs version are accepted",
            Self::Conflict => {
                "audit API: an event has the ids of an earlier event and a different body, both are stored"
            }
            Self::RateLimited => "audit API: a client exceeds its rate limit",
            Self::TooLarge => "audit API: a body exceeds the size limit",
            Self::HeadTooLarge => "audit API: the headers of a request exceed the size limit",
            Self::MediaType => "audit API: a body is not plain application/json",
            Self::Incomplete => "audit API: a body was cut off or too slow",
            Self::Content => "audit API: event rejected",
            Self::QueueRateLimited => "audit API: events exceed the rate limit of the queue",
            Self::NoRoom => "audit API: cannot store an event now",
            Self::QueueFilling => "audit API: the queue to the journal is filling",
        }
    }
}

/// `None` for warnings without a source.
type Source = Option<IpAddr>;

pub struct Warnings {
    log: Logger,
    since: Instant,
    throttle: Mutex<Throttle<(Warning, Source)>>,
}

impl Warnings {
    pub fn new(log: Logger) -> Self {
        Self { log, since: Instant::now(), throttle: Mutex::new(Throttle::new(SUBJECTS_MAX)) }
    }

    pub fn note(&self, warning: Warning, source: Source, reason: &str) {
        let now_ms = self.now_ms();
        let mut throttle = lock(&self.throttle);
        let count = throttle.note((warning, source), now_ms);
        drop(throttle);
        if let Some(count) = count {
            self.say(warning, source, count, reason);
        }
    }

    /// Logs all counts that are a minute old.
    pub fn flush(&self) {
        let now_ms = self.now_ms();
        let due = lock(&self.throttle).due(now_ms);
        for ((warning, source), count) in due {
            self.say(warning, source, count, "");
        }
    }

    fn say(&self, warning: Warning, source: Source, count: u64, reason: &str) {
        let source = source.map_or_else(|| "-".to_owned(), |source| source.to_string());
        warn!(self.log, "{}", warning.detail(); "source" => source, "count" => count, "reason" => reason);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
