//! One JSON file for each audit event with object data. Contract: destinations.md, "JSON object data".
//!
//! Receives: nothing; it pulls audit events from the journal.
//! Sends: files `{timestamp}_{eventId}_{correlationId}.json`.
//! Keeps: nothing.
//! When full: a full disk is a delivery error; temporary files are removed, the journal keeps the events.
//! When it fails: the batch is written again. The name is a function of the event, so a repeated write
//! produces the same file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use butler_sos_domain::audit::AuditEvent;
use butler_sos_domain::encode::audit_columns::StaticTag;
use butler_sos_domain::encode::object_json::{ObjectFile, object_file};

use crate::journal::batch::{Batch, Record};
use crate::journal::message::Position;
use crate::kit::delivery_error::DeliveryError;
use crate::kit::guard::guard;
use crate::kit::platform::Modes;
use crate::sinks::files::file_target::{Disk, blocking, temporary_name, trouble};
use crate::sinks::sink::{Delivered, Destination, Progress, Refused, Sink};

pub type JsonSink = Sink<JsonFiles>;

#[derive(Debug, Clone)]
pub struct JsonConfig {
    pub directory: PathBuf,
    /// The member `tags` of each file.
    pub static_tags: Vec<StaticTag>,
}

/// A directory of JSON files, as a destination of audit events.
pub struct JsonFiles {
    config: Arc<JsonConfig>,
    disk: Disk,
}

impl JsonFiles {
    pub fn new(config: JsonConfig) -> Self {
        Self { config: Arc::new(config), disk: Disk::default() }
    }

    /// Creates files with these modes.
    #[must_use]
    pub fn created_with(mut self, modes: Modes) -> Self {
        self.disk.modes = modes;
        self
    }

    #[cfg(test)]
    pub(crate) fn on(mut self, disk: Disk) -> Self {
        self.disk = disk;
        self
    }
}

impl Destination for JsonFiles {
    async fn resume(&mut self, _: &Position) -> Result<Option<Delivered>, DeliveryError> {
        let (disk, config) = (self.disk.clone(), Arc::clone(&self.config));
        blocking(move || {
            remove_leftovers(&disk, &config.directory).map_err(trouble("clearing", &config.directory))
        })
        .await?;
        Ok(None)
    }

    async fn deliver(&mut self, batch: &Batch, _: &Progress) -> Result<Delivered, DeliveryError> {
        let (disk, config, batch) = (self.disk.clone(), Arc::clone(&self.config), batch.clone());
        blocking(move || write(&disk, &config, &batch)).await
    }
}

/// Files written together: all contents first, then all syncs, then all names.
const FILES_OPEN_MAX: usize = 64;

/// Writes the files of a batch.
fn write(disk: &Disk, config: &JsonConfig, batch: &Batch) -> Result<Delivered, DeliveryError> {
    let directory = &config.directory;
    let mut delivered = Delivered { next_offset: batch.next_offset(), ..Delivered::default() };
    let mut waiting: Vec<Written> = Vec::new();
    disk.create_directory(directory).map_err(trouble("creating directory", directory))?;
    for record in batch.iter() {
        let made = guard(|| make(record, &config.static_tags));
        let object = match made {
            Ok(Ok(Some(object))) => object,
            Ok(Ok(None)) => {
                delivered.events += 1;
                continue;
            }
            Ok(Err(reason)) | Err(reason) => {
                delivered.refused.push(refusal(record, reason));
                continue;
            }
        };
        // Of two events with the same ids the later one wins, as if they were written one after the other.
        if let Some(same) = waiting.iter_mut().find(|written| written.name == object.name) {
            same.superseded = true;
        }
        match write_temporary(disk, directory, &object, waiting.len()) {
            Ok(written) => {
                delivered.events += 1;
                delivered.bytes += object.content.len() as u64;
                waiting.push(written);
                if waiting.len() == FILES_OPEN_MAX {
                    name_or_remove(disk, directory, &mut waiting)?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
                delivered.refused.push(refusal(record, error.to_string()));
            }
            Err(error) => {
                remove(disk, &waiting);
                return Err(trouble("writing", &directory.join(&object.name))(error));
            }
        }
    }
    name_or_remove(disk, directory, &mut waiting)?;
    Ok(delivered)
}

/// Renames the files to their final names. After an error, removes those without a final name.
fn name_or_remove(disk: &Disk, directory: &Path, waiting: &mut Vec<Written>) -> Result<(), DeliveryError> {
    let named = name_all(disk, directory, waiting);
    if named.is_err() {
        remove(disk, waiting);
    }
    waiting.clear();
    named.map_err(trouble("writing files in", directory))
}

/// A complete file with its temporary name.
struct Written {
    file: File,
    temporary: PathBuf,
    name: String,
    superseded: bool,
}

fn write_temporary(disk: &Disk, directory: &Path, object: &ObjectFile, turn: usize) -> io::Result<Written> {
    // The counter separates two events with the same name until they are renamed.
    let temporary = directory.join(temporary_name(&format!("{}.{turn}", object.name)));
    let file = disk.create_afresh(&temporary)?;
    if let Err(error) = disk.write_at(&file, object.content.as_bytes(), 0) {
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    Ok(Written { file, temporary, name: object.name.clone(), superseded: false })
}

fn name_all(disk: &Disk, directory: &Path, waiting: &[Written]) -> io::Result<()> {
    for written in waiting.iter().filter(|written| !written.superseded) {
        disk.sync(&written.file)?;
    }
    for written in waiting {
        if written.superseded {
            disk.remove(&written.temporary)?;
        } else {
            disk.rename_over(&written.temporary, &directory.join(&written.name))?;
        }
    }
    if waiting.is_empty() { Ok(()) } else { disk.sync_directory(directory) }
}

fn remove(disk: &Disk, waiting: &[Written]) {
    for written in waiting {
        let _ = disk.remove(&written.temporary);
    }
}

fn make(record: Record<'_>, tags: &[StaticTag]) -> Result<Option<ObjectFile>, String> {
    let event = AuditEvent::from_bytes(record.data).map_err(|error| error.to_string())?;
    Ok(object_file(&event, tags))
}

fn refusal(record: Record<'_>, reason: String) -> Refused {
    Refused { offset: record.offset, reason, record: record.data.to_vec() }
}

/// Removes files that a crash left.
fn remove_leftovers(disk: &Disk, directory: &Path) -> io::Result<()> {
    for name in disk.file_names(directory)?.iter().filter(|name| is_leftover(name)) {
        disk.remove(&directory.join(name))?;
    }
    Ok(())
}

/// Matches exactly our temporary names: `.20261120T101112.345Z_….json.7.tmp`.
fn is_leftover(name: &str) -> bool {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    let Some(inner) = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")) else { return false };
    let Some((file, turn)) = inner.rsplit_once('.') else { return false };
    let Some((moment, _)) = file.strip_suffix(".json").and_then(|stem| stem.split_once('_')) else {
        return false;
    };
    let day = moment.split_once('T').is_some_and(|(day, _)| digits(day, 8));
    day && digits(turn, turn.len()) && !turn.is_empty()
}
