//! Retries or drops dead letters, on request.
//!
//! Contract: delivery, "Dead letters".

use std::time::Duration;

use actix_web::http::StatusCode;
use butler_sos_actors::journal::batch::Batch;
use butler_sos_actors::kit::clock::unix_ms;
use butler_sos_actors::line_log::actor::EntryId;
use butler_sos_actors::line_log::message::AppendLines;
use butler_sos_actors::sinks::sink::DeadLetter;
use serde::{Deserialize, Serialize};
use slog::{info, warn};
use tokio::sync::oneshot;

use super::answer::{Answer, Refusal, json, with_status};
use super::job_state::{JobKind, JobState, Phase};
use super::jobs::{Claim, RedeliveryPort};
use super::kept::{self, Letter};
use super::redeliverer::{OfDestination, Redeliverer, started};

/// The result of one retry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum Outcome {
    Delivered,
    /// The dead letter stays, with the new reason.
    Refused {
        reason: String,
    },
    /// The destination accepts nothing now. The dead letter is unchanged.
    NotNow {
        reason: String,
    },
    /// The destination has not processed it yet. The list shows the result later.
    Waiting,
}

/// The time limit of an answer about one dead letter.
const RETRY_PATIENCE: Duration = Duration::from_secs(15);

/// Delivers one dead letter to its destination.
pub async fn retry_one(with: &Redeliverer, id: EntryId) -> Answer {
    let port = with.port(&kept::letter(&with.dead_letters, id).await?.letter.destination)?;
    let (answer, answered) = oneshot::channel();
    let with = with.clone();
    // It is completed even if the client disconnects.
    actix_rt::spawn(async move {
        let outcome = match Claim::of(&with.jobs, id) {
            // Read it again, now that nobody else can remove it.
            Ok(_claim) => match kept::letter(&with.dead_letters, id).await {
                Ok(letter) => deliver(&with, &port, &letter).await,
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

async fn deliver(with: &Redeliverer, port: &RedeliveryPort, letter: &Letter) -> Result<Outcome, Refusal> {
    let Letter { id, letter, record } = letter;
    let batch = Batch::of_one(letter.offset, record).map_err(|error| Refusal::conflict(error.to_string()))?;
    let reason = match port.redeliver(batch).await {
        Err(failed) => return Ok(Outcome::NotNow { reason: failed.to_string() }),
        Ok(done) => done.refused.into_iter().next().map(|(_, reason)| reason),
    };
    let Some(reason) = reason else {
        kept::remove(&with.dead_letters, *id).await?;
        info!(with.log, "dead letter delivered"; "destination" => &letter.destination, "offset" => letter.offset);
        return Ok(Outcome::Delivered);
    };
    if reason != letter.reason {
        // Store the new one first: a crash in between leaves two, never none.
        let renewed = DeadLetter { time: unix_ms(), reason: reason.clone(), ..letter.clone() };
        let line = serde_json::to_vec(&renewed).map_err(|error| Refusal::unavailable(error.to_string()))?;
        match with.to_dead_letters.ask(AppendLines { lines: vec![line] }).await {
            Ok(Ok(())) => _ = kept::remove(&with.dead_letters, *id).await?,
            // The old one stays: its reason is older, the event is the same.
            Ok(Err(error)) => {
                warn!(with.log, "cannot store the new reason of a dead letter"; "error" => %error)
            }
            Err(gone) => return Err(Refusal::unavailable(gone.to_string())),
        }
    }
    Ok(Outcome::Refused { reason })
}

/// Removes one dead letter for good.
pub async fn drop_one(with: &Redeliverer, id: EntryId) -> Answer {
    let _claim = Claim::of(&with.jobs, id)?;
    let letter = kept::letter(&with.dead_letters, id).await?.letter;
    kept::remove(&with.dead_letters, id).await?;
    info!(with.log, "dead letter dropped on request"; "destination" => letter.destination, "offset" => letter.offset);
    Ok(json(&serde_json::json!({ "dropped": 1 })))
}

/// Removes all dead letters of a destination.
pub async fn drop_all(with: &Redeliverer, of: OfDestination) -> Answer {
    let ids = kept::letters_of(&with.dead_letters, &of.destination).await?;
    let mut dropped = 0_u64;
    for id in ids {
        if let Ok(_claim) = Claim::of(&with.jobs, id) {
            dropped += u64::from(kept::remove(&with.dead_letters, id).await?);
        }
    }
    info!(with.log, "dead letters dropped on request"; "destination" => of.destination, "events" => dropped);
    Ok(json(&serde_json::json!({ "dropped": dropped })))
}

/// Starts to deliver all dead letters of a destination, oldest first. Ends early when it accepts nothing.
pub async fn retry_all(with: &Redeliverer, of: OfDestination) -> Answer {
    let port = with.port(&of.destination)?;
    let ids = kept::letters_of(&with.dead_letters, &of.destination).await?;
    let job = with.jobs.begin(JobKind::Retry, &of.destination, ids.len() as u64)?;
    let (with, answer) = (with.clone(), started(&job));
    actix_rt::spawn(async move {
        let (phase, trouble) = retry(&with, &port, &job, ids).await;
        with.ended(&job, phase, trouble);
    });
    answer
}

async fn retry(
    with: &Redeliverer,
    port: &RedeliveryPort,
    job: &JobState,
    ids: Vec<EntryId>,
) -> (Phase, Option<String>) {
    for id in ids {
        if with.jobs.is_stopped(job) {
            return (Phase::Stopped, None);
        }
        // A dead letter that is claimed by another request, or removed, is skipped.
        let outcome = match Claim::of(&with.jobs, id) {
            Err(_) => None,
            Ok(_claim) => match kept::letter(&with.dead_letters, id).await {
                Err(_) => None,
                Ok(letter) => Some(deliver(with, port, &letter).await),
            },
        };
        match outcome {
            Some(Err(refusal)) => return (Phase::Failed, Some(refusal.detail)),
            Some(Ok(Outcome::NotNow { reason })) => return (Phase::Failed, Some(reason)),
            outcome => with.jobs.update(job, |state| {
                state.done += 1;
                state.delivered += u64::from(matches!(outcome, Some(Ok(Outcome::Delivered))));
                state.refused += u64::from(matches!(outcome, Some(Ok(Outcome::Refused { .. }))));
            }),
        }
    }
    (Phase::Done, None)
}
