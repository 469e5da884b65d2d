//! `butler-sos tail`: each event as it comes, one line each, until Ctrl-C.
//!
//! Every stream is followed by an offset of its own, so that after a lost connection, or a restart of the server, it
//! goes on behind the last event shown and misses none that the journal still holds. Filters are the server's.

use std::time::Duration;

use butler_sos_domain::streams::Stream;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use super::client::Server;
use super::client_error::ClientError;
use super::sse_reader::{SseEvent, SseReader};
use super::text::one_line;
use super::{CommandError, note, say};
use crate::cli::Tail;
use crate::logging::line::escaped_json;
use crate::operations::event_json::EventJson;
use crate::operations::sse::HEARTBEAT;
use crate::operations::state::State;

const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A server that says nothing for so long is gone.
const SILENCE_MAX: Duration = HEARTBEAT.saturating_mul(3);
/// The most of one text that a line shows.
const TEXT_CHARACTERS: usize = 200;

pub(super) async fn run(server: &Server, arguments: &Tail) -> Result<(), CommandError> {
    let state: State = server.get(&["state"], &[]).await?;
    if !state.journal.answers {
        return Err(CommandError::NotDone("the journal of the server does not respond".to_owned()));
    }
    let wanted = |name: &str| arguments.stream.as_deref().is_none_or(|stream| stream == name);
    let followers = Stream::of_events().map(Stream::name).filter(|name| wanted(name)).map(|stream| {
        let next = state.journal.streams.get(stream).map_or(0, |of| of.next_offset);
        let follower = Follower { server, arguments, stream, next, has_listened: false, pause: PAUSE_MIN };
        Box::pin(follower.follow())
    });
    let followers: Vec<_> = followers.collect();
    tokio::select! {
        ended = futures_util::future::try_join_all(followers) => ended.map(|_| ()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// One stream's place, and what is wanted of it.
struct Follower<'a> {
    server: &'a Server,
    arguments: &'a Tail,
    stream: &'static str,
    /// Where to read on.
    next: u64,
    has_listened: bool,
    pause: Duration,
}

impl Follower<'_> {
    /// Ends with an error alone.
    async fn follow(mut self) -> Result<(), CommandError> {
        loop {
            let detail = match self.listen().await {
                Ok(detail) => detail.to_owned(),
                Err(CommandError::Client(error)) if self.has_listened && !error.is_final() => {
                    error.to_string()
                }
                Err(error) => return Err(error),
            };
            if self.pause == PAUSE_MIN {
                note(&format!("{}: {detail}; reconnecting", self.stream));
            }
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }

    /// Shows events until the connection ends; why it did.
    async fn listen(&mut self) -> Result<&'static str, CommandError> {
        if self.has_listened {
            self.check_place().await?;
        }
        let from = self.next.to_string();
        let query = [
            ("stream", self.stream),
            ("from", &from),
            ("user", &self.arguments.user),
            ("app", &self.arguments.app),
            ("type", &self.arguments.event_type),
        ];
        let mut bytes = std::pin::pin!(self.server.stream(&["tail"], &query).await?);
        note(&format!("following {} from offset {from}", self.stream));
        (self.has_listened, self.pause) = (true, PAUSE_MIN);
        let mut reader = SseReader::default();
        loop {
            let Ok(chunk) = timeout(SILENCE_MAX, bytes.next()).await else {
                return Ok("the server has stopped sending data");
            };
            let Some(Ok(chunk)) = chunk else { return Ok("the connection was lost") };
            let Ok(events) = reader.take(&chunk) else { return Ok("an event is too large") };
            for event in events.iter().filter(|event| event.name == "event") {
                self.next = next_offset(event, self.stream).unwrap_or(self.next);
                say(&self.shown(event)?)?;
            }
        }
    }

    /// After a pause: what the journal does not hold any more is not waited for, and a journal that was begun anew is
    /// followed from its beginning.
    async fn check_place(&mut self) -> Result<(), CommandError> {
        let state: State = self.server.get(&["state"], &[]).await?;
        let Some(of) = state.journal.streams.get(self.stream) else { return Ok(()) };
        if self.next > of.next_offset {
            note(&format!("{}: the journal was recreated", self.stream));
            self.next = of.first_offset;
        } else if self.next < of.first_offset {
            note(&format!(
                "{}: {} records were removed before they were read",
                self.stream,
                of.first_offset - self.next
            ));
            self.next = of.first_offset;
        }
        Ok(())
    }

    fn shown(&self, event: &SseEvent) -> Result<String, ClientError> {
        if self.arguments.json {
            return Ok(format!("{}\n", escaped_json(&event.data)));
        }
        Ok(format!("{}\n", line(&self.server.read(&event.data)?)))
    }
}

/// The offset behind an event; its id is `stream:offset`.
fn next_offset(event: &SseEvent, stream: &str) -> Option<u64> {
    let offset: u64 = event.id.as_deref()?.strip_prefix(stream)?.strip_prefix(':')?.parse().ok()?;
    offset.checked_add(1)
}

/// An event as one line: when, and its [`detail`].
#[must_use]
pub fn line(event: &EventJson) -> String {
    format!("{}  {}", one_line(&event.received_at, 40), detail(event))
}

/// What, who, and what else there is, by name.
#[must_use]
pub fn detail(event: &EventJson) -> String {
    let texts = &event.texts;
    let text = |text: &Option<String>| text.as_deref().map(|text| one_line(text, TEXT_CHARACTERS));
    let what = text(&texts.command).unwrap_or_else(|| one_line(&event.event_type, TEXT_CHARACTERS));
    let user = text(&texts.user).or_else(|| text(&texts.user_id)).unwrap_or_else(|| "-".to_owned());
    let mut line = format!("{what}  {user}");
    let browser =
        [&texts.browser, &texts.browser_version].map(|part| part.as_deref().unwrap_or_default()).join(" ");
    let screenshot = event.screenshot.as_ref();
    let saved = screenshot.map(|of| of.saved_paths.join(", ")).filter(|paths| !paths.is_empty());
    let named = [
        ("app", text(&texts.app_name).or_else(|| text(&texts.app_id))),
        ("sheet", text(&texts.sheet_name).or_else(|| text(&texts.sheet_id))),
        ("object", text(&texts.object_id)),
        ("origin", text(&texts.origin)),
        ("host", text(&texts.host)),
        ("browser", text(&Some(browser.trim().to_owned()).filter(|browser| !browser.is_empty()))),
        ("saved", text(&saved)),
        ("screenshotError", screenshot.and_then(|of| text(&of.error))),
        ("notUtf8", text(&texts.not_utf8)),
        ("message", text(&texts.message)),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            line.push_str(&format!("  {name}={value}"));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: serde_json::Value, expect: &str) {
        let event: EventJson = serde_json::from_value(json).expect("an event");
        assert_eq!(line(&event), expect);
    }

    #[test]
    fn an_event_is_one_line() {
        check(
            serde_json::json!({
                "offset": 7, "stream": "user-events", "receivedAt": "2025-10-09T08:53:20.123Z",
                "receivedUnixMs": 1, "type": "qseow-proxy-session", "host": "sense1",
                "command": "Start session", "user": "LAB\\Göran", "userId": "Göran",
                "appId": "0f2a", "appName": "Sales", "browser": "Chrome", "message": "a\r\nb\u{1b}[2J",
            }),
            "2025-10-09T08:53:20.123Z  Start session  LAB\\Göran  app=Sales  host=sense1  browser=Chrome  message=a\\r\\nb\\u{1b}[2J",
        );
        check(
            serde_json::json!({
                "offset": 7, "stream": "audit-events", "receivedAt": "2025-10-09T08:53:20.123Z",
                "receivedUnixMs": 1, "type": "screenshot.url.received", "appId": "0f2a", "sheetName": "One",
                "screenshot": { "savedPaths": [], "error": "no ticket" },
            }),
            "2025-10-09T08:53:20.123Z  screenshot.url.received  -  app=0f2a  sheet=One  screenshotError=no ticket",
        );
    }

    #[test]
    fn the_next_offset_is_behind_the_last_id() {
        let check = |id: &str, expect: Option<u64>| {
            let event = SseEvent { id: Some(id.to_owned()), ..SseEvent::default() };
            assert_eq!(next_offset(&event, "user-events"), expect, "{id}");
        };
        check("user-events:7", Some(8));
        check("audit-events:7", None);
        check("user-events:18446744073709551615", None);
        check("user-events", None);
        check("", None);
    }
}
