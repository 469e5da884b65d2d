//! Screenshots through the real server: posted by HTTP, downloaded, told to every destination, sessions ended.

use std::collections::{BTreeMap, BTreeSet};

use butler_sos_integration_tests::fake_qlik::pictures;
use butler_sos_integration_tests::sandbox::wait_for;

use super::server_harness::{
    Reported, Rooms, ServerHarness, USER, event, event_id, image_name, names_in, sha256,
};

/// An event, and how it must end: its file's extension and bytes, or the reason why there is none.
struct Case {
    user: &'static str,
    tail: &'static str,
    expect: Result<(&'static str, Vec<u8>), &'static str>,
}

fn case(user: &'static str, tail: &'static str, expect: Result<&'static str, &'static str>) -> Case {
    let bytes = |extension| match extension {
        "jpg" => pictures::JPEG.to_vec(),
        "gif" => pictures::GIF.to_vec(),
        "webp" => pictures::WEBP.to_vec(),
        _ => pictures::png(
            tail.split('?').next().unwrap(),
            if tail.contains("kb=300") { 300 << 10 } else { 0 },
        )
        .to_vec(),
    };
    Case { user, tail, expect: expect.map(|extension| (extension, bytes(extension))) }
}

#[test]
fn every_destination_tells_how_a_download_went() {
    let harness =
        ServerHarness::start(&Rooms { download_timeout_ms: 4000, log_level: "debug", ..Rooms::default() });
    let cases = [
        case(USER, "/tempcontent/a.png", Ok("png")),
        case("LAB\\anna", "/analytics/tempcontent/b.png?b=redirect", Ok("png")),
        case("LAB; UserId=bo", "/sales/tempcontent/c.png?b=cross&kb=300", Ok("png")),
        case("UserId=eva;UserDirectory=LAB", "/tempcontent/d?b=jpeg", Ok("jpg")),
        case("LAB\\gif", "/tempcontent/e.png?b=gif", Ok("gif")),
        case("LAB\\webp", "/tempcontent/f.png?b=webp", Ok("webp")),
        case("LAB\\plain", "/tempcontent/g.png?b=tohttp", Err("http-not-allowed")),
        case("LAB\\again", "/tempcontent/h.png?b=404then", Ok("png")),
        case("LAB\\bare", "/tempcontent/i.png?b=chain5", Ok("png")),
        case("LAB\\gone", "/tempcontent/j.png?b=410", Err("http-410")),
        case("LAB\\lost", "/tempcontent/k.png?b=404", Err("http-404")),
        case("LAB\\page", "/tempcontent/l.png?b=html", Err("not-an-image")),
        case("LAB\\lying", "/tempcontent/m.png?b=lying", Err("not-an-image")),
        case("LAB\\big", "/tempcontent/n.png?b=big&mb=51", Err("too-large")),
        case("LAB\\hang", "/tempcontent/o.png?b=hang", Err("timeout")),
        case("LAB\\cut", "/tempcontent/p.png?b=trunc", Err("transport")),
        case("LAB\\evil", "/tempcontent/q.png?b=evil", Err("host-not-allowed")),
        case("LAB\\hops", "/tempcontent/r.png?b=chain6", Err("max-redirects")),
        case("goran@example.com", "/tempcontent/s.png", Err("user-not-parseable")),
        case("LAB\\a\\b", "/tempcontent/t.png", Err("user-not-parseable")),
        case("LAB\\proxy", "/a%20b/tempcontent/u.png", Err("invalid-virtual-proxy")),
        case("LAB\\file", "/tempcontent/v.png?b=file", Err("invalid-scheme")),
        case("LAB\\locked", "/nosuchproxy/tempcontent/w.png", Err("ticket-failed")),
    ];
    let bodies: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(n, case)| event(n as u32, case.user, &harness.url(case.tail)))
        .collect();
    harness.post_all(&bodies);
    harness.wait_for_finished(cases.len());
    harness.settle();

    let [images, more_images] = harness.images();
    let mut expected = Vec::new();
    let mut files = Vec::new();
    for (n, case) in cases.iter().enumerate() {
        let mut reported =
            Reported { event_id: event_id(n as u32), saved_paths: Vec::new(), sha256: None, error: None };
        match &case.expect {
            Ok((extension, bytes)) => {
                let name = image_name(n as u32, extension);
                for directory in [&images, &more_images] {
                    let file = directory.join(&name);
                    assert!(std::fs::read(&file).unwrap() == *bytes, "{} {}", case.tail, file.display());
                    reported.saved_paths.push(file.display().to_string());
                }
                reported.sha256 = Some(sha256(bytes));
                files.push(name);
            }
            Err(reason) => reported.error = Some((*reason).to_owned()),
        }
        expected.push(reported);
    }
    for (destination, reported) in harness.delivered() {
        assert_eq!(reported, expected, "{destination}");
    }
    assert_eq!((names_in(&images), names_in(&more_images)), (files.clone(), files));
    assert!(!harness.sandbox.path().join("no-images").exists(), "a target that is switched off");
    assert_eq!(harness.fake.counts().tickets_reused, 0);
    let asked = harness.fake.requests();
    assert!(asked.iter().all(|request| !request.host.starts_with("evil")));
    assert!(asked.iter().all(|request| request.client_certificate == (request.server == "qps")));
    stop(harness);
}

/// SIGTERM ends every session at Qlik Sense, and the process, well before destinations run out of time.
fn stop(mut harness: ServerHarness) {
    let reported = std::time::Instant::now();
    assert!(harness.sandbox.stop().success());
    let log = harness.sandbox.log_text();
    assert!(reported.elapsed().as_secs() < 15, "{log}");
    // An answer that never came may have opened a session that nobody but Qlik Sense knows of.
    let left: BTreeSet<_> = harness.fake.open_sessions().into_iter().map(|user| user.id).collect();
    assert!(left.iter().all(|user| user == "hang"), "{left:?}");
    let temporary = harness.images().iter().flat_map(|images| names_in(images)).find(|n| n.ends_with(".tmp"));
    assert_eq!(temporary, None);
}

#[test]
fn two_hundred_events_of_one_user_at_once() {
    let harness = ServerHarness::start(&Rooms { concurrency: 64, ..Rooms::default() });
    let url = harness.url("/tempcontent/a.png?delay=20&u=goran");
    let bodies: Vec<_> = (0..200).map(|n| event(n, USER, &url)).collect();
    harness.post_all(&bodies);
    harness.wait_for_finished(200);
    harness.settle();
    check_all_stored(&harness, 200);
    let counts = harness.fake.counts();
    assert_eq!(
        (counts.tickets_issued, counts.sessions_opened, counts.images_sent),
        (1, 1, 200),
        "{counts:?}"
    );
    assert_eq!(harness.fake.open_sessions().len(), 1, "the session is kept");
    let fake_counts = |harness: &ServerHarness| harness.fake.counts();
    let mut harness = harness;
    assert!(harness.sandbox.stop().success());
    assert!(harness.fake.open_sessions().is_empty());
    assert_eq!((fake_counts(&harness).sessions_deleted, fake_counts(&harness).deletions_missed), (1, 0));
}

#[test]
fn two_hundred_users() {
    let harness = ServerHarness::start(&Rooms { concurrency: 64, cache_entries: 150, ..Rooms::default() });
    let bodies: Vec<_> = (0..200)
        .map(|n| {
            let proxy = ["", "/analytics", "/sales", "/hdr"][n as usize % 4];
            let url = harness.url(&format!("{proxy}/tempcontent/a.png?u=user{n}"));
            event(n, &format!("UserDirectory=LAB; UserId=user{n}"), &url)
        })
        .collect();
    harness.post_all(&bodies);
    harness.wait_for_finished(200);
    harness.settle();
    check_all_stored(&harness, 200);
    let counts = harness.fake.counts();
    assert_eq!((counts.tickets_issued, counts.tickets_redeemed, counts.tickets_reused), (200, 200, 0));
    assert_eq!(counts.users_mixed, 0);
    let mut asked = BTreeMap::<String, usize>::new();
    for body in harness.fake.requests().into_iter().filter_map(|request| request.body) {
        *asked.entry(body).or_default() += 1;
    }
    assert_eq!((asked.len(), asked.values().max()), (200, Some(&1)), "one ticket a user");
    // The cache holds fewer: the others were ended when they had to go.
    wait_for("evicted sessions to be ended", || (harness.fake.open_sessions().len() == 150).then_some(()));
    let mut harness = harness;
    assert!(harness.sandbox.stop().success());
    let counts = harness.fake.counts();
    assert_eq!((harness.fake.open_sessions().len(), counts.sessions_deleted), (0, 200), "{counts:?}");
    assert_eq!((counts.deletions_missed, counts.lockouts), (0, 0));
}

/// Each event once in every destination, with its files.
fn check_all_stored(harness: &ServerHarness, events: u32) {
    for (destination, reported) in harness.delivered() {
        let ids: Vec<_> = reported.iter().map(|reported| reported.event_id.clone()).collect();
        assert_eq!(ids, (0..events).map(event_id).collect::<Vec<_>>(), "{destination}");
        for reported in reported {
            assert_eq!(
                (reported.saved_paths.len(), &reported.error),
                (2, &None),
                "{destination} {reported:?}"
            );
        }
    }
    let names: Vec<_> = (0..events).map(|n| image_name(n, "png")).collect();
    for images in harness.images() {
        assert_eq!(names_in(&images), names);
    }
}
