//! User events to New Relic: from a journal on disk to the stand-in for the event API.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::Actor;
use butler_sos_actors::journal::actor::{Journal, JournalConfig};
use butler_sos_actors::journal::batch::RecordBatch;
use butler_sos_actors::journal::store::{OnFull, StoreConfig, StreamConfig};
use butler_sos_actors::message::{Append, Appetite, CatchUp, Consumer, Stream};
use butler_sos_actors::metric::Metrics;
use butler_sos_actors::new_relic_client::{NewRelicAccount, NewRelicConfig};
use butler_sos_actors::new_relic_sink::{NewRelic, NewRelicSink, consumers};
use butler_sos_actors::outlet::Outlet;
use butler_sos_actors::sink::{DeadLetter, Pauses, SinkConfig, SinkOutlets};
use butler_sos_domain::app_id::AppNames;
use butler_sos_domain::encode::new_relic::{UserAttributes, VERSION_ATTRIBUTE};
use butler_sos_domain::enrichment::{Enrichment, ExcludedUsers};
use butler_sos_domain::event::UserEvent;
use butler_sos_integration_tests::fake_influx::Fault;
use butler_sos_integration_tests::fake_new_relic::{FakeNewRelic, POST_BYTES_MAX};
use serde_json::{Map, Value};
use slog::{Discard, Logger, o};
use tempfile::TempDir;

use crate::influx_bench::{Keeper, now_ns};

const ACCOUNT: (&str, &str) = ("4711", "sekrit-key-1");
const OTHER: (&str, &str) = ("4712", "sekrit-key-2");

struct Bench {
    _directory: TempDir,
    to_append: Outlet<Append>,
    to_catch_up: Outlet<CatchUp>,
    letters: Arc<Mutex<Vec<DeadLetter>>>,
    metrics: Metrics,
    consumers: Vec<Consumer>,
}

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

impl Bench {
    /// A journal and a running sink for each account. Call it inside of a system.
    fn start(fake: &FakeNewRelic, settings: Settings) -> Self {
        let directory = TempDir::with_prefix("journal-").unwrap();
        let metrics = Metrics::new();
        let log = Logger::root(Discard, o!());
        let account =
            |(id, key): &(&str, &str)| NewRelicAccount { id: (*id).to_owned(), api_key: (*key).into() };
        let sinks = consumers(settings.accounts.iter().map(account).collect());
        let stream = |stream: Stream| StreamConfig {
            name: stream.name().to_owned(),
            bytes_max: 1 << 28,
            on_full: OnFull::Block,
        };
        let config = JournalConfig {
            store: StoreConfig {
                directory: directory.path().to_owned(),
                streams: Stream::ALL.into_iter().map(stream).collect(),
                segment_bytes_max: 1 << 22,
                retention: Duration::from_secs(3600),
                tail_bytes_max: 1 << 22,
            },
            consumers: sinks.iter().map(|(consumer, _)| *consumer).collect(),
            not_awaited: Vec::new(),
            commit_interval: Duration::from_millis(1),
            meter: metrics.journal(),
            actor: metrics.actor("journal"),
            intakes: Default::default(),
            log: log.clone(),
        };
        let consumers = config.consumers.clone();
        let store = config.open().unwrap();
        let journal = Journal::new(config, store).start();
        let letters = Arc::<Mutex<Vec<DeadLetter>>>::default();
        let keeper = Keeper(Arc::clone(&letters)).start();
        for (consumer, account) in sinks {
            let sink = SinkConfig {
                consumer,
                appetite: Appetite { records_max: 10_000, bytes_max: 1 << 24, linger: Duration::ZERO },
                pauses: Pauses { min: Duration::from_millis(5), max: Duration::from_millis(20) },
                outlets: SinkOutlets {
                    to_position: Outlet::new(journal.clone(), 10),
                    to_next: Outlet::new(journal.clone(), 10),
                    to_commit: Outlet::new(journal.clone(), 10),
                    to_dead_letters: Outlet::new(keeper.clone(), 10),
                },
                actor: metrics.actor(consumer.name),
                meter: metrics.destination(consumer.name),
                log: log.clone(),
            };
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let config = NewRelicConfig {
                url: fake.url(),
                account,
                headers: settings.headers.iter().map(owned).collect(),
                timeout: Duration::from_millis(500),
            };
            let (attributes, log) = (settings.attributes.clone(), log.clone());
            NewRelicSink::new(sink, move || NewRelic::new(config.clone(), attributes.clone(), log.clone()))
                .start();
        }
        Self {
            _directory: directory,
            to_append: Outlet::new(journal.clone(), 1_000),
            to_catch_up: Outlet::new(journal, 10),
            letters,
            metrics,
            consumers,
        }
    }

    async fn append(&self, events: &[UserEvent<'_>]) {
        let mut records = RecordBatch::new();
        for event in events {
            records.push_with(|out| event.encode_into(out)).unwrap();
        }
        self.to_append.ask(Append { stream: Stream::UserEvents, records }).await.unwrap().unwrap();
    }

    /// Waits until everything is delivered or a dead letter, at every account.
    async fn settle(&self) {
        let caught_up = self.to_catch_up.ask(CatchUp);
        tokio::time::timeout(Duration::from_secs(60), caught_up).await.expect("delivery ends").unwrap();
    }

    fn dead_letters(&self) -> Vec<DeadLetter> {
        self.letters.lock().unwrap().clone()
    }

    async fn wait_for_error(&self, words: &str) {
        let state =
            || self.metrics.destination_states().get(self.consumers[0].name).cloned().unwrap_or_default();
        let says = || state().last_error.is_some_and(|error| error.contains(words));
        let waiting = async {
            while !says() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        assert!(in_time.is_ok(), "no {words:?} in {:?}", state());
    }
}

fn event(n: usize) -> UserEvent<'static> {
    UserEvent {
        received_ns: now_ns() + n as u64,
        host: "pro2-win1".into(),
        command: "Start session".into(),
        user_directory: Some("LAB".into()),
        user_id: Some(format!("user{n}").into()),
        origin: Some("AppAccess".into()),
        ..UserEvent::default()
    }
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
    let bench = Bench::start(&fake, settings());
    bench.append(&events(0..4_500)).await;
    bench.settle().await;
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
    let bench = Bench::start(&fake, settings());
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
    bench.append(&noisy).await;
    bench.settle().await;
    assert_eq!(users(&fake, ACCOUNT.0), expected(0..1_000));
    let posts = fake.posts();
    assert!(posts.iter().all(|post| post.bytes <= POST_BYTES_MAX && post.status == Some(200)));
    assert!(posts.len() < 6, "{}", posts.len());
}

#[actix_rt::test]
async fn one_accounts_outage_neither_holds_back_nor_repeats_anything_for_another() {
    let fake = FakeNewRelic::start(&[ACCOUNT, OTHER]);
    let settings = Settings { accounts: vec![ACCOUNT, OTHER, ACCOUNT], ..settings() };
    let bench = Bench::start(&fake, settings);
    fake.outage(ACCOUNT.0, Some(Fault::Status(503)));
    for part in 0..5 {
        bench.append(&events(part * 100..(part + 1) * 100)).await;
        fake.wait_for_events(OTHER.0, (part + 1) * 100);
    }
    bench.wait_for_error("503").await;
    assert!(fake.events(ACCOUNT.0).is_empty());
    fake.outage(ACCOUNT.0, None);
    bench.settle().await;
    for account in [ACCOUNT, OTHER] {
        assert_eq!(users(&fake, account.0), expected(0..500), "{}", account.0);
    }
    for post in fake.posts() {
        let key = if post.path.contains(ACCOUNT.0) { ACCOUNT.1 } else { OTHER.1 };
        assert_eq!(post.headers["api-key"], key, "no account sees another's key");
    }
    let shown = bench.metrics.expose();
    for name in ["new_relic_sink", "new_relic_sink_4712"] {
        assert!(shown.contains(&format!("destination=\"{name}\"")), "{name}");
    }
}

#[actix_rt::test]
async fn a_refused_event_costs_itself_alone() {
    let fake = FakeNewRelic::start(&[ACCOUNT]);
    fake.refuse("poison");
    let bench = Bench::start(&fake, settings());
    let mut some = events(0..300);
    for n in [17, 18, 250] {
        some[n].origin = Some("poison".into());
    }
    bench.append(&some).await;
    bench.settle().await;
    let expect: Vec<String> =
        (0..300).filter(|n| ![17, 18, 250].contains(n)).map(|n| format!("user{n}")).collect();
    assert_eq!(users(&fake, ACCOUNT.0), expect);
    let letters = bench.dead_letters();
    assert_eq!(letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [17, 18, 250]);
    assert!(letters.iter().all(|letter| letter.reason == "refused: poison"), "{letters:?}");
    assert!(letters.iter().all(|letter| letter.destination == "new_relic_sink"));
}

#[actix_rt::test]
async fn what_is_no_fault_of_the_events_is_tried_again() {
    let fake = FakeNewRelic::start(&[ACCOUNT]);
    let bench = Bench::start(&fake, settings());
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
    bench.append(&events(0..10)).await;
    bench.settle().await;
    assert_eq!(users(&fake, ACCOUNT.0), expected(0..10));
    assert_eq!(fake.posts().len(), faults.len() + 1);
    // Taken, and then no answer: nobody knows, so it comes again.
    fake.next_posts(ACCOUNT.0, [Fault::CutAfterStoring]);
    bench.append(&events(10..11)).await;
    bench.settle().await;
    assert_eq!(users(&fake, ACCOUNT.0)[10..], ["user10", "user10"]);

    fake.next_posts(ACCOUNT.0, [Fault::Busy(429, 1)]);
    let begun = Instant::now();
    bench.append(&events(11..12)).await;
    bench.settle().await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After is obeyed");

    // A key that is not the account's: loud, and over when somebody mends it.
    fake.set_key(ACCOUNT.0, "another");
    bench.append(&events(12..13)).await;
    bench.wait_for_error("check insertApiKey").await;
    fake.set_key(ACCOUNT.0, ACCOUNT.1);
    bench.settle().await;
    assert_eq!(users(&fake, ACCOUNT.0).last().unwrap(), "user12");
    assert!(bench.dead_letters().is_empty());
    assert!(!format!("{:?}", bench.metrics.destination_states()).contains("sekrit"));
}

#[actix_rt::test]
async fn requests_that_are_too_large_on_the_way_are_halved() {
    let fake = FakeNewRelic::start(&[ACCOUNT]);
    let bench = Bench::start(&fake, settings());
    fake.next_posts(ACCOUNT.0, [Fault::Status(413), Fault::Status(413)]);
    bench.append(&events(0..2_000)).await;
    bench.settle().await;
    assert_eq!(users(&fake, ACCOUNT.0), expected(0..2_000));
    let sizes: Vec<usize> = fake.posts().iter().map(|post| post.events).collect();
    assert_eq!(sizes, [2_000, 1_000, 500, 500, 1_000]);
    assert!(bench.dead_letters().is_empty());
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
    let bench = Bench::start(&fake, settings);
    bench.append(&events(0..1)).await;
    bench.settle().await;
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

// === against what Butler SOS was observed to send

/// A deliberate difference to a recorded event. `"*"` fits anything; `None` is a value that is not there.
struct Difference {
    names: &'static [&'static str],
    key: &'static str,
    recorded: Option<&'static str>,
    ours: Option<&'static str>,
    reason: &'static str,
}

const ANY: &str = "*";

const DIFFERENCES: [Difference; 4] = [
    Difference {
        names: &[ANY],
        key: "qs_uaOsVersion",
        recorded: Some("NT 10.0"),
        ours: Some("10"),
        reason: "Windows is named as people name it (user-events.md, Enrichment)",
    },
    Difference {
        names: &["x23_ua"],
        key: "qs_uaBrowserName",
        recorded: Some("BingCrawler"),
        ours: Some("bingbot"),
        reason: "robots keep the name they give themselves (user-agents.jsonl)",
    },
    Difference {
        names: &["u09_empty_userid", "y16_empty_dir"],
        key: "qs_userFull",
        recorded: Some(ANY),
        ours: None,
        reason: "the full user is there when both parts are",
    },
    Difference {
        names: &["y17_empty_host", "y18_empty_cmd"],
        key: ANY,
        recorded: Some(ANY),
        ours: None,
        reason: "an empty host or command is rejected, for every destination",
    },
];

impl Difference {
    fn fits(&self, name: &str, key: &str, recorded: Option<&str>, ours: Option<&str>) -> bool {
        let side =
            |expect: Option<&str>, got: Option<&str>| expect == got || (expect == Some(ANY) && got.is_some());
        (self.names == [ANY] || self.names.contains(&name))
            && (self.key == ANY || self.key == key)
            && side(self.recorded, recorded)
            && side(self.ours, ours)
    }
}

#[actix_rt::test]
async fn user_events_are_sent_as_recorded() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/user-events.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tags = [("qs_env".to_owned(), "dev".to_owned())];
    let mut needed = BTreeSet::new();
    for (kind, scramble) in [("new_relic", false), ("new_relic_scrambled", true)] {
        let fake = FakeNewRelic::start(&[ACCOUNT]);
        let attributes = UserAttributes::new(scramble, &tags, &[]);
        let bench = Bench::start(&fake, Settings { attributes, ..settings() });
        let excluded = ExcludedUsers::new([("LAB".to_owned(), "excluded".to_owned())]);
        let mut enrichment = Enrichment::new(64, excluded);
        let mut sent = Vec::new();
        for row in &rows {
            let names = AppNames::default();
            let datagram = datagram(row);
            match enrichment.event(&datagram, now_ns(), &names) {
                Ok(enriched) if !enriched.excluded => {
                    bench.append(std::slice::from_ref(&enriched.event)).await;
                    sent.push(true);
                }
                _ => sent.push(false),
            }
        }
        bench.settle().await;
        assert_eq!(fake.integration_errors(ACCOUNT.0), [""; 0]);
        let mut arrived = fake.events(ACCOUNT.0).into_iter();
        for (row, was_sent) in rows.iter().zip(sent) {
            let ours =
                if was_sent { arrived.next().expect("one event for each datagram") } else { Value::Null };
            let mut ours = ours.as_object().cloned().unwrap_or_default();
            // The recording has none.
            ours.remove("timestamp");
            let recorded = row[kind].as_array().unwrap();
            assert!(recorded.len() <= 1);
            let recorded = recorded.first().and_then(Value::as_object).cloned().unwrap_or_default();
            needed.extend(compare(row["name"].as_str().unwrap(), &recorded, &ours));
        }
        assert_eq!(arrived.next(), None);
    }
    for (at, row) in DIFFERENCES.iter().enumerate() {
        assert!(needed.contains(&at), "nothing needs: {:?} {}", row.names, row.reason);
    }
}

/// The differences that it takes.
fn compare(name: &str, recorded: &Map<String, Value>, ours: &Map<String, Value>) -> Vec<usize> {
    let keys: BTreeSet<&String> = recorded.keys().chain(ours.keys()).collect();
    let text = |value: Option<&Value>| {
        value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let mut needed = Vec::new();
    for key in keys {
        let (recorded, ours) = (text(recorded.get(key)), text(ours.get(key)));
        if recorded == ours {
            continue;
        }
        let (recorded, ours) = (recorded.as_deref(), ours.as_deref());
        let at = DIFFERENCES.iter().position(|row| row.fits(name, key, recorded, ours));
        needed.push(at.unwrap_or_else(|| panic!("{name} {key}: recorded {recorded:?}, ours {ours:?}")));
    }
    needed
}

fn datagram(row: &Value) -> Vec<u8> {
    if let Some(text) = row["datagram"].as_str() {
        return text.as_bytes().to_vec();
    }
    let hex = row["datagram_hex"].as_str().unwrap().as_bytes();
    let digits = hex.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}
