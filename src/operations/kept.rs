//! Rejected datagrams and dead letters, read from their directories, newest first.
//!
//! A rejected datagram: `{id, time, reason, source, bytes, text, hex}` as the quarantine keeps it. A dead letter:
//! `{id, time, destination, stream, offset, reason, recordBytes, event}`, where `event` is as in
//! [`super::event_json`] and absent when the record is not readable; asked for alone it has `record` (hex), too.

use std::io;
use std::path::{Path, PathBuf};

use butler_sos_actors::line_log::actor::{self, Entry, EntryId};
use butler_sos_actors::sinks::sink::DeadLetter;
use butler_sos_domain::streams::Stream;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Refusal, json};
use super::event_json::EventJson;

/// A dead letter for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterJson {
    pub id: String,
    /// Unix milliseconds.
    pub time: u64,
    pub destination: String,
    pub stream: String,
    pub offset: u64,
    pub reason: String,
    pub record_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventJson>,
    /// In hex. Only in the answer for a single dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

/// A dead letter and its position.
#[derive(Debug, Clone)]
pub struct Letter {
    pub id: EntryId,
    pub letter: DeadLetter,
    pub record: Vec<u8>,
}

impl Letter {
    /// `None` when the line is not one of ours.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        let letter: DeadLetter = serde_json::from_slice(&entry.line).ok()?;
        let record = letter.record_bytes()?;
        Some(Self { id: entry.id, letter, record })
    }

    fn shown(self, with_record: bool) -> DeadLetterJson {
        let DeadLetter { time, destination, stream, offset, reason, record } = self.letter;
        let of = Stream::named(&stream);
        DeadLetterJson {
            id: self.id.to_string(),
            time,
            event: of.and_then(|of| EventJson::of_record(of, offset, &self.record)),
            destination,
            stream,
            offset,
            reason,
            record_bytes: self.record.len() as u64,
            record: with_record.then_some(record),
        }
    }
}

/// The newest rejected datagrams.
pub async fn quarantine(directory: &Path, limit: usize) -> Answer {
    let directory = directory.to_owned();
    let entries = off_thread(move || actor::newest(&directory, limit, |_| true)).await?;
    let lines: Vec<serde_json::Value> = entries
        .iter()
        .filter_map(|entry| {
            let mut line: serde_json::Value = serde_json::from_slice(&entry.line).ok()?;
            line.as_object_mut()?.insert("id".to_owned(), entry.id.to_string().into());
            Some(line)
        })
        .collect();
    Ok(json(&serde_json::json!({ "quarantine": lines })))
}

/// The newest dead letters, of one destination or of all.
pub async fn dead_letters(directory: &Path, destination: Option<String>, limit: usize) -> Answer {
    let letters = newest_letters(directory, destination, limit).await?;
    let letters: Vec<DeadLetterJson> = letters.into_iter().map(|letter| letter.shown(false)).collect();
    Ok(json(&serde_json::json!({ "deadLetters": letters })))
}

/// One dead letter with its record.
pub async fn dead_letter(directory: &Path, id: EntryId) -> Answer {
    Ok(json(&letter(directory, id).await?.shown(true)))
}

async fn newest_letters(
    directory: &Path,
    destination: Option<String>,
    limit: usize,
) -> Result<Vec<Letter>, Refusal> {
    let directory = directory.to_owned();
    off_thread(move || {
        let mut letters = Vec::new();
        actor::newest(&directory, limit, |entry| {
            let Some(letter) = Letter::of(entry) else { return false };
            let is_wanted = destination.as_ref().is_none_or(|wanted| *wanted == letter.letter.destination);
            if is_wanted {
                letters.push(letter);
            }
            is_wanted
        })?;
        Ok(letters)
    })
    .await
}

/// The positions of all dead letters of a destination, oldest first.
pub async fn letters_of(directory: &Path, destination: &str) -> Result<Vec<EntryId>, Refusal> {
    let (directory, destination) = (directory.to_owned(), destination.to_owned());
    off_thread(move || {
        let mut ids = Vec::new();
        for entry in actor::entries(&directory)? {
            let letter = Letter::of(&entry?);
            ids.extend(letter.filter(|letter| letter.letter.destination == destination).map(|one| one.id));
        }
        Ok(ids)
    })
    .await
}

pub async fn letter(directory: &Path, id: EntryId) -> Result<Letter, Refusal> {
    let directory = directory.to_owned();
    let found = off_thread(move || actor::find(&directory, id)).await?;
    found
        .as_ref()
        .and_then(Letter::of)
        .ok_or_else(|| Refusal::not_found("there is no such dead letter (any more)"))
}

/// Removes a dead letter. Returns whether it existed.
pub async fn remove(directory: &Path, id: EntryId) -> Result<bool, Refusal> {
    let directory: PathBuf = directory.to_owned();
    off_thread(move || actor::remove(&directory, id)).await
}

/// An id as it stands in a path.
pub fn entry_id(text: &str) -> Result<EntryId, Refusal> {
    text.parse().map_err(|error: actor::NotAnEntryId| Refusal::bad_request(error.to_string()))
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    let done = actix_web::web::block(work).await;
    done.map_err(|_| Refusal::unavailable("the server is stopping"))?.map_err(|error| Refusal::disk(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_is_damaged_is_shown_without_its_event() {
        let line = br#"{"time":1,"destination":"influx_sink","stream":"user-events","offset":4,"reason":"no","record":"07"}"#;
        let entry = Entry { id: EntryId { segment: 1, offset: 0 }, line: line.to_vec() };
        let shown = Letter::of(&entry).expect("a letter").shown(true);
        assert_eq!((shown.id.as_str(), shown.record_bytes, shown.event), ("1-0", 1, None));
        assert!(Letter::of(&Entry { line: b"{}".to_vec(), ..entry }).is_none());
    }
}
