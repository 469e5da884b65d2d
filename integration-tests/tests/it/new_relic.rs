//! User events to New Relic: from a journal on disk to the stand-in for the event API.

use std::time::{Duration, Instant};

use actix::Actor;
use butler_sos_actors::kit::clock::unix_ns;
use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::sinks::new_relic::client::{NewRelicAccount, NewRelicConfig};
use butler_sos_actors::sinks::new_relic::new_relic_sink::{NewRelic, NewRelicSink, consumers};
use butler_sos_actors::sinks::records::user_events::UserEventObjects;
use butler_sos_domain::encode::new_relic::{UserAttributes, VERSION_ATTRIBUTE};
use butler_sos_domain::event::UserEvent;
use butler_sos_integration_tests::fake_influx::Fault;
use butler_sos_integration_tests::fake_new_relic::{FakeNewRelic, POST_BYTES_MAX};
use serde_json::Value;

use crate::sink_harness::Harness;

const ACCOUNT: (&str, &str) = ("4711", "sekrit-key-1");
const OTHER: (&str, &str) = ("4712", "sekrit-key-2");

/// Of one request. Long, as the stand-in shares its processor with all other tests: only the one fault that hangs
/// waits for it.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What differs from test to test.
struct Settings {
    accounts: Vec<(&'static str, &'static str)>,
    headers: Vec<(&'static str, &'static str)>,
    attributes: UserAttributes,
}

fn settings() -> Settings {
    Settings {
        accounts: vec![ACCOUNT],
        headers: Vec::new(),
        attributes: UserAttributes::new(false, &[], &[]),
    }
}

/// A journal and a running sink for each account. Call it inside of a system.
fn start(fake: &FakeNewRelic, settings: Settings) -> Harness {
    let account = |(id, key): &(&str, &str)| NewRelicAccount { id: (*id).to_owned(), api_key: (*key).into() };
    let sinks = consumers(settings.accounts.iter().map(account).collect());
    let harness = Harness::new(sinks.iter().map(|(consumer, _)| *consumer).collect());
    for (consumer, account) in sinks {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).into());
        let config = NewRelicConfig {
            url: fake.url(),
            account,
            headers: settings.headers.iter().map(owned).collect(),
            timeout: TIMEOUT,
            reread: Reread::default(),
        };
        let (attributes, log) = (settings.attributes.clone(), harness.log.clone());
        let sink = harness.sink(consumer, 10_000, Duration::from_millis(5));
        NewRelicSink::new(sink, move || {
            NewRelic::new(config.clone(), UserEventObjects(attributes.clone()), log.clone())
        })
        .start();
    }
    harness
}

fn event(n: usize) -> UserEvent<'static> {
    UserEvent {
        received_ns: unix_ns() + n as u64,
        host: "pro2-win1".into(),
        command: "Start session".into(),
        user_directory: Some("LAB".into()),
        user_id: Some(format!("user{n}").into()),
        origin: Some("AppAccess".into()),
        ..UserEvent::default()
    }
}

fn records(events: &[UserEvent<'_>]) -> Vec<Vec<u8>> {
    let record = |event: &UserEvent<'_>| {
        let mut out = Vec::new();
        event.encode_into(&mut out);
        out
    };
    events.iter().map(record).collect()
}

fn events(range: std::ops::Range<usize>) -> Vec<UserEvent<'static>> {
    range.map(event).collect()
}

/// The users of what an account has, in order.
fn users(fake: &FakeNewRelic, account: &str) -> Vec<String> {
    let user = |event: &Value| event["qs_userId"].as_str().unwrap().to_owned();
    fake.events(account).iter().map(user).collect()
}

fn expected(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("user{n}")).collect()
}

#[actix_rt::test]
async fn events_come_in_order_in_requests_that_new_relic_takes() {
    let fake = FakeNewRelic::start(&[ACCOUNT]);
    let harness = start(&fake, settings());
    harness.append(records(&events(0..4_500))).await;
    harness.settle().await;
    assert_eq!(users(&fake, ACCOUNT.0), expected(0..4_500));
    assert_eq!(fake.integration_errors(ACCOUNT.0), [""; 0]);
    let posts = fake.posts();
    assert_eq!(posts.iter().map(|post| post.events).collect::<Vec<_>>(), [2_000, 2_000, 500]);
    for post in &posts {
        assert_eq!(post.path, "/v1/accounts/4711/events");
        let header = |name: &str| post.headers.get(name).map_or("", String::as_str);
        assert_eq!(header("api-key"), ACCOUNT.1);
        assert_eq!(header("content-encoding"), "gzip");
        assert_eq!(header("content-type"), "application/json; charset=utf-8");
    }
}

#[actix_rt::test]
async fn requests_stay_below_the_limit_when_nothing_compresses() {
    let fake = FakeNewRelic::start(&[ACCOUNT]);
    let harness = start(&fake, settings());
    // Text without a pattern, from a small generator.
    let mut seed = 4_711_u64;
    let mut noise = || {
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            char::from(b'!' + u8::try_from(seed % 94).unwrap())
        };
        (0..3_000).map(|_| next()).collect::<String>()
    };
    let noisy: Vec<UserEvent<'_>> =
        (0..1_000).map(|n| UserEvent { origin: Some(noise().into()), ..event(n) }).collect();
    harness.append(records(&noisy)).await;
    harness.settle().await;
    assert_eq!(users(&fake, ACCOUNT.0), expected(0..1_000));
    let posts = fake.posts();
    assert!(posts.iter().all(|post| post.bytes <= POST_BYTES_MAX && post.status == Some(200)));
    assert!(posts.len() < 6, "{}", posts.len());
}

#[actix_rt::test]
async fn one_accounts_outage_neither_holds_back_nor_repeats_anything_for_another() {
    let fake = FakeNewRelic::start(&[ACCOUNT, OTHER]);
    let settings = Settings { accounts: vec![ACCOUNT, OTHER, ACCOUNT], ..settings() };
    let harness = start(&fake, settings);
    fake.outage(ACCOUNT.0, Some(Fault::Status(503)));
    for part in 0..5 {
        harness.append(records(&events(part * 100..(part + 1) * 100))).await;
        fake.wait_for_events(OTHER.0, (part + 1) * 100);
    }
    harness.wait_for_error("503").await;
    assert!(fake.events(ACCOUNT.0).is_empty());
    fake.outage(ACCOUNT.0, None);
    harness.settle().await;
    for account in [ACCOUNT, OTHER] {
        assert_eq!(users(&fake, account.0), expected(0..500), "{}", account.0);
    }
    for post in fake.posts() {
        let key = if post.path.contains(ACCOUNT.0) { ACCOUNT.1 } else { OTHER.1 };
        assert_eq!(post.headers["api-key"], key, "no account sees another's key");
    }
    let shown = harness.metrics.expose();
    for name in ["new_relic_sink", "new_relic_sink_4712"] {
        assert!(shown.contains(&format!("destination=\"{name}\"")), "{name}");
    }
}

#[actix_rt::test]
async fn a_refused_event_costs_itself_alone() {
    let fake = FakeNewRelic::start(&[ACCOUNT]);
    fake.refuse("poison");
    let harness = start(&fake, settings());
    let mut some = events(0..300);
    for n in [17, 18, 250] {
        some[n].origin = Some("poison".into());
    }
    harness.append(records(&some)).await;
    harness.settle().await;
    let expect: Vec<String> =
        (0..300).filter(|n| ![17, 18, 250].contains(n)).map(|n| format!("user{n}")).collect();
    assert_eq!(users(&fake, ACCOUNT.0), expect);
    let letters = harness.dead_letters();
    assert_eq!(letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [17, 18, 250]);
    assert!(letters.iter().all(|letter| letter.reason == "refused: poison"), "{letters:?}");
    assert!(letters.iter().all(|letter| letter.destination == "new_relic_sink"));
}

#[actix_rt::test]
async fn what_is_no_fault_of_the_events_is_tried_again() {
    let fake = FakeNewRelic::start(&[ACCOUNT]);
    let harness = start(&fake, settings());
    let faults = [
        Fault::Status(503),
        Fault::Status(500),
        Fault::Status(408),
        Fault::Status(429),
        Fault::Status(401),
        Fault::Status(404),
        Fault::Status(415),
        Fault::Status(302),
        Fault::Hang,
        Fault::Cut,
    ];
    fake.next_posts(ACCOUNT.0, faults);
    harness.append(records(&events(0..10))).await;
    harness.settle().await;
    assert_eq!(users(&fake, ACCOUNT.0), expected(0..10));
    // A request that timed out does not come again as large, so the last may come in parts.
    let posts = fake.posts();
    assert!(posts.len() > faults.len(), "{}", posts.len());
    let taken = posts.iter().filter(|post| post.status == Some(200)).map(|post| post.events);
    assert_eq!(taken.sum::<usize>(), 10, "each once");
    // Taken, and then no answer: nobody knows, so it comes again.
    fake.next_posts(ACCOUNT.0, [Fault::CutAfterStoring]);
    harness.append(records(&events(10..11))).await;
    harness.settle().await;
    assert_eq!(users(&fake, ACCOUNT.0)[10..], ["user10", "user10"]);

    fake.next_posts(ACCOUNT.0, [Fault::Busy(429, 1)]);
    let begun = Instant::now();
    harness.append(records(&events(11..12))).await;
    harness.settle().await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After is obeyed");

    // A key that is not the account's: loud, and over when somebody mends it.
    fake.set_key(ACCOUNT.0, "another");
    harness.append(records(&events(12..13))).await;
    harness.wait_for_error("check insertApiKey").await;
    fake.set_key(ACCOUNT.0, ACCOUNT.1);
    harness.settle().await;
    assert_eq!(users(&fake, ACCOUNT.0).last().unwrap(), "user12");
    assert!(harness.dead_letters().is_empty());
    assert!(!format!("{:?}", harness.metrics.destination_states()).contains("sekrit"));
}

#[actix_rt::test]
async fn requests_that_are_too_large_on_the_way_are_halved() {
    let fake = FakeNewRelic::start(&[ACCOUNT]);
    let harness = start(&fake, settings());
    fake.next_posts(ACCOUNT.0, [Fault::Status(413), Fault::Status(413)]);
    harness.append(records(&events(0..2_000))).await;
    harness.settle().await;
    assert_eq!(users(&fake, ACCOUNT.0), expected(0..2_000));
    let sizes: Vec<usize> = fake.posts().iter().map(|post| post.events).collect();
    assert_eq!(sizes, [2_000, 1_000, 500, 500, 1_000]);
    assert!(harness.dead_letters().is_empty());
}

#[actix_rt::test]
async fn headers_and_attributes_are_as_configured() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let tags = [pair("qs_env", "dev")];
    let attributes = [pair("service", "butler-sos"), pair("qs_host", "x"), pair(VERSION_ATTRIBUTE, "1.2.3")];
    let fake = FakeNewRelic::start(&[ACCOUNT]);
    let settings = Settings {
        headers: vec![("X-Proxy-Token", "let-me-pass"), ("Api-Key", "not this"), ("Content-Encoding", "br")],
        attributes: UserAttributes::new(true, &tags, &attributes),
        ..settings()
    };
    let harness = start(&fake, settings);
    harness.append(records(&events(0..1))).await;
    harness.settle().await;
    let sent = &fake.posts()[0].headers;
    assert_eq!(sent["x-proxy-token"], "let-me-pass");
    assert_eq!((sent["api-key"].as_str(), sent["content-encoding"].as_str()), (ACCOUNT.1, "gzip"));
    let event = &fake.events(ACCOUNT.0)[0];
    assert_eq!(event["eventType"], "qs_userEvent");
    assert_eq!((&event["service"], &event["qs_env"]), (&Value::from("butler-sos"), &Value::from("dev")));
    assert_eq!(
        (&event["qs_host"], &event[VERSION_ATTRIBUTE]),
        (&Value::from("pro2-win1"), &Value::from("1.2.3"))
    );
    assert_eq!(event["qs_userDirectory"], "e917621682605938", "SHAKE256 of LAB, 8 bytes");
    assert!(!event.to_string().contains("user0"), "{event}");
}
