//! Every actor of a running server is made to panic while events come, twice, and nothing of it shows at the far ends.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use butler_sos_integration_tests::numbered::{Census, NumberedSender};
use butler_sos_integration_tests::sandbox::{Sandbox, wait_for};
use butler_sos_integration_tests::settings::{Settings, csv};
use serde_json::json;

use crate::everything::{Everything, Poster};

use super::harness::{assert_nothing_shed, assert_sound};

/// All that a server with everything switched on consists of.
const ACTORS: [&str; 22] = [
    "app_directory",
    "audit_csv_sink",
    "audit_http_ingestor",
    "audit_influx_sink",
    "audit_mqtt_sink",
    "csv_sink",
    "dead_letter_keeper",
    "heartbeat",
    "image_writer",
    "influx_sink",
    "journal",
    "json_sink",
    "mqtt_sink",
    "new_relic_sink",
    "parquet_sink",
    "quarantine_keeper",
    "qvd_sink",
    "redirect_walker",
    "session_cache_actor",
    "ticket_actor",
    "udp_ingestor",
    "user_parser",
];

/// Posts one event for each permit; the ids of those that were acknowledged.
fn post_all(mut poster: Poster, permits: &Receiver<()>) -> BTreeSet<String> {
    permits.iter().map(|()| poster.post()).collect()
}

/// What happens around each panic.
struct Rounds<'a> {
    harness: &'a Everything,
    permits: SyncSender<()>,
    sent: u64,
}

impl Rounds<'_> {
    /// Events before, while it is down, and after; then it must have been restarted `restarts` times.
    fn panic(&mut self, actor: &str, restarts: f64) {
        let mut sender = NumberedSender::new(&self.harness.sandbox, self.sent);
        self.post(3);
        sender.send(150);
        self.post(2);
        self.harness.sandbox.panic(actor);
        self.post(2);
        sender.send(150);
        self.sent = sender.next();
        wait_for(&format!("{actor} to be restarted"), || {
            let metrics = self.harness.sandbox.metrics();
            let seen = metrics.sum("butler_sos_actor_restarts_total", &[("actor", actor)]);
            (seen == restarts).then_some(())
        });
    }

    fn post(&self, events: usize) {
        for _ in 0..events {
            self.permits.send(()).expect("somebody posts");
        }
    }
}

#[test]
fn every_actor_is_restarted_and_nothing_is_lost() {
    let harness = Everything::start(json!({}));
    let sandbox = &harness.sandbox;
    let actors: BTreeSet<String> = sandbox.metrics().labels("butler_sos_actor_restarts_total", "actor");
    let known: BTreeSet<String> = ACTORS.iter().map(|actor| (*actor).to_owned()).collect();
    assert_eq!(actors, known, "an actor is missing here, or in the server");

    let poster = harness.poster(1);
    let (permits, permitted) = sync_channel(1_000);
    let posting = thread::spawn(move || post_all(poster, &permitted));
    let mut rounds = Rounds { harness: &harness, permits, sent: 0 };
    for restarts in [1.0, 2.0] {
        for actor in &actors {
            rounds.panic(actor, restarts);
        }
    }
    let Rounds { sent, permits, .. } = rounds;
    drop(permits);
    let posted = posting.join().expect("the poster got its answers");

    let metrics = sandbox.settle_after(sent);
    assert_sound(&metrics);
    let shed_of_users = metrics.sum("butler_sos_events_shed_total", &[("intake", "user_events")]);
    assert_eq!(shed_of_users, 0.0);
    harness.assert_user_events(sent, 0);
    assert!(harness.assert_audit_events(&posted) > 0);
    assert_eq!(sandbox.get("/ready").0, 200);
    println!("{} panics under {sent} user events and {} audit events", 2 * actors.len(), posted.len());
}

#[test]
fn five_panics_in_the_window_end_the_process_with_70() {
    let settings = Settings::user_events().and(csv());
    let settings = settings.and(json!({ "Pipeline": { "supervision": { "backoffMs": 1 } } }));
    let mut sandbox = Sandbox::start_new(&settings.text());
    let mut sent = 0;
    for actor in ["journal", "csv_sink", "user_parser", "udp_ingestor", "dead_letter_keeper"] {
        let mut sender = NumberedSender::new(&sandbox, sent);
        sender.send(300);
        sent = sender.next();
        let metrics = sandbox.settle_after(300);
        assert_sound(&metrics);
        assert_nothing_shed(&metrics);
        for restarts in 1..=4 {
            sandbox.panic(actor);
            wait_for("the restart", || {
                let metrics = sandbox.metrics();
                let seen = metrics.sum("butler_sos_actor_restarts_total", &[("actor", actor)]);
                (seen == f64::from(restarts)).then_some(())
            });
        }
        assert_eq!(sandbox.exited(), None, "four are not too many");
        let _ = sandbox.try_panic(actor);
        assert_eq!(sandbox.wait_for_exit().code(), Some(70), "{actor}");
        let log = sandbox.log_text();
        assert!(
            log.lines().any(|line| line.contains("actors failed too often") && line.contains(actor)),
            "{log}"
        );
        // As a service manager would.
        sandbox.start();
    }
    let census = Census::of_csv(&sandbox.path().join("csv"));
    census.assert_holds("CSV", 0..sent);
    census.assert_once("CSV");
    assert!(sandbox.stop().success());
}
