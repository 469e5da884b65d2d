//! Behaviour of the server that no recording covers: limits, order of checks, duplicates, draining, faults.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use actix::{Actor, Context, Handler, ResponseFuture};
use butler_sos_domain::audit::{AuditRecord, BodyHash};
use butler_sos_domain::pseudonym::Pseudonymizer;
use secrecy::SecretString;
use tokio::sync::Semaphore;

use super::harness::{
    Answered, Client, Got, Harness, JSON, PLAIN, bodies_of, event, event_of_type, limited, request, unlimited,
};
use crate::intake::audit_http_ingestor::{AuditHttpConfig, AuditHttpLimits, Privacy};
use crate::journal::message::{Append, AppendRefused};
use crate::kit::mailbox::{Envelope, Mailbox};
use crate::kit::message::Close;
use crate::kit::metric::{IntakeMeter, Metrics};
use crate::kit::testing::until;
use butler_sos_domain::streams::Stream;

const TOKEN: (&str, &str) = ("Authorization", "Bearer sekrit");

fn deadline_stream() -> AuditHttpConfig {
    AuditHttpConfig { api_token: Some(SecretString::from("sekrit")), ..unlimited() }
}

fn assert_secure(got: &Got) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'"),
        ("referrer-policy", "no-referrer"),
        ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(got.header(name), Some(value), "{got:?}");
    }
    assert_eq!(got.header("strict-transport-security"), None);
}

/// A journal that answers when the gate opens.
struct SlowJournal {
    gate: Arc<Semaphore>,
    intake: IntakeMeter,
    appended: Arc<Mutex<Vec<Append>>>,
}

impl Actor for SlowJournal {
    type Context = Context<Self>;
}

impl Handler<Envelope<Append>> for SlowJournal {
    type Result = ResponseFuture<Answered>;

    fn handle(&mut self, mut envelope: Envelope<Append>, _: &mut Self::Context) -> Self::Result {
        self.intake.stored.inc_by(envelope.in_flight.settle_all());
        self.appended.lock().unwrap().push(envelope.body);
        let gate = Arc::clone(&self.gate);
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            drop(envelope.in_flight);
            Ok(0..1)
        })
    }
}

fn slow(config: AuditHttpConfig) -> (Harness, Arc<Semaphore>) {
    let (gate, appended, metrics) = (Arc::new(Semaphore::new(0)), Arc::default(), Metrics::new());
    let journal = SlowJournal {
        gate: Arc::clone(&gate),
        intake: metrics.intake("audit_events"),
        appended: Arc::clone(&appended),
    };
    let to_journal = Mailbox::new(journal.start().recipient::<Envelope<Append>>(), 100_000);
    (Harness::start_on(config, &[], to_journal, appended, metrics), gate)
}

#[actix_rt::test]
async fn every_answer_has_the_body_and_headers_of_the_contract() {
    let harness = Harness::start(deadline_stream());
    let big = vec![b'x'; 1_100_000];
    let encoded = [JSON, TOKEN, ("Content-Encoding", "gzip")];
    for (request, status, reason) in [
        (request("GET", "/", &[], b""), 404, "Not found"),
        (request("POST", "/api/v1/audit-event/", &[], b"{}"), 404, "Not found"),
        (request("OPTIONS", "/elsewhere", &[], b""), 404, "Not found"),
        (request("GET", "/api/v1/audit-event", &[], b""), 405, "Method not allowed"),
        (request("DELETE", "/api/v1/audit-event", &[], b""), 405, "Method not allowed"),
        (request("POST", "/api/v1/test-connection", &[], b"{}"), 405, "Method not allowed"),
        (request("GET", "/api/v1/test-connection", &[], b""), 401, "Unauthorized"),
        // The token is checked before the size, the size before the media type, the media type before the
        // content.
        (request("POST", "/api/v1/audit-event", &[], &big), 401, "Unauthorized"),
        (request("POST", "/api/v1/audit-event", &[TOKEN], &big), 413, "Payload too large"),
        (request("POST", "/api/v1/audit-event", &[TOKEN], b"{"), 415, "Unsupported media type"),
        (
            request("POST", "/api/v1/audit-event", &[TOKEN, ("Content-Type", "text/json")], b"{}"),
            415,
            "Unsupported media type",
        ),
        (request("POST", "/api/v1/audit-event", &encoded, b"{}"), 415, "Unsupported media type"),
        (request("POST", "/api/v1/audit-event", &[TOKEN, JSON], b""), 400, "Schema validation failed"),
    ] {
        let what = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        let got = harness.send(request).await;
        let body = got.json();
        assert_eq!((got.status, body["reason"].as_str()), (status, Some(reason)), "{what} {got:?}");
        assert_eq!(body["status"], "error");
        assert_eq!(got.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(got.header("allow").is_some(), status == 405);
        assert_secure(&got);
    }
    let preflight = harness.send(request("OPTIONS", "/api/v1/audit-event", &[], b"")).await;
    assert_eq!((preflight.status, preflight.header("vary")), (204, None));
    assert_secure(&preflight);
    let head = harness.send(request("HEAD", "/api/v1/test-connection", &[TOKEN], b"")).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    harness.assert_conserved();
    assert_eq!(harness.counts()["received"], 6);
}

#[actix_rt::test]
async fn discards_a_chunked_body_over_the_limit() {
    let harness =
        Harness::start(limited(AuditHttpLimits { body_bytes_max: 1_024, ..AuditHttpLimits::default() }));
    let mut sent = request("GET", "/api/v1/audit-event", &[JSON, ("Transfer-Encoding", "chunked")], b"");
    sent.splice(..3, *b"POST");
    for _ in 0..30 {
        sent.extend_from_slice(format!("64\r\n{}\r\n", "x".repeat(100)).as_bytes());
    }
    sent.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(harness.send(sent).await.status, 413);
    assert_eq!(harness.counts()["rejected too_large"], 1);
}

#[actix_rt::test]
async fn limits_requests_per_address() {
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let config = AuditHttpConfig { client_per_minute: Some(2), trusted_proxies, ..deadline_stream() };
    let harness = Harness::start(config);
    let from = |client: &'static str| [JSON, TOKEN, ("X-Forwarded-For", client)];
    assert_eq!(harness.post(&from("192.0.2.1"), event(1)).await.status, 202);
    // Requests with wrong tokens count too.
    assert_eq!(harness.post(&from("192.0.2.1")[..1], event(2)).await.status, 401);
    let forwarded = [JSON, ("X-Forwarded-For", "192.0.2.1")];
    assert_eq!(harness.post(&forwarded, event(2)).await.status, 401);
    let got = harness.post(&from("192.0.2.1"), event(2)).await;
    assert_eq!((got.status, got.json()["reason"].as_str()), (429, Some("Rate limit exceeded")));
    assert_eq!(got.json()["outcome"], "dropped");
    assert_eq!(got.header("x-ratelimit-limit"), Some("2"));
    assert_eq!(got.header("x-ratelimit-remaining"), Some("0"));
    let seconds: u64 = got.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(got.header("x-ratelimit-reset"), got.header("retry-after"));
    assert_secure(&got);
    // Another address has its own window. A preflight counts in none.
    assert_eq!(harness.post(&from("192.0.2.2"), event(3)).await.status, 202);
    let forwarded = [("X-Forwarded-For", "192.0.2.1")];
    assert_eq!(harness.send(request("OPTIONS", "/api/v1/audit-event", &forwarded, b"")).await.status, 204);
    assert_eq!(harness.send(request("GET", "/api/v1/test-connection", &forwarded, b"")).await.status, 429);
    harness.assert_conserved();
}

#[actix_rt::test]
async fn an_ipv6_network_has_one_limit() {
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let config = AuditHttpConfig { client_per_minute: Some(2), trusted_proxies, ..deadline_stream() };
    let harness = Harness::start(config);
    for (n, client, expect) in [
        (1, "2001:db8::1", 202),
        (2, "2001:db8::ffff:2", 202),
        (3, "2001:db8::3:4", 429),
        (4, "2001:db8:0:1::1", 202),
        (5, "::ffff:192.0.2.1", 202),
        (6, "192.0.2.1", 202),
        (7, "::ffff:192.0.2.1", 429),
        (8, "192.0.2.2", 202),
    ] {
        let got = harness.post(&[JSON, TOKEN, ("X-Forwarded-For", client)], event(n)).await;
        assert_eq!(got.status, expect, "{client}");
    }
    harness.assert_conserved();
}

#[actix_rt::test]
async fn limits_stored_events_per_minute() {
    let harness = Harness::start(AuditHttpConfig { queue_per_minute: Some(1), ..unlimited() });
    assert_eq!(harness.post_event("{}").await.status, 400);
    assert_eq!(harness.post_event(&event(1)).await.status, 202);
    let got = harness.post_event(&event(2)).await;
    assert_eq!((got.status, got.header("x-ratelimit-limit")), (429, Some("1")));
    // A rejected event does not count for the limit, and neither does a duplicate.
    assert_eq!(harness.post_event("{}").await.status, 400);
    assert_eq!(harness.post_event(&event(1)).await.status, 202);
    harness.assert_conserved();
    assert_eq!(harness.counts()["rejected queue_rate_limit"], 1);
}

#[actix_rt::test]
async fn screenshot_events_go_to_their_own_stream_when_downloads_are_on() {
    for (screenshots, stream) in [(true, Stream::Screenshots), (false, Stream::AuditEvents)] {
        let harness = Harness::start(AuditHttpConfig { screenshots, ..unlimited() });
        let event = event_of_type("screenshot.url.received", 1);
        let got = harness.post_event(&event).await;
        assert_eq!(got.status, 202, "{got:?}");
        assert_eq!(harness.stored(), [(stream, event)]);
    }
}

#[actix_rt::test]
async fn a_duplicate_is_stored_once() {
    let harness = Harness::start_with(unlimited(), &[event(1)], |_| Ok(0..1));
    for n in [1, 2, 2, 3, 1] {
        assert_eq!(harness.post_event(&event(n)).await.status, 202);
    }
    let bodies: Vec<_> = harness.stored().into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, [event(2), event(3)]);
    assert_eq!(harness.counts()["rejected duplicate"], 3);
    harness.assert_conserved();
}

#[actix_rt::test]
async fn the_same_ids_with_another_body_are_stored_and_marked() {
    let harness = Harness::start_with(unlimited(), &[event(1)], |_| Ok(0..1));
    let other = |n, user: &str| event(n).replace("goran", user);
    let posted = [other(1, "anna"), event(2), other(2, "anna"), other(2, "berta")];
    // Each of them is posted twice: the same body is one event, marked or not.
    for body in posted.iter().chain(&posted) {
        assert_eq!(harness.post_event(body).await.status, 202);
    }
    let of = |n| Some(BodyHash::of(event(n).as_bytes()));
    let expect = [of(1), None, of(2), of(2)];
    let stored = harness.appended.lock().unwrap();
    let records: Vec<_> = stored.iter().flat_map(|append| append.records.records()).collect();
    assert_eq!(records.len(), posted.len());
    for ((record, body), first) in records.iter().zip(&posted).zip(expect) {
        let record = AuditRecord::decode(record).unwrap();
        assert_eq!((record.body, record.conflict_of), (body.as_bytes(), first));
    }
    drop(stored);
    assert_eq!(harness.counts()["remarked conflict"], 3);
    assert_eq!(harness.counts()["rejected duplicate"], 4);
    harness.assert_conserved();
}

#[actix_rt::test]
async fn of_two_concurrent_events_with_the_same_ids_one_is_marked() {
    let harness = Harness::start(unlimited());
    let bodies: Vec<_> = (0..16).map(|n| event(1).replace("goran", &format!("user{n}"))).collect();
    let posts = futures_util::future::join_all(bodies.iter().map(|body| harness.post_event(body))).await;
    assert!(posts.iter().all(|got| got.status == 202));
    let stored = harness.appended.lock().unwrap();
    let records = stored.iter().flat_map(|append| append.records.records());
    let records: Vec<_> = records.map(|record| AuditRecord::decode(record).unwrap()).collect();
    let first: Vec<_> = records.iter().filter(|record| record.conflict_of.is_none()).collect();
    let [first] = first[..] else { panic!("{} without a mark", first.len()) };
    let others = records.iter().filter(|record| record.conflict_of.is_some());
    let marks: Vec<_> = others.filter_map(|record| record.conflict_of).collect();
    assert_eq!(marks, [BodyHash::of(first.body); 15]);
}

#[actix_rt::test]
async fn with_pseudonyms_conflicts_are_found_by_the_stored_ids() {
    let pseudonymizer = Arc::new(Pseudonymizer::new(b"0123456789abcdef"));
    let privacy = Some(Privacy { pseudonymizer, user_is_needed: false });
    let harness = Harness::start(AuditHttpConfig { privacy, ..unlimited() });
    let of = |object: &str| {
        let ids = "\"correlationId\":\"goran-1\",\"type\"";
        event(1).replace("\"type\"", ids).replace("a.png", object)
    };
    for body in [of("a.png"), of("b.png"), of("a.png")] {
        assert_eq!(harness.post_event(&body).await.status, 202);
    }
    let stored = harness.stored();
    let marked = |at: usize| {
        let appended = harness.appended.lock().unwrap();
        let records: Vec<_> = appended.iter().flat_map(|append| append.records.records()).collect();
        AuditRecord::decode(records[at]).unwrap().conflict_of
    };
    assert_eq!(stored.len(), 2);
    assert_eq!(marked(1), Some(BodyHash::of(stored[0].1.as_bytes())));
}

#[actix_rt::test]
async fn a_duplicate_waits_for_the_outcome_of_the_first() {
    let (harness, gate) = slow(unlimited());
    let body = event(1);
    let both = futures_util::future::join(harness.post_event(&body), harness.post_event(&body));
    let opened = async {
        until(|| harness.counts().get("rejected duplicate") == Some(&1)).await;
        until(|| harness.appended.lock().unwrap().len() == 1).await;
        gate.add_permits(1);
    };
    let ((first, second), ()) = tokio::join!(both, opened);
    assert_eq!((first.status, second.status), (202, 202));
    assert_eq!(harness.appended.lock().unwrap().len(), 1);
    harness.assert_conserved();
}

#[actix_rt::test]
async fn a_refusal_by_the_journal_is_503_and_the_event_may_be_sent_again() {
    let refusing = Rc::new(Cell::new(true));
    let full = Rc::clone(&refusing);
    let harness = Harness::start_with(unlimited(), &[], move |append| {
        match (full.get(), bodies_of(append)[0].contains("000000000002")) {
            (true, true) => Err(AppendRefused::Disk("no space".to_owned())),
            (true, false) => Err(AppendRefused::Full),
            (false, _) => Ok(0..1),
        }
    });
    for n in [1, 2] {
        let got = harness.post_event(&event(n)).await;
        assert_eq!((got.status, got.json()["reason"].as_str()), (503, Some("Event queue is full")));
        assert_eq!(got.header("retry-after"), Some("30"));
        assert_secure(&got);
    }
    refusing.set(false);
    assert_eq!(harness.post_event(&event(1)).await.status, 202);
    harness.assert_conserved();
    assert_eq!((harness.counts()["shed journal_full"], harness.counts()["shed journal_disk"]), (1, 1));
}

#[actix_rt::test]
async fn events_that_wait_for_the_journal_are_bounded() {
    let (harness, gate) = slow(AuditHttpConfig { queue_max: 2, ..unlimited() });
    let bodies = [event(1), event(2)];
    let waiting = futures_util::future::join(harness.post_event(&bodies[0]), harness.post_event(&bodies[1]));
    let third = async {
        until(|| harness.appended.lock().unwrap().len() == 2).await;
        let got = harness.post_event(&event(3)).await;
        gate.add_permits(3);
        got
    };
    let ((first, second), third) = tokio::join!(waiting, third);
    assert_eq!((first.status, second.status, third.status), (202, 202, 503));
    assert_eq!(harness.counts()["shed queue_full"], 1);
    // Its room is free again.
    assert_eq!(harness.post_event(&event(3)).await.status, 202);
    harness.assert_conserved();
}

#[actix_rt::test]
async fn events_that_arrive_during_an_append_share_the_next_one() {
    let (harness, gate) = slow(AuditHttpConfig { threads: 1, ..unlimited() });
    let bodies: Vec<_> = (0..10).map(event).collect();
    let first = harness.post_event(&bodies[0]);
    let others = async {
        until(|| harness.appended.lock().unwrap().len() == 1).await;
        let posts = futures_util::future::join_all(bodies[1..].iter().map(|body| harness.post_event(body)));
        let opened = async {
            until(|| harness.actor.received.get() == 10).await;
            gate.add_permits(2);
        };
        tokio::join!(posts, opened).0
    };
    let (first, others) = tokio::join!(first, others);
    assert!(first.status == 202 && others.iter().all(|got| got.status == 202));
    let groups: Vec<_> = harness.appended.lock().unwrap().iter().map(|append| append.records.len()).collect();
    assert_eq!(groups, [1, 9]);
    harness.assert_conserved();
}

#[actix_rt::test]
async fn while_syncs_fail_a_client_is_asked_to_retry_and_its_event_is_stored_once() {
    let (harness, gate) = slow(unlimited());
    let body = event(1);
    let got = harness.post_event(&body).await;
    assert_eq!((got.status, got.header("retry-after")), (503, Some("30")));
    let again = async {
        until(|| harness.counts().get("rejected duplicate") == Some(&1)).await;
        gate.add_permits(1);
    };
    let (got, ()) = tokio::join!(harness.post_event(&body), again);
    assert_eq!(got.status, 202);
    assert_eq!(harness.stored().len(), 1);
    harness.assert_conserved();
}

#[actix_rt::test]
async fn a_full_group_does_not_wait_for_the_one_before_it() {
    let (harness, gate) = slow(AuditHttpConfig { threads: 1, ..unlimited() });
    let large = |n| event(n).replace("goran", &"x".repeat(150 * 1024));
    let bodies: Vec<_> = (0..4).map(large).collect();
    let posts = futures_util::future::join_all(bodies.iter().map(|body| harness.post_event(body)));
    let opened = async {
        // Only the last group may have to wait for an answer.
        until(|| harness.appended.lock().unwrap().len() >= 3).await;
        gate.add_permits(4);
    };
    let (posts, ()) = tokio::join!(posts, opened);
    assert!(posts.iter().all(|got| got.status == 202));
    assert_eq!(harness.stored().len(), 4);
    harness.assert_conserved();
}

#[actix_rt::test]
async fn close_waits_for_events_in_flight_and_then_every_answer_is_503() {
    let (harness, gate) = slow(unlimited());
    let body = event(1);
    let closing = async {
        until(|| harness.appended.lock().unwrap().len() == 1).await;
        let close = harness.close.ask(Close);
        let refused = async {
            // The answer arrives after the close was taken from the mailbox.
            harness.addr.send(Break::Nothing).await.unwrap();
            // The content is still checked. Then there is no room, while the first event is in flight.
            assert_eq!(harness.post_event("{}").await.status, 400);
            let got = harness.post_event(&event(2)).await;
            assert_eq!(got.status, 503);
            assert_eq!(got.header("retry-after"), Some("30"));
            gate.add_permits(1);
        };
        let (closed, ()) = tokio::join!(close, refused);
        closed.unwrap();
        harness.counts()
    };
    let (first, counts) = tokio::join!(harness.post_event(&body), closing);
    assert_eq!(first.status, 202);
    assert_eq!(counts["stored"], 1);
    assert_eq!(harness.post_event(&event(3)).await.status, 503);
    assert_eq!(harness.counts()["shed draining"], 2);
    harness.close.ask(Close).await.unwrap();
    assert_eq!(harness.send(request("GET", "/api/v1/test-connection", &[], b"")).await.status, 200);
    harness.assert_conserved();
}

#[actix_rt::test]
async fn an_event_is_stored_and_counted_when_its_client_disconnects() {
    let (harness, gate) = slow(unlimited());
    let address = harness.address;
    let sent = request("POST", "/api/v1/audit-event", &PLAIN, event(1).as_bytes());
    let client = actix_rt::task::spawn_blocking(move || {
        let mut client = Client::connect(address);
        client.write(&sent);
        client
    });
    let client = client.await.unwrap();
    until(|| harness.appended.lock().unwrap().len() == 1).await;
    drop(client);
    gate.add_permits(1);
    // The event is known as stored from then on.
    assert_eq!(harness.post_event(&event(1)).await.status, 202);
    assert_eq!(harness.appended.lock().unwrap().len(), 1);
    harness.assert_conserved();
}

#[actix_rt::test]
async fn a_truncated_or_slow_body_is_counted() {
    let harness =
        Harness::start(limited(AuditHttpLimits { body_timeout_seconds: 1, ..AuditHttpLimits::default() }));
    let whole = request("POST", "/api/v1/audit-event", &PLAIN, event(1).as_bytes());
    let half = whole[..whole.len() - 20].to_vec();
    let slow = harness.send(half.clone()).await;
    assert_eq!((slow.status, slow.header("connection")), (408, Some("close")));
    assert_secure(&slow);
    let address = harness.address;
    actix_rt::task::spawn_blocking(move || Client::connect(address).write(&half)).await.unwrap();
    until(|| harness.counts().get("rejected incomplete") == Some(&2)).await;
    harness.assert_conserved();
    assert_eq!(harness.post_event(&event(1)).await.status, 202);
}

#[actix_rt::test]
async fn a_panic_of_the_journal_is_500_without_its_message() {
    let harness = Harness::start_with(unlimited(), &[], |_| panic!("secret words"));
    let got = harness.post_event(&event(1)).await;
    assert_eq!((got.status, got.json()["outcome"].as_str()), (500, Some("error")));
    assert_eq!(got.json()["reason"], "Internal error while processing event");
    assert!(!got.body.contains("secret"));
    assert_secure(&got);
}

#[derive(actix::Message)]
#[rtype(result = "()")]
enum Break {
    Nothing,
    Actor,
    Server,
}

impl Handler<Break> for crate::intake::audit_http_ingestor::AuditHttpIngestor {
    type Result = ();

    fn handle(&mut self, what: Break, _: &mut Self::Context) {
        match what {
            Break::Nothing => {}
            Break::Actor => panic!("a test wants it"),
            Break::Server => self.end_server(),
        }
    }
}

#[actix_rt::test]
async fn a_panic_of_the_actor_loses_no_event() {
    let (harness, gate) = slow(unlimited());
    let body = event(1);
    let broken = async {
        until(|| harness.appended.lock().unwrap().len() == 1).await;
        assert!(harness.addr.send(Break::Actor).await.is_err());
        until(|| harness.actor.restarts.get() == 1).await;
        gate.add_permits(10);
    };
    let (first, ()) = tokio::join!(harness.post_event(&body), broken);
    assert_eq!(first.status, 202);
    for _ in 0..20 {
        assert_eq!(harness.post_event(&event(1)).await.status, 202);
    }
    assert_eq!(harness.post_event(&event(2)).await.status, 202);
    assert_eq!(harness.appended.lock().unwrap().len(), 2);
    harness.assert_conserved();
}

#[actix_rt::test]
async fn answers_any_origin_and_uses_the_first_of_repeated_versions() {
    let harness = Harness::start(AuditHttpConfig { allowed_origins: vec!["*".to_owned()], ..unlimited() });
    let got = harness.post(&[JSON, ("Origin", "https://a.test")], event(1)).await;
    assert_eq!(got.header("access-control-allow-origin"), Some("*"));
    assert_eq!((got.header("vary"), got.header("access-control-allow-credentials")), (None, None));
    let versions = [("X-Audit-QS-Version", "0.4.0"), ("X-Audit-QS-Version", "9.0.0")];
    let got = harness.send(request("GET", "/api/v1/test-connection", &versions, b"")).await;
    assert_eq!(got.json()["auditQsVersion"], "0.4.0");
    assert_eq!(got.json()["compatible"], true);
    let mut sent = request("GET", "/api/v1/test-connection", &[("X-Audit-QS-Version", "?")], b"");
    let at = sent.iter().rposition(|byte| *byte == b'?').unwrap();
    sent[at] = 0xff;
    assert_eq!(harness.send(sent).await.json()["compatible"], false);
}

#[actix_rt::test]
async fn a_server_that_ends_is_replaced_on_the_same_listener() {
    let harness = Harness::start(unlimited());
    assert_eq!(harness.post_event(&event(1)).await.status, 202);
    // The actor that watches is not the one that started the server.
    assert!(harness.addr.send(Break::Actor).await.is_err());
    harness.addr.send(Break::Server).await.unwrap();
    let address = harness.address;
    let sent = request("POST", "/api/v1/audit-event", &PLAIN, event(2).as_bytes());
    let attempt = move || {
        // The server that ends closes connections that it had accepted, without an answer.
        while std::panic::catch_unwind(|| Client::connect(address).ask(&sent)).is_err() {}
    };
    actix_rt::task::spawn_blocking(attempt).await.unwrap();
    assert_eq!(harness.post_event(&event(1)).await.status, 202);
    assert_eq!(harness.stored().len(), 2);
    harness.assert_conserved();
}

#[actix_rt::test]
async fn a_slow_request_head_times_out() {
    // The server's clock for this ticks every half second, so a shorter limit would affect all requests.
    let harness =
        Harness::start(limited(AuditHttpLimits { header_timeout_seconds: 1, ..AuditHttpLimits::default() }));
    let got = harness.send("POST /api/v1/audit-event HTTP/1.1\r\nHost: a").await;
    assert_eq!(got.status, 408);
    assert_eq!(harness.post_event(&event(1)).await.status, 202);
    // The request was no POST yet.
    assert_eq!(harness.counts()["received"], 1);
}

#[actix_rt::test]
async fn many_concurrent_events_are_each_stored_once() {
    let harness = Harness::start(unlimited());
    let address = harness.address;
    let clients = (0..16).map(|client| {
        actix_rt::task::spawn_blocking(move || {
            let mut connection = Client::connect(address);
            // Two clients send each event.
            for n in 0..50 {
                let sent = event(client / 2 * 1_000 + n);
                let got = connection.ask(&request("POST", "/api/v1/audit-event", &PLAIN, sent.as_bytes()));
                assert_eq!(got.status, 202);
            }
        })
    });
    for client in futures_util::future::join_all(clients).await {
        client.unwrap();
    }
    let mut bodies: Vec<_> = harness.stored().into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies.len(), 400);
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!((bodies.len(), harness.counts()["rejected duplicate"]), (400, 400));
    harness.assert_conserved();
}
