use std::path::Path;
use std::sync::{Arc, Mutex};

use actix::Addr;
use tempfile::TempDir;

use super::*;
use crate::journal::batch::RecordBatch;
use crate::journal::disk;
use crate::journal::message::FetchLimits;
use crate::journal::store::{OnFull, StreamConfig};
use crate::kit::mailbox::Mailbox;
use crate::kit::metric::Metrics;
use crate::kit::testing::discard_log;

const SINK: Consumer = Consumer { stream: Stream::AuditEvents, name: "csv_sink" };

/// Reads nothing, so that its stream fills.
const STUCK: Consumer = Consumer { stream: Stream::UserEvents, name: "influx_sink" };

/// Defers some of its records.
const PATIENT: Consumer = Consumer { stream: Stream::Screenshots, name: "redirect_walker" };

struct Harness {
    _directory: TempDir,
    to_append: Mailbox<Append>,
    to_next: Mailbox<NextBatch>,
    to_commit: Mailbox<Commit>,
    to_position: Mailbox<PositionOf>,
    to_catch_up: Mailbox<CatchUp>,
    to_state: Mailbox<JournalStateNow>,
    metrics: Metrics,
}

fn config(directory: &Path, metrics: &Metrics, bytes_max: u64) -> JournalConfig {
    let stream = |stream: Stream| StreamConfig {
        name: stream.name().to_owned(),
        bytes_max,
        on_full: OnFull::Block,
        room_bytes: if stream == Stream::AuditEvents { 1 << 10 } else { 0 },
    };
    JournalConfig {
        store: StoreConfig {
            directory: directory.to_owned(),
            streams: Stream::ALL.into_iter().map(stream).collect(),
            segment_bytes_max: 1 << 20,
            retention: Duration::from_secs(3600),
            tail_bytes_max: 1 << 20,
        },
        consumers: vec![SINK, STUCK, PATIENT],
        not_awaited: vec![PATIENT],
        commit_interval: Duration::from_millis(5),
        meter: metrics.journal(),
        actor: metrics.actor("journal"),
        intakes: BTreeMap::from([(Stream::UserEvents, metrics.intake("user_events"))]),
        log: discard_log(),
    }
}

fn harness(bytes_max: u64) -> Harness {
    let directory = TempDir::new().unwrap();
    let metrics = Metrics::new();
    let config = config(directory.path(), &metrics, bytes_max);
    let store = config.open().unwrap();
    let addr: Addr<Journal> = Journal::new(config, store).start();
    Harness {
        _directory: directory,
        to_append: Mailbox::new(addr.clone(), 1_000),
        to_next: Mailbox::new(addr.clone(), 10),
        to_commit: Mailbox::new(addr.clone(), 10),
        to_position: Mailbox::new(addr.clone(), 10),
        to_catch_up: Mailbox::new(addr.clone(), 10),
        to_state: Mailbox::new(addr, 10),
        metrics,
    }
}

fn append(stream: Stream, texts: &[&str]) -> Append {
    let mut records = RecordBatch::new();
    for text in texts {
        records.push(text.as_bytes()).unwrap();
    }
    Append { stream, records }
}

fn next(from: u64, records_max: usize, linger: Duration) -> NextBatch {
    NextBatch { consumer: SINK, from, fetch_limits: FetchLimits { records_max, bytes_max: 1 << 20, linger } }
}

fn texts(batch: &Batch) -> Vec<String> {
    batch.iter().map(|record| String::from_utf8_lossy(record.data).into_owned()).collect()
}

#[actix_rt::test]
async fn answered_appends_are_on_disk_and_readable() {
    let harness = harness(1 << 24);
    let offsets = harness.to_append.ask(append(Stream::AuditEvents, &["a", "b"])).await.unwrap().unwrap();
    assert_eq!(offsets, 0..2);
    let batch = harness.to_next.ask(next(0, 10, Duration::ZERO)).await.unwrap().unwrap();
    assert_eq!(texts(&batch), ["a", "b"]);
    assert_eq!(batch.next_offset(), 2);
}

#[actix_rt::test]
async fn a_reader_waits_for_records() {
    let harness = harness(1 << 24);
    let (batch, appended) = tokio::join!(
        harness.to_next.ask(next(0, 10, Duration::ZERO)),
        harness.to_append.ask(append(Stream::AuditEvents, &["late"])),
    );
    appended.unwrap().unwrap();
    assert_eq!(texts(&batch.unwrap().unwrap()), ["late"]);
}

#[actix_rt::test]
async fn a_lingering_batch_fills_up_or_is_cut_short_by_the_drain() {
    let harness = harness(1 << 24);
    let hour = Duration::from_secs(3600);
    let (full, ..) = tokio::join!(harness.to_next.ask(next(0, 2, hour)), async {
        harness.to_append.ask(append(Stream::AuditEvents, &["a"])).await.unwrap().unwrap();
        harness.to_append.ask(append(Stream::AuditEvents, &["b", "c"])).await.unwrap().unwrap();
    });
    assert_eq!(texts(&full.unwrap().unwrap()), ["a", "b"]);

    let commit = |offset| Commit { consumer: SINK, offset, note: None };
    harness.to_commit.ask(commit(2)).await.unwrap().unwrap();
    let (rest, drained) = tokio::join!(
        async {
            let rest = harness.to_next.ask(next(2, 2, hour)).await.unwrap().unwrap();
            harness.to_commit.ask(commit(rest.next_offset())).await.unwrap().unwrap();
            rest
        },
        harness.to_catch_up.ask(CatchUp),
    );
    drained.unwrap();
    assert_eq!(texts(&rest), ["c"]);
}

#[actix_rt::test]
async fn the_drain_waits_for_its_consumers_only() {
    let harness = harness(1 << 24);
    harness.to_append.ask(append(Stream::Screenshots, &["later"])).await.unwrap().unwrap();
    harness.to_catch_up.ask(CatchUp).await.unwrap();

    harness.to_append.ask(append(Stream::AuditEvents, &["a"])).await.unwrap().unwrap();
    let drained = harness.to_catch_up.ask(CatchUp);
    tokio::pin!(drained);
    let begun = harness.to_position.ask(PositionOf(SINK));
    // The journal has the question before the next one is answered.
    tokio::select! {
        biased;
        _ = &mut drained => panic!("the sink is behind"),
        position = begun => assert_eq!(position.unwrap().unwrap().offset, 0),
    }
    let commit = Commit { consumer: SINK, offset: 1, note: None };
    harness.to_commit.ask(commit).await.unwrap().unwrap();
    drained.await.unwrap();
}

#[actix_rt::test]
async fn offset_and_note_are_committed_together() {
    let harness = harness(1 << 24);
    harness.to_append.ask(append(Stream::AuditEvents, &["a", "b"])).await.unwrap().unwrap();
    let commit = Commit { consumer: SINK, offset: 1, note: Some(b"file 7".to_vec()) };
    harness.to_commit.ask(commit).await.unwrap().unwrap();
    let position = harness.to_position.ask(PositionOf(SINK)).await.unwrap().unwrap();
    assert_eq!(position, Position { offset: 1, note: b"file 7".to_vec() });
    let stranger = Consumer { stream: Stream::UserEvents, name: "stranger" };
    assert!(harness.to_position.ask(PositionOf(stranger)).await.unwrap().is_err());
}

/// Makes the journal panic at its next turn.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Break;

impl Handler<Envelope<Break>> for Journal {
    type Result = ();

    fn handle(&mut self, _: Envelope<Break>, _: &mut Self::Context) {
        panic!("a test wants it");
    }
}

/// A supervised journal.
fn supervised(journal: Journal, metrics: &Metrics) -> Addr<Journal> {
    let supervision = crate::kit::supervisor::Supervision {
        policy: crate::kit::supervisor::RestartPolicy {
            backoff: Duration::from_millis(1),
            ..Default::default()
        },
        log: discard_log(),
        give_up: std::sync::Arc::new(|_| {}),
        #[cfg(feature = "test-panics")]
        switches: Default::default(),
    };
    supervision.start(&actix_rt::Arbiter::current(), metrics.actor("journal"), move || journal)
}

#[actix_rt::test]
async fn appends_that_wait_for_a_sync_get_the_right_answer_when_the_journal_panics() {
    let directory = TempDir::new().unwrap();
    let metrics = Metrics::new();
    let mut config = config(directory.path(), &metrics, 1 << 24);
    // No sync starts by itself.
    config.commit_interval = Duration::from_secs(3600);
    let store = config.open().unwrap();
    let journal = supervised(Journal::new(config, store), &metrics);
    let to_append: Mailbox<Append> = Mailbox::new(journal.clone(), 10);
    let to_break: Mailbox<Break> = Mailbox::new(journal.clone(), 10);
    let (appended, broken) =
        tokio::join!(to_append.ask(append(Stream::UserEvents, &["a", "b"])), to_break.ask(Break),);
    assert!(broken.is_err());
    assert_eq!(appended.unwrap().unwrap(), 0..2);
    let to_next: Mailbox<NextBatch> = Mailbox::new(journal, 10);
    let question = NextBatch { consumer: STUCK, ..next(0, 10, Duration::ZERO) };
    assert_eq!(texts(&to_next.ask(question).await.unwrap().unwrap()), ["a", "b"]);
}

/// A client that gets "not stored" sends its events again, so stored events must not get this answer.
#[actix_rt::test]
async fn an_append_gets_the_right_answer_when_it_panics_itself() {
    for moment in [PanicMoment::BeforeWriting, PanicMoment::AfterWriting] {
        let directory = TempDir::new().unwrap();
        let metrics = Metrics::new();
        let config = config(directory.path(), &metrics, 1 << 24);
        let store = config.open().unwrap();
        let mut journal = Journal::new(config, store);
        journal.panics_in_append = Some(moment);
        let journal = supervised(journal, &metrics);
        let to_append: Mailbox<Append> = Mailbox::new(journal.clone(), 10);
        let intake = metrics.intake("user_events");
        let send = || {
            let mut in_flight = InFlight::default();
            in_flight.answers_for(2, intake.shed("actor_panic"));
            to_append.ask_with(append(Stream::UserEvents, &["a", "b"]), in_flight)
        };
        // The second append arrives before the restart, and is handled after it.
        let (first, second) = tokio::join!(send(), send());
        let stored = u64::from(first.unwrap().is_ok()) * 2;
        assert_eq!(stored, if moment == PanicMoment::AfterWriting { 2 } else { 0 }, "{moment:?}");
        assert_eq!(second.unwrap().unwrap(), stored..stored + 2);
        let to_next: Mailbox<NextBatch> = Mailbox::new(journal, 10);
        let question = NextBatch { consumer: STUCK, ..next(0, 10, Duration::ZERO) };
        let batch = to_next.ask(question).await.unwrap().unwrap();
        assert_eq!(batch.len() as u64, stored + 2, "{moment:?}");
        assert_eq!((intake.stored.get(), intake.shed("actor_panic").get()), (stored + 2, 2 - stored));
    }
}

/// Waits until the state reports this append failure.
async fn until_trouble_is(to_state: &Mailbox<JournalStateNow>, expect: bool) -> Option<String> {
    let looks = async {
        loop {
            let state = to_state.ask(JournalStateNow).await.unwrap();
            if state.append_trouble.is_some() == expect {
                return state.append_trouble;
            }
            actix_rt::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looks).await.expect("trouble that begins and ends")
}

#[actix_rt::test]
async fn free_disk_space_is_noticed_without_an_append() {
    let harness = harness(1 << 24);
    harness.to_append.ask(append(Stream::AuditEvents, &["before"])).await.unwrap().unwrap();
    disk::faults::break_disk(&[disk::faults::Call::Write(10)], 28);
    assert!(harness.to_append.ask(append(Stream::AuditEvents, &["refused"])).await.unwrap().is_err());
    let trouble = until_trouble_is(&harness.to_state, true).await.unwrap();
    assert!(trouble.contains("no space"), "{trouble}");
    disk::faults::heal();
    until_trouble_is(&harness.to_state, false).await;
    // The trial leaves nothing behind.
    harness.to_append.ask(append(Stream::AuditEvents, &["after"])).await.unwrap().unwrap();
    let batch = harness.to_next.ask(next(0, 10, Duration::ZERO)).await.unwrap().unwrap();
    assert_eq!(texts(&batch), ["before", "after"]);
}

#[actix_rt::test]
async fn appends_that_wait_for_a_failed_sync_wait_for_the_next() {
    let harness = harness(1 << 24);
    disk::faults::break_disk(&[disk::faults::Call::Sync], 5);
    let appended = harness.to_append.ask(append(Stream::AuditEvents, &["a", "b"]));
    tokio::pin!(appended);
    let failed = async {
        crate::kit::testing::until(|| {
            harness.metrics.expose().contains("butler_sos_journal_append_errors_total 2")
        })
        .await;
    };
    tokio::select! {
        biased;
        answer = &mut appended => panic!("answered although nothing was synced: {answer:?}"),
        () = failed => {}
    }
    disk::faults::heal();
    assert_eq!(appended.await.unwrap().unwrap(), 0..2);
    let batch = harness.to_next.ask(next(0, 10, Duration::ZERO)).await.unwrap().unwrap();
    assert_eq!(texts(&batch), ["a", "b"]);
}

#[actix_rt::test]
async fn a_failure_of_one_stream_is_not_cleared_by_another_stream() {
    let harness = harness(1 << 16);
    let text = "x".repeat(10_000);
    while harness.to_append.ask(append(Stream::UserEvents, &[&text])).await.unwrap().is_ok() {}
    harness.to_append.ask(append(Stream::AuditEvents, &["taken"])).await.unwrap().unwrap();
    assert!(harness.to_state.ask(JournalStateNow).await.unwrap().append_trouble.is_some());
}

#[actix_rt::test]
async fn a_full_stream_refuses_and_every_event_is_accounted_for() {
    let harness = harness(1 << 16);
    let intake = harness.metrics.intake("user_events");
    let text = "x".repeat(10_000);
    let mut refused = 0;
    for _ in 0..10 {
        let mut in_flight = InFlight::default();
        in_flight.answers_for(1, intake.shed("actor_panic"));
        let append = append(Stream::UserEvents, &[&text]);
        refused += u64::from(harness.to_append.ask_with(append, in_flight).await.unwrap().is_err());
    }
    assert!(refused > 0);
    assert_eq!(intake.shed("journal_full").get(), refused);
    assert_eq!(intake.stored.get(), 10 - refused);
    assert_eq!(intake.shed("actor_panic").get(), 0);
}

/// A journal with clocks that the test sets: the wall clock and the monotonic clock, in seconds.
fn clocked(directory: &Path, metrics: &Metrics, clocks: &Arc<Mutex<(u64, u64)>>) -> Journal {
    let config = config(directory, metrics, 1 << 20);
    let store = config.open().unwrap();
    let clocks = Arc::clone(clocks);
    let read = move || {
        let (unix, steady) = *clocks.lock().unwrap();
        (unix * 1_000_000_000, steady * 1_000_000_000)
    };
    Journal::with_clocks(config, store, Box::new(read))
}

fn lag_of_sink(state: &JournalState) -> f64 {
    state.consumers.iter().find(|of| of.consumer == SINK).expect("it is there").lag_seconds
}

#[actix_rt::test]
async fn a_clock_jump_is_logged_and_delays_nothing() {
    let (directory, metrics) = (TempDir::new().unwrap(), Metrics::new());
    let clocks = Arc::new(Mutex::new((1_000_000, 50)));
    let mut journal = clocked(directory.path(), &metrics, &clocks);
    journal.append(append(Stream::AuditEvents, &["a"]), &mut InFlight::default()).unwrap();
    // A year forward, ten seconds later.
    *clocks.lock().unwrap() = (1_000_010 + 31_536_000, 60);
    let state = journal.state();
    assert_eq!((state.clock_off_seconds, lag_of_sink(&state)), (Some(31_536_000.0), 10.0));
    // And back.
    *clocks.lock().unwrap() = (1_000_020, 70);
    let state = journal.state();
    assert_eq!((state.clock_off_seconds, lag_of_sink(&state)), (None, 20.0));
    let exposed = metrics.expose();
    assert!(exposed.contains("butler_sos_clock_jumps_total 2\n"), "{exposed}");
    assert!(exposed.contains("butler_sos_clock_off_seconds 0.0\n"), "{exposed}");
}

#[actix_rt::test]
async fn a_clock_that_was_set_back_before_the_start_is_logged() {
    let (directory, metrics) = (TempDir::new().unwrap(), Metrics::new());
    let clocks = Arc::new(Mutex::new((1_000_000, 50)));
    let mut journal = clocked(directory.path(), &metrics, &clocks);
    journal.append(append(Stream::AuditEvents, &["a"]), &mut InFlight::default()).unwrap();
    drop(journal);
    *clocks.lock().unwrap() = (999_000, 10);
    let mut journal = clocked(directory.path(), &metrics, &clocks);
    assert_eq!(journal.state().clock_off_seconds, Some(-1_000.0));
    // Records from the seeming future still get older.
    *clocks.lock().unwrap() = (999_030, 40);
    assert_eq!(lag_of_sink(&journal.state()), 30.0);
}
