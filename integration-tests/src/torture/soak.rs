//! The long run: a steady rate with everything on, and whether anything grows that should not.
//!
//! Memory, file descriptors, threads and the journal's size are sampled; a line is fitted through the samples after
//! a warm-up, and what that line gains over the looked-at time is held against a limit. The journal keeps nothing that
//! everybody has (`retentionHours: 0`) and 1 MiB of each stream in memory, and the last thousand audit events are known
//! again, so that all reach a level to stay at. What destinations write grows with the events and is told as bytes
//! for each.
//!
//! User events repeat themselves after [`DISTINCT`], since a user has not opened millions of apps, and InfluxDB holds
//! a series for each pair; so here events are counted, not compared one by one.

use std::fmt;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::everything::{JOURNAL, WRITTEN, config, image_base};
use super::load::Posters;
use super::pause::pause;
use crate::fake_qlik::{FakeQlik, Limits, Ports};
use crate::influxd::Influxd;
use crate::mosquitto::{Mosquitto, Options};
use crate::numbered::datagram;
use crate::sandbox::{Metrics, Sandbox};
use crate::settings::new_relic;
use crate::stand_in::{Asked, Reaction, Service, StandIn};
use crate::written::{csv_rows_so_far, files};

/// Different user events.
const DISTINCT: u64 = 20_000;
/// Datagrams go out this often.
const TICK: Duration = Duration::from_millis(10);
/// Samples of this part of the time are not looked at: caches fill, pools grow to what is needed.
const WARM_UP_PERCENT: u32 = 20;

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub time: Duration,
    pub users_per_second: u64,
    /// A fifth of them screenshots.
    pub audits_per_second: u64,
    /// Between two samples.
    pub every: Duration,
}

/// What must not grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Resident,
    Descriptors,
    Threads,
    Journal,
}

impl Kept {
    const ALL: [Self; 4] = [Self::Resident, Self::Descriptors, Self::Threads, Self::Journal];

    fn detail(self) -> &'static str {
        match self {
            Self::Resident => "resident memory, MB",
            Self::Descriptors => "file descriptors",
            Self::Threads => "threads",
            Self::Journal => "journal, MB",
        }
    }

    fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::Resident => sample.resident_bytes / 1e6,
            Self::Descriptors => sample.descriptors,
            Self::Threads => sample.threads,
            Self::Journal => sample.journal_bytes / 1e6,
        }
    }

    /// What the fitted line may gain over the looked-at time and still be called flat.
    fn gain_max(self, mean: f64) -> f64 {
        match self {
            Self::Resident => (mean * 0.05).max(4.0),
            Self::Descriptors => 4.0,
            // A pool keeps as many as were ever needed at once.
            Self::Threads => mean * 0.1,
            // It goes up and down by whole files.
            Self::Journal => mean * 0.25,
        }
    }
}

/// One look.
#[derive(Debug, Clone, Default)]
struct Sample {
    seconds: f64,
    resident_bytes: f64,
    descriptors: f64,
    threads: f64,
    journal_bytes: f64,
    written_bytes: f64,
    cpu_seconds: f64,
    stored: f64,
    lag: f64,
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    plan: Plan,
    samples: Vec<Sample>,
    users_sent: u64,
    audits_sent: u64,
    kernel_drops: u64,
    /// What is not as it must be at the end, in words.
    wrong: Vec<String>,
}

/// Takes whatever it is given and keeps nothing.
struct TakesAll;

impl Service for TakesAll {
    fn react(&mut self, _: Asked) -> Reaction {
        Reaction::answer(200, json!({ "success": true, "uuid": "0" }))
    }
}

/// Runs the plan; `report` gets a line for every sixth sample.
///
/// # Panics
/// When something does not start, or does not catch up within ten minutes.
pub fn run(plan: Plan, mut report: impl FnMut(&str)) -> Outcome {
    let certificates = TempDir::with_prefix("qlik-").expect("a temporary directory");
    let limits = Limits { sessions_per_user_max: 1_000, ..Limits::default() };
    let qlik = FakeQlik::start_with(certificates.path(), Ports::default(), limits).expect("the fake starts");
    let influxd = Influxd::start_new();
    let broker = Mosquitto::start(&Options::default());
    let relic = StandIn::start(TakesAll);
    let settings = config(&influxd, &broker, &qlik)
        .and(new_relic(&format!("http://{}", relic.address()), ("1", "key"), true))
        // What is kept in memory of few events is to reach its bound within the warm-up.
        .and(json!({ "Pipeline": {
            "journal": { "retentionHours": 0, "segmentBytesMax": "4 MiB", "tailBytesMax": "1 MiB" },
            "audit": { "deduplicateEntriesMax": 1_000 },
        } }));
    let mut sandbox = Sandbox::start_new(&settings.text());
    let posters = Posters::new(sandbox.address("audit-events"), image_base(&qlik), 0);
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut samples = Vec::new();
    thread::scope(|scope| {
        for _ in 0..Posters::CLIENTS {
            scope.spawn(|| posters.post());
        }
        scope.spawn(|| send_steadily(plan, &sandbox.udp(), &posters, &stop, &sent));
        let begun = Instant::now();
        for number in 1.. {
            pause((plan.every * number).saturating_sub(begun.elapsed()));
            // What it recorded is of no use here.
            qlik.take_requests();
            let sample = look(&sandbox, begun.elapsed());
            if number % 6 == 1 {
                report(&line(&sample));
            }
            samples.push(sample);
            if begun.elapsed() >= plan.time {
                break;
            }
        }
        stop.store(true, Ordering::SeqCst);
        posters.stop();
    });
    // The last datagrams may still be on their way.
    let sent = sent.into_inner();
    let until = Instant::now() + Duration::from_secs(10);
    while sandbox.metrics().user_events_received() < sent && Instant::now() < until {
        pause(TICK);
    }
    sandbox.settle_within(Duration::from_secs(600), 0);
    let mut outcome = Outcome {
        plan,
        samples,
        users_sent: sent,
        audits_sent: posters.sent(),
        kernel_drops: 0,
        wrong: Vec::new(),
    };
    outcome.check_counts(&sandbox, &influxd);
    outcome.check_growth();
    if !sandbox.stop().success() {
        outcome.wrong.push("the server did not stop as it should".to_owned());
    }
    if !outcome.is_clean() {
        eprintln!("the server's directory is kept: {}", sandbox.keep().display());
    }
    outcome
}

/// Sends datagrams at the rate, and lets the clients post at theirs.
fn send_steadily(plan: Plan, socket: &UdpSocket, posters: &Posters, stop: &AtomicBool, sent: &AtomicU64) {
    let begun = Instant::now();
    let due = |rate: u64| (begun.elapsed().as_secs_f64() * rate as f64) as u64;
    let mut allowed = 0;
    while !stop.load(Ordering::SeqCst) {
        let users = due(plan.users_per_second);
        for n in sent.load(Ordering::SeqCst)..users {
            socket.send(datagram(n % DISTINCT).as_bytes()).expect("the server runs");
        }
        sent.store(users, Ordering::SeqCst);
        let audits = due(plan.audits_per_second);
        posters.allow(audits - allowed);
        allowed = audits;
        pause(TICK);
    }
}

fn look(sandbox: &Sandbox, since: Duration) -> Sample {
    let metrics = sandbox.metrics();
    let all = |name| metrics.sum(name, &[]);
    let bytes_of = |directory: &&str| bytes_below(&sandbox.path().join(directory));
    Sample {
        seconds: since.as_secs_f64(),
        resident_bytes: all("butler_sos_process_resident_bytes"),
        descriptors: all("butler_sos_process_open_fds"),
        threads: all("butler_sos_process_threads"),
        journal_bytes: bytes_below(&sandbox.path().join(JOURNAL)) as f64,
        written_bytes: WRITTEN.iter().map(bytes_of).sum::<u64>() as f64,
        cpu_seconds: all("butler_sos_process_cpu_seconds_total"),
        stored: all("butler_sos_events_stored_total"),
        lag: all("butler_sos_destination_lag_events"),
    }
}

/// The files in a directory; it may change meanwhile.
fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

fn line(sample: &Sample) -> String {
    let Sample { seconds, descriptors, threads, lag, stored, cpu_seconds, .. } = sample;
    format!(
        "{seconds:6.0} s  {:6.1} MB resident  {descriptors:4} descriptors  {threads:3} threads  {:6.1} MB journal  \
         {:8.1} MB written  {stored:9} events  {lag:6} wait  {cpu_seconds:7.1} s CPU",
        sample.resident_bytes / 1e6,
        sample.journal_bytes / 1e6,
        sample.written_bytes / 1e6,
    )
}

impl Outcome {
    pub fn is_clean(&self) -> bool {
        self.wrong.is_empty()
    }

    fn check_counts(&mut self, sandbox: &Sandbox, influxd: &Influxd) {
        let metrics: Metrics = sandbox.metrics();
        let at = |directory: &str| sandbox.path().join(directory);
        let of = |name, label, value| metrics.sum(name, &[(label, value)]) as u64;
        self.kernel_drops = metrics.sum("butler_sos_events_dropped_by_kernel_total", &[]) as u64;
        let stored = of("butler_sos_events_stored_total", "intake", "user_events");
        let (users, audits) = (self.users_sent - self.kernel_drops, self.audits_sent);
        let rows = |directory| csv_rows_so_far(&at(directory)) as u64;
        let points = |database, measurement, field| influxd.count(database, measurement, field);
        let delivered = |name| of("butler_sos_events_delivered_total", "destination", name);
        let figures = [
            ("user events received", of("butler_sos_events_received_total", "intake", "user_events"), users),
            ("events rejected", metrics.sum("butler_sos_events_rejected_total", &[]) as u64, 0),
            ("events shed", metrics.sum("butler_sos_events_shed_total", &[]) as u64, 0),
            ("user events stored", stored, users),
            ("user events in CSV", rows("csv"), users),
            ("user events in InfluxDB", points("senseops", "user_events", "userId"), users),
            ("user events acknowledged by the broker", delivered("mqtt_sink"), users),
            ("user events taken by New Relic", delivered("new_relic_sink"), users),
            ("audit events in CSV", rows("data/csv"), audits),
            ("audit events in JSON", files(&at("data/json"), "json").len() as u64, audits),
            ("audit events in InfluxDB", points("audit", "audit_event", "objectId"), audits),
            ("dead letters", metrics.sum("butler_sos_events_dead_lettered_total", &[]) as u64, 0),
            ("restarts of actors", metrics.sum("butler_sos_actor_restarts_total", &[]) as u64, 0),
        ];
        for (what, got, expect) in figures {
            if got != expect {
                self.wrong.push(format!("{what}: {got} instead of {expect}"));
            }
        }
    }

    fn check_growth(&mut self) {
        for kept in Kept::ALL {
            let trend = self.trend(kept);
            let gain_max = kept.gain_max(trend.mean);
            if trend.gain > gain_max {
                let detail = kept.detail();
                self.wrong
                    .push(format!("{detail}: grows by {:.1}, at most {gain_max:.1} is flat", trend.gain));
            }
        }
    }

    fn trend(&self, kept: Kept) -> Trend {
        let begin = (self.plan.time * WARM_UP_PERCENT / 100).as_secs_f64();
        let looked_at = self.samples.iter().filter(|sample| sample.seconds >= begin);
        Trend::of(&looked_at.map(|sample| (sample.seconds, kept.of(sample))).collect::<Vec<_>>())
    }
}

/// A line through points, by least squares, and what else is told of them.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Trend {
    least: f64,
    most: f64,
    mean: f64,
    /// What the line gains from the first point to the last.
    gain: f64,
}

impl Trend {
    fn of(points: &[(f64, f64)]) -> Self {
        let count = points.len().max(1) as f64;
        let mean_of = |part: fn(&(f64, f64)) -> f64| points.iter().map(part).sum::<f64>() / count;
        let (mean_x, mean) = (mean_of(|point| point.0), mean_of(|point| point.1));
        let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let common: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean)).sum();
        let slope = if spread > 0.0 { common / spread } else { 0.0 };
        let span = points.last().zip(points.first()).map_or(0.0, |(last, first)| last.0 - first.0);
        let ys = || points.iter().map(|(_, y)| *y);
        Self {
            least: ys().fold(f64::MAX, f64::min),
            most: ys().fold(0.0, f64::max),
            mean,
            gain: slope * span,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { time, users_per_second, audits_per_second, .. } = self.plan;
        writeln!(
            f,
            "{:.0} minutes at {users_per_second} user and {audits_per_second} audit events a second; the first \
             {WARM_UP_PERCENT} % are not looked at",
            time.as_secs_f64() / 60.0
        )?;
        writeln!(
            f,
            "| what | least | mean | most | fitted gain | flat is up to |\n|---|---:|---:|---:|---:|---:|"
        )?;
        for kept in Kept::ALL {
            let trend = self.trend(kept);
            let (Trend { least, mean, most, gain }, gain_max) = (trend, kept.gain_max(trend.mean));
            let detail = kept.detail();
            writeln!(f, "| {detail} | {least:.1} | {mean:.1} | {most:.1} | {gain:+.2} | {gain_max:.1} |")?;
        }
        let (users, audits, drops) = (self.users_sent, self.audits_sent, self.kernel_drops);
        let last = self.samples.last().cloned().unwrap_or_default();
        let most_lag = self.samples.iter().map(|sample| sample.lag).fold(0.0, f64::max);
        writeln!(f, "{users} user events sent ({drops} dropped by the kernel), {audits} audit events")?;
        writeln!(
            f,
            "{:.0} bytes written for each event; {:.1} s of processor time for a million events; at most {most_lag} \
             deliveries waited",
            last.written_bytes / last.stored.max(1.0),
            last.cpu_seconds / last.stored.max(1.0) * 1e6,
        )?;
        match self.wrong.is_empty() {
            true => write!(f, "flat, and everything everywhere"),
            false => write!(f, "WRONG: {}", self.wrong.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_is_the_line_through_noise() {
        let check = |points: &[(f64, f64)], expect: f64| {
            let trend = Trend::of(points);
            assert!((trend.gain - expect).abs() < 1e-9, "{trend:?}");
        };
        check(&[], 0.0);
        check(&[(5.0, 7.0)], 0.0);
        check(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)], 4.0);
        check(&[(0.0, 5.0), (1.0, 9.0), (2.0, 9.0), (3.0, 5.0)], 0.0);
    }
}
