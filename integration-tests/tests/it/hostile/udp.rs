//! Datagrams: as fast as a sender can, as large as they get, from whom nobody knows, and of no sense at all.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use butler_sos_integration_tests::memory::peak_bytes;
use butler_sos_integration_tests::numbered::{Census, datagram};
use butler_sos_integration_tests::sandbox::{Metrics, Sandbox, wait_for};
use butler_sos_integration_tests::seeded_rng::SeededRng;
use butler_sos_integration_tests::sender::send;
use butler_sos_integration_tests::settings::{Settings, csv};
use serde_json::{Value, json};

use crate::everything::StopAtEnd;

use super::MEMORY_MAX;

fn server(more: Value) -> Sandbox {
    Sandbox::start_new(&Settings::user_events().and(csv()).and(more).text())
}

fn udp(settings: Value) -> Value {
    json!({ "Butler-SOS": { "userEvents": { "udpServerConfig": settings } } })
}

fn socket(sandbox: &Sandbox, from: &str) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).expect("an address of this machine");
    socket.connect(sandbox.address("user-events")).expect("the intake has an address");
    socket
}

/// A sender whose buffer is full waits: what is sent is on its way.
fn send_surely(socket: &UdpSocket, datagram: &[u8]) {
    wait_for("a datagram to be sent", || socket.send(datagram).ok());
}

const KERNEL: &str = "butler_sos_events_dropped_by_kernel_total";
const RECEIVED: &str = "butler_sos_events_received_total";
const STORED: &str = "butler_sos_events_stored_total";
const REJECTED: &str = "butler_sos_events_rejected_total";

/// Everything that was sent is either received or was dropped by the kernel, to the one.
fn settle_all(sandbox: &Sandbox, sent: u64) -> Metrics {
    let metrics = sandbox.settle_after(sent);
    let got = metrics.sum(RECEIVED, &[]) + metrics.sum(KERNEL, &[]);
    assert_eq!(got, sent as f64, "received and dropped by the kernel is what was sent");
    metrics
}

#[test]
fn a_burst_is_stored_or_counted_to_the_one() {
    const SENDERS: u64 = 2;
    const EACH: u64 = 100_000;
    let sandbox = server(udp(json!({ "messageQueue": { "maxSize": 1_000_000 } })));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let socket = socket(&sandbox, "127.0.0.1");
            scope.spawn(move || {
                for n in sender * EACH..(sender + 1) * EACH {
                    send_surely(&socket, datagram(n).as_bytes());
                }
            });
        }
    });
    let took = begun.elapsed();
    let metrics = settle_all(&sandbox, SENDERS * EACH);
    let (received, stored) = (metrics.sum(RECEIVED, &[]), metrics.sum(STORED, &[]));
    assert_eq!(stored, received, "what the kernel took is stored");
    let census = Census::of_csv(&sandbox.path().join("csv"));
    census.assert_once("CSV");
    assert_eq!(census.len() as f64, stored);
    assert!(peak_bytes(sandbox.pid()) < MEMORY_MAX, "{}", peak_bytes(sandbox.pid()));
    println!(
        "burst: {} datagrams sent in {took:?}: {stored} stored, {} dropped by the kernel, peak {} MiB",
        SENDERS * EACH,
        metrics.sum(KERNEL, &[]),
        peak_bytes(sandbox.pid()) >> 20,
    );
}

#[test]
fn the_largest_and_the_smallest() {
    const LARGE: usize = 2_000;
    let sandbox = server(json!({}));
    let mut large = datagram(1).into_bytes();
    large.resize(65_507, b'x');
    let nonsense = vec![0xff_u8; 65_507];
    let datagrams: Vec<&[u8]> = (0..LARGE).map(|n| [&large[..], &[], &nonsense, b"\0"][n % 4]).collect();
    let metrics = send(&sandbox, &datagrams);
    assert_eq!(metrics.sum(STORED, &[]), (LARGE / 4) as f64);
    assert_eq!(metrics.sum(REJECTED, &[]), (LARGE * 3 / 4) as f64);
    // As fast as they go: half of what the kernel takes is an event.
    let socket = socket(&sandbox, "127.0.0.1");
    for n in 0..LARGE {
        send_surely(&socket, [&large[..], &nonsense][n % 2]);
    }
    let metrics = settle_all(&sandbox, 2 * LARGE as u64);
    assert_eq!(metrics.sum("butler_sos_actor_restarts_total", &[]), 0.0);
    assert!(peak_bytes(sandbox.pid()) < MEMORY_MAX, "{}", peak_bytes(sandbox.pid()));
}

#[test]
fn a_flood_from_a_stranger_leaves_others_their_share() {
    const EVENTS: u64 = 3_000;
    let sandbox = server(udp(json!({ "enableSourceValidation": true, "allowedSources": ["127.0.0.1"] })));
    let (stop, strange) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _end = StopAtEnd(&stop);
        let stranger = socket(&sandbox, "127.0.0.2");
        let (stop, strange) = (&stop, &strange);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if stranger.send(&[b'x'; 1_000]).is_ok() {
                    strange.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        wait_for("the flood", || (strange.load(Ordering::Relaxed) > 10_000).then_some(()));
        let friend = socket(&sandbox, "127.0.0.1");
        for n in 0..EVENTS {
            // About a thousand a second.
            let next = Instant::now() + Duration::from_millis(1);
            friend.send(datagram(n).as_bytes()).expect("sent");
            while Instant::now() < next {
                std::thread::yield_now();
            }
        }
    });
    let strange = strange.load(Ordering::Relaxed);
    let metrics = settle_all(&sandbox, strange + EVENTS);
    let stored = metrics.sum(STORED, &[]);
    assert_eq!(metrics.sum(REJECTED, &[]), metrics.sum(REJECTED, &[("reason", "source")]));
    assert_eq!(metrics.sum(RECEIVED, &[]), stored + metrics.sum(REJECTED, &[]));
    // The kernel does not know who is allowed: it drops of both alike, so the allowed one keeps at least its share.
    let share = metrics.sum(RECEIVED, &[]) / (strange + EVENTS) as f64;
    let kept = stored / EVENTS as f64;
    println!(
        "flood: {strange} strange datagrams, share {share:.3} taken; {stored} of {EVENTS} allowed events stored"
    );
    assert!(kept >= share / 2.0, "{kept} of the allowed ones, {share} of all");
    assert!(stored > 0.0);
    assert!(peak_bytes(sandbox.pid()) < MEMORY_MAX);
    let quarantine = std::fs::read_dir(sandbox.path().join("quarantine")).map_or(0, |files| files.count());
    assert!(quarantine <= 1, "strangers fill no disk");
}

#[test]
fn nonsense_is_kept_within_bounds() {
    const DATAGRAMS: usize = 20_000;
    const QUARANTINE: u64 = 1 << 20;
    let sandbox = server(json!({ "Pipeline": { "quarantine": { "bytesMax": QUARANTINE } } }));
    let mut seeded_rng = SeededRng::of_seed(1);
    let nonsense: Vec<Vec<u8>> = (0..DATAGRAMS)
        .map(|n| {
            // Every tenth begins as an event does.
            let head: &[u8] = if n % 10 == 0 { b"qseow-proxy-session;h;Start session;" } else { b"" };
            let length = seeded_rng.below(400);
            head.iter().copied().chain((0..length).map(|_| seeded_rng.below(256) as u8)).collect()
        })
        .collect();
    let metrics = send(&sandbox, &nonsense);
    assert_eq!(metrics.sum(RECEIVED, &[]), DATAGRAMS as f64);
    assert_eq!(metrics.sum(STORED, &[]) + metrics.sum(REJECTED, &[]), DATAGRAMS as f64);
    assert!(metrics.sum(REJECTED, &[]) > (DATAGRAMS / 2) as f64);
    assert_eq!(metrics.sum("butler_sos_actor_restarts_total", &[]), 0.0);
    let files = std::fs::read_dir(sandbox.path().join("quarantine")).expect("a directory").flatten();
    let bytes: u64 = files.filter_map(|file| file.metadata().ok()).map(|about| about.len()).sum();
    assert!(bytes > 0 && bytes <= QUARANTINE, "{bytes} bytes");
}
