//! The file destinations, with a crash at every step: each event is in the files once, in order.
//!
//! A journal in memory replaces the real one. Every operation of the file system, every note and every commit
//! is a step. A run ends when its steps are used up, and the next run resumes from the last commit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use butler_sos_domain::audit::{AuditEvent, AuditRecord};
use butler_sos_domain::encode::audit_columns::StaticTag;
use butler_sos_domain::encode::covered::Covered;
use butler_sos_domain::event::UserEvent;
use proptest::prelude::*;

use crate::journal::message::{Commit, JournalError, Position};
use crate::journal::testing::batch_of;
use crate::kit::delivery_error::DeliveryError;
use crate::kit::message::Consumer;
use crate::kit::testing::Probe;
use crate::sinks::files::columnar::{Columnar, ColumnarConfig, Encoder};
use crate::sinks::files::csv_sink::{CsvConfig, CsvFile};
use crate::sinks::files::file_target::Disk;
use crate::sinks::files::json_sink::{JsonConfig, JsonFiles};
use crate::sinks::files::parquet_sink::Parquet;
use crate::sinks::files::qvd_sink::Qvd;
use crate::sinks::records::user_events::UserEventRows;
use crate::sinks::sink::{Delivered, Destination, Progress};
use butler_sos_domain::streams::Stream;

const CONSUMER: Consumer = Consumer { stream: Stream::AuditEvents, name: "files" };

/// The state that survives a crash.
struct Journal {
    records: Vec<Vec<u8>>,
    position: Arc<Mutex<Position>>,
    refused: Vec<u64>,
}

impl Journal {
    fn new(records: Vec<Vec<u8>>) -> Self {
        let position = Arc::new(Mutex::new(Position { offset: 0, note: Vec::new() }));
        Self { records, position, refused: Vec::new() }
    }

    fn position(&self) -> Position {
        self.position.lock().unwrap().clone()
    }

    /// One run: until all is delivered (true) or the disk fails.
    async fn live(&mut self, mut destination: impl Destination, disk: &Disk, batch_max: usize) -> bool {
        self.try_live(&mut destination, disk, batch_max).await.is_ok()
    }

    async fn try_live(
        &mut self,
        destination: &mut impl Destination,
        disk: &Disk,
        batch_max: usize,
    ) -> Result<(), DeliveryError> {
        if let Some(taken) = destination.resume(&self.position()).await? {
            self.settle(taken, disk)?;
        }
        while self.position().offset < self.records.len() as u64 {
            let from = self.position().offset as usize;
            let to = self.records.len().min(from + batch_max);
            let batch = batch_of(from as u64, &self.records[from..to]);
            let (position, alive) = (Arc::clone(&self.position), disk.clone());
            let (commit, _) = Probe::<Commit>::mailbox(1, move |commit| {
                alive.step().map_err(|error| JournalError::Disk(error.to_string()))?;
                apply(&mut position.lock().unwrap(), commit.offset, commit.note.clone());
                Ok(())
            });
            let progress = Progress::for_test(CONSUMER, commit, from as u64);
            let delivered = destination.deliver(&batch, &progress).await?;
            assert!(delivered.next_offset > from as u64 && delivered.next_offset <= batch.next_offset());
            self.settle(delivered, disk)?;
        }
        Ok(())
    }

    fn settle(&mut self, delivered: Delivered, disk: &Disk) -> Result<(), DeliveryError> {
        disk.step().map_err(|error| DeliveryError::new("dead", error.to_string()))?;
        self.refused.extend(delivered.refused.iter().map(|refused| refused.offset));
        apply(&mut self.position.lock().unwrap(), delivered.next_offset, delivered.note);
        Ok(())
    }
}

fn apply(position: &mut Position, offset: u64, note: Option<Vec<u8>>) {
    position.offset = offset;
    if let Some(note) = note {
        position.note = note;
    }
}

/// Runs through all `deaths`, then to the end.
fn survive<D: Destination>(
    journal: &mut Journal,
    make: impl Fn(Disk) -> D,
    deaths: &[u64],
    batch_max: usize,
) {
    actix_rt::System::new().block_on(async {
        for &steps in deaths {
            let disk = Disk::dying_after(steps);
            journal.live(make(disk.clone()), &disk, batch_max).await;
        }
        let disk = Disk::default();
        assert!(journal.live(make(disk.clone()), &disk, batch_max).await, "the last life reaches the end");
    });
}

/// 2026-11-21
fn noon() -> u64 {
    1_795_262_400_000
}

fn next_noon() -> u64 {
    noon() + 86_400_000
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    // By length first: part10 comes after part9.
    files.sort_by_key(|(name, _)| (name.len(), name.clone()));
    files
}

// === CSV

fn user_csv(config: &CsvConfig) -> CsvFile {
    CsvFile::new(config.clone(), UserEventRows { neutralise_formulas: true })
}

fn user_records(count: usize) -> Vec<Vec<u8>> {
    let record = |n: usize| {
        let event = UserEvent {
            host: "h".into(),
            command: "Start session".into(),
            context: Some(n.to_string().into()),
            message: Some("x,\"\r\n".repeat(n % 7).into()),
            ..UserEvent::default()
        };
        let mut out = Vec::new();
        event.encode_into(&mut out);
        out
    };
    (0..count).map(record).collect()
}

/// The numbers of the events in all files except the foreign one.
fn csv_rows(directory: &Path) -> Vec<usize> {
    let mut rows = Vec::new();
    for (name, content) in files(directory) {
        if name == FOREIGN_CSV {
            continue;
        }
        let mut reader = csv::Reader::from_reader(content.as_slice());
        for row in reader.records() {
            rows.push(row.unwrap_or_else(|error| panic!("{name}: {error}"))[7].parse().unwrap());
        }
    }
    rows
}

const FOREIGN_CSV: &str = "user-events_20261121_part1.csv";
const FOREIGN: &[u8] = b"theirs";

fn check_csv(deaths: &[u64], batch_max: usize, rotate_bytes: u64) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FOREIGN_CSV), FOREIGN).unwrap();
    let mut journal = Journal::new(user_records(40));
    let config = CsvConfig { directory: directory.path().into(), rotate_bytes };
    let make = |disk| user_csv(&config).on(disk, noon);
    survive(&mut journal, make, deaths, batch_max);
    assert_eq!(csv_rows(directory.path()), (0..40).collect::<Vec<_>>(), "{deaths:?}");
    assert_eq!(std::fs::read(directory.path().join(FOREIGN_CSV)).unwrap(), FOREIGN);
    for (name, content) in files(directory.path()) {
        assert!(content.len() as u64 <= rotate_bytes.max(400), "{name} has {} bytes", content.len());
    }
}

#[test]
fn csv_rows_are_written_once_wherever_it_crashes() {
    for steps in 0..60 {
        check_csv(&[steps], 7, 1_500);
    }
}

#[test]
fn a_new_day_begins_a_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let config = CsvConfig { directory: directory.path().into(), rotate_bytes: 1 << 20 };
    let mut journal = Journal::new(user_records(5));
    survive(&mut journal, |disk| user_csv(&config).on(disk, noon), &[], 10);
    journal.records.extend(user_records(5));
    survive(&mut journal, |disk| user_csv(&config).on(disk, next_noon), &[], 10);
    let file_names: Vec<_> = files(directory.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(file_names, ["user-events_20261121_part1.csv", "user-events_20261122_part1.csv"]);
    assert_eq!(csv_rows(directory.path()).len(), 5, "the first file is the excluded name");
}

#[test]
fn a_file_that_another_program_changed_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let config = CsvConfig { directory: directory.path().into(), rotate_bytes: 1 << 20 };
    let path = directory.path().join("user-events_20261121_part1.csv");
    let make = |disk| user_csv(&config).on(disk, noon);
    let mut journal = Journal::new(user_records(5));
    survive(&mut journal, make, &[], 10);
    std::fs::write(&path, "cut").unwrap();
    journal.records.extend(user_records(5));
    survive(&mut journal, make, &[], 10);
    assert_eq!(std::fs::read(&path).unwrap(), b"cut");
    assert_eq!(csv_rows(directory.path()), [0, 1, 2, 3, 4]);
}

#[test]
fn a_record_that_cannot_be_read_is_refused_alone() {
    let directory = tempfile::tempdir().unwrap();
    let config = CsvConfig { directory: directory.path().into(), rotate_bytes: 1 << 20 };
    let mut records = user_records(8);
    records[3] = b"\x07poison".to_vec();
    let mut journal = Journal::new(records);
    survive(&mut journal, |disk| user_csv(&config).on(disk, next_noon), &[], 10);
    assert_eq!(journal.refused, [3]);
    assert_eq!(csv_rows(directory.path()), [0, 1, 2, 4, 5, 6, 7]);
}

// === files of columns

/// A little later than the events' own time.
const RECEIVED_NS: u64 = 1_795_169_473_000_000_000;

fn audit_body(n: usize) -> String {
    format!(
        "{{\"schemaVersion\":1,\"eventId\":\"00000000-0000-4000-8000-{n:012}\",\"timestamp\":\
         \"2026-11-20T10:11:12.345Z\",\"type\":\"audit.event\",\"payload\":{{\"context\":{{}},\"event\":\
         {{\"objectData\":{{\"n\":{n}}}}}}}}}"
    )
}

fn audit_records(count: usize) -> Vec<Vec<u8>> {
    let record = |n: usize| {
        let mut out = Vec::new();
        AuditRecord::received(RECEIVED_NS, audit_body(n).as_bytes()).encode_into(&mut out);
        out
    };
    (0..count).map(record).collect()
}

/// A format that is easy to read: the range, then one id per line. It refuses the event with number 13.
struct Lines;

impl Encoder for Lines {
    const EXTENSION: &'static str = ".lines";

    fn encode(
        events: &[AuditEvent<'_>],
        _: &[StaticTag],
        covered: &Covered,
        _: i64,
    ) -> Result<Vec<u8>, String> {
        let mut out = covered.to_string();
        for event in events {
            assert!(!event.event_id.ends_with("0013"), "poison");
            out.push('\n');
            out.push_str(&event.event_id[24..]);
        }
        Ok(out.into_bytes())
    }

    fn covered(mut file: File) -> io::Result<Option<Covered>> {
        let mut text = String::new();
        let read = file.read_to_string(&mut text);
        Ok(read.ok().and_then(|_| text.lines().next()?.parse().ok()))
    }
}

fn line_numbers(directory: &Path) -> Vec<usize> {
    let mut numbers = Vec::new();
    for (name, content) in files(directory) {
        assert!(!name.ends_with(".tmp"), "{name} is left over");
        if content == FOREIGN {
            continue;
        }
        let text = String::from_utf8(content).unwrap();
        numbers.extend(text.lines().skip(1).map(|line| line.parse::<usize>().unwrap()));
    }
    numbers
}

fn check_columnar(deaths: &[u64], batch_max: usize) {
    let directory = tempfile::tempdir().unwrap();
    let foreign = directory.path().join("20261121_part2.lines");
    std::fs::write(&foreign, FOREIGN).unwrap();
    let mut journal = Journal::new(audit_records(30));
    let config = ColumnarConfig { directory: directory.path().into(), static_tags: Vec::new() };
    let make = |disk| Columnar::<Lines>::new(config.clone()).on(disk, noon);
    survive(&mut journal, make, deaths, batch_max);
    let expect: Vec<_> = (0..30).filter(|n| *n != 13).collect();
    assert_eq!(line_numbers(directory.path()), expect, "{deaths:?}");
    assert_eq!(journal.refused, [13], "{deaths:?}");
    assert_eq!(std::fs::read(&foreign).unwrap(), FOREIGN);
}

#[test]
fn columnar_files_hold_each_event_once_wherever_it_crashes() {
    for steps in 0..70 {
        check_columnar(&[steps], 8);
    }
}

#[test]
fn a_name_that_another_program_takes_before_the_rename_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::new(audit_records(3));
    let config = ColumnarConfig { directory: directory.path().into(), static_tags: Vec::new() };
    let make = |disk| Columnar::<Lines>::new(config.clone()).on(disk, noon);
    // Crashes when the note exists and the file has no name yet, whichever step that is.
    for steps in 0..30 {
        let disk = Disk::dying_after(steps);
        actix_rt::System::new().block_on(journal.live(make(disk.clone()), &disk, 10));
        if !journal.position().note.is_empty() {
            break;
        }
    }
    let taken = directory.path().join("20261121_part1.lines");
    assert!(!taken.exists());
    std::fs::write(&taken, FOREIGN).unwrap();
    survive(&mut journal, make, &[], 10);
    assert_eq!(std::fs::read(&taken).unwrap(), FOREIGN);
    assert_eq!(line_numbers(directory.path()), [0, 1, 2]);
}

fn check_format<E: Encoder>() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::new(audit_records(12));
    let config = ColumnarConfig { directory: directory.path().into(), static_tags: Vec::new() };
    let make = |disk| Columnar::<E>::new(config.clone()).on(disk, noon);
    survive(&mut journal, make, &[9, 12, 14], 5);
    let mut next = 0;
    for (name, _) in files(directory.path()) {
        assert!(name.starts_with("20261121_part") && name.ends_with(E::EXTENSION), "{name}");
        let covered = E::covered(File::open(directory.path().join(&name)).unwrap()).unwrap().unwrap();
        assert_eq!((covered.stream.as_str(), covered.first), ("audit-events", next), "{name}");
        next = covered.last + 1;
    }
    assert_eq!(next, 12);
}

#[test]
fn parquet_and_qvd_files_state_which_records_they_hold() {
    check_format::<Parquet>();
    check_format::<Qvd>();
}

// === files that a loader takes away

/// Moves every complete file into an archive, as a loader does. Returns the names that already exist there.
fn take_away(directory: &Path, archive: &mut BTreeMap<String, Vec<u8>>) {
    for (name, content) in files(directory) {
        if name.starts_with('.') {
            continue;
        }
        let before = archive.insert(name.clone(), content);
        assert_eq!(before, None, "{name} was there already");
        std::fs::remove_file(directory.join(name)).unwrap();
    }
}

/// Alternates runs, crashes and a loader that takes everything.
fn live_with_a_loader<D: Destination>(
    directory: &Path,
    journal: &mut Journal,
    make: impl Fn(Disk) -> D,
    deaths: &[u64],
    batch_max: usize,
) -> BTreeMap<String, Vec<u8>> {
    let mut archive = BTreeMap::new();
    actix_rt::System::new().block_on(async {
        for &steps in deaths {
            let disk = Disk::dying_after(steps);
            journal.live(make(disk.clone()), &disk, batch_max).await;
            take_away(directory, &mut archive);
        }
        let disk = Disk::default();
        assert!(journal.live(make(disk.clone()), &disk, batch_max).await, "the last life reaches the end");
        take_away(directory, &mut archive);
    });
    archive
}

#[test]
fn part_numbers_are_not_reused_when_a_loader_takes_the_files() {
    for steps in 0..40 {
        let directory = tempfile::tempdir().unwrap();
        let config = ColumnarConfig { directory: directory.path().into(), static_tags: Vec::new() };
        let make = |disk| Columnar::<Lines>::new(config.clone()).on(disk, noon);
        let mut journal = Journal::new(audit_records(12));
        // The loader's archive refuses duplicate names, wherever the crash happens.
        let archive = live_with_a_loader(directory.path(), &mut journal, make, &[steps, steps / 2, steps], 4);
        let ids: BTreeSet<_> = archive
            .values()
            .flat_map(|content| {
                String::from_utf8_lossy(content).lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(ids.len(), 12, "{steps}");
    }
}

#[test]
fn part_numbers_of_csv_files_are_not_reused_when_a_loader_takes_the_files() {
    for (steps, rotate_bytes) in (0..40).flat_map(|steps| [(steps, 400), (steps, 1 << 20)]) {
        let directory = tempfile::tempdir().unwrap();
        let config = CsvConfig { directory: directory.path().into(), rotate_bytes };
        let make = |disk| user_csv(&config).on(disk, noon);
        let mut journal = Journal::new(user_records(12));
        live_with_a_loader(directory.path(), &mut journal, make, &[steps, steps / 2, steps], 4);
    }
}

#[test]
fn part_numbers_begin_at_one_each_day_and_continue_when_a_day_repeats() {
    let directory = tempfile::tempdir().unwrap();
    let config = ColumnarConfig { directory: directory.path().into(), static_tags: Vec::new() };
    let mut journal = Journal::new(Vec::new());
    let mut archive = BTreeMap::new();
    for clock in [noon, noon, next_noon, noon, next_noon] as [fn() -> u64; 5] {
        journal.records.extend(audit_records(1));
        survive(&mut journal, |disk| Columnar::<Lines>::new(config.clone()).on(disk, clock), &[], 10);
        take_away(directory.path(), &mut archive);
    }
    let file_names: Vec<&str> = archive.keys().map(String::as_str).collect();
    let expect = ["20261121_part1", "20261121_part2", "20261121_part3", "20261122_part1", "20261122_part2"];
    assert_eq!(file_names, expect.map(|name| format!("{name}.lines")));
}

// === links that somebody planted

#[test]
fn a_planted_link_is_not_followed_and_no_event_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let victim = root.path().join("victim");
    std::fs::write(&victim, FOREIGN).unwrap();
    let directory = root.path().join("export");
    std::fs::create_dir(&directory).unwrap();
    let json = "20261120T101112.345Z_00000000-0000-4000-8000-000000000000_none.json";
    for name in
        [FOREIGN_CSV, "20261121_part1.lines", ".20261121_part2.lines.tmp", json, &format!(".{json}.0.tmp")]
    {
        std::os::unix::fs::symlink(&victim, directory.join(name)).unwrap();
    }
    let csv = CsvConfig { directory: directory.clone(), rotate_bytes: 1 << 20 };
    let mut journal = Journal::new(user_records(5));
    survive(&mut journal, |disk| user_csv(&csv).on(disk, noon), &[], 10);
    let columnar = ColumnarConfig { directory: directory.clone(), static_tags: Vec::new() };
    let mut journal = Journal::new(audit_records(3));
    survive(&mut journal, |disk| Columnar::<Lines>::new(columnar.clone()).on(disk, noon), &[], 10);
    let objects = JsonConfig { directory: directory.clone(), static_tags: Vec::new() };
    let mut journal = Journal::new(audit_records(1));
    survive(&mut journal, |disk| JsonFiles::new(objects.clone()).on(disk), &[], 10);

    assert_eq!(std::fs::read(&victim).unwrap(), FOREIGN);
    for name in ["user-events_20261121_part2.csv", "20261121_part2.lines", json] {
        let about = directory.join(name).symlink_metadata().unwrap();
        assert!(about.is_file() && about.len() > FOREIGN.len() as u64, "{name}");
    }
}

// === JSON

#[test]
fn object_files_are_complete_and_written_once_wherever_it_crashes() {
    for steps in 0..60 {
        let directory = tempfile::tempdir().unwrap();
        let mut records = audit_records(10);
        // The same event again, and an event without object data.
        records.push(records[9].clone());
        let bare = audit_body(11).replace("objectData", "other");
        let mut record = Vec::new();
        AuditRecord::received(RECEIVED_NS, bare.as_bytes()).encode_into(&mut record);
        records.push(record);
        records.push(b"\x07poison".to_vec());
        let mut journal = Journal::new(records);
        let config = JsonConfig { directory: directory.path().into(), static_tags: Vec::new() };
        survive(&mut journal, |disk| JsonFiles::new(config.clone()).on(disk), &[steps], 20);
        let files = files(directory.path());
        assert_eq!(files.len(), 10, "{steps}: {:?}", files.iter().map(|(name, _)| name).collect::<Vec<_>>());
        for (n, (name, content)) in files.iter().enumerate() {
            let id = format!("00000000-0000-4000-8000-{n:012}");
            assert_eq!(*name, format!("20261120T101112.345Z_{id}_none.json"));
            let object: serde_json::Value = serde_json::from_slice(content).unwrap();
            assert_eq!(object["objectData"]["n"], n);
        }
        assert_eq!(journal.refused, [12]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn csv_survives_any_crashes(
        deaths in prop::collection::vec(0_u64..40, 0..6), batch_max in 1_usize..12, rotate in 300_u64..4_000,
    ) {
        check_csv(&deaths, batch_max, rotate);
    }

    #[test]
    fn columnar_files_survive_any_crashes(
        deaths in prop::collection::vec(0_u64..40, 0..6), batch_max in 1_usize..12,
    ) {
        check_columnar(&deaths, batch_max);
    }
}
