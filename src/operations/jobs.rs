//! Delivering once more, on request: dead letters again ("retry"), and what the journal still holds ("replay").
//!
//! A job talks to one destination, one job each at a time, through the same sink as everything else. It holds back
//! that destination's new events only for as long as one of its deliveries takes. It survives nothing: a restart of
//! the server ends it, and whoever wants the rest asks again. Replaying is safe for InfluxDB and JSON files, where
//! the same event is the same point or file; MQTT and New Relic get events a second time; Parquet, QVD and CSV files
//! would hold them twice, so those refuse. Contract: delivery, "Dead letters" and "Replay".

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use butler_sos_actors::journal::batch::Batch;
use butler_sos_actors::kit::clock::unix_ms;
use butler_sos_actors::kit::mailbox::Mailbox;
use butler_sos_actors::kit::message::{
    AppendLines, NotRedelivered, OffsetsWithin, Redeliver, Redelivered, Stream,
};
use butler_sos_actors::line_log::actor::EntryId;
use butler_sos_actors::sinks::sink::{DeadLetter, Pauses};
use butler_sos_domain::audit::time::timestamp_ms;
use serde::{Deserialize, Serialize};
use slog::{info, warn};
use tokio::sync::oneshot;

use super::answer::{Answer, Refusal, json, with_status};
use super::kept::{self, Letter};
use super::view::View;

/// A destination that can be asked to deliver once more.
#[derive(Clone)]
pub struct RedeliveryPort {
    pub stream: Stream,
    pub to_sink: Mailbox<Redeliver>,
    /// Why events must not be replayed to it.
    pub replay_refused: Option<&'static str>,
}

/// How a job is going.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobState {
    pub id: u64,
    pub kind: JobKind,
    pub destination: String,
    pub phase: Phase,
    pub started_unix_ms: u64,
    pub ended_unix_ms: Option<u64>,
    /// Events to be delivered, and how many of them have been dealt with.
    pub total: u64,
    pub done: u64,
    pub delivered: u64,
    pub refused: u64,
    /// Why it waits at present, or ended early.
    pub trouble: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobKind {
    Retry,
    Replay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    Running,
    Done,
    /// On request.
    Stopped,
    Failed,
}

/// The jobs of all destinations: at most one running and one ended each.
#[derive(Default)]
pub struct Jobs {
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    last_id: u64,
    jobs: BTreeMap<String, JobState>,
    to_stop: BTreeSet<u64>,
    /// Dead letters that are being delivered.
    letters: BTreeSet<EntryId>,
}

impl Jobs {
    #[must_use]
    pub fn states(&self) -> Vec<JobState> {
        self.book().jobs.values().cloned().collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, kind: JobKind, destination: &str, total: u64) -> Result<JobState, Refusal> {
        let mut book = self.book();
        if book.jobs.get(destination).is_some_and(|job| job.phase == Phase::Running) {
            return Err(Refusal::conflict(format!("{destination} already has a retry or a replay running")));
        }
        book.last_id += 1;
        let job = JobState {
            id: book.last_id,
            kind,
            destination: destination.to_owned(),
            phase: Phase::Running,
            started_unix_ms: unix_ms(),
            ended_unix_ms: None,
            total,
            done: 0,
            delivered: 0,
            refused: 0,
            trouble: None,
        };
        book.jobs.insert(destination.to_owned(), job.clone());
        Ok(job)
    }

    fn update(&self, job: &JobState, change: impl FnOnce(&mut JobState)) {
        let mut book = self.book();
        if let Some(found) = book.jobs.get_mut(&job.destination).filter(|found| found.id == job.id) {
            change(found);
        }
    }

    fn is_stopped(&self, job: &JobState) -> bool {
        self.book().to_stop.contains(&job.id)
    }

    fn end(&self, job: &JobState, phase: Phase, trouble: Option<String>) -> Option<JobState> {
        let mut book = self.book();
        book.to_stop.remove(&job.id);
        let found = book.jobs.get_mut(&job.destination).filter(|found| found.id == job.id)?;
        (found.phase, found.trouble, found.ended_unix_ms) = (phase, trouble, Some(unix_ms()));
        Some(found.clone())
    }

    /// Asks the running job of a destination to end.
    fn stop(&self, destination: &str) -> Result<JobState, Refusal> {
        let mut book = self.book();
        let running = book.jobs.get(destination).filter(|job| job.phase == Phase::Running).cloned();
        let job = running
            .ok_or_else(|| Refusal::not_found(format!("{destination} has no running retry or replay")))?;
        book.to_stop.insert(job.id);
        Ok(job)
    }
}

/// A dead letter that nobody else may deliver or drop meanwhile.
struct Claim<'a> {
    jobs: &'a Jobs,
    id: EntryId,
}

impl<'a> Claim<'a> {
    fn of(jobs: &'a Jobs, id: EntryId) -> Result<Self, Refusal> {
        if jobs.book().letters.insert(id) {
            Ok(Self { jobs, id })
        } else {
            Err(Refusal::conflict("this dead letter is being delivered right now"))
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.jobs.book().letters.remove(&self.id);
    }
}

// === dead letters

/// How one retry ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum Outcome {
    Delivered,
    /// It stays, with the new reason.
    Refused {
        reason: String,
    },
    /// The destination takes nothing now; the dead letter stays as it was.
    NotNow {
        reason: String,
    },
    /// The destination has not got to it yet; how it ends is seen in the list.
    Waiting,
}

/// So long is an answer about one dead letter waited for.
const RETRY_PATIENCE: Duration = Duration::from_secs(15);

/// Delivers one dead letter to its destination alone.
pub async fn retry_one(view: &View, id: EntryId) -> Answer {
    let port = port(view, &kept::letter(&view.dead_letters, id).await?.letter.destination)?;
    let (answer, answered) = oneshot::channel();
    let view = view.clone();
    // It is seen through even when whoever asked goes.
    actix_rt::spawn(async move {
        let outcome = match Claim::of(&view.jobs, id) {
            // Read again, now that nobody else can take it away.
            Ok(_claim) => match kept::letter(&view.dead_letters, id).await {
                Ok(letter) => deliver(&view, &port, &letter).await,
                Err(refusal) => Err(refusal),
            },
            Err(refusal) => Err(refusal),
        };
        let _ = answer.send(outcome);
    });
    match tokio::time::timeout(RETRY_PATIENCE, answered).await {
        Ok(Ok(outcome)) => Ok(json(&outcome?)),
        Ok(Err(_)) => Err(Refusal::unavailable("the retry did not end")),
        Err(_) => Ok(with_status(StatusCode::ACCEPTED, &Outcome::Waiting)),
    }
}

async fn deliver(view: &View, port: &RedeliveryPort, letter: &Letter) -> Result<Outcome, Refusal> {
    let Letter { id, letter, record } = letter;
    let batch = Batch::of_one(letter.offset, record).map_err(|error| Refusal::conflict(error.to_string()))?;
    let reason = match redeliver(port, batch).await {
        Err(failed) => return Ok(Outcome::NotNow { reason: failed.to_string() }),
        Ok(done) => done.refused.into_iter().next().map(|(_, reason)| reason),
    };
    let Some(reason) = reason else {
        kept::remove(&view.dead_letters, *id).await?;
        info!(view.log, "dead letter delivered"; "destination" => &letter.destination, "offset" => letter.offset);
        return Ok(Outcome::Delivered);
    };
    if reason != letter.reason {
        // First the new one: a crash in between leaves two, never none.
        let renewed = DeadLetter { time: unix_ms(), reason: reason.clone(), ..letter.clone() };
        let line = serde_json::to_vec(&renewed).map_err(|error| Refusal::unavailable(error.to_string()))?;
        match view.to_dead_letters.ask(AppendLines { lines: vec![line] }).await {
            Ok(Ok(())) => _ = kept::remove(&view.dead_letters, *id).await?,
            // The old one stays: its reason is older, the event is the same.
            Ok(Err(error)) => {
                warn!(view.log, "cannot store the new reason of a dead letter"; "error" => %error)
            }
            Err(gone) => return Err(Refusal::unavailable(gone.to_string())),
        }
    }
    Ok(Outcome::Refused { reason })
}

/// Removes one dead letter for good.
pub async fn drop_one(view: &View, id: EntryId) -> Answer {
    let _claim = Claim::of(&view.jobs, id)?;
    let letter = kept::letter(&view.dead_letters, id).await?.letter;
    kept::remove(&view.dead_letters, id).await?;
    info!(view.log, "dead letter dropped on request"; "destination" => letter.destination, "offset" => letter.offset);
    Ok(json(&serde_json::json!({ "dropped": 1 })))
}

/// `{"destination": "influx_sink"}`
#[derive(Debug, Deserialize)]
pub struct OfDestination {
    pub destination: String,
}

/// Removes all dead letters of a destination.
pub async fn drop_all(view: &View, of: OfDestination) -> Answer {
    let ids = kept::letters_of(&view.dead_letters, &of.destination).await?;
    let mut dropped = 0_u64;
    for id in ids {
        if let Ok(_claim) = Claim::of(&view.jobs, id) {
            dropped += u64::from(kept::remove(&view.dead_letters, id).await?);
        }
    }
    info!(view.log, "dead letters dropped on request"; "destination" => of.destination, "events" => dropped);
    Ok(json(&serde_json::json!({ "dropped": dropped })))
}

/// Begins to deliver all dead letters of a destination, oldest first. Ends early when it takes nothing.
pub async fn retry_all(view: &View, of: OfDestination) -> Answer {
    let port = port(view, &of.destination)?;
    let ids = kept::letters_of(&view.dead_letters, &of.destination).await?;
    let job = view.jobs.begin(JobKind::Retry, &of.destination, ids.len() as u64)?;
    let (view, answer) = (view.clone(), started(&job));
    actix_rt::spawn(async move {
        let (phase, trouble) = retry(&view, &port, &job, ids).await;
        ended(&view, &job, phase, trouble);
    });
    answer
}

async fn retry(
    view: &View,
    port: &RedeliveryPort,
    job: &JobState,
    ids: Vec<EntryId>,
) -> (Phase, Option<String>) {
    for id in ids {
        if view.jobs.is_stopped(job) {
            return (Phase::Stopped, None);
        }
        // One that somebody else has in hand, or has removed, is dealt with.
        let outcome = match Claim::of(&view.jobs, id) {
            Err(_) => None,
            Ok(_claim) => match kept::letter(&view.dead_letters, id).await {
                Err(_) => None,
                Ok(letter) => Some(deliver(view, port, &letter).await),
            },
        };
        match outcome {
            Some(Err(refusal)) => return (Phase::Failed, Some(refusal.detail)),
            Some(Ok(Outcome::NotNow { reason })) => return (Phase::Failed, Some(reason)),
            outcome => view.jobs.update(job, |state| {
                state.done += 1;
                state.delivered += u64::from(matches!(outcome, Some(Ok(Outcome::Delivered))));
                state.refused += u64::from(matches!(outcome, Some(Ok(Outcome::Refused { .. }))));
            }),
        }
    }
    (Phase::Done, None)
}

// === replay

/// `{"destination": "influx_sink", "from": "2026-11-20T10:00:00Z", "to": 1763632800000}`: times in RFC 3339 or Unix
/// milliseconds, of when the events were stored; `to` is not included, and is now when it is not given.
#[derive(Debug, Deserialize)]
pub struct ReplayOrder {
    pub destination: String,
    pub from: Moment,
    pub to: Option<Moment>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Moment {
    UnixMs(u64),
    Text(String),
}

impl ReplayOrder {
    fn times_ns(&self) -> Result<Range<u64>, Refusal> {
        let to = self.to.as_ref().map_or(Ok(u64::MAX), Moment::unix_ns)?;
        Ok(self.from.unix_ns()?..to)
    }
}

impl Moment {
    fn unix_ns(&self) -> Result<u64, Refusal> {
        let unix_ms = match self {
            Self::UnixMs(unix_ms) => Some(*unix_ms),
            Self::Text(text) => timestamp_ms(text).map(|ms| u64::try_from(ms).unwrap_or(0)),
        };
        let detail =
            || Refusal::bad_request("a time is RFC 3339, as 2026-11-20T10:00:00Z, or Unix milliseconds");
        Ok(unix_ms.ok_or_else(detail)?.saturating_mul(1_000_000))
    }
}

const REPLAY_RECORDS: usize = 500;
/// While the destination is in trouble.
const PAUSES: Pauses = Pauses { min: Duration::from_secs(1), max: Duration::from_secs(30) };

/// Begins to send what the journal still holds of a time once more. Only what was delivered before: the rest comes
/// by itself.
pub async fn replay(view: &View, order: ReplayOrder) -> Answer {
    let port = port(view, &order.destination)?;
    if let Some(why) = port.replay_refused {
        return Err(Refusal::conflict(format!("{} takes no replay: {why}", order.destination)));
    }
    let times_ns = order.times_ns()?;
    let offsets = offsets_within(view, port.stream, &times_ns).await?;
    let journal = view.journal().await?;
    let of = journal.streams.iter().find(|of| of.stream == port.stream);
    let committed = journal
        .consumers
        .iter()
        .find(|of| of.consumer.name == order.destination && of.consumer.stream == port.stream)
        .map_or(0, |of| of.committed);
    let from = offsets.start.max(of.map_or(0, |of| of.first_offset));
    let to = offsets.end.min(committed);
    if from >= to {
        return Err(Refusal::conflict(
            "of that time the journal holds no event that this destination had before (see Pipeline.journal.retentionHours)",
        ));
    }
    let job = view.jobs.begin(JobKind::Replay, &order.destination, to - from)?;
    let (view, answer) = (view.clone(), started(&job));
    actix_rt::spawn(async move {
        let (phase, trouble) = run_replay(&view, &port, &job, from..to, &times_ns).await;
        ended(&view, &job, phase, trouble);
    });
    answer
}

async fn run_replay(
    view: &View,
    port: &RedeliveryPort,
    job: &JobState,
    Range { start: from, end: to }: Range<u64>,
    times_ns: &Range<u64>,
) -> (Phase, Option<String>) {
    let mut at = from;
    let mut pauses = PAUSES.growing();
    while at < to {
        if view.jobs.is_stopped(job) {
            return (Phase::Stopped, None);
        }
        let records = usize::try_from(to - at).unwrap_or(usize::MAX).min(REPLAY_RECORDS);
        let batch = match view.reader.read(port.stream, at, records).await {
            Ok(batch) => batch,
            Err(refusal) => return (Phase::Failed, Some(refusal.detail)),
        };
        if batch.next_offset() <= at {
            return (Phase::Failed, Some("the journal gives nothing more".to_owned()));
        }
        let batch = match first_run(&batch, times_ns) {
            None => {
                at = batch.next_offset();
                continue;
            }
            Some((_, records)) if records == batch.len() => batch,
            // The clock was set: what lies between is of another time.
            Some((offset, records)) => {
                at = offset;
                match view.reader.read(port.stream, at, records).await {
                    Ok(batch) => batch,
                    Err(refusal) => return (Phase::Failed, Some(refusal.detail)),
                }
            }
        };
        match redeliver(port, batch).await {
            Ok(done) if done.next_offset > at => {
                at = done.next_offset;
                pauses = PAUSES.growing();
                view.jobs.update(job, |state| {
                    state.done = (at - from).min(state.total);
                    state.delivered += done.events;
                    state.refused += done.refused.len() as u64;
                    state.trouble = None;
                });
            }
            Ok(_) => return (Phase::Failed, Some("the destination took nothing".to_owned())),
            Err(failed) => {
                view.jobs.update(job, |state| state.trouble = Some(failed.to_string()));
                tokio::time::sleep(pauses.next().unwrap_or(PAUSES.max)).await;
            }
        }
    }
    (Phase::Done, None)
}

/// Ends the running retry or replay of a destination, after the delivery that is under way.
pub fn stop(view: &View, of: &OfDestination) -> Answer {
    Ok(json(&serde_json::json!({ "stopping": view.jobs.stop(&of.destination)? })))
}

/// The first records of a batch that were stored in a range of time: the offset of the first, and how many there are
/// in a row.
fn first_run(batch: &Batch, times_ns: &Range<u64>) -> Option<(u64, usize)> {
    let within = |at_ns: u64| times_ns.contains(&at_ns);
    let mut records = batch.iter().skip_while(|record| !within(record.appended_at_ns));
    let first = records.next()?;
    Some((first.offset, 1 + records.take_while(|record| within(record.appended_at_ns)).count()))
}

async fn offsets_within(view: &View, stream: Stream, times_ns: &Range<u64>) -> Result<Range<u64>, Refusal> {
    let ask = view.to_offsets.ask(OffsetsWithin { stream, unix_ns: times_ns.clone() });
    match tokio::time::timeout(OFFSET_PATIENCE, ask).await {
        Ok(Ok(Ok(offsets))) => Ok(offsets),
        Ok(Ok(Err(error))) => Err(Refusal::unavailable(error.to_string())),
        Ok(Err(_)) | Err(_) => Err(Refusal::unavailable("the journal does not respond")),
    }
}

/// A time is looked up in segment files.
const OFFSET_PATIENCE: Duration = Duration::from_secs(10);

// === both

fn port(view: &View, destination: &str) -> Result<RedeliveryPort, Refusal> {
    view.redelivery.get(destination).cloned().ok_or_else(|| {
        let known: Vec<&str> = view.redelivery.keys().copied().collect();
        Refusal::not_found(format!(
            "there is no destination {destination:?}; there are: {}",
            known.join(", ")
        ))
    })
}

async fn redeliver(port: &RedeliveryPort, batch: Batch) -> Result<Redelivered, NotRedelivered> {
    let gone = || NotRedelivered { class: "stopping", detail: "the server is stopping".to_owned() };
    port.to_sink.ask(Redeliver { batch }).await.unwrap_or_else(|_| Err(gone()))
}

fn started(job: &JobState) -> Answer {
    let note =
        "progress is in /api/state; a restart of the server ends it, it does not begin again by itself";
    Ok(with_status(StatusCode::ACCEPTED, &serde_json::json!({ "job": job, "note": note })))
}

fn ended(view: &View, job: &JobState, phase: Phase, trouble: Option<String>) {
    if let Some(job) = view.jobs.end(job, phase, trouble) {
        info!(view.log, "redelivery ended"; "destination" => job.destination,
            "kind" => ?job.kind, "phase" => ?job.phase, "delivered" => job.delivered,
            "refused" => job.refused, "of" => job.total, "trouble" => job.trouble.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use butler_sos_actors::journal::batch::RecordBatch;
    use butler_sos_actors::journal::store::{OnFull, Store, StoreConfig, StreamConfig};

    use super::*;

    #[test]
    fn times_are_read_either_way() {
        let check = |json: &str, expect: Option<u64>| {
            let moment: Moment = serde_json::from_str(json).expect("a moment");
            assert_eq!(moment.unix_ns().ok(), expect, "{json}");
        };
        check("1763632800000", Some(1_763_632_800_000_000_000));
        check("\"2025-11-20T10:00:00Z\"", Some(1_763_632_800_000_000_000));
        check("\"2025-11-20T11:00:00+01:00\"", Some(1_763_632_800_000_000_000));
        check("\"yesterday\"", None);
    }

    #[test]
    fn of_a_batch_what_was_stored_in_time_goes_in_runs() {
        // The clock was set between the records: 5, 9, 9, 5, 6.
        let directory = tempfile::tempdir().expect("a directory");
        let stream = StreamConfig {
            name: Stream::UserEvents.name().to_owned(),
            bytes_max: 1 << 20,
            on_full: OnFull::Block,
            room_bytes: 0,
        };
        let (mut stored, _) = Store::open(StoreConfig {
            directory: directory.path().to_owned(),
            streams: vec![stream],
            segment_bytes_max: 1 << 20,
            retention: Duration::from_secs(60),
            tail_bytes_max: 1 << 20,
        })
        .expect("a store");
        let stream = stored.stream(Stream::UserEvents.name()).expect("its stream");
        for at_ns in [5, 9, 9, 5, 6] {
            let mut records = RecordBatch::new();
            records.push(b"event").expect("a small record");
            stored.append(stream, &mut records, at_ns).expect("room");
        }
        let mut check = |from: u64, times_ns: Range<u64>, expect: Option<(u64, usize)>| {
            let batch = stored.read(stream, from, 10, 1 << 20).expect("records");
            assert_eq!(first_run(&batch, &times_ns), expect, "{from} {times_ns:?}");
        };
        check(0, 5..7, Some((0, 1)));
        check(1, 5..7, Some((3, 2)));
        check(0, 9..10, Some((1, 2)));
        check(3, 9..10, None);
        check(0, 0..u64::MAX, Some((0, 5)));
    }

    #[test]
    fn one_job_for_each_destination() {
        let jobs = Jobs::default();
        let job = jobs.begin(JobKind::Retry, "influx_sink", 3).expect("the first");
        assert_eq!(jobs.begin(JobKind::Replay, "influx_sink", 3).unwrap_err().status, StatusCode::CONFLICT);
        jobs.begin(JobKind::Replay, "mqtt_sink", 3).expect("another's");
        jobs.update(&job, |state| state.done = 2);
        assert!(!jobs.is_stopped(&job));
        jobs.stop("influx_sink").expect("it runs");
        assert!(jobs.is_stopped(&job));
        assert_eq!(jobs.end(&job, Phase::Stopped, None).expect("it was there").done, 2);
        assert!(jobs.stop("influx_sink").is_err());
        let next = jobs.begin(JobKind::Replay, "influx_sink", 9).expect("the next");
        assert!(!jobs.is_stopped(&next));
        // What the old one says does not touch the new one.
        jobs.update(&job, |state| state.done = 7);
        assert_eq!(jobs.end(&job, Phase::Failed, None), None);
        assert_eq!(jobs.states().len(), 2);
    }

    #[test]
    fn a_letter_is_in_one_hand() {
        let jobs = Jobs::default();
        let id = EntryId { segment: 1, offset: 0 };
        let claim = Claim::of(&jobs, id).expect("free");
        assert!(Claim::of(&jobs, id).is_err());
        drop(claim);
        assert!(Claim::of(&jobs, id).is_ok());
    }
}
