//! Reads the journal for people: without a stored position, without waiting, and with limits.

use std::time::Duration;

use butler_sos_actors::journal::batch::Batch;
use butler_sos_actors::journal::message::{FetchLimits, NextBatch, StreamState};
use butler_sos_actors::kit::mailbox::Mailbox;
use butler_sos_actors::kit::message::Consumer;
use butler_sos_domain::streams::Stream;

use super::answer::Refusal;

/// The number of records per request.
const WINDOW_RECORDS: u64 = 500;
const WINDOW_BYTES: usize = 4 << 20;
/// The journal normally answers in much less time.
pub const JOURNAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads existing records.
#[derive(Clone)]
pub struct JournalReader {
    pub to_next: Mailbox<NextBatch>,
    /// The maximum number of records in one search.
    pub scan_records_max: u64,
}

/// The result of a search, and where the next one continues.
#[derive(Debug)]
pub struct Found<T> {
    /// Newest first.
    pub items: Vec<T>,
    pub scanned: u64,
    /// Everything from this offset on was searched; `None` when there is nothing older.
    pub older_before: Option<u64>,
}

impl JournalReader {
    /// Records from `from` on; `from` must be below the stream's end, or the journal would wait for more.
    pub async fn read(&self, stream: Stream, from: u64, records_max: usize) -> Result<Batch, Refusal> {
        let fetch_limits = FetchLimits { records_max, bytes_max: WINDOW_BYTES, linger: Duration::ZERO };
        // This consumer has no stored position.
        let consumer = Consumer { stream, name: "operations" };
        let ask = self.to_next.ask(NextBatch { consumer, from, fetch_limits });
        match tokio::time::timeout(JOURNAL_TIMEOUT, ask).await {
            Ok(Ok(Ok(batch))) => Ok(batch),
            Ok(Ok(Err(error))) => Err(Refusal::unavailable(error.to_string())),
            Ok(Err(_)) | Err(_) => Err(Refusal::unavailable("the journal does not respond")),
        }
    }

    /// The one record at `offset`, as bytes.
    pub async fn record(&self, of: &StreamState, offset: u64) -> Result<Vec<u8>, Refusal> {
        if offset >= of.first_offset && offset < of.next_offset {
            let batch = self.read(of.stream, offset, 1).await?;
            if let Some(record) = batch.iter().find(|record| record.offset == offset) {
                return Ok(record.data.to_vec());
            }
        }
        Err(Refusal::not_found("the journal no longer holds this event"))
    }

    /// Searches backwards from `before` for up to `limit` records that `pick` accepts.
    pub async fn newest<T>(
        &self,
        of: &StreamState,
        before: Option<u64>,
        limit: usize,
        mut pick: impl FnMut(u64, &[u8]) -> Option<T>,
    ) -> Result<Found<T>, Refusal> {
        let mut end = before.unwrap_or(u64::MAX).min(of.next_offset);
        let mut found = Found { items: Vec::new(), scanned: 0, older_before: None };
        while end > of.first_offset && found.items.len() < limit {
            if found.scanned >= self.scan_records_max {
                break;
            }
            let start = end.saturating_sub(WINDOW_RECORDS).max(of.first_offset);
            let window = self.window(of.stream, start, end).await?;
            let mut records: Vec<(u64, &[u8])> = window
                .iter()
                .flat_map(|batch| batch.iter().map(|record| (record.offset, record.data)))
                .filter(|(offset, _)| *offset < end)
                .collect();
            while let Some((offset, data)) = records.pop() {
                found.scanned += 1;
                end = offset;
                if let Some(item) = pick(offset, data) {
                    found.items.push(item);
                    if found.items.len() == limit {
                        break;
                    }
                }
            }
            if records.is_empty() {
                end = start;
            }
        }
        found.older_before = (end > of.first_offset).then_some(end);
        Ok(found)
    }

    /// Everything from `start` up to `end`.
    async fn window(&self, stream: Stream, start: u64, end: u64) -> Result<Vec<Batch>, Refusal> {
        let mut batches = Vec::new();
        let mut from = start;
        while from < end {
            let batch = self.read(stream, from, (end - from) as usize).await?;
            if batch.next_offset() <= from {
                break;
            }
            from = batch.next_offset();
            batches.push(batch);
        }
        Ok(batches)
    }
}
