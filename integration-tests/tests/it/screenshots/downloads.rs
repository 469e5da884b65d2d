//! What is refused, what is broken, what comes later, and what a restart finds.

use std::time::Duration;

use butler_sos_domain::retry::LaterPolicy;
use butler_sos_integration_tests::fake_qlik::FakeQlik;

use super::harness::{Harness, Settings};
use super::server_harness::event;
use crate::sink_harness::until;

const USER: &str = "UserDirectory=LAB; UserId=goran";

#[actix_rt::test]
async fn only_listed_hosts_are_asked() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeQlik::start(&dir.path().join("certificates")).unwrap();
    let mut harness = Harness::start(dir.path(), &fake, &Settings::default());
    let urls = [
        "https://evil.test:14443/tempcontent/a.png",
        "https://qlik.test.:14443/tempcontent/a.png",
        "https://qlik.test@evil.test:14443/tempcontent/a.png",
        "https://localhost:14443/tempcontent/a.png",
        "https://127.0.0.1:14443/tempcontent/a.png",
        "https://[::1]:14443/tempcontent/a.png",
        "https://qlik.test%2eevil.test:14443/tempcontent/a.png",
        "https://ql\u{131}k.test:14443/tempcontent/a.png",
    ];
    let events: Vec<_> =
        urls.iter().enumerate().map(|(n, url)| event(n as u32, USER, &fake.with_own_ports(url))).collect();
    harness.post(&events).await;
    for finished in harness.finished(urls.len()).await {
        assert_eq!(finished.error.as_deref(), Some("host-not-allowed"), "{finished:?}");
    }
    assert!(fake.requests().is_empty(), "not even a ticket is asked for");
    // At every hop.
    for hops in 1..=4 {
        let url = fake.with_own_ports(&format!("https://qlik.test:14443/tempcontent/a.png?b=evil{hops}"));
        let finished = harness.fetch(event(100 + hops, USER, &url)).await;
        assert_eq!(finished.error.as_deref(), Some("host-not-allowed"));
    }
    assert!(fake.requests().iter().all(|request| !request.host.starts_with("evil")));
    assert!(harness.shown().contains("redirect blocked reason=host-not-allowed hostname=evil.test"));
    assert!(harness.files().is_empty());
}

#[actix_rt::test]
async fn every_way_to_end_has_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeQlik::start(&dir.path().join("certificates")).unwrap();
    let settings = Settings { attempt_timeout: Duration::from_secs(2), ..Settings::default() };
    let mut harness = Harness::start(dir.path(), &fake, &settings);
    let cases = [
        ("", "?b=jpeg", None),
        ("", "?b=gif", None),
        ("", "?b=webp", None),
        ("", "?b=tohttp", Some("http-not-allowed")),
        ("", "?b=ticketecho", None),
        ("", "?b=newcookie", None),
        ("/analytics", "?b=chain5", None),
        ("", "?b=503then", None),
        ("", "?b=lying", Some("not-an-image")),
        ("", "?b=empty", Some("not-an-image")),
        ("", "?b=204", Some("not-an-image")),
        ("", "?b=html", Some("not-an-image")),
        ("", "?b=trunc", Some("transport")),
        ("", "?b=cut", Some("transport")),
        ("", "?b=hang", Some("timeout")),
        ("", "?b=slow&pause=1000", Some("timeout")),
        ("", "?b=noloc", Some("missing-location")),
        ("", "?b=401", Some("http-401")),
        ("", "?b=429", Some("http-429")),
    ];
    let events: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(n, (proxy, query, _))| {
            let url = format!("https://qlik.test:14443{proxy}/tempcontent/image{n}.png{query}");
            // Each its own user: what becomes of one session is not the others' affair.
            event(n as u32, &format!("LAB\\user{n}"), &fake.with_own_ports(&url))
        })
        .collect();
    harness.post(&events).await;
    let mut finished = harness.finished(cases.len()).await;
    finished.sort_by(|a, b| a.event_id.cmp(&b.event_id));
    for (finished, (_, query, error)) in finished.iter().zip(cases) {
        assert_eq!(finished.error.as_deref(), error, "{query}");
        assert_eq!(finished.files.len(), usize::from(error.is_none()), "{query}");
        if let Some(file) = finished.files.first() {
            let bytes = std::fs::read(file).unwrap();
            let hash = hex::encode(openssl::sha::sha256(&bytes));
            assert_eq!(finished.sha256.as_deref(), Some(hash.as_str()));
        }
    }
    assert_eq!(fake.counts().tickets_reused, 0);
    assert!(harness.files().iter().all(|name| !name.ends_with(".tmp")));
    harness.end_sessions().await;
    // An answer that never came may have opened a session that nobody but Qlik Sense knows of.
    let hanging = cases.iter().position(|(_, query, _)| *query == "?b=hang").unwrap();
    let left: Vec<_> = fake.open_sessions().into_iter().map(|user| user.id).collect();
    assert!(left.iter().all(|user| *user == format!("user{hanging}")), "{left:?}");
    let shown = harness.shown();
    for secret in fake.secrets() {
        assert!(!shown.contains(&secret));
    }
}

#[actix_rt::test]
async fn what_may_pass_is_tried_again_later() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeQlik::start(&dir.path().join("certificates")).unwrap();
    let later = LaterPolicy {
        pause_first: Duration::from_millis(100),
        pause_max: Duration::from_millis(200),
        give_up_after: Duration::from_secs(60),
    };
    let mut harness = Harness::start(dir.path(), &fake, &Settings { later, ..Settings::default() });
    // Not there for five tries: the first download's three, and two of the next one.
    let url = fake.with_own_ports("https://qlik.test:14443/tempcontent/a.png?b=late5");
    let finished = harness.fetch(event(1, USER, &url)).await;
    assert_eq!(finished.error.as_deref(), Some("http-404"));
    assert!(harness.files().is_empty());
    harness.until_shown("screenshot stored after a retry").await;
    assert_eq!(harness.files().len(), 1);
}

#[actix_rt::test]
async fn what_keeps_failing_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeQlik::start(&dir.path().join("certificates")).unwrap();
    let later = LaterPolicy {
        pause_first: Duration::from_millis(100),
        pause_max: Duration::from_millis(100),
        // Two later tries, each of which takes a second and a half.
        give_up_after: Duration::from_secs(4),
    };
    let mut harness = Harness::start(dir.path(), &fake, &Settings { later, ..Settings::default() });
    let url = fake.with_own_ports("https://qlik.test:14443/tempcontent/a.png?b=503");
    assert_eq!(harness.fetch(event(1, USER, &url)).await.error.as_deref(), Some("http-503"));
    harness.until_shown("screenshot abandoned").await;
    let tries = fake.requests().iter().filter(|request| request.server == "https").count();
    assert!(tries >= 6 && tries % 3 == 0, "{tries}");
    assert!(harness.files().is_empty());
}

#[test]
fn the_retry_list_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeQlik::start(&dir.path().join("certificates")).unwrap();
    // Not there for the first download's three tries and one of the next.
    let url = fake.with_own_ports("https://qlik.test:14443/tempcontent/a.png?b=late4");
    let asked = || fake.take_requests().iter().filter(|request| request.server == "https").count();
    let patient = Settings::default();
    run_with(dir.path(), &fake, &patient, async |mut harness| {
        assert_eq!(harness.fetch(event(1, USER, &url)).await.error.as_deref(), Some("http-404"));
    });
    assert_eq!(asked(), 3);
    fake.forget_sessions();
    // Still not due, however often the process begins anew.
    let other = fake.with_own_ports("https://qlik.test:14443/tempcontent/b.png");
    run_with(dir.path(), &fake, &patient, async |mut harness| {
        harness.post(&[event(2, USER, &other)]).await;
        harness.finished(2).await;
    });
    assert_eq!(asked(), 1);
    fake.forget_sessions();
    let pause = Duration::from_millis(10);
    let later = LaterPolicy { pause_first: pause, pause_max: pause, ..LaterPolicy::default() };
    run_with(dir.path(), &fake, &Settings { later, ..Settings::default() }, async |mut harness| {
        until("the second image", || harness.files().len() == 2, || harness.shown()).await;
        // Its event was told of, and is not told of again: what comes next is another one's.
        harness.post(&[event(3, USER, &other)]).await;
        let ids: Vec<_> = harness.finished(3).await.into_iter().map(|finished| finished.event_id).collect();
        assert!(ids[0].ends_with('1') && ids[1].ends_with('2') && ids[2].ends_with('3'), "{ids:?}");
    });
    asked();
    run_with(dir.path(), &fake, &patient, async |mut harness| {
        harness.post(&[event(4, USER, &other)]).await;
        harness.finished(4).await;
    });
    assert_eq!(asked(), 1, "nothing is left to do");
}

/// A process that dies: everything in memory is gone, and nobody said goodbye.
fn run(dir: &std::path::Path, fake: &FakeQlik, work: impl AsyncFnOnce(Harness)) {
    run_with(dir, fake, &Settings { concurrency: 4, ..Settings::default() }, work);
}

fn run_with(dir: &std::path::Path, fake: &FakeQlik, settings: &Settings, work: impl AsyncFnOnce(Harness)) {
    actix_rt::System::new().block_on(async { work(Harness::start(dir, fake, settings)).await });
}

#[test]
fn a_restart_forgets_nothing_and_does_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeQlik::start(&dir.path().join("certificates")).unwrap();
    let url = fake.with_own_ports("https://qlik.test:14443/tempcontent/a.png?delay=30");
    let events: Vec<_> = (0..60).map(|n| event(n, USER, &url)).collect();
    run(dir.path(), &fake, async |mut harness| {
        harness.post(&events).await;
        harness.finished(15).await;
    });
    fake.forget_sessions();
    run(dir.path(), &fake, async |mut harness| {
        harness.finished(35).await;
    });
    fake.forget_sessions();
    run(dir.path(), &fake, async |mut harness| {
        let finished = harness.finished(60).await;
        harness.end_sessions().await;
        let mut ids: Vec<_> = finished.iter().map(|event| event.event_id.clone()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 60, "each event once");
        assert!(finished.iter().all(|event| event.error.is_none()));
        let files = harness.files();
        assert_eq!(files.len(), 60);
        assert!(files.iter().all(|name| name.ends_with(".png")), "{files:?}");
    });
    // And nothing is left to do.
    fake.take_requests();
    run(dir.path(), &fake, async |mut harness| {
        harness.post(&[event(99, USER, &url)]).await;
        assert_eq!(harness.finished(61).await.len(), 61);
        assert_eq!(harness.files().len(), 61);
    });
    assert_eq!(fake.take_requests().iter().filter(|request| request.server == "https").count(), 1);
}
