//! Everything about the running server at one moment: the answer of `/api/state`, the event `state` of `/api/live`.
//!
//! Counts are since the start of the process; two answers and their `unixMs` give rates. Names are the actors' own,
//! as in the metrics. Times are Unix milliseconds, durations seconds, sizes bytes; offsets count a stream's records.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use butler_sos_actors::journal::message::JournalState;
use butler_sos_actors::kit::metric::{ActorFigures, DestinationFigures, Figures, IntakeFigures, SyncFigures};
use serde::{Deserialize, Serialize};

use super::job_state::JobState;
use super::problem::Problem;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub version: String,
    pub unix_ms: u64,
    pub uptime_seconds: f64,
    /// `ok`, `degraded` (events wait) or `not ready` (none can be taken); as `/ready`.
    pub status: String,
    pub reasons: Vec<String>,
    pub warnings: Vec<String>,
    pub draining: bool,
    /// How far the clock is from where it should be, while that is a problem; negative is behind.
    pub clock_off_seconds: Option<f64>,
    /// Current problems with advice, the worst first.
    pub problems: Vec<Problem>,
    pub listening: Vec<Listening>,
    /// Names of streams, intakes and destinations in display order, each with its label.
    #[serde(default)]
    pub labels: Vec<(String, String)>,
    pub intakes: BTreeMap<String, IntakeFigures>,
    pub actors: BTreeMap<String, ActorState>,
    pub destinations: BTreeMap<String, DestinationStateNow>,
    pub journal: JournalNow,
    /// Running retries and replays, and the last one of each destination.
    pub jobs: Vec<JobState>,
    pub process: ProcessNow,
}

/// An address that the server listens on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listening {
    /// `user-events`, `audit-events`, `operations`, `metrics`, `health`, `configuration`.
    pub service: String,
    pub address: String,
}

impl From<&(&'static str, SocketAddr)> for Listening {
    fn from((service, address): &(&'static str, SocketAddr)) -> Self {
        Self { service: (*service).to_owned(), address: address.to_string() }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActorState {
    #[serde(flatten)]
    pub figures: ActorFigures,
    /// `None` for an actor that pulls its work.
    pub mailbox: Option<MailboxState>,
}

/// Work in flight to an actor, in the actor's unit of work, and its maximum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MailboxState {
    pub depth: u32,
    pub bound: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationStateNow {
    #[serde(flatten)]
    pub figures: DestinationFigures,
    /// The stream that it reads.
    pub stream: String,
    /// Everything below is delivered.
    pub committed: u64,
    pub lag_events: u64,
    /// Age of the oldest event that waits.
    pub lag_seconds: f64,
    /// Whether its dead letters can be retried.
    pub can_retry: bool,
    /// Why events cannot be replayed to it; `None` when they can.
    pub replay_refused: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalNow {
    pub answers: bool,
    /// Why the last append failed, while appends fail.
    pub append_trouble: Option<String>,
    pub append_errors: u64,
    pub syncs: SyncFigures,
    pub streams: BTreeMap<String, StreamNow>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamNow {
    pub bytes: u64,
    pub bytes_max: u64,
    pub segments: u64,
    pub first_offset: u64,
    pub next_offset: u64,
    pub durable_offset: u64,
    /// When the oldest record was appended.
    pub oldest_unix_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessNow {
    pub pid: u32,
    pub resident_bytes: u64,
    pub open_fds: u64,
    pub threads: u64,
    pub cpu_seconds: f64,
    pub start_unix_ms: u64,
}

impl State {
    /// Sets the values of counters.
    pub fn put_figures(&mut self, figures: Figures, mailboxes: &BTreeMap<String, MailboxState>) {
        self.intakes = figures.intakes;
        for (name, figures) in figures.actors {
            let mailbox = mailboxes.get(&name).copied();
            self.actors.insert(name, ActorState { figures, mailbox });
        }
        for (name, figures) in figures.destinations {
            self.destinations.insert(name, DestinationStateNow { figures, ..DestinationStateNow::default() });
        }
        self.journal.append_errors = figures.append_errors;
        self.journal.syncs = figures.syncs;
    }

    /// Sets the values of the journal; `None` when it does not answer.
    pub fn put_journal(&mut self, journal: Option<&JournalState>) {
        let Some(journal) = journal else { return };
        self.journal.answers = true;
        self.journal.append_trouble.clone_from(&journal.append_trouble);
        self.clock_off_seconds = journal.clock_off_seconds;
        for of in &journal.streams {
            let stream = StreamNow {
                bytes: of.bytes,
                bytes_max: of.bytes_max,
                segments: of.segments,
                first_offset: of.first_offset,
                next_offset: of.next_offset,
                durable_offset: of.durable_offset,
                oldest_unix_ms: of.oldest_record_at_ns.map(|ns| ns / 1_000_000),
            };
            self.journal.streams.insert(of.stream.name().to_owned(), stream);
        }
        for of in &journal.consumers {
            if let Some(destination) = self.destinations.get_mut(of.consumer.name) {
                of.consumer.stream.name().clone_into(&mut destination.stream);
                destination.committed = of.committed;
                destination.lag_events = of.lag_records;
                destination.lag_seconds = of.lag_seconds;
            }
        }
    }
}
