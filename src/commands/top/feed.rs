//! What is heard from the server, for as long as somebody looks: a state each second (`/api/live`), and the newest
//! events (`/api/events`) when there are new ones. A server that goes away is asked again all the time.

use std::time::Duration;

use awc::http::StatusCode;
use butler_sos_domain::streams::Stream;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::filter::Filter;
use crate::commands::client::Server;
use crate::commands::client_error::ClientError;
use crate::commands::sse_reader::SseReader;
use crate::operations::event_json::EventJson;
use crate::operations::state::State;

const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Between two questions where the server is asked each time.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A server that says nothing for so long is gone: a state comes each second.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Of each stream.
const EVENTS_MAX: usize = 200;

/// Something that was heard.
#[derive(Debug)]
pub enum News {
    State(Box<State>),
    /// Nothing is heard any more, and why.
    Away(String),
    /// Of both streams, for this filter.
    Events {
        filter: String,
        events: Vec<EventJson>,
    },
    EventsError(String),
}

/// Which events are wanted: when it changes, they are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub filter: String,
    /// The end of each stream.
    pub ends: Vec<u64>,
    /// The process that they are of.
    pub start_unix_ms: u64,
}

impl Wanted {
    /// The events of a state, found by a filter.
    #[must_use]
    pub fn of(state: &State, filter: &str) -> Self {
        let end = |stream: Stream| state.journal.streams.get(stream.name()).map_or(0, |of| of.next_offset);
        let ends = Stream::of_events().map(end).collect();
        Self { filter: filter.to_owned(), ends, start_unix_ms: state.process.start_unix_ms }
    }
}

/// The answer of `/api/events`.
#[derive(Debug, Deserialize)]
struct Events {
    events: Vec<EventJson>,
}

/// Hears states, for ever.
///
/// # Errors
/// Before the first state: a server that refuses us, or that is none of ours. Asking again cannot help then.
pub async fn states(server: &Server, news: &mpsc::Sender<News>) -> Result<(), ClientError> {
    let mut has_heard = false;
    let mut pause = PAUSE_MIN;
    loop {
        match listen(server, news, &mut has_heard).await {
            Ended::NobodyLooks => return Ok(()),
            Ended::Lost(detail) => {
                pause = PAUSE_MIN;
                if news.send(News::Away(detail)).await.is_err() {
                    return Ok(());
                }
            }
            Ended::Failed(ClientError::Refused { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => {
                // All places for listeners are taken: then it is asked each time.
                match server.get::<State>(&["state"], &[]).await {
                    Ok(state) => {
                        (has_heard, pause) = (true, ASK_EVERY);
                        if news.send(News::State(Box::new(state))).await.is_err() {
                            return Ok(());
                        }
                    }
                    Err(error) if news.send(News::Away(error.to_string())).await.is_err() => return Ok(()),
                    Err(_) => {}
                }
            }
            Ended::Failed(error) => {
                let is_other = matches!(error, ClientError::Foreign { .. });
                if !has_heard && (error.is_final() || is_other) {
                    return Err(error);
                }
                if news.send(News::Away(error.to_string())).await.is_err() {
                    return Ok(());
                }
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// How listening ended.
enum Ended {
    /// After something was heard.
    Lost(String),
    Failed(ClientError),
    NobodyLooks,
}

async fn listen(server: &Server, news: &mpsc::Sender<News>, has_heard: &mut bool) -> Ended {
    let bytes = match server.stream(&["live"], &[]).await {
        Ok(bytes) => bytes,
        Err(error) => return Ended::Failed(error),
    };
    let mut bytes = std::pin::pin!(bytes);
    let mut reader = SseReader::default();
    loop {
        let Ok(chunk) = timeout(SILENCE_MAX, bytes.next()).await else {
            return Ended::Lost("the server has stopped sending data".to_owned());
        };
        let Some(Ok(chunk)) = chunk else { return Ended::Lost("the connection was lost".to_owned()) };
        let Ok(events) = reader.take(&chunk) else {
            return Ended::Lost("the answer is too large".to_owned());
        };
        for event in events.iter().filter(|event| event.name == "state") {
            match server.read::<State>(&event.data) {
                Ok(state) => {
                    *has_heard = true;
                    if news.send(News::State(Box::new(state))).await.is_err() {
                        return Ended::NobodyLooks;
                    }
                }
                Err(error) => return Ended::Failed(error),
            }
        }
    }
}

/// Asks for events whenever other ones are wanted, at most once a second; ends when nobody wants any.
pub async fn events(server: &Server, mut wanted: watch::Receiver<Wanted>, news: &mpsc::Sender<News>) {
    while wanted.changed().await.is_ok() {
        let now = wanted.borrow_and_update().clone();
        let reported = match newest(server, &now).await {
            Ok(events) => News::Events { filter: now.filter, events },
            // That the server is away is told by its states.
            Err(ClientError::Unreachable { .. }) => continue,
            Err(error) => News::EventsError(error.to_string()),
        };
        if news.send(reported).await.is_err() {
            return;
        }
        sleep(ASK_EVERY).await;
    }
}

async fn newest(server: &Server, wanted: &Wanted) -> Result<Vec<EventJson>, ClientError> {
    let filter = Filter::read(&wanted.filter);
    let limit = EVENTS_MAX.to_string();
    let mut found = Vec::new();
    for (stream, end) in Stream::of_events().zip(&wanted.ends) {
        if *end == 0 {
            continue;
        }
        let query = [
            ("stream", stream.name()),
            ("limit", &limit),
            ("user", &filter.user),
            ("app", &filter.app),
            ("type", &filter.event_type),
        ];
        found.extend(server.get::<Events>(&["events"], &query).await?.events);
    }
    Ok(found)
}
