//! The journal's store: append-only logs on disk between intake and destinations (contract: delivery).
//!
//! A [`store::Store`] is one directory that one process holds. It contains *streams* (sequences of records
//! with offsets 0, 1, 2, …) and *consumers* (the position of a destination in a stream). It is synchronous,
//! contains no actor code and reads no clock: the caller passes the time.
//!
//! # Files
//!
//! ```text
//! <directory>/store                         lock and identity: one line "butler-sos journal 1 <store id, 16 hex>"
//! <directory>/consumers                     committed offsets, three slots of 4096 bytes per consumer
//! <directory>/<stream>/<base offset>.log    one segment; the name has 20 digits; frames end to end, then
//! zeros in the last one
//! ```
//!
//! # A frame (one per append), integers little endian
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! | 0 | 4 | magic `BSJF` |
//! | 4 | 1 | format version, 1 |
//! | 5 | 3 | zero |
//! | 8 | 8 | store id, random, the same in every frame of a store |
//! | 16 | 8 | base offset: the offset of the first record |
//! | 24 | 8 | append time, Unix nanoseconds |
//! | 32 | 4 | records, at least 1 |
//! | 36 | 4 | body bytes, at most 32 MiB |
//! | 40 | 4 | CRC-32 (IEEE) of the body |
//! | 44 | 4 | CRC-32 (IEEE) of the bytes 0..44 |
//! | 48 | … | body: for each record its length (4 bytes) and its bytes |
//!
//! The header has its own checksum so that headers can be read without bodies, and so that the end of a frame
//! with a damaged body is still known. The random store id prevents that bytes inside a record from a client
//! are mistaken for a frame when a reader searches for the next good frame after damage.
//!
//! # A commit slot
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! | 0 | 4 | magic `BSJC` |
//! | 4 | 4 | CRC-32 (IEEE) of what follows, to the end of the note |
//! | 8 | 1 | format version, 1 |
//! | 9 | 1 | state: 1 live, 2 retired |
//! | 10 | 2 | bytes of the stream's name |
//! | 12 | 2 | bytes of the consumer's name |
//! | 14 | 2 | bytes of the note |
//! | 16 | 8 | sequence: the good slot with the highest one is valid |
//! | 24 | 8 | committed offset: the first record that is not delivered |
//! | 32 | … | stream, consumer, note |
//!
//! Each consumer has three slots: one that the last sync made safe, one that a running sync writes out, and
//! one that commits overwrite in the meantime. A commit is one small write into allocated space, so a full
//! disk never stops the commits that free space (on file systems that overwrite in place), the file does not
//! grow with use, and a write that a power cut tears never hits the safe slot.
//!
//! # Invariants
//!
//! * Data of an `append` or `commit` that returned survives the death of the process (it is in the page
//!   cache); data that a finished sync covers survives a power cut. `durable_offset` is the end of synced data.
//! * An offset identifies one record for ever. After a lost tail a stream continues at the maximum of the
//!   recovered end and every offset that a consumer committed; the offsets between are reported as skipped. A
//!   destination that reads only below `durable_offset` therefore never sees an old offset with a new record.
//! * Offset and note of a consumer change together or not at all. A commit never moves back. After a power
//!   cut it is at most as old as the last finished sync of commits.
//! * Zeros after the last frame are room that was written ahead, for streams that are synced often: a sync is
//!   cheaper when the file's length does not change. A closed segment has none, unless a power cut undid the
//!   closing. No frame begins with a zero.
//! * A frame is complete or absent: a failed write is cut off before the next one. After a failed sync its
//!   bytes are written again before the next sync, because the kernel may no longer treat them as dirty.
//! * A damaged tail (of the last segment, found at open) is cut off after the last good frame. Damage
//!   elsewhere is reported as a range of offsets and skipped to the next good frame. Every read makes progress;
//!   none loops or panics. A segment that was damaged when it was opened takes no more frames: after a header
//!   without its body they would be mistaken for that body.
//! * Only whole segments are removed. Only `OnFull::DropOldest` removes one that a consumer still needs, and
//!   then the append reports the loss of each consumer.
//! * A segment takes records for at most an eighth of the retention (and at least a minute), also when it is
//!   not full, so that no delivered record outlives the retention by more than that.
//! * At most two segments of a stream are not synced, so an open need not sync more than two.
//! * Memory per stream: `tail_bytes_max`, 16 read positions of about 128 KiB, a megabyte of sparse index.

pub mod actor;
pub mod batch;
pub mod client;
pub mod consumers;
mod disk;
pub mod frame;
pub mod message;
#[cfg(test)]
mod model_test;
pub mod segment;
pub mod store;
#[cfg(test)]
mod store_test;
pub mod stream;
pub mod tail;
#[cfg(test)]
pub(crate) mod testing;
