//! What the destinations that write files share: every operation on the file system, in one place.
//!
//! All of it blocks, so it runs in [`blocking`]. In tests a [`Disk`] can "lose power" before any
//! operation: from then on nothing succeeds, as if the process had died there.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::kit::delivery_error::DeliveryError;
use crate::kit::guard::guard;
use crate::kit::platform::{self, Modes};

/// The file system, as the file destinations use it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    /// Of what it creates.
    pub modes: Modes,
    #[cfg(test)]
    power: crash::Power,
}

impl Disk {
    pub fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.step()?;
        platform::create_directories(directory, self.modes)
    }

    /// A new file; `AlreadyExists` when the name is taken.
    pub fn create_new(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        platform::create_new(path, self.modes)
    }

    /// A new file in place of whatever has that name of ours.
    pub fn create_afresh(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        platform::create_afresh(path, self.modes)
    }

    /// An existing file for reading and writing; `None` when there is no regular file of that name.
    pub fn open_existing(&self, path: &Path) -> io::Result<Option<File>> {
        self.step()?;
        platform::open_existing(path)
    }

    pub fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Err(error) = self.step() {
            // Dying in the middle of a write leaves a part of it.
            let _ = platform::write_all_at(file, &bytes[..self.power.torn(bytes.len())], at);
            return Err(error);
        }
        platform::write_all_at(file, bytes, at)
    }

    pub fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        self.step()?;
        file.set_len(length)
    }

    /// Content and length are on disk after this.
    pub fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_data()
    }

    /// Names in the directory are on disk after this.
    pub fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.step()?;
        platform::sync_directory(directory)
    }

    /// Renames, never over another file: `AlreadyExists` then.
    pub fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        platform::rename_new(from, to)
    }

    pub fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        std::fs::rename(from, to)
    }

    /// It is no error when the file is not there.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        platform::remove(path)
    }

    /// The names in a directory that are text; none when there is no directory.
    pub fn file_names(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.step()?;
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let file_names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(file_names.collect())
    }

    /// The highest number N of `{stem}{N}{extension}` that is there; 0 when there is none.
    pub fn highest_part(&self, directory: &Path, stem: &str, extension: &str) -> io::Result<u64> {
        let file_names = self.file_names(directory)?;
        let parts = file_names.iter().filter_map(|name| part_number(name, stem, extension));
        Ok(parts.max().unwrap_or(0))
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the same shape as in tests")]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }
}

fn part_number(name: &str, stem: &str, extension: &str) -> Option<u64> {
    let digits = name.strip_prefix(stem)?.strip_suffix(extension)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether a name in a note is a plain file name, so that no note leads out of the directory.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

/// The name under which a file is written until it is whole.
pub(crate) fn temporary_name(name: &str) -> String {
    format!(".{name}.tmp")
}

/// Runs work that blocks off the arbiter. A panic in it is trouble, not the end of the actor's state.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DeliveryError> + Send + 'static,
) -> Result<T, DeliveryError> {
    match tokio::task::spawn_blocking(move || guard(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(panic)) => Err(DeliveryError::new("panic", panic)),
        Err(ended) => Err(DeliveryError::new("stopping", ended.to_string())),
    }
}

/// A file system error as trouble: what was tried, with which file, and the system's words.
pub(crate) fn trouble(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DeliveryError {
    move |error| {
        let class = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk-full",
            io::ErrorKind::ReadOnlyFilesystem => "disk-read-only",
            io::ErrorKind::PermissionDenied => "disk-permission",
            _ => "disk",
        };
        DeliveryError::new(class, format!("{doing} {}: {error}", path.display()))
    }
}

#[cfg(test)]
impl Disk {
    /// A disk whose process dies at operation number `steps`, counted from 0.
    pub fn dying_after(steps: u64) -> Self {
        Self { power: crash::Power::for_steps(steps), ..Self::default() }
    }

    /// One operation; also for what happens between those of the file system.
    pub fn step(&self) -> io::Result<()> {
        self.power.step()
    }
}

#[cfg(test)]
mod crash {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// How many operations are left; `None` is for ever.
    #[derive(Debug, Clone, Default)]
    pub struct Power(Option<Arc<(AtomicU64, u64)>>);

    impl Power {
        pub fn for_steps(steps: u64) -> Self {
            Self(Some(Arc::new((AtomicU64::new(steps), steps))))
        }

        pub fn step(&self) -> io::Result<()> {
            let Some(left) = &self.0 else { return Ok(()) };
            let took = left.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            took.map(|_| ()).map_err(|_| io::Error::other("the process is dead"))
        }

        /// How much of a write gets through, some of it chosen by where the end came.
        pub fn torn(&self, bytes: usize) -> usize {
            let seed = self.0.as_ref().map_or(0, |left| left.1);
            bytes * (seed as usize % 5) / 4
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_part_there_is() {
        let directory = tempfile::tempdir().unwrap();
        let highest = || Disk::default().highest_part(directory.path(), "20261121_part", ".qvd").unwrap();
        assert_eq!(highest(), 0);
        for name in [
            "20261121_part1.qvd",
            "20261121_part9.qvd",
            "20261121_part10.qvd",
            "20261121_part77.parquet",
            "20261120_part99.qvd",
            "20261121_part+98.qvd",
            "20261121_partx.qvd",
            "20261121_part.qvd",
        ] {
            File::create(directory.path().join(name)).unwrap();
        }
        assert_eq!(highest(), 10);
    }

    #[test]
    fn names_in_notes() {
        for name in ["a.csv", ".a.tmp", "å"] {
            assert!(is_plain_name(name));
        }
        for name in ["", ".", "..", "a/b", "/etc/passwd", "a\0"] {
            assert!(!is_plain_name(name));
        }
    }
}
