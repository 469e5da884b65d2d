//! The group commit: the callers that wait for a sync, and the start of the next one.
//!
//! Syncs run on a blocking thread, one per lane at a time, while appends and reads continue. The next sync
//! covers everything that arrived during the last one. Under load one sync serves many appends, and a single
//! append does not wait.

use std::time::{Duration, Instant};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use slog::error;
use tokio::sync::oneshot;

use super::Journal;
use crate::journal::store::{SyncDone, SyncJob};
use butler_sos_domain::streams::Stream;

/// A unit of syncing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Stream(Stream),
    Commits,
}

#[derive(Default)]
pub(super) struct LaneState {
    pub(super) running: bool,
    /// Data arrived after the running sync began, or a timer runs for the next one.
    pub(super) wanted: bool,
    /// The timer runs because the last sync failed.
    pub(super) pauses: bool,
    /// Callers that wait for the next sync.
    pub(super) waiting: Vec<Waiter>,
    /// Callers that wait for the running sync.
    pub(super) under_way: Vec<Waiter>,
}

/// A caller that waits for a sync.
pub(super) struct Waiter {
    /// It waits for records below this offset of the lane's stream.
    pub(super) end: u64,
    pub(super) answer: oneshot::Sender<Result<(), String>>,
}

/// The pause after a failed sync.
const SYNC_PAUSE: Duration = Duration::from_secs(1);

impl Journal {
    /// Requests a sync of `lane`, and an answer to `waiting` when everything that is there now is on disk.
    pub(super) fn want_sync(&mut self, lane: Lane, waiting: Option<Waiter>, ctx: &mut Context<Self>) {
        let state = self.lanes.entry(lane).or_default();
        state.waiting.extend(waiting);
        if state.running || state.pauses {
            state.wanted = true;
        } else if matches!(lane, Lane::Stream(stream) if !stream.is_acknowledged()) && !self.draining {
            if !std::mem::replace(&mut state.wanted, true) {
                ctx.run_later(self.config.commit_interval, move |journal, ctx| journal.sync(lane, ctx));
            }
        } else {
            self.sync(lane, ctx);
        }
    }

    pub(super) fn sync(&mut self, lane: Lane, ctx: &mut Context<Self>) {
        let job = self.sync_job(lane);
        let state = self.lanes.entry(lane).or_default();
        if state.running {
            return;
        }
        (state.wanted, state.pauses) = (false, false);
        let waiting = std::mem::take(&mut state.waiting);
        match job {
            Ok(None) => answer_all(waiting, &Ok(())),
            Err(error) => self.sync_failed(lane, waiting, error, ctx),
            Ok(Some(job)) => {
                state.running = true;
                state.under_way = waiting;
                let begun = Instant::now();
                #[cfg(test)]
                let faults = crate::journal::disk::faults::planned();
                let run = actix_rt::task::spawn_blocking(move || {
                    #[cfg(test)]
                    crate::journal::disk::faults::plan(faults);
                    job.run()
                });
                ctx.spawn(run.into_actor(self).map(move |done, journal, ctx| {
                    journal.config.meter.synced(begun.elapsed());
                    journal.synced(lane, done.ok(), ctx);
                }));
            }
        }
    }

    fn sync_job(&mut self, lane: Lane) -> Result<Option<SyncJob>, String> {
        let Some(open) = &mut self.open else { return Err("reopening".to_owned()) };
        match lane {
            Lane::Commits => open.store.sync_commits_job().map_err(|error| error.to_string()),
            Lane::Stream(stream) => match open.streams.get(&stream) {
                Some(id) => open.store.sync_job(*id).map_err(|error| error.to_string()),
                None => Ok(None),
            },
        }
    }

    fn synced(&mut self, lane: Lane, done: Option<SyncDone>, ctx: &mut Context<Self>) {
        let result = match (done, &mut self.open) {
            (Some(done), Some(open)) => open.store.sync_done(done).map_err(|error| error.to_string()),
            _ => Err("the sync did not end".to_owned()),
        };
        let state = self.lanes.entry(lane).or_default();
        state.running = false;
        let waited = std::mem::take(&mut state.under_way);
        match result {
            Err(error) => self.sync_failed(lane, waited, error, ctx),
            done => {
                answer_all(waited, &done);
                if std::mem::take(&mut state.wanted) {
                    self.want_sync(lane, None, ctx);
                }
            }
        }
    }

    /// Callers that wait for records continue to wait: the records are in the log and will be delivered, so
    /// nobody may get "not stored" and send them again. A commit fails, and its sink repeats it.
    fn sync_failed(&mut self, lane: Lane, waited: Vec<Waiter>, error: String, ctx: &mut Context<Self>) {
        self.config.meter.append_failed();
        error!(self.config.log, "cannot sync the journal to disk"; "lane" => ?lane, "error" => &error);
        let state = self.lanes.entry(lane).or_default();
        match lane {
            Lane::Stream(_) => state.waiting.splice(..0, waited).for_each(drop),
            Lane::Commits => answer_all(waited, &Err(error)),
        }
        (state.wanted, state.pauses) = (true, true);
        ctx.run_later(SYNC_PAUSE, move |journal, ctx| journal.sync(lane, ctx));
    }
}

pub(super) fn answer_all(waiting: Vec<Waiter>, result: &Result<(), String>) {
    for waiter in waiting {
        // The caller may be gone.
        let _ = waiter.answer.send(result.clone());
    }
}
