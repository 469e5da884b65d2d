//! The file system operations of all destinations that write files.
//!
//! All of them block, so they run in [`blocking`]. In tests a [`Disk`] can "lose power" before any operation:
//! from then on every operation fails, as if the process had crashed there.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::kit::delivery_error::DeliveryError;
use crate::kit::guard::guard;
use crate::kit::platform::{self, Modes};

/// The file system for file destinations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    /// Modes of new files and directories.
    pub modes: Modes,
    #[cfg(test)]
    power: crash::Power,
}

impl Disk {
    pub fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.step()?;
        platform::create_directories(directory, self.modes)
    }

    /// Creates a file. `AlreadyExists` when the name is taken.
    pub fn create_new(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        platform::create_new(path, self.modes)
    }

    /// Creates a file under a temporary name of ours, and removes an existing one.
    pub fn create_afresh(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        platform::create_afresh(path, self.modes)
    }

    /// Opens an existing file for reading and writing. `None` when there is no regular file of that name.
    pub fn open_existing(&self, path: &Path) -> io::Result<Option<File>> {
        self.step()?;
        platform::open_existing(path)
    }

    pub fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Err(error) = self.step() {
            // A crash in the middle of a write leaves a part of it.
            let _ = platform::write_all_at(file, &bytes[..self.power.torn(bytes.len())], at);
            return Err(error);
        }
        platform::write_all_at(file, bytes, at)
    }

    pub fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        self.step()?;
        file.set_len(length)
    }

    /// Makes content and length durable.
    pub fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_data()
    }

    /// Makes the names in the directory durable.
    pub fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.step()?;
        platform::sync_directory(directory)
    }

    /// Renames without overwriting: `AlreadyExists` when the target exists.
    pub fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        platform::rename_new(from, to)
    }

    pub fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        std::fs::rename(from, to)
    }

    /// Removes a file. A missing file is no error.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        platform::remove(path)
    }

    /// The UTF-8 names in a directory; none when there is no directory.
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

    /// The highest number N of existing files `{stem}{N}{extension}`; 0 when there is none.
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

/// The temporary name of a file until it is complete.
pub(crate) fn temporary_name(name: &str) -> String {
    format!(".{name}.tmp")
}

/// Runs blocking work outside the arbiter. A panic in it is a delivery error, so the actor keeps its state.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DeliveryError> + Send + 'static,
) -> Result<T, DeliveryError> {
    match tokio::task::spawn_blocking(move || guard(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(panic)) => Err(DeliveryError::new("panic", panic)),
        Err(ended) => Err(DeliveryError::new("stopping", ended.to_string())),
    }
}

/// Converts a file system error to a delivery error with the operation, the file and the system's message.
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
    /// A disk that fails from operation number `steps` on, counted from 0.
    pub fn dying_after(steps: u64) -> Self {
        Self { power: crash::Power::for_steps(steps), ..Self::default() }
    }

    /// Counts one operation. Tests also call it between file system operations.
    pub fn step(&self) -> io::Result<()> {
        self.power.step()
    }
}

#[cfg(test)]
mod crash {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The number of operations left; `None` is unlimited.
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

        /// The number of bytes of a write that succeed, varied by where the crash happens.
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
    fn finds_the_highest_part_number() {
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
