//! Appends events to CSV files. Contract: destinations.md, "CSV".
//!
//! Receives: nothing; it pulls user events or audit events from the journal.
//! Sends: rows to `{stream}_{YYYYMMDD}_part{N}.csv`, the UTC day of writing, N from 1.
//! Keeps: one open file.
//! When full: a full disk is a delivery error; the partial row is cut off, the journal keeps the events.
//! When it fails: the file is cut to the length of the last commit, and the rows are written again.
//!
//! # Once
//!
//! The commit note is `{"file":"…","length":n,"parts":…}`: the file, its committed length, and the used part
//! numbers ([`crate::sinks::files::part_numbers`]), so that the number of a file that a loader takes away
//! stays used. A file is noted with length 0 *before* it is created. Everything beyond the noted length is
//! therefore ours and not committed, and [`Destination::resume`] cuts it off. A file without a note is never
//! written to: a part begins with a free name. A file that another program changed meanwhile (moved, appended
//! to, cut) is left as it is, and the next part begins.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use butler_sos_domain::audit::time::compact_date;
use butler_sos_domain::encode::csv;
use serde::{Deserialize, Serialize};

use crate::journal::batch::{Batch, Record};
use crate::journal::message::Position;
use crate::kit::clock::unix_ms;
use crate::kit::delivery_error::DeliveryError;
use crate::kit::guard::guard;
use crate::kit::platform::{self, Modes};
use crate::sinks::files::file_target::{Disk, blocking, is_plain_name, trouble};
use crate::sinks::files::part_numbers::PartNumbers;
use crate::sinks::records::RowEncoder;
use crate::sinks::sink::{Delivered, Destination, Progress, Refused, Sink};

pub type CsvSink = Sink<CsvFile>;

#[derive(Debug, Clone)]
pub struct CsvConfig {
    pub directory: PathBuf,
    /// A new file begins before this size is exceeded. A single row may exceed it.
    pub rotate_bytes: u64,
}

/// CSV files in a directory, as the destination of one stream.
pub struct CsvFile {
    config: Arc<CsvConfig>,
    rows: Arc<dyn RowEncoder>,
    disk: Disk,
    clock: fn() -> u64,
    state: State,
    parts: PartNumbers,
}

/// The target of the next row.
enum State {
    /// To a new file.
    NoFile,
    /// This file, after everything beyond the mark has been cut off.
    Marked(Mark),
    Open(Open),
}

/// The note: the committed part of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    file: String,
    length: u64,
    /// Notes of earlier versions have no part numbers.
    #[serde(default)]
    parts: PartNumbers,
}

struct Open {
    file: File,
    name: String,
    day: String,
    length: u64,
}

impl CsvFile {
    /// Creates the destination for the stream of `rows`.
    pub fn new(config: CsvConfig, rows: impl RowEncoder + 'static) -> Self {
        Self {
            config: Arc::new(config),
            rows: Arc::new(rows),
            disk: Disk::default(),
            clock: unix_ms,
            state: State::NoFile,
            parts: PartNumbers::default(),
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

    /// The file to append to: the open one, the one of the mark, or a new one.
    async fn open(&mut self, progress: &Progress) -> Result<Open, DeliveryError> {
        let today = compact_date(i64::try_from((self.clock)()).unwrap_or(i64::MAX));
        match std::mem::replace(&mut self.state, State::NoFile) {
            State::Open(open) => {
                let path = self.config.directory.join(&open.name);
                let rotate_bytes = self.config.rotate_bytes;
                let open = blocking(move || Ok(open.still_right(&path, &today, rotate_bytes))).await?;
                if let Some(open) = open {
                    return Ok(open);
                }
            }
            State::Marked(mark) => {
                let (disk, config, rows, marked) =
                    (self.disk.clone(), Arc::clone(&self.config), Arc::clone(&self.rows), mark.clone());
                let reopened = blocking(move || {
                    let path = config.directory.join(&marked.file);
                    let open = reopen(&disk, &path, &header_of(&*rows), &marked);
                    let open = open.map_err(trouble("opening", &path))?;
                    Ok(open.and_then(|open| open.still_right(&path, &today, config.rotate_bytes)))
                });
                match reopened.await {
                    Ok(Some(open)) => return Ok(open),
                    Ok(None) => {}
                    Err(trouble) => {
                        self.state = State::Marked(mark);
                        return Err(trouble);
                    }
                }
            }
            State::NoFile => {}
        }
        self.begin(progress).await
    }

    /// Begins a new file. Its name is noted before the file exists.
    async fn begin(&mut self, progress: &Progress) -> Result<Open, DeliveryError> {
        let day = compact_date(i64::try_from((self.clock)()).unwrap_or(i64::MAX));
        let stem = format!("{}_{day}_part", self.rows.stream().name());
        let (disk, directory) = (self.disk.clone(), self.config.directory.clone());
        let (of_day, given) = (day.clone(), self.parts.clone());
        let (name, parts) = blocking(move || {
            disk.create_directory(&directory).map_err(trouble("creating directory", &directory))?;
            let highest =
                disk.highest_part(&directory, &stem, ".csv").map_err(trouble("reading", &directory))?;
            let part = given.next(&of_day, highest);
            Ok((format!("{stem}{part}.csv"), given.with(&of_day, part)))
        })
        .await?;
        let mark = Mark { file: name.clone(), length: 0, parts: parts.clone() };
        progress.note(mark.to_note()).await?;
        self.parts = parts;
        self.state = State::Marked(mark);
        let (disk, directory) = (self.disk.clone(), self.config.directory.clone());
        blocking(move || {
            let path = directory.join(&name);
            let file = disk.create_new(&path).map_err(trouble("creating", &path))?;
            disk.sync_directory(&directory).map_err(trouble("syncing directory", &directory))?;
            Ok(Open { file, name, day, length: 0 })
        })
        .await
    }
}

impl Destination for CsvFile {
    const REPLAY_REFUSED: Option<&'static str> =
        Some("its files would hold the events twice: they are written once and only appended to");

    async fn resume(&mut self, position: &Position) -> Result<Option<Delivered>, DeliveryError> {
        let mark = Mark::from_note(&position.note);
        if let Some(mark) = &mark {
            self.parts = mark.parts.clone();
        }
        self.state = mark.map_or(State::NoFile, State::Marked);
        // Cut now, not at the next event, so that readers of the file see no row twice.
        if let State::Marked(mark) = &self.state {
            let (disk, config, rows, mark) =
                (self.disk.clone(), Arc::clone(&self.config), Arc::clone(&self.rows), mark.clone());
            blocking(move || {
                let path = config.directory.join(&mark.file);
                reopen(&disk, &path, &header_of(&*rows), &mark).map_err(trouble("opening", &path)).map(|_| ())
            })
            .await?;
        }
        Ok(None)
    }

    async fn deliver(&mut self, batch: &Batch, progress: &Progress) -> Result<Delivered, DeliveryError> {
        loop {
            let open = self.open(progress).await?;
            let mark = Mark { file: open.name.clone(), length: open.length, parts: self.parts.clone() };
            // The mark is valid until the append is known to be complete.
            self.state = State::Marked(mark);
            let parts = self.parts.clone();
            let (disk, config, rows, batch) =
                (self.disk.clone(), Arc::clone(&self.config), Arc::clone(&self.rows), batch.clone());
            let appended = blocking(move || append(&disk, &config, &*rows, open, &batch, parts)).await?;
            match appended {
                Appended::Rows(open, delivered) => {
                    self.state = State::Open(open);
                    return Ok(delivered);
                }
                Appended::FileIsFull => self.state = State::NoFile,
            }
        }
    }
}

enum Appended {
    Rows(Open, Delivered),
    /// Not even the first row fits.
    FileIsFull,
}

/// Encodes as many records as fit, appends them and syncs.
fn append(
    disk: &Disk,
    config: &CsvConfig,
    rows: &dyn RowEncoder,
    mut open: Open,
    batch: &Batch,
    parts: PartNumbers,
) -> Result<Appended, DeliveryError> {
    let header = header_of(rows);
    let mut out = Vec::with_capacity(batch.bytes() + batch.bytes() / 4 + header.len());
    if open.length == 0 {
        out.extend_from_slice(&header);
    }
    let room = config.rotate_bytes.saturating_sub(open.length);
    let mut delivered = Delivered { next_offset: batch.from_offset(), ..Delivered::default() };
    let mut whole = true;
    for record in batch.iter() {
        let before = out.len();
        match guard(|| write(rows, &record, &mut out)) {
            Ok(Ok(())) => {
                let first_of_file = open.length == 0 && delivered.events == 0;
                if out.len() as u64 > room && !first_of_file {
                    out.truncate(before);
                    whole = false;
                    break;
                }
                delivered.events += 1;
            }
            Ok(Err(reason)) | Err(reason) => {
                out.truncate(before);
                let data = record.data.to_vec();
                delivered.refused.push(Refused { offset: record.offset, reason, record: data });
            }
        }
        delivered.next_offset = record.offset + 1;
    }
    if whole {
        delivered.next_offset = batch.next_offset();
    }
    if delivered.next_offset == batch.from_offset() {
        return Ok(Appended::FileIsFull);
    }
    if delivered.events > 0 {
        let path = config.directory.join(&open.name);
        let written = disk
            .write_at(&open.file, &out, open.length)
            .and_then(|()| disk.sync(&open.file))
            .map_err(trouble("writing", &path));
        if let Err(trouble) = written {
            // Free the space at once. If this fails too, the mark does it later.
            let _ = disk.truncate(&open.file, open.length);
            return Err(trouble);
        }
        open.length += out.len() as u64;
        delivered.bytes = out.len() as u64;
    }
    delivered.note = Some(Mark { file: open.name.clone(), length: open.length, parts }.to_note());
    Ok(Appended::Rows(open, delivered))
}

/// Opens the file of a mark and cuts off everything beyond it. `None` when it is no longer the file of the
/// mark.
fn reopen(disk: &Disk, path: &Path, header: &[u8], mark: &Mark) -> io::Result<Option<Open>> {
    let Some(file) = disk.open_existing(path)? else { return Ok(None) };
    let length = file.metadata()?.len();
    if length < mark.length || !begins_with(&file, length, header)? {
        return Ok(None);
    }
    if length > mark.length {
        disk.truncate(&file, mark.length)?;
        disk.sync(&file)?;
    }
    // The day is part of the name. A mark of another form has no day, and its file is not appended to.
    let day = mark.file.rsplit('_').nth(1).unwrap_or_default().to_owned();
    Ok(Some(Open { file, name: mark.file.clone(), day, length: mark.length }))
}

/// Whether a file begins with `header`, as far as it is long enough.
fn begins_with(file: &File, length: u64, header: &[u8]) -> io::Result<bool> {
    let bytes = usize::try_from(length).unwrap_or(usize::MAX).min(header.len());
    let mut begin = vec![0; bytes];
    platform::read_exact_at(file, &mut begin, 0)?;
    Ok(begin == header[..bytes])
}

impl Open {
    /// Returns the file if more rows may be appended: same day, enough room, unchanged by others.
    fn still_right(self, path: &Path, today: &str, rotate_bytes: u64) -> Option<Self> {
        let is_whole = self.file.metadata().is_ok_and(|open| open.len() == self.length);
        let same = is_whole && platform::is_same_file(path, &self.file);
        (same && self.day == today && self.length < rotate_bytes).then_some(self)
    }
}

impl Mark {
    fn to_note(&self) -> Vec<u8> {
        // A name and a number always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn from_note(note: &[u8]) -> Option<Self> {
        let mark: Self = serde_json::from_slice(note).ok().filter(|mark: &Self| is_plain_name(&mark.file))?;
        let parts = mark.parts.with_name(&mark.file);
        Some(Self { parts, ..mark })
    }
}

/// The header row.
fn header_of(rows: &dyn RowEncoder) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = csv::writer(&mut out);
    // Writing into memory does not fail.
    let _ = rows.header(&mut writer);
    drop(writer);
    out
}

/// Appends one row. After an error, bytes beyond the former end are invalid.
fn write(rows: &dyn RowEncoder, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let mut writer = csv::writer(out);
    rows.encode(record, &mut writer)?;
    writer.flush().map_err(|error| error.to_string())
}
