//! The whole path from the socket to the journal: nothing is lost without a count.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Supervised};
use actix_rt::Arbiter;
use prometheus_client::metrics::counter::Counter;

use crate::intake::udp::socket::SocketConfig;
use crate::intake::udp::udp_ingestor::{UdpConfig, UdpIngestor, UdpPort, open};
use crate::intake::user_parser::{UserParser, UserParserConfig, UserParserMailboxes};
use crate::journal::message::{Append, AppendRefused};
use crate::kit::clock::Clock;
use crate::kit::mailbox::{Envelope, Mailbox};
use crate::kit::message::Close;
use crate::kit::metric::{IntakeMeter, Metrics};
use crate::kit::supervisor::{RestartPolicy, Supervision};
use crate::kit::testing::{Probe, discard_log, until};
use crate::line_log::message::AppendLines;

/// Counts the events that it is asked to store, after a delay. May panic instead.
struct SlowJournal {
    stored: Counter,
    delay: Duration,
    panic_every: u64,
    appends: u64,
}

impl Actor for SlowJournal {
    type Context = Context<Self>;
}

impl Supervised for SlowJournal {}

impl Handler<Envelope<Append>> for SlowJournal {
    type Result = Result<std::ops::Range<u64>, AppendRefused>;

    fn handle(&mut self, mut envelope: Envelope<Append>, ctx: &mut Self::Context) -> Self::Result {
        self.appends += 1;
        assert!(!self.appends.is_multiple_of(self.panic_every), "a test wants it");
        if self.delay.is_zero() {
            self.stored.inc_by(envelope.in_flight.settle_all());
        } else {
            ctx.run_later(self.delay, move |this, _| {
                this.stored.inc_by(envelope.in_flight.settle_all());
            });
        }
        Ok(0..0)
    }
}

struct Intake {
    port: Arc<UdpPort>,
    meter: IntakeMeter,
    to_close: Mailbox<Close>,
    sender: UdpSocket,
}

fn intake(queue_max: u32, delay: Duration, panic_every: u64, arbiter: &actix_rt::ArbiterHandle) -> Intake {
    let metrics = Metrics::new();
    let meter = metrics.intake("user_events");
    let supervision = Supervision {
        policy: RestartPolicy {
            restarts_max: 1_000_000,
            backoff: Duration::ZERO,
            window: Duration::from_secs(1),
        },
        log: discard_log(),
        give_up: Arc::new(|actor| panic!("{actor} was given up")),
        #[cfg(feature = "test-panics")]
        switches: crate::kit::supervisor::PanicSwitches::default(),
    };
    let stored = meter.stored.clone();
    let journal = supervision.start(arbiter, metrics.actor("journal"), move || SlowJournal {
        stored,
        delay,
        panic_every,
        appends: 0,
    });
    let (to_quarantine, _) = Probe::mailbox(100, |_: &AppendLines| Ok(()));
    let mailboxes = UserParserMailboxes { to_journal: Mailbox::new(journal, 1), to_quarantine };
    let (config, actor) = (UserParserConfig::default(), metrics.actor("user_parser"));
    let (parser_meter, parser_actor) = (meter.clone(), actor.clone());
    let parser = supervision.start(arbiter, actor, move || {
        UserParser::new(config, mailboxes, parser_meter, parser_actor, discard_log())
    });
    let config = UdpConfig::for_test();
    let socket = SocketConfig { receive_buffer_bytes: 8 << 20, ..config.socket };
    let config = UdpConfig { socket, ..config };
    let port = open(&config, Clock::default(), &discard_log()).unwrap();
    let actor = metrics.actor("udp_ingestor");
    let ingestor = UdpIngestor::new(
        Arc::clone(&port),
        Mailbox::new(parser, queue_max),
        &meter,
        actor.clone(),
        discard_log(),
    );
    let ingestor = supervision.start(&Arbiter::current(), actor, move || ingestor);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(port.address()).unwrap();
    Intake { port, meter, to_close: Mailbox::new(ingestor, 1), sender }
}

impl Intake {
    /// Sends a mix of valid events, nonsense and oversized datagrams from a separate thread.
    fn flood(&self, datagrams: u64) -> std::thread::JoinHandle<()> {
        let sender = self.sender.try_clone().unwrap();
        std::thread::spawn(move || {
            let giant = [b'x'; 2_000];
            for n in 0..datagrams {
                let event =
                    format!("/qseow-proxy-session/;h;Start session;LAB;user{n};AppAccess;/hub;message");
                let datagram = match n % 10 {
                    8 => b"nonsense".as_slice(),
                    9 => &giant,
                    _ => event.as_bytes(),
                };
                sender.send(datagram).unwrap();
            }
        })
    }

    fn rejected(&self) -> u64 {
        ["source", "size", "rate_limit", "unknown-type"]
            .map(|reason| self.meter.rejected(reason).get())
            .iter()
            .sum()
    }

    fn shed(&self) -> u64 {
        ["queue_full", "actor_panic"].map(|reason| self.meter.shed(reason).get()).iter().sum()
    }

    /// Waits until every datagram that was sent is accounted for.
    async fn settles(&self, sent: u64) {
        until(|| {
            self.port.count_kernel_drops(&self.meter.kernel()).expect("the kernel tells");
            self.meter.received.get() + self.meter.kernel().get() == sent
        })
        .await;
        self.to_close.ask(Close).await.unwrap();
        until(|| self.meter.received.get() == self.meter.stored.get() + self.rejected() + self.shed()).await;
    }
}

#[actix_rt::test]
async fn a_flood_against_a_small_queue_is_counted_completely() {
    let intake = intake(50, Duration::from_millis(3), 0, &Arbiter::current());
    let sender = intake.flood(20_000);
    intake.settles(20_000).await;
    sender.join().unwrap();
    assert!(intake.meter.stored.get() > 0 && intake.meter.shed("queue_full").get() > 0);
    assert_eq!(intake.meter.shed("actor_panic").get(), 0);
}

#[actix_rt::test]
async fn a_flood_with_panics_is_counted_completely() {
    let intake = intake(100_000, Duration::ZERO, 3, &Arbiter::current());
    let sender = intake.flood(20_000);
    intake.settles(20_000).await;
    sender.join().unwrap();
    assert!(intake.meter.stored.get() > 0 && intake.meter.shed("actor_panic").get() > 0);
}

/// Not a benchmark to quote: the sender shares the processors. Run it alone, optimised.
#[actix_rt::test]
#[ignore = "a measurement, not a test"]
async fn throughput() {
    let arbiter = Arbiter::new();
    let intake = intake(1_000_000, Duration::ZERO, 0, &arbiter.handle());
    let began = Instant::now();
    let sent = 500_000;
    let sender = intake.flood(sent);
    intake.settles(sent).await;
    let seconds = began.elapsed().as_secs_f64();
    sender.join().unwrap();
    let (received, kernel) = (intake.meter.received.get(), intake.meter.kernel().get());
    println!("{received} received, {kernel} dropped by the kernel, {:.0}/s", received as f64 / seconds);
}
