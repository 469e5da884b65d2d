//! `kill -9` while a backlog is delivered. What is killed under load is in `torture`.

use butler_sos_integration_tests::sandbox::wait_for;
use butler_sos_integration_tests::seeded_rng::SeededRng;
use butler_sos_integration_tests::tcp_proxy::{Mode, TcpProxy};
use serde_json::json;

use super::harness::{Harness, assert_sound, config};

const EVENTS: u64 = 10_000;
const ROUNDS: u64 = 4;

/// Killed in the middle of deliveries rather than of the intake: what a destination took and the journal does not
/// know of is not there twice.
#[test]
fn a_backlog_survives_kill_9_while_it_is_delivered() {
    let mut proxies = Vec::new();
    let mut harness = Harness::start(|influxd, broker| {
        let targets = [influxd.address(), ([127, 0, 0, 1], broker.port()).into()];
        proxies = targets.map(TcpProxy::start).into();
        // Small batches: many moments between a write and its commit.
        config(proxies[0].port(), proxies[1].port())
            .and(json!({ "Butler-SOS": { "influxdbConfig": { "maxBatchSize": 50 } } }))
    });
    let events = EVENTS;
    for proxy in &proxies {
        proxy.set(Mode::Refuse);
    }
    harness.sender(0).send(events);
    harness.wait_until_delivered("csv_sink", events);
    for proxy in &proxies {
        proxy.resume();
    }
    let lag = |harness: &Harness| harness.sandbox.metrics().sum("butler_sos_destination_lag_events", &[]);
    let mut seeded_rng = SeededRng::printed("backlog");
    for round in 0..ROUNDS {
        let before = lag(&harness);
        // Most of what is left stays for the rounds to come.
        let share = before / ((ROUNDS - round) * 2) as f64;
        let target = before - seeded_rng.within(0..share as u64 + 1) as f64;
        wait_for("deliveries to be under way", || (lag(&harness) <= target).then_some(()));
        harness.sandbox.kill();
        harness.sandbox.start();
    }
    let metrics = harness.sandbox.settle();
    assert_sound(&metrics);
    assert_eq!(harness.assert_delivered(0..events).len() as u64, events);
}
