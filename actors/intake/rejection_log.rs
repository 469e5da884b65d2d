//! Logs rejected datagrams, at most once a minute for each source and reason.
//!
//! A sender can send bad datagrams without end and, by UDP, with any source address. So the table of sources
//! is bounded, and so is the number of lines in a minute.

use std::net::IpAddr;
use std::time::Duration;

use butler_sos_domain::rate_window::RateWindow;
use butler_sos_domain::throttle::Throttle;
use slog::{Logger, warn};

/// When each source and reason was last logged.
pub(crate) struct RejectionLog {
    throttle: Throttle<(IpAddr, &'static str)>,
    lines: RateWindow,
}

const SOURCES_MAX: usize = 1_024;
const LINES_PER_MINUTE_MAX: u64 = 60;

impl RejectionLog {
    pub fn new() -> Self {
        Self { throttle: Throttle::new(SOURCES_MAX), lines: RateWindow::new(LINES_PER_MINUTE_MAX) }
    }

    pub fn add(&mut self, source: IpAddr, reason: &'static str, now_ns: u64, log: &Logger) {
        if let Some(rejections) = self.due(source, reason, now_ns) {
            warn!(log, "datagram rejected, stored in the quarantine";
                "source" => %source, "reason" => reason, "rejections" => rejections);
        }
    }

    /// The number of rejections to log, when it is time.
    fn due(&mut self, source: IpAddr, reason: &'static str, now_ns: u64) -> Option<u64> {
        let lines = &mut self.lines;
        let may_write = || lines.take(Duration::from_nanos(now_ns));
        self.throttle.note_if((source, reason), now_ns / 1_000_000, may_write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_once_a_minute_for_each_source_and_reason() {
        let mut log = RejectionLog::new();
        let mut check = |source: u8, reason: &'static str, second: u64, expect: Option<u64>| {
            let got = log.due(IpAddr::from([10, 0, 0, source]), reason, second * 1_000_000_000);
            assert_eq!(got, expect, "{source} {reason} {second}");
        };
        check(1, "unknown-type", 100, Some(1));
        check(1, "unknown-type", 101, None);
        check(1, "empty-host", 102, Some(1));
        check(2, "unknown-type", 103, Some(1));
        check(1, "unknown-type", 159, None);
        check(1, "unknown-type", 160, Some(3));
        check(1, "unknown-type", 161, None);
    }

    #[test]
    fn logs_a_bounded_number_of_sources() {
        let mut log = RejectionLog::new();
        let logged =
            (0..100_000_u32).filter(|n| log.due(IpAddr::from(n.to_be_bytes()), "x", 1).is_some()).count();
        assert_eq!(logged, LINES_PER_MINUTE_MAX as usize);
        assert_eq!(log.due(IpAddr::from([255; 4]), "x", 1 + 60_000_000_000), Some(1));
    }
}
