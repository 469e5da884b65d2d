//! Shows running retries and replays until they end or Ctrl-C stops them.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::client::Server;
use super::text::{count, one_line};
use super::{CommandError, note, say};
use crate::logging::line::escaped_json;
use crate::operations::job_state::{JobKind, JobState, Phase};
use crate::operations::state::State;
use crate::signals::Interrupts;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The server's answer to an order that starts a job.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Started {
    pub job: JobState,
}

/// Shows the progress of a job until it ends, then the result. Ctrl-C stops the job; a second one only ends
/// the command.
pub(super) async fn follow(server: &Server, begun: JobState, as_json: bool) -> Result<(), CommandError> {
    // One listener for the whole time, so that Ctrl-C during a request counts too.
    let mut interrupts = Interrupts::listen()
        .map_err(|error| CommandError::NotDone(format!("cannot install a signal handler: {error}")))?;
    let mut meter = Meter::new(!as_json);
    let mut job = begun;
    let mut is_stopped = false;
    while job.phase == Phase::Running {
        meter.show(&job);
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = interrupts.next() => {
                if is_stopped {
                    meter.end();
                    return Err(CommandError::NotDone(format!("detached: {}", progress(&job))));
                }
                is_stopped = true;
                stop(server, &job).await?;
            }
        }
        let state: State = server.get(&["state"], &[]).await?;
        let found =
            state.jobs.into_iter().find(|of| of.id == job.id && of.started_unix_ms == job.started_unix_ms);
        job = found.ok_or_else(|| CommandError::NotDone(gone(&job)))?;
    }
    meter.end();
    if as_json {
        let json = serde_json::to_string(&job).map_err(io::Error::from)?;
        say(&format!("{}\n", escaped_json(&json)))?;
    } else {
        say(&format!("{}\n", progress(&job)))?;
    }
    match job.phase {
        // The JSON above is for programs, this message is for people.
        Phase::Failed => Err(CommandError::NotDone(format!("the {} failed", kind(&job)))),
        _ => Ok(()),
    }
}

/// A job that has already ended cannot be stopped. The next state shows how it ended.
async fn stop(server: &Server, job: &JobState) -> Result<(), CommandError> {
    note("stopping");
    let body = serde_json::json!({ "destination": job.destination });
    match server.post::<serde_json::Value>(&["replay", "stop"], &body).await {
        Err(error) if !error.is_final() => Err(error.into()),
        _ => Ok(()),
    }
}

fn gone(job: &JobState) -> String {
    format!(
        "the server was restarted and no longer knows this {}; {} of {} events were processed",
        kind(job),
        count(job.done),
        count(job.total)
    )
}

const fn kind(job: &JobState) -> &'static str {
    match job.kind {
        JobKind::Retry => "retry",
        JobKind::Replay => "replay",
    }
}

/// The progress or the result of a job in one line.
#[must_use]
pub fn progress(job: &JobState) -> String {
    let phase = match job.phase {
        Phase::Running => "running",
        Phase::Done => "done",
        Phase::Stopped => "stopped",
        Phase::Failed => "failed",
    };
    let percent = (u128::from(job.done) * 100).checked_div(u128::from(job.total)).unwrap_or(100);
    let mut line = format!(
        "{} to {} {phase}: {} of {} events ({percent} %), {} delivered, {} rejected",
        kind(job),
        one_line(&job.destination, 40),
        count(job.done),
        count(job.total),
        count(job.delivered),
        count(job.refused),
    );
    if let Some(trouble) = &job.trouble {
        let word = if job.phase == Phase::Running { "waiting" } else { "reason" };
        line.push_str(&format!("; {word}: {}", one_line(trouble, 300)));
    }
    line
}

/// Progress on standard error: on a terminal one line that is overwritten, otherwise a line at every tenth
/// and at every problem.
struct Meter {
    is_shown: bool,
    is_terminal: bool,
    last: Option<(u64, Option<String>)>,
}

impl Meter {
    fn new(is_shown: bool) -> Self {
        Self { is_shown, is_terminal: io::stderr().is_terminal(), last: None }
    }

    fn show(&mut self, job: &JobState) {
        if !self.is_shown {
            return;
        }
        let line = progress(job);
        if self.is_terminal {
            // There is no way to report that standard error is closed.
            let _ = write!(io::stderr(), "\r\x1b[2K{line}");
            let _ = io::stderr().flush();
            return;
        }
        let tenth = (job.done.saturating_mul(10)).checked_div(job.total).unwrap_or(10);
        let now = Some((tenth, job.trouble.clone()));
        if self.last != now {
            note(&line);
            self.last = now;
        }
    }

    fn end(&self) {
        if self.is_shown && self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_one_line() {
        let mut job = JobState {
            id: 1,
            kind: JobKind::Replay,
            destination: "influx_sink".into(),
            phase: Phase::Running,
            started_unix_ms: 1,
            ended_unix_ms: None,
            total: 1_500,
            done: 500,
            delivered: 498,
            refused: 2,
            trouble: None,
        };
        let check = |job: &JobState, expect: &str| {
            assert_eq!(progress(job).replace('\u{a0}', " "), expect);
        };
        check(&job, "replay to influx_sink running: 500 of 1 500 events (33 %), 498 delivered, 2 rejected");
        job.trouble = Some("away\n".into());
        check(
            &job,
            "replay to influx_sink running: 500 of 1 500 events (33 %), 498 delivered, 2 rejected; waiting: away\\n",
        );
        (job.kind, job.phase, job.total, job.done) = (JobKind::Retry, Phase::Failed, 0, 0);
        check(
            &job,
            "retry to influx_sink failed: 0 of 0 events (100 %), 498 delivered, 2 rejected; reason: away\\n",
        );
    }
}
