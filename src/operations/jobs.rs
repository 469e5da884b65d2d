//! The running retries and replays, and the dead letters that they process.
//!
//! A job delivers to one destination, one job each at a time, through the same sink as all events. It is not
//! persistent: a restart of the server ends it, and the administrator can request the rest again. Contract:
//! delivery, "Dead letters" and "Replay".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use butler_sos_actors::journal::batch::Batch;
use butler_sos_actors::kit::clock::unix_ms;
use butler_sos_actors::kit::lock::lock;
use butler_sos_actors::kit::mailbox::Mailbox;
use butler_sos_actors::line_log::actor::EntryId;
use butler_sos_actors::sinks::message::{NotRedelivered, Redeliver, Redelivered};
use butler_sos_domain::streams::Stream;

use super::answer::Refusal;
use super::job_state::{JobKind, JobState, Phase};

/// A destination that supports redelivery.
#[derive(Clone)]
pub struct RedeliveryPort {
    pub stream: Stream,
    pub to_sink: Mailbox<Redeliver>,
    /// Why a replay is refused.
    pub replay_refused: Option<&'static str>,
}

impl RedeliveryPort {
    pub async fn redeliver(&self, batch: Batch) -> Result<Redelivered, NotRedelivered> {
        let gone = || NotRedelivered { class: "stopping", detail: "the server is stopping".to_owned() };
        self.to_sink.ask(Redeliver { batch }).await.unwrap_or_else(|_| Err(gone()))
    }
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
        lock(&self.book)
    }

    pub(super) fn begin(&self, kind: JobKind, destination: &str, total: u64) -> Result<JobState, Refusal> {
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

    pub(super) fn update(&self, job: &JobState, change: impl FnOnce(&mut JobState)) {
        let mut book = self.book();
        if let Some(found) = book.jobs.get_mut(&job.destination).filter(|found| found.id == job.id) {
            change(found);
        }
    }

    pub(super) fn is_stopped(&self, job: &JobState) -> bool {
        self.book().to_stop.contains(&job.id)
    }

    pub(super) fn end(&self, job: &JobState, phase: Phase, trouble: Option<String>) -> Option<JobState> {
        let mut book = self.book();
        book.to_stop.remove(&job.id);
        let found = book.jobs.get_mut(&job.destination).filter(|found| found.id == job.id)?;
        (found.phase, found.trouble, found.ended_unix_ms) = (phase, trouble, Some(unix_ms()));
        Some(found.clone())
    }

    /// Requests the running job of a destination to end.
    pub(super) fn stop(&self, destination: &str) -> Result<JobState, Refusal> {
        let mut book = self.book();
        let running = book.jobs.get(destination).filter(|job| job.phase == Phase::Running).cloned();
        let job = running
            .ok_or_else(|| Refusal::not_found(format!("{destination} has no running retry or replay")))?;
        book.to_stop.insert(job.id);
        Ok(job)
    }
}

/// A claim on a dead letter: nobody else may deliver or drop it meanwhile.
pub(super) struct Claim<'a> {
    jobs: &'a Jobs,
    id: EntryId,
}

impl<'a> Claim<'a> {
    pub(super) fn of(jobs: &'a Jobs, id: EntryId) -> Result<Self, Refusal> {
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

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;

    use super::*;

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
        // Updates of the old job do not change the new one.
        jobs.update(&job, |state| state.done = 7);
        assert_eq!(jobs.end(&job, Phase::Failed, None), None);
        assert_eq!(jobs.states().len(), 2);
    }

    #[test]
    fn a_dead_letter_has_one_claim_at_a_time() {
        let jobs = Jobs::default();
        let id = EntryId { segment: 1, offset: 0 };
        let claim = Claim::of(&jobs, id).expect("free");
        assert!(Claim::of(&jobs, id).is_err());
        drop(claim);
        assert!(Claim::of(&jobs, id).is_ok());
    }
}
