//! SIGTERM and SIGINT: the intake stops, everything taken in is delivered or kept, exit 0.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use butler_sos_domain::audit::sample::session;
use butler_sos_integration_tests::audit_client::AuditClient;
use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion, Fault};
use butler_sos_integration_tests::http::Http;
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::sandbox::{Metrics, Sandbox, wait_for};
use butler_sos_integration_tests::sender::send;
use butler_sos_integration_tests::settings::{Settings, csv, influx, mqtt};
use butler_sos_integration_tests::subscriber::Subscriber;
use butler_sos_integration_tests::written::csv_table;
use serde_json::{Value, json};

const GOOD: &str = "/qseow-proxy-session/;h;Start session;LAB;goran;AppAccess;/hub;m";
const STORED: &str = "butler_sos_events_stored_total";

/// Sends until it is told to stop.
struct Stream {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stream {
    fn to(sandbox: &Sandbox) -> Self {
        let socket = sandbox.udp();
        let stop = Arc::new(AtomicBool::new(false));
        let reported = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !reported.load(Ordering::Relaxed) {
                // Nobody may listen any more.
                let _ = socket.send(GOOD.as_bytes());
                std::thread::yield_now();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn health(operations: SocketAddr) -> Option<(u16, Value)> {
    Http::new(operations).get("/health").ok().map(|answer| (answer.status, answer.json()))
}

/// While InfluxDB is away the server waits for it: long enough to look at it.
#[test]
fn what_was_taken_in_is_delivered_before_the_end() {
    for signal in ["TERM", "INT"] {
        let fake = FakeInflux::start(FakeVersion::V1);
        let broker = Mosquitto::start(&Options::default());
        let subscriber = Subscriber::start(&broker, "#");
        let settings = Settings::user_events()
            .and(influx(1, fake.port()))
            .and(mqtt(&broker))
            .and(csv())
            .and(json!({
                "Butler-SOS": { "auditEvents": { "enable": true, "port": 0 } },
                "Pipeline": { "drainSeconds": 60, "csv": { "auditEvents": { "enable": true, "exportDirectory": "{dir}/audit" } } },
            }));
        let mut sandbox = Sandbox::start_new(&settings.text());
        fake.outage(Some(Fault::Status(503)));
        let (operations, audit) = (sandbox.address("operations"), sandbox.address("audit-events"));
        let stream = Stream::to(&sandbox);
        wait_for("events to be stored", || (sandbox.metrics().sum(STORED, &[]) > 3_000.0).then_some(()));
        assert_eq!(health(operations).expect("an answer").0, 200);
        assert_eq!(sandbox.get("/ready").0, 200);

        sandbox.signal(signal);
        let (_, body) = wait_for("the server to say that it stops", || {
            health(operations).filter(|(status, _)| *status == 503)
        });
        assert!(body.to_string().contains("stopping"), "{body}");
        let (status, body) = sandbox.get("/ready");
        assert!(status == 503 && body.contains("the server is stopping"), "{status} {body}");
        // Whoever still sends audit events is told to keep them.
        let event = &session(1, 1_795_169_472_345, None)[0];
        wait_for("audit events to be refused", || {
            (AuditClient::new(audit).post(&event.body).status == 503).then_some(())
        });
        // The intake is at rest while datagrams go on coming.
        let metrics = wait_for("the intake to come to rest", || {
            let looks: Vec<Metrics> = (0..5).map(|_| sandbox.metrics()).collect();
            let stored = |metrics: &Metrics| metrics.sum(STORED, &[]);
            let is_at_rest =
                looks.iter().all(|look| look.unaccounted() == 0.0 && stored(look) == stored(&looks[0]));
            is_at_rest.then(|| looks[0].clone())
        });
        drop(stream);
        let stored = metrics.sum(STORED, &[("intake", "user_events")]) as usize;
        assert!(sandbox.exited().is_none(), "it waits for InfluxDB");
        assert!(fake.points().is_empty());

        fake.outage(None);
        let status = sandbox.wait_for_exit();
        assert_eq!(status.code(), Some(0), "{signal}");
        assert_eq!(fake.points().len(), stored);
        assert_eq!(csv_table(&sandbox.path().join("csv")).1.len(), stored);
        let messages = subscriber.wait_for_messages(2 * stored);
        assert_eq!(messages.len(), 2 * stored);

        // There is nothing left to do, and nothing is done twice.
        sandbox.start();
        let metrics = sandbox.settle();
        assert_eq!(metrics.sum("butler_sos_events_delivered_total", &[]), 0.0);
        assert_eq!(sandbox.stop().code(), Some(0));
        assert_eq!(subscriber.messages().len(), 2 * stored);
    }
}

/// A destination that does not come back costs `drainSeconds`, and gets its events after the next start.
#[test]
fn what_cannot_be_delivered_waits_for_the_next_start() {
    let fake = FakeInflux::start(FakeVersion::V1);
    let settings = Settings::user_events()
        .and(influx(1, fake.port()))
        .and(csv())
        .and(json!({ "Pipeline": { "drainSeconds": 1 } }));
    let mut sandbox = Sandbox::start_new(&settings.text());
    send(&sandbox, &[GOOD; 10]);
    fake.outage(Some(Fault::Status(503)));
    let socket = sandbox.udp();
    for _ in 0..50 {
        socket.send(GOOD.as_bytes()).expect("a datagram can be sent");
    }
    wait_for("60 events to be stored", || (sandbox.metrics().sum(STORED, &[]) == 60.0).then_some(()));
    assert_eq!(sandbox.stop().code(), Some(0));
    assert!(sandbox.log_text().contains("a destination has not caught up"), "{}", sandbox.log_text());
    assert_eq!(csv_table(&sandbox.path().join("csv")).1.len(), 60);
    assert_eq!(fake.points().len(), 10);

    fake.outage(None);
    sandbox.start();
    sandbox.settle();
    assert_eq!(fake.points().len(), 60);
    assert_eq!(csv_table(&sandbox.path().join("csv")).1.len(), 60);
    // Once each: a point that came twice would not be told from one.
    let taken = fake.writes().into_iter().filter(|write| write.status == Some(204));
    assert_eq!(taken.map(|write| write.lines.len()).sum::<usize>(), 60);
}

/// A terminal and a wrapper both send a signal; what was taken in is not lost by that.
#[test]
fn a_second_signal_shortens_the_wait_and_loses_nothing() {
    let fake = FakeInflux::start(FakeVersion::V1);
    fake.outage(Some(Fault::Status(503)));
    let settings = Settings::user_events()
        .and(influx(1, fake.port()))
        .and(json!({ "Pipeline": { "drainSeconds": 3_600, "journal": { "commitIntervalMs": 10_000 } } }));
    let mut sandbox = Sandbox::start_new(&settings.text());
    let operations = sandbox.address("operations");
    let socket = sandbox.udp();
    for _ in 0..50 {
        socket.send(GOOD.as_bytes()).expect("a datagram can be sent");
    }
    wait_for("50 events to be received", || {
        (sandbox.metrics().sum("butler_sos_events_received_total", &[]) == 50.0).then_some(())
    });
    sandbox.signal("TERM");
    sandbox.signal("TERM");
    wait_for("the server to stop", || {
        health(operations).is_none_or(|(status, _)| status == 503).then_some(())
    });
    // Where both came at once they were one.
    if sandbox.exited().is_none() {
        wait_for("the server to end", || {
            if sandbox.exited().is_none() {
                sandbox.signal("TERM");
            }
            sandbox.exited()
        });
    }
    assert_eq!(sandbox.wait_for_exit().code(), Some(0));
    fake.outage(None);
    sandbox.start();
    sandbox.settle();
    assert_eq!(fake.points().len(), 50);
}
