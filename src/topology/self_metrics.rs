//! The server's own metrics: sources, reports, and the heartbeat.
//!
//! ```text
//! UserParser ─counts─► EventCounts ─┐
//! intakes ─► QueueView ─────────────┼─► OwnMeasurements ─► InfluxDB of user events, log
//! all actors ─► failures ───────────┘
//! Heartbeat ─► a monitoring tool
//! ```

use std::time::{Duration, Instant};

use actix_rt::ArbiterHandle;
use butler_sos_actors::intake::event_counts::EventCounts;
use butler_sos_actors::kit::mailbox::Mailbox;
use butler_sos_actors::kit::metric::Metrics;
use butler_sos_actors::kit::platform::process::host_name;
use butler_sos_actors::kit::supervisor::Supervision;
use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::self_metrics::heartbeat::{Heartbeat, HeartbeatConfig};
use butler_sos_actors::self_metrics::own_measurements::{
    CountsReport, ErrorsReport, OwnMeasurements, OwnMeasurementsConfig, QueueReport, UptimeLevel,
    UptimeReport,
};
use butler_sos_actors::self_metrics::queue_view::{AUDIT_EVENTS, QueueLimits, QueueView, USER_EVENTS};
use butler_sos_actors::sinks::influx::client::InfluxConfig;
use butler_sos_domain::encode::line_protocol::Version;
use butler_sos_domain::encode::own_lines::{CountPoint, ErrorPoint, MemoryPoint, QueuePoint};
use butler_sos_domain::own_errors::{ErrorType, ErrorTypes, influx_error_type};
use slog::Logger;

use super::destinations::influxdb;
use super::settings::{bound, pairs};
use crate::config::butler::LogLevel;
use crate::config::butler::services::{Heartbeat as HeartbeatSection, UptimeMonitor};
use crate::config::{Config, interval_seconds};
use crate::operations::process::memory;

/// The reports, collected while the intakes are started.
pub struct SelfMetrics<'a> {
    config: &'a Config,
    metrics: &'a Metrics,
    reread: &'a Reread,
    version: Version,
    host: String,
    reported: OwnMeasurementsConfig,
}

impl<'a> SelfMetrics<'a> {
    pub fn new(config: &'a Config, metrics: &'a Metrics, reread: &'a Reread) -> Self {
        let mut own = Self {
            config,
            metrics,
            reread,
            version: influxdb::user_events(config).target.version(),
            host: host_name().unwrap_or_default(),
            reported: OwnMeasurementsConfig::default(),
        };
        let influxdb = &config.butler_sos.influxdb;
        own.reported.influx =
            influxdb.enable.then(|| InfluxConfig { reread: reread.clone(), ..influxdb::user_events(config) });
        own.reported.counts = own.counts();
        own.reported.uptime = own.uptime();
        own.reported.errors = own.errors();
        own
    }

    /// The counters for the parser, if a report needs them.
    pub fn event_counts(&self) -> Option<EventCounts> {
        self.reported.counts.as_ref().map(|report| report.counts.clone())
    }

    /// Adds the queue from the socket to the journal.
    pub fn watch_user_events<M>(&mut self, mailbox: &Mailbox<M>)
    where
        M: actix::Message + Send + 'static,
        M::Result: Send,
    {
        let server = &self.config.butler_sos.user_events.udp_server;
        let metrics = &server.queue_metrics.influxdb;
        if !metrics.enable || !self.config.butler_sos.influxdb.enable {
            return;
        }
        let queue_type = USER_EVENTS.queue_type;
        let limits = QueueLimits {
            size_max: bound(server.message_queue.max_size),
            threshold_percent: server.message_queue.backpressure_threshold,
            is_rate_limited: server.rate_limit.enable,
        };
        let tags = pairs(&metrics.tags);
        let point = QueuePoint::new(self.version, &metrics.measurement_name, queue_type, &self.host, &tags);
        let intake = self.metrics.intake("user_events");
        let mailbox = mailbox.clone();
        let queue = QueueView::new(&USER_EVENTS, &intake, limits, move || mailbox.depth());
        let every = Duration::from_millis(metrics.write_frequency);
        self.reported.queues.push(QueueReport { every, queue, point });
    }

    /// Adds the queue from the audit API's checks to the journal.
    pub fn watch_audit_events<M>(&mut self, mailbox: &Mailbox<M>)
    where
        M: actix::Message + Send + 'static,
        M::Result: Send,
    {
        let queue = &self.config.butler_sos.audit_events.queue;
        let metrics = &queue.queue_metrics.influxdb;
        if !metrics.enable || !self.config.butler_sos.influxdb.enable {
            return;
        }
        let queue_type = AUDIT_EVENTS.queue_type;
        let limits = QueueLimits {
            size_max: bound(queue.message_queue.max_size),
            threshold_percent: queue.message_queue.backpressure_threshold,
            is_rate_limited: queue.rate_limit.enable,
        };
        let tags = pairs(&metrics.tags);
        let point = QueuePoint::new(self.version, &metrics.measurement_name, queue_type, &self.host, &tags);
        let intake = self.metrics.intake("audit_events");
        let mailbox = mailbox.clone();
        let queue = QueueView::new(&AUDIT_EVENTS, &intake, limits, move || mailbox.depth());
        let every = Duration::from_millis(metrics.write_frequency);
        self.reported.queues.push(QueueReport { every, queue, point });
    }

    /// Sets the error type of a destination.
    pub fn name_errors_of(&mut self, destination: &'static str, error_type: ErrorType) {
        if let Some(errors) = &mut self.reported.errors {
            errors.error_types.insert(destination, error_type);
        }
    }

    /// Starts the actors that have something to report.
    pub fn start(self, supervision: &Supervision, thread: impl FnOnce() -> ArbiterHandle, log: &Logger) {
        let heartbeat = self.heartbeat();
        let reported = self.reported;
        let tells = reported.counts.is_some()
            || !reported.queues.is_empty()
            || reported.uptime.is_some()
            || reported.errors.is_some();
        if !tells && heartbeat.is_none() {
            return;
        }
        let thread = thread();
        if tells {
            let meter = self.metrics.actor("own_measurements");
            let actor = OwnMeasurements::new(reported, self.metrics.clone(), meter.clone(), log.clone());
            supervision.start(&thread, meter, move || actor);
        }
        if let Some(heartbeat) = heartbeat {
            let meter = self.metrics.actor("heartbeat");
            let actor = Heartbeat::new(heartbeat, meter.clone(), log.clone());
            supervision.start(&thread, meter, move || actor);
        }
    }

    fn counts(&self) -> Option<CountsReport> {
        let section = &self.config.butler_sos.qlik_sense_events;
        let (received, rejected) = (&section.event_count, &section.rejected_event_count);
        let is_wanted = section.influxdb.enable && (received.enable || rejected.enable);
        let is_on = self.config.butler_sos.influxdb.enable && self.config.butler_sos.user_events.enable;
        if !is_wanted || !is_on {
            return None;
        }
        let version = self.version;
        Some(CountsReport {
            every: Duration::from_millis(section.influxdb.write_frequency),
            counts: EventCounts::new(self.config.pipeline.own_measurements.series_max),
            received: received.enable.then(|| {
                let section = &received.influxdb;
                CountPoint::new(version, &section.measurement_name, &pairs(&section.tags))
            }),
            rejected: rejected
                .enable
                .then(|| CountPoint::new(version, &rejected.influxdb.measurement_name, &[])),
        })
    }

    fn uptime(&self) -> Option<UptimeReport> {
        let section = &self.config.butler_sos.uptime_monitor;
        let stored = &section.store_in_influxdb;
        let is_stored = stored.memory_usage && self.config.butler_sos.influxdb.enable;
        section.enable.then(|| UptimeReport {
            every: interval(&section.frequency, &UptimeMonitor::default().frequency),
            level: match section.log_level {
                LogLevel::Error => UptimeLevel::Error,
                LogLevel::Warn => UptimeLevel::Warn,
                LogLevel::Info => UptimeLevel::Info,
                LogLevel::Verbose => UptimeLevel::Verbose,
                LogLevel::Debug => UptimeLevel::Debug,
                LogLevel::Silly => UptimeLevel::Silly,
            },
            memory: Box::new(memory),
            point: is_stored
                .then(|| MemoryPoint::new(self.version, &stored.instance_tag, env!("CARGO_PKG_VERSION"))),
            since: Instant::now(),
        })
    }

    fn errors(&self) -> Option<ErrorsReport> {
        let section = &self.config.butler_sos.error_tracking;
        let is_stored = section.influxdb.enable && self.config.butler_sos.influxdb.enable;
        section.enable.then(|| ErrorsReport {
            every: Duration::from_millis(self.config.pipeline.own_measurements.errors_write_frequency),
            says_summary: section.log_summary.enable,
            error_types: ErrorTypes::from([(
                "own_measurements",
                (influx_error_type(self.version), "OWN_MEASUREMENTS"),
            )]),
            point: is_stored.then(|| ErrorPoint::new(self.version, &section.influxdb.measurement_name)),
        })
    }

    fn heartbeat(&self) -> Option<HeartbeatConfig> {
        let section = &self.config.butler_sos.heartbeat;
        let url = section.remote_url.clone().filter(|_| section.enable)?.to_secret_string();
        let every = interval(&section.frequency, &HeartbeatSection::default().frequency);
        Some(HeartbeatConfig { url, every, timeout: HEARTBEAT_TIMEOUT, reread: self.reread.clone() })
    }
}

/// The time limit of one heartbeat request.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

fn interval(text: &str, default: &str) -> Duration {
    Duration::from_secs(interval_seconds(text, default))
}
