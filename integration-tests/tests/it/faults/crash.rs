//! `kill -9` in the middle of a stream of user events.
//!
//! UDP answers nobody, so what the journal has acknowledged is what `/metrics` says: events arrive in the order in
//! which they were sent, none is rejected or shed here, so `butler_sos_events_stored_total` being `n` says that the
//! first `n` events of this life of the server are in the journal. A process that is killed does not lose what it has
//! written, synced or not (a power cut may: that is the journal's own test). Events that were sent and not yet
//! counted may be there or not, but nowhere twice.
//!
//! `BUTLER_SOS_TORTURE_ROUNDS` says how often the server is killed.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use butler_sos_integration_tests::numbered::NumberedSender;
use butler_sos_integration_tests::sandbox::{Metrics, wait_for};
use butler_sos_integration_tests::tcp_proxy::{Mode, TcpProxy};

use super::bench::{Bench, assert_nothing_shed, assert_sound, config};

const EVENTS: u64 = 20_000;
const ROUNDS: u64 = 4;

fn rounds() -> u64 {
    match std::env::var("BUTLER_SOS_TORTURE_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("BUTLER_SOS_TORTURE_ROUNDS is a number"),
        Err(_) => ROUNDS,
    }
}

/// Chance that differs from run to run: no test result may hang on it.
fn chance(range: Range<u64>) -> u64 {
    range.start + RandomState::new().build_hasher().finish() % (range.end - range.start)
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let mut bench = Bench::start(|influxd, broker| config(influxd.port(), broker.port()));
    let rounds = rounds();
    let per_life = (EVENTS / (rounds + 1)).max(400);
    let mut acknowledged = Vec::new();
    let mut next = 0;
    for _ in 0..rounds {
        let target = chance(per_life / 4..per_life);
        let life = live(&mut bench, next, target);
        acknowledged.extend(next..next + life.stored);
        next = life.next;
        bench.sandbox.start();
    }
    let rest = EVENTS.saturating_sub(acknowledged.len() as u64).max(per_life);
    bench.sender(next).send(rest);
    acknowledged.extend(next..next + rest);
    let metrics = bench.sandbox.settle_after(rest);
    assert_sound(&metrics);
    assert_nothing_shed(&metrics);
    let all = bench.assert_delivered(acknowledged.iter().copied());
    assert!(acknowledged.len() as u64 >= EVENTS);
    println!(
        "{rounds} kills: {} sent, {} acknowledged, {} stored",
        next + rest,
        acknowledged.len(),
        all.len()
    );
    assert!(bench.sandbox.stop().success());
}

/// How far a server got before it was killed.
struct Life {
    /// Events of this life that are known to be in the journal.
    stored: u64,
    /// The number of the first event that was not sent.
    next: u64,
}

/// Sends events from number `first` on, and kills the server in the middle, once `target` are stored.
fn live(bench: &mut Bench, first: u64, target: u64) -> Life {
    let operations = bench.sandbox.address("operations");
    let sender = bench.sender(first);
    let (stop, stored) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let stream = scope.spawn(|| stream(sender, operations, &stop, &stored));
        wait_for("events to be stored", || (stored.load(Ordering::SeqCst) >= target).then_some(()));
        bench.sandbox.kill();
        stop.store(true, Ordering::SeqCst);
        let next = stream.join().expect("the stream does not panic");
        Life { stored: stored.load(Ordering::SeqCst), next }
    })
}

/// Sends until it is stopped, and notes what is stored; the number of the first event that was not sent.
fn stream(mut sender: NumberedSender, operations: SocketAddr, stop: &AtomicBool, stored: &AtomicU64) -> u64 {
    while !stop.load(Ordering::SeqCst) {
        sender.send_some();
        if let Some(metrics) = Metrics::of(operations) {
            assert_nothing_shed(&metrics);
            stored.store(metrics.sum("butler_sos_events_stored_total", &[]) as u64, Ordering::SeqCst);
        }
    }
    sender.next()
}

/// Killed in the middle of deliveries rather than of the intake: what a destination took and the journal does not
/// know of is not there twice.
#[test]
fn a_backlog_survives_kill_9_while_it_is_delivered() {
    let mut proxies = Vec::new();
    let mut bench = Bench::start(|influxd, broker| {
        let targets = [influxd.address(), ([127, 0, 0, 1], broker.port()).into()];
        proxies = targets.map(TcpProxy::start).into();
        // Small batches: many moments between a write and its commit.
        config(proxies[0].port(), proxies[1].port())
            .replace("    version: 1\n", "    version: 1\n    maxBatchSize: 50\n")
    });
    let rounds = rounds();
    let events = EVENTS / 2;
    for proxy in &proxies {
        proxy.set(Mode::Refuse);
    }
    bench.sender(0).send(events);
    bench.wait_until_delivered("csv_sink", events);
    for proxy in &proxies {
        proxy.resume();
    }
    let lag = |bench: &Bench| bench.sandbox.metrics().sum("butler_sos_destination_lag_events", &[]);
    for round in 0..rounds {
        let before = lag(&bench);
        // Most of what is left stays for the rounds to come.
        let share = before / ((rounds - round) * 2) as f64;
        let target = before - chance(0..share as u64 + 1) as f64;
        wait_for("deliveries to be under way", || (lag(&bench) <= target).then_some(()));
        bench.sandbox.kill();
        bench.sandbox.start();
    }
    let metrics = bench.sandbox.settle();
    assert_sound(&metrics);
    assert_eq!(bench.assert_delivered(0..events).len() as u64, events);
}
