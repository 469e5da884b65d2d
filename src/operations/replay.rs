//! Delivers stored events of the journal to one destination again, on request.
//!
//! Replaying is safe for InfluxDB and JSON files, where the same event is the same point or file; MQTT and New Relic get
//! events a second time; Parquet, QVD and CSV files would hold them twice, so those refuse. Contract: delivery, "Replay".

use std::ops::Range;
use std::time::Duration;

use butler_sos_actors::journal::batch::Batch;
use butler_sos_actors::sinks::sink::Pauses;
use butler_sos_domain::audit::time::timestamp_ms;
use serde::Deserialize;

use super::answer::{Answer, Refusal, json};
use super::job_state::{JobKind, JobState, Phase};
use super::jobs::RedeliveryPort;
use super::redeliverer::{OfDestination, Redeliverer, started};

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
/// The pauses while deliveries to the destination fail.
const PAUSES: Pauses = Pauses { min: Duration::from_secs(1), max: Duration::from_secs(30) };

/// Starts to deliver stored events of a range of time again. Only events that were delivered before: the
/// others are still to be delivered anyway.
pub async fn replay(with: &Redeliverer, order: ReplayOrder) -> Answer {
    let port = with.port(&order.destination)?;
    if let Some(why) = port.replay_refused {
        return Err(Refusal::conflict(format!("{} takes no replay: {why}", order.destination)));
    }
    let times_ns = order.times_ns()?;
    let offsets = with.offsets_within(port.stream, &times_ns).await?;
    let journal = with.journal.now().await?;
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
    let job = with.jobs.begin(JobKind::Replay, &order.destination, to - from)?;
    let (with, answer) = (with.clone(), started(&job));
    actix_rt::spawn(async move {
        let (phase, trouble) = run(&with, &port, &job, from..to, &times_ns).await;
        with.ended(&job, phase, trouble);
    });
    answer
}

async fn run(
    with: &Redeliverer,
    port: &RedeliveryPort,
    job: &JobState,
    Range { start: from, end: to }: Range<u64>,
    times_ns: &Range<u64>,
) -> (Phase, Option<String>) {
    let mut at = from;
    let mut pauses = PAUSES.growing();
    while at < to {
        if with.jobs.is_stopped(job) {
            return (Phase::Stopped, None);
        }
        let records = usize::try_from(to - at).unwrap_or(usize::MAX).min(REPLAY_RECORDS);
        let batch = match with.reader.read(port.stream, at, records).await {
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
            // The clock was set: the records in between have another time.
            Some((offset, records)) => {
                at = offset;
                match with.reader.read(port.stream, at, records).await {
                    Ok(batch) => batch,
                    Err(refusal) => return (Phase::Failed, Some(refusal.detail)),
                }
            }
        };
        match port.redeliver(batch).await {
            Ok(done) if done.next_offset > at => {
                at = done.next_offset;
                pauses = PAUSES.growing();
                with.jobs.update(job, |state| {
                    state.done = (at - from).min(state.total);
                    state.delivered += done.events;
                    state.refused += done.refused.len() as u64;
                    state.trouble = None;
                });
            }
            Ok(_) => return (Phase::Failed, Some("the destination took nothing".to_owned())),
            Err(failed) => {
                with.jobs.update(job, |state| state.trouble = Some(failed.to_string()));
                tokio::time::sleep(pauses.next().unwrap_or(PAUSES.max)).await;
            }
        }
    }
    (Phase::Done, None)
}

/// Ends the running retry or replay of a destination, after the delivery in progress.
pub fn stop(with: &Redeliverer, of: &OfDestination) -> Answer {
    Ok(json(&serde_json::json!({ "stopping": with.jobs.stop(&of.destination)? })))
}

/// The first records of a batch that were stored in a range of time: the offset of the first, and the number
/// of consecutive ones.
fn first_run(batch: &Batch, times_ns: &Range<u64>) -> Option<(u64, usize)> {
    let within = |at_ns: u64| times_ns.contains(&at_ns);
    let mut records = batch.iter().skip_while(|record| !within(record.appended_at_ns));
    let first = records.next()?;
    Some((first.offset, 1 + records.take_while(|record| within(record.appended_at_ns)).count()))
}

#[cfg(test)]
mod tests {
    use butler_sos_actors::journal::batch::RecordBatch;
    use butler_sos_actors::journal::store::{OnFull, Store, StoreConfig, StreamConfig};
    use butler_sos_domain::streams::Stream;

    use super::*;

    #[test]
    fn reads_times_in_both_formats() {
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
    fn records_in_the_range_are_delivered_in_runs() {
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
}
