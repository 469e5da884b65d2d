//! Files of columns, each written as a whole: the common part of Parquet and QVD.
//! Contract: destinations.md, "Parquet and QVD".
//!
//! Receives: nothing; it pulls audit events from the journal.
//! Sends: one file per batch, `{YYYYMMDD}_part{N}.{extension}`, the UTC date of writing, N from 1.
//! Keeps: only what the commit note contains.
//! When full: a full disk is a delivery error; the temporary file is removed, the journal keeps the events.
//! When it fails: the step in the note is completed or undone.
//!
//! # Once
//!
//! ```text
//! 1  write `.{name}.tmp`, sync it, sync the directory
//! 2  note {"file","from","to",…,"parts"} at the offset where the batch began
//! 3  rename to `{name}`, never over another file; sync the directory
//! 4  commit `to` and a note {"parts"}: the used part numbers ([`crate::sinks::files::part_numbers`])
//! ```
//!
//! A process that finds a note with `to` beyond its committed offset was interrupted in between. The file
//! itself states which records it holds. With its final name: step 3 is done, 4 follows. With its temporary
//! name: 3 and 4 follow. Neither: start again at 1. Temporary files of ours that no note names are from a
//! crash in step 1, and are removed.
//!
//! An event that cannot be read or written is refused alone: the file ends before it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use butler_sos_domain::audit::AuditEvent;
use butler_sos_domain::audit::time::compact_date;
use butler_sos_domain::encode::audit_columns::StaticTag;
use butler_sos_domain::encode::covered::Covered;
use serde::{Deserialize, Serialize};

use crate::journal::batch::{Batch, Record};
use crate::journal::message::Position;
use crate::kit::clock::unix_ms;
use crate::kit::delivery_error::DeliveryError;
use crate::kit::guard::guard;
use crate::kit::platform::Modes;
use crate::sinks::files::file_target::{Disk, blocking, is_plain_name, temporary_name, trouble};
use crate::sinks::files::part_numbers::PartNumbers;
use crate::sinks::sink::{Delivered, Destination, Progress, Refused};
use butler_sos_domain::streams::Stream;

#[derive(Debug, Clone)]
pub struct ColumnarConfig {
    pub directory: PathBuf,
    /// The values of the column `tags`.
    pub static_tags: Vec<StaticTag>,
}

/// A file format.
pub trait Encoder: Send + Sync + 'static {
    /// Includes the dot.
    const EXTENSION: &'static str;

    /// Encodes a file that contains `events`.
    fn encode(
        events: &[AuditEvent<'_>],
        tags: &[StaticTag],
        covered: &Covered,
        now_ms: i64,
    ) -> Result<Vec<u8>, String>;

    /// The records that a file states it holds; `None` for any other file.
    fn covered(file: File) -> io::Result<Option<Covered>>;
}

/// A directory of such files, as a destination of audit events.
pub struct Columnar<E> {
    config: Arc<ColumnarConfig>,
    disk: Disk,
    clock: fn() -> u64,
    /// A noted file that is not known to be finished.
    pending: Option<Pending>,
    parts: PartNumbers,
    format: std::marker::PhantomData<E>,
}

/// The commit note.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    pending: Option<Pending>,
    /// Notes of earlier versions have no part numbers.
    #[serde(default)]
    parts: PartNumbers,
}

/// A complete file with its temporary name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    file: String,
    from: u64,
    to: u64,
    events: u64,
    bytes: u64,
}

/// The result of a batch's first step.
enum Prepared {
    /// A complete file with its temporary name, and the used part numbers, including its own.
    File(Pending, PartNumbers),
    /// The batch begins with records that cannot be written.
    Refused(Vec<Refused>),
    /// The batch contains only records that were removed.
    Nothing,
}

impl<E: Encoder> Columnar<E> {
    pub fn new(config: ColumnarConfig) -> Self {
        Self {
            config: Arc::new(config),
            disk: Disk::default(),
            clock: unix_ms,
            pending: None,
            parts: PartNumbers::default(),
            format: std::marker::PhantomData,
        }
    }

    /// Creates files with these modes.
    #[must_use]
    pub fn created_with(mut self, modes: Modes) -> Self {
        self.disk.modes = modes;
        self
    }

    #[cfg(test)]
    pub(crate) fn on(mut self, disk: Disk, clock: fn() -> u64) -> Self {
        (self.disk, self.clock) = (disk, clock);
        self
    }

    /// Runs blocking work on this directory outside the arbiter.
    async fn at_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk, &ColumnarConfig) -> Result<T, DeliveryError> + Send + 'static,
    ) -> Result<T, DeliveryError> {
        let (disk, config) = (self.disk.clone(), Arc::clone(&self.config));
        blocking(move || work(&disk, &config)).await
    }

    /// Finishes a file that an earlier attempt noted; `None` when there is none.
    async fn finish(&mut self) -> Result<Option<Delivered>, DeliveryError> {
        let Some(pending) = self.pending.clone() else { return Ok(None) };
        let found = pending.clone();
        let finished = self.at_disk(move |disk, config| finish::<E>(disk, config, &found)).await?;
        self.pending = None;
        let parts = self.parts.clone();
        Ok(finished.then(|| pending.delivered(parts)))
    }
}

impl<E: Encoder> Destination for Columnar<E> {
    const REPLAY_REFUSED: Option<&'static str> =
        Some("its files would hold the events twice: they are written once and only appended to");

    async fn resume(&mut self, position: &Position) -> Result<Option<Delivered>, DeliveryError> {
        let note = Note::from_bytes(&position.note);
        self.parts = note.parts;
        self.pending = note.pending.filter(|pending| {
            // A note with another range is older, and its file is committed.
            pending.from == position.offset && pending.to > pending.from
        });
        let taken = self.finish().await?;
        self.at_disk(|disk, config| {
            remove_leftovers::<E>(disk, &config.directory).map_err(trouble("clearing", &config.directory))
        })
        .await?;
        Ok(taken)
    }

    async fn deliver(&mut self, batch: &Batch, progress: &Progress) -> Result<Delivered, DeliveryError> {
        if let Some(delivered) = self.finish().await? {
            return Ok(delivered);
        }
        let now_ms = i64::try_from((self.clock)()).unwrap_or(i64::MAX);
        let (records, given) = (batch.clone(), self.parts.clone());
        let prepare =
            move |disk: &Disk, config: &ColumnarConfig| prepare::<E>(disk, config, &records, now_ms, given);
        let prepared = self.at_disk(prepare).await?;
        match prepared {
            Prepared::File(pending, parts) => {
                let note = Note { pending: Some(pending.clone()), parts: parts.clone() };
                progress.note(note.to_bytes()).await?;
                self.parts = parts;
                self.pending = Some(pending);
                match self.finish().await? {
                    Some(delivered) => Ok(delivered),
                    // Another program took the name meanwhile. The next attempt uses another name.
                    None => Err(DeliveryError::new("disk", "the name of the next file is taken")),
                }
            }
            Prepared::Refused(refused) => {
                let next_offset = refused.last().map_or(batch.from_offset(), |last| last.offset + 1);
                Ok(Delivered { next_offset, refused, ..Delivered::default() })
            }
            Prepared::Nothing => Ok(Delivered { next_offset: batch.next_offset(), ..Delivered::default() }),
        }
    }
}

/// Step 1: writes a whole file with its temporary name, for as much of the batch as can be written together.
fn prepare<E: Encoder>(
    disk: &Disk,
    config: &ColumnarConfig,
    batch: &Batch,
    now_ms: i64,
    given: PartNumbers,
) -> Result<Prepared, DeliveryError> {
    let (mut events, mut to) = (Vec::with_capacity(batch.len()), batch.next_offset());
    let mut refused = Vec::new();
    for record in batch.iter() {
        match read(record) {
            Ok(event) if refused.is_empty() => events.push((record, event)),
            Err(reason) if events.is_empty() => refused.push(refusal(record, reason)),
            // The file, or the run of refused records, ends here.
            _ => {
                to = record.offset;
                break;
            }
        }
    }
    if !refused.is_empty() {
        return Ok(Prepared::Refused(refused));
    }
    if events.is_empty() {
        return Ok(Prepared::Nothing);
    }
    let (mut records, mut events): (Vec<_>, Vec<_>) = events.into_iter().unzip();
    let bytes = loop {
        let covered = covered(batch.from_offset(), to);
        match guard(|| E::encode(&events, &config.static_tags, &covered, now_ms)) {
            Ok(Ok(bytes)) => break bytes,
            // One of the records is bad: try half as many, until it is alone.
            Ok(Err(reason)) | Err(reason) => {
                if let [record] = records[..] {
                    return Ok(Prepared::Refused(vec![refusal(record, reason)]));
                }
                let half = events.len() / 2;
                to = records[half].offset;
                records.truncate(half);
                events.truncate(half);
            }
        }
    };
    let directory = &config.directory;
    disk.create_directory(directory).map_err(trouble("creating directory", directory))?;
    let day = compact_date(now_ms);
    let stem = format!("{day}_part");
    let highest = disk.highest_part(directory, &stem, E::EXTENSION).map_err(trouble("reading", directory))?;
    let part = given.next(&day, highest);
    let pending = Pending {
        file: format!("{stem}{part}{}", E::EXTENSION),
        from: batch.from_offset(),
        to,
        events: events.len() as u64,
        bytes: bytes.len() as u64,
    };
    let temporary = directory.join(temporary_name(&pending.file));
    let written = disk
        .create_afresh(&temporary)
        .and_then(|file| disk.write_at(&file, &bytes, 0).and_then(|()| disk.sync(&file)))
        .and_then(|()| disk.sync_directory(directory));
    if let Err(error) = written {
        // Free the space.
        let _ = disk.remove(&temporary);
        return Err(trouble("writing", &temporary)(error));
    }
    Ok(Prepared::File(pending, given.with(&day, part)))
}

/// Step 3, or the rest of it. Returns false when the file has neither name.
fn finish<E: Encoder>(
    disk: &Disk,
    config: &ColumnarConfig,
    pending: &Pending,
) -> Result<bool, DeliveryError> {
    let covered = covered(pending.from, pending.to);
    let directory = &config.directory;
    let path = directory.join(&pending.file);
    let temporary = directory.join(temporary_name(&pending.file));
    let holds = |path: &Path| holds::<E>(disk, path, &covered).map_err(trouble("reading", path));
    if holds(&path)? {
        disk.remove(&temporary).map_err(trouble("removing", &temporary))?;
    } else if holds(&temporary)? {
        match disk.rename_new(&temporary, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(&temporary).map_err(trouble("removing", &temporary))?;
                return Ok(false);
            }
            Err(error) => return Err(trouble("renaming to", &path)(error)),
        }
    } else {
        return Ok(false);
    }
    disk.sync_directory(directory).map_err(trouble("syncing directory", directory))?;
    Ok(true)
}

/// Whether this file contains these records.
fn holds<E: Encoder>(disk: &Disk, path: &Path, covered: &Covered) -> io::Result<bool> {
    let Some(file) = disk.open_existing(path)? else { return Ok(false) };
    Ok(E::covered(file)?.as_ref() == Some(covered))
}

/// Removes files that a crash in step 1 left.
fn remove_leftovers<E: Encoder>(disk: &Disk, directory: &Path) -> io::Result<()> {
    for name in disk.file_names(directory)?.iter().filter(|name| is_leftover(name, E::EXTENSION)) {
        disk.remove(&directory.join(name))?;
    }
    Ok(())
}

/// Matches exactly our temporary names: `.20261121_part3.qvd.tmp`.
fn is_leftover(name: &str, extension: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let stem = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")?.strip_suffix(extension));
    stem.and_then(|stem| stem.split_once("_part")).is_some_and(|(day, part)| digits(day) && digits(part))
}

fn read(record: Record<'_>) -> Result<AuditEvent<'_>, String> {
    guard(|| AuditEvent::from_bytes(record.data).map_err(|error| error.to_string()))?
}

fn refusal(record: Record<'_>, reason: String) -> Refused {
    Refused { offset: record.offset, reason, record: record.data.to_vec() }
}

/// The range as stored in the file. `to` is greater than `from`, because a file holds at least one record.
fn covered(from: u64, to: u64) -> Covered {
    Covered { stream: Stream::AuditEvents.name().to_owned(), first: from, last: to.saturating_sub(1) }
}

impl Pending {
    fn delivered(&self, parts: PartNumbers) -> Delivered {
        Delivered {
            next_offset: self.to,
            events: self.events,
            bytes: self.bytes,
            note: Some(Note { pending: None, parts }.to_bytes()),
            ..Delivered::default()
        }
    }
}

impl Note {
    fn to_bytes(&self) -> Vec<u8> {
        // Names and numbers always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn from_bytes(note: &[u8]) -> Self {
        let Ok(Self { pending, mut parts }) = serde_json::from_slice(note) else { return Self::default() };
        let pending = pending.filter(|pending| is_plain_name(&pending.file));
        if let Some(pending) = &pending {
            parts = parts.with_name(&pending.file);
        }
        Self { pending, parts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_every_version_are_read() {
        let file = Pending { file: "20261121_part7.qvd".to_owned(), from: 3, to: 9, events: 6, bytes: 100 };
        let check = |note: &str, pending: Option<&Pending>, next: u64| {
            let read = Note::from_bytes(note.as_bytes());
            assert_eq!((read.pending.as_ref(), read.parts.next("20261121", 0)), (pending, next), "{note}");
        };
        check("", None, 1);
        check(r#"{"file":"20261121_part7.qvd","from":3,"to":9,"events":6,"bytes":100}"#, Some(&file), 8);
        check(r#"{"parts":[["20261121",4]]}"#, None, 5);
        check(r#"{"file":"../x_part9.qvd","from":3,"to":9,"events":6,"bytes":100}"#, None, 1);
        let note = Note { pending: Some(file.clone()), parts: PartNumbers::default().with("20261121", 7) };
        check(&String::from_utf8_lossy(&note.to_bytes()), Some(&file), 8);
    }
}
