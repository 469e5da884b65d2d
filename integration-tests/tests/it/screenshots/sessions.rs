//! Sessions: one ticket at a time, never shared, all ended.

use std::time::Duration;

use butler_sos_integration_tests::fake_qlik::{FakeQlik, Recorded, Unauthorized};

use super::harness::{Harness, Settings};
use super::server_harness::event;
use crate::sink_harness::until;

struct Setup {
    dir: tempfile::TempDir,
    fake: FakeQlik,
    harness: Harness,
}

fn setup(settings: &Settings) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeQlik::start(&dir.path().join("certificates")).unwrap();
    let harness = Harness::start(dir.path(), &fake, settings);
    Setup { dir, fake, harness }
}

impl Setup {
    fn url(&self, tail: &str) -> String {
        self.fake.with_own_ports(&format!("https://qlik.test:14443{tail}"))
    }

    fn event(&self, number: u32, user: &str, tail: &str) -> String {
        event(number, &format!("UserDirectory=LAB; UserId={user}"), &self.url(tail))
    }

    async fn until(&self, what: &str, condition: impl Fn(&FakeQlik) -> bool) {
        until(what, || condition(&self.fake), || format!("{:?}", self.fake.counts())).await;
    }
}

fn tickets(requests: &[Recorded]) -> usize {
    requests.iter().filter(|request| request.server == "qps" && request.method == "POST").count()
}

#[actix_rt::test]
async fn sessions_end_with_their_age() {
    let mut setup = setup(&Settings { cache: Some(Duration::from_millis(300)), ..Settings::default() });
    for (number, tail) in ["/tempcontent/a.png", "/analytics/tempcontent/a.png"].into_iter().enumerate() {
        let event = setup.event(number as u32, "goran", tail);
        assert_eq!(setup.harness.fetch(event).await.error, None);
    }
    assert_eq!(setup.fake.counts().sessions_opened, 2);
    setup.until("both sessions are ended", |fake| fake.open_sessions().is_empty()).await;
    // Each at the virtual proxy that its ticket was asked from.
    let counts = setup.fake.counts();
    assert_eq!((counts.sessions_deleted, counts.deletions_missed), (2, 0));
}

#[actix_rt::test]
async fn without_a_cache_every_session_ends_with_its_download() {
    let mut setup = setup(&Settings { cache: None, ..Settings::default() });
    let tails = ["?b=direct", "?b=404", "?b=redirect", "?b=html", "?b=410", "?b=evil", "?b=trunc"];
    let events: Vec<_> = tails
        .iter()
        .cycle()
        .take(21)
        .enumerate()
        .map(|(n, tail)| setup.event(n as u32, "goran", &format!("/tempcontent/a.png{tail}")))
        .collect();
    setup.harness.post(&events).await;
    let finished = setup.harness.finished(21).await;
    assert_eq!(finished.iter().filter(|event| event.error.is_none()).count(), 6);
    setup.until("all sessions are ended", |fake| fake.open_sessions().is_empty()).await;
    let counts = setup.fake.counts();
    assert_eq!(counts.sessions_deleted, counts.sessions_opened);
    assert_eq!((counts.lockouts, counts.tickets_reused, counts.deletions_missed), (0, 0, 0));
}

#[actix_rt::test]
async fn a_session_that_is_over_is_replaced_however_qlik_says_so() {
    let mut setup = setup(&Settings::default());
    let kinds = [
        Unauthorized::Status401,
        Unauthorized::Status403,
        Unauthorized::LoginRedirect,
        Unauthorized::LoginPage,
        Unauthorized::UntypedLoginPage,
        Unauthorized::Redirect("https://idp.example.com/adfs/ls/?SAMLRequest=abc"),
        Unauthorized::Redirect("https://login.example.com/oauth2/v2.0/authorize?client_id=x"),
        Unauthorized::Redirect("http://evil.test/"),
        Unauthorized::Redirect("//evil.test/sso"),
        Unauthorized::Redirect("/login"),
        Unauthorized::Redirect("/analytics/samlauthn/"),
    ];
    for (round, kind) in kinds.into_iter().enumerate() {
        for tail in ["/tempcontent/a.png", "/sales/tempcontent/a.png"] {
            let number = round as u32 * 10;
            let warm = setup.event(number, "goran", tail);
            assert_eq!(setup.harness.fetch(warm).await.error, None, "{kind:?}");
            setup.fake.forget_sessions();
            setup.fake.answer_unauthorized_with(kind);
            setup.fake.take_requests();
            let event = setup.event(number + 1, "goran", tail);
            assert_eq!(setup.harness.fetch(event).await.error, None, "{kind:?} {tail}");
            let seen = setup.fake.take_requests();
            assert_eq!((seen.len(), tickets(&seen)), (4, 1), "{kind:?} {seen:#?}");
            setup.fake.answer_unauthorized_with(Unauthorized::Status401);
        }
    }
}

#[actix_rt::test]
async fn a_user_has_one_session_however_events_spell_the_name() {
    let mut setup = setup(&Settings { concurrency: 32, per_host: 32, ..Settings::default() });
    let spellings = [
        "LAB\\goran",
        "lab\\goran",
        "LAB\\GORAN",
        "Lab\\Goran",
        " LAB \\ goran ",
        "LAB; UserId=gORAN",
        "lab;UserId=Goran",
        "UserDirectory=LAB; UserId=goran",
        "UserDirectory=lab; UserId=GORAN",
        "userdirectory = Lab ; userid = goran ",
        "UserId=goran; UserDirectory=LAB",
        "USERID=GoRaN;USERDIRECTORY=lAb",
    ];
    let url = setup.url("/tempcontent/a.png?delay=20");
    let events: Vec<_> = (0..).zip(spellings).map(|(n, user)| event(n, user, &url)).collect();
    setup.harness.post(&events).await;
    let finished = setup.harness.finished(spellings.len()).await;
    assert!(finished.iter().all(|event| event.error.is_none()), "{finished:?}");
    let counts = setup.fake.counts();
    assert_eq!((counts.tickets_issued, counts.sessions_opened, counts.images_sent), (1, 1, 12));
    // One after the other too, and the next ticket is asked for as its own event spells the name.
    setup.fake.forget_sessions();
    setup.fake.take_requests();
    let lost = event(100, "lab\\GORAN", &url);
    assert_eq!(setup.harness.fetch(lost).await.error, None);
    let asked: Vec<_> = setup.fake.requests().into_iter().filter_map(|request| request.body).collect();
    assert_eq!(asked, [r#"{"UserDirectory":"lab","UserId":"GORAN"}"#]);
}

const PROXIES: [&str; 8] = ["", "/analytics", "/finance", "/hdr", "/it", "/lab", "/ops", "/people"];

#[actix_rt::test]
async fn a_user_has_no_more_sessions_than_the_bound_over_all_virtual_proxies() {
    for cache in [Some(Duration::from_secs(120)), None] {
        let settings = Settings { cache, concurrency: 32, per_host: 32, ..Settings::default() };
        let mut setup = setup(&settings);
        let events: Vec<_> = (0..48)
            .map(|n| {
                // Some fail, and some are spelled otherwise.
                let behaviour = ["direct", "direct", "404", "direct", "410"][n as usize % 5];
                let tail = format!("{}/tempcontent/a.png?b={behaviour}&delay=20", PROXIES[n as usize % 8]);
                setup.event(n, ["goran", "GORAN"][n as usize % 2], &tail)
            })
            .collect();
        setup.harness.post(&events).await;
        let finished = setup.harness.finished(events.len()).await;
        let stored = finished.iter().filter(|event| event.error.is_none()).count();
        let counts = setup.fake.counts();
        assert_eq!((stored, counts.lockouts), (29, 0), "{counts:?}");
        assert!(counts.sessions_of_one_user_max <= 3, "{counts:?}");
        // One after the other: the least recently used one makes room.
        for round in 0..2 {
            for (index, proxy) in (0..).zip(PROXIES) {
                let event =
                    setup.event(1000 + round * 10 + index, "goran", &format!("{proxy}/tempcontent/a.png"));
                assert_eq!(setup.harness.fetch(event).await.error, None, "{proxy}");
            }
        }
        let counts = setup.fake.counts();
        assert!(counts.sessions_of_one_user_max <= 3 && counts.lockouts == 0, "{counts:?}");
        assert!(setup.fake.open_sessions().len() <= 3);
        setup.harness.end_sessions().await;
        assert!(setup.fake.open_sessions().is_empty());
    }
}

#[actix_rt::test]
async fn sessions_that_are_lost_or_never_opened_give_their_slots_back() {
    let settings = Settings { concurrency: 16, sessions_per_user: 2, ..Settings::default() };
    let mut setup = setup(&settings);
    for round in 0..3 {
        let events: Vec<_> = (0..24)
            .map(|n| {
                let behaviour = ["direct", "nocookie", "401", "newcookie", "login", "evil"][n as usize % 6];
                let tail = format!("{}/tempcontent/a.png?b={behaviour}", PROXIES[n as usize % 8]);
                setup.event(round * 100 + n, "goran", &tail)
            })
            .collect();
        setup.harness.post(&events).await;
        setup.harness.finished(events.len()).await;
        setup.fake.forget_sessions();
        setup.fake.answer_unauthorized_with(
            [
                Unauthorized::LoginPage,
                Unauthorized::Redirect("https://idp.example.com/"),
                Unauthorized::Status401,
            ][round as usize],
        );
    }
    for (index, proxy) in (0..).zip(PROXIES) {
        let event = setup.event(1000 + index, "goran", &format!("{proxy}/tempcontent/a.png"));
        assert_eq!(setup.harness.fetch(event).await.error, None, "{proxy}");
    }
    setup.harness.end_sessions().await;
    assert!(setup.fake.open_sessions().is_empty());
    assert_eq!(setup.fake.counts().lockouts, 0);
}

#[actix_rt::test]
async fn a_ticket_that_brings_no_session_lets_the_next_one_go() {
    let mut setup = setup(&Settings::default());
    let events: Vec<_> = (0..10).map(|n| setup.event(n, "nock", "/tempcontent/a.png?b=nocookie")).collect();
    setup.harness.post(&events).await;
    let finished = setup.harness.finished(10).await;
    assert!(finished.iter().all(|event| event.error.is_none()));
    let counts = setup.fake.counts();
    assert_eq!((counts.tickets_redeemed, counts.sessions_opened), (10, 0));
}

#[actix_rt::test]
async fn an_encrypted_key_is_opened_by_its_passphrase() {
    let passphrase = butler_sos_integration_tests::fake_qlik::certificates::PASSPHRASE;
    let check = async |passphrase: &'static str, expect: Option<&str>| {
        let key_file = "client_key_encrypted.pem";
        let mut setup = setup(&Settings { key_file, passphrase, ..Settings::default() });
        let event = setup.event(1, "goran", "/tempcontent/a.png");
        assert_eq!(setup.harness.fetch(event).await.error.as_deref(), expect);
        let shown = setup.harness.shown();
        assert!(!shown.contains("open-sesame") && !shown.contains("wrong-one"));
    };
    check(passphrase, None).await;
    check("wrong-one", Some("ticket-failed")).await;
    check("", Some("ticket-failed")).await;
}

#[actix_rt::test]
async fn qps_must_be_who_it_says() {
    let mut setup = setup(&Settings { qps_ca: "stranger_root.pem", ..Settings::default() });
    let event = setup.event(1, "goran", "/tempcontent/a.png");
    assert_eq!(setup.harness.fetch(event).await.error.as_deref(), Some("ticket-failed"));
    assert!(setup.fake.requests().is_empty());
}

#[actix_rt::test]
async fn certificates_are_read_again_when_they_change() {
    let mut setup = setup(&Settings::default());
    let good = std::fs::read(setup.fake.certificates.path("client_key.pem")).unwrap();
    let directory = setup.dir.path().join("certificates");
    std::fs::write(directory.join("client_key.pem"), "not a key").unwrap();
    let event = setup.event(1, "goran", "/tempcontent/a.png");
    assert_eq!(setup.harness.fetch(event).await.error.as_deref(), Some("ticket-failed"));
    std::fs::write(directory.join("client_key.pem"), good).unwrap();
    let event = setup.event(2, "goran", "/tempcontent/a.png");
    assert_eq!(setup.harness.fetch(event).await.error, None);
}

/// Random downloads of many users, while sessions expire, are evicted, forgotten and refused.
#[actix_rt::test]
async fn no_user_ever_goes_under_anothers_session() {
    let settings = Settings {
        cache: Some(Duration::from_millis(150)),
        cache_entries: 5,
        concurrency: 32,
        ..Settings::default()
    };
    let mut setup = setup(&settings);
    // A small generator: the same downloads in every run.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let proxies = ["", "/analytics", "/hdr", "/sales"];
    let behaviours =
        ["direct", "redirect", "cross", "404", "410", "401", "nocookie", "newcookie", "chain3", "login"];
    let mut number = 0;
    for round in 0..6 {
        let events: Vec<_> = (0..60)
            .map(|_| {
                number += 1;
                let user = format!("user{}", random(12));
                let proxy = proxies[random(4) as usize];
                let behaviour = behaviours[random(behaviours.len() as u64) as usize];
                let delay = random(30);
                let tail = format!("{proxy}/tempcontent/a.png?u={user}&b={behaviour}&delay={delay}");
                setup.event(number, &user, &tail)
            })
            .collect();
        setup.harness.post(&events).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        if round % 2 == 1 {
            setup.fake.forget_sessions();
            let answers = [Unauthorized::Status403, Unauthorized::LoginPage, Unauthorized::LoginRedirect];
            setup.fake.answer_unauthorized_with(answers[round / 2]);
        }
        setup.harness.finished(60).await;
    }
    setup.harness.end_sessions().await;
    let counts = setup.fake.counts();
    assert_eq!((counts.users_mixed, counts.tickets_reused), (0, 0), "{counts:?}");
    assert!(counts.images_sent > 100, "{counts:?}");
    assert!(setup.fake.open_sessions().is_empty(), "{:?} {counts:?}", setup.fake.open_sessions());
    let shown = setup.harness.shown();
    assert!(setup.fake.secrets().iter().all(|secret| !shown.contains(secret)));
}
