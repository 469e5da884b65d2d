//! Any actor panics at any moment, while everything is under load, again and again.
//!
//! `BUTLER_SOS_PANIC_ROUNDS` says how often, `BUTLER_SOS_SEED` repeats a run's choices.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use butler_sos_integration_tests::numbered::NumberedSender;
use butler_sos_integration_tests::sandbox::wait_for;
use butler_sos_integration_tests::seeded_rng::SeededRng;
use serde_json::json;

use crate::everything::{Everything, StopAtEnd, audit_load, user_load};

const ROUNDS: u64 = 60;
const USER_EVENTS_PER_SECOND: u64 = 300;
const AUDIT_EVENTS_PER_SECOND: u64 = 30;
/// Between two panics; some come before the last one's restart is over.
const PAUSE_MS: std::ops::Range<u64> = 0..150;

fn rounds() -> u64 {
    let given = std::env::var("BUTLER_SOS_PANIC_ROUNDS").ok();
    given.map_or(ROUNDS, |rounds| rounds.parse().expect("BUTLER_SOS_PANIC_ROUNDS is a number"))
}

#[test]
fn any_actor_at_any_moment() {
    let rounds = rounds();
    let mut seeded_rng = SeededRng::printed("panics");
    // As many as it takes: that five in a window end the process is another test's.
    let harness = Everything::start(json!({ "Pipeline": { "supervision": { "maxRestarts": 1_000 } } }));
    let actors: Vec<String> = {
        let names = harness.sandbox.metrics().labels("butler_sos_actor_restarts_total", "actor");
        names.into_iter().collect()
    };
    assert!(actors.len() > 20, "{actors:?}");
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let sender = NumberedSender::new(&harness.sandbox, 0);
    let poster = harness.poster(1);
    thread::scope(|scope| {
        let at_end = StopAtEnd(&stop);
        let users = scope.spawn(|| user_load(sender, USER_EVENTS_PER_SECOND, &stop, &sent));
        let audits = scope.spawn(|| audit_load(poster, AUDIT_EVENTS_PER_SECOND, &stop));
        let mut panics = BTreeMap::<&str, u64>::new();
        for _ in 0..rounds {
            let due = Instant::now() + Duration::from_millis(seeded_rng.within(PAUSE_MS));
            wait_for("the next moment", || (Instant::now() >= due).then_some(()));
            let actor = seeded_rng.one_of(&actors);
            harness.sandbox.panic(actor);
            *panics.entry(actor).or_default() += 1;
        }
        drop(at_end);
        let users = users.join().expect("the load does not panic");
        let posted = audits.join().expect("the poster got its answers");
        for (actor, times) in &panics {
            wait_for(&format!("{actor} to be restarted {times} times"), || {
                let labels = [("actor", *actor)];
                let restarts = harness.sandbox.metrics().sum("butler_sos_actor_restarts_total", &labels);
                (restarts == *times as f64).then_some(())
            });
        }
        let metrics = harness.settle_within(Duration::from_secs(60), users);
        for name in ["butler_sos_events_missed_total", "butler_sos_events_dead_lettered_total"] {
            assert_eq!(metrics.sum(name, &[]), 0.0, "{name}");
        }
        // UDP asks nobody: what could not be stored while the journal was down is counted.
        let of_users = [("intake", "user_events")];
        let shed = metrics.sum("butler_sos_events_shed_total", &of_users);
        assert_eq!(metrics.sum("butler_sos_events_rejected_total", &of_users), 0.0);
        let [mqtt_twice, relic_twice] = harness.assert_user_events(users, shed as u64);
        let images = harness.assert_audit_events(&posted);
        println!(
            "{rounds} panics of {} actors under {users} user events and {} audit events: lost 0 of what was stored \
             ({shed} counted as shed); twice: InfluxDB and files 0, MQTT {mqtt_twice}, New Relic {relic_twice}; {images} images",
            panics.len(),
            posted.len(),
        );
    });
    assert_eq!(harness.sandbox.get("/ready").0, 200);
}
