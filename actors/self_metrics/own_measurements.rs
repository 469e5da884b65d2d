//! Sends the server's own metrics to InfluxDB and the log at fixed intervals.
//!
//! Receives: nothing; it reads counters of other actors.
//! Sends: points to the InfluxDB of user events, without the journal, because they describe the present.
//! Keeps: the counters of its last reading; after a restart it begins with their current values.
//! When full: nothing is queued; one request is in progress at a time, and due reports follow it.
//! When it fails: points are dropped and counted, which is logged when it begins and ends; only error counts
//! are added to the next report, because they are often about the outage of InfluxDB itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Supervised, WrapFuture};
use butler_sos_domain::encode::own_lines::{
    CountPoint, ErrorFigures, ErrorPoint, MemoryFigures, MemoryPoint, QueuePoint, megabytes,
};
use butler_sos_domain::own_errors::{ErrorTypes, category, error_type};
use slog::{Logger, info, warn};
use tokio::time::Instant;

use crate::intake::event_counts::EventCounts;
use crate::kit::clock::unix_ns;
use crate::kit::metric::{ActorMeter, Failures, Metrics};
use crate::self_metrics::queue_view::{QueueView, Totals};
use crate::sinks::influx::answer::Verdict;
use crate::sinks::influx::client::InfluxConfig;
use crate::sinks::influx::connection::InfluxConnection;

/// The reports and their intervals.
#[derive(Default)]
pub struct OwnMeasurementsConfig {
    /// The InfluxDB for the points. Without it only the log is written.
    pub influx: Option<InfluxConfig>,
    pub counts: Option<CountsReport>,
    pub queues: Vec<QueueReport>,
    pub uptime: Option<UptimeReport>,
    pub errors: Option<ErrorsReport>,
}

/// `qlikSenseEvents`.
pub struct CountsReport {
    pub every: Duration,
    pub counts: EventCounts,
    pub received: Option<CountPoint>,
    pub rejected: Option<CountPoint>,
}

/// `queueMetrics`.
pub struct QueueReport {
    pub every: Duration,
    pub queue: QueueView,
    pub point: QueuePoint,
}

/// `uptimeMonitor`.
pub struct UptimeReport {
    pub every: Duration,
    pub level: UptimeLevel,
    pub memory: Box<dyn Fn() -> MemoryFigures + Send + Sync>,
    pub point: Option<MemoryPoint>,
    /// The start time of the server.
    pub since: std::time::Instant,
}

/// The log level of the uptime monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UptimeLevel {
    Error,
    Warn,
    Info,
    Verbose,
    Debug,
    Silly,
}

/// `errorTracking`.
pub struct ErrorsReport {
    pub every: Duration,
    /// Whether to log a summary after midnight, UTC.
    pub says_summary: bool,
    /// The names of the error types of destinations.
    pub error_types: ErrorTypes,
    pub point: Option<ErrorPoint>,
}

/// The actor.
pub struct OwnMeasurements {
    config: Arc<OwnMeasurementsConfig>,
    metrics: Metrics,
    actor: ActorMeter,
    log: Logger,
}

impl OwnMeasurements {
    #[must_use]
    pub fn new(config: OwnMeasurementsConfig, metrics: Metrics, actor: ActorMeter, log: Logger) -> Self {
        Self { config: Arc::new(config), metrics, actor, log }
    }
}

impl Actor for OwnMeasurements {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let reporter = Reporter::new(self);
        ctx.spawn(reporter.run().into_actor(self));
    }
}

impl Supervised for OwnMeasurements {}

/// One run of the actor.
struct Reporter {
    config: Arc<OwnMeasurementsConfig>,
    metrics: Metrics,
    actor: ActorMeter,
    log: Logger,
    connection: Option<InfluxConnection>,
    is_failing: bool,
    tasks: Vec<Task>,
}

struct Task {
    every: Duration,
    last: Instant,
    what: What,
}

enum What {
    Counts,
    /// The index of the queue, and its counts at the last reading.
    Queue(usize, Totals),
    /// The number of reports so far.
    Uptime(u64),
    Errors(ErrorsReported),
}

struct ErrorsReported {
    reported: Failures,
    /// Counts that are reported when InfluxDB has accepted the points in progress.
    reporting: Failures,
    /// Counts at the beginning of the day.
    morning: Failures,
    /// Days since 1970.
    day: u64,
}

/// Lines to send.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    points: u64,
}

impl Lines {
    /// Adds a line that `write` appends.
    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.points += 1;
    }
}

// === impl Task ===

impl Task {
    fn new(every: Duration, what: What) -> Self {
        Self { every, last: Instant::now(), what }
    }

    fn due(&self) -> Instant {
        self.last + self.every
    }
}

// === impl Reporter ===

impl Reporter {
    fn new(actor: &OwnMeasurements) -> Self {
        let config = &actor.config;
        let mut tasks = Vec::new();
        if let Some(report) = &config.counts {
            tasks.push(Task::new(report.every, What::Counts));
        }
        for (index, report) in config.queues.iter().enumerate() {
            tasks.push(Task::new(report.every, What::Queue(index, report.queue.totals())));
        }
        if let Some(report) = &config.uptime {
            tasks.push(Task::new(report.every, What::Uptime(0)));
        }
        if let Some(report) = &config.errors {
            let now = actor.metrics.failures();
            let errors =
                ErrorsReported { reported: now.clone(), reporting: now.clone(), morning: now, day: day() };
            tasks.push(Task::new(report.every, What::Errors(errors)));
        }
        Self {
            connection: config.influx.clone().map(|influx| InfluxConnection::new(influx, actor.log.clone())),
            config: Arc::clone(config),
            metrics: actor.metrics.clone(),
            actor: actor.actor.clone(),
            log: actor.log.clone(),
            is_failing: false,
            tasks,
        }
    }

    async fn run(mut self) {
        while let Some(due) = self.tasks.iter().map(Task::due).min() {
            tokio::time::sleep_until(due).await;
            let lines = self.look();
            if lines.points > 0 && self.write(lines).await {
                self.settle();
            }
        }
    }

    /// Runs the reports that are due and returns their points.
    fn look(&mut self) -> Lines {
        let now = Instant::now();
        let time_ns = unix_ns().cast_signed();
        let mut lines = Lines::default();
        for task in self.tasks.iter_mut().filter(|task| task.due() <= now) {
            let since = now - task.last;
            match &mut task.what {
                What::Counts => {
                    if let Some(report) = &self.config.counts {
                        counts(report, time_ns, &mut lines);
                    }
                }
                What::Queue(index, before) => {
                    let QueueReport { queue, point, .. } = &self.config.queues[*index];
                    let totals = queue.totals();
                    let figures = queue.figures(before, &totals, since);
                    *before = totals;
                    lines.add(|out| point.write(&figures, time_ns, out));
                }
                What::Uptime(iteration) => {
                    *iteration += 1;
                    if let Some(report) = &self.config.uptime {
                        uptime(report, *iteration, time_ns, &self.log, &mut lines);
                    }
                }
                What::Errors(errors) => {
                    if let Some(report) = &self.config.errors {
                        errors.look(report, self.metrics.failures(), time_ns, &self.log, &mut lines);
                    }
                }
            }
            // Reports that were missed during a slow request are skipped.
            task.last = (task.last + task.every).max(now.checked_sub(task.every).unwrap_or(now));
        }
        lines
    }

    /// Sends the points. Returns whether they are done. Refused lines are not retried, and the other lines
    /// were accepted.
    async fn write(&mut self, lines: Lines) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let timeout = connection.timeout();
        let (class, detail, is_settled) = match connection.write(lines.bytes.into(), timeout).await {
            Verdict::Taken => {
                self.actor.sent.inc();
                if std::mem::take(&mut self.is_failing) {
                    info!(self.log, "own measurements are written again");
                }
                return true;
            }
            Verdict::Refused(complaint) => ("refused", complaint.to_string(), true),
            Verdict::TooLarge(detail) => ("too-large", detail, true),
            Verdict::DeliveryError(trouble) => (trouble.class, trouble.detail, false),
        };
        self.actor.rejected(class, lines.points);
        self.actor.failed(class);
        if !std::mem::replace(&mut self.is_failing, true) {
            warn!(self.log, "cannot write own measurements, they are dropped until writes succeed";
                "class" => class, "error" => detail);
        }
        is_settled
    }

    /// Marks the points as reported.
    fn settle(&mut self) {
        for task in &mut self.tasks {
            if let What::Errors(errors) = &mut task.what {
                errors.reported.clone_from(&errors.reporting);
            }
        }
    }
}

fn counts(report: &CountsReport, time_ns: i64, lines: &mut Lines) {
    let counted = report.counts.take();
    if let Some(point) = &report.received {
        for ([source, host, origin], count) in &counted.received {
            lines.add(|out| point.received((source, host, origin), *count, time_ns, out));
        }
    }
    if let Some(point) = &report.rejected {
        for (source, count) in &counted.rejected {
            lines.add(|out| point.rejected(source, *count, time_ns, out));
        }
    }
}

fn uptime(report: &UptimeReport, iteration: u64, time_ns: i64, log: &Logger, lines: &mut Lines) {
    let memory = (report.memory)();
    let up = duration_detail(report.since.elapsed().as_secs());
    let (used, total) = (megabytes(memory.heap_used_bytes), megabytes(memory.heap_total_bytes));
    let (external, process) = (megabytes(memory.external_bytes), megabytes(memory.process_bytes));
    macro_rules! say {
        ($level:ident, $tag:literal) => {
            slog::log!(log, slog::Level::$level, $tag, "uptime"; "uptime" => up, "iteration" => iteration,
                "process_memory_mb" => process, "heap_used_mb" => used, "heap_total_mb" => total,
                "external_mb" => external)
        };
    }
    match report.level {
        UptimeLevel::Error => say!(Error, ""),
        UptimeLevel::Warn => say!(Warning, ""),
        UptimeLevel::Info => say!(Info, ""),
        UptimeLevel::Verbose => say!(Debug, "verbose"),
        UptimeLevel::Debug => say!(Debug, ""),
        UptimeLevel::Silly => say!(Trace, ""),
    }
    if let Some(point) = &report.point {
        lines.add(|out| point.write(&memory, time_ns, out));
    }
}

/// `3 days, 4 hours, 5 minutes, 6 seconds`, without leading zero units.
fn duration_detail(seconds: u64) -> String {
    let parts =
        [(seconds / DAY_SECONDS, "day"), (seconds / 3_600 % 24, "hour"), (seconds / 60 % 60, "minute")];
    let mut detail = String::new();
    for (count, unit) in parts {
        if count > 0 || !detail.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(detail, "{count} {unit}{}, ", plural(count));
        }
    }
    let _ = write!(detail, "{} second{}", seconds % 60, plural(seconds % 60));
    detail
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

// === impl ErrorsReported ===

impl ErrorsReported {
    fn look(&mut self, report: &ErrorsReport, now: Failures, time_ns: i64, log: &Logger, lines: &mut Lines) {
        let day = day();
        if day != self.day {
            if report.says_summary {
                say_summary(&difference(&now, &self.morning), &report.error_types, log);
            }
            self.day = day;
            self.morning.clone_from(&now);
        }
        let Some(point) = &report.point else { return };
        // Several classes may share all tags, and then only the time distinguishes their points.
        for (at, ((actor, class), count)) in difference(&now, &self.reported).into_iter().enumerate() {
            let (error_type, module) = error_type(actor, &report.error_types);
            let (category, http_status) = category(error_type, class);
            let code = class;
            let figures =
                ErrorFigures { error_type, module, server_name: "", category, code, http_status, count };
            lines.add(|out| point.write(&figures, time_ns.saturating_add(at as i64), out));
        }
        self.reporting = now;
    }
}

/// Failures between two readings.
fn difference(now: &Failures, before: &Failures) -> Failures {
    let since = |(key, count): (&(&'static str, &'static str), &u64)| {
        let new = count - before.get(key).copied().unwrap_or_default().min(*count);
        (new > 0).then_some((*key, new))
    };
    now.iter().filter_map(since).collect()
}

fn say_summary(day: &Failures, error_types: &ErrorTypes, log: &Logger) {
    if day.is_empty() {
        return;
    }
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for ((actor, class), count) in day {
        let (error_type, module) = error_type(actor, error_types);
        *kinds.entry(format!("{error_type} {module} {class}")).or_default() += count;
    }
    let total: u64 = kinds.values().sum();
    let details: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
    info!(log, "errors of the previous day (UTC)"; "total" => total, "details" => details.join(", "));
}

const DAY_SECONDS: u64 = 86_400;

/// The current day, counted from 1970, UTC.
fn day() -> u64 {
    unix_ns() / 1_000_000_000 / DAY_SECONDS
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use butler_sos_domain::encode::line_protocol::Version;
    use slog::{Drain, Never, OwnedKVList, Record, o};

    use super::*;
    use crate::kit::testing::discard_log;

    #[test]
    fn durations() {
        let check = |seconds, expect: &str| assert_eq!(duration_detail(seconds), expect);
        check(0, "0 seconds");
        check(61, "1 minute, 1 second");
        check(3_600, "1 hour, 0 minutes, 0 seconds");
        check(3 * 86_400 + 7, "3 days, 0 hours, 0 minutes, 7 seconds");
    }

    fn errors() -> (ErrorsReport, ErrorsReported) {
        let point = Some(ErrorPoint::new(Version::V2, "e"));
        let error_types = ErrorTypes::from([("influx_sink", ("INFLUXDB_V2_WRITE", "USER_EVENTS"))]);
        let report = ErrorsReport { every: Duration::from_secs(1), says_summary: true, error_types, point };
        let empty = Failures::new;
        let day = day();
        (report, ErrorsReported { reported: empty(), reporting: empty(), morning: empty(), day })
    }

    #[test]
    fn errors_are_reported_until_they_are_accepted() {
        let (report, mut errors) = errors();
        let look = |errors: &mut ErrorsReported, now: &[((&'static str, &'static str), u64)]| {
            let mut lines = Lines::default();
            errors.look(&report, now.iter().copied().collect(), 17, &discard_log(), &mut lines);
            String::from_utf8(lines.bytes).unwrap()
        };
        let first = look(&mut errors, &[(("influx_sink", "connect"), 2)]);
        let line = |count, time| {
            format!(
                "e,error_type=INFLUXDB_V2_WRITE,module=USER_EVENTS \
                 error_category=\"connection_refused\",error_code=\"connect\",error_count={count}i {time}\n"
            )
        };
        assert_eq!(first, line(2, 17));
        let both = [(("influx_sink", "connect"), 3), (("influx_sink", "http-503"), 1)];
        let second = look(&mut errors, &both);
        assert!(second.starts_with(&line(3, 17)) && second.ends_with("http_status=503i 18\n"), "{second}");
        errors.reported.clone_from(&errors.reporting);
        assert_eq!(look(&mut errors, &both), "");
    }

    /// Records the log.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl Drain for Heard {
        type Ok = ();
        type Err = Never;

        fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
            let line = format!("{} {} {}", record.level().as_str(), record.tag(), record.msg());
            self.0.lock().unwrap().push(line);
            Ok(())
        }
    }

    #[test]
    fn a_finished_day_is_summarised_once() {
        let (report, mut errors) = errors();
        let heard = Heard::default();
        let log = Logger::root(heard.clone(), o!());
        let now: Failures = [(("mqtt_sink", "broker"), 4)].into();
        errors.day -= 1;
        for _ in 0..3 {
            errors.look(&report, now.clone(), 17, &log, &mut Lines::default());
        }
        errors.day -= 1;
        errors.look(&report, now, 17, &log, &mut Lines::default());
        assert_eq!(*heard.0.lock().unwrap(), ["INFO  errors of the previous day (UTC)"]);
    }

    #[test]
    fn uptime_is_logged_at_its_level() {
        let heard = Heard::default();
        let log = Logger::root(heard.clone(), o!());
        let mut lines = Lines::default();
        for level in [UptimeLevel::Info, UptimeLevel::Verbose, UptimeLevel::Silly] {
            let report = UptimeReport {
                every: Duration::from_secs(1),
                level,
                memory: Box::new(MemoryFigures::default),
                point: Some(MemoryPoint::new(Version::V1, "", "1")),
                since: std::time::Instant::now(),
            };
            uptime(&report, 1, 17, &log, &mut lines);
        }
        assert_eq!(*heard.0.lock().unwrap(), ["INFO  uptime", "DEBUG verbose uptime", "TRACE  uptime"]);
        assert_eq!(lines.points, 3);
    }
}
