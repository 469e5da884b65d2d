//! The InfluxDB destination against a real InfluxDB 1.

use butler_sos_actors::kit::clock::unix_ns;
use butler_sos_domain::streams::Stream;
use butler_sos_integration_tests::influxd::Influxd;

use crate::influx_harness::{Plain, config, start, v1};

#[actix_rt::test]
async fn the_database_is_made_with_its_retention() {
    let influxd = Influxd::start_new();
    let harness = start(config(influxd.port(), v1(None)), Stream::UserEvents, || Plain);
    harness.append([format!("m f=1 {}", unix_ns())]).await;
    harness.settle().await;
    let policies = influxd.rows("senseops", "SHOW RETENTION POLICIES ON \"senseops\"");
    assert_eq!(policies.len(), 1);
    assert_eq!((policies[0][0].as_str(), policies[0][1].as_str()), (Some("ten days"), Some("240h0m0s")));
    assert_eq!(policies[0][4], true, "the default");
    assert_eq!(influxd.count("senseops", "m", "f"), 1);
}

/// A database of an older installation is left as it is, and written to.
#[actix_rt::test]
async fn a_database_that_is_there_is_used() {
    let influxd = Influxd::start_new();
    influxd.query("", "CREATE DATABASE \"senseops\"");
    let harness = start(config(influxd.port(), v1(None)), Stream::UserEvents, || Plain);
    harness.append([format!("m f=1 {}", unix_ns())]).await;
    harness.settle().await;
    assert_eq!(influxd.rows("senseops", "SHOW RETENTION POLICIES ON \"senseops\"").len(), 1);
    assert_eq!(influxd.count("senseops", "m", "f"), 1);
    assert!(harness.dead_letters().is_empty());
}

#[actix_rt::test]
async fn a_refused_line_costs_itself_alone() {
    let influxd = Influxd::start_new();
    let harness = start(config(influxd.port(), v1(None)), Stream::UserEvents, || Plain);
    let begin = unix_ns();
    harness.append([format!("m f=1 {begin}")]).await;
    harness.settle().await;
    let mut lines: Vec<String> = (1..1_000).map(|n| format!("m,t=x f={n} {}", begin + n)).collect();
    lines[500] = format!("m,t=x f=\"a text\" {}", begin + 501);
    lines[700] = format!("m,t=x {}", begin + 701);
    harness.append(&lines).await;
    harness.settle().await;
    let mut letters = harness.dead_letters();
    letters.sort_by_key(|letter| letter.offset);
    assert_eq!(letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [501, 701]);
    assert!(letters[0].reason.contains("field type conflict: input field \"f\""), "{}", letters[0].reason);
    assert!(letters[1].reason.contains("unable to parse"), "{}", letters[1].reason);
    assert_eq!(influxd.count("senseops", "m", "f"), 1_000 - 2);

    // Beyond the retention: known by its number.
    harness
        .append([format!("m f=1 {}", begin - 20 * 86_400_000_000_000), format!("m f=2 {}", begin + 5_000)])
        .await;
    harness.settle().await;
    let letters = harness.dead_letters();
    assert_eq!(letters.len(), 3);
    assert!(letters[2].reason.contains("retention policy"), "{}", letters[2].reason);
    assert_eq!(influxd.count("senseops", "m", "f"), 999);
}

#[actix_rt::test]
async fn users_with_and_without_rights() {
    let influxd = Influxd::start_new_with_admin("root", "correct horse");
    // The administrator makes the database …
    let admin = v1(Some(("root", "correct horse")));
    let harness = start(config(influxd.port(), admin), Stream::UserEvents, || Plain);
    let begin = unix_ns();
    harness.append([format!("m f=1 {begin}")]).await;
    harness.settle().await;
    // … and somebody who may only write to it writes.
    influxd.query("", "CREATE USER \"writer\" WITH PASSWORD 'pass:word'");
    influxd.query("", "GRANT WRITE ON \"senseops\" TO \"writer\"");
    let writer = v1(Some(("writer", "pass:word")));
    let harness = start(config(influxd.port(), writer), Stream::UserEvents, || Plain);
    harness.append([format!("m f=2 {}", begin + 1)]).await;
    harness.settle().await;
    assert_eq!(influxd.count("senseops", "m", "f"), 2);
    // A wrong password is told without repeating it.
    let wrong = v1(Some(("writer", "swordfish")));
    let harness = start(config(influxd.port(), wrong), Stream::UserEvents, || Plain);
    harness.append([format!("m f=3 {}", begin + 2)]).await;
    harness.wait_for_error("401").await;
    assert!(!harness.state().last_error.unwrap().contains("swordfish"));
}
