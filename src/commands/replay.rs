//! `butler-sos replay`: delivers stored events of a range of time to one destination again. Contract:
//! delivery, "Replay". The server refuses a destination that must not get events twice.

use serde_json::{Value, json};

use super::client::Server;
use super::{CommandError, job};
use crate::cli::Replay;

pub(super) async fn run(server: &Server, arguments: &Replay) -> Result<(), CommandError> {
    let order = order(&arguments.destination, &arguments.from, arguments.to.as_deref());
    let started: job::Started = server.post(&["replay"], &order).await?;
    job::follow(server, started.job, arguments.json).await
}

/// A time that is all digits is Unix milliseconds. The server validates other formats.
fn order(destination: &str, from: &str, to: Option<&str>) -> Value {
    let time = |text: &str| text.parse::<u64>().map_or_else(|_| json!(text), |unix_ms| json!(unix_ms));
    json!({ "destination": destination, "from": time(from), "to": to.map(time) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_text_or_milliseconds() {
        let expect = json!({ "destination": "d", "from": 1_763_632_800_000_u64, "to": null });
        assert_eq!(order("d", "1763632800000", None), expect);
        let expect = json!({ "destination": "d", "from": "2026-11-20T10:00:00Z", "to": "yesterday" });
        assert_eq!(order("d", "2026-11-20T10:00:00Z", Some("yesterday")), expect);
    }
}
