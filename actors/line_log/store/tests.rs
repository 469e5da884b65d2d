use super::*;

fn lines(directory: &Path) -> Vec<String> {
    entries(directory).unwrap().map(|entry| String::from_utf8(entry.unwrap().line).unwrap()).collect()
}

fn append(store: &mut SegmentStore, lines: &[&str]) -> Appended {
    store.append(lines.iter().map(|line| line.as_bytes())).unwrap()
}

#[test]
fn lines_come_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/on/the/way");
    assert_eq!(lines(&path), Vec::<String>::new());
    let mut store = SegmentStore::open(&path, 10_000).unwrap();
    append(&mut store, &["{1}", "{2\n2}"]);
    let mut store = SegmentStore::open(&path, 10_000).unwrap();
    append(&mut store, &["{3}"]);
    assert_eq!(lines(&path), ["{1}", "{2 2}", "{3}"]);
}

#[test]
fn a_torn_last_line_is_skipped_and_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SegmentStore::open(dir.path(), 10_000).unwrap();
    append(&mut store, &["{1}", "{2}"]);
    let path = path_of(dir.path(), 1);
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&[b'x'; 20_000]).unwrap();
    assert_eq!(lines(dir.path()), ["{1}", "{2}"]);
    let mut store = SegmentStore::open(dir.path(), 10_000).unwrap();
    append(&mut store, &["{3}"]);
    assert_eq!(lines(dir.path()), ["{1}", "{2}", "{3}"]);
    // A segment with only a torn line.
    fs::write(&path, "torn").unwrap();
    let mut store = SegmentStore::open(dir.path(), 10_000).unwrap();
    append(&mut store, &["{4}"]);
    assert_eq!(lines(dir.path()), ["{4}"]);
}

#[test]
fn the_oldest_lines_are_removed_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let bytes_max = 800;
    let mut store = SegmentStore::open(dir.path(), bytes_max).unwrap();
    let mut evicted = 0;
    for n in 0..1_000 {
        evicted += append(&mut store, &[&format!("{n:09}")]).evicted;
        let total: u64 =
            fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
        assert!(total <= bytes_max, "{total}");
        if n % 100 == 7 {
            store = SegmentStore::open(dir.path(), bytes_max).unwrap();
        }
    }
    let kept = lines(dir.path());
    assert_eq!(kept.len() as u64 + evicted, 1_000);
    assert!(kept.len() > 60, "{}", kept.len());
    assert_eq!(kept, (1_000 - kept.len()..1_000).map(|n| format!("{n:09}")).collect::<Vec<_>>());
}

#[test]
fn large_blocks_are_split_and_lines_over_the_bound_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SegmentStore::open(dir.path(), 800).unwrap();
    let many: Vec<String> = (0..30).map(|n| format!("{n:09}")).collect();
    append(&mut store, &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(lines(dir.path()), many);
    let (large, too_large) = ("x".repeat(200), "x".repeat(800));
    assert_eq!(append(&mut store, &["a", &too_large, &large, "b"]), Appended { evicted: 0, too_large: 1 });
    assert_eq!(lines(dir.path()).split_off(30), ["a", &large, "b"]);
}

#[test]
fn entries_are_found_and_removed_while_the_store_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SegmentStore::open(dir.path(), 80).unwrap();
    append(&mut store, &["{1}", "{22}", "{333}"]);
    let all: Vec<Entry> = entries(dir.path()).unwrap().map(Result::unwrap).collect();
    let second = all[1].id;
    assert_eq!(second.to_string().parse(), Ok(second));
    assert_eq!(find(dir.path(), second).unwrap().as_ref(), Some(&all[1]));
    assert!(remove(dir.path(), second).unwrap());
    assert!(!remove(dir.path(), second).unwrap());
    assert_eq!(find(dir.path(), second).unwrap(), None);
    append(&mut store, &["{4}"]);
    assert_eq!(lines(dir.path()), ["{1}", "{333}", "{4}"]);
    assert_eq!(find(dir.path(), all[2].id).unwrap().as_ref(), Some(&all[2]));

    let nothing = |segment, offset| find(dir.path(), EntryId { segment, offset }).unwrap();
    assert_eq!((nothing(1, 1), nothing(1, 9_999), nothing(77, 0)), (None, None, None));
    for text in ["", "1", "1-", "-1", "a-b", "1-2-3"] {
        assert_eq!(text.parse::<EntryId>(), Err(NotAnEntryId), "{text}");
    }
}

#[test]
fn other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "x").unwrap();
    fs::write(dir.path().join("1.jsonl"), "{x}\n").unwrap();
    let mut store = SegmentStore::open(dir.path(), 80).unwrap();
    append(&mut store, &["{1}"]);
    assert_eq!(lines(dir.path()), ["{1}"]);
}

#[test]
fn reads_the_newest_wanted_entries_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SegmentStore::open(dir.path(), 400).unwrap();
    for n in 0..40 {
        let line = format!("{n:03}");
        store.append([line.as_bytes()]).unwrap();
    }
    let text = |entries: Vec<Entry>| -> Vec<String> {
        entries.into_iter().map(|entry| String::from_utf8(entry.line).unwrap()).collect()
    };
    assert_eq!(text(newest(dir.path(), 3, |_| true).unwrap()), ["039", "038", "037"]);
    let even = |entry: &Entry| entry.line[2].is_multiple_of(2);
    assert_eq!(text(newest(dir.path(), 15, even).unwrap()).last().unwrap(), "010");
    assert!(newest(&dir.path().join("none"), 3, |_| true).unwrap().is_empty());
}

#[test]
fn without_room_nothing_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SegmentStore::open(dir.path(), 100).unwrap();
    let some = |n: usize| vec![format!("{n:09}").into_bytes(); 4];
    assert!(store.append_if_room(&some(1)).unwrap());
    assert!(store.append_if_room(&some(2)).unwrap());
    assert!(!store.append_if_room(&some(3)).unwrap());
    assert!(store.append_if_room(&some(3)[..2]).unwrap());
    assert_eq!(lines(dir.path()).len(), 10);
    assert!(!SegmentStore::open(dir.path(), 100).unwrap().append_if_room(&[Vec::new()]).unwrap());
}

#[test]
fn a_closed_segment_keeps_its_remaining_lines() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SegmentStore::open(dir.path(), 1_000).unwrap();
    append(&mut store, &["{1}", "{2}", "{3}"]);
    assert_eq!(store.end_segment().unwrap(), [1]);
    assert_eq!(store.end_segment().unwrap(), [1], "an empty one is not ended");
    append(&mut store, &["{4}"]);
    fs::write(path_of(dir.path(), 1).with_extension("new"), "left by a crash").unwrap();
    store.replace(1, &[b"{2}".to_vec()]).unwrap();
    assert_eq!(lines(dir.path()), ["{2}", "{4}"]);
    assert_eq!(store.bytes(), 8);
    store.replace(1, &[]).unwrap();
    append(&mut store, &["{5}"]);
    assert_eq!((lines(dir.path()), store.bytes()), (vec!["{4}".to_owned(), "{5}".to_owned()], 8));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left aside");
}
