//! The shared parts of retries and replays: the destinations, and the sources of their events.
//!
//! A job delays its destination's new events only for the duration of one delivery.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use butler_sos_actors::journal::message::OffsetsWithin;
use butler_sos_actors::kit::mailbox::Mailbox;
use butler_sos_actors::line_log::message::AppendLines;
use butler_sos_domain::streams::Stream;
use serde::Deserialize;
use slog::{Logger, info};

use super::answer::{Answer, Refusal, with_status};
use super::job_state::{JobState, Phase};
use super::jobs::{Jobs, RedeliveryPort};
use super::journal_port::JournalPort;
use super::journal_reader::JournalReader;

/// The lookup of a time reads segment files.
const OFFSET_PATIENCE: Duration = Duration::from_secs(10);

/// Delivers once more.
#[derive(Clone)]
pub struct Redeliverer {
    pub ports: Arc<BTreeMap<&'static str, RedeliveryPort>>,
    pub jobs: Arc<Jobs>,
    pub journal: JournalPort,
    pub reader: JournalReader,
    pub to_offsets: Mailbox<OffsetsWithin>,
    pub to_dead_letters: Mailbox<AppendLines>,
    /// The directory of the dead letters.
    pub dead_letters: PathBuf,
    pub log: Logger,
}

/// `{"destination": "influx_sink"}`
#[derive(Debug, Deserialize)]
pub struct OfDestination {
    pub destination: String,
}

impl Redeliverer {
    pub fn port(&self, destination: &str) -> Result<RedeliveryPort, Refusal> {
        self.ports.get(destination).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.ports.keys().copied().collect();
            Refusal::not_found(format!(
                "there is no destination {destination:?}; there are: {}",
                known.join(", ")
            ))
        })
    }

    /// The offsets of records that were stored within a range of time.
    pub async fn offsets_within(&self, stream: Stream, times_ns: &Range<u64>) -> Result<Range<u64>, Refusal> {
        let ask = self.to_offsets.ask(OffsetsWithin { stream, unix_ns: times_ns.clone() });
        match tokio::time::timeout(OFFSET_PATIENCE, ask).await {
            Ok(Ok(Ok(offsets))) => Ok(offsets),
            Ok(Ok(Err(error))) => Err(Refusal::unavailable(error.to_string())),
            Ok(Err(_)) | Err(_) => Err(Refusal::unavailable("the journal does not respond")),
        }
    }

    /// Records and logs the end of a job.
    pub fn ended(&self, job: &JobState, phase: Phase, trouble: Option<String>) {
        if let Some(job) = self.jobs.end(job, phase, trouble) {
            info!(self.log, "redelivery ended"; "destination" => job.destination,
                "kind" => ?job.kind, "phase" => ?job.phase, "delivered" => job.delivered,
                "refused" => job.refused, "of" => job.total, "trouble" => job.trouble.unwrap_or_default());
        }
    }
}

/// The answer to a request that started a job.
pub fn started(job: &JobState) -> Answer {
    let note =
        "progress is in /api/state; a restart of the server ends it, it does not begin again by itself";
    Ok(with_status(StatusCode::ACCEPTED, &serde_json::json!({ "job": job, "note": note })))
}
