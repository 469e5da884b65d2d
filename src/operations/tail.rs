//! Follows the streams: sends each event from now on, or from an offset on, as a server-sent event `event`.
//!
//! It polls for new records a few times a second instead of waiting at the journal, so that a listener that
//! disconnects leaves nothing behind there. A slow listener delays only itself.

use std::collections::VecDeque;
use std::time::Duration;

use actix_web::web::Bytes;
use butler_sos_domain::streams::Stream;
use futures_util::Stream as Events;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::answer::Refusal;
use super::event_json::{EventJson, Filter};
use super::journal_port::JournalPort;
use super::journal_reader::JournalReader;
use super::live::{Live, Place};
use super::sse;

/// `/api/tail?stream=&from=&user=&app=&type=`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TailQuery {
    /// `user-events` or `audit-events`. The default is both.
    pub stream: Option<String>,
    /// The first offset. Requires `stream`. The default is the end.
    pub from: Option<u64>,
    pub user: String,
    pub app: String,
    #[serde(rename = "type")]
    pub event_type: String,
}

const LOOK_EVERY: Duration = Duration::from_millis(250);
const RECORDS_MAX: usize = 500;

/// # Errors
/// An unknown stream, `from` without a stream, no free place, a journal that does not answer.
pub async fn events(
    live: &Live,
    journal: JournalPort,
    reader: JournalReader,
    query: TailQuery,
) -> Result<impl Events<Item = Bytes> + 'static, Refusal> {
    let streams = match query.stream.as_deref() {
        None | Some("") if query.from.is_some() => {
            return Err(Refusal::bad_request("from is an offset within one stream: set stream="));
        }
        None | Some("") => Stream::of_events().collect(),
        Some(name) => vec![stream_of_events(name)?],
    };
    let place = live.place()?;
    let now = journal.streams().await?;
    let places = streams.into_iter().map(|stream| {
        let end = now.iter().find(|of| of.stream == stream).map_or(0, |of| of.next_offset);
        (stream, query.from.unwrap_or(end))
    });
    let filter = Filter { user: query.user, app: query.app, event_type: query.event_type };
    let tail = Tail {
        at: places.collect(),
        journal,
        reader,
        filter,
        ready: VecDeque::new(),
        spoke: Instant::now(),
        _place: place,
    };
    Ok(futures_util::stream::unfold(tail, |mut tail| async move {
        let bytes = tail.next().await;
        Some((bytes, tail))
    }))
}

pub fn stream_of_events(name: &str) -> Result<Stream, Refusal> {
    Stream::named(name).filter(|stream| stream.is_final()).ok_or_else(|| {
        let known: Vec<_> = Stream::of_events().map(Stream::name).collect();
        Refusal::bad_request(format!("stream must be {}", known.join(" or ")))
    })
}

struct Tail {
    /// The offset to continue from, per stream.
    at: Vec<(Stream, u64)>,
    journal: JournalPort,
    reader: JournalReader,
    filter: Filter,
    ready: VecDeque<Bytes>,
    spoke: Instant,
    _place: Place,
}

impl Tail {
    async fn next(&mut self) -> Bytes {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.spoke = Instant::now();
                return bytes;
            }
            // If the journal does not answer now, the next poll tries again.
            let has_read = self.look().await.unwrap_or(false);
            if self.ready.is_empty() {
                if self.spoke.elapsed() >= sse::HEARTBEAT {
                    self.spoke = Instant::now();
                    return sse::heartbeat();
                }
                if !has_read {
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    /// Reads new records of each stream. Returns whether there were any.
    async fn look(&mut self) -> Result<bool, Refusal> {
        let now = self.journal.streams().await?;
        let mut has_read = false;
        for (stream, at) in &mut self.at {
            let Some(of) = now.iter().find(|of| of.stream == *stream) else { continue };
            if *at >= of.next_offset {
                continue;
            }
            let batch = self.reader.read(*stream, *at, RECORDS_MAX).await?;
            for record in batch.iter() {
                let event = EventJson::of_record(*stream, record.offset, record.data);
                if let Some(event) = event.filter(|event| self.filter.takes(event)) {
                    let id = format!("{}:{}", stream.name(), record.offset);
                    self.ready.push_back(sse::event("event", Some(&id), &event));
                }
            }
            *at = batch.next_offset().max(*at + 1);
            has_read = true;
        }
        Ok(has_read)
    }
}
