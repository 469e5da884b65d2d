//! `kill -9` in the middle of downloads: nothing accepted is lost, nothing is done twice, no half file stays.

use std::collections::{BTreeMap, BTreeSet};

use butler_sos_integration_tests::fake_qlik::pictures;
use butler_sos_integration_tests::sandbox::wait_for;

use super::server_harness::{Rooms, ServerHarness, event, event_id, image_name, names_in, sha256};

/// What the events of a round ask for, in turn; with the reason of those that have no image.
const TAILS: [(&str, Option<&str>); 8] = [
    ("?b=slow&kb=200", None),
    ("?kb=100&delay=300", None),
    ("?b=redirect&delay=100", None),
    ("?b=slow", None),
    ("?b=410&delay=200", Some("http-410")),
    ("?delay=50", None),
    ("?b=evil2&delay=100", Some("host-not-allowed")),
    ("?b=cross&kb=300&delay=50", None),
];
const PER_ROUND: u32 = 40;
/// After how many requests at the fake each process is killed.
const KILLED_AFTER: [usize; 6] = [3, 25, 1, 60, 40, 12];

#[test]
fn downloads_that_are_cut_short_begin_again() {
    let mut harness = ServerHarness::start(&Rooms { concurrency: 8, ..Rooms::default() });
    let tail_of = |number: u32| TAILS[number as usize % TAILS.len()];
    let bodies: Vec<_> = (0..PER_ROUND * KILLED_AFTER.len() as u32)
        .map(|number| {
            let (query, _) = tail_of(number);
            let url = harness.url(&format!("/tempcontent/image{}.png{query}", number % 4));
            event(number, &format!("LAB\\user{}", number % 5), &url)
        })
        .collect();
    let mut has_waited = false;
    for (round, after) in KILLED_AFTER.into_iter().enumerate() {
        let begin = round * PER_ROUND as usize;
        harness.post_all(&bodies[begin..begin + PER_ROUND as usize]);
        let seen = harness.fake.requests().len();
        wait_for("downloads under way", || (harness.fake.requests().len() >= seen + after).then_some(()));
        harness.sandbox.kill();
        has_waited |=
            harness.images().iter().any(|images| names_in(images).iter().any(|name| is_temporary(name)));
        if round % 2 == 1 {
            harness.fake.forget_sessions();
        }
        harness.sandbox.start();
        let own = format!(".butler-sos-{}-", harness.sandbox.pid());
        for name in harness.images().iter().flat_map(|images| names_in(images)) {
            assert!(!is_temporary(&name) || name.starts_with(&own), "{name} of a process that is gone");
        }
    }
    assert!(has_waited, "no process was killed while it wrote");
    harness.wait_for_finished(bodies.len());
    harness.settle();

    let mut of_event = BTreeMap::new();
    for (destination, reported) in harness.delivered() {
        let ids: Vec<_> = reported.iter().map(|reported| reported.event_id.clone()).collect();
        assert_eq!(ids, (0..bodies.len() as u32).map(event_id).collect::<Vec<_>>(), "{destination}");
        for reported in reported {
            let first = of_event.entry(reported.event_id.clone()).or_insert_with(|| reported.clone());
            assert_eq!(*first, reported, "{destination} tells another story");
        }
    }
    let mut expected = BTreeSet::new();
    for (number, reported) in of_event.values().enumerate() {
        let number = number as u32;
        let (query, error) = tail_of(number);
        assert_eq!(reported.error.as_deref(), error, "{number} {query}");
        if error.is_some() {
            continue;
        }
        let kb = query.split("kb=").nth(1).map_or(0, |kb| kb[..3].parse::<usize>().unwrap());
        let bytes = pictures::png(&format!("/tempcontent/image{}.png", number % 4), kb << 10);
        assert_eq!(reported.sha256, Some(sha256(&bytes)), "{number} {query}");
        assert_eq!(reported.saved_paths.len(), 2);
        for path in &reported.saved_paths {
            assert!(std::fs::read(path).unwrap() == bytes, "{path}");
        }
        expected.insert(image_name(number, "png"));
    }
    for images in harness.images() {
        assert_eq!(names_in(&images), expected.iter().cloned().collect::<Vec<_>>());
    }
    assert_eq!(harness.fake.counts().tickets_reused, 0);
    assert!(harness.sandbox.stop().success());
}

/// Posts and kills at once: whoever saw no answer sends again, and the event is there once all the same.
#[test]
fn what_was_not_answered_is_sent_again() {
    let mut harness = ServerHarness::start(&Rooms::default());
    let url = harness.url("/tempcontent/a.png?delay=20");
    let bodies: Vec<_> = (0..400).map(|number| event(number, "LAB\\goran", &url)).collect();
    let mut left = bodies.clone();
    for kill_after in [20, 60, 100] {
        let (seen, address) = (harness.fake.requests().len(), harness.sandbox.address("audit-events"));
        let answered = std::thread::scope(|scope| {
            let posting = scope.spawn(|| super::server_harness::post(address, &left));
            wait_for("downloads under way", || {
                (harness.fake.requests().len() >= seen + kill_after || posting.is_finished()).then_some(())
            });
            harness.sandbox.kill();
            posting.join().unwrap()
        });
        left = left
            .into_iter()
            .zip(answered)
            .filter(|(_, status)| *status != Some(202))
            .map(|(b, _)| b)
            .collect();
        harness.sandbox.start();
    }
    harness.post_all(&left);
    harness.wait_for_finished(bodies.len());
    harness.settle();
    for (destination, reported) in harness.delivered() {
        let ids: Vec<_> = reported.iter().map(|reported| reported.event_id.clone()).collect();
        assert_eq!(ids, (0..400).map(event_id).collect::<Vec<_>>(), "{destination}");
        assert!(reported.iter().all(|reported| reported.error.is_none() && reported.saved_paths.len() == 2));
    }
    for images in harness.images() {
        assert_eq!(names_in(&images).len(), 400);
    }
}

/// The administrator switches screenshots off while downloads wait: each of them ends with a reason.
#[test]
fn what_waits_when_screenshots_are_switched_off_ends_with_a_reason() {
    let rooms = Rooms { concurrency: 4, ..Rooms::default() };
    let mut harness = ServerHarness::start(&rooms);
    let urls = ["?b=slow&kb=400", "?b=hang", "?b=404"]
        .map(|query| harness.url(&format!("/tempcontent/a.png{query}")));
    let bodies: Vec<_> = (0..20).map(|n| event(n, &format!("LAB\\user{n}"), &urls[n as usize % 3])).collect();
    harness.post_all(&bodies);
    wait_for("a file under way", || {
        harness
            .images()
            .iter()
            .any(|images| names_in(images).iter().any(|name| is_temporary(name)))
            .then_some(())
    });
    harness.sandbox.kill();
    let config = std::fs::read_to_string(harness.sandbox.config_path()).unwrap();
    let on = "      screenshots:\n        enable: true\n";
    assert!(config.contains(on));
    harness.sandbox.write_config(&config.replace(on, "      screenshots:\n        enable: false\n"));
    harness.fake.take_requests();
    harness.sandbox.start();
    harness.wait_for_finished(20);
    // What is posted now is an event like any other, and no download.
    harness.post_all(&[event(20, "LAB\\goran", &urls[0])]);
    harness.wait_for_finished(21);
    harness.settle();
    for (destination, reported) in harness.delivered() {
        let ids: Vec<_> = reported.iter().map(|reported| reported.event_id.clone()).collect();
        assert_eq!(ids, (0..21).map(event_id).collect::<Vec<_>>(), "{destination}");
        let ended =
            reported.iter().filter(|reported| reported.error.as_deref() == Some("host-not-allowed")).count();
        let earlier = reported
            .iter()
            .filter(|reported| reported.sha256.is_some() || reported.error.as_deref() == Some("http-404"));
        assert_eq!(ended + earlier.count(), 20, "{destination} {reported:?}");
        assert!(ended > 10, "{destination}");
        assert_eq!((&reported[20].error, reported[20].saved_paths.len()), (&None, 0));
    }
    assert!(harness.fake.requests().is_empty(), "nobody is asked any more");
    for name in harness.images().iter().flat_map(|images| names_in(images)) {
        assert!(!is_temporary(&name), "{name}");
    }
    assert!(harness.sandbox.stop().success());
}

fn is_temporary(name: &str) -> bool {
    name.ends_with(".tmp")
}
