//! Each endpoint behind a network that refuses, hangs, cuts and dribbles, and behind a gateway that answers for it.

use std::time::Duration;

use butler_sos_integration_tests::sandbox::wait_for;
use butler_sos_integration_tests::tcp_proxy::Mode;

use super::harness::{BROKER, Harness, INFLUX, NEW_RELIC, Plan};

/// A fault, the class of the errors, and words that the last one must hold; `None` where events still get through.
struct Fault(Mode, Option<(&'static str, &'static [&'static str])>);

const fn answer(status: u16) -> Mode {
    Mode::Answer { status, retry_after: None }
}

/// What a destination over HTTP may meet.
const HTTP: [Fault; 9] = [
    Fault(Mode::Refuse, Some(("connect", &["no response from", "127.0.0.1", "refused"]))),
    Fault(Mode::CutAnswers { after_bytes: 0 }, Some(("connection", &["no response from"]))),
    Fault(Mode::CutAnswers { after_bytes: 20 }, Some(("connection", &["no response from"]))),
    Fault(Mode::Slow { bytes_per_second: 1_000 }, None),
    Fault(answer(500), Some(("http-500", &["500"]))),
    Fault(answer(502), Some(("http-502", &["502"]))),
    Fault(answer(503), Some(("http-503", &["503"]))),
    Fault(answer(429), Some(("http-429", &["429"]))),
    Fault(Mode::Hang, Some(("timeout", &["does not answer in time"]))),
];

/// What a broker's connection may meet.
const MQTT: [Fault; 5] = [
    Fault(Mode::Refuse, Some(("connect", &["127.0.0.1", "refused"]))),
    Fault(Mode::CutAnswers { after_bytes: 0 }, Some(("disconnected", &["the broker"]))),
    Fault(Mode::CutAnswers { after_bytes: 2 }, Some(("disconnected", &["the broker"]))),
    Fault(Mode::Slow { bytes_per_second: 1_000 }, None),
    Fault(Mode::Hang, Some(("timeout", &["the broker"]))),
];

fn check(plan: Plan<'_>, destination: &'static str, faults: &[Fault]) {
    const SOME: u64 = 100;
    let mut harness = Harness::start(plan);
    for Fault(mode, expect) in faults {
        // A batch arrives before, so that there is an open connection.
        harness.send(SOME);
        harness.assert_others_go_on(&[]);
        harness.proxies[destination].set(*mode);
        harness.send(SOME);
        harness.assert_others_go_on(&[destination]);
        if let Some((class, detail)) = expect {
            harness.assert_away(destination, class, detail);
        }
        harness.proxies[destination].resume();
        harness.assert_recovered();
    }
    if destination != BROKER {
        check_retry_after(&mut harness, destination);
    }
}

/// Not asked again sooner than it wishes, whatever the configured pauses are.
fn check_retry_after(harness: &mut Harness, destination: &str) {
    const PAUSE: Duration = Duration::from_secs(1);
    for status in [429, 503] {
        let before = harness.proxies[destination].answered().len();
        harness.proxies[destination].set(Mode::Answer { status, retry_after: Some(1) });
        harness.send(10);
        let proxy = &harness.proxies[destination];
        let answered = wait_for("three tries", || {
            let answered = proxy.answered().split_off(before);
            (answered.len() >= 3).then_some(answered)
        });
        proxy.resume();
        for pair in answered.windows(2) {
            assert!(pair[1] - pair[0] >= PAUSE, "{destination} asked {:?} later", pair[1] - pair[0]);
        }
        harness.assert_recovered();
    }
}

#[test]
fn influxdb_1() {
    check(Plan::default(), INFLUX, &HTTP);
}

#[test]
fn influxdb_2() {
    check(Plan { version: 2, ..Plan::default() }, INFLUX, &HTTP);
}

#[test]
fn influxdb_3() {
    check(Plan { version: 3, ..Plan::default() }, INFLUX, &HTTP);
}

#[test]
fn the_broker() {
    check(Plan::default(), BROKER, &MQTT);
}

#[test]
fn new_relic() {
    check(Plan::default(), NEW_RELIC, &HTTP);
}

/// A broker that accepts connections and says nothing, for longer than anybody waits for one.
#[test]
fn the_broker_hangs_for_long() {
    let mut harness = Harness::start(Plan::default());
    harness.send(100);
    harness.assert_recovered();
    harness.proxies[BROKER].set(Mode::Hang);
    harness.proxies[BROKER].cut_all();
    harness.send(100);
    harness.assert_others_go_on(&[BROKER]);
    // Two connections are given up; the first by everybody.
    wait_for("two time-outs", || (harness.errors(BROKER, "timeout") >= 2.0).then_some(()));
    harness.proxies[BROKER].resume();
    harness.assert_recovered();
}

/// Nobody answers any more, each in another way; then all do.
#[test]
fn all_of_them() {
    let mut harness = Harness::start(Plan::default());
    harness.send(200);
    harness.assert_recovered();
    let modes = [Mode::Refuse, Mode::Hang, Mode::CutAnswers { after_bytes: 3 }, answer(503)];
    for turn in 0..modes.len() {
        for (at, proxy) in harness.proxies.values().enumerate() {
            proxy.set(modes[(turn + at) % modes.len()]);
        }
        harness.send(200);
        harness.assert_others_go_on(&[INFLUX, BROKER, NEW_RELIC]);
    }
    harness.set_all(Mode::Forward);
    harness.assert_recovered();
}
