//! `butler-sos dlq`: dead letters, events that a destination refused. Contract: delivery, "Dead letters".
//!
//! `list` shows the newest. `retry` delivers to the destination that refused the event, and to no other: one
//! dead letter, with its outcome, or all of a destination, oldest first, in the server ([`job`]). `drop`
//! removes for good.

use std::collections::BTreeSet;
use std::io;

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Server;
use super::table::{Side, Table};
use super::text::{bytes, count, moment, one_line};
use super::{CommandError, job, note, say};
use crate::cli::{DlqList, DlqSome, DlqTask};
use crate::logging::line::escaped_json;
use crate::operations::kept::DeadLetterJson;
use crate::operations::retry::Outcome;
use crate::operations::state::State;

const API: &str = "dead-letters";
/// The maximum length of a reason in a list.
const REASON_CHARACTERS: usize = 120;
/// The maximum number of dead letters in one answer.
const LIST_MAX: &str = "1000";

pub(super) async fn run(server: &Server, task: &DlqTask) -> Result<(), CommandError> {
    match task {
        DlqTask::List(arguments) => list(server, arguments).await,
        DlqTask::Show(arguments) => {
            let letter: DeadLetterJson = server.get(&[API, &arguments.id], &[]).await?;
            if arguments.json { say_json(&letter) } else { Ok(say(&sheet(&letter))?) }
        }
        DlqTask::Retry(arguments) => match &arguments.id {
            Some(id) => retry_one(server, id, arguments.json).await,
            None => retry_all(server, arguments).await,
        },
        DlqTask::Drop(arguments) => match &arguments.id {
            Some(id) => {
                let dropped: Dropped = server.post(&[API, id, "drop"], &json!({})).await?;
                say_dropped(id, &dropped, arguments.json)
            }
            None => drop_all(server, arguments).await,
        },
    }
}

// === list and show

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Letters {
    dead_letters: Vec<DeadLetterJson>,
}

async fn list(server: &Server, arguments: &DlqList) -> Result<(), CommandError> {
    let limit = arguments.limit.to_string();
    let destination = arguments.destination.as_deref().unwrap_or_default();
    let query = [("limit", limit.as_str()), ("destination", destination)];
    let Letters { dead_letters } = server.get(&[API], &query).await?;
    if arguments.json {
        return dead_letters.iter().try_for_each(say_json);
    }
    if dead_letters.is_empty() {
        note("no dead letters");
        return Ok(());
    }
    say(&table(&dead_letters))?;
    if dead_letters.len() >= usize::from(arguments.limit) {
        note(&format!("the newest {limit}; --limit shows more"));
    }
    Ok(())
}

/// Dead letters as a table.
#[must_use]
pub fn table(letters: &[DeadLetterJson]) -> String {
    let head = ["ID", "TIME", "DESTINATION", "EVENT", "USER", "REASON"];
    let mut table = Table::new(&head.map(|name| (name, Side::Left)));
    for letter in letters {
        let event = letter.event.as_ref();
        let texts = event.map(|event| &event.texts);
        let what = event.map(|event| texts.and_then(|of| of.command.as_ref()).unwrap_or(&event.event_type));
        let user = texts.and_then(|of| of.user.as_ref().or(of.user_id.as_ref()));
        table.push(vec![
            one_line(&letter.id, 60),
            moment(letter.time),
            one_line(&letter.destination, 40),
            what.map_or_else(|| "(damaged)".to_owned(), |what| one_line(what, 40)),
            user.map_or_else(|| "-".to_owned(), |user| one_line(user, 40)),
            one_line(&letter.reason, REASON_CHARACTERS),
        ]);
    }
    table.lines()
}

/// One dead letter, one line for each part.
#[must_use]
pub fn sheet(letter: &DeadLetterJson) -> String {
    let mut table = Table::new(&[("DEAD LETTER", Side::Left), ("", Side::Left)]);
    let mut put = |name: &str, value: String| table.push(vec![name.to_owned(), value]);
    put("id", one_line(&letter.id, usize::MAX));
    put("time", moment(letter.time));
    put("destination", one_line(&letter.destination, usize::MAX));
    put("reason", one_line(&letter.reason, usize::MAX));
    put("stream", one_line(&letter.stream, usize::MAX));
    put("offset", letter.offset.to_string());
    put("record", format!("{} (--json shows it)", bytes(letter.record_bytes)));
    let event = letter.event.as_ref().and_then(|event| serde_json::to_value(event).ok());
    match event {
        Some(Value::Object(fields)) => {
            for (name, value) in
                fields.iter().filter(|(name, _)| !matches!(name.as_str(), "stream" | "offset"))
            {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                put(&format!("event.{}", one_line(name, 60)), one_line(&value, usize::MAX));
            }
        }
        _ => put("event", "(damaged)".to_owned()),
    }
    table.lines()
}

// === retry

async fn retry_one(server: &Server, id: &str, as_json: bool) -> Result<(), CommandError> {
    let outcome: Outcome = server.post(&[API, id, "retry"], &json!({})).await?;
    if as_json {
        say_json(&outcome)?;
    }
    let shown_id = one_line(id, 60);
    match outcome {
        Outcome::Delivered if as_json => Ok(()),
        Outcome::Delivered => Ok(say(&format!("{shown_id}: delivered\n"))?),
        Outcome::Refused { reason } => Err(CommandError::NotDone(format!(
            "{shown_id}: rejected again, the dead letter is kept: {reason}"
        ))),
        Outcome::NotNow { reason } => {
            let detail = "the destination is not available, the dead letter is kept";
            Err(CommandError::NotDone(format!("{shown_id}: {detail}: {reason}")))
        }
        Outcome::Waiting => {
            note(&format!(
                "{shown_id}: the destination has not processed it yet; `dlq list` shows the dead letters that remain"
            ));
            Ok(())
        }
    }
}

/// Retries one destination after the other. An error does not stop the next one.
async fn retry_all(server: &Server, arguments: &DlqSome) -> Result<(), CommandError> {
    let mut failed = None;
    for destination in destinations(server, arguments).await? {
        let body = json!({ "destination": destination });
        let done = match server.post::<job::Started>(&[API, "retry"], &body).await {
            Ok(started) => job::follow(server, started.job, arguments.json).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = done {
            // The last error is reported at the end.
            if let Some(earlier) = failed.replace(error) {
                note(&CommandError::to_string(&earlier));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

// === drop

/// The number of removed dead letters.
#[derive(Debug, Deserialize)]
struct Dropped {
    dropped: u64,
}

async fn drop_all(server: &Server, arguments: &DlqSome) -> Result<(), CommandError> {
    for destination in destinations(server, arguments).await? {
        let body = json!({ "destination": destination });
        let dropped: Dropped = server.post(&[API, "drop"], &body).await?;
        say_dropped(&destination, &dropped, arguments.json)?;
    }
    Ok(())
}

fn say_dropped(what: &str, dropped: &Dropped, as_json: bool) -> Result<(), CommandError> {
    if as_json {
        return say_json(&json!({ "of": what, "dropped": dropped.dropped }));
    }
    Ok(say(&format!("{}: {} dropped\n", one_line(what, 60), count(dropped.dropped)))?)
}

// === all three

/// The named destination; otherwise all with dead letters, including those that are no longer configured.
async fn destinations(server: &Server, arguments: &DlqSome) -> Result<BTreeSet<String>, CommandError> {
    if let Some(destination) = &arguments.destination {
        return Ok(BTreeSet::from([destination.clone()]));
    }
    let Letters { dead_letters } = server.get(&[API], &[("limit", LIST_MAX)]).await?;
    let mut found: BTreeSet<String> = dead_letters.into_iter().map(|letter| letter.destination).collect();
    let state: State = server.get(&["state"], &[]).await?;
    for destination in state.destinations.into_keys() {
        if !found.contains(&destination) {
            let query = [("limit", "1"), ("destination", destination.as_str())];
            let Letters { dead_letters } = server.get(&[API], &query).await?;
            if !dead_letters.is_empty() {
                found.insert(destination);
            }
        }
    }
    if found.is_empty() {
        note("no dead letters");
    }
    Ok(found)
}

fn say_json(value: &impl serde::Serialize) -> Result<(), CommandError> {
    let json = serde_json::to_string(value).map_err(io::Error::from)?;
    Ok(say(&format!("{}\n", escaped_json(&json)))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(event: &Value) -> DeadLetterJson {
        let json = json!({
            "id": "1-0", "time": 1_760_000_000_123_u64, "destination": "influx_sink", "stream": "user-events",
            "offset": 4, "reason": "field type conflict\n\u{1b}[2J", "recordBytes": 2_048, "event": event,
        });
        serde_json::from_value(json).expect("a letter")
    }

    fn event() -> Value {
        json!({
            "offset": 4, "stream": "user-events", "receivedAt": "2025-10-09T08:53:20.000Z", "receivedUnixMs": 5,
            "type": "t", "command": "Start session", "user": "LAB\\anna",
        })
    }

    #[test]
    fn letters_are_listed_in_columns() {
        let expect = "\
ID   TIME                      DESTINATION  EVENT          USER      REASON
1-0  2025-10-09T08:53:20.123Z  influx_sink  Start session  LAB\\anna  field type conflict\\n\\u{1b}[2J
1-0  2025-10-09T08:53:20.123Z  influx_sink  (damaged)      -         field type conflict\\n\\u{1b}[2J
";
        assert_eq!(table(&[letter(&event()), letter(&Value::Null)]), expect);
    }

    #[test]
    fn one_letter_has_all_its_parts() {
        let expect = "\
DEAD LETTER
id                    1-0
time                  2025-10-09T08:53:20.123Z
destination           influx_sink
reason                field type conflict\\n\\u{1b}[2J
stream                user-events
offset                4
record                2.0 KiB (--json shows it)
event.command         Start session
event.receivedAt      2025-10-09T08:53:20.000Z
event.receivedUnixMs  5
event.type            t
event.user            LAB\\anna
";
        let mut lines: Vec<String> = sheet(&letter(&event())).lines().map(str::to_owned).collect();
        // The order of an object's fields is serde_json's.
        lines[8..].sort();
        assert_eq!(lines.join("\n") + "\n", expect);
        assert!(sheet(&letter(&Value::Null)).ends_with("event        (damaged)\n"));
    }
}
