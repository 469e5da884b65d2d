//! The committed offset of each consumer, on disk. The slot table is at the head of the journal module.
//!
//! Commits overwrite a consumer's *current* slot. When a sync begins, the slots written since the last one
//! are set aside, and commits continue in another slot. When the sync ends, those set aside become the safe
//! slots. So the safe slot of a consumer is never written to, whatever a power cut does to the others.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::disk;
use crate::kit::platform;

const MAGIC: [u8; 4] = *b"BSJC";
const FORMAT: u8 = 1;
const SLOT_HEADER_BYTES: usize = 32;
const SLOT_BYTES: u64 = 4096;
const SLOTS: usize = 3;
const CONSUMER_BYTES: u64 = SLOT_BYTES * SLOTS as u64;
const LIVE: u8 = 1;
const RETIRED: u8 = 2;

pub const NAME_BYTES_MAX: usize = 200;
pub const NOTE_BYTES_MAX: usize = 3072;
/// Without retired ones.
pub const CONSUMERS_MAX: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    #[error("cannot write the consumers of the journal: {0}")]
    Io(#[from] io::Error),
    #[error("a note of {0} bytes is longer than {NOTE_BYTES_MAX}")]
    NoteTooLong(usize),
    #[error("a consumer's name has 1 to {NAME_BYTES_MAX} bytes")]
    Name,
    #[error("more than {CONSUMERS_MAX} consumers")]
    TooMany,
    #[error(
        "consumer {consumer}: cannot commit {offset}: committed is {committed}, the stream ends at {end}"
    )]
    Offset { consumer: String, offset: u64, committed: u64, end: u64 },
    #[error("no such consumer")]
    Unknown,
}

/// One consumer, or the free place of a retired one.
#[derive(Debug)]
pub struct Consumer {
    pub stream: String,
    pub name: String,
    pub offset: u64,
    pub note: Vec<u8>,
    pub live: bool,
    sequence: u64,
    /// The slots of new commits, of the running sync, and the safe one. All are different.
    current: usize,
    syncing: Option<usize>,
    safe: Option<usize>,
    /// Whether it was written to since the last sync began.
    dirty: bool,
    /// Whether a write failed half way, so that the current slot may not contain the last commit.
    torn: bool,
}

/// All consumers of a store.
#[derive(Debug)]
pub struct Consumers {
    file: Arc<File>,
    all: Vec<Consumer>,
    /// The number of syncs that began, so that an abandoned sync does not count as the running one.
    syncs: u64,
    scratch: Vec<u8>,
}

impl Consumers {
    /// Opens or creates the file and syncs its content. The second result is the number of damaged slots;
    /// their consumers continue from an earlier commit.
    ///
    /// # Errors
    /// When the file cannot be read, created or synced.
    pub fn open(path: &Path) -> io::Result<(Consumers, usize)> {
        let mut file = platform::open_or_create(path)?;
        let mut bytes = Vec::new();
        let bytes_max = CONSUMER_BYTES * 2 * CONSUMERS_MAX as u64;
        (&mut file).take(bytes_max).read_to_end(&mut bytes)?;
        file.sync_data()?;
        let (mut all, mut damaged) = (Vec::new(), 0);
        for slots in bytes.chunks(CONSUMER_BYTES as usize) {
            let slots: Vec<_> = slots.chunks(SLOT_BYTES as usize).collect();
            damaged += slots.iter().filter(|slot| is_damaged(slot)).count();
            all.push(newest(&slots).unwrap_or_else(Consumer::vacant));
        }
        Ok((Consumers { file: Arc::new(file), all, syncs: 0, scratch: Vec::new() }, damaged))
    }

    pub fn get(&self, id: usize) -> Option<&Consumer> {
        self.all.get(id).filter(|consumer| consumer.live)
    }

    pub fn of_stream<'a>(&'a self, stream: &'a str) -> impl Iterator<Item = (usize, &'a Consumer)> {
        self.all.iter().enumerate().filter(move |(_, consumer)| consumer.live && consumer.stream == stream)
    }

    /// Adds a consumer and syncs it.
    pub fn add(&mut self, stream: &str, name: &str, offset: u64) -> Result<usize, ConsumerError> {
        if [stream, name].iter().any(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
            return Err(ConsumerError::Name);
        }
        let place = self.all.iter().position(|consumer| !consumer.live).unwrap_or(self.all.len());
        if place >= CONSUMERS_MAX {
            return Err(ConsumerError::TooMany);
        }
        // Allocate all slots now, so that a commit never needs more space.
        let zeros = [0; CONSUMER_BYTES as usize];
        disk::write_all_at(&self.file, &zeros, place as u64 * CONSUMER_BYTES)?;
        disk::sync_data(&self.file)?;
        let (stream, name) = (stream.to_owned(), name.to_owned());
        let consumer = Consumer { stream, name, offset, live: true, ..Consumer::vacant() };
        if place < self.all.len() {
            self.all[place] = consumer;
        } else {
            self.all.push(consumer);
        }
        if let Err(error) = self.write(place).and_then(|()| self.make_safe(place)) {
            self.all[place] = Consumer::vacant();
            return Err(error.into());
        }
        Ok(place)
    }

    /// Removes a consumer, on disk first.
    pub fn retire(&mut self, id: usize) -> Result<(), ConsumerError> {
        let consumer = self.all.get_mut(id).filter(|consumer| consumer.live).ok_or(ConsumerError::Unknown)?;
        consumer.live = false;
        if let Err(error) = self.write(id).and_then(|()| self.make_safe(id)) {
            self.all[id].live = true;
            return Err(error.into());
        }
        Ok(())
    }

    /// One write of less than a page. A failure changes nothing. `end` is the end of the stream. A `note` of
    /// `None` keeps the current note.
    pub fn commit(
        &mut self,
        id: usize,
        offset: u64,
        note: Option<&[u8]>,
        end: u64,
    ) -> Result<(), ConsumerError> {
        let consumer = self.all.get_mut(id).filter(|consumer| consumer.live).ok_or(ConsumerError::Unknown)?;
        if let Some(note) = note.filter(|note| note.len() > NOTE_BYTES_MAX) {
            return Err(ConsumerError::NoteTooLong(note.len()));
        }
        if offset < consumer.offset || offset > end {
            let (consumer, committed) = (consumer.name.clone(), consumer.offset);
            return Err(ConsumerError::Offset { consumer, offset, committed, end });
        }
        if offset == consumer.offset && note.is_none_or(|note| note == consumer.note) {
            return Ok(());
        }
        let offset_before = std::mem::replace(&mut consumer.offset, offset);
        let note_before = note.map(|note| std::mem::replace(&mut consumer.note, note.to_vec()));
        if let Err(error) = self.write(id) {
            let consumer = &mut self.all[id];
            consumer.offset = offset_before;
            consumer.note = note_before.unwrap_or_else(|| std::mem::take(&mut consumer.note));
            return Err(error.into());
        }
        Ok(())
    }

    /// Begins a sync of the commits so far. Returns the file to sync and a number for
    /// [`Consumers::sync_done`], or `None` when there is nothing to do. A running sync is abandoned, which is
    /// safe.
    pub fn sync_begin(&mut self) -> Result<Option<(Arc<File>, u64)>, ConsumerError> {
        for id in 0..self.all.len() {
            // Left from a failed or abandoned sync: its content must be written to a slot again.
            if self.all[id].syncing.take().is_some() || self.all[id].torn {
                self.write(id)?;
            }
        }
        let mut any = false;
        for consumer in self.all.iter_mut().filter(|consumer| consumer.dirty) {
            consumer.dirty = false;
            consumer.syncing = Some(consumer.current);
            consumer.current = (0..SLOTS)
                .find(|slot| Some(*slot) != consumer.syncing && Some(*slot) != consumer.safe)
                .unwrap_or(consumer.current);
            any = true;
        }
        self.syncs += 1;
        Ok(any.then(|| (self.file.clone(), self.syncs)))
    }

    /// Ends the sync with this number. After a failure the next sync writes its slots again.
    pub fn sync_done(&mut self, number: u64, good: bool) {
        if number != self.syncs || !good {
            return;
        }
        for consumer in &mut self.all {
            if let Some(slot) = consumer.syncing.take() {
                consumer.safe = Some(slot);
            }
        }
    }

    fn write(&mut self, id: usize) -> io::Result<()> {
        let consumer = &mut self.all[id];
        encode(consumer, consumer.sequence + 1, &mut self.scratch);
        let position = id as u64 * CONSUMER_BYTES + consumer.current as u64 * SLOT_BYTES;
        consumer.torn = true;
        disk::write_all_at(&self.file, &self.scratch, position)?;
        consumer.sequence += 1;
        (consumer.dirty, consumer.torn) = (true, false);
        Ok(())
    }

    fn make_safe(&mut self, id: usize) -> io::Result<()> {
        disk::sync_data(&self.file)?;
        let consumer = &mut self.all[id];
        // A running sync may still own this consumer's older slot. The newer one is already safe.
        (consumer.safe, consumer.syncing, consumer.dirty) = (Some(consumer.current), None, false);
        consumer.current = (consumer.current + 1) % SLOTS;
        Ok(())
    }
}

impl Consumer {
    fn vacant() -> Consumer {
        Consumer {
            stream: String::new(),
            name: String::new(),
            offset: 0,
            note: Vec::new(),
            live: false,
            sequence: 0,
            current: 0,
            syncing: None,
            safe: None,
            dirty: false,
            torn: false,
        }
    }
}

fn encode(consumer: &Consumer, sequence: u64, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[FORMAT, if consumer.live { LIVE } else { RETIRED }]);
    // The cast fits: none is longer than NOTE_BYTES_MAX.
    for length in [consumer.stream.len(), consumer.name.len(), consumer.note.len()] {
        out.extend_from_slice(&(length as u16).to_le_bytes());
    }
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&consumer.offset.to_le_bytes());
    out.extend_from_slice(consumer.stream.as_bytes());
    out.extend_from_slice(consumer.name.as_bytes());
    out.extend_from_slice(&consumer.note);
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn decode(slot: &[u8]) -> Option<Consumer> {
    let u16_at = |at: usize| Some(usize::from(u16::from_le_bytes(*slot.get(at..)?.first_chunk()?)));
    let u64_at = |at: usize| Some(u64::from_le_bytes(*slot.get(at..)?.first_chunk()?));
    let (stream_bytes, name_bytes, note_bytes) = (u16_at(10)?, u16_at(12)?, u16_at(14)?);
    let used = slot.get(..SLOT_HEADER_BYTES + stream_bytes + name_bytes + note_bytes)?;
    let crc = u32::from_le_bytes(*used[4..].first_chunk()?);
    if used[..4] != MAGIC || used[8] != FORMAT || crc != crc32fast::hash(&used[8..]) {
        return None;
    }
    let (stream, rest) = used[SLOT_HEADER_BYTES..].split_at(stream_bytes);
    let (name, note) = rest.split_at(name_bytes);
    Some(Consumer {
        stream: String::from_utf8(stream.to_vec()).ok()?,
        name: String::from_utf8(name.to_vec()).ok()?,
        offset: u64_at(24)?,
        note: note.to_vec(),
        live: used[9] == LIVE,
        sequence: u64_at(16)?,
        ..Consumer::vacant()
    })
}

fn is_damaged(slot: &[u8]) -> bool {
    // A slot that was never written contains zeros.
    slot.len() == SLOT_BYTES as usize && slot.iter().any(|byte| *byte != 0) && decode(slot).is_none()
}

fn newest(slots: &[&[u8]]) -> Option<Consumer> {
    let good = slots.iter().enumerate().filter_map(|(at, slot)| Some((at, decode(slot)?)));
    let (at, mut consumer) = good.max_by_key(|(_, consumer)| consumer.sequence)?;
    consumer.safe = Some(at);
    consumer.current = (at + 1) % SLOTS;
    Some(consumer)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;

    use super::*;

    fn open(directory: &tempfile::TempDir) -> (Consumers, usize) {
        Consumers::open(&directory.path().join("consumers")).unwrap()
    }

    fn sync(consumers: &mut Consumers, good: bool) {
        if let Some((_, number)) = consumers.sync_begin().unwrap() {
            consumers.sync_done(number, good);
        }
    }

    #[test]
    fn a_finished_commit_survives_a_crash() {
        let directory = tempfile::tempdir().unwrap();
        let (mut consumers, _) = open(&directory);
        let id = consumers.add("s", "c", 5).unwrap();
        for offset in 6..50 {
            let note = offset.to_string();
            consumers.commit(id, offset, Some(note.as_bytes()), 100).unwrap();
            if offset % 7 == 0 {
                sync(&mut consumers, offset % 2 == 0);
            }
            let (again, damaged) = open(&directory);
            let got = again.get(id).unwrap();
            assert_eq!((got.offset, got.note.as_slice(), damaged), (offset, note.as_bytes(), 0));
        }
        consumers.commit(id, 60, None, 100).unwrap();
        assert_eq!(open(&directory).0.get(id).unwrap().note, b"49");
    }

    #[test]
    fn the_safe_slot_is_never_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let (mut consumers, _) = open(&directory);
        let id = consumers.add("s", "c", 0).unwrap();
        let mut running = None;
        for offset in 1..200 {
            consumers.commit(id, offset, None, 200).unwrap();
            let consumer = &consumers.all[id];
            assert!(Some(consumer.current) != consumer.safe && Some(consumer.current) != consumer.syncing);
            match offset % 5 {
                0 => running = consumers.sync_begin().unwrap().map(|(_, number)| number),
                3 => {
                    running.take().into_iter().for_each(|number| consumers.sync_done(number, offset % 3 > 0))
                }
                _ => {}
            }
            // A power cut may corrupt every other slot.
            let safe = consumers.all[id].safe.unwrap() as u64;
            let copy = tempfile::tempdir().unwrap();
            std::fs::copy(directory.path().join("consumers"), copy.path().join("consumers")).unwrap();
            let file = OpenOptions::new().write(true).open(copy.path().join("consumers")).unwrap();
            for slot in (0..SLOTS as u64).filter(|slot| *slot != safe) {
                file.write_all_at(&[0xff; 100], slot * SLOT_BYTES).unwrap();
            }
            let (recovered, damaged) = open(&copy);
            assert_eq!(damaged, 2);
            assert!(recovered.get(id).unwrap().offset <= offset);
        }
    }

    #[test]
    fn a_failed_sync_is_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let (mut consumers, _) = open(&directory);
        let id = consumers.add("s", "c", 0).unwrap();
        consumers.commit(id, 1, None, 9).unwrap();
        sync(&mut consumers, false);
        let sequence = consumers.all[id].sequence;
        let (_, number) = consumers.sync_begin().unwrap().expect("still to be synced");
        assert_eq!(consumers.all[id].sequence, sequence + 1);
        consumers.sync_done(number, true);
        assert!(consumers.sync_begin().unwrap().is_none());
    }

    #[test]
    fn commits_work_on_a_full_disk_and_a_failure_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (mut consumers, _) = open(&directory);
        let id = consumers.add("s", "c", 0).unwrap();
        let bytes = std::fs::metadata(directory.path().join("consumers")).unwrap().len();
        for offset in 1..9 {
            consumers.commit(id, offset, Some(&[1; NOTE_BYTES_MAX]), 9).unwrap();
            sync(&mut consumers, true);
        }
        assert_eq!(std::fs::metadata(directory.path().join("consumers")).unwrap().len(), bytes);
        disk::faults::break_disk(&[disk::faults::Call::Write(10)], 5);
        assert!(consumers.commit(id, 9, Some(b"new"), 9).is_err());
        disk::faults::heal();
        let (got, again) = (consumers.get(id).unwrap(), open(&directory).0);
        assert_eq!((got.offset, got.note.len(), again.get(id).unwrap().offset), (8, NOTE_BYTES_MAX, 8));
        consumers.commit(id, 9, None, 9).unwrap();
        assert_eq!(open(&directory).0.get(id).unwrap().offset, 9);
    }

    #[test]
    fn a_free_place_is_reused_and_a_retired_consumer_does_not_return() {
        let directory = tempfile::tempdir().unwrap();
        let (mut consumers, _) = open(&directory);
        let id = consumers.add("s", "old", 7).unwrap();
        consumers.retire(id).unwrap();
        assert!(open(&directory).0.get(id).is_none());
        assert!(matches!(consumers.commit(id, 8, None, 9), Err(ConsumerError::Unknown)));
        assert_eq!(consumers.add("s", "new", 0).unwrap(), id);
        let (again, damaged) = open(&directory);
        assert_eq!((again.get(id).unwrap().name.as_str(), again.all.len(), damaged), ("new", 1, 0));
    }

    #[test]
    fn invalid_commits_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (mut consumers, _) = open(&directory);
        let id = consumers.add("s", "c", 5).unwrap();
        assert!(matches!(consumers.commit(id, 4, None, 9), Err(ConsumerError::Offset { .. })));
        assert!(matches!(consumers.commit(id, 10, None, 9), Err(ConsumerError::Offset { .. })));
        assert!(matches!(
            consumers.commit(id, 6, Some(&[0; 4000]), 9),
            Err(ConsumerError::NoteTooLong(4000))
        ));
        assert!(matches!(consumers.add("s", "", 0), Err(ConsumerError::Name)));
        assert!(matches!(consumers.add("s", &"x".repeat(201), 0), Err(ConsumerError::Name)));
    }
}
