//! A journal with damaged files opens, tells no wrong record, and goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use butler_sos_actors::journal::batch::RecordBatch;
use butler_sos_actors::journal::store::{OnFull, Start, Store, StoreConfig, StreamConfig, StreamId};

/// Bytes, read as small numbers.
struct Numbers<'a>(std::slice::Iter<'a, u8>);

impl Numbers<'_> {
    fn next(&mut self) -> Option<u8> {
        self.0.next().copied()
    }

    fn place(&mut self, below: usize) -> Option<usize> {
        let place = usize::from(self.next()?) << 8 | usize::from(self.next()?);
        Some(place % below.max(1))
    }
}

/// The record at an offset: a text that no other offset has.
fn record(offset: u64) -> Vec<u8> {
    let mut record = format!("record {offset} ").into_bytes();
    record.resize(record.len() + (offset as usize * 37) % 300, b'x');
    record
}

/// The first bytes say how much is appended in which groups, the rest what happens to which file at which place.
pub fn run(bytes: &[u8]) {
    let mut numbers = Numbers(bytes.iter());
    // In memory where there is such a place: a sync costs more than all the rest.
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let directory = directory.expect("a temporary directory");
    let mut end = 0;
    {
        let (mut store, stream) = open(directory.path());
        let consumer = store.register(stream, "sink", Start::Oldest).expect("a consumer");
        for _ in 0..1 + numbers.next().unwrap_or(3) % 6 {
            end = append(&mut store, stream, end, 1 + u64::from(numbers.next().unwrap_or(2) % 24));
            let commit = end * u64::from(numbers.next().unwrap_or(0)) / 512;
            let committed = store.committed(consumer).map_or(0, |committed| committed.offset);
            store.commit(consumer, commit.max(committed), Some(b"note")).expect("a commit");
        }
        store.sync(stream).expect("a sync");
    }
    damage(directory.path(), &mut numbers);

    let (mut store, stream) = open(directory.path());
    let consumer = store.register(stream, "sink", Start::Oldest).expect("a consumer");
    let committed = store.committed(consumer).expect("it is registered").offset;
    let next = store.next_offset(stream);
    assert!(committed <= next, "{committed} committed, {next} is next");
    check_records(&mut store, stream, next);
    let after = append(&mut store, stream, next, 5);
    assert_eq!(after, next + 5);
    assert_eq!(check_records(&mut store, stream, after), after, "what is appended after damage is whole");
}

fn open(directory: &Path) -> (Store, StreamId) {
    let config = StoreConfig {
        directory: directory.to_owned(),
        streams: vec![StreamConfig {
            name: "user-events".to_owned(),
            bytes_max: 1 << 20,
            on_full: OnFull::Block,
            // Zeros ahead of the log, as the audit stream has them.
            room_bytes: 2 << 10,
        }],
        segment_bytes_max: 4 << 10,
        retention: Duration::from_secs(3_600),
        tail_bytes_max: 1 << 10,
    };
    let (store, _) = Store::open(config).expect("a damaged journal opens");
    let stream = store.stream("user-events").expect("the stream");
    (store, stream)
}

fn append(store: &mut Store, stream: StreamId, from: u64, count: u64) -> u64 {
    let mut batch = RecordBatch::new();
    (from..from + count).for_each(|offset| batch.push(&record(offset)).expect("a small record"));
    let appended = store.append(stream, &mut batch, 1_000 + from).expect("room");
    assert_eq!(appended.offsets, from..from + count);
    store.sync(stream).expect("a sync");
    from + count
}

/// Reads from the beginning; what is there must be what was appended. Answers the end of the last whole run.
fn check_records(store: &mut Store, stream: StreamId, end: u64) -> u64 {
    let (mut from, mut last) = (0, 0);
    while from < end {
        let batch = store.read(stream, from, 7, 1 << 20).expect("a read");
        for found in batch.iter() {
            assert_eq!(found.data, record(found.offset), "record {}", found.offset);
            last = found.offset + 1;
        }
        assert!(batch.next_offset() > from, "reading stands still at {from} of {end}");
        from = batch.next_offset();
    }
    last
}

fn damage(directory: &Path, numbers: &mut Numbers<'_>) {
    let mut files: Vec<PathBuf> = Vec::new();
    for directory in [directory.to_owned(), directory.join("user-events")] {
        files.extend(std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    // The store's own identity is one line and not damaged here: without it a journal is not this server's.
    files.retain(|path| path.is_file() && path.file_name().is_some_and(|name| name != "store"));
    files.sort();
    while let Some(which) = numbers.next() {
        let path = &files[usize::from(which) % files.len()];
        let Ok(mut bytes) = std::fs::read(path) else { continue };
        let (Some(how), Some(at)) = (numbers.next(), numbers.place(bytes.len() + 1)) else { return };
        match how % 6 {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= numbers.next().unwrap_or(1),
            2 => bytes.splice(at.., std::iter::repeat_n(0, usize::from(how) * 4)).for_each(drop),
            // Not to more than the stream may hold, which would be full then.
            3 if bytes.len() < 16 << 10 => {
                let copy: Vec<u8> = bytes[..at].to_vec();
                bytes.extend(copy);
            }
            4 => bytes.extend(numbers.0.by_ref().take(usize::from(how))),
            _ => {
                let cut = numbers.place(200).unwrap_or(1);
                bytes.drain(at..(at + cut).min(bytes.len()));
            }
        }
        std::fs::write(path, bytes).expect("a file");
    }
}
