//! The destination InfluxDB, versions 1, 2 and 3, for user events and for audit events.
//!
//! Receives: nothing; it pulls (see the loop that every destination shares).
//! Sends: as every destination.
//! Keeps: one batch as lines while it is under way, so that what was taken is not sent again.
//! When full: the journal keeps what is not taken yet.
//! When it fails: pauses; after a panic the batch is sent again, and points that are there already are the same points.
//!
//! A refused line costs itself alone: [`crate::influx_answer`] finds it, it becomes a dead letter with
//! InfluxDB's words, and its neighbours are written. Contract: destinations.md, "InfluxDB".

use std::collections::BTreeMap;

use butler_sos_domain::audit::AuditEvent;
use butler_sos_domain::encode::audit_line::AuditPoint;
use butler_sos_domain::encode::user_line::UserPoint;
use butler_sos_domain::event::UserEvent;
use slog::Logger;

use crate::delivery_job::{Finding, Job, JobLimits, halves};
use crate::influx_answer::Verdict;
use crate::influx_client::InfluxConfig;
use crate::influx_connection::InfluxConnection;
use crate::journal::batch::{Batch, Record};
use crate::message::Position;
use crate::sink::{Delivered, Destination, Progress, Sink, Trouble};

/// The actor.
pub type InfluxSink = Sink<Influx>;

/// A server that takes less than this per request is not made for batches; requests do not shrink further.
const BODY_BYTES_MIN: usize = 64 * 1024;

/// From a record to its line.
pub trait LineEncoder {
    /// Appends the record's line, newline included, or nothing when there is no point to write.
    ///
    /// # Errors
    /// What is wrong with the record, for its dead letter. What was appended is taken back then.
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String>;
}

/// Records of the stream `user-events`.
#[derive(Debug, Clone)]
pub struct UserEventLines(pub UserPoint);

/// Records of the stream `audit-events`.
#[derive(Debug, Clone)]
pub struct AuditEventLines(pub AuditPoint);

impl LineEncoder for UserEventLines {
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let event = UserEvent::decode(record.data).map_err(|error| error.to_string())?;
        self.0.write(&event, out);
        Ok(())
    }
}

impl LineEncoder for AuditEventLines {
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let event = AuditEvent::from_bytes(record.data).map_err(|error| error.to_string())?;
        self.0.write(&event, out);
        Ok(())
    }
}

/// One InfluxDB.
pub struct Influx {
    connection: InfluxConnection,
    encoder: Box<dyn LineEncoder>,
    /// Shrinks when the server says that a request is too large.
    body_bytes_max: usize,
    job: Option<Job>,
}

impl Influx {
    #[must_use]
    pub fn new(config: InfluxConfig, encoder: impl LineEncoder + 'static, log: Logger) -> Self {
        Self {
            body_bytes_max: config.body_bytes_max,
            connection: InfluxConnection::new(config, log),
            encoder: Box::new(encoder),
            job: None,
        }
    }

    /// Sends what the job still has to send.
    async fn work_off(&mut self, job: &mut Job) -> Result<(), Trouble> {
        while let Some(group) = job.next_group() {
            let body = job.body_of(&group);
            let bytes = body.len();
            match self.connection.write(body).await {
                Verdict::Taken => {}
                Verdict::Refused(complaint) => {
                    let lines: Vec<&[u8]> =
                        group.iter().map(|&line| without_newline(job.item(line))).collect();
                    let finding = complaint.about(&lines);
                    job.settle(&group, finding);
                }
                Verdict::TooLarge(words) if group.len() == 1 => {
                    job.settle(&group, Finding { bad: BTreeMap::from([(0, words)]), again: Vec::new() });
                }
                Verdict::TooLarge(_) => {
                    self.body_bytes_max = (bytes / 2).max(BODY_BYTES_MIN).min(self.body_bytes_max);
                    job.settle(&group, halves(group.len()));
                }
                Verdict::Trouble(trouble) => {
                    job.give_back(group);
                    return Err(trouble);
                }
            }
        }
        Ok(())
    }
}

impl Destination for Influx {
    async fn resume(&mut self, _: &Position) -> Result<Option<Delivered>, Trouble> {
        self.job = None;
        self.connection.ready().await?;
        Ok(None)
    }

    async fn deliver(&mut self, batch: &Batch, _: &Progress) -> Result<Delivered, Trouble> {
        self.write(batch).await
    }
}

impl Influx {
    /// Writes the batch, or a first part of it. After trouble, goes on where it was.
    async fn write(&mut self, batch: &Batch) -> Result<Delivered, Trouble> {
        let job = self.job.take().filter(|job| job.is_of(batch));
        let mut job = job.unwrap_or_else(|| {
            let limits = JobLimits { bytes_max: self.body_bytes_max, items_max: usize::MAX };
            Job::encode(batch, limits, |record, out| self.encoder.encode(record, out))
        });
        match self.work_off(&mut job).await {
            Ok(()) => Ok(job.delivered(batch)),
            Err(trouble) => {
                self.job = Some(job);
                Err(trouble)
            }
        }
    }
}

fn without_newline(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

#[cfg(test)]
#[path = "influx_sink_tests.rs"]
mod tests;
