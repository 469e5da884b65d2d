//! What a record costs in the journal's store, and with the feature `compare-stores` in two stores that others made.
//!
//! 300-byte records: appended in batches of 500 with one sync for each batch; then drained in batches of 500 with a
//! commit of the consumer's offset after each, and a sync of the commits for every 20th; then opened again.
//! Arguments: number of records (default 1 000 000), directory (default: a temporary one).

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use butler_sos_actors::journal::batch::RecordBatch;
use butler_sos_actors::journal::store::{
    OnFull, RETENTION_DEFAULT, SEGMENT_BYTES_MAX_DEFAULT, Start, Store, StoreConfig, StreamConfig,
    TAIL_BYTES_MAX_DEFAULT,
};
use nix::sys::resource::{UsageWho, getrusage};

type Answer<T> = Result<T, Box<dyn Error>>;

const BATCH: u64 = 500;
const COMMITS_PER_SYNC: u64 = 20;

fn main() -> Answer<()> {
    // `cargo bench` adds an argument of its own.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let records = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let temporary = tempfile::tempdir()?;
    let directory = arguments.next().map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    println!("{records} records of 300 bytes, batches of {BATCH}, one sync each; in {}", directory.display());
    println!(
        "| store | append /s | CPU µs | drain + commit /s | CPU µs | from memory /s | CPU µs | open ms | bytes/record |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    ours("segment log", &directory.join("ours"), records)?;
    #[cfg(feature = "compare-stores")]
    {
        others::fjall(&directory.join("fjall"), records)?;
        others::redb(&directory.join("redb"), records)?;
    }
    Ok(())
}

/// Wall and processor time (all threads, kernel included) of one phase.
struct Cost {
    per_second: f64,
    cpu_us: f64,
}

fn measure(records: u64, work: impl FnOnce() -> Answer<()>) -> Answer<Cost> {
    let (start, cpu) = (Instant::now(), cpu_us()?);
    work()?;
    Ok(Cost {
        per_second: records as f64 / start.elapsed().as_secs_f64(),
        cpu_us: (cpu_us()? - cpu) / records as f64,
    })
}

fn cpu_us() -> Answer<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let us = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64;
    Ok(us(usage.user_time()) + us(usage.system_time()))
}

fn row(
    name: &str,
    path: &Path,
    records: u64,
    append: Cost,
    drain: Cost,
    memory: Option<Cost>,
    open_ms: f64,
) -> Answer<()> {
    let memory = memory.map_or("| ".into(), |cost| format!("{:.0} | {:.2}", cost.per_second, cost.cpu_us));
    println!(
        "| {name} | {:.0} | {:.2} | {:.0} | {:.2} | {memory} | {open_ms:.1} | {:.1} |",
        append.per_second,
        append.cpu_us,
        drain.per_second,
        drain.cpu_us,
        bytes_in(path)? as f64 / records as f64,
    );
    Ok(())
}

fn bytes_in(path: &Path) -> Answer<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_in(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

fn record(offset: u64) -> [u8; 300] {
    // Not compressible for free, and different each time, as events are.
    let mut state = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::array::from_fn(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'a' + (state % 26) as u8
    })
}

/// Made beforehand, so that making them is not measured.
fn pool() -> Vec<[u8; 300]> {
    (0..BATCH * 8).map(record).collect()
}

fn ours(name: &str, path: &Path, records: u64) -> Answer<()> {
    let config = || StoreConfig {
        directory: path.to_owned(),
        streams: vec![StreamConfig {
            name: "events".into(),
            bytes_max: 64 << 30,
            on_full: OnFull::Block,
            room_bytes: 0,
        }],
        segment_bytes_max: SEGMENT_BYTES_MAX_DEFAULT,
        retention: RETENTION_DEFAULT,
        tail_bytes_max: TAIL_BYTES_MAX_DEFAULT,
    };
    let pool = pool();
    let (mut store, _) = Store::open(config())?;
    let stream = store.stream("events").ok_or("no stream")?;
    let follower = store.register(stream, "keeps up", Start::Oldest)?;
    let fill = |batch: &mut RecordBatch, from: u64| -> Answer<()> {
        for offset in from..from + BATCH {
            batch.push(&pool[offset as usize % pool.len()])?;
        }
        Ok(())
    };
    let append = measure(records, || {
        for from in (0..records).step_by(BATCH as usize) {
            let mut batch = RecordBatch::with_capacity(BATCH as usize * 304);
            fill(&mut batch, from)?;
            store.append(stream, &mut batch, from)?;
            store.sync(stream)?;
        }
        Ok(())
    })?;
    // A second copy of as many records without a sync, drained from memory as it comes.
    let memory = measure(records, || {
        let mut at = store.next_offset(stream);
        for from in (0..records).step_by(BATCH as usize) {
            let mut batch = RecordBatch::with_capacity(BATCH as usize * 304);
            fill(&mut batch, from)?;
            store.append(stream, &mut batch, from)?;
            let read = store.read(stream, at, BATCH as usize, 1 << 20)?;
            let sum: usize = read.iter().map(|record| record.data.len()).sum();
            assert_eq!(sum, 300 * BATCH as usize);
            at = read.next_offset();
            store.commit(follower, at, None)?;
        }
        Ok(())
    })?;
    store.sync(stream)?;
    drop(store);
    let start = Instant::now();
    let (mut store, _) = Store::open(config())?;
    let open_ms = start.elapsed().as_secs_f64() * 1e3;
    let consumer = store.register(stream, "lags", Start::Oldest)?;
    let drain = measure(records, || {
        let mut at = 0;
        while at < records {
            let read = store.read(stream, at, BATCH as usize, 1 << 20)?;
            let sum: usize = read.iter().map(|record| record.data.len()).sum();
            assert_eq!(sum, 300 * read.len());
            at = read.next_offset();
            store.commit(consumer, at, None)?;
            if at % (BATCH * COMMITS_PER_SYNC) == 0 {
                store.sync_commits()?;
            }
        }
        Ok(())
    })?;
    row(name, path, 2 * records, append, drain, Some(memory), open_ms)
}

#[cfg(feature = "compare-stores")]
mod others {
    use super::*;

    pub fn fjall(path: &Path, records: u64) -> Answer<()> {
        use fjall::{Database, KeyspaceCreateOptions, PersistMode};
        let pool = pool();
        let db = Database::builder(path).open()?;
        let events = db.keyspace("events", KeyspaceCreateOptions::default)?;
        let append = measure(records, || {
            for from in (0..records).step_by(BATCH as usize) {
                let mut batch = db.batch();
                for offset in from..from + BATCH {
                    batch.insert(
                        &events,
                        offset.to_be_bytes(),
                        pool[offset as usize % pool.len()].as_slice(),
                    );
                }
                batch.commit()?;
                db.persist(PersistMode::SyncData)?;
            }
            Ok(())
        })?;
        drop((events, db));
        let start = Instant::now();
        let db = Database::builder(path).open()?;
        let events = db.keyspace("events", KeyspaceCreateOptions::default)?;
        let open_ms = start.elapsed().as_secs_f64() * 1e3;
        let consumers = db.keyspace("consumers", KeyspaceCreateOptions::default)?;
        let drain = measure(records, || {
            let mut at = 0u64;
            while at < records {
                let mut sum = 0;
                for guard in events.range(at.to_be_bytes()..).take(BATCH as usize) {
                    sum += guard.value()?.len();
                }
                assert_eq!(sum, 300 * BATCH as usize);
                at += BATCH;
                consumers.insert("c", at.to_be_bytes())?;
                if at.is_multiple_of(BATCH * COMMITS_PER_SYNC) {
                    db.persist(PersistMode::SyncData)?;
                }
            }
            Ok(())
        })?;
        row("fjall", path, records, append, drain, None, open_ms)
    }

    pub fn redb(path: &Path, records: u64) -> Answer<()> {
        use redb::{Database, Durability, ReadableDatabase, TableDefinition};
        const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
        const CONSUMERS: TableDefinition<&str, u64> = TableDefinition::new("consumers");
        let pool = pool();
        std::fs::create_dir_all(path)?;
        let db = Database::create(path.join("db"))?;
        let append = measure(records, || {
            for from in (0..records).step_by(BATCH as usize) {
                let write = db.begin_write()?;
                {
                    let mut events = write.open_table(EVENTS)?;
                    for offset in from..from + BATCH {
                        events.insert(offset, pool[offset as usize % pool.len()].as_slice())?;
                    }
                }
                write.commit()?;
            }
            Ok(())
        })?;
        drop(db);
        let start = Instant::now();
        let db = Database::create(path.join("db"))?;
        let open_ms = start.elapsed().as_secs_f64() * 1e3;
        let drain = measure(records, || {
            let mut at = 0u64;
            while at < records {
                {
                    let events = db.begin_read()?.open_table(EVENTS)?;
                    let mut sum = 0;
                    for entry in events.range(at..at + BATCH)? {
                        sum += entry?.1.value().len();
                    }
                    assert_eq!(sum, 300 * BATCH as usize);
                }
                at += BATCH;
                let mut write = db.begin_write()?;
                if !at.is_multiple_of(BATCH * COMMITS_PER_SYNC) {
                    write.set_durability(Durability::None)?;
                }
                write.open_table(CONSUMERS)?.insert("c", at)?;
                write.commit()?;
            }
            Ok(())
        })?;
        row("redb", path, records, append, drain, None, open_ms)
    }
}
