//! Lines of JSON in a directory of bounded size: dead letters, rejected datagrams.
//!
//! # The format
//!
//! The directory contains segments, `<number>.jsonl`, the number in 20 digits, counting up. A segment
//! consists of lines of UTF-8 that end in `
//! `. Lines are appended to the highest segment until it has its share of the bound (an eighth), then the
//! next one begins. Together they have at most `bytes_max`: the lowest segment is removed as a whole to make
//! room. A removed entry is overwritten with blanks in place, so that nothing moves: the address of an entry,
//! its segment and its first byte, is valid as long as the entry exists. A last line without `
//! ` is left from a crash during an append; readers skip it, and the writer cuts it off when it opens the
//! directory.
//!
//! A directory without eviction (parked events) is written to with [`SegmentStore::append_if_room`], and its
//! closed segments are rewritten with their remaining lines ([`SegmentStore::replace`]).
//!
//! One writer at a time; any number of readers, also from other processes.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::kit::platform::{self, Modes};

/// The writer.
#[derive(Debug)]
pub(crate) struct SegmentStore {
    directory: PathBuf,
    bytes_max: u64,
    /// Numbers and sizes, the lowest first. Appends go to the last one.
    segments: Vec<(u64, u64)>,
    /// The highest segment, while it is open.
    file: Option<File>,
}

/// The losses of an append.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Old lines that were removed to make room.
    pub evicted: u64,
    /// New lines that are larger than the whole bound.
    pub too_large: u64,
}

/// Segments share the bound, so that making room costs an eighth of it.
const SHARES: u64 = 8;

impl SegmentStore {
    /// Opens the directory, creates it when it is missing, and cuts off the rest of an interrupted append.
    pub fn open(directory: &Path, bytes_max: u64) -> io::Result<Self> {
        platform::create_directories(directory, Modes::default())?;
        let mut segments = Vec::new();
        for number in numbers(directory)? {
            segments.push((number, fs::metadata(path_of(directory, number))?.len()));
        }
        if let Some((number, size)) = segments.last_mut() {
            let path = path_of(directory, *number);
            let whole = whole_lines(&path)?;
            if whole < *size {
                platform::open_or_create(&path)?.set_len(whole)?;
                *size = whole;
            }
        }
        Ok(Self { directory: directory.to_owned(), bytes_max, segments, file: None })
    }

    /// Appends the lines and syncs.
    ///
    /// # Errors
    /// For a disk error. A first part of the lines may then be stored, always as whole lines; open the
    /// directory again before the next append.
    pub fn append<'a>(&mut self, lines: impl IntoIterator<Item = &'a [u8]>) -> io::Result<Appended> {
        let mut appended = Appended::default();
        let mut block = Vec::new();
        for line in lines {
            let start = block.len();
            block.extend_from_slice(line);
            // A newline inside would split the entry.
            block[start..].iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
            block.push(b'\n');
            if (block.len() - start) as u64 > self.bytes_max {
                block.truncate(start);
                appended.too_large += 1;
            }
        }
        let mut rest = block.as_slice();
        while !rest.is_empty() {
            // A block that is larger than a segment is split between lines.
            let part = first_lines(rest, self.share() as usize);
            appended.evicted += self.write(part)?;
            rest = &rest[part.len()..];
        }
        Ok(appended)
    }

    /// Appends the lines and syncs if there is room. Without room nothing is removed, and the result is
    /// false.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_if_room(&mut self, lines: &[Vec<u8>]) -> io::Result<bool> {
        let bytes: u64 = lines.iter().map(|line| line.len() as u64 + 1).sum();
        if self.bytes() + bytes > self.bytes_max {
            return Ok(false);
        }
        self.append(lines.iter().map(Vec::as_slice))?;
        Ok(true)
    }

    /// Closes the current segment, so that the next append begins another. Returns all closed segments,
    /// oldest first.
    pub fn end_segment(&mut self) -> io::Result<Vec<u64>> {
        if self.segments.last().is_some_and(|(_, size)| *size > 0) {
            self.begin_segment()?;
        }
        let ended = self.segments.len().saturating_sub(1);
        Ok(self.segments[..ended].iter().map(|(number, _)| *number).collect())
    }

    /// Keeps only these lines of a closed segment, atomically. Without lines it is removed.
    pub fn replace(&mut self, number: u64, lines: &[Vec<u8>]) -> io::Result<()> {
        let path = path_of(&self.directory, number);
        if lines.is_empty() {
            fs::remove_file(&path)?;
        } else {
            let aside = path.with_extension("new");
            let block: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
            let mut file = platform::create_afresh(&aside, Modes::default())?;
            file.write_all(&block)?;
            file.sync_data()?;
            platform::rename_over(&aside, &path)?;
        }
        platform::sync_directory(&self.directory)?;
        let left = lines.iter().map(|line| line.len() as u64 + 1).sum();
        self.segments.retain_mut(|(of, size)| {
            *size = if *of == number { left } else { *size };
            *of != number || left > 0
        });
        Ok(())
    }

    /// The size of all segments.
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, size)| size).sum()
    }

    /// The maximum size of one segment, unless it has a single line.
    fn share(&self) -> u64 {
        (self.bytes_max / SHARES).max(1)
    }

    /// Writes whole lines into the highest segment. Returns the number of old lines that were removed.
    fn write(&mut self, part: &[u8]) -> io::Result<u64> {
        let bytes = part.len() as u64;
        let evicted = self.make_room(bytes)?;
        let full = self.segments.last().is_none_or(|(_, size)| *size > 0 && size + bytes > self.share());
        if full {
            self.begin_segment()?;
        }
        let Some((number, size)) = self.segments.last_mut() else { return Ok(evicted) };
        let file = match &mut self.file {
            Some(file) => file,
            closed => closed.insert(platform::open_to_append(&path_of(&self.directory, *number))?),
        };
        if let Err(error) = file.write_all(part).and_then(|()| file.sync_data()) {
            // Cut off the partial write. If that fails too, the next open cuts off the torn line.
            let _ = file.set_len(*size);
            self.file = None;
            return Err(error);
        }
        *size += bytes;
        Ok(evicted)
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.segments.last().map_or(1, |(number, _)| number + 1);
        self.file = Some(platform::open_to_append(&path_of(&self.directory, number))?);
        platform::sync_directory(&self.directory)?;
        self.segments.push((number, 0));
        Ok(())
    }

    fn make_room(&mut self, bytes: u64) -> io::Result<u64> {
        let mut evicted = 0;
        while self.bytes() + bytes > self.bytes_max
            && let Some(&(number, _)) = self.segments.first()
        {
            let path = path_of(&self.directory, number);
            evicted += read_segment(&self.directory, number).map(|lines| lines.len() as u64).unwrap_or(0);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.segments.remove(0);
            if self.segments.is_empty() {
                self.file = None;
            }
        }
        Ok(evicted)
    }
}

fn path_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}.jsonl"))
}

/// The numbers of existing segments, lowest first. Other files are ignored.
fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for found in fs::read_dir(directory)? {
        let name = found?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        let number = number.filter(|digits| digits.len() == 20).and_then(|digits| digits.parse().ok());
        numbers.extend(number.filter(|number: &u64| *number < u64::MAX));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The size of the complete lines of a file.
fn whole_lines(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut chunk = [0; 8_192];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..(end - start) as usize];
        platform::read_exact_at(&file, part, start)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// As many whole lines from the beginning of `block` as fit in `bytes_max`, at least one.
fn first_lines(block: &[u8], bytes_max: usize) -> &[u8] {
    if block.len() <= bytes_max {
        return block;
    }
    let cut = block[..bytes_max].iter().rposition(|byte| *byte == b'\n');
    let cut = cut.or_else(|| block.iter().position(|byte| *byte == b'\n'));
    &block[..cut.map_or(block.len(), |at| at + 1)]
}

// === reading

/// The position of an entry. Displayed and parsed as `segment-offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    pub segment: u64,
    pub offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry is named by two numbers with a dash between them, as in 1-0")]
pub struct NotAnEntryId;

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.segment, self.offset)
    }
}

impl FromStr for EntryId {
    type Err = NotAnEntryId;

    fn from_str(text: &str) -> Result<Self, NotAnEntryId> {
        let (segment, offset) = text.split_once('-').ok_or(NotAnEntryId)?;
        let number = |text: &str| text.parse().map_err(|_| NotAnEntryId);
        Ok(Self { segment: number(segment)?, offset: number(offset)? })
    }
}

/// One stored line, without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: EntryId,
    pub line: Vec<u8>,
}

/// All entries, oldest first, one segment in memory at a time. A missing directory has none.
///
/// # Errors
/// When the directory or a segment cannot be read. A segment that was removed meanwhile is skipped.
pub fn entries(directory: &Path) -> io::Result<impl Iterator<Item = io::Result<Entry>> + use<>> {
    let numbers = match numbers(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        found => found?,
    };
    let directory = directory.to_owned();
    Ok(numbers.into_iter().flat_map(move |number| match read_segment(&directory, number) {
        Ok(entries) => entries.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => vec![Err(error)],
    }))
}

/// The newest entries that `wanted` accepts, newest first, at most `max`; one segment in memory at a time.
///
/// # Errors
/// As [`entries`].
pub fn newest(
    directory: &Path,
    max: usize,
    mut wanted: impl FnMut(&Entry) -> bool,
) -> io::Result<Vec<Entry>> {
    let numbers = match numbers(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        found => found?,
    };
    let mut newest = Vec::new();
    for number in numbers.into_iter().rev() {
        let segment = match read_segment(directory, number) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read?,
        };
        for entry in segment.into_iter().rev() {
            if newest.len() == max {
                return Ok(newest);
            }
            if wanted(&entry) {
                newest.push(entry);
            }
        }
    }
    Ok(newest)
}

pub(crate) fn read_segment(directory: &Path, number: u64) -> io::Result<Vec<Entry>> {
    let mut reader = BufReader::new(File::open(path_of(directory, number))?);
    let mut entries = Vec::new();
    let mut offset = 0;
    loop {
        let mut line = Vec::new();
        let bytes = reader.read_until(b'\n', &mut line)? as u64;
        // A line without newline is torn, or empty.
        if line.pop() != Some(b'\n') {
            return Ok(entries);
        }
        if !line.iter().all(u8::is_ascii_whitespace) {
            entries.push(Entry { id: EntryId { segment: number, offset }, line });
        }
        offset += bytes;
    }
}

/// The entry at this position; `None` when there is none (any more).
pub fn find(directory: &Path, id: EntryId) -> io::Result<Option<Entry>> {
    let mut file = match File::open(path_of(directory, id.segment)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if id.offset > 0 {
        let mut before = [0];
        let there = platform::read_at(&file, &mut before, id.offset - 1)?;
        if there == 0 || before != *b"\n" {
            return Ok(None);
        }
    }
    file.seek(SeekFrom::Start(id.offset))?;
    let mut line = Vec::new();
    BufReader::new(&mut file).read_until(b'\n', &mut line)?;
    let whole = line.pop() == Some(b'\n') && !line.iter().all(u8::is_ascii_whitespace);
    Ok(whole.then_some(Entry { id, line }))
}

/// Removes the entry and syncs. Returns false when there is none (any more).
pub fn remove(directory: &Path, id: EntryId) -> io::Result<bool> {
    let Some(entry) = find(directory, id)? else { return Ok(false) };
    let Some(file) = platform::open_existing(&path_of(directory, id.segment))? else { return Ok(false) };
    platform::write_all_at(&file, &vec![b' '; entry.line.len()], id.offset)?;
    file.sync_data()?;
    Ok(true)
}

#[cfg(test)]
mod tests;
