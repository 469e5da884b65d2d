//! A log file for each day (UTC): `butler-sos.2026-11-21.log`. One that is full is followed by
//! `butler-sos.2026-11-21.1.log`, and so on. The oldest are deleted.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use butler_sos_actors::kit::platform::{self, Modes};
use time::Date;

const PREFIX: &str = "butler-sos.";
const SUFFIX: &str = ".log";

/// How much the log files may take.
#[derive(Clone, Copy, Debug)]
pub struct FileLimits {
    /// Files kept; 0: all.
    pub files_max: u32,
    /// A file is followed by the next one rather than grow beyond this (one line may).
    pub bytes_max: u64,
}

pub struct DailyFile {
    directory: PathBuf,
    limits: FileLimits,
    /// The day and the part of the open file.
    date: Date,
    part: u32,
    bytes: u64,
    file: File,
}

impl DailyFile {
    /// Opens today's last file; the directory is made when it is not there.
    pub fn open(directory: &Path, limits: FileLimits, today: Date) -> io::Result<Self> {
        platform::create_directories(directory, Modes::default())?;
        let part = last_part(directory, today);
        let (file, bytes) = open(directory, today, part)?;
        let daily = Self { directory: directory.to_owned(), limits, date: today, part, bytes, file };
        daily.delete_oldest();
        Ok(daily)
    }

    /// Appends a line, after midnight to the new day's file, and to the next part where it would not fit.
    pub fn write(&mut self, line: &str, today: Date) -> io::Result<()> {
        let bytes = line.len() as u64;
        if today != self.date {
            self.begin(today, last_part(&self.directory, today))?;
        } else if self.bytes > 0 && self.bytes + bytes > self.limits.bytes_max {
            self.begin(today, self.part.max(last_part(&self.directory, today)).saturating_add(1))?;
        }
        self.file.write_all(line.as_bytes())?;
        self.bytes += bytes;
        Ok(())
    }

    /// Opens the file by its name again: somebody may have moved it away.
    pub fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.bytes) = open(&self.directory, self.date, self.part)?;
        Ok(())
    }

    fn begin(&mut self, date: Date, part: u32) -> io::Result<()> {
        (self.file, self.bytes) = open(&self.directory, date, part)?;
        (self.date, self.part) = (date, part);
        self.delete_oldest();
        Ok(())
    }

    /// Keeps the newest files.
    fn delete_oldest(&self) {
        if self.limits.files_max == 0 {
            return;
        }
        let mut files = ours(&self.directory);
        files.sort_unstable();
        let surplus = files.len().saturating_sub(self.limits.files_max as usize);
        for (date, part) in &files[..surplus] {
            // A file that cannot be deleted now is tried again with the next one.
            let _ = fs::remove_file(self.directory.join(name(date, *part)));
        }
    }
}

fn open(directory: &Path, date: Date, part: u32) -> io::Result<(File, u64)> {
    let file = platform::open_to_append(&directory.join(name(&date.to_string(), part)))?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

fn name(date: &str, part: u32) -> String {
    match part {
        0 => format!("{PREFIX}{date}{SUFFIX}"),
        part => format!("{PREFIX}{date}.{part}{SUFFIX}"),
    }
}

/// The highest part that there is of a day.
fn last_part(directory: &Path, date: Date) -> u32 {
    let date = date.to_string();
    ours(directory).into_iter().filter(|(day, _)| *day == date).map(|(_, part)| part).max().unwrap_or(0)
}

/// Days and parts of the log files in a directory; days sort as they follow each other.
fn ours(directory: &Path) -> Vec<(String, u32)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| of_name(entry.ok()?.file_name().to_str()?)).collect()
}

fn of_name(file_name: &str) -> Option<(String, u32)> {
    let stem = file_name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (date, part) = stem.split_once('.').unwrap_or((stem, "0"));
    let is_date = date.len() == 10
        && date.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let found = (date.to_owned(), part.parse().ok()?);
    // Only names that we would give: no `.01`, no `.+1`.
    (is_date && name(&found.0, found.1) == file_name).then_some(found)
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    const LIMITS: FileLimits = FileLimits { files_max: 2, bytes_max: 1 << 20 };

    fn file_names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("list");
        let mut file_names: Vec<String> =
            entries.map(|entry| entry.expect("entry").file_name().into_string().expect("name")).collect();
        file_names.sort();
        file_names
    }

    #[test]
    fn each_day_has_its_file_and_the_oldest_go() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path();
        fs::write(path.join("butler-sos.notes.log"), "kept").expect("write");
        let mut log = DailyFile::open(path, LIMITS, date!(2026 - 11 - 20)).expect("open");
        log.write("one\n", date!(2026 - 11 - 20)).expect("write");
        log.write("two\n", date!(2026 - 11 - 21)).expect("write");
        log.write("three\n", date!(2026 - 11 - 22)).expect("write");
        log.write("four\n", date!(2026 - 11 - 22)).expect("write");
        let expect = ["butler-sos.2026-11-21.log", "butler-sos.2026-11-22.log", "butler-sos.notes.log"];
        assert_eq!(file_names(path), expect);
        let newest = fs::read_to_string(path.join("butler-sos.2026-11-22.log")).expect("read");
        assert_eq!(newest, "three\nfour\n");
    }

    #[test]
    fn a_full_file_is_followed_by_a_numbered_part_and_the_oldest_go() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path();
        let day = date!(2026 - 11 - 22);
        let limits = FileLimits { files_max: 3, bytes_max: 20 };
        for _ in 0..2 {
            let mut log = DailyFile::open(path, limits, day).expect("open");
            for _ in 0..12 {
                log.write("ten bytes\n", day).expect("write");
            }
            log.write("a line that is longer than a whole file may be\n", day).expect("write");
        }
        let expect =
            ["butler-sos.2026-11-22.11.log", "butler-sos.2026-11-22.12.log", "butler-sos.2026-11-22.13.log"];
        assert_eq!(file_names(path), expect);
        for name in &expect[..2] {
            assert_eq!(fs::read_to_string(path.join(name)).expect("read").len(), 20);
        }
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_again_when_it_is_reopened() {
        let directory = tempfile::tempdir().expect("directory");
        let (day, name) = (date!(2026 - 11 - 22), directory.path().join("butler-sos.2026-11-22.log"));
        let mut log = DailyFile::open(directory.path(), LIMITS, day).expect("open");
        log.write("one\n", day).expect("write");
        fs::rename(&name, directory.path().join("moved")).expect("moved");
        log.reopen().expect("open");
        log.write("two\n", day).expect("write");
        assert_eq!(fs::read_to_string(&name).expect("read"), "two\n");
    }

    #[test]
    fn names_of_ours() {
        assert_eq!(of_name("butler-sos.2026-11-22.log"), Some(("2026-11-22".to_owned(), 0)));
        assert_eq!(of_name("butler-sos.2026-11-22.17.log"), Some(("2026-11-22".to_owned(), 17)));
        for other in [
            "butler-sos.notes.log",
            "butler-sos.2026-11-22.01.log",
            "butler-sos.2026-11-22.0.log",
            "butler-sos.2026-11-22.x.log",
        ] {
            assert_eq!(of_name(other), None, "{other}");
        }
    }
}
