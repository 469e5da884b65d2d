use std::net::UdpSocket;
use std::sync::Mutex;

use actix::Addr;

use super::*;
use crate::intake::udp::allowed_sources::SourceError;
use crate::kit::clock::{Clock, unix_ns};
use crate::kit::metric::Metrics;
use crate::kit::supervisor::{RestartPolicy, Supervision};
use crate::kit::testing::{Probe, discard_log, until};

type Seen = Arc<Mutex<Vec<DatagramsReceived>>>;

struct Harness {
    addr: Addr<UdpIngestor>,
    port: Arc<UdpPort>,
    intake: IntakeMeter,
    actor: ActorMeter,
    seen: Seen,
    sender: UdpSocket,
}

fn supervision() -> Supervision {
    Supervision {
        policy: RestartPolicy { backoff: Duration::from_millis(1), ..RestartPolicy::default() },
        log: discard_log(),
        give_up: Arc::new(|actor| panic!("{actor} was given up")),
        #[cfg(feature = "test-panics")]
        switches: crate::kit::supervisor::PanicSwitches::default(),
    }
}

fn bench_with(config: &UdpConfig, to_parser: Mailbox<DatagramsReceived>, seen: Seen) -> Harness {
    harness_with_log(config, to_parser, seen, discard_log())
}

fn harness_with_log(
    config: &UdpConfig,
    to_parser: Mailbox<DatagramsReceived>,
    seen: Seen,
    log: Logger,
) -> Harness {
    let port = open(config, Clock::default(), &discard_log()).unwrap();
    let metrics = Metrics::new();
    let (intake, actor) = (metrics.intake("user_events"), metrics.actor("udp_ingestor"));
    let ingestor = UdpIngestor::new(Arc::clone(&port), to_parser, &intake, actor.clone(), log);
    let addr = supervision().start(&actix_rt::Arbiter::current(), actor.clone(), move || ingestor);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(port.address()).unwrap();
    Harness { addr, port, intake, actor, seen, sender }
}

fn harness(config: &UdpConfig) -> Harness {
    let (to_parser, seen) = Probe::mailbox(100_000, |_| ());
    bench_with(config, to_parser, seen)
}

impl Harness {
    fn send(&self, datagrams: &[&[u8]]) {
        for datagram in datagrams {
            self.sender.send(datagram).unwrap();
        }
    }

    fn seen(&self) -> Vec<Vec<u8>> {
        let seen = self.seen.lock().unwrap();
        seen.iter().flat_map(|b| b.datagrams.iter().map(|d| b.bytes_of(d).to_vec())).collect()
    }

    fn stamps(&self) -> Vec<u64> {
        let seen = self.seen.lock().unwrap();
        seen.iter().flat_map(|b| b.datagrams.iter().map(|d| d.received_ns)).collect()
    }

    async fn close(&self) {
        self.addr.send(Envelope { body: Close, in_flight: Default::default() }).await.unwrap();
    }

    fn rejected(&self, reason: &'static str) -> u64 {
        self.intake.rejected(reason).get()
    }
}

#[actix_rt::test]
async fn datagrams_arrive_in_order_with_increasing_times() {
    let harness = harness(&UdpConfig::for_test());
    let sent: Vec<Vec<u8>> = (0..1_000).map(|n| format!("datagram {n}").into_bytes()).collect();
    for datagram in &sent {
        harness.send(&[datagram]);
    }
    until(|| harness.seen().len() == 1_000).await;
    assert_eq!(harness.seen(), sent);
    assert!(harness.stamps().is_sorted_by(|a, b| a < b));
    assert!(harness.stamps()[0] > 1_700_000_000_000_000_000, "Unix nanoseconds");
    assert_eq!(harness.intake.received.get(), 1_000);
    let source = harness.seen.lock().unwrap()[0].datagrams[0].source;
    assert_eq!(source, harness.sender.local_addr().unwrap());
}

#[actix_rt::test]
async fn times_follow_the_clock_again_after_a_newest_event_from_the_future() {
    let newest = (1 << 62) / 1_000 * 1_000 + 300;
    let (to_parser, seen) = Probe::mailbox(10, |_: &DatagramsReceived| ());
    let port = open(&UdpConfig::for_test(), Clock::after([newest]), &discard_log()).unwrap();
    let metrics = Metrics::new();
    let _addr = UdpIngestor::new(
        Arc::clone(&port),
        to_parser,
        &metrics.intake("user_events"),
        metrics.actor("udp_ingestor"),
        discard_log(),
    )
    .start();
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", port.address()).unwrap();
    until(|| !seen.lock().unwrap().is_empty()).await;
    let received_ns = seen.lock().unwrap()[0].datagrams[0].received_ns;
    assert_eq!(received_ns % 1_000, 400, "the era after that of the newest event");
    assert!(unix_ns() - received_ns < 60_000_000_000, "{received_ns}");
}

#[actix_rt::test]
async fn counts_datagrams_over_the_size_and_rate_limits() {
    let harness =
        harness(&UdpConfig { datagram_bytes_max: 10, per_minute_max: Some(3), ..UdpConfig::for_test() });
    harness.send(&[b"1234567890", b"12345678901", b"", &[b'x'; 5_000], b"a", b"b", b"c"]);
    until(|| harness.intake.received.get() == 7).await;
    harness.close().await;
    assert_eq!(harness.seen(), [&b"1234567890"[..], b"", b"a"]);
    assert_eq!(
        (harness.rejected("size"), harness.rejected("rate_limit"), harness.rejected("source")),
        (2, 2, 0)
    );
}

#[actix_rt::test]
async fn accepts_allowed_sources_only() {
    let allow = |texts: &[&str]| UdpConfig {
        allowed_sources: Some(texts.iter().map(|text| (*text).to_owned()).collect()),
        ..UdpConfig::for_test()
    };
    for (texts, heard) in [
        (&["10.0.0.0/8"][..], false),
        (&["10.0.0.0/8", "127.0.0.0/8"], true),
        (&["127.0.0.1", "no.such.name.invalid"], true),
        (&["localhost"], true),
    ] {
        let harness = harness(&allow(texts));
        harness.send(&[b"x"]);
        until(|| harness.intake.received.get() == 1).await;
        harness.close().await;
        assert_eq!(harness.seen().len(), usize::from(heard), "{texts:?}");
        assert_eq!(harness.rejected("source"), u64::from(!heard), "{texts:?}");
    }
    for texts in [&[][..], &["no.such.name.invalid"]] {
        assert!(
            matches!(open(&allow(texts), Clock::default(), &discard_log()), Err(OpenError::Sources(_))),
            "{texts:?}"
        );
    }
}

/// Keeps everything that it receives.
struct Hoarder(Arc<Mutex<Vec<Envelope<DatagramsReceived>>>>);

impl Actor for Hoarder {
    type Context = Context<Self>;
}

impl Handler<Envelope<DatagramsReceived>> for Hoarder {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<DatagramsReceived>, _: &mut Self::Context) {
        self.0.lock().unwrap().push(envelope);
    }
}

#[actix_rt::test]
async fn a_full_queue_sheds_only_what_does_not_fit() {
    let hoard: Arc<Mutex<Vec<Envelope<DatagramsReceived>>>> = Arc::default();
    let to_parser = Mailbox::new(Hoarder(Arc::clone(&hoard)).start(), 100);
    let harness = bench_with(&UdpConfig::for_test(), to_parser.clone(), Arc::default());
    let sent = 5_000;
    for n in 0..sent {
        harness.send(&[format!("{n}").as_bytes()]);
    }
    let kernel = || harness.port.count_kernel_drops(&harness.intake.kernel());
    until(|| {
        kernel().expect("the kernel tells");
        harness.intake.received.get() + harness.intake.kernel().get() == sent
    })
    .await;
    harness.close().await;
    until(|| {
        hoard.lock().unwrap().iter().map(|envelope| envelope.body.datagrams.len()).sum::<usize>() == 100
    })
    .await;
    assert_eq!(to_parser.depth(), 100);
    let shed = harness.intake.shed("queue_full").get();
    assert_eq!(harness.intake.received.get(), 100 + shed);
    // The accepted datagrams are the first hundred, complete.
    let texts = |batch: &DatagramsReceived| -> Vec<Vec<u8>> {
        batch.datagrams.iter().map(|datagram| batch.bytes_of(datagram).to_vec()).collect()
    };
    let first: Vec<Vec<u8>> =
        hoard.lock().unwrap().iter().flat_map(|envelope| texts(&envelope.body)).collect();
    assert_eq!(first, (0..100).map(|n| format!("{n}").into_bytes()).collect::<Vec<_>>());
    // Events that are dropped later are accounted for too.
    hoard.lock().unwrap().clear();
    assert_eq!(harness.intake.shed("actor_panic").get(), 100);
    assert_eq!(to_parser.depth(), 0);
}

#[actix_rt::test]
async fn a_filling_queue_is_logged_when_it_begins() {
    let hoard: Arc<Mutex<Vec<Envelope<DatagramsReceived>>>> = Arc::default();
    let to_parser = Mailbox::new(Hoarder(Arc::clone(&hoard)).start(), 10);
    let logged = Arc::<Mutex<Vec<String>>>::default();
    let log = Logger::root(Logged(Arc::clone(&logged)), slog::o!());
    let harness = harness_with_log(&UdpConfig::for_test(), to_parser.clone(), Arc::default(), log);
    let remarks = || harness.intake.remark("backpressure").get();
    let send = async |sum: u64| {
        for received in harness.intake.received.get()..sum {
            harness.send(&[b"x"]);
            until(|| harness.intake.received.get() > received).await;
        }
    };
    let empty = async || {
        until(|| {
            for mut envelope in hoard.lock().unwrap().drain(..) {
                envelope.in_flight.settle_all();
            }
            to_parser.depth() == 0
        })
        .await;
    };
    send(7).await;
    until(|| to_parser.depth() == 7).await;
    assert_eq!(remarks(), 0);
    send(8).await;
    until(|| remarks() == 1).await;
    send(12).await;
    until(|| harness.intake.shed("queue_full").get() == 2).await;
    assert_eq!(remarks(), 1);
    empty().await;
    // No more datagrams arrive, and the thread still notices the end of backpressure.
    until(|| logged.lock().unwrap().iter().any(|line| line.starts_with("the queue of user events is below")))
        .await;
    send(20).await;
    until(|| remarks() == 2).await;
    let about_filling = |line: &&String| line.starts_with("user events arrive faster");
    assert_eq!(logged.lock().unwrap().iter().filter(about_filling).count(), 1, "not twice in a minute");
}

/// Records the messages of a log.
struct Logged(Arc<Mutex<Vec<String>>>);

impl slog::Drain for Logged {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
        self.0.lock().unwrap().push(record.msg().to_string());
        Ok(())
    }
}

#[actix_rt::test]
async fn a_panic_of_the_thread_restarts_the_actor_at_the_same_port() {
    let harness = harness(&UdpConfig::for_test());
    harness.send(&[b"before"]);
    until(|| harness.seen().len() == 1).await;
    harness.port.panic_at_next_datagram.store(true, Ordering::SeqCst);
    harness.send(&[b"poison"]);
    until(|| harness.actor.restarts.get() == 1).await;
    harness.send(&[b"after"]);
    until(|| harness.seen().len() == 2).await;
    assert_eq!(harness.seen(), [&b"before"[..], b"after"]);
    assert!(harness.stamps().is_sorted_by(|a, b| a < b));
    assert_eq!(harness.intake.received.get(), 3);
    assert_eq!(harness.intake.shed("actor_panic").get(), 1);
}

#[actix_rt::test]
async fn closing_waits_for_room() {
    let hoard: Arc<Mutex<Vec<Envelope<DatagramsReceived>>>> = Arc::default();
    let to_parser = Mailbox::new(Hoarder(Arc::clone(&hoard)).start(), 10);
    let harness = bench_with(&UdpConfig::for_test(), to_parser, Arc::default());
    // The first ten fill the queue. The others wait in the kernel until the port closes.
    for n in 0..10 {
        harness.send(&[format!("{n}").as_bytes()]);
    }
    until(|| harness.intake.received.get() == 10).await;
    harness.port.closing.store(true, Ordering::SeqCst);
    let freed = Arc::clone(&hoard);
    actix_rt::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            for mut envelope in freed.lock().unwrap().drain(..) {
                envelope.in_flight.settle_all();
            }
        }
    });
    for n in 10..40 {
        harness.send(&[format!("{n}").as_bytes()]);
    }
    harness.close().await;
    assert_eq!(harness.intake.shed("queue_full").get(), 0);
}

#[derive(actix::Message)]
#[rtype(result = "()")]
struct Panic;

impl Handler<Panic> for UdpIngestor {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("a test wants it");
    }
}

#[actix_rt::test]
async fn a_panic_of_the_actor_loses_nothing() {
    let harness = harness(&UdpConfig::for_test());
    for round in 0..3 {
        harness.send(&[b"one"]);
        assert!(harness.addr.send(Panic).await.is_err());
        harness.send(&[b"two"]);
        until(|| harness.seen().len() == 2 * (round + 1)).await;
    }
    assert_eq!(harness.actor.restarts.get(), 3);
    assert_eq!(harness.intake.received.get(), 6);
}

#[actix_rt::test]
async fn close_takes_the_datagrams_in_the_kernel_and_no_more() {
    let harness = harness(&UdpConfig::for_test());
    for _ in 0..500 {
        harness.send(&[b"x"]);
    }
    harness.close().await;
    until(|| harness.seen().len() == 500).await;
    harness.send(&[b"too late"]);
    // A second close answers at once, and a restart does not open the port again.
    harness.close().await;
    assert!(harness.addr.send(Panic).await.is_err());
    harness.close().await;
    until(|| Arc::strong_count(&harness.port) == 2 + 1).await;
    assert_eq!(harness.intake.received.get(), 500);
}

#[actix_rt::test]
async fn the_thread_ends_with_the_actor() {
    let arbiter = actix_rt::Arbiter::new();
    let port = open(&UdpConfig::for_test(), Clock::default(), &discard_log()).unwrap();
    let metrics = Metrics::new();
    let (intake, actor) = (metrics.intake("user_events"), metrics.actor("udp_ingestor"));
    let (to_parser, _) = Probe::mailbox(10, |_: &DatagramsReceived| ());
    let ingestor = UdpIngestor::new(Arc::clone(&port), to_parser, &intake, actor.clone(), discard_log());
    let _addr = supervision().start(&arbiter.handle(), actor, move || ingestor);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"x", port.address()).unwrap();
    until(|| intake.received.get() == 1).await;
    arbiter.stop();
    // The actor, its futures and its thread release the port.
    until(|| Arc::strong_count(&port) == 1).await;
}

#[actix_rt::test]
async fn a_single_datagram_is_forwarded_at_once() {
    let harness = harness(&UdpConfig::for_test());
    let mut waits = Vec::new();
    for n in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        harness.send(&[b"x"]);
        let sent = std::time::Instant::now();
        while harness.seen.lock().unwrap().len() <= n {
            tokio::task::yield_now().await;
        }
        waits.push(sent.elapsed());
    }
    waits.sort();
    // The machine may be busy, but a systematic delay would show in all of them.
    assert!(waits[waits.len() / 4] < Duration::from_millis(2), "{waits:?}");
}

/// Source validation with a list that contains no address must never allow everybody.
#[test]
fn a_list_without_addresses_does_not_allow_everybody() {
    for nobody in [vec![], vec![""], vec!["  "], vec!["no.such.name.invalid"]] {
        let allowed_sources = Some(nobody.iter().map(|&text| text.to_owned()).collect());
        let config = UdpConfig { allowed_sources, ..UdpConfig::for_test() };
        let opened = open(&config, Clock::default(), &discard_log());
        assert!(matches!(opened, Err(OpenError::Sources(SourceError::NothingResolves))), "{nobody:?}");
    }
}
