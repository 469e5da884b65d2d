//! Tests the store against a simple model with random appends, reads, commits, reopenings, cuts, flips, full
//! disks and collections. The model knows every acknowledged record and the offsets that may be lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::batch::{RecordBatch, SkippedBecause};
use super::disk::faults::{self, Call};
use super::store::*;

#[derive(Clone, Debug)]
enum Act {
    Append { sizes: Vec<usize> },
    AppendOnBrokenDisk { sizes: Vec<usize>, written: usize, cut_fails: bool },
    Read { from: f64, records_max: usize, bytes_max: usize },
    ReadOn { records_max: usize },
    Commit { to: f64, note: Option<Vec<u8>> },
    Sync { good: bool },
    Reopen,
    CutTail { bytes: u64 },
    Flip { segment: f64, at: f64, bit: u8 },
    Collect { age: u64 },
    Drop,
}

fn act() -> impl Strategy<Value = Act> {
    let sizes = || proptest::collection::vec(0usize..400, 1..8);
    let share = || 0.0..1.0f64;
    prop_oneof![
        12 => sizes().prop_map(|sizes| Act::Append { sizes }),
        2 => (sizes(), 0usize..2000, any::<bool>())
            .prop_map(|(sizes, written, cut_fails)| Act::AppendOnBrokenDisk { sizes, written, cut_fails }),
        4 => (share(), 0usize..20, 0usize..3000)
            .prop_map(|(from, records_max, bytes_max)| Act::Read { from, records_max, bytes_max }),
        6 => (1usize..20).prop_map(|records_max| Act::ReadOn { records_max }),
        3 => (share(), proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)))
            .prop_map(|(to, note)| Act::Commit { to, note }),
        2 => any::<bool>().prop_map(|good| Act::Sync { good }),
        2 => Just(Act::Reopen),
        1 => (0u64..600).prop_map(|bytes| Act::CutTail { bytes }),
        1 => (share(), share(), 0u8..8).prop_map(|(segment, at, bit)| Act::Flip { segment, at, bit }),
        2 => (0u64..40).prop_map(|age| Act::Collect { age }),
        1 => Just(Act::Drop),
    ]
}

#[derive(Default)]
struct Model {
    records: BTreeMap<u64, (u64, Vec<u8>)>,
    /// Records hit by a flip or a cut: they may be lost, but if they are readable they must be right.
    doubtful: BTreeSet<u64>,
    next: u64,
    committed: u64,
    note: Vec<u8>,
}

/// A directory in memory if there is one, because hundreds of reopenings sync a lot.
fn scratch() -> tempfile::TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).unwrap()
}

struct Run {
    directory: tempfile::TempDir,
    store: Option<(Store, StreamId, ConsumerId)>,
    model: Model,
    cursor: u64,
    time: u64,
    seed: u8,
}

fn config(directory: &Path) -> StoreConfig {
    StoreConfig {
        directory: directory.to_owned(),
        streams: vec![StreamConfig {
            name: "s".into(),
            bytes_max: 40_000,
            on_full: OnFull::Block,
            room_bytes: 1000,
        }],
        segment_bytes_max: 4096,
        retention: Duration::from_nanos(10),
        tail_bytes_max: 3000,
    }
}

impl Run {
    fn new() -> Run {
        let mut run =
            Run { directory: scratch(), store: None, model: Model::default(), cursor: 0, time: 0, seed: 0 };
        run.open();
        run
    }

    fn open(&mut self) -> Vec<Recovery> {
        let (mut store, recoveries) = Store::open(config(self.directory.path())).unwrap();
        let stream = store.stream("s").unwrap();
        let consumer = store.register(stream, "c", Start::Oldest).unwrap();
        self.store = Some((store, stream, consumer));
        recoveries
    }

    fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path().join("s")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    fn step(&mut self, act: Act) {
        let (store, stream, consumer) = self.store.as_mut().unwrap();
        let (stream, consumer) = (*stream, *consumer);
        let first = store.stats(0).unwrap()[0].first_offset;
        match act {
            Act::Append { sizes } => self.append(&sizes),
            Act::AppendOnBrokenDisk { sizes, written, cut_fails } => {
                // A complete frame without an answer could be stored or not, so it is not tested here. The
                // last byte is not a zero, which written-ahead room would contain.
                let sizes: Vec<_> = sizes.iter().map(|size| size + 1).collect();
                let written = written.min(47 + sizes.iter().map(|size| 4 + size).sum::<usize>());
                let cut_fails = cut_fails.then_some(Call::SetLen);
                let calls: Vec<_> = [Call::Write(written)].into_iter().chain(cut_fails).collect();
                faults::break_disk(&calls, 5);
                let mut batch = RecordBatch::new();
                sizes.iter().for_each(|size| batch.push(&vec![9; *size]).unwrap());
                let result = store.append(stream, &mut batch, self.time);
                faults::heal();
                assert!(result.is_err() && batch.len() == sizes.len());
                assert_eq!(store.next_offset(stream), self.model.next);
            }
            Act::Read { from, records_max, bytes_max } => {
                let from = (from * (self.model.next + 1) as f64) as u64;
                self.read(from, records_max, bytes_max);
            }
            Act::ReadOn { records_max } => self.cursor = self.read(self.cursor, records_max, 2000),
            Act::Commit { to, note } => {
                let to =
                    self.model.committed + (to * (self.model.next - self.model.committed + 1) as f64) as u64;
                let to = to.min(self.model.next);
                store.commit(consumer, to, note.as_deref()).unwrap();
                self.model.committed = to;
                self.model.note = note.unwrap_or_else(|| self.model.note.clone());
            }
            Act::Sync { good } => {
                if !good {
                    faults::break_disk(&[Call::Sync], 5);
                }
                let durable = store.durable_offset(stream);
                let results = (store.sync(stream), store.sync_commits());
                faults::heal();
                match results {
                    (Ok(offset), _) if good => assert_eq!(offset, self.model.next),
                    (Ok(offset), _) => assert_eq!(offset, durable),
                    (Err(_), _) => assert!(!good && store.durable_offset(stream) == durable),
                }
            }
            Act::Reopen => {
                self.store = None;
                self.open();
                self.check_reopened();
            }
            Act::CutTail { bytes } => {
                self.store = None;
                let last = self.segments().pop().unwrap();
                let file = OpenOptions::new().write(true).open(last).unwrap();
                let length = file.metadata().unwrap().len();
                file.set_len(length - bytes.min(length)).unwrap();
                self.open();
                let (store, stream, _) = self.store.as_mut().unwrap();
                let next = store.next_offset(*stream);
                assert!(next <= self.model.next && next >= self.model.committed);
                // Records that were cut off and whose offsets are not used again are lost; so are their
                // offsets below `next`.
                let lost: Vec<u64> =
                    self.model.records.keys().copied().filter(|at| bytes > 0 && *at + 50 >= next).collect();
                self.model.records.retain(|offset, _| *offset < next);
                self.model.doubtful.extend(lost.into_iter().filter(|offset| *offset < next));
                self.model.next = next;
                self.cursor = self.cursor.min(next);
                self.check_reopened();
            }
            Act::Flip { segment, at, bit } => {
                self.store = None;
                let paths = self.segments();
                let which = (segment * paths.len() as f64) as usize;
                let file = OpenOptions::new().read(true).write(true).open(&paths[which]).unwrap();
                let length = file.metadata().unwrap().len();
                if length > 0 {
                    let position = (at * length as f64) as u64;
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, position).unwrap();
                    file.write_all_at(&[byte[0] ^ (1 << bit)], position).unwrap();
                }
                let hit = self.frame_at(&paths[which], (at * length as f64) as u64);
                self.model.doubtful.extend(hit);
                self.open();
                let (store, stream, _) = self.store.as_mut().unwrap();
                let next = store.next_offset(*stream);
                // A flip in the last frame is a tail that is cut off.
                assert!(next <= self.model.next && next >= self.model.committed);
                assert!((next..self.model.next).all(|offset| self.model.doubtful.contains(&offset)));
                self.model.records.retain(|offset, _| *offset < next);
                self.model.doubtful.retain(|offset| *offset < next);
                self.model.next = next;
                self.cursor = self.cursor.min(next);
                self.check_reopened();
            }
            Act::Collect { age } => {
                self.time += age;
                store.collect(self.time).unwrap();
                let now_first = store.stats(0).unwrap()[0].first_offset;
                for (offset, (at, _)) in self.model.records.range(first..now_first.max(first)) {
                    let is_gone_anyhow = self.model.doubtful.contains(offset);
                    assert!(*offset < self.model.committed && (at + 10 < self.time || is_gone_anyhow));
                }
            }
            Act::Drop => {
                // Like kill -9: the store is not closed. (The process holds the lock.)
                self.store = None;
                self.open();
                self.check_reopened();
            }
        }
    }

    /// The offsets of the frame that covers a position, from the sizes of frames in the model.
    fn frame_at(&self, path: &Path, position: u64) -> Vec<u64> {
        let base: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let (mut start, mut hit, mut last) = (0, Vec::new(), None);
        for (offset, (_, data)) in self.model.records.range(base..) {
            // A record begins with the length of its frame and its position in it, see `append`.
            let (frame_bytes, place) = tag(data);
            if place == 0 {
                if let Some(bytes) = last.replace(frame_bytes) {
                    start += bytes;
                }
                if start > position {
                    break;
                }
                hit.clear();
            }
            hit.push(*offset);
        }
        // After a cut or damage the sum may be off by whole frames, so accept a range.
        if self.model.doubtful.range(base..).next().is_some() {
            hit = self.model.records.range(base..).map(|(offset, _)| *offset).collect();
        }
        hit
    }

    fn append(&mut self, sizes: &[usize]) {
        let (store, stream, _) = self.store.as_mut().unwrap();
        self.time += 1;
        self.seed = self.seed.wrapping_add(1);
        let frame_bytes = 48 + sizes.iter().map(|size| 4 + 12 + size).sum::<usize>() as u64;
        let records: Vec<Vec<u8>> = sizes
            .iter()
            .enumerate()
            .map(|(place, size)| {
                let tag = [&frame_bytes.to_le_bytes()[..], &(place as u32).to_le_bytes()].concat();
                [tag, vec![self.seed; *size]].concat()
            })
            .collect();
        let mut batch = RecordBatch::new();
        records.iter().for_each(|record| batch.push(record).unwrap());
        match store.append(*stream, &mut batch, self.time) {
            Ok(appended) => {
                assert_eq!(appended.offsets, self.model.next..self.model.next + sizes.len() as u64);
                for (offset, record) in appended.offsets.clone().zip(records) {
                    self.model.records.insert(offset, (self.time, record));
                }
                self.model.next = appended.offsets.end;
            }
            Err(AppendError::Full { bytes, bytes_max }) => assert!(bytes + frame_bytes > bytes_max),
            Err(other) => panic!("{other}"),
        }
        assert!(store.stats(0).unwrap()[0].bytes <= 40_000);
    }

    fn read(&mut self, from: u64, records_max: usize, bytes_max: usize) -> u64 {
        let (store, stream, _) = self.store.as_mut().unwrap();
        if from > self.model.next {
            assert!(matches!(
                store.read(*stream, from, records_max, bytes_max),
                Err(ReadError::Beyond { .. })
            ));
            return self.model.next;
        }
        let first = store.stats(0).unwrap()[0].first_offset;
        let batch = store.read(*stream, from, records_max, bytes_max).unwrap();
        assert!(batch.next_offset() > from || from == self.model.next || records_max == 0);
        assert!(batch.len() <= records_max && (batch.bytes() <= bytes_max || batch.len() == 1));
        let mut seen: Vec<u64> = Vec::new();
        for record in batch.iter() {
            let (at, data) = &self.model.records[&record.offset];
            assert_eq!((record.appended_at_ns, record.data), (*at, data.as_slice()));
            seen.push(record.offset);
        }
        for skipped in batch.skipped() {
            for offset in skipped.offsets.clone() {
                match skipped.why {
                    SkippedBecause::Removed => assert!(offset < first),
                    SkippedBecause::Damaged => {
                        let is_known = self.model.records.contains_key(&offset);
                        assert!(!is_known || self.model.doubtful.contains(&offset), "{offset} was good");
                    }
                }
                seen.push(offset);
            }
        }
        seen.sort();
        assert_eq!(seen, (from..batch.next_offset()).collect::<Vec<_>>(), "each offset once");
        batch.next_offset()
    }

    fn check_reopened(&mut self) {
        let (store, stream, consumer) = self.store.as_ref().unwrap();
        assert_eq!(store.next_offset(*stream), self.model.next);
        let expect = Committed { offset: self.model.committed, note: self.model.note.clone() };
        assert_eq!(store.committed(*consumer), Some(expect));
        let mut from = 0;
        while from < self.model.next {
            from = self.read(from, 50, 10_000);
        }
    }
}

fn tag(data: &[u8]) -> (u64, u32) {
    let frame_bytes = u64::from_le_bytes(std::array::from_fn(|i| data[i]));
    (frame_bytes, u32::from_le_bytes(std::array::from_fn(|i| data[8 + i])))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_store_behaves_like_the_model(acts in proptest::collection::vec(act(), 1..80)) {
        let mut run = Run::new();
        for act in acts {
            run.step(act);
        }
        run.step(Act::Reopen);
    }
}
