//! The journal's store: append-only logs on disk between intake and destinations (contract: delivery).
//!
//! A [`store::Store`] is one directory that one process holds. It keeps *streams* (sequences of records with offsets
//! 0, 1, 2, …) and *consumers* (how far a destination has got in a stream). It is synchronous, knows no actor and
//! asks for no time: whoever drives it passes the time in.
//!
//! # Files
//!
//! ```text
//! <directory>/store                         lock and identity: one line "butler-sos journal 1 <store id, 16 hex>"
//! <directory>/consumers                     committed offsets, three slots of 4096 bytes per consumer
//! <directory>/<stream>/<base offset>.log    one segment; the name has 20 digits; frames end to end; in the last one zeros behind them
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
//! The header has a checksum of its own so that headers can be walked without reading bodies, and so that the end of
//! a frame with a damaged body is still known. The store id keeps the bytes of a record that somebody sent us from
//! ever being taken for a frame when a reader searches for the next good one after damage.
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
//! | 16 | 8 | sequence: the good slot with the highest one counts |
//! | 24 | 8 | committed offset: the first record that is not delivered |
//! | 32 | … | stream, consumer, note |
//!
//! Each consumer has three slots: one that the last sync made safe, one that a running sync is writing out, and one
//! that commits overwrite in the meantime. A commit is one small write into space that is already there, so a full
//! disk never stops the commits that let space be freed (on file systems that overwrite in place), the file never
//! grows with use, and a write that a power cut tears never hits the slot that is known to be safe.
//!
//! # Invariants
//!
//! * What `append` or `commit` wrote when it returned survives the death of the process (it is in the page cache);
//!   what a finished sync covers survives a power cut. `durable_offset` says how far that is.
//! * An offset means one record for ever. After a lost tail a stream goes on at the highest of the recovered end and
//!   every offset that a consumer committed; the offsets between are reported as skipped. A destination that reads only
//!   below `durable_offset` can therefore never meet an old offset with a new record behind it.
//! * Offset and note of a consumer change together or not at all. A commit never goes back. After a power cut it
//!   is at most as old as the last finished sync of commits.
//! * Zeros behind the last frame are room that was written ahead, for streams that are synced often: bytes that the file
//!   has already are synced without a new length of the file. A closed segment has none, unless a power cut took the
//!   closing back; no frame begins with a zero.
//! * A frame is whole or not there: a failed write is cut away before the next one. After a failed sync the bytes that it
//!   covered are written again before the next one, since the kernel may have forgotten that they were not on disk.
//! * A damaged tail (of the last segment, found at open) is cut at the last good frame. Damage elsewhere is
//!   reported as a range of offsets and skipped to the next good frame. Every read moves on; none loops or panics.
//!   A segment that was damaged when it was opened takes no more frames: behind a header whose body is gone they would
//!   be taken for that body.
//! * Only whole segments are removed. One that some consumer still needs is removed only by `OnFull::DropOldest`, and
//!   then the append says who lost how many.
//! * A segment takes records for at most an eighth of the retention (and a minute at least), whether it is full or not:
//!   no record that everybody has outlives the retention by more than that.
//! * At most two segments of a stream are not synced yet, so an open need sync no more than two.
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
