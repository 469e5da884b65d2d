//! Requests that are not what they say.

use std::io::Write;

use butler_sos_integration_tests::audit_client::AuditClient;
use butler_sos_integration_tests::audit_config::AuditConfig;
use butler_sos_integration_tests::memory::peak_bytes;
use butler_sos_integration_tests::raw_http::{Heard, RawHttp};
use butler_sos_integration_tests::sandbox::{Metrics, Sandbox, wait_for};
use butler_sos_integration_tests::settings::Settings;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::{MEMORY_MAX, event, head, post};

fn audit_server(limits: serde_json::Value) -> Sandbox {
    let settings = Settings::bare().and(json!({
        "Butler-SOS": { "auditEvents": { "enable": true, "port": 0, "rateLimit": { "enable": false } } },
        "Pipeline": { "audit": limits },
    }));
    Sandbox::start_new(&settings.text())
}

const STORED: &str = "butler_sos_events_stored_total";

/// One answer, an error, and the end of the connection.
fn is_refused(heard: &Heard) -> bool {
    matches!(heard.statuses[..], [400 | 408 | 413 | 414 | 431 | 501])
}

#[test]
fn no_request_hides_in_another() {
    let sandbox = audit_server(json!({}));
    let server = sandbox.address("audit-events");
    // Stored if anybody takes it for a request of its own.
    let hidden = post("", &event(666));
    let body = event(1);
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let length = body.len();
    for (name, bytes) in [
        (
            "length and chunks",
            head(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ),
        ("chunks and length", head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")),
        ("two lengths", head(&format!("Content-Length: {length}\r\nContent-Length: 0\r\n\r\n"))),
        (
            "two lengths, the other way",
            head(&format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n")),
        ),
        ("a list of lengths", head(&format!("Content-Length: {length}, {length}\r\n\r\n{body}"))),
        ("a signed length", head(&format!("Content-Length: +{length}\r\n\r\n{body}"))),
        ("a negative length", head("Content-Length: -1\r\n\r\n")),
        ("a hexadecimal length", head("Content-Length: 0x10\r\n\r\n")),
        ("no length", head("Content-Length: \r\n\r\n")),
        ("a length beyond numbers", head("Content-Length: 99999999999999999999\r\n\r\n")),
        ("an unknown coding", head(&format!("Transfer-Encoding: xchunked\r\n\r\n{chunked}"))),
        ("chunks that are not last", head(&format!("Transfer-Encoding: chunked, identity\r\n\r\n{chunked}"))),
        (
            "chunks and something",
            head("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n"),
        ),
        ("a vertical tab", head("Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n")),
        ("a blank before the colon", head("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n")),
        ("a folded line", head("X: a\r\n b\r\nContent-Length: 0\r\n\r\n")),
        ("a folded coding", head("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n")),
        ("NUL in a value", head("X: a\0b\r\nContent-Length: 0\r\n\r\n")),
        ("NUL in a name", head("X\0: a\r\nContent-Length: 0\r\n\r\n")),
        ("a lone CR", head("X: a\rContent-Length: 0\r\n\r\n")),
        ("no colon", head("just words\r\n\r\n")),
        ("no host", "POST /api/v1/audit-event HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned()),
        (
            "an old version with chunks",
            head("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0"),
        ),
        ("a version to come", head("Content-Length: 0\r\n\r\n").replace("HTTP/1.1", "HTTP/3.0")),
        ("no version", "GET /\r\n\r\n".to_owned()),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("another protocol", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".to_owned()),
        ("a chunk beyond numbers", head("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n")),
        ("a chunk beyond memory", head("Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nx")),
        ("a signed chunk", head("Transfer-Encoding: chunked\r\n\r\n-1\r\nx")),
        ("a chunk without a size", head("Transfer-Encoding: chunked\r\n\r\n\r\nx")),
        (
            "a chunk that is longer",
            head(&format!("Transfer-Encoding: chunked\r\n\r\n3\r\n{body}\r\n0\r\n\r\n")),
        ),
        ("chunks with bare line feeds", head("Transfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n")),
    ] {
        let heard = RawHttp::ask(server, format!("{bytes}{hidden}"));
        assert!(heard.statuses.is_empty() || is_refused(&heard), "{name}: {heard:?}");
    }
    // What is odd and harmless is taken once.
    for (n, bytes) in [
        head(&format!(
            "Transfer-Encoding: chunked\r\n\r\n{};{}\r\n{}\r\n0;x=y\r\n\r\n",
            format_args!("{length:x}"),
            "e=".repeat(500),
            event(2)
        )),
        head(&format!("Transfer-Encoding: Chunked\r\n\r\n{length:X}\r\n{}\r\n0\r\n\r\n", event(3))),
        post("Content-Encoding: identity\r\n", &event(4)),
        post("Expect: 100-continue\r\n", &event(5)),
    ]
    .iter()
    .enumerate()
    {
        let heard = RawHttp::ask(server, bytes);
        assert_eq!(heard.statuses.last(), Some(&202), "{n}: {heard:?}");
        assert_eq!(heard.text.matches("\"processed\"").count(), 1, "{n}: {heard:?}");
    }
    // A body is a body, whatever stands in it.
    let heard = RawHttp::ask(
        server,
        format!(
            "GET /api/v1/test-connection HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        ),
    );
    assert_eq!(heard.statuses, [200]);
    let metrics = sandbox.settle();
    assert_eq!(metrics.sum(STORED, &[]), 4.0);
    assert_eq!(metrics.sum("butler_sos_actor_restarts_total", &[]), 0.0);
}

#[test]
fn what_is_too_long_or_too_short_is_refused() {
    let sandbox = audit_server(json!({ "headerBytesMax": "16 KiB", "bodyTimeoutSeconds": 2 }));
    let server = sandbox.address("audit-events");
    let ok = post("", &event(1));
    let long = |bytes: usize| "x".repeat(bytes);
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let url = |bytes| ok.replacen("/api/v1/audit-event", &format!("/{}", long(bytes)), 1);
    for (name, bytes, statuses) in [
        ("a long header", post(&format!("X: {}\r\n", long(17_000)), "{}"), vec![431]),
        ("a longer one", post(&format!("X: {}\r\n", long(100_000)), "{}"), vec![431]),
        ("one that is beyond the parser", post(&format!("X: {}\r\n", long(300_000)), "{}"), vec![413]),
        ("a header without an end", head(&format!("X: {}", long(2_000_000))), vec![413]),
        ("many headers", post(&many(90), &event(2)), vec![202]),
        ("too many headers", post(&many(200), "{}"), vec![400]),
        ("a long URL", url(20_000), vec![431]),
        ("a URL that is beyond the parser", url(200_000), vec![413]),
        ("a long method", ok.replacen("POST", &long(5_000), 1), vec![405]),
    ] {
        let heard = RawHttp::ask(server, bytes);
        let same = heard.statuses == statuses
            || (statuses != [202] && heard.statuses.is_empty())
            || is_refused(&heard);
        assert!(same || (name == "a long method" && !heard.statuses.contains(&202)), "{name}: {heard:?}");
        if statuses == [431] {
            assert_eq!(heard.statuses, [431], "{name}");
            assert!(heard.text.contains(r#""reason":"Request header fields too large""#), "{}", heard.text);
            assert!(heard.text.to_lowercase().contains("connection: close"), "{}", heard.text);
        }
    }
    // Less than promised, and then nothing, or silence.
    let short = post("", &event(3)).replacen("Content-Length: ", "Content-Length: 1", 1);
    let heard = RawHttp::ask(server, &short);
    assert!(heard.statuses.is_empty() || heard.statuses == [400], "{heard:?}");
    let mut silent = RawHttp::connect(server).expect("a connection");
    silent.say(&short);
    assert_eq!(silent.listen().statuses, [408], "its body did not come in time");
    // More than promised: the rest is no request.
    let heard = RawHttp::ask(server, format!("{}garbage\r\n\r\n", post("", &event(4))));
    assert_eq!(heard.statuses, [202, 400]);
    let metrics = sandbox.settle();
    assert_eq!(metrics.sum(STORED, &[]), 2.0);
    assert_eq!(metrics.sum("butler_sos_events_rejected_total", &[("reason", "incomplete")]), 2.0);
}

#[test]
fn a_bomb_stays_packed() {
    let sandbox = audit_server(json!({}));
    let server = sandbox.address("audit-events");
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..512 {
        bomb.write_all(&zeros).expect("packed");
    }
    let bomb = bomb.finish().expect("packed");
    assert!(bomb.len() < 4 << 20);
    let bomb = &bomb[..bomb.len().min(1 << 20)];
    for coding in ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "gzip, gzip", "identity, br"] {
        let head = head(&format!("Content-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n", bomb.len()));
        for _ in 0..4 {
            let heard = RawHttp::ask(server, [head.as_bytes(), bomb].concat());
            assert_eq!(heard.statuses, [415], "{coding}");
        }
    }
    assert!(peak_bytes(sandbox.pid()) < MEMORY_MAX, "{}", peak_bytes(sandbox.pid()));
    let metrics = sandbox.settle();
    assert_eq!(metrics.sum("butler_sos_events_rejected_total", &[("reason", "media_type")]), 32.0);
}

#[test]
fn many_requests_at_once_are_answered_in_their_order() {
    const REQUESTS: usize = 300;
    let sandbox = audit_server(json!({}));
    let server = sandbox.address("audit-events");
    let mut bytes = String::new();
    for n in 0..REQUESTS {
        // Every third is none.
        bytes += &post("", &if n % 3 == 0 { "{".to_owned() } else { event(n) });
    }
    let heard = RawHttp::ask(server, bytes);
    let expect: Vec<u16> = (0..REQUESTS).map(|n| if n % 3 == 0 { 400 } else { 202 }).collect();
    assert_eq!(heard.statuses, expect);
    assert_eq!(sandbox.settle().sum(STORED, &[]), 200.0);
}

#[test]
fn who_does_not_listen_is_left() {
    let sandbox = audit_server(json!({ "answerTimeoutSeconds": 1 }));
    let server = sandbox.address("audit-events");
    let open = |metrics: &Metrics| metrics.sum("butler_sos_process_open_fds", &[]);
    let before = open(&sandbox.metrics());
    let mut deaf: Vec<RawHttp> = (0..8).map(|_| RawHttp::connect(server).expect("a connection")).collect();
    let ask = "GET /api/v1/test-connection HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2_000);
    // Each asks until nothing more is taken: then answers fill all that there is between the two.
    std::thread::scope(|scope| {
        for deaf in &mut deaf {
            scope.spawn(|| while deaf.say(&ask) {});
        }
        AuditClient::new(server).deliver(event(1));
    });
    wait_for("deaf clients to be left", || (open(&sandbox.metrics()) <= before + 3.0).then_some(()));
    AuditClient::new(server).deliver(event(2));
    assert!(peak_bytes(sandbox.pid()) < MEMORY_MAX, "{}", peak_bytes(sandbox.pid()));
}

/// Somebody guesses at both servers, and those who know the tokens do not notice.
#[test]
fn a_right_token_is_answered_while_wrong_ones_wait() {
    // Together they wait for longer than any machine needs for one answer.
    const GUESSES: usize = 60;
    let settings = Settings::bare().and(json!({
        "Butler-SOS": { "auditEvents": {
            "enable": true, "port": 0, "apiToken": "right", "rateLimit": { "enable": false },
        } },
        "Pipeline": { "operations": { "token": "right" } },
    }));
    let mut sandbox = Sandbox::new(&settings.text());
    sandbox.start_closed();
    for (server, path) in [("audit-events", "/api/v1/test-connection"), ("operations", "/api/state")] {
        let server = sandbox.address(server);
        let ask = |token: &str, more: &str| {
            format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nAuthorization: Bearer {token}\r\n{more}\r\n")
        };
        let mut guesser = RawHttp::connect(server).expect("a connection");
        guesser.say(ask("wrong", "").repeat(GUESSES) + &ask("wrong", "Connection: close\r\n"));
        for _ in 0..3 {
            let heard = RawHttp::ask(server, ask("right", "Connection: close\r\n"));
            assert_eq!(heard.statuses, [200], "{}", heard.text);
        }
        let before = guesser.heard_so_far().statuses.len();
        assert!(before < GUESSES, "{path}: the guesses are all answered already");
        // As long as nobody needs its place it gets its answers.
        let heard = guesser.listen();
        assert_eq!(heard.statuses, vec![401; GUESSES + 1 - before], "{path}");
    }
}

#[test]
fn guessing_a_token_is_slow_and_leaves_no_trace_of_it() {
    const GUESSES: usize = 60;
    let config = AuditConfig { token: "corr3ct-h0rse-batt3ry", files: true, ..AuditConfig::default() };
    let mut config: serde_json::Value = serde_json::from_str(&config.text()).expect("JSON");
    config["Butler-SOS"]["auditEvents"]["rateLimit"] = json!({ "enable": true, "maxPerMinute": 30 });
    config["Butler-SOS"]["logLevel"] = json!("silly");
    let sandbox = Sandbox::start_new(&config.to_string());
    let server = sandbox.address("audit-events");
    let mut statuses = Vec::new();
    for n in 0..GUESSES {
        let client = AuditClient::new(server).with_token(&format!("corr3ct-h0rse-batt3r{n}"));
        let answer = client.post(event(n));
        assert!(!answer.text().contains("corr3ct"), "{answer:?}");
        statuses.push(answer.status);
    }
    let unauthorized = statuses.iter().filter(|status| **status == 401).count();
    let limited = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!(unauthorized + limited, GUESSES);
    // Two windows when a minute's end fell into the test.
    assert!((30..=60).contains(&unauthorized) && (unauthorized == GUESSES || limited > 0), "{unauthorized}");
    let metrics = sandbox.settle();
    let rejected = |reason| metrics.sum("butler_sos_events_rejected_total", &[("reason", reason)]);
    assert_eq!((rejected("unauthorized"), rejected("rate_limit")), (unauthorized as f64, limited as f64));
    assert_eq!(metrics.sum(STORED, &[]), 0.0);
    let log = sandbox.log_text();
    assert!(!log.contains("corr3ct"), "neither the token nor a guess is logged");
    assert!(log.contains("missing or wrong token"));
    assert!(log.matches("missing or wrong token").count() < 10, "one line a minute");
}
