//! Files: access rights, no following of links, no overwriting, reads and writes at a position.
//!
//! Files with names of people are for the service and its group only: new files get 0640 at most, new
//! directories 0750. The umask can restrict this further. Existing files keep their mode. Files for a loader
//! under another account can get another mode ([`Modes::of_files`]).
//!
//! In a directory that others can write to, a name can be a link to another place. Links in the last part of
//! a path are not followed: they are an error, or count as no file of ours.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// The maximum rights of new files and directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes {
    file: u32,
    directory: u32,
}

/// The service reads and writes, its group reads.
const FILE: u32 = 0o640;
/// The most rights that a setting may grant: our files are never executable, and never writable by everybody.
const FILE_MAX: u32 = 0o664;
/// The least rights: the service must always be able to read and write.
const FILE_MIN: u32 = 0o600;

impl Default for Modes {
    fn default() -> Self {
        Self::of(FILE)
    }
}

impl Modes {
    /// Modes from the mode of files, three or four octal digits such as `0640`. Directories are searchable
    /// for everybody who may read the files.
    #[must_use]
    pub fn of_files(text: &str) -> Option<Self> {
        let is_octal =
            (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal)?;
        (mode & !FILE_MAX == 0 && mode & FILE_MIN == FILE_MIN).then(|| Self::of(mode))
    }

    fn of(file: u32) -> Self {
        Self { file, directory: file | (file & 0o444) >> 2 }
    }

    /// Whether the umask of the process removes some of these rights, as far as the system reports it.
    #[must_use]
    pub fn are_masked(self) -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let umask = umask.and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok()).unwrap_or(0);
        (self.file | self.directory) & umask != 0
    }
}

/// Creates a directory and its parents.
pub fn create_directories(directory: &Path, modes: Modes) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(modes.directory).create(directory)
}

/// Creates a file for reading and writing. `AlreadyExists` when the name is taken, also by a link.
pub fn create_new(path: &Path, modes: Modes) -> io::Result<File> {
    options(modes).read(true).write(true).create_new(true).open(path)
}

/// Creates a file under a temporary name of ours. A file or link with that name is removed, not written to.
pub fn create_afresh(path: &Path, modes: Modes) -> io::Result<File> {
    match create_new(path, modes) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            remove(path)?;
            create_new(path, modes)
        }
        created => created,
    }
}

/// Opens a file for reading and writing, and creates it if it is missing.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    options(Modes::default()).read(true).write(true).create(true).truncate(false).open(path)
}

/// Opens an empty file for reading and writing, and discards previous content.
pub fn create_over(path: &Path) -> io::Result<File> {
    options(Modes::default()).read(true).write(true).create(true).truncate(true).open(path)
}

/// Opens a file to append to.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    options(Modes::default()).append(true).create(true).open(path)
}

/// Opens an existing file for reading and writing. Links are followed.
pub fn open_to_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Opens an existing file for reading and writing. `None` when there is no regular file of that name.
pub fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match options(Modes::default()).read(true).write(true).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Links are not followed. Opening a planted pipe does not block.
fn options(modes: Modes) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(modes.file).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

/// Renames without overwriting: `AlreadyExists` when the target exists.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(()),
        // Some file systems have no atomic rename without overwriting.
        Err(nix::Error::EINVAL | nix::Error::ENOSYS) => match to.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => std::fs::rename(from, to),
        },
        Err(errno) => Err(errno.into()),
    }
}

/// Renames and replaces an existing target.
pub fn rename_over(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// Removes a file. A missing file is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the names in the directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// The mode bits of a file, as in `chmod`. Links are followed. `None` when the file is missing.
#[must_use]
pub fn mode(path: &Path) -> Option<u32> {
    const PERMISSIONS: u32 = 0o7777;
    std::fs::metadata(path).ok().map(|metadata| metadata.permissions().mode() & PERMISSIONS)
}

/// Whether a path still names this open file.
#[must_use]
pub fn is_same_file(path: &Path, file: &File) -> bool {
    match (path.symlink_metadata(), file.metadata()) {
        (Ok(named), Ok(open)) => named.ino() == open.ino() && named.dev() == open.dev(),
        _ => false,
    }
}

pub fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)
}

/// Reads the available bytes, at most as many as fit.
pub fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    file.read_at(bytes, at)
}

pub fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    file.read_exact_at(bytes, at)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        super::mode(path).expect("it is there") & 0o777
    }

    /// The umask of the test process may remove more rights.
    fn assert_at_most(path: &Path, most: u32) {
        assert_eq!(mode(path) & !most, 0, "{} has {:o}", path.display(), mode(path));
        assert_eq!(mode(path) & 0o600, 0o600, "{}", path.display());
    }

    #[test]
    fn modes_of_files_in_octal_digits() {
        let check = |text: &str, expect: Option<(u32, u32)>| {
            assert_eq!(Modes::of_files(text).map(|modes| (modes.file, modes.directory)), expect, "{text}");
        };
        check("0640", Some((0o640, 0o750)));
        check("600", Some((0o600, 0o700)));
        check("0644", Some((0o644, 0o755)));
        check("0660", Some((0o660, 0o770)));
        check("0664", Some((0o664, 0o775)));
        for bad in ["", "0", "640 ", "0o640", "0666", "0750", "0440", "4640", "00640", "0648", "+640"] {
            check(bad, None);
        }
        assert_eq!(Modes::of_files("0640"), Some(Modes::default()));
    }

    #[test]
    fn new_files_exclude_others_and_existing_modes_are_kept() {
        let root = tempfile::tempdir().expect("a directory");
        let at = |name: &str| root.path().join(name);
        create_directories(&at("a/b"), Modes::default()).expect("made");
        assert_at_most(&at("a"), 0o750);
        assert_at_most(&at("a/b"), 0o750);
        for (name, create) in [
            ("new", (|path: &Path| create_new(path, Modes::default())) as fn(&Path) -> io::Result<File>),
            ("afresh", |path| create_afresh(path, Modes::default())),
            ("over", create_over),
            ("open", open_or_create),
            ("append", open_to_append),
        ] {
            create(&at(name)).expect(name);
            assert_at_most(&at(name), 0o640);
        }
        for open in [create_over, open_or_create, open_to_append] {
            fs::set_permissions(at("over"), fs::Permissions::from_mode(0o644)).expect("changed");
            open(&at("over")).expect("opened");
            assert_eq!(mode(&at("over")), 0o644);
        }
        fs::set_permissions(at("a"), fs::Permissions::from_mode(0o755)).expect("changed");
        create_directories(&at("a/c"), Modes::default()).expect("made");
        assert_eq!(mode(&at("a")), 0o755);
    }

    #[test]
    fn a_link_is_never_followed() {
        let root = tempfile::tempdir().expect("a directory");
        let (victim, link) = (root.path().join("victim"), root.path().join("link"));
        fs::write(&victim, "theirs").expect("a file");
        symlink(&victim, &link).expect("a link");
        assert_eq!(create_new(&link, Modes::default()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        for open in [create_over, open_or_create, open_to_append] {
            assert_eq!(open(&link).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        }
        assert!(open_existing(&link).expect("an answer").is_none());
        assert_eq!(rename_new(&victim, &link).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let file = create_afresh(&link, Modes::default()).expect("in the link's place");
        write_all_at(&file, b"ours", 0).expect("written");
        assert!(is_same_file(&link, &file) && !is_same_file(&victim, &file));
        assert_eq!(fs::read_to_string(&victim).expect("still there"), "theirs");
    }

    #[test]
    fn a_rename_never_overwrites() {
        let directory = tempfile::tempdir().expect("a directory");
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&from, "mine").expect("a file");
        fs::write(&to, "theirs").expect("a file");
        assert_eq!(rename_new(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&to).expect("there"), "theirs");
        fs::remove_file(&to).expect("removed");
        rename_new(&from, &to).expect("a free name");
        assert_eq!(fs::read_to_string(&to).expect("there"), "mine");
    }
}
