//! received = stored + rejected + shed, and what the kernel dropped beside it: where nothing is lost, and where
//! something must be.

use std::net::UdpSocket;

use butler_sos_integration_tests::sandbox::{Metrics, Sandbox, wait_for};
use butler_sos_integration_tests::sender::send;
use butler_sos_integration_tests::settings::{Settings, csv};
use butler_sos_integration_tests::written::csv_table;
use serde_json::{Value, json};

const RECEIVED: &str = "butler_sos_events_received_total";
const STORED: &str = "butler_sos_events_stored_total";
const REJECTED: &str = "butler_sos_events_rejected_total";
const SHED: &str = "butler_sos_events_shed_total";
const KERNEL: &str = "butler_sos_events_dropped_by_kernel_total";

const GOOD: &str = "/qseow-proxy-session/;h;Start session;LAB;goran;AppAccess;/hub;m";

fn count(metrics: &Metrics, name: &str) -> u64 {
    metrics.sum(name, &[("intake", "user_events")]) as u64
}

fn rejected(metrics: &Metrics, reason: &str) -> u64 {
    metrics.sum(REJECTED, &[("intake", "user_events"), ("reason", reason)]) as u64
}

fn rows(sandbox: &Sandbox) -> Vec<Vec<String>> {
    csv_table(&sandbox.path().join("csv")).1
}

#[test]
fn what_is_refused_is_counted_by_reason_and_kept() {
    let settings = Settings::user_events().and(csv()).and(json!({ "Butler-SOS": { "userEvents": {
        "excludeUser": [{ "directory": "LAB", "userId": "excluded" }, { "directory": "INTERNAL", "userId": "sa_api" }],
        "udpServerConfig": {
            "maxMessageSize": 1_500, "enableSourceValidation": true, "allowedSources": ["127.0.0.1"],
        },
    } } }));
    let sandbox = Sandbox::start_new(&settings.text());
    let user =
        |directory: &str, id: &str| format!("qseow-proxy-session;h;Start session;{directory};{id};O;/hub;m");
    let garbage: Vec<u8> = (0..1_400_u32).map(|n| (n % 251) as u8).collect();
    // Every datagram, and why it is refused, if it is.
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (GOOD.into(), ""),
        (user("LAB", "excluded").into(), "excluded_user"),
        (user("LAB", "Excluded").into(), ""),
        (user("lab", "excluded").into(), ""),
        (user("INTERNAL", "sa_api").into(), "excluded_user"),
        (user("INTERNAL", "sa_api2").into(), ""),
        (padded(1_500), ""),
        (padded(1_501), "size"),
        (padded(60_000), "size"),
        ("hello world".into(), "unknown-type"),
        ("".into(), "unknown-type"),
        (garbage.clone(), "unknown-type"),
        ("qseow-proxy-session;h;Start session;LAB".into(), "too-few-fields"),
        ("qseow-proxy-session;;Start session;LAB;goran;O;/hub;m".into(), "empty-host"),
        ("qseow-proxy-session;h;\t;LAB;goran;O;/hub;m".into(), "empty-command"),
        (GOOD.into(), ""),
    ];
    // Enough to be more than one batch.
    let all: Vec<&(Vec<u8>, &str)> = std::iter::repeat_n(&cases, 20).flatten().collect();
    let datagrams: Vec<&[u8]> = all.iter().map(|(datagram, _)| datagram.as_slice()).collect();
    send(&sandbox, &datagrams);
    // Nobody on this list.
    let stranger = UdpSocket::bind("127.0.0.2:0").expect("every address of 127/8 is here");
    for datagram in &datagrams {
        stranger.send_to(datagram, sandbox.address("user-events")).expect("a datagram can be sent");
    }
    let metrics = sandbox.settle_after(2 * all.len() as u64);

    assert_eq!(count(&metrics, RECEIVED) + count(&metrics, KERNEL), 2 * all.len() as u64);
    assert_eq!(metrics.unaccounted(), 0.0);
    assert_eq!(count(&metrics, SHED), 0);
    let of = |reason: &str| all.iter().filter(|(_, why)| *why == reason).count() as u64;
    for reason in ["excluded_user", "size", "unknown-type", "too-few-fields", "empty-host", "empty-command"] {
        assert_eq!(rejected(&metrics, reason), of(reason), "{reason}");
    }
    assert_eq!(rejected(&metrics, "source") + count(&metrics, KERNEL), all.len() as u64);
    assert_eq!(count(&metrics, STORED), of(""));

    // What was stored is what was not refused, in its order.
    let users: Vec<String> = rows(&sandbox).into_iter().map(|row| row[5].clone()).collect();
    let in_order = ["goran", "Excluded", "excluded", "sa_api2", "goran", "goran"];
    assert_eq!(users, std::iter::repeat_n(in_order, 20).flatten().collect::<Vec<_>>());

    check_quarantine(&sandbox, &all);
    // One line for each reason, not for each datagram.
    for reason in ["unknown-type", "too-few-fields", "empty-host", "empty-command"] {
        let lines = sandbox.log_lines().into_iter().filter(|line| {
            line.contains("stored in the quarantine") && line.contains(reason) && line.contains("127.0.0.1")
        });
        assert_eq!(lines.count(), 1, "{reason}");
    }
    assert!(sandbox.log_lines().iter().filter(|line| line.contains("datagrams dropped")).count() <= 2);
}

/// Each datagram that is no event is in the quarantine: the reason, who sent it, and its first 512 bytes.
fn check_quarantine(sandbox: &Sandbox, all: &[&(Vec<u8>, &str)]) {
    let expect: Vec<_> = all.iter().filter(|(_, reason)| reason.contains('-')).collect();
    let kept: Vec<Value> = wait_for("the quarantine to be written", || {
        let kept = quarantined(sandbox);
        (kept.len() >= expect.len()).then_some(kept)
    });
    assert_eq!(kept.len(), expect.len());
    for (kept, (datagram, reason)) in kept.iter().zip(expect) {
        let first = &datagram[..datagram.len().min(512)];
        assert_eq!(kept["reason"], *reason);
        assert_eq!(kept["bytes"], datagram.len());
        assert_eq!(kept["hex"], hex::encode(first));
        assert_eq!(kept["text"], String::from_utf8_lossy(first).as_ref());
        assert!(kept["source"].as_str().is_some_and(|source| source.starts_with("127.0.0.1:")), "{kept}");
        assert!(kept["time"].as_u64().is_some_and(|ms| ms > 1_700_000_000_000), "{kept}");
    }
}

fn quarantined(sandbox: &Sandbox) -> Vec<Value> {
    let directory = sandbox.path().join("quarantine");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("text")).collect::<String>();
    // The last line may be on its way.
    texts.split_inclusive('\n').filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A good datagram of this size.
fn padded(bytes: usize) -> Vec<u8> {
    let mut datagram = GOOD.as_bytes().to_vec();
    datagram.resize(bytes, b'm');
    datagram
}

/// Whatever the intake listens on, who is allowed by address, network or name is heard, and nobody else.
#[test]
fn addresses_of_every_kind() {
    let has_v6 = UdpSocket::bind("[::1]:0").is_ok();
    let check = |host: &str, allowed: &str, from: &str, is_heard: bool| {
        if host.contains(':') && !has_v6 {
            return;
        }
        let settings = Settings::user_events().and(csv()).and(json!({ "Butler-SOS": { "userEvents": {
            "udpServerConfig": {
                "serverHost": host, "enableSourceValidation": true, "allowedSources": ["192.0.2.7", allowed],
            },
        } } }));
        let sandbox = Sandbox::start_new(&settings.text());
        let port = sandbox.address("user-events").port();
        let to = if from.contains(':') { "::1" } else { "127.0.0.1" };
        let socket = UdpSocket::bind((from, 0)).expect("an address of this machine");
        for _ in 0..3 {
            socket.send_to(GOOD.as_bytes(), (to, port)).expect("a datagram can be sent");
        }
        let metrics = sandbox.settle_after(3);
        let expect = if is_heard { (3, 0) } else { (0, 3) };
        let got = (count(&metrics, STORED), rejected(&metrics, "source"));
        assert_eq!(got, expect, "{from} to {host}, where {allowed} is allowed");
    };
    check("127.0.0.1", "127.0.0.1", "127.0.0.1", true);
    check("127.0.0.1", "127.0.0.0/30", "127.0.0.3", true);
    check("127.0.0.1", "127.0.0.0/30", "127.0.0.4", false);
    check("0.0.0.0", "localhost", "127.0.0.1", true);
    check("0.0.0.0", "localhost", "127.0.0.2", false);
    check("::1", "::1", "::1", true);
    check("::1", "::/127", "::1", true);
    check("::1", "127.0.0.1", "::1", false);
    check("::", "127.0.0.1", "127.0.0.1", true);
    check("::", "127.0.0.1", "127.0.0.2", false);
    check("::", "::1", "::1", true);
}

/// The window is a minute of the clock, and two of them may be met.
#[test]
fn what_is_over_the_rate_is_counted() {
    const LIMIT: u64 = 100;
    let settings = Settings::user_events().and(csv()).and(json!({ "Butler-SOS": { "userEvents": {
        "udpServerConfig": { "rateLimit": { "enable": true, "maxMessagesPerMinute": LIMIT } },
    } } }));
    let sandbox = Sandbox::start_new(&settings.text());
    let metrics = send(&sandbox, &vec![GOOD; 500]);
    let stored = count(&metrics, STORED);
    assert!((LIMIT..=2 * LIMIT).contains(&stored), "{stored}");
    assert_eq!(rejected(&metrics, "rate_limit"), 500 - stored);
    assert_eq!(metrics.unaccounted(), 0.0);
    assert_eq!(rows(&sandbox).len() as u64, stored);
}

/// More than the kernel's buffer and the queue hold: each datagram that was sent is in one of the counts.
#[test]
fn what_has_no_room_is_counted_by_the_kernel_and_the_queue() {
    const SENT: u64 = 30_000;
    let settings = Settings::user_events().and(csv()).and(json!({
        "Butler-SOS": { "userEvents": { "udpServerConfig": { "messageQueue": { "maxSize": 5 } } } },
        "Pipeline": { "udp": { "receiveBufferBytes": 32_768 } },
    }));
    let sandbox = Sandbox::start_new(&settings.text());
    let socket = sandbox.udp();
    for _ in 0..SENT {
        socket.send(GOOD.as_bytes()).expect("a datagram can be sent");
    }
    let metrics = sandbox.settle_after(SENT);
    let [received, kernel] = [RECEIVED, KERNEL].map(|name| count(&metrics, name));
    assert_eq!(received + kernel, SENT);
    let queue_full = metrics.sum(SHED, &[("reason", "queue_full")]) as u64;
    assert!(kernel > 0 && queue_full > 0, "{kernel} dropped by the kernel, {queue_full} by the queue");
    let stored = count(&metrics, STORED);
    assert_eq!(received, stored + queue_full);
    assert_eq!(rows(&sandbox).len() as u64, stored);
    for detail in ["the kernel dropped datagrams", "datagrams dropped"] {
        wait_for(detail, || sandbox.log_text().contains(detail).then_some(()));
    }
}
