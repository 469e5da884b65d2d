//! The real servers go away and come back; what networks do to each destination is in [`crate::outages::network`].

use std::time::Duration;

use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::numbered::{Census, NumberedSender};
use butler_sos_integration_tests::sandbox::{Sandbox, wait_for, wait_within};
use butler_sos_integration_tests::tcp_proxy::{Mode, TcpProxy};
use serde_json::Value;

use super::harness::{DATABASE, Harness, assert_nothing_shed, assert_sound, config, without_broker};

/// `destination` is named as what waits, everything else goes on, and the server is ready.
fn assert_away(harness: &Harness, destination: &str, lag: u64) {
    wait_for(&format!("/ready to name {destination}"), || {
        let (status, ready) = harness.sandbox.ready();
        assert_eq!(status, 200, "{ready}");
        assert_eq!(ready["reasons"], Value::Array(Vec::new()), "{ready}");
        let warnings = ready["warnings"].as_array().expect("warnings");
        let named = warnings.iter().any(|detail| detail.as_str().is_some_and(|w| w.contains(destination)));
        let of = &ready["destinations"][destination];
        (named && of["up"] == false && of["lagEvents"].as_u64() == Some(lag)).then_some(())
    });
    let (_, ready) = harness.sandbox.ready();
    assert_eq!(ready["status"], "degraded", "{ready}");
    let warnings = ready["warnings"].as_array().expect("warnings");
    assert_eq!(warnings.len(), 1, "only {destination} is away: {ready}");
    assert!(ready["destinations"][destination]["lagSeconds"].as_f64() > Some(0.0), "{ready}");
    assert!(ready["destinations"][destination]["lastError"].is_string(), "{ready}");
    let metrics = harness.sandbox.metrics();
    let of = |name| metrics.sum(name, &[("destination", destination)]);
    assert_eq!(of("butler_sos_destination_lag_events"), lag as f64);
    assert_eq!(of("butler_sos_destination_up"), 0.0);
    assert!(of("butler_sos_delivery_errors_total") > 0.0);
}

/// Everything is delivered, nothing waits, nothing is wrong.
fn assert_recovered(harness: &Harness, sent: u64) {
    let metrics = harness.sandbox.settle_after(sent);
    assert_sound(&metrics);
    assert_nothing_shed(&metrics);
    wait_for("/ready to say that all is well", || {
        let (status, ready) = harness.sandbox.ready();
        (status == 200 && ready["status"] == "ok").then_some(())
    });
    assert_eq!(harness.assert_delivered(0..sent).len() as u64, sent);
}

#[test]
fn the_real_servers_are_stopped_and_started_again() {
    const SOME: u64 = 3_000;
    let mut harness = Harness::start(|influxd, broker| config(influxd.port(), broker.port()));
    let mut sender = harness.sender(0);
    sender.send(SOME);
    assert_recovered(&harness, SOME);

    harness.influxd.stop();
    sender.send(SOME);
    harness.wait_until_delivered("csv_sink", 2 * SOME);
    harness.wait_until_delivered("mqtt_sink", 2 * SOME);
    assert_away(&harness, "influx_sink", SOME);
    harness.in_csv().assert_holds("CSV, without waiting for InfluxDB,", 0..2 * SOME);
    wait_for("the subscriber, without waiting for InfluxDB,", || {
        harness.in_mqtt().has_all(0..2 * SOME).then_some(())
    });
    harness.influxd.start();
    assert_recovered(&harness, 2 * SOME);

    harness.broker.stop();
    sender.send(SOME);
    harness.wait_until_delivered("csv_sink", 3 * SOME);
    harness.wait_until_delivered("influx_sink", 3 * SOME);
    assert_away(&harness, "mqtt_sink", SOME);
    harness.in_csv().assert_holds("CSV, without waiting for the broker,", 0..3 * SOME);
    harness.in_influxdb().assert_holds("InfluxDB, without waiting for the broker,", 0..3 * SOME);
    harness.broker.start_again();
    assert_recovered(&harness, 3 * SOME);

    // Both die in the middle of deliveries.
    sender.send(SOME);
    harness.influxd.kill();
    harness.broker.stop();
    sender.send(SOME);
    harness.wait_until_delivered("csv_sink", 5 * SOME);
    harness.influxd.start();
    harness.broker.start_again();
    assert_recovered(&harness, 5 * SOME);
}

/// Connections that end at any moment: nothing is lost, and nothing doubled where that can be told.
#[test]
fn connections_are_cut_again_and_again() {
    let mut proxies = Vec::new();
    let harness = Harness::start(|influxd, broker| {
        let targets = [influxd.address(), ([127, 0, 0, 1], broker.port()).into()];
        proxies = targets.map(TcpProxy::start).into();
        config(proxies[0].port(), proxies[1].port())
    });
    let mut sender = harness.sender(0);
    const ROUNDS: u64 = 40;
    const SOME: u64 = 150;
    for round in 0..ROUNDS {
        sender.send(SOME);
        proxies[(round % 2) as usize].cut_all();
    }
    assert_recovered(&harness, ROUNDS * SOME);
    assert!(proxies.iter().all(|proxy| proxy.accepted() > 2), "connections were cut");
}

#[test]
fn memory_does_not_follow_the_backlog() {
    const BACKLOG: u64 = 100_000;
    const GROWTH_MAX: f64 = 60e6;
    let influxd = Influxd::start_new();
    let proxy = TcpProxy::start(influxd.address());
    let sandbox = Sandbox::start_new(&without_broker(proxy.port()).text());
    let resident = || sandbox.metrics().sum("butler_sos_process_resident_bytes", &[]);
    let mut sender = NumberedSender::new(&sandbox, 0);
    // What everyone needs once: connections, caches, the first files.
    sender.send(2_000);
    sandbox.settle_after(2_000);
    let before = resident();

    proxy.set(Mode::Refuse);
    let mut highest = before;
    for _ in 0..20 {
        sender.send(BACKLOG / 20);
        highest = resident().max(highest);
    }
    let sent = sender.next();
    wait_for("the CSV files, without waiting for InfluxDB", || {
        let labels = [("destination", "csv_sink")];
        let delivered = sandbox.metrics().sum("butler_sos_events_delivered_total", &labels);
        (delivered >= sent as f64).then_some(())
    });
    let lag =
        || sandbox.metrics().sum("butler_sos_destination_lag_events", &[("destination", "influx_sink")]);
    assert_eq!(lag(), BACKLOG as f64);
    highest = resident().max(highest);
    proxy.resume();
    wait_within(Duration::from_secs(120), "the backlog to be delivered", || {
        highest = resident().max(highest);
        (lag() == 0.0).then_some(())
    });
    println!("resident: {before} before, at most {highest} with {BACKLOG} events waiting");
    assert!(highest - before < GROWTH_MAX, "{before} bytes before, {highest} at most");
    let metrics = sandbox.settle_after(sent);
    assert_sound(&metrics);
    assert_nothing_shed(&metrics);
    let census = Census::of_influxdb(&influxd, DATABASE);
    census.assert_once("InfluxDB");
    census.assert_holds("InfluxDB", 0..sent);
    assert!(census == Census::of_csv(&sandbox.path().join("csv")), "InfluxDB and CSV hold different events");
}
