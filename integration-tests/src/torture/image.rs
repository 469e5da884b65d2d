//! The power is cut: what a copy of a running server's directories is worth, whole or damaged.
//!
//! The copy is made file after file, in an order that chance chose, while the server goes on; then the server is
//! killed and another one starts on the copy, with the same InfluxDB, broker and New Relic. What was acknowledged
//! before the copy began must be everywhere.
//!
//! Two things are not left to chance, because no power cut can do them and no backup should: the journal comes before
//! the directories that destinations write, and in it the file of offsets first. Else the copy says of events that
//! they are delivered into files that it does not have.
//!
//! With damage InfluxDB is away from the beginning, so that all it gets comes out of the damaged journal. Then what
//! is lost must be one piece of the stream, and told.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::everything::{Everything, JOURNAL, WRITTEN};
use super::load::{Book, Posters, UserStream};
use super::pause::pause;
use super::verdict::Verdict;
use crate::sandbox::{Sandbox, wait_for};
use crate::seeded_rng::SeededRng;

const USERS: u64 = 2_500;
const AUDITS: u64 = 200;
/// After the start on the copy.
const MORE: u64 = 100;

/// What is done to the copied journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The last bytes of the newest file of user events are gone.
    CutTail,
    /// One bit among them is another one.
    FlipTail,
    /// One bit anywhere in any file of user events.
    FlipAnywhere,
    /// One bit in the file of offsets.
    FlipOffsets,
}

impl Damage {
    pub const ALL: [Self; 4] = [Self::CutTail, Self::FlipTail, Self::FlipAnywhere, Self::FlipOffsets];
}

/// How a copy fared.
#[derive(Debug)]
pub struct Outcome {
    pub damage: Option<Damage>,
    pub verdict: Verdict,
    /// User events that the copied journal held and InfluxDB did not get.
    pub lost: Vec<u64>,
    /// As the server counted them for InfluxDB.
    pub missed: u64,
    /// As the server told it in its log, the message alone.
    pub logged: Vec<String>,
    acknowledged: (usize, usize),
}

impl Outcome {
    /// Whole copies: nothing lost. Damaged ones: at most one piece of user events, which is counted or cut from the end, and
    /// told; everything else is there.
    pub fn is_clean(&self) -> bool {
        let is_piece = self.lost.windows(2).all(|two| two[1] == two[0] + 1);
        match self.damage {
            None => self.verdict.is_clean_for_a_copy() && self.missed == 0,
            Some(Damage::FlipOffsets) => self.verdict.is_clean_for_a_copy() && self.lost.is_empty(),
            Some(_) => {
                let others_are_there = ["CSV", "JSON", "Parquet", "QVD", "InfluxDB"]
                    .iter()
                    .all(|name| self.verdict.line("audit", name).lost().is_empty());
                // What was cut from the end is told in bytes, for nobody knows how many events they were.
                let is_counted = self.missed == self.lost.len() as u64 || self.is_told("TailCut");
                let is_told = self.lost.is_empty() || !self.logged.is_empty();
                is_piece && others_are_there && is_counted && is_told
            }
        }
    }

    fn is_told(&self, what: &str) -> bool {
        self.logged.iter().any(|line| line.contains(what))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let damage = self.damage.map_or("whole".to_owned(), |damage| format!("{damage:?}"));
        let (users, audits) = self.acknowledged;
        let verdict = if self.is_clean() { "well" } else { "NOT WELL" };
        let (lost, missed) = (self.lost.len(), self.missed);
        write!(
            f,
            "{damage:12} {users:4} user and {audits:3} audit events acknowledged before; {lost} lost to the damage, \
             {missed} counted, {} times told: {verdict}",
            self.logged.len()
        )
    }
}

/// Load, copy, kill, damage, start elsewhere, compare.
///
/// # Panics
/// When a server does not start, or something that must happen does not within a minute.
pub fn run(seeded_rng: &mut SeededRng, damage: Option<Damage>) -> Outcome {
    let mut everything = Everything::start();
    if damage.is_some() {
        everything.world.influxd.stop();
    }
    let copy = Sandbox::new(&everything.world.config());
    let mut book = Book::default();
    let image_base = everything.world.image_base();
    let posters = Posters::new(everything.sandbox.address("audit-events"), image_base.clone(), 0);
    posters.allow(AUDITS);
    let stream = UserStream::new(&everything.sandbox, 0, USERS);
    // The end of a damaged file must be of events that were acknowledged, so then all of them come first.
    let users = if damage.is_some() { USERS } else { seeded_rng.within(USERS / 4..USERS * 3 / 4) };
    let audits = seeded_rng.within(10..AUDITS * 3 / 4);
    let before = thread::scope(|scope| {
        for _ in 0..Posters::CLIENTS {
            scope.spawn(|| posters.post());
        }
        scope.spawn(|| stream.send());
        wait_for("events to be acknowledged", || {
            (stream.stored() >= users && posters.count() >= audits).then_some(())
        });
        let before = (stream.stored(), posters.acknowledged());
        copy_all(everything.sandbox.path(), copy.path(), seeded_rng).expect("a copy");
        everything.sandbox.kill();
        posters.abandon();
        stream.stop();
        before
    });
    stream.book(&mut book);
    book.users = (0..before.0).collect();
    book.audits = before.1;
    if let Some(damage) = damage {
        spoil(&copy.path().join(JOURNAL), damage, seeded_rng).expect("a file to damage");
    }

    // Elsewhere.
    everything.sandbox = copy;
    everything.sandbox.start();
    if damage.is_some() {
        everything.world.influxd.start();
    }
    let in_journal = records_of_users(&everything.sandbox);
    go_on(&mut everything, &mut book, image_base, posters.sent());
    let held = everything.held(&book_left_of(&book, damage), true);
    let verdict = Verdict::of_copy(&book, &held);
    let influxdb = held.users[0].1.numbers();
    let lost = (0..before.0).filter(|n| !influxdb.contains(n)).collect();
    let metrics = everything.sandbox.metrics();
    let missed = metrics.sum("butler_sos_events_missed_total", &[("destination", "influx_sink")]) as u64;
    let logged = everything.sandbox.log_lines().into_iter().filter(|line| {
        ["the journal was damaged", "records were removed from the journal"]
            .iter()
            .any(|detail| line.contains(detail))
    });
    let acknowledged = (before.0 as usize, book.audits.len());
    let outcome = Outcome { damage, verdict, lost, missed, logged: logged.collect(), acknowledged };
    assert!(in_journal > 0, "the copy holds nothing");
    assert!(everything.sandbox.stop().success(), "a server on a copy stops as any other");
    if !outcome.is_clean() {
        eprintln!("the server's directory is kept: {}", everything.sandbox.keep().display());
    }
    outcome
}

/// What the broker must have: damage may take user events away.
fn book_left_of(book: &Book, damage: Option<Damage>) -> Book {
    let users = if damage.is_some() { BTreeSet::new() } else { book.users.clone() };
    Book { users, ..book.clone() }
}

/// The server on the copy takes events as any other.
fn go_on(everything: &mut Everything, book: &mut Book, image_base: String, audits_sent: u64) {
    let posters = Posters::new(everything.sandbox.address("audit-events"), image_base, audits_sent);
    let stream = UserStream::new(&everything.sandbox, book.users_sent, MORE);
    posters.allow(MORE);
    thread::scope(|scope| {
        for _ in 0..Posters::CLIENTS {
            scope.spawn(|| posters.post());
        }
        scope.spawn(|| stream.send());
        wait_for("events to be taken on the copy", || {
            (stream.stored() >= MORE && posters.count() >= MORE).then_some(())
        });
        stream.stop();
        posters.stop();
    });
    stream.book(book);
    book.audits.extend(posters.acknowledged());
    book.audits_sent = posters.sent();
}

fn records_of_users(sandbox: &Sandbox) -> u64 {
    sandbox.metrics().sum("butler_sos_journal_records", &[("stream", "user-events")]) as u64
}

// === the copy

fn copy_all(from: &Path, to: &Path, seeded_rng: &mut SeededRng) -> io::Result<()> {
    let (from_journal, to_journal) = (from.join(JOURNAL), to.join(JOURNAL));
    fs::create_dir_all(&to_journal)?;
    copy_file(&from_journal.join("consumers"), &to_journal.join("consumers"))?;
    copy_tree(&from_journal, &to_journal, &["consumers"], seeded_rng)?;
    let mut directories = WRITTEN;
    seeded_rng.shuffle(&mut directories);
    for directory in directories {
        copy_tree(&from.join(directory), &to.join(directory), &[], seeded_rng)?;
    }
    Ok(())
}

/// Every file that is there when this begins and still when its turn comes.
fn copy_tree(from: &Path, to: &Path, but: &[&str], seeded_rng: &mut SeededRng) -> io::Result<()> {
    let mut files = Vec::new();
    list(from, &mut files)?;
    seeded_rng.shuffle(&mut files);
    for file in files {
        let name = file.strip_prefix(from).unwrap_or(&file);
        if !but.iter().any(|but| name == Path::new(but)) {
            pause(seeded_rng.up_to(Duration::from_millis(3)));
            copy_file(&file, &to.join(name))?;
        }
    }
    Ok(())
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => list(&entry.path(), files)?,
            Ok(_) => files.push(entry.path()),
            // Gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// In small pieces, so that the file may grow under the copy.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = match File::open(from) {
        // Gone, or under its final name by now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        source => source?,
    };
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut target = File::create(to)?;
    let mut piece = [0; 4 << 10];
    loop {
        match source.read(&mut piece)? {
            0 => return Ok(()),
            bytes => target.write_all(&piece[..bytes])?,
        }
    }
}

// === the damage

/// The end of a file in which damage to its end is done.
const TAIL_BYTES: u64 = 2_000;

fn spoil(journal: &Path, damage: Damage, seeded_rng: &mut SeededRng) -> io::Result<()> {
    let mut segments = Vec::new();
    list(&journal.join("user-events"), &mut segments)?;
    // An empty one has just been begun.
    segments.retain(|path| path.metadata().is_ok_and(|metadata| metadata.len() > 0));
    segments.sort();
    let newest = segments.last().cloned().unwrap_or_default();
    match damage {
        Damage::CutTail => {
            let bytes = newest.metadata()?.len();
            let cut = seeded_rng.within(1..TAIL_BYTES.min(bytes));
            OpenOptions::new().write(true).open(&newest)?.set_len(bytes - cut)
        }
        Damage::FlipTail => {
            let bytes = newest.metadata()?.len();
            flip(&newest, bytes.saturating_sub(TAIL_BYTES)..bytes, seeded_rng)
        }
        Damage::FlipAnywhere => {
            let path = segments[seeded_rng.below(segments.len() as u64) as usize].clone();
            let bytes = path.metadata()?.len();
            flip(&path, 0..bytes, seeded_rng)
        }
        Damage::FlipOffsets => {
            let path = journal.join("consumers");
            let bytes = path.metadata()?.len();
            flip(&path, 0..bytes, seeded_rng)
        }
    }
}

/// One bit in `range`.
fn flip(path: &Path, range: Range<u64>, seeded_rng: &mut SeededRng) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let at = seeded_rng.within(range);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1 << seeded_rng.below(8);
    file.write_all_at(&byte, at)
}
