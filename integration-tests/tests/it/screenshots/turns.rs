//! Many downloads that are slow or fail make nobody else's wait.

use std::time::Duration;

use butler_sos_integration_tests::fake_qlik::FakeQlik;

use super::harness::{Finished, Harness, Settings};
use super::server_harness::event;

const ATTACKER: &str = "UserDirectory=LAB; UserId=attacker";

/// 200 downloads of a path that behaves so, then 30 of other users at the same and at another host: those that are
/// finished first.
async fn first_finished(behaviour: &str, settings: &Settings) -> Vec<Finished> {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeQlik::start(&dir.path().join("certificates")).unwrap();
    let mut harness = Harness::start(dir.path(), &fake, settings);
    let slow = fake.with_own_ports(&format!("https://qlik.test:14443/tempcontent/slow.png?b={behaviour}"));
    let slow: Vec<_> = (0..200).map(|n| event(1000 + n, ATTACKER, &slow)).collect();
    harness.post(&slow).await;
    let others: Vec<_> = (0..30)
        .map(|n| {
            let host = ["qlik.test", "proxy.test"][n as usize % 2];
            let url = fake.with_own_ports(&format!("https://{host}:14443/tempcontent/a.png"));
            event(n, &format!("LAB\\user{n}"), &url)
        })
        .collect();
    harness.post(&others).await;
    harness.finished(others.len()).await
}

#[track_caller]
fn check_others(finished: &[Finished]) {
    let late: Vec<_> = finished.iter().filter(|event| event.error.is_some()).collect();
    assert!(late.is_empty(), "{} of the slow ones ended before the others: {late:?}", late.len());
}

#[actix_rt::test]
async fn two_hundred_downloads_of_a_slow_path_make_nobody_else_wait() {
    let settings = Settings { attempt_timeout: Duration::from_secs(10), ..Settings::default() };
    check_others(&first_finished("hang", &settings).await);
}

#[actix_rt::test]
async fn two_hundred_downloads_that_are_told_to_come_back_later_make_nobody_else_wait() {
    // Each waits a second, twice.
    check_others(&first_finished("503", &Settings::default()).await);
}

#[actix_rt::test]
async fn more_downloads_than_places_are_all_done_once() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeQlik::start(&dir.path().join("certificates")).unwrap();
    let settings = Settings { concurrency: 3, per_host: 2, ..Settings::default() };
    let mut harness = Harness::start(dir.path(), &fake, &settings);
    let tails = ["", "?b=cross", "?b=redirect", "?b=404then", "?b=410", "?b=chain5"];
    let events: Vec<_> = (0..120)
        .map(|n| {
            let host = ["qlik.test", "proxy.test", "node1.test"][n as usize % 3];
            let tail = tails[n as usize % tails.len()];
            let url = format!("https://{host}:14443/tempcontent/{n}.png{tail}");
            event(n, &format!("LAB\\user{}", n % 7), &fake.with_own_ports(&url))
        })
        .collect();
    harness.post(&events).await;
    let finished = harness.finished(events.len()).await;
    let mut ids: Vec<_> = finished.iter().map(|event| &event.event_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 120);
    assert_eq!(finished.iter().filter(|event| event.error.is_some()).count(), 20);
    assert_eq!(harness.files().len(), 100);
}
