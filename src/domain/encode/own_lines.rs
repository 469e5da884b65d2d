//! What the server says about itself, as InfluxDB points: counts of events, queues, memory, errors.
//!
//! Names of measurements, tags and fields are those of Butler SOS 15, so that its dashboards go on. A whole number is
//! a float in version 1 and an integer in versions 2 and 3, as it was there; everything in [`QueuePoint`] that may
//! have a fraction, and all of [`MemoryPoint`], is a float in all versions.
//!
//! Configured tags stand behind a point's own; one with the name of an own tag is left out. Tags without a value are
//! left out.

use super::line_protocol::{LineWriter, Version, encode_tags};

/// What all kinds of points have in common; made once from the configuration.
#[derive(Clone, Debug)]
struct Frame {
    version: Version,
    measurement: String,
    /// As they stand in a line.
    static_tags: Vec<u8>,
}

/// How many events came, by where they came from, or were rejected.
///
/// ```text
/// event_count,event_type=user,source=S,host=H,subsystem=O counter=N
/// rejected_event_count,source=S counter=N
/// ```
#[derive(Clone, Debug)]
pub struct CountPoint(Frame);

/// Figures of the queue between an intake and the journal.
#[derive(Clone, Debug)]
pub struct QueuePoint {
    frame: Frame,
    queue_type: &'static str,
    /// Of version 1 alone, as it was there.
    host: String,
}

/// `butlersos_memory_usage`: memory in MB.
#[derive(Clone, Debug)]
pub struct MemoryPoint {
    frame: Frame,
    instance: String,
    server_version: String,
}

/// Errors of one kind.
#[derive(Clone, Debug)]
pub struct ErrorPoint(Frame);

/// Figures of a queue; counts are since the point before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueueFigures {
    pub queue_size: u64,
    pub queue_max_size: u64,
    pub utilization_percent: f64,
    pub running: u64,
    pub received: u64,
    pub queued: u64,
    pub processed: u64,
    pub failed: u64,
    pub dropped_total: u64,
    pub dropped_rate_limit: u64,
    pub dropped_queue_full: u64,
    pub dropped_size: u64,
    pub processing_ms_avg: f64,
    pub processing_ms_p95: f64,
    pub processing_ms_max: f64,
    /// Events let in per minute, where a limit holds; else 0.
    pub rate_limit_current: u64,
    pub is_backpressure: bool,
}

/// Memory of the process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryFigures {
    /// In memory and the process's own: heap and stacks.
    pub heap_used_bytes: u64,
    /// The same, asked for.
    pub heap_total_bytes: u64,
    /// In memory and backed by files: the program and its libraries, mapped files.
    pub external_bytes: u64,
    /// All that is in memory.
    pub process_bytes: u64,
}

/// Errors of one kind, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorFigures<'a> {
    /// `INFLUXDB_V2_WRITE`, `MQTT_PUBLISH`, …
    pub error_type: &'a str,
    /// The part of the server: `USER_EVENTS`, …
    pub module: &'a str,
    /// The Sense server that it was about; empty when it was about none.
    pub server_name: &'a str,
    /// `timeout`, `connection_refused`, …
    pub category: &'a str,
    /// Our own word for the kind; empty: not written.
    pub code: &'a str,
    pub http_status: Option<u16>,
    pub count: u64,
}

/// The name of [`MemoryPoint`]'s measurement; it cannot be configured.
pub const MEMORY_MEASUREMENT: &str = "butlersos_memory_usage";

// === impl Frame ===

impl Frame {
    fn new(version: Version, measurement: &str, tags: &[(String, String)], own: &[&str]) -> Self {
        let tags = tags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let tags: Vec<_> = tags.filter(|(name, _)| !own.contains(name)).collect();
        Self { version, measurement: measurement.to_owned(), static_tags: encode_tags(version, tags) }
    }

    fn line<'o>(&self, out: &'o mut Vec<u8>) -> LineWriter<'o> {
        LineWriter::new(out, self.version, &self.measurement)
    }

    fn whole(&self, line: &mut LineWriter<'_>, key: &str, number: u64) {
        match self.version {
            Version::V1 => line.float(key, number as f64),
            Version::V2 | Version::V3 => line.integer(key, i64::try_from(number).unwrap_or(i64::MAX)),
        };
    }
}

// === impl CountPoint ===

impl CountPoint {
    #[must_use]
    pub fn new(version: Version, measurement: &str, tags: &[(String, String)]) -> Self {
        Self(Frame::new(version, measurement, tags, &["event_type", "source", "host", "subsystem"]))
    }

    /// Appends the line of `count` user events.
    pub fn received(
        &self,
        (source, host, subsystem): (&str, &str, &str),
        count: u64,
        time_ns: i64,
        out: &mut Vec<u8>,
    ) {
        let mut line = self.0.line(out);
        line.tag("event_type", "user")
            .tag("source", source)
            .tag("host", host)
            .tag("subsystem", subsystem)
            .encoded_tags(&self.0.static_tags);
        self.0.whole(&mut line, "counter", count);
        line.finish(time_ns);
    }

    /// Appends the line of `count` rejected events.
    pub fn rejected(&self, source: &str, count: u64, time_ns: i64, out: &mut Vec<u8>) {
        let mut line = self.0.line(out);
        line.tag("source", source).encoded_tags(&self.0.static_tags);
        self.0.whole(&mut line, "counter", count);
        line.finish(time_ns);
    }
}

// === impl QueuePoint ===

impl QueuePoint {
    /// `queue_type`: `user_events`, `audit_events`. `host`: the machine's name.
    #[must_use]
    pub fn new(
        version: Version,
        measurement: &str,
        queue_type: &'static str,
        host: &str,
        tags: &[(String, String)],
    ) -> Self {
        let (own, host): (&[&str], _) = match version {
            Version::V1 => (&["queue_type", "host"], host),
            Version::V2 | Version::V3 => (&["queue_type"], ""),
        };
        Self { frame: Frame::new(version, measurement, tags, own), queue_type, host: host.to_owned() }
    }

    /// Appends the line.
    pub fn write(&self, figures: &QueueFigures, time_ns: i64, out: &mut Vec<u8>) {
        let f = figures;
        let mut line = self.frame.line(out);
        line.tag("queue_type", self.queue_type).tag("host", &self.host).encoded_tags(&self.frame.static_tags);
        for (key, number) in [
            ("queue_size", f.queue_size),
            ("queue_max_size", f.queue_max_size),
            ("queue_running", f.running),
            ("messages_received", f.received),
            ("messages_queued", f.queued),
            ("messages_processed", f.processed),
            ("messages_failed", f.failed),
            ("messages_dropped_total", f.dropped_total),
            ("messages_dropped_rate_limit", f.dropped_rate_limit),
            ("messages_dropped_queue_full", f.dropped_queue_full),
            ("messages_dropped_size", f.dropped_size),
            ("rate_limit_current", f.rate_limit_current),
            ("backpressure_active", u64::from(f.is_backpressure)),
        ] {
            self.frame.whole(&mut line, key, number);
        }
        line.float("queue_utilization_pct", f.utilization_percent)
            .float("processing_time_avg_ms", f.processing_ms_avg)
            .float("processing_time_p95_ms", f.processing_ms_p95)
            .float("processing_time_max_ms", f.processing_ms_max);
        line.finish(time_ns);
    }
}

// === impl MemoryPoint ===

impl MemoryPoint {
    /// `instance` tells several servers apart; empty: no tag.
    #[must_use]
    pub fn new(version: Version, instance: &str, server_version: &str) -> Self {
        Self {
            frame: Frame::new(version, MEMORY_MEASUREMENT, &[], &[]),
            instance: instance.to_owned(),
            server_version: server_version.to_owned(),
        }
    }

    /// Appends the line.
    pub fn write(&self, figures: &MemoryFigures, time_ns: i64, out: &mut Vec<u8>) {
        let mut line = self.frame.line(out);
        line.tag("butler_sos_instance", &self.instance)
            .tag("version", &self.server_version)
            .float("heap_used", megabytes(figures.heap_used_bytes))
            .float("heap_total", megabytes(figures.heap_total_bytes))
            .float("external", megabytes(figures.external_bytes))
            .float("process_memory", megabytes(figures.process_bytes));
        line.finish(time_ns);
    }
}

/// MiB with two decimals, which Butler SOS calls MB.
#[must_use]
pub fn megabytes(bytes: u64) -> f64 {
    (bytes as f64 / 1_048_576.0 * 100.0).round() / 100.0
}

// === impl ErrorPoint ===

impl ErrorPoint {
    #[must_use]
    pub fn new(version: Version, measurement: &str) -> Self {
        Self(Frame::new(version, measurement, &[], &[]))
    }

    /// Appends the line.
    pub fn write(&self, figures: &ErrorFigures<'_>, time_ns: i64, out: &mut Vec<u8>) {
        let mut line = self.0.line(out);
        // The code and the status are fields and not tags there; two kinds that share all tags would be one point at
        // one time, so whoever writes gives each a time of its own.
        line.tag("error_type", figures.error_type)
            .tag("server_name", figures.server_name)
            .tag("module", figures.module)
            .text("error_category", figures.category);
        if !figures.code.is_empty() {
            line.text("error_code", figures.code);
        }
        self.0.whole(&mut line, "error_count", figures.count);
        if let Some(status) = figures.http_status {
            self.0.whole(&mut line, "http_status", u64::from(status));
        }
        line.finish(time_ns);
    }
}

#[cfg(test)]
#[path = "own_lines_tests.rs"]
mod tests;
