//! All metrics that the server exposes about itself.
//!
//! One registry for the process; actors hold handles ([`ActorMeter`], [`DestinationMeter`],
//! [`IntakeMeter`]) whose counters are single atomics, so counting costs nothing to look up.
//! The server of a scrape sets gauges that another part owns (journal size, process memory) just before it
//! answers.
//!
//! Conservation, when nothing is in flight: for each intake
//! `received = stored + rejected + shed`; for each destination
//! `stored = delivered + waiting + dead-lettered + parked + expired` as counted by the journal's offsets.

mod figures;
pub mod processing_times;
mod reasons;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub use self::figures::{ActorFigures, DestinationFigures, Figures, IntakeFigures, SyncFigures};
use self::reasons::Reasons;
use crate::kit::lock::lock;
use crate::kit::metric::processing_times::ProcessingTimes;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActorLabel {
    actor: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActorReason {
    actor: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct IntakeLabel {
    intake: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct IntakeReason {
    intake: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DestinationLabel {
    destination: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DestinationReason {
    destination: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StreamLabel {
    stream: &'static str,
}

type Float = Gauge<f64, AtomicU64>;

/// The registry and the families in it; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    actor: ActorFamilies,
    intake: IntakeFamilies,
    destination: DestinationFamilies,
    stream: StreamFamilies,
    process: ProcessGauges,
    states: Arc<Mutex<BTreeMap<&'static str, DestinationState>>>,
    owners: Arc<Mutex<Owners>>,
    failures: FailureBook,
}

/// All handles that were created.
#[derive(Default)]
struct Owners {
    actors: BTreeMap<&'static str, ActorMeter>,
    intakes: BTreeMap<&'static str, IntakeMeter>,
    destinations: BTreeMap<&'static str, DestinationMeter>,
}

/// The number of failures since the start, by actor and class. Both are constants of the program, so the map
/// is small.
pub type Failures = BTreeMap<(&'static str, &'static str), u64>;

#[derive(Clone, Default)]
struct FailureBook(Arc<Mutex<Failures>>);

#[derive(Clone)]
struct ActorFamilies {
    received: Family<ActorLabel, Counter>,
    sent: Family<ActorLabel, Counter>,
    rejected: Reasons<ActorReason>,
    restarts: Family<ActorLabel, Counter>,
    connections: Reasons<ActorReason>,
    mailbox_depth: Family<ActorLabel, Gauge>,
    mailbox_bound: Family<ActorLabel, Gauge>,
}

impl Default for ActorFamilies {
    fn default() -> Self {
        Self {
            received: Family::default(),
            sent: Family::default(),
            rejected: Reasons::new(|actor, reason| ActorReason { actor, reason }),
            restarts: Family::default(),
            connections: Reasons::new(|actor, reason| ActorReason { actor, reason }),
            mailbox_depth: Family::default(),
            mailbox_bound: Family::default(),
        }
    }
}

#[derive(Clone)]
struct IntakeFamilies {
    received: Family<IntakeLabel, Counter>,
    stored: Family<IntakeLabel, Counter>,
    rejected: Reasons<IntakeReason>,
    shed: Reasons<IntakeReason>,
    kernel: Family<IntakeLabel, Counter>,
    remarks: Reasons<IntakeReason>,
    times: Arc<Mutex<BTreeMap<&'static str, ProcessingTimes>>>,
}

impl Default for IntakeFamilies {
    fn default() -> Self {
        let label = |intake, reason| IntakeReason { intake, reason };
        Self {
            received: Family::default(),
            stored: Family::default(),
            rejected: Reasons::new(label),
            shed: Reasons::new(label),
            kernel: Family::default(),
            remarks: Reasons::new(label),
            times: Arc::default(),
        }
    }
}

#[derive(Clone)]
struct DestinationFamilies {
    delivered: Family<DestinationLabel, Counter>,
    redelivered: Family<DestinationLabel, Counter>,
    batches: Family<DestinationLabel, Counter>,
    bytes: Family<DestinationLabel, Counter>,
    errors: Reasons<DestinationReason>,
    dead_lettered: Family<DestinationLabel, Counter>,
    missed: Family<DestinationLabel, Counter>,
    lag_events: Family<DestinationLabel, Gauge>,
    lag_seconds: Family<DestinationLabel, Float>,
    deferred: Family<DestinationLabel, Gauge>,
    parked: Family<DestinationLabel, Gauge>,
    up: Family<DestinationLabel, Gauge>,
}

impl Default for DestinationFamilies {
    fn default() -> Self {
        Self {
            delivered: Family::default(),
            redelivered: Family::default(),
            batches: Family::default(),
            bytes: Family::default(),
            errors: Reasons::new(|destination, reason| DestinationReason { destination, reason }),
            dead_lettered: Family::default(),
            missed: Family::default(),
            lag_events: Family::default(),
            lag_seconds: Family::default(),
            deferred: Family::default(),
            parked: Family::default(),
            up: Family::default(),
        }
    }
}

#[derive(Clone)]
struct StreamFamilies {
    bytes: Family<StreamLabel, Gauge>,
    bytes_max: Family<StreamLabel, Gauge>,
    segments: Family<StreamLabel, Gauge>,
    records: Family<StreamLabel, Gauge>,
    sync_seconds: Histogram,
    /// For display only: a Prometheus histogram cannot be read back.
    syncs: Arc<Mutex<SyncFigures>>,
    append_errors: Counter,
    clock_jumps: Counter,
    clock_off_seconds: Float,
}

#[derive(Clone, Default)]
struct ProcessGauges {
    resident_bytes: Gauge,
    open_fds: Gauge,
    threads: Gauge,
    cpu_seconds: Counter<f64, AtomicU64>,
    start_seconds: Float,
}

/// The state of a destination, for `/ready` and the administrator.
#[derive(Debug, Clone, Default)]
pub struct DestinationState {
    pub up: bool,
    pub last_error: Option<String>,
    /// The class of the last error, as in the metric.
    pub last_error_class: Option<&'static str>,
    /// The time of the last error, in Unix milliseconds.
    pub last_error_unix_ms: Option<u64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Arc::new(Mutex::new(Registry::with_prefix("butler_sos"))),
            actor: ActorFamilies::default(),
            intake: IntakeFamilies::default(),
            destination: DestinationFamilies::default(),
            stream: StreamFamilies {
                bytes: Family::default(),
                bytes_max: Family::default(),
                segments: Family::default(),
                records: Family::default(),
                sync_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
                syncs: Arc::default(),
                append_errors: Counter::default(),
                clock_jumps: Counter::default(),
                clock_off_seconds: Float::default(),
            },
            process: ProcessGauges::default(),
            states: Arc::default(),
            owners: Arc::default(),
            failures: FailureBook::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = lock(&self.registry);
        let r = &mut *registry;
        let a = &self.actor;
        r.register("messages_received", "Messages that an actor took from its mailbox", a.received.clone());
        r.register("messages_sent", "Messages that an actor sent on", a.sent.clone());
        r.register("messages_rejected", "Items that an actor refused", a.rejected.family());
        r.register("actor_restarts", "Restarts of an actor after a panic", a.restarts.clone());
        r.register(
            "connections_turned_away",
            "Connections that got no room or made it",
            a.connections.family(),
        );
        r.register("mailbox_depth", "Work under way into an actor", a.mailbox_depth.clone());
        r.register("mailbox_bound", "Most work that may be under way", a.mailbox_bound.clone());
        let i = &self.intake;
        r.register("events_received", "Events that an intake was given", i.received.clone());
        r.register("events_stored", "Events written to the journal", i.stored.clone());
        r.register("events_rejected", "Events refused, by reason", i.rejected.family());
        r.register("events_shed", "Events dropped for want of room, by reason", i.shed.family());
        r.register("events_dropped_by_kernel", "Datagrams that the kernel dropped", i.kernel.clone());
        r.register("events_remarked", "Events kept with something remarkable", i.remarks.family());
        let d = &self.destination;
        r.register("events_delivered", "Events that a destination took", d.delivered.clone());
        r.register("events_redelivered", "Events that a retry or a replay delivered", d.redelivered.clone());
        r.register("batches_delivered", "Batches that a destination took", d.batches.clone());
        r.register("bytes_delivered", "Bytes that a destination took", d.bytes.clone());
        r.register("delivery_errors", "Failed deliveries, by class", d.errors.family());
        r.register("events_dead_lettered", "Events that a destination refused", d.dead_lettered.clone());
        r.register("events_missed", "Events removed or damaged before delivery", d.missed.clone());
        r.register("destination_lag_events", "Events waiting for a destination", d.lag_events.clone());
        r.register("destination_lag_seconds", "Age of the oldest waiting event", d.lag_seconds.clone());
        r.register(
            "destination_deferred_events",
            "Events that failed and are tried again later",
            d.deferred.clone(),
        );
        r.register(
            "destination_parked_events",
            "Events that a limit of the destination keeps out",
            d.parked.clone(),
        );
        r.register("destination_up", "1 when the last delivery succeeded", d.up.clone());
        let s = &self.stream;
        r.register("journal_bytes", "Size of a stream on disk", s.bytes.clone());
        r.register("journal_bytes_max", "Most that a stream may take on disk", s.bytes_max.clone());
        r.register("journal_segments", "Segment files of a stream", s.segments.clone());
        r.register("journal_records", "Records that a stream holds", s.records.clone());
        r.register("journal_sync_seconds", "Time of one sync of the journal", s.sync_seconds.clone());
        r.register("journal_append_errors", "Appends that the disk refused", s.append_errors.clone());
        r.register(
            "clock_jumps",
            "Jumps of the system's clock by more than two seconds",
            s.clock_jumps.clone(),
        );
        r.register(
            "clock_off_seconds",
            "How far the clock is from where it should be after a jump",
            s.clock_off_seconds.clone(),
        );
        let p = &self.process;
        r.register("process_resident_bytes", "Resident memory", p.resident_bytes.clone());
        r.register("process_open_fds", "Open file descriptors", p.open_fds.clone());
        r.register("process_threads", "Threads", p.threads.clone());
        r.register("process_cpu_seconds", "Processor time used", p.cpu_seconds.clone());
        r.register("process_start_time_seconds", "Start of the process, unix time", p.start_seconds.clone());
    }

    /// Returns the handle of one actor. `name` is its one name everywhere.
    #[must_use]
    pub fn actor(&self, name: &'static str) -> ActorMeter {
        let label = ActorLabel { actor: name };
        let meter = ActorMeter {
            name,
            received: self.actor.received.get_or_create_owned(&label),
            sent: self.actor.sent.get_or_create_owned(&label),
            restarts: self.actor.restarts.get_or_create_owned(&label),
            mailbox_depth: self.actor.mailbox_depth.clone(),
            mailbox_bound: self.actor.mailbox_bound.clone(),
            rejected: self.actor.rejected.clone(),
            connections: self.connections(name),
            failures: self.failures.clone(),
            notes: Arc::default(),
        };
        self.owners().actors.entry(name).or_insert(meter).clone()
    }

    /// Connection counters of a server, under the name of the actor that runs it.
    #[must_use]
    pub fn connections(&self, name: &'static str) -> ConnectionCounters {
        let counter = |reason| self.actor.connections.counter(name, reason);
        ConnectionCounters { evicted: counter("displaced"), refused: counter("refused") }
    }

    #[must_use]
    pub fn intake(&self, name: &'static str) -> IntakeMeter {
        let label = IntakeLabel { intake: name };
        let meter = IntakeMeter {
            name,
            received: self.intake.received.get_or_create_owned(&label),
            stored: self.intake.stored.get_or_create_owned(&label),
            kernel: self.intake.kernel.clone(),
            rejected: self.intake.rejected.clone(),
            shed: self.intake.shed.clone(),
            remarks: self.intake.remarks.clone(),
            times: self.intake.times_of(name),
        };
        self.owners().intakes.entry(name).or_insert(meter).clone()
    }

    /// All failures so far.
    #[must_use]
    pub fn failures(&self) -> Failures {
        lock(&self.failures.0).clone()
    }

    #[must_use]
    pub fn destination(&self, name: &'static str) -> DestinationMeter {
        let label = DestinationLabel { destination: name };
        let families = &self.destination;
        let meter = DestinationMeter {
            name,
            delivered: families.delivered.get_or_create_owned(&label),
            redelivered: families.redelivered.get_or_create_owned(&label),
            batches: families.batches.get_or_create_owned(&label),
            bytes: families.bytes.get_or_create_owned(&label),
            dead_lettered: families.dead_lettered.get_or_create_owned(&label),
            missed: families.missed.get_or_create_owned(&label),
            lag_events: families.lag_events.get_or_create_owned(&label),
            lag_seconds: families.lag_seconds.get_or_create_owned(&label),
            deferred: families.deferred.get_or_create_owned(&label),
            parked: families.parked.get_or_create_owned(&label),
            held: Arc::default(),
            up: families.up.get_or_create_owned(&label),
            errors: families.errors.clone(),
            states: Arc::clone(&self.states),
            failures: self.failures.clone(),
        };
        meter.set_up();
        self.owners().destinations.entry(name).or_insert(meter).clone()
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        lock(&self.owners)
    }

    /// The state of every destination, by name.
    #[must_use]
    pub fn destination_states(&self) -> BTreeMap<&'static str, DestinationState> {
        lock(&self.states).clone()
    }

    #[must_use]
    pub fn journal(&self) -> JournalMeter {
        JournalMeter { families: self.stream.clone() }
    }

    /// Sets the figures of the process itself.
    pub fn set_process(&self, figures: &ProcessFigures) {
        let p = &self.process;
        p.resident_bytes.set(to_i64(figures.resident_bytes));
        p.open_fds.set(to_i64(figures.open_fds));
        p.threads.set(to_i64(figures.threads));
        p.start_seconds.set(figures.start_unix_seconds);
        p.cpu_seconds.inc_by((figures.cpu_seconds - p.cpu_seconds.get()).max(0.0));
    }

    /// The exposition in Prometheus text format.
    #[must_use]
    pub fn expose(&self) -> String {
        let registry = lock(&self.registry);
        let mut open_metrics = String::with_capacity(16 * 1024);
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut open_metrics, &registry);
        to_prometheus_text(&open_metrics)
    }
}

/// OpenMetrics names a counter without the `_total` of its samples; the Prometheus text format
/// names it with. Everything else that we expose is the same in both.
fn to_prometheus_text(open_metrics: &str) -> String {
    let counters: Vec<&str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let meta = line.strip_prefix("# HELP ").map(|rest| ("HELP", rest));
        let meta = meta.or_else(|| line.strip_prefix("# TYPE ").map(|rest| ("TYPE", rest)));
        let _ = match meta.and_then(|(kind, rest)| Some((kind, rest.split_once(' ')?))) {
            Some((kind, (name, rest))) if counters.contains(&name) => {
                writeln!(text, "# {kind} {name}_total {rest}")
            }
            _ => writeln!(text, "{line}"),
        };
    }
    text
}

/// Counters of connections, for the administrator.
#[derive(Debug, Clone, Default)]
pub struct ConnectionCounters {
    /// Connections that were evicted to make room.
    pub evicted: Counter,
    /// Connections that got no slot.
    pub refused: Counter,
}

/// Counters of one actor.
#[derive(Clone)]
pub struct ActorMeter {
    name: &'static str,
    pub received: Counter,
    pub sent: Counter,
    pub restarts: Counter,
    connections: ConnectionCounters,
    mailbox_depth: Family<ActorLabel, Gauge>,
    mailbox_bound: Family<ActorLabel, Gauge>,
    rejected: Reasons<ActorReason>,
    failures: FailureBook,
    notes: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl FailureBook {
    fn add(&self, name: &'static str, class: &'static str) {
        *lock(&self.0).entry((name, class)).or_default() += 1;
    }
}

impl IntakeFamilies {
    fn times_of(&self, intake: &'static str) -> ProcessingTimes {
        lock(&self.times).entry(intake).or_default().clone()
    }
}

impl ActorMeter {
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn rejected(&self, reason: &'static str, items: u64) {
        self.rejected.counter(self.name, reason).inc_by(items);
    }

    /// Notes a condition that an administrator should know for as long as the process runs. `symptom` is a
    /// constant of the program, `about` names the object. Only the first note of each symptom is kept.
    pub fn note(&self, symptom: &'static str, about: &str) {
        let mut notes = lock(&self.notes);
        notes.entry(symptom).or_insert_with(|| about.chars().take(NOTE_CHARS_MAX).collect());
    }

    /// Counts a failure for the administrator, in addition to the actor's other counters. `class` is a short
    /// stable word.
    pub fn failed(&self, class: &'static str) {
        self.failures.add(self.name, class);
    }

    /// For an actor that serves connections.
    pub fn connections(&self) -> ConnectionCounters {
        self.connections.clone()
    }

    /// For actors with a bounded mailbox. Actors that pull their work have no such gauge.
    pub fn set_mailbox(&self, depth: u32, bound: u32) {
        let label = ActorLabel { actor: self.name };
        self.mailbox_depth.get_or_create(&label).set(i64::from(depth));
        self.mailbox_bound.get_or_create(&label).set(i64::from(bound));
    }
}

/// Counters of one intake: the outcome of every event that it received.
#[derive(Clone)]
pub struct IntakeMeter {
    name: &'static str,
    pub received: Counter,
    pub stored: Counter,
    kernel: Family<IntakeLabel, Counter>,
    rejected: Reasons<IntakeReason>,
    shed: Reasons<IntakeReason>,
    remarks: Reasons<IntakeReason>,
    /// The time that events take from the intake to the journal.
    pub times: ProcessingTimes,
}

impl IntakeMeter {
    /// Datagrams that the kernel dropped. Only for an intake with its own receive buffer, on a system that
    /// reports the figure.
    pub fn kernel(&self) -> Counter {
        self.kernel.get_or_create_owned(&IntakeLabel { intake: self.name })
    }

    pub fn rejected(&self, reason: &'static str) -> Counter {
        self.rejected.counter(self.name, reason)
    }

    pub fn shed(&self, reason: &'static str) -> Counter {
        self.shed.counter(self.name, reason)
    }

    /// Counts an event that is kept but has a property that an administrator may want to know.
    pub fn remark(&self, reason: &'static str) -> Counter {
        self.remarks.counter(self.name, reason)
    }
}

/// Counters of one destination.
#[derive(Clone)]
pub struct DestinationMeter {
    name: &'static str,
    pub delivered: Counter,
    /// Events that a retry or a replay delivered.
    pub redelivered: Counter,
    pub batches: Counter,
    pub bytes: Counter,
    pub dead_lettered: Counter,
    pub missed: Counter,
    pub lag_events: Gauge,
    pub lag_seconds: Float,
    /// Events that failed, were logged, and are retried later. They do not count as waiting.
    pub deferred: Gauge,
    /// Events on disk that a limit of the destination keeps out. They do not count as waiting.
    pub parked: Gauge,
    /// See [`DestinationMeter::set_held`].
    held: Arc<AtomicU64>,
    up: Gauge,
    errors: Reasons<DestinationReason>,
    states: Arc<Mutex<BTreeMap<&'static str, DestinationState>>>,
    failures: FailureBook,
}

impl DestinationMeter {
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The number of records after the committed offset that are already done or deferred. The journal counts
    /// them, but they are not waiting.
    pub fn set_held(&self, records: u64) {
        self.held.store(records, Ordering::Relaxed);
    }

    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    pub fn set_up(&self) {
        self.up.set(1);
        self.with_state(|state| state.up = true);
    }

    /// Counts a failed delivery; `class` is a short stable word, `detail` is for people.
    pub fn failed(&self, class: &'static str, detail: &str, unix_ms: u64) {
        self.up.set(0);
        self.errors.counter(self.name, class).inc();
        self.failures.add(self.name, class);
        self.with_state(|state| {
            state.up = false;
            state.last_error = Some(detail.chars().take(LAST_ERROR_CHARS_MAX).collect());
            state.last_error_class = Some(class);
            state.last_error_unix_ms = Some(unix_ms);
        });
    }

    /// Whether the destination is up, and the class of its last error.
    #[cfg(test)]
    pub(crate) fn up_and_class(&self) -> (bool, Option<&'static str>) {
        let mut seen = (false, None);
        self.with_state(|state| seen = (state.up, state.last_error_class));
        seen
    }

    fn with_state(&self, change: impl FnOnce(&mut DestinationState)) {
        let mut states = lock(&self.states);
        change(states.entry(self.name).or_default());
    }
}

const LAST_ERROR_CHARS_MAX: usize = 500;
const NOTE_CHARS_MAX: usize = 300;

/// Counters of the journal.
#[derive(Clone)]
pub struct JournalMeter {
    families: StreamFamilies,
}

impl JournalMeter {
    pub fn set_stream(&self, stream: &'static str, figures: &StreamFigures) {
        let label = StreamLabel { stream };
        self.families.bytes.get_or_create(&label).set(to_i64(figures.bytes));
        self.families.bytes_max.get_or_create(&label).set(to_i64(figures.bytes_max));
        self.families.segments.get_or_create(&label).set(to_i64(figures.segments));
        self.families.records.get_or_create(&label).set(to_i64(figures.records));
    }

    pub fn synced(&self, took: Duration) {
        self.families.sync_seconds.observe(took.as_secs_f64());
        let mut syncs = lock(&self.families.syncs);
        syncs.count += 1;
        syncs.seconds_total += took.as_secs_f64();
        syncs.seconds_last = took.as_secs_f64();
    }

    /// Counts a jump of the wall clock. `off_seconds` is its current offset, if any.
    pub fn clock_jumped(&self, off_seconds: Option<f64>) {
        self.families.clock_jumps.inc();
        self.families.clock_off_seconds.set(off_seconds.unwrap_or_default());
    }

    pub fn clock_is_right(&self) {
        self.families.clock_off_seconds.set(0.0);
    }

    pub fn append_failed(&self) {
        self.families.append_errors.inc();
    }
}

/// The size of one stream of the journal.
#[derive(Debug, Clone, Copy, Default)]
pub struct StreamFigures {
    pub bytes: u64,
    pub bytes_max: u64,
    pub segments: u64,
    pub records: u64,
}

/// Figures of the process from the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessFigures {
    pub resident_bytes: u64,
    pub open_fds: u64,
    pub threads: u64,
    pub cpu_seconds: f64,
    pub start_unix_seconds: f64,
}

fn to_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_the_suffix_total() {
        let metrics = Metrics::new();
        metrics.intake("user_events").rejected("size").inc_by(3);
        let text = metrics.expose();
        assert!(text.contains("# TYPE butler_sos_events_rejected_total counter\n"), "{text}");
        assert!(
            text.contains("butler_sos_events_rejected_total{intake=\"user_events\",reason=\"size\"} 3\n")
        );
        assert!(!text.contains("# EOF"));
    }

    #[test]
    fn metrics_without_an_owner_are_not_exposed() {
        let metrics = Metrics::new();
        let (parser, _sink) = (metrics.actor("user_parser"), metrics.actor("csv_sink"));
        let (udp, _http) = (metrics.intake("user_events"), metrics.intake("audit_events"));
        parser.set_mailbox(3, 10);
        udp.kernel().inc();
        let text = metrics.expose();
        let samples = |name: &str| -> Vec<String> {
            text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
        };
        assert_eq!(
            samples("butler_sos_mailbox_depth"),
            ["butler_sos_mailbox_depth{actor=\"user_parser\"} 3"]
        );
        assert_eq!(
            samples("butler_sos_mailbox_bound"),
            ["butler_sos_mailbox_bound{actor=\"user_parser\"} 10"]
        );
        let kernel = "butler_sos_events_dropped_by_kernel_total";
        assert_eq!(samples(kernel), [format!("{kernel}{{intake=\"user_events\"}} 1")]);
        let drops = |intake: &str| metrics.figures().intakes[intake].dropped_by_kernel;
        assert_eq!((drops("user_events"), drops("audit_events")), (Some(1), None));
    }

    #[test]
    fn a_destination_keeps_its_last_error() {
        let metrics = Metrics::new();
        let meter = metrics.destination("influx_sink");
        meter.failed("http-503", "server busy", 7);
        let state = &metrics.destination_states()["influx_sink"];
        assert!(!state.up);
        assert_eq!(state.last_error.as_deref(), Some("server busy"));
        metrics.actor("influx_sink").failed("http-503");
        assert_eq!(metrics.failures()[&("influx_sink", "http-503")], 2);
    }
}
