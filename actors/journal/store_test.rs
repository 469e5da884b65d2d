//! Guarantees of the store, one per test.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::batch::{Batch, RecordBatch, SkippedBecause};
use super::disk::faults::{self, Call};
use super::store::*;

const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EIO: i32 = 5;
const SECOND: u64 = 1_000_000_000;

fn config(directory: &Path) -> StoreConfig {
    let stream =
        |name: &str, on_full| StreamConfig { name: name.into(), bytes_max: 64 << 10, on_full, room_bytes: 0 };
    StoreConfig {
        directory: directory.join("journal"),
        streams: vec![stream("block", OnFull::Block), stream("drop", OnFull::DropOldest)],
        segment_bytes_max: 4 << 10,
        retention: Duration::from_secs(10),
        tail_bytes_max: 2 << 10,
    }
}

fn open(directory: &Path) -> (Store, StreamId, Vec<Recovery>) {
    let (store, recoveries) = Store::open(config(directory)).unwrap();
    let stream = store.stream("block").unwrap();
    (store, stream, recoveries)
}

fn batch(from: u64, records: u64, bytes: usize) -> RecordBatch {
    let mut batch = RecordBatch::new();
    for i in from..from + records {
        batch.push(&record(i, bytes)).unwrap();
    }
    batch
}

fn record(i: u64, bytes: usize) -> Vec<u8> {
    let mut record = i.to_le_bytes().to_vec();
    record.resize(bytes.max(8), i as u8);
    record
}

/// Appends records whose numbers equal their offsets.
fn fill(store: &mut Store, stream: StreamId, appends: u64, records: u64, bytes: usize) {
    for i in 0..appends {
        let from = store.next_offset(stream);
        store.append(stream, &mut batch(from, records, bytes), i * SECOND).unwrap();
    }
}

fn numbers(batch: &Batch) -> Vec<u64> {
    batch
        .iter()
        .inspect(|record| assert_eq!(record.data[..8], record.offset.to_le_bytes()))
        .map(|r| r.offset)
        .collect()
}

/// Reads everything. Also returns skipped ranges.
fn drain(store: &mut Store, stream: StreamId, from: u64, records_max: usize) -> (Vec<u64>, Vec<u64>) {
    let (mut got, mut lost, mut at) = (Vec::new(), Vec::new(), from);
    while at < store.next_offset(stream) {
        let batch = store.read(stream, at, records_max, 3000).unwrap();
        assert!(batch.next_offset() > at, "a read moves on");
        got.extend(numbers(&batch));
        lost.extend(batch.skipped().iter().flat_map(|skipped| skipped.offsets.clone()));
        at = batch.next_offset();
    }
    (got, lost)
}

fn segments(directory: &Path, stream: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("journal").join(stream)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

#[test]
fn reads_all_records_from_memory_and_disk_over_many_segments() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, recoveries) = open(directory.path());
    assert_eq!(recoveries, []);
    fill(&mut store, stream, 50, 7, 50);
    assert!(segments(directory.path(), "block").len() > 4);
    for records_max in [1, 3, 7, 100, 1000] {
        for from in [0, 1, 77, 200, 349] {
            assert_eq!(drain(&mut store, stream, from, records_max), ((from..350).collect(), vec![]));
        }
    }
    assert!(matches!(store.read(stream, 351, 1, 1), Err(ReadError::Beyond { .. })));
    assert!(store.read(stream, 350, 1, 1).unwrap().is_empty());
}

#[test]
fn a_second_process_is_refused_and_the_lock_ends_with_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let (store, ..) = open(directory.path());
    assert!(matches!(Store::open(config(directory.path())), Err(StoreError::Locked { .. })));
    let journal = config(directory.path()).directory;
    assert!(is_held(&journal) && !is_held(&journal.join("nowhere")));
    drop(store);
    assert!(!is_held(&journal));
    open(directory.path());
}

#[test]
fn a_copy_at_any_moment_contains_all_acknowledged_records() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    let consumer = store.register(stream, "influx", Start::Oldest).unwrap();
    for round in 0..30 {
        fill(&mut store, stream, 1, 5, 100);
        store.commit(consumer, round * 3, Some(format!("note {round}").as_bytes())).unwrap();
        // Like after kill -9: the store is not closed, and another process opens the files.
        let copy = tempfile::tempdir().unwrap();
        for (from, to) in ["store", "consumers"]
            .iter()
            .map(|name| (name.to_string(), name.to_string()))
            .chain(segments(directory.path(), "block").iter().map(|path| {
                let name = format!("block/{}", path.file_name().unwrap().to_str().unwrap());
                (name.clone(), name)
            }))
        {
            let to = copy.path().join("journal").join(to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(directory.path().join("journal").join(from), to).unwrap();
        }
        let (mut again, stream, recoveries) = open(copy.path());
        assert_eq!(recoveries, []);
        assert_eq!(drain(&mut again, stream, 0, 9).0, (0..(round + 1) * 5).collect::<Vec<_>>());
        let consumer = again.register(stream, "influx", Start::Newest).unwrap();
        let expect = Committed { offset: round * 3, note: format!("note {round}").into_bytes() };
        assert_eq!(again.committed(consumer), Some(expect));
    }
}

#[test]
fn a_tail_cut_anywhere_is_reported_and_appends_continue() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    fill(&mut store, stream, 3, 2, 20);
    drop(store);
    let path = &segments(directory.path(), "block")[0];
    let whole = fs::read(path).unwrap();
    let frame = whole.len() / 3;
    for cut in 2 * frame..whole.len() {
        fs::write(path, &whole[..cut]).unwrap();
        let (mut store, stream, recoveries) = open(directory.path());
        let bytes = (cut - 2 * frame) as u64;
        let expect: Vec<_> = (bytes > 0)
            .then(|| Recovery::TailCut { stream: "block".into(), offset: 4, bytes })
            .into_iter()
            .collect();
        assert_eq!(recoveries, expect);
        fill(&mut store, stream, 1, 3, 9);
        assert_eq!(drain(&mut store, stream, 0, 2), ((0..7).collect(), vec![]));
    }
}

/// With written-ahead room.
fn open_roomy(directory: &Path) -> (Store, StreamId, Vec<Recovery>) {
    let mut config = config(directory);
    config.streams[0].room_bytes = 1000;
    let (store, recoveries) = Store::open(config).unwrap();
    let stream = store.stream("block").unwrap();
    (store, stream, recoveries)
}

#[test]
fn written_ahead_room_is_not_damage() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open_roomy(directory.path());
    fill(&mut store, stream, 3, 2, 20);
    let path = segments(directory.path(), "block").remove(0);
    let written = fs::read(&path).unwrap();
    let frame = 48 + 2 * 24;
    assert_eq!((written.len(), store.stats(1).unwrap()[0].bytes), (frame + 1000, 3 * frame as u64));
    assert!(written[3 * frame..].iter().all(|byte| *byte == 0));
    drop(store);
    // With the room, without it, and with a partly written frame in it.
    for (tail, lost) in
        [(written[3 * frame..].to_vec(), 0), (vec![], 0), ([vec![7; 9], vec![0; 90]].concat(), 99)]
    {
        fs::write(&path, [&written[..3 * frame], &tail].concat()).unwrap();
        let (mut store, stream, recoveries) = open_roomy(directory.path());
        let cut = Recovery::TailCut { stream: "block".into(), offset: 6, bytes: lost };
        assert_eq!(recoveries, if lost > 0 { vec![cut] } else { vec![] });
        fill(&mut store, stream, 1, 2, 20);
        assert_eq!(drain(&mut store, stream, 0, 3), ((0..8).collect(), vec![]));
    }
}

#[test]
fn closed_segments_have_no_written_ahead_room() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open_roomy(directory.path());
    fill(&mut store, stream, 100, 2, 100);
    let lengths: Vec<u64> =
        segments(directory.path(), "block").iter().map(|path| fs::metadata(path).unwrap().len()).collect();
    let (active, closed) = lengths.split_last().unwrap();
    let frame = 48 + 2 * 104;
    assert!(closed.len() > 3 && closed.iter().all(|bytes| bytes % frame == 0), "{lengths:?}");
    assert!(*active <= 4 << 10, "room ends with the segment");
    drop(store);
    // A power cut may undo the closing.
    let path = segments(directory.path(), "block").remove(1);
    let written = fs::read(&path).unwrap();
    fs::write(&path, [written, vec![0; 500]].concat()).unwrap();
    let (mut store, stream, recoveries) = open_roomy(directory.path());
    assert_eq!(recoveries, []);
    assert_eq!(drain(&mut store, stream, 0, 7), ((0..200).collect(), vec![]));
}

#[test]
fn a_disk_without_space_for_room_still_takes_frames() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open_roomy(directory.path());
    faults::break_disk(&[Call::Write(500)], ENOSPC);
    assert!(store.append(stream, &mut batch(0, 1, 20), 1).is_err(), "there is none for the frame either");
    faults::heal();
    fill(&mut store, stream, 2, 2, 20);
    drop(store);
    let (mut store, stream, recoveries) = open_roomy(directory.path());
    assert_eq!(recoveries, []);
    assert_eq!(drain(&mut store, stream, 0, 7), ((0..4).collect(), vec![]));
}

#[test]
fn a_committed_offset_is_never_used_for_another_record() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    let consumer = store.register(stream, "files", Start::Oldest).unwrap();
    fill(&mut store, stream, 4, 5, 20);
    store.commit(consumer, 18, None).unwrap();
    drop(store);
    let path = &segments(directory.path(), "block")[0];
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let (mut store, stream, recoveries) = open(directory.path());
    assert_eq!(recoveries, [Recovery::OffsetsSkipped { stream: "block".into(), from: 10, to: 18 }]);
    fill(&mut store, stream, 2, 2, 20);
    for _ in 0..2 {
        let expect = ((0..10).chain(18..22).collect(), (10..18).collect());
        assert_eq!(drain(&mut store, stream, 0, 3), expect);
        drop(store);
        store = open(directory.path()).0;
    }
}

#[test]
fn damage_in_an_old_segment_loses_its_frame_and_is_reported_to_the_reader() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    fill(&mut store, stream, 100, 2, 100);
    drop(store);
    let frame = 48 + 2 * 104;
    let paths = segments(directory.path(), "block");
    // A header, a body, and the end of a segment.
    flip(&paths[0], 3 * frame + 20);
    flip(&paths[0], 5 * frame + 100);
    let bytes = fs::metadata(&paths[1]).unwrap().len();
    let second: u64 = paths[1].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let second_end = second + bytes / frame * 2;
    OpenOptions::new().write(true).open(&paths[1]).unwrap().set_len(bytes - 1).unwrap();
    let (mut store, stream, recoveries) = open(directory.path());
    assert_eq!(recoveries, []);
    let lost: Vec<u64> = [6, 7, 10, 11, second_end - 2, second_end - 1].to_vec();
    let good: Vec<u64> = (0..200).filter(|offset| !lost.contains(offset)).collect();
    for records_max in [1, 2, 5, 1000] {
        assert_eq!(drain(&mut store, stream, 0, records_max), (good.clone(), lost.clone()));
    }
    let read = store.read(stream, 6, 1, 1).unwrap();
    assert_eq!((read.skipped()[0].why, read.next_offset()), (SkippedBecause::Damaged, 9));
}

#[test]
fn damage_in_the_middle_of_the_last_segment_keeps_later_frames() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    fill(&mut store, stream, 5, 2, 20);
    drop(store);
    flip(&segments(directory.path(), "block")[0], 110);
    let (mut store, stream, recoveries) = open(directory.path());
    assert_eq!(recoveries, [Recovery::Damaged { stream: "block".into(), from: 2, to: 4 }]);
    assert_eq!(drain(&mut store, stream, 0, 3), (vec![0, 1, 4, 5, 6, 7, 8, 9], vec![2, 3]));
    assert_eq!(store.next_offset(stream), 10);
}

#[test]
fn records_appended_after_damage_are_not_part_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    fill(&mut store, stream, 1, 2, 20);
    fill(&mut store, stream, 1, 20, 100);
    fill(&mut store, stream, 1, 2, 20);
    drop(store);
    // The header of the middle frame has a length beyond the remaining file.
    let path = &segments(directory.path(), "block")[0];
    let mut bytes = fs::read(path).unwrap();
    bytes.drain(500..1500);
    fs::write(path, bytes).unwrap();
    let (mut store, stream, recoveries) = open(directory.path());
    assert_eq!(recoveries, [Recovery::Damaged { stream: "block".into(), from: 2, to: 22 }]);
    fill(&mut store, stream, 3, 2, 500);
    for reopen in [false, true] {
        if reopen {
            drop(store);
            store = open(directory.path()).0;
        }
        let (got, lost) = drain(&mut store, stream, 0, 3);
        assert_eq!(got, [0, 1].into_iter().chain(22..30).collect::<Vec<_>>(), "reopened: {reopen}");
        assert_eq!(lost, (2..22).collect::<Vec<_>>());
    }
}

#[test]
fn a_missing_segment_is_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    fill(&mut store, stream, 100, 2, 100);
    fs::remove_file(&segments(directory.path(), "block")[1]).unwrap();
    for reopen in [false, true] {
        if reopen {
            drop(store);
            store = open(directory.path()).0;
        }
        let (got, lost) = drain(&mut store, stream, 0, 50);
        assert!(!lost.is_empty());
        let mut all = [got, lost].concat();
        all.sort();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
        store.find_times(stream, &(50 * SECOND..60 * SECOND)).unwrap();
    }
    // The first call closes the active segment because of its age.
    store.collect(1000 * SECOND).unwrap();
    store.collect(1000 * SECOND).unwrap();
    assert_eq!(store.stats(0).unwrap()[0].segments, 1);
}

#[test]
fn a_blocked_stream_is_full_until_its_slowest_consumer_commits() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    let slow = store.register(stream, "slow", Start::Oldest).unwrap();
    let fast = store.register(stream, "fast", Start::Oldest).unwrap();
    let full = loop {
        let from = store.next_offset(stream);
        let mut batch = batch(from, 4, 100);
        match store.append(stream, &mut batch, 0) {
            Ok(appended) => assert_eq!(appended.dropped, []),
            Err(error) => {
                assert_eq!(batch.len(), 4, "the batch is still there");
                break error;
            }
        }
    };
    assert!(matches!(full, AppendError::Full { .. }));
    let end = store.next_offset(stream);
    store.commit(fast, end, None).unwrap();
    assert!(store.append(stream, &mut batch(end, 4, 100), 0).is_err());
    store.commit(slow, end / 2, None).unwrap();
    // Records that only the retention keeps are removed.
    store.append(stream, &mut batch(end, 4, 100), 0).unwrap();
    assert!(store.stats(0).unwrap()[0].bytes <= 64 << 10);
    store.unregister(slow).unwrap();
    fill(&mut store, stream, 30, 4, 100);
    let too_large = store.append(stream, &mut batch(0, 1, 70 << 10), 0);
    assert!(matches!(too_large, Err(AppendError::TooLarge { .. })));
}

#[test]
fn one_frame_may_be_as_large_as_the_stream() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    let consumer = store.register(stream, "c", Start::Oldest).unwrap();
    for offset in 0..5 {
        store.append(stream, &mut batch(offset, 1, (64 << 10) - 52), 0).unwrap();
        assert_eq!(drain(&mut store, stream, offset, 5).0, [offset]);
        store.commit(consumer, offset + 1, None).unwrap();
    }
}

#[test]
fn dropping_the_oldest_reports_the_loss_of_each_consumer_once() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, ..) = open(directory.path());
    let stream = store.stream("drop").unwrap();
    let slow = store.register(stream, "slow", Start::Oldest).unwrap();
    let quick = store.register(stream, "quick", Start::Oldest).unwrap();
    let mut lost = Vec::new();
    for i in 0..400 {
        let offset = store.next_offset(stream);
        if i == 350 {
            store.commit(slow, offset - 2, None).unwrap();
        }
        // No loss is forgotten when the append that dropped the records fails afterwards.
        faults::break_disk(if i % 3 == 0 { &[Call::Write(9)] } else { &[] }, EIO);
        let mut batch = batch(offset, 4, 100);
        let first = store.append(stream, &mut batch, i);
        faults::heal();
        let appended = first.or_else(|_| store.append(stream, &mut batch, i)).unwrap();
        store.commit(quick, appended.offsets.end, None).unwrap();
        for dropped in appended.dropped {
            assert_eq!(dropped.consumer, "slow");
            lost.extend(dropped.offsets);
        }
    }
    let first = store.stats(0).unwrap()[1].first_offset;
    assert_eq!(lost, (0..lost.len() as u64).collect::<Vec<_>>());
    assert!(lost.len() > 700 && first >= lost.len() as u64);
    let read = store.read(stream, 5, 1, 1).unwrap();
    assert_eq!(
        (read.skipped()[0].offsets.clone(), read.skipped()[0].why),
        (5..first, SkippedBecause::Removed)
    );
    assert_eq!(numbers(&read), [first]);
}

#[test]
fn a_full_or_read_only_disk_loses_nothing_and_recovers_without_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    store.register(stream, "needs all", Start::Oldest).unwrap();
    fill(&mut store, stream, 2, 2, 100);
    for calls in
        [&[Call::Write(0)][..], &[Call::Write(60)], &[Call::Write(60), Call::SetLen], &[Call::Create]]
    {
        for errno in [ENOSPC, EROFS, EIO] {
            let from = store.next_offset(stream);
            let bytes = store.stats(0).unwrap()[0].bytes;
            faults::break_disk(calls, errno);
            let mut refused = 0;
            for _ in 0..20 {
                let mut batch = batch(store.next_offset(stream), 2, 300);
                match store.append(stream, &mut batch, 0) {
                    Err(AppendError::NoSpace(_)) if errno == ENOSPC => refused += 1,
                    Err(AppendError::Io(_)) if errno != ENOSPC => refused += 1,
                    Ok(_) if calls == [Call::Create] => {}
                    other => panic!("{other:?}"),
                }
            }
            assert!(refused > 0);
            faults::heal();
            assert!(calls == [Call::Create] || store.stats(0).unwrap()[0].bytes == bytes);
            fill(&mut store, stream, 2, 2, 40);
            assert!(store.next_offset(stream) >= from + 4);
            assert_eq!(drain(&mut store, stream, 0, 3), ((0..store.next_offset(stream)).collect(), vec![]));
        }
    }
    drop(store);
    let (mut store, stream, recoveries) = open(directory.path());
    assert_eq!(recoveries, []);
    assert_eq!(drain(&mut store, stream, 0, 3).0, (0..store.next_offset(stream)).collect::<Vec<_>>());
}

#[test]
fn a_failed_sync_makes_nothing_durable_and_is_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    let consumer = store.register(stream, "c", Start::Oldest).unwrap();
    fill(&mut store, stream, 10, 2, 100);
    store.commit(consumer, 3, None).unwrap();
    faults::break_disk(&[Call::Sync], EIO);
    assert!(store.sync(stream).is_err() && store.sync_commits().is_err());
    assert_eq!(store.durable_offset(stream), 0);
    faults::heal();
    // A job from before the failure does not count either.
    assert_eq!(store.sync(stream).unwrap(), 20);
    store.sync_commits().unwrap();
    assert!(store.sync_job(stream).unwrap().is_none() && store.sync_commits_job().unwrap().is_none());
    let early =
        store.append(stream, &mut batch(20, 1, 9), 0).and_then(|_| Ok(store.sync_job(stream)?)).unwrap();
    fill(&mut store, stream, 60, 2, 100);
    store.sync_done(early.unwrap().run()).unwrap();
    assert!((21..141).contains(&store.durable_offset(stream)));
    assert_eq!(store.sync(stream).unwrap(), 141);
    assert_eq!(drain(&mut store, stream, 0, 9).0, (0..141).collect::<Vec<_>>());
}

#[test]
fn delivered_records_are_removed_after_the_retention_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    for reopen in [false, true] {
        let (mut store, stream, _) = open(directory.path());
        let consumer = store.register(stream, "c", Start::Oldest).unwrap();
        let start = store.next_offset(stream);
        // One append per second. The retention is ten seconds.
        fill(&mut store, stream, 100, 2, 100);
        if reopen {
            drop(store);
            store = open(directory.path()).0;
        }
        assert_eq!(store.collect(1000 * SECOND).unwrap(), 0);
        store.commit(consumer, start + 100, None).unwrap();
        store.collect(40 * SECOND).unwrap();
        let first = store.stats(0).unwrap()[0].first_offset;
        assert!((start + 20..=start + 60).contains(&first), "{start} {first}");
        store.collect(1000 * SECOND).unwrap();
        let first = store.stats(0).unwrap()[0].first_offset;
        assert!((start + 60..=start + 100).contains(&first), "{start} {first}");
        store.commit(consumer, start + 200, None).unwrap();
        store.collect(1000 * SECOND).unwrap();
        assert_eq!(store.stats(0).unwrap()[0].segments, 1);
    }
}

#[test]
fn stats_contain_sizes_lag_and_times() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    let late = store.register(stream, "late", Start::Oldest).unwrap();
    fill(&mut store, stream, 100, 2, 100);
    let _newest = store.register(stream, "newest", Start::Newest).unwrap();
    store.commit(late, 81, None).unwrap();
    for _ in 0..2 {
        let stats = store.stats(100 * SECOND).unwrap().remove(0);
        assert_eq!((stats.first_offset, stats.next_offset, stats.bytes), (0, 200, 25_600));
        assert_eq!(stats.oldest_record_at_ns, Some(0));
        let lags: Vec<_> =
            stats.consumers.iter().map(|c| (c.name.as_str(), c.lag_records, c.lag_seconds)).collect();
        assert_eq!(lags, [("late", 119, 60.0), ("newest", 0, 0.0)]);
        for (at, expect) in
            [(0, 0), (1, 2), (SECOND, 2), (50 * SECOND, 100), (99 * SECOND, 198), (100 * SECOND, 200)]
        {
            let found = store.find_times(stream, &(at..u64::MAX)).unwrap();
            assert_eq!(found, expect..200, "at {at} ns");
        }
        drop(store);
        store = open(directory.path()).0;
    }
    assert_eq!(store.retain_consumers(stream, &["newest"]).unwrap(), ["late"]);
    assert_eq!(store.committed(late), None);
}

/// The clock jumps an hour forward after 20 of 60 records, and back after 40. One record per second.
fn fill_over_steps(store: &mut Store, stream: StreamId) {
    for i in 0..60 {
        let set_by = if (20..40).contains(&i) { 3_600 * SECOND } else { 0 };
        match i {
            20 => store.note_clock_step(i128::from(3_600 * SECOND)),
            40 => store.note_clock_step(-i128::from(3_600 * SECOND)),
            _ => {}
        }
        store.append(stream, &mut batch(i, 1, 100), 10_000 * SECOND + i * SECOND + set_by).unwrap();
    }
}

#[test]
fn times_are_found_across_clock_steps_forward_and_back() {
    // One record per frame, in several segments and in one segment.
    for segment_bytes_max in [1 << 10, 1 << 20] {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(directory.path());
        config.segment_bytes_max = segment_bytes_max;
        let (mut store, _) = Store::open(config.clone()).unwrap();
        let stream = store.stream("block").unwrap();
        fill_over_steps(&mut store, stream);
        for _ in 0..2 {
            let mut check = |from: u64, to: u64, expect: std::ops::Range<u64>| {
                let (from, to) = (from.saturating_mul(SECOND), to.saturating_mul(SECOND));
                let found = store.find_times(stream, &(from..to)).unwrap();
                let covers = found.start <= expect.start && found.end >= expect.end;
                assert!(
                    covers && (expect.is_empty() == found.is_empty()),
                    "{from}..{to}: {found:?} {expect:?}"
                );
                // All records with a time in the range are found, and none is outside.
                let batch = store.read(stream, 0, 100, usize::MAX).unwrap();
                for record in batch.iter().filter(|record| (from..to).contains(&record.appended_at_ns)) {
                    assert!(found.contains(&record.offset), "{from}..{to}: {found:?} {}", record.offset);
                }
            };
            check(10_000, 10_010, 0..10);
            // This time occurred only within the wrong hour before the clock went back.
            check(10_045, 10_050, 45..50);
            check(10_050, u64::MAX, 20..60);
            check(13_625, 13_630, 25..30);
            check(13_630, u64::MAX, 30..40);
            check(10_000, 20_000, 0..60);
            check(10_015, 10_045, 15..45);
            check(20_000, u64::MAX, 60..60);
            check(u64::MAX, u64::MAX, 60..60);
            drop(store);
            store = Store::open(config.clone()).unwrap().0;
        }
    }
}

#[test]
fn a_clock_step_does_not_change_the_age_of_records() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    let consumer = store.register(stream, "c", Start::Oldest).unwrap();
    fill_over_steps(&mut store, stream);
    let lag = |store: &mut Store, committed: u64, now: u64| {
        store.commit(consumer, committed, None).unwrap();
        store.stats(now * SECOND).unwrap()[0].consumers[0].lag_seconds
    };
    // Now is a second after the last record, which was appended as number 59.
    assert_eq!(lag(&mut store, 10, 10_060), 50.0);
    assert_eq!(lag(&mut store, 25, 10_060), 35.0);
    assert_eq!(lag(&mut store, 45, 10_060), 15.0);
    // The clock is set forward by a day: no record gets older.
    store.note_clock_step(i128::from(86_400 * SECOND));
    assert_eq!(lag(&mut store, 50, 96_460), 10.0);
    store.commit(consumer, 60, None).unwrap();
    let first = |store: &mut Store, now: u64| {
        store.collect(now * SECOND).unwrap();
        store.stats(0).unwrap()[0].first_offset
    };
    // The retention is ten seconds: the record with number 50 is the first that may stay.
    let kept = first(&mut store, 96_460);
    assert!((20..=50).contains(&kept), "{kept}");
    // After the clock is set back, no record stays longer.
    store.note_clock_step(-i128::from(86_400 * SECOND));
    let later = first(&mut store, 10_062);
    assert!((kept..=52).contains(&later), "{later}");
}

#[test]
fn the_identity_is_restored_and_a_later_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    fill(&mut store, stream, 3, 2, 20);
    drop(store);
    let path = directory.path().join("journal/store");
    fs::write(&path, "").unwrap();
    let (mut store, stream, recoveries) = open(directory.path());
    assert_eq!(recoveries, [Recovery::IdentityRestored]);
    assert_eq!(drain(&mut store, stream, 0, 9).0, (0..6).collect::<Vec<_>>());
    drop(store);
    fs::write(&path, "butler-sos journal 2 0000000000000001\n").unwrap();
    assert!(matches!(Store::open(config(directory.path())), Err(StoreError::Version { .. })));
    for name in ["", "..", "a/b", "store", "consumers"] {
        let mut config = config(directory.path());
        config.streams[0].name = name.into();
        assert!(matches!(Store::open(config), Err(StoreError::StreamName(_))), "{name}");
    }
}

/// Prints how long an open takes: `cargo test -- --nocapture opening`.
#[test]
fn opening_reads_only_the_last_segment() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    (config.segment_bytes_max, config.streams[0].bytes_max) = (SEGMENT_BYTES_MAX_DEFAULT, BYTES_MAX_DEFAULT);
    let (mut store, _) = Store::open(config.clone()).unwrap();
    let stream = store.stream("block").unwrap();
    for i in 0..200 {
        store.append(stream, &mut batch(i * 10_000, 10_000, 300), i).unwrap();
    }
    drop(store);
    let start = std::time::Instant::now();
    let (mut store, recoveries) = Store::open(config).unwrap();
    let stats = store.stats(0).unwrap().remove(0);
    println!("{} records, {} bytes: open {:?}", stats.next_offset, stats.bytes, start.elapsed());
    assert_eq!((recoveries, stats.next_offset), (vec![], 2_000_000));
}

/// `mount -t tmpfs -o size=1m none <dir>`, then `SMALL_DISK=<dir> cargo test -- --ignored a_real_disk`.
#[test]
#[ignore = "needs a file system of about a megabyte, named by SMALL_DISK"]
fn a_real_disk_that_is_full() {
    let directory = PathBuf::from(std::env::var_os("SMALL_DISK").expect("SMALL_DISK names a directory"));
    let _ = fs::remove_dir_all(directory.join("journal"));
    let mut config = config(&directory);
    config.streams[0].bytes_max = 1 << 30;
    config.segment_bytes_max = 64 << 10;
    let (mut store, _) = Store::open(config).unwrap();
    let stream = store.stream("block").unwrap();
    let consumer = store.register(stream, "c", Start::Oldest).unwrap();
    for round in 0..5u64 {
        let refused = loop {
            let from = store.next_offset(stream);
            if let Err(error) = store.append(stream, &mut batch(from, 10, 300), round) {
                break error;
            }
        };
        assert!(matches!(refused, AppendError::NoSpace(_)), "{refused:?}");
        store.sync(stream).unwrap();
        // Commits work on the full disk, and free space.
        let (from, end) = (store.stats(0).unwrap()[0].first_offset, store.next_offset(stream));
        assert_eq!(drain(&mut store, stream, from, 100), ((from..end).collect(), vec![]));
        store.commit(consumer, end, Some(b"note")).unwrap();
        store.sync_commits().unwrap();
        fill(&mut store, stream, 10, 10, 300);
    }
}

/// Written-ahead room must not hide that a disk has become read-only.
#[test]
fn a_trial_fails_like_an_append_and_leaves_nothing_behind() {
    for room_bytes in [0, 1 << 10] {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(directory.path());
        config.streams.iter_mut().for_each(|stream| stream.room_bytes = room_bytes);
        let (mut store, _) = Store::open(config).unwrap();
        let stream = store.stream("block").unwrap();
        fill(&mut store, stream, 2, 1, 50);
        for errno in [ENOSPC, EROFS] {
            faults::break_disk(&[Call::Write(10)], errno);
            assert!(store.try_append(stream, 200).is_err(), "{room_bytes} {errno}");
            faults::heal();
            store.try_append(stream, 200).unwrap();
        }
        fill(&mut store, stream, 2, 1, 50);
        assert_eq!(drain(&mut store, stream, 0, 9), ((0..4).collect(), vec![]));
        drop(store);
        let (mut store, stream, recoveries) = open(directory.path());
        assert_eq!(recoveries, []);
        assert_eq!(drain(&mut store, stream, 0, 9).0, (0..4).collect::<Vec<_>>());
    }
}

/// Few events never fill a segment, but they are removed by age.
#[test]
fn a_segment_is_closed_by_age_and_removed_without_another_append() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, stream, _) = open(directory.path());
    let consumer = store.register(stream, "c", Start::Oldest).unwrap();
    fill(&mut store, stream, 3, 1, 20);
    store.commit(consumer, 3, None).unwrap();
    store.collect(50 * SECOND).unwrap();
    assert_eq!(segments(directory.path(), "block").len(), 1, "too young to be closed");
    store.collect(60 * SECOND).unwrap();
    assert_eq!(segments(directory.path(), "block").len(), 2);
    store.collect(61 * SECOND).unwrap();
    assert_eq!(segments(directory.path(), "block").len(), 1, "all of it is old and delivered");
    for _ in 0..2 {
        store.collect(10_000 * SECOND).unwrap();
        assert_eq!(segments(directory.path(), "block").len(), 1, "an empty segment is not closed");
        drop(store);
        let (again, _, recoveries) = open(directory.path());
        assert_eq!(recoveries, []);
        store = again;
        assert_eq!(store.next_offset(stream), 3);
    }
    fill(&mut store, stream, 1, 1, 20);
    assert_eq!(drain(&mut store, stream, 3, 9).0, [3]);
}
