//! The unsynced part of a stream, and the recovery from a failed sync.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::Stream;
use crate::journal::disk;
use crate::kit::platform;

/// The data to sync so that a stream is durable up to `end_offset`.
#[derive(Debug)]
pub struct Unsynced {
    pub files: Vec<Arc<File>>,
    pub directory: Option<PathBuf>,
    pub end_offset: u64,
    /// (base offset, bytes) of the segments to sync
    segments: Vec<(u64, u64)>,
    rewrites: u64,
}

impl Stream {
    /// The unsynced data; `None` when all is synced.
    pub fn unsynced(&mut self) -> io::Result<Option<Unsynced>> {
        self.rewrite()?;
        if self.durable_offset == self.next_offset && !self.directory_changed {
            return Ok(None);
        }
        let dirty =
            || self.segments.iter().rev().take(2).filter(|segment| segment.synced_bytes < segment.bytes);
        let unsynced = Unsynced {
            files: dirty().filter_map(|segment| segment.file.clone()).collect(),
            directory: self.directory_changed.then(|| self.directory.clone()),
            end_offset: self.next_offset,
            segments: dirty().map(|segment| (segment.base_offset, segment.bytes)).collect(),
            rewrites: self.rewrites,
        };
        self.directory_changed = false;
        Ok(Some(unsynced))
    }

    /// Records the result of the sync of `unsynced`.
    pub fn synced(&mut self, unsynced: &Unsynced, good: bool) {
        if !good {
            self.must_rewrite = true;
            self.directory_changed |= unsynced.directory.is_some();
            return;
        }
        // After a failed sync, a later success does not cover the bytes of the failed one.
        if self.must_rewrite || unsynced.rewrites != self.rewrites {
            return;
        }
        let active = self.segments.back().map(|active| active.base_offset);
        for segment in &mut self.segments {
            let covered =
                unsynced.segments.iter().find(|(base_offset, _)| *base_offset == segment.base_offset);
            let Some((base_offset, bytes)) = covered else { continue };
            segment.synced_bytes = segment.synced_bytes.max(*bytes);
            if Some(*base_offset) != active && segment.synced_bytes == segment.bytes {
                segment.file = None;
            }
        }
        self.durable_offset = self.durable_offset.max(unsynced.end_offset);
    }

    /// After a failed sync: writes the bytes again, because the kernel may have marked them as clean.
    pub(super) fn rewrite(&mut self) -> io::Result<()> {
        if !self.must_rewrite {
            return Ok(());
        }
        let mut chunk = vec![0; 1 << 20];
        for segment in self.segments.iter().rev().take(2) {
            let Some(file) = &segment.file else { continue };
            let mut position = segment.synced_bytes;
            while position < segment.bytes {
                let length = (segment.bytes - position).min(chunk.len() as u64) as usize;
                platform::read_exact_at(file, &mut chunk[..length], position)?;
                disk::write_all_at(file, &chunk[..length], position)?;
                position += length as u64;
            }
        }
        self.must_rewrite = false;
        self.rewrites += 1;
        Ok(())
    }
}
