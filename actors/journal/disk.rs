//! All changes that the store makes to a disk, so that tests can make each of them fail.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::kit::platform;

pub(super) fn write_all_at(file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
    #[cfg(test)]
    if let Some((written, error)) = faults::write_fault() {
        platform::write_all_at(file, &bytes[..written.min(bytes.len())], position)?;
        return Err(error);
    }
    platform::write_all_at(file, bytes, position)
}

pub(super) fn set_len(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(test)]
    faults::check(faults::Call::SetLen)?;
    file.set_len(bytes)
}

pub(super) fn sync_data(file: &File) -> io::Result<()> {
    #[cfg(test)]
    faults::check(faults::Call::Sync)?;
    file.sync_data()
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    platform::sync_directory(path)
}

/// Creates an empty file for reading and writing. An existing file of this name contained no valid record.
pub(super) fn create(path: &Path) -> io::Result<File> {
    #[cfg(test)]
    faults::check(faults::Call::Create)?;
    platform::create_over(path)
}

/// Faults that the current thread requested.
#[cfg(test)]
pub(super) mod faults {
    use std::cell::RefCell;
    use std::io;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Call {
        /// The write stops after this many bytes.
        Write(usize),
        SetLen,
        Sync,
        Create,
    }

    thread_local! {
        static PLAN: RefCell<Vec<(Call, i32)>> = const { RefCell::new(Vec::new()) };
    }

    /// From now on these calls fail with this error number, until `heal`.
    pub fn break_disk(calls: &[Call], errno: i32) {
        PLAN.with_borrow_mut(|plan| *plan = calls.iter().map(|call| (*call, errno)).collect());
    }

    pub fn heal() {
        PLAN.with_borrow_mut(Vec::clear);
    }

    /// The faults of this thread, to copy to a worker thread.
    pub fn planned() -> Vec<(Call, i32)> {
        PLAN.with_borrow(Vec::clone)
    }

    pub fn plan(faults: Vec<(Call, i32)>) {
        PLAN.set(faults);
    }

    pub fn check(call: Call) -> io::Result<()> {
        PLAN.with_borrow(|plan| match plan.iter().find(|(planned, _)| *planned == call) {
            Some((_, errno)) => Err(io::Error::from_raw_os_error(*errno)),
            None => Ok(()),
        })
    }

    pub fn write_fault() -> Option<(usize, io::Error)> {
        PLAN.with_borrow(|plan| {
            plan.iter().find_map(|(call, errno)| match call {
                Call::Write(bytes) => Some((*bytes, io::Error::from_raw_os_error(*errno))),
                _ => None,
            })
        })
    }
}
