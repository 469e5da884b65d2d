//! Each far side behind a network that refuses, hangs, cuts and dribbles, and behind a gateway that answers for it.

use std::time::Duration;

use butler_sos_integration_tests::sandbox::wait_for;
use butler_sos_integration_tests::tcp_proxy::Mode;

use super::yard::{BROKER, INFLUX, NEW_RELIC, Plan, Yard};

/// A fault, the class of the errors, and words that the last one must hold; `None` where events still get through.
struct Fault(Mode, Option<(&'static str, &'static [&'static str])>);

const fn answer(status: u16) -> Mode {
    Mode::Answer { status, retry_after: None }
}

/// What a destination over HTTP may meet.
const HTTP: [Fault; 9] = [
    Fault(Mode::Refuse, Some(("connect", &["no answer from", "127.0.0.1", "refused"]))),
    Fault(Mode::CutAnswers { after_bytes: 0 }, Some(("connection", &["no answer from"]))),
    Fault(Mode::CutAnswers { after_bytes: 20 }, Some(("connection", &["no answer from"]))),
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
    let mut yard = Yard::start(plan);
    for Fault(mode, expect) in faults {
        // A batch arrives before, so that there is an open connection.
        yard.send(SOME);
        yard.assert_others_go_on(&[]);
        yard.proxies[destination].set(*mode);
        yard.send(SOME);
        yard.assert_others_go_on(&[destination]);
        if let Some((class, words)) = expect {
            yard.assert_away(destination, class, words);
        }
        yard.proxies[destination].resume();
        yard.assert_recovered();
    }
    if destination != BROKER {
        check_retry_after(&mut yard, destination);
    }
}

/// Not asked again sooner than it wishes, whatever the configured pauses are.
fn check_retry_after(yard: &mut Yard, destination: &str) {
    const PAUSE: Duration = Duration::from_secs(1);
    for status in [429, 503] {
        let before = yard.proxies[destination].answered().len();
        yard.proxies[destination].set(Mode::Answer { status, retry_after: Some(1) });
        yard.send(10);
        let proxy = &yard.proxies[destination];
        let answered = wait_for("three tries", || {
            let answered = proxy.answered().split_off(before);
            (answered.len() >= 3).then_some(answered)
        });
        proxy.resume();
        for pair in answered.windows(2) {
            assert!(pair[1] - pair[0] >= PAUSE, "{destination} asked {:?} later", pair[1] - pair[0]);
        }
        yard.assert_recovered();
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
    let mut yard = Yard::start(Plan::default());
    yard.send(100);
    yard.assert_recovered();
    yard.proxies[BROKER].set(Mode::Hang);
    yard.proxies[BROKER].cut_all();
    yard.send(100);
    yard.assert_others_go_on(&[BROKER]);
    // Two connections are given up; the first by everybody.
    wait_for("two time-outs", || (yard.errors(BROKER, "timeout") >= 2.0).then_some(()));
    yard.proxies[BROKER].resume();
    yard.assert_recovered();
}

/// Nobody answers any more, each in another way; then all do.
#[test]
fn all_of_them() {
    let mut yard = Yard::start(Plan::default());
    yard.send(200);
    yard.assert_recovered();
    let modes = [Mode::Refuse, Mode::Hang, Mode::CutAnswers { after_bytes: 3 }, answer(503)];
    for turn in 0..modes.len() {
        for (at, proxy) in yard.proxies.values().enumerate() {
            proxy.set(modes[(turn + at) % modes.len()]);
        }
        yard.send(200);
        yard.assert_others_go_on(&[INFLUX, BROKER, NEW_RELIC]);
    }
    yard.set_all(Mode::Forward);
    yard.assert_recovered();
}
