//! Server-sent events: their form on the wire, and how an answer is made of them.
//!
//! ```text
//! id: user-events:17        (optional)
//! event: state
//! data: {…}                 (JSON, so it holds no line end)
//!
//! ```
//! A line that begins with `:` is a comment; one is sent when nothing else was for a while, so that both sides notice
//! when the other is gone.

use std::fmt::Write as _;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use actix_web::web::Bytes;
use futures_util::Stream;
use serde::Serialize;

/// Longest silence.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

#[must_use]
pub fn heartbeat() -> Bytes {
    Bytes::from_static(b": still here\n\n")
}

/// One event. What cannot be serialised would be an empty one; nothing of ours is.
#[must_use]
pub fn event(name: &str, id: Option<&str>, data: &impl Serialize) -> Bytes {
    let mut text = String::new();
    if let Some(id) = id {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "id: {id}");
    }
    let json = serde_json::to_string(data).unwrap_or_default();
    let _ = write!(text, "event: {name}\ndata: {json}\n\n");
    text.into()
}

/// The answer that sends events for as long as `events` has some and the listener listens.
pub fn response(events: impl Stream<Item = Bytes> + 'static) -> HttpResponse {
    use futures_util::StreamExt;
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // A proxy in between must not wait for more.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(events.map(Ok::<_, std::convert::Infallible>))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_block() {
        let bytes = event("user", Some("user-events:3"), &"a\nb\rc");
        assert_eq!(bytes, "id: user-events:3\nevent: user\ndata: \"a\\nb\\rc\"\n\n");
        assert_eq!(event("state", None, &1), "event: state\ndata: 1\n\n");
    }
}
