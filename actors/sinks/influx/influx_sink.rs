//! The destination InfluxDB, versions 1, 2 and 3, for user events and for audit events.
//!
//! Receives: nothing; it pulls (see the loop of all destinations, [`crate::sinks::sink`]).
//! Sends: as every destination.
//! Keeps: one batch as lines while it is in delivery, so that accepted lines are not sent again.
//! When full: the journal keeps the events.
//! When it fails: pauses; after a panic the batch is sent again, and repeated points replace themselves.
//!
//! A refused line affects no other line: [`crate::sinks::influx::answer`] finds it, it becomes a dead letter
//! with InfluxDB's message, and the other lines are written. A line that a limit of the server keeps out is
//! parked instead. A server that does not answer in time gets smaller requests and more time
//! ([`butler_sos_domain::pace`]). Contract: destinations.md, "InfluxDB".

use std::collections::BTreeMap;
use std::time::Instant;

use butler_sos_domain::influx_refusal::is_limit;
use butler_sos_domain::pace::Pace;
use slog::{Logger, info};

use crate::journal::batch::Batch;
use crate::journal::message::Position;
use crate::kit::delivery_error::DeliveryError;
use crate::sinks::delivery_job::{Job, JobLimits, RejectedItems, bisect};
use crate::sinks::influx::answer::Verdict;
use crate::sinks::influx::client::InfluxConfig;
use crate::sinks::influx::connection::InfluxConnection;
use crate::sinks::influx::ids::{IdsAsFields, are_fields};
use crate::sinks::records::LineEncoder;
use crate::sinks::sink::{Delivered, Destination, Progress, Sink};

/// The actor.
pub type InfluxSink = Sink<Influx>;

/// Requests do not shrink below this size: a server that accepts less is not suited for batches.
const BODY_BYTES_MIN: usize = 64 * 1024;

/// The destination of one InfluxDB.
pub struct Influx {
    connection: InfluxConnection,
    encoder: Box<dyn LineEncoder>,
    /// Shrinks when the server reports that a request is too large.
    body_bytes_max: usize,
    pace: Pace,
    /// `None` after the decision.
    ids: Option<IdsAsFields>,
    job: Option<Job>,
    log: Logger,
}

impl Influx {
    #[must_use]
    pub fn new(config: InfluxConfig, encoder: impl LineEncoder + 'static, log: Logger) -> Self {
        Self {
            body_bytes_max: config.body_bytes_max,
            pace: Pace::new(config.write_timeout, config.write_timeout_max),
            connection: InfluxConnection::new(config, log.clone()),
            encoder: Box::new(encoder),
            ids: Some(IdsAsFields::Never),
            job: None,
            log,
        }
    }

    /// Sets how ids are written. The default is tags.
    #[must_use]
    pub fn with_ids(mut self, ids: IdsAsFields) -> Self {
        self.ids = Some(ids);
        self
    }

    /// Decides whether ids are tags or fields, before the first point.
    async fn decide_ids(&mut self) -> Result<(), DeliveryError> {
        let (Some(ids), Some(measurement)) = (self.ids, self.encoder.measurement_with_ids()) else {
            return Ok(());
        };
        let are_fields = are_fields(self.connection.ready().await?, ids, measurement).await?;
        info!(self.log, "chose where to store the ids of audit events"; "measurement" => measurement,
            "as" => if are_fields { "fields" } else { "tags" });
        self.encoder.set_ids_as_fields(are_fields);
        self.ids = None;
        Ok(())
    }

    /// Sends the remaining groups of the job.
    async fn work_off(&mut self, job: &mut Job) -> Result<(), DeliveryError> {
        while let Some(group) = job.next_group() {
            if group.len() > self.pace.lines_max() {
                job.settle(&group, bisect(group.len()));
                continue;
            }
            let body = job.body_of(&group);
            let bytes = body.len();
            let started = Instant::now();
            let verdict = self.connection.write(body, self.pace.timeout()).await;
            match &verdict {
                Verdict::DeliveryError(trouble) if trouble.is_slow() => self.pace.timed_out(group.len()),
                Verdict::DeliveryError(_) => {}
                _ => self.pace.answered(group.len(), started.elapsed()),
            }
            match verdict {
                Verdict::Taken => {}
                Verdict::Refused(complaint) => {
                    let lines: Vec<&[u8]> =
                        group.iter().map(|&line| without_newline(job.item(line))).collect();
                    let rejected = complaint.about(&lines);
                    job.settle_or_park(&group, rejected, is_limit);
                }
                Verdict::TooLarge(detail) if group.len() == 1 => {
                    job.settle(
                        &group,
                        RejectedItems { bad: BTreeMap::from([(0, detail)]), again: Vec::new() },
                    );
                }
                Verdict::TooLarge(_) => {
                    self.body_bytes_max = (bytes / 2).max(BODY_BYTES_MIN).min(self.body_bytes_max);
                    job.settle(&group, bisect(group.len()));
                }
                Verdict::DeliveryError(trouble) => {
                    job.give_back(group);
                    return Err(trouble);
                }
            }
        }
        Ok(())
    }
}

impl Destination for Influx {
    async fn resume(&mut self, _: &Position) -> Result<Option<Delivered>, DeliveryError> {
        self.job = None;
        self.connection.ready().await?;
        self.decide_ids().await?;
        Ok(None)
    }

    async fn deliver(&mut self, batch: &Batch, _: &Progress) -> Result<Delivered, DeliveryError> {
        self.write(batch).await
    }
}

impl Influx {
    /// Writes the batch, or a first part of it. After an error it continues where it stopped.
    async fn write(&mut self, batch: &Batch) -> Result<Delivered, DeliveryError> {
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
