//! `kill -9` in the middle of downloads: nothing accepted is lost, nothing is done twice, no half file stays.

use std::collections::{BTreeMap, BTreeSet};

use butler_sos_integration_tests::fake_qlik::pictures;
use butler_sos_integration_tests::sandbox::wait_for;

use super::house::{House, Rooms, event, event_id, image_name, names_in, sha256};

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
    let mut house = House::start(&Rooms { concurrency: 8, ..Rooms::default() });
    let tail_of = |number: u32| TAILS[number as usize % TAILS.len()];
    let bodies: Vec<_> = (0..PER_ROUND * KILLED_AFTER.len() as u32)
        .map(|number| {
            let (query, _) = tail_of(number);
            let url = house.url(&format!("/tempcontent/image{}.png{query}", number % 4));
            event(number, &format!("LAB\\user{}", number % 5), &url)
        })
        .collect();
    let mut has_waited = false;
    for (round, after) in KILLED_AFTER.into_iter().enumerate() {
        let begin = round * PER_ROUND as usize;
        house.post_all(&bodies[begin..begin + PER_ROUND as usize]);
        let seen = house.fake.requests().len();
        wait_for("downloads under way", || (house.fake.requests().len() >= seen + after).then_some(()));
        house.sandbox.kill();
        has_waited |=
            house.images().iter().any(|images| names_in(images).iter().any(|name| is_temporary(name)));
        if round % 2 == 1 {
            house.fake.forget_sessions();
        }
        house.sandbox.start();
        let own = format!(".butler-sos-{}-", house.sandbox.pid());
        for name in house.images().iter().flat_map(|images| names_in(images)) {
            assert!(!is_temporary(&name) || name.starts_with(&own), "{name} of a process that is gone");
        }
    }
    assert!(has_waited, "no process was killed while it wrote");
    house.wait_for_finished(bodies.len());
    house.settle();

    let mut of_event = BTreeMap::new();
    for (destination, told) in house.delivered() {
        let ids: Vec<_> = told.iter().map(|told| told.event_id.clone()).collect();
        assert_eq!(ids, (0..bodies.len() as u32).map(event_id).collect::<Vec<_>>(), "{destination}");
        for told in told {
            let first = of_event.entry(told.event_id.clone()).or_insert_with(|| told.clone());
            assert_eq!(*first, told, "{destination} tells another story");
        }
    }
    let mut expected = BTreeSet::new();
    for (number, told) in of_event.values().enumerate() {
        let number = number as u32;
        let (query, error) = tail_of(number);
        assert_eq!(told.error.as_deref(), error, "{number} {query}");
        if error.is_some() {
            continue;
        }
        let kb = query.split("kb=").nth(1).map_or(0, |kb| kb[..3].parse::<usize>().unwrap());
        let bytes = pictures::png(&format!("/tempcontent/image{}.png", number % 4), kb << 10);
        assert_eq!(told.sha256, Some(sha256(&bytes)), "{number} {query}");
        assert_eq!(told.saved_paths.len(), 2);
        for path in &told.saved_paths {
            assert!(std::fs::read(path).unwrap() == bytes, "{path}");
        }
        expected.insert(image_name(number, "png"));
    }
    for images in house.images() {
        assert_eq!(names_in(&images), expected.iter().cloned().collect::<Vec<_>>());
    }
    assert_eq!(house.fake.counts().tickets_reused, 0);
    assert!(house.sandbox.stop().success());
}

/// Posts and kills at once: whoever saw no answer sends again, and the event is there once all the same.
#[test]
fn what_was_not_answered_is_sent_again() {
    let mut house = House::start(&Rooms::default());
    let url = house.url("/tempcontent/a.png?delay=20");
    let bodies: Vec<_> = (0..400).map(|number| event(number, "LAB\\goran", &url)).collect();
    let mut left = bodies.clone();
    for kill_after in [20, 60, 100] {
        let (seen, address) = (house.fake.requests().len(), house.sandbox.address("audit-events"));
        let answered = std::thread::scope(|scope| {
            let posting = scope.spawn(|| super::house::post(address, &left));
            wait_for("downloads under way", || {
                (house.fake.requests().len() >= seen + kill_after || posting.is_finished()).then_some(())
            });
            house.sandbox.kill();
            posting.join().unwrap()
        });
        left = left
            .into_iter()
            .zip(answered)
            .filter(|(_, status)| *status != Some(202))
            .map(|(b, _)| b)
            .collect();
        house.sandbox.start();
    }
    house.post_all(&left);
    house.wait_for_finished(bodies.len());
    house.settle();
    for (destination, told) in house.delivered() {
        let ids: Vec<_> = told.iter().map(|told| told.event_id.clone()).collect();
        assert_eq!(ids, (0..400).map(event_id).collect::<Vec<_>>(), "{destination}");
        assert!(told.iter().all(|told| told.error.is_none() && told.saved_paths.len() == 2));
    }
    for images in house.images() {
        assert_eq!(names_in(&images).len(), 400);
    }
}

/// The administrator switches screenshots off while downloads wait: each of them ends with a reason.
#[test]
fn what_waits_when_screenshots_are_switched_off_ends_with_a_reason() {
    let rooms = Rooms { concurrency: 4, ..Rooms::default() };
    let mut house = House::start(&rooms);
    let urls =
        ["?b=slow&kb=400", "?b=hang", "?b=404"].map(|query| house.url(&format!("/tempcontent/a.png{query}")));
    let bodies: Vec<_> = (0..20).map(|n| event(n, &format!("LAB\\user{n}"), &urls[n as usize % 3])).collect();
    house.post_all(&bodies);
    wait_for("a file under way", || {
        house
            .images()
            .iter()
            .any(|images| names_in(images).iter().any(|name| is_temporary(name)))
            .then_some(())
    });
    house.sandbox.kill();
    let config = std::fs::read_to_string(house.sandbox.config_path()).unwrap();
    let on = "      screenshots:\n        enable: true\n";
    assert!(config.contains(on));
    house.sandbox.write_config(&config.replace(on, "      screenshots:\n        enable: false\n"));
    house.fake.take_requests();
    house.sandbox.start();
    house.wait_for_finished(20);
    // What is posted now is an event like any other, and no download.
    house.post_all(&[event(20, "LAB\\goran", &urls[0])]);
    house.wait_for_finished(21);
    house.settle();
    for (destination, told) in house.delivered() {
        let ids: Vec<_> = told.iter().map(|told| told.event_id.clone()).collect();
        assert_eq!(ids, (0..21).map(event_id).collect::<Vec<_>>(), "{destination}");
        let ended = told.iter().filter(|told| told.error.as_deref() == Some("host-not-allowed")).count();
        let earlier =
            told.iter().filter(|told| told.sha256.is_some() || told.error.as_deref() == Some("http-404"));
        assert_eq!(ended + earlier.count(), 20, "{destination} {told:?}");
        assert!(ended > 10, "{destination}");
        assert_eq!((&told[20].error, told[20].saved_paths.len()), (&None, 0));
    }
    assert!(house.fake.requests().is_empty(), "nobody is asked any more");
    for name in house.images().iter().flat_map(|images| names_in(images)) {
        assert!(!is_temporary(&name), "{name}");
    }
    assert!(house.sandbox.stop().success());
}

fn is_temporary(name: &str) -> bool {
    name.ends_with(".tmp")
}
