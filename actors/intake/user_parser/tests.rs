use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use butler_sos_domain::event::UserEvent;
use butler_sos_domain::fallback_encoding::{Decoded, FallbackEncoding};

use super::*;
use crate::journal::message::AppendRefused;
use crate::kit::mailbox::InFlight;
use crate::kit::metric::Metrics;
use crate::kit::testing::{Probe, discard_log, until};

const APP: &str = "a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69";

/// Replaces the journal: keeps the appends with their unsettled in-flight guards.
struct Journal(Arc<Mutex<Vec<Envelope<Append>>>>);

impl Actor for Journal {
    type Context = Context<Self>;
}

impl Handler<Envelope<Append>> for Journal {
    type Result = Result<std::ops::Range<u64>, AppendRefused>;

    fn handle(&mut self, envelope: Envelope<Append>, _: &mut Self::Context) -> Self::Result {
        self.0.lock().unwrap().push(envelope);
        Ok(0..0)
    }
}

struct Harness {
    to_parser: Mailbox<DatagramsReceived>,
    to_parser_names: Mailbox<AppNamesLearned>,
    stored: Arc<Mutex<Vec<Envelope<Append>>>>,
    kept: Arc<Mutex<Vec<AppendLines>>>,
    intake: IntakeMeter,
    actor: ActorMeter,
    lost: Counter,
    counts: EventCounts,
}

fn harness(quarantine_bound: u32) -> Harness {
    bench_with(quarantine_bound, None)
}

fn bench_with(quarantine_bound: u32, pseudonymizer: Option<Arc<Pseudonymizer>>) -> Harness {
    let stored: Arc<Mutex<Vec<Envelope<Append>>>> = Arc::default();
    let to_journal = Mailbox::new(Journal(Arc::clone(&stored)).start(), 10);
    let (to_quarantine, kept) = Probe::mailbox(quarantine_bound, |_: &AppendLines| Ok(()));
    let metrics = Metrics::new();
    let (intake, actor) = (metrics.intake("user_events"), metrics.actor("user_parser"));
    let config = UserParserConfig {
        excluded_users: vec![("LAB".into(), "excluded".into())],
        limits: UserParsing { user_agent_cache_entries_max: 16 },
        app_names_expected: true,
        fallback: FallbackEncoding::of_label("windows-1252").expect("known"),
        pseudonymizer,
    };
    let mailboxes = UserParserMailboxes { to_journal, to_quarantine };
    let counts = EventCounts::new(10);
    let parser = UserParser::new(config, mailboxes, intake.clone(), actor.clone(), discard_log());
    let addr = parser.counting(Some(counts.clone())).start();
    Harness {
        to_parser: Mailbox::new(addr.clone(), 1_000),
        to_parser_names: Mailbox::new(addr, 1),
        stored,
        kept,
        lost: intake.shed("actor_panic"),
        intake,
        actor,
        counts,
    }
}

impl Harness {
    async fn send(&self, datagrams: &[&[u8]]) {
        let mut batch = DatagramsReceived::default();
        for (n, bytes) in datagrams.iter().enumerate() {
            let start = batch.arena.len();
            batch.arena.extend_from_slice(bytes);
            let source = SocketAddr::from(([10, 0, 0, 1], 4_000));
            batch.datagrams.push(Datagram {
                start,
                len: bytes.len(),
                source,
                received_ns: 7_000_000 + n as u64,
            });
        }
        let before = self.actor.received.get();
        let mut in_flight = InFlight::default();
        in_flight.answers_for(datagrams.len() as u64, self.lost.clone());
        self.to_parser.offer_with(batch, datagrams.len() as u32, in_flight).unwrap();
        until(|| self.actor.received.get() > before).await;
    }

    /// The records of all batches, decoded.
    fn stored(&self) -> Vec<UserEvent<'static>> {
        let stored = self.stored.lock().unwrap();
        stored.iter().flat_map(|envelope| decoded(&envelope.body.records)).collect()
    }
}

/// Reads a batch through the frame that the journal would write.
fn decoded(records: &RecordBatch) -> Vec<UserEvent<'static>> {
    records.records().map(|record| UserEvent::decode(record).unwrap().into_owned()).collect()
}

#[actix_rt::test]
async fn a_batch_of_datagrams_becomes_one_batch_of_records() {
    let harness = harness(10);
    let open = format!("/qseow-proxy-connection/;h;Open connection;LAB;goran;AppAccess;/app/{APP};m");
    let datagrams: [&[u8]; 7] = [
        b"/qseow-proxy-session/;h;Start session;LAB;goran;AppAccess;/hub;m",
        b"nonsense",
        b"/qseow-proxy-session/;h;Start session;LAB;excluded;AppAccess;/hub;m",
        b"/qseow-proxy-session/;h\xff;Start session;LAB;goran;AppAccess;/hub;m",
        b"/proxy-user-event/;h;s;c;Start session",
        b"/qseow-proxy-session/;;Start session;LAB;goran",
        open.as_bytes(),
    ];
    harness.send(&datagrams).await;
    until(|| harness.stored.lock().unwrap().len() == 1).await;
    let stored = harness.stored();
    let times: Vec<u64> = stored.iter().map(|event| event.received_ns - 7_000_000).collect();
    assert_eq!(times, [0, 3, 4, 6]);
    assert_eq!(stored[3].app_name.as_deref(), Some(UNKNOWN_APP_NAME));

    let intake = &harness.intake;
    let rejected =
        ["excluded_user", "unknown-type", "empty-host"].map(|reason| intake.rejected(reason).get());
    assert_eq!(rejected, [1, 1, 1]);
    let remarks =
        ["fallback_encoding", "user_not_found", "unknown_app_name"].map(|remark| intake.remark(remark).get());
    assert_eq!(remarks, [1, 1, 1]);

    // The in-flight guard was passed on with the remaining events. Dropped unsettled, they are counted.
    assert_eq!((harness.to_parser.depth(), harness.lost.get()), (7, 0));
    harness.stored.lock().unwrap().clear();
    assert_eq!((harness.to_parser.depth(), harness.lost.get()), (0, 4));
}

#[actix_rt::test]
async fn rejected_datagrams_are_kept_with_their_first_bytes() {
    let harness = harness(10);
    let long = [b"bad \xff\"\n".as_slice(), &[b'x'; 1_000]].concat();
    harness.send(&[&long]).await;
    until(|| !harness.kept.lock().unwrap().is_empty()).await;
    let line: serde_json::Value = serde_json::from_slice(&harness.kept.lock().unwrap()[0].lines[0]).unwrap();
    assert_eq!(line["reason"], "unknown-type");
    assert_eq!((&line["time"], &line["bytes"]), (&7.into(), &long.len().into()));
    assert_eq!(line["source"], "10.0.0.1:4000");
    assert!(line["text"].as_str().unwrap().starts_with("bad \u{fffd}\"\nxxx"));
    assert_eq!(line["hex"].as_str().unwrap().len(), 2 * 512);
    assert!(line["hex"].as_str().unwrap().starts_with("62616420ff220a78"));
    // Nothing remains for the journal, and the room is free again.
    assert_eq!(harness.to_parser.depth(), 0);
    assert!(harness.stored.lock().unwrap().is_empty());
    assert_eq!(harness.lost.get(), 0);
}

#[actix_rt::test]
async fn a_full_quarantine_delays_nothing() {
    let harness = harness(2);
    harness.send(&[b"1", b"2", b"3", b"4"]).await;
    until(|| !harness.kept.lock().unwrap().is_empty()).await;
    assert_eq!(harness.kept.lock().unwrap()[0].lines.len(), 2);
    assert_eq!(harness.intake.rejected("unknown-type").get(), 4);
    assert_eq!(harness.to_parser.depth(), 0);
}

#[actix_rt::test]
async fn a_datagram_that_panics_affects_no_other_datagram() {
    let harness = harness(10);
    let good = b"/qseow-proxy-session/;h;Start session;LAB;goran;AppAccess;/hub;m".as_slice();
    harness.send(&[good, b"poison", good]).await;
    until(|| harness.stored.lock().unwrap().len() == 1).await;
    assert_eq!(harness.stored().len(), 2);
    assert_eq!(harness.intake.rejected(PANICKED).get(), 1);
    assert_eq!(harness.kept.lock().unwrap().len(), 1);
}

#[actix_rt::test]
async fn names_of_users_are_replaced() {
    let pseudonymizer = Pseudonymizer::new(b"0123456789abcdef");
    let harness = bench_with(10, Some(Arc::new(pseudonymizer.clone())));
    let event = b"/qseow-proxy-session/;h;Start session;LAB;goran;x;/hub;of LAB\\goran".as_slice();
    let excluded = b"/qseow-proxy-session/;h;Start session;LAB;excluded;x;/hub;m".as_slice();
    harness.send(&[event, excluded, b"no event of goran", b"poison of goran"]).await;
    until(|| harness.stored.lock().unwrap().len() == 1).await;
    let user = pseudonymizer.of("LAB", "goran");
    let stored = harness.stored();
    assert_eq!(stored.len(), 1, "the excluded user is known by the real name");
    assert_eq!(stored[0].user_full().map(|of| of.to_string()), Some(user.to_string()));
    assert_eq!(stored[0].message, Some(format!("of {user}").into()));
    until(|| !harness.kept.lock().unwrap().is_empty()).await;
    for line in &harness.kept.lock().unwrap()[0].lines {
        let line: serde_json::Value = serde_json::from_slice(line).unwrap();
        assert_eq!((&line["text"], &line["hex"]), (&"".into(), &"".into()));
        assert!(line["bytes"].as_u64().unwrap() > 10);
    }
}

#[actix_rt::test]
async fn app_names_are_used_after_they_are_learned() {
    let harness = harness(10);
    let pseudonymizer = AppNames::new([(APP, "Sales")]);
    harness.to_parser_names.deliver(AppNamesLearned(Arc::new(pseudonymizer)), 1).await.unwrap();
    let open = format!("/qseow-proxy-connection/;h;Open connection;LAB;goran;AppAccess;/app/{APP};m");
    harness.send(&[open.as_bytes()]).await;
    until(|| harness.stored.lock().unwrap().len() == 1).await;
    assert_eq!(harness.stored()[0].app_name.as_deref(), Some("Sales"));
    assert_eq!(harness.intake.remark("unknown_app_name").get(), 0);
}

#[actix_rt::test]
async fn events_are_counted_by_origin() {
    let harness = harness(10);
    let session: &[u8] = b"/QSEoW-Proxy-Session/;h;Start session;LAB;goran;AppAccess;/hub;m";
    let datagrams: [&[u8]; 6] = [
        session,
        session,
        b"/qseow-proxy-session/;h;Start session;LAB;excluded;AppAccess;/hub;m",
        b"/proxy-user-event/;h;s;c;Start session",
        b"nonsense",
        b"poison",
    ];
    harness.send(&datagrams).await;
    let counted = harness.counts.take();
    let received: Vec<_> = counted.received.iter().map(|(parts, n)| (parts.join(" "), *n)).collect();
    let expect =
        [("Unknown Unknown Unknown", 2), ("proxy-user-event h ", 1), ("qseow-proxy-session h AppAccess", 3)];
    assert_eq!(received, expect.map(|(parts, n)| (parts.to_owned(), n)));
    let expect = [("Unknown", 2), ("qseow-proxy-session", 1)];
    assert_eq!(counted.rejected, expect.map(|(source, n)| (source.to_owned(), n)));
    assert_eq!(harness.intake.times.running(), 0);
    assert!(harness.intake.times.take().max_ms > 0.0);
}

#[actix_rt::test]
async fn datagrams_that_are_not_utf8_are_marked_and_counted() {
    let harness = harness(10);
    let datagrams: [&[u8]; 3] = [
        "/qseow-proxy-session/;h;Start session;LAB;gören".as_bytes(),
        b"/qseow-proxy-session/;h;Start session;LAB;g\xf6ren",
        b"/qseow-proxy-session/;h;Start session;LAB;g\xf6r\xc3\xb6n",
    ];
    harness.send(&datagrams).await;
    until(|| harness.stored.lock().unwrap().len() == 1).await;
    let stored = harness.stored();
    let users: Vec<_> =
        stored.iter().map(|event| (event.user_id.as_deref().unwrap_or_default(), event.decoded)).collect();
    let expect =
        [("gören", Decoded::Utf8), ("gören", Decoded::Fallback), ("g\u{fffd}rön", Decoded::Replaced)];
    assert_eq!(users, expect);
    let remarks = ["fallback_encoding", "invalid_utf8"].map(|remark| harness.intake.remark(remark).get());
    assert_eq!(remarks, [1, 1]);
}
