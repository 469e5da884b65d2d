//! Everything away at once, each endpoint in ways that change, under load; then all of it back.
//!
//! In CI for some seconds; `make outages MINUTES=10` for as long as one likes (`BUTLER_SOS_OUTAGE_SECONDS`).
//! What it prints is what `docs/reliability.md` says.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use butler_sos_integration_tests::numbered::NumberedSender;
use butler_sos_integration_tests::sandbox::{Metrics, wait_for, wait_within};
use butler_sos_integration_tests::seeded_rng::SeededRng;
use butler_sos_integration_tests::tcp_proxy::Mode;
use serde_json::json;

use crate::everything::{Everything, StopAtEnd, audit_load, delivered, user_load};

const SECONDS: u64 = 12;
const USER_EVENTS_PER_SECOND: u64 = 200;
const AUDIT_EVENTS_PER_SECOND: u64 = 20;
/// A endpoint changes the way in which it is away after so many seconds.
const CHANGE_SECONDS: std::ops::Range<u64> = 1..5;
/// Resident memory may grow by so much, in bytes; that of a build for tests.
const GROWTH_MAX: f64 = 100e6;

const LOCAL: [&str; 5] = ["csv_sink", "audit_csv_sink", "json_sink", "parquet_sink", "qvd_sink"];
const AWAY: [&str; 5] =
    ["influx_sink", "mqtt_sink", "new_relic_sink", "audit_influx_sink", "audit_mqtt_sink"];

const WAYS: [Mode; 10] = [
    Mode::Refuse,
    Mode::Hang,
    Mode::CutAnswers { after_bytes: 0 },
    Mode::CutAnswers { after_bytes: 3 },
    Mode::CutAnswers { after_bytes: 40 },
    Mode::Slow { bytes_per_second: 1 },
    Mode::Answer { status: 429, retry_after: Some(1) },
    Mode::Answer { status: 500, retry_after: None },
    Mode::Answer { status: 502, retry_after: None },
    Mode::Answer { status: 503, retry_after: Some(2) },
];

fn number_from(variable: &str, otherwise: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// The worst that was seen of those who were not away, and of the process.
#[derive(Default)]
struct Worst {
    lag_events: f64,
    lag_seconds: f64,
    resident: f64,
}

impl Worst {
    fn look(&mut self, metrics: &Metrics) {
        for name in LOCAL {
            let of = |metric| metrics.sum(metric, &[("destination", name)]);
            self.lag_events = self.lag_events.max(of("butler_sos_destination_lag_events"));
            self.lag_seconds = self.lag_seconds.max(of("butler_sos_destination_lag_seconds"));
        }
        self.resident = self.resident.max(metrics.sum("butler_sos_process_resident_bytes", &[]));
    }
}

#[test]
fn everything_is_away_and_comes_back() {
    let seconds = number_from("BUTLER_SOS_OUTAGE_SECONDS", SECONDS);
    let user_rate = number_from("BUTLER_SOS_OUTAGE_RATE", USER_EVENTS_PER_SECOND);
    let mut seeded_rng = SeededRng::printed("outages");
    let harness = Everything::start(json!({}));
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let sender = NumberedSender::new(&harness.sandbox, 0);
    let poster = harness.poster(1);
    thread::scope(|scope| {
        let at_end = StopAtEnd(&stop);
        let users = scope.spawn(|| user_load(sender, user_rate, &stop, &sent));
        let audits = scope.spawn(|| audit_load(poster, AUDIT_EVENTS_PER_SECOND, &stop));
        // What everyone needs once: connections, caches, sessions, first files.
        wait_for("everybody to be at work", || {
            let metrics = harness.sandbox.metrics();
            let at_work = |name: &&str| delivered(&metrics, name) >= 60;
            (AWAY.iter().all(at_work) && at_work(&"csv_sink")).then_some(())
        });
        let before = harness.sandbox.metrics().sum("butler_sos_process_resident_bytes", &[]);

        let mut worst = Worst::default();
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut changes: Vec<(&str, Instant)> =
            harness.proxies.keys().map(|name| (*name, Instant::now())).collect();
        let mut next_look = Instant::now();
        while Instant::now() < end {
            for (name, due) in &mut changes {
                if Instant::now() >= *due {
                    harness.proxies[name].set(*seeded_rng.one_of(&WAYS));
                    *due = Instant::now() + Duration::from_secs(seeded_rng.within(CHANGE_SECONDS));
                }
            }
            wait_for("the next look", || (Instant::now() >= next_look).then_some(()));
            next_look = Instant::now() + Duration::from_millis(250);
            worst.look(&harness.sandbox.metrics());
        }
        let at_return = harness.sandbox.metrics();
        let waiting = at_return.sum("butler_sos_destination_lag_events", &[]);
        let errors = at_return.sum("butler_sos_delivery_errors_total", &[]);
        let classes = at_return.labels("butler_sos_delivery_errors_total", "reason");
        let (users_then, audits_then) =
            (delivered(&at_return, "csv_sink"), delivered(&at_return, "audit_csv_sink"));

        // Load goes on while they come back.
        harness.proxies.values().for_each(|proxy| proxy.resume());
        let returned = Instant::now();
        let mut recovery = Vec::new();
        wait_within(Duration::from_secs(120 + seconds), "everybody to have what they missed", || {
            let metrics = harness.sandbox.metrics();
            worst.look(&metrics);
            for name in AWAY {
                let missed = if name.starts_with("audit") { audits_then } else { users_then };
                if recovery.iter().all(|(known, _)| *known != name) && delivered(&metrics, name) >= missed {
                    recovery.push((name, returned.elapsed()));
                }
            }
            (recovery.len() == AWAY.len()).then_some(())
        });
        drop(at_end);
        let users = users.join().expect("the load does not panic");
        let posted = audits.join().expect("the poster got its answers");
        let metrics = harness.settle_within(Duration::from_secs(120), users);
        for name in [
            "butler_sos_events_shed_total",
            "butler_sos_events_rejected_total",
            "butler_sos_events_missed_total",
            "butler_sos_events_dead_lettered_total",
            "butler_sos_actor_restarts_total",
        ] {
            assert_eq!(metrics.sum(name, &[]), 0.0, "{name}");
        }
        let [mqtt_twice, relic_twice] = harness.assert_user_events(users, 0);
        let images = harness.assert_audit_events(&posted);
        let growth = worst.resident - before;
        let slowest = recovery.iter().map(|(_, time)| *time).max().unwrap_or_default();
        println!(
            "all away for {seconds} s at {user_rate} user events/s and {AUDIT_EVENTS_PER_SECOND} audit events/s:\n\
             \x20 {users} user events and {} audit events, lost 0; twice: InfluxDB and files 0, MQTT {mqtt_twice}, New Relic {relic_twice}\n\
             \x20 {waiting} deliveries waiting at the return, {errors} failed tries ({classes:?}), {images} images\n\
             \x20 the files' lag meanwhile: at most {} events, {:.2} s\n\
             \x20 resident memory: {:.1} MiB before, at most {:.1} MiB (+{:.1})\n\
             \x20 everything caught up {:.1} s after the return: {recovery:.1?}",
            posted.len(),
            worst.lag_events,
            worst.lag_seconds,
            before / MIB,
            worst.resident / MIB,
            growth / MIB,
            slowest.as_secs_f64(),
        );
        assert!(growth < GROWTH_MAX, "memory follows the outage");
        assert!(worst.lag_seconds < 15.0, "the files waited for others");
    });
}

const MIB: f64 = 1024.0 * 1024.0;
