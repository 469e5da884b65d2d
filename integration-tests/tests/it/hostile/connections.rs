//! Crowds: connections that only wait, heads and bodies that come a byte at a time. Whoever works goes on working.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use butler_sos_integration_tests::audit_client::AuditClient;
use butler_sos_integration_tests::memory::peak_bytes;
use butler_sos_integration_tests::numbered::NumberedSender;
use butler_sos_integration_tests::raw_http::RawHttp;
use butler_sos_integration_tests::sandbox::{Sandbox, get, wait_for};
use butler_sos_integration_tests::settings::Settings;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::everything::StopAtEnd;

use super::{MEMORY_MAX, event, head};

const STORED: &str = "butler_sos_events_stored_total";

fn server(audit: serde_json::Value) -> Sandbox {
    let settings = Settings::user_events().and(json!({
        "Butler-SOS": { "auditEvents": { "enable": true, "port": 0, "rateLimit": { "enable": false } } },
        "Pipeline": { "audit": audit },
    }));
    Sandbox::start_new(&settings.text())
}

/// As many connections as are wanted, or as this process may open with room for the tests beside this one.
fn as_many(wanted: usize) -> usize {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit is allowed");
    }
    wanted.min(usize::try_from(hard).unwrap_or(usize::MAX).saturating_sub(2_000))
}

/// What one who behaves met.
struct Met {
    posted: usize,
    p99: Duration,
    longest: Duration,
}

/// Posts events from `first` on, one after the other, until told to stop: half of them on one connection, half on a
/// new one each. Every one of them is taken.
fn behave(server: SocketAddr, first: usize, stop: &AtomicBool) -> Met {
    let lasting = AuditClient::new(server);
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let n = first + times.len();
        let begun = Instant::now();
        // A client sends again what was not answered; the same event is stored once.
        let deliver = |client: &AuditClient| client.try_post(event(n)).filter(|answer| answer.status == 202);
        let taken = if n.is_multiple_of(2) { deliver(&lasting) } else { deliver(&AuditClient::new(server)) };
        if taken.is_none() {
            wait_for("an event to be taken", || deliver(&AuditClient::new(server)));
        }
        times.push(begun.elapsed());
    }
    times.sort();
    let posted = times.len();
    Met { posted, p99: times[posted * 99 / 100], longest: times[posted - 1] }
}

/// One who behaves posts and sends datagrams while `attack` runs; all of it arrives. Says how long an answer took.
fn works_during(name: &str, sandbox: &Sandbox, attack: impl FnOnce(SocketAddr)) {
    let server = sandbox.address("audit-events");
    let before = {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let end = StopAtEnd(&stop);
            let behaving = scope.spawn(|| behave(server, 0, &stop));
            wait_for("some events", || (sandbox.metrics().sum(STORED, &[]) >= 100.0).then_some(()));
            drop(end);
            behaving.join().expect("it behaves")
        })
    };
    let stop = AtomicBool::new(false);
    let sent = AtomicUsize::new(0);
    let during = std::thread::scope(|scope| {
        let end = StopAtEnd(&stop);
        let behaving = scope.spawn(|| behave(server, before.posted, &stop));
        scope.spawn(|| {
            let mut sender = NumberedSender::new(sandbox, 0);
            while !stop.load(Ordering::Relaxed) {
                sender.send(100);
                sent.fetch_add(100, Ordering::Relaxed);
            }
        });
        attack(server);
        drop(end);
        behaving.join().expect("it behaves")
    });
    let metrics = sandbox.settle();
    let stored = |intake| metrics.sum(STORED, &[("intake", intake)]);
    assert_eq!(stored("audit_events"), (before.posted + during.posted) as f64);
    assert_eq!(stored("user_events"), sent.load(Ordering::Relaxed) as f64);
    assert_eq!(metrics.sum("butler_sos_actor_restarts_total", &[]), 0.0);
    let peak = peak_bytes(sandbox.pid());
    assert!(peak < MEMORY_MAX, "{peak} bytes");
    println!(
        "{name}: posts answered before {} (p99 {:?}, longest {:?}), during {} (p99 {:?}, longest {:?}); {} user events; {} turned away; peak {} MiB",
        before.posted,
        before.p99,
        before.longest,
        during.posted,
        during.p99,
        during.longest,
        sent.load(Ordering::Relaxed),
        metrics.sum("butler_sos_connections_turned_away_total", &[]),
        peak >> 20,
    );
}

#[test]
fn ten_thousand_that_only_wait() {
    let sandbox = server(json!({}));
    works_during("10 000 idle connections", &sandbox, |server| {
        let crowd: Vec<RawHttp> =
            (0..as_many(10_000)).filter_map(|_| RawHttp::connect(server).ok()).collect();
        assert!(crowd.len() >= as_many(10_000) * 9 / 10, "{}", crowd.len());
        // One address has its share, and what this machine may open.
        wait_for("the crowd to be turned away", || {
            let metrics = sandbox.metrics();
            let displaced =
                metrics.sum("butler_sos_connections_turned_away_total", &[("reason", "displaced")]);
            let open = metrics.sum("butler_sos_process_open_fds", &[]);
            (open < 1_500.0 && displaced > (crowd.len() / 2) as f64).then_some(())
        });
    });
}

/// `count` connections that begin with `first` and go on with `more`, byte by byte, beginning anew when they are ended.
fn trickle(server: SocketAddr, count: usize, first: &str, more: &str, last: Duration) {
    let begin = || {
        let mut connection = RawHttp::connect(server).ok()?;
        connection.say(first);
        Some(connection)
    };
    let mut crowd: Vec<Option<RawHttp>> = (0..count).map(|_| begin()).collect();
    let until = Instant::now() + last;
    let mut bytes = more.bytes().cycle();
    while Instant::now() < until {
        for place in &mut crowd {
            let byte = bytes.next().unwrap_or(b'x');
            if place.as_mut().is_none_or(|connection| !connection.say([byte])) {
                *place = begin();
            }
        }
    }
}

#[test]
fn heads_that_come_a_byte_at_a_time() {
    let sandbox = server(json!({ "headerTimeoutSeconds": 1, "connectionsPerAddressMax": 200 }));
    works_during("500 slow heads", &sandbox, |server| {
        trickle(server, 500, "POST /api/v1/audit-event HTTP/1.1\r\nX: ", "y", Duration::from_secs(4));
    });
}

#[test]
fn bodies_that_come_a_byte_at_a_time() {
    let sandbox = server(
        json!({ "bodyTimeoutSeconds": 2, "connectionsPerAddressMax": 200, "largeBodiesBytesMax": "1 MiB" }),
    );
    let large = format!("{}{}", head("Content-Length: 1000000\r\n\r\n"), " ".repeat(20_000));
    works_during("500 slow bodies", &sandbox, |server| {
        trickle(server, 500, &large, " ", Duration::from_secs(4))
    });
}

#[test]
fn a_second_head_has_its_time_too() {
    let sandbox = server(json!({ "headerTimeoutSeconds": 1, "keepAliveSeconds": 3 }));
    let server = sandbox.address("audit-events");
    let whole = "GET /api/v1/test-connection HTTP/1.1\r\nHost: h\r\n\r\n";
    // The second begins at once, later, or never.
    let mut at_once = RawHttp::connect(server).expect("a connection");
    at_once.say(format!("{whole}GET / HT"));
    let mut later = RawHttp::connect(server).expect("a connection");
    later.say(whole);
    let mut never = RawHttp::connect(server).expect("a connection");
    never.say(whole);
    let begun = Instant::now();
    wait_for("all of them to be ended", || {
        later.say("G");
        (later.is_ended() && at_once.is_ended() && never.is_ended()).then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn the_operations_server_has_room_for_who_asks() {
    let sandbox = server(json!({}));
    let operations = sandbox.address("operations");
    let crowd: Vec<RawHttp> = (0..1_000).filter_map(|_| RawHttp::connect(operations).ok()).collect();
    let slow: Vec<RawHttp> = (0..300)
        .filter_map(|_| {
            let mut connection = RawHttp::connect(operations).ok()?;
            connection.say("GET /metrics HTTP/1.1\r\nX: ").then_some(connection)
        })
        .collect();
    let begun = Instant::now();
    for path in ["/metrics", "/health", "/ready", "/api/state"] {
        assert_eq!(get(operations, path).expect("an answer").0, 200, "{path}");
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}: nobody waits for the crowd", begun.elapsed());
    assert!(
        sandbox.metrics().sum("butler_sos_connections_turned_away_total", &[("actor", "operations")]) > 500.0
    );
    drop((crowd, slow));
    assert!(peak_bytes(sandbox.pid()) < MEMORY_MAX);
}
