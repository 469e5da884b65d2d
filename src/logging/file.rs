//! A log file for each day (UTC): `butler-sos.2026-11-21.log`. The oldest are deleted.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use time::Date;

const PREFIX: &str = "butler-sos.";
const SUFFIX: &str = ".log";

pub struct DailyFile {
    directory: PathBuf,
    files_max: u32,
    /// The day of the open file.
    date: Date,
    file: File,
}

impl DailyFile {
    /// Opens today's file; the directory is made when it is not there.
    pub fn open(directory: &Path, files_max: u32, today: Date) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let file = open(directory, today)?;
        let daily = Self { directory: directory.to_owned(), files_max, date: today, file };
        daily.delete_oldest();
        Ok(daily)
    }

    /// Appends a line, after midnight to the new day's file.
    pub fn write(&mut self, line: &str, today: Date) -> io::Result<()> {
        if today != self.date {
            self.file = open(&self.directory, today)?;
            self.date = today;
            self.delete_oldest();
        }
        self.file.write_all(line.as_bytes())
    }

    /// Keeps the newest files. Names sort as their days do.
    fn delete_oldest(&self) {
        if self.files_max == 0 {
            return;
        }
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| is_ours(name))
            .collect();
        names.sort_unstable();
        let surplus = names.len().saturating_sub(self.files_max as usize);
        for name in &names[..surplus] {
            // A file that cannot be deleted now is tried again at the next midnight.
            let _ = fs::remove_file(self.directory.join(name));
        }
    }
}

fn open(directory: &Path, date: Date) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(directory.join(format!("{PREFIX}{date}{SUFFIX}")))
}

fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX)).is_some_and(|date| {
        date.len() == 10
            && date.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    })
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    #[test]
    fn each_day_has_its_file_and_the_oldest_go() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path();
        fs::write(path.join("butler-sos.notes.log"), "kept").expect("write");
        let mut log = DailyFile::open(path, 2, date!(2026 - 11 - 20)).expect("open");
        log.write("one\n", date!(2026 - 11 - 20)).expect("write");
        log.write("two\n", date!(2026 - 11 - 21)).expect("write");
        log.write("three\n", date!(2026 - 11 - 22)).expect("write");
        log.write("four\n", date!(2026 - 11 - 22)).expect("write");
        let mut names: Vec<String> = fs::read_dir(path)
            .expect("list")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
            .collect();
        names.sort();
        assert_eq!(names, ["butler-sos.2026-11-21.log", "butler-sos.2026-11-22.log", "butler-sos.notes.log"]);
        let newest = fs::read_to_string(path.join("butler-sos.2026-11-22.log")).expect("read");
        assert_eq!(newest, "three\nfour\n");
    }
}
