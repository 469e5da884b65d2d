//! Valid events that a limit of the endpoint keeps out. They wait until an administrator raises the limit.
//!
//! They are stored like dead letters, in a directory for each destination ([`crate::line_log::store`]) with a
//! maximum size, and are never evicted. A sink retries them in passes: the first one at its start, then at
//! fixed intervals, in pieces between its batches. Accepted events leave their segment, the others stay. A
//! crash repeats at most one segment, to an endpoint that stores a repeated event once. Without free space
//! the sink waits.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use slog::{error, info, warn};

use super::{DeadLetter, Delivered, DeliveryError, Destination, Progress, Refused, Run};
use crate::journal::batch::Batch;
use crate::kit::clock::unix_ms;
use crate::kit::lock::lock;
use crate::line_log::store::{SegmentStore, entries, read_segment};

/// The number of records, and of bytes of their lines, that are retried at once.
const PIECE_RECORDS_MAX: usize = 1_000;
const PIECE_BYTES_MAX: usize = 4 << 20;
/// The error class of a destination while there is no space for events to park.
pub const PARKING_FULL: &str = "parking-full";
/// The error class while the disk refuses.
pub const PARKING_REFUSED: &str = "parking";

/// `Pipeline.deadLetters.parkedBytesMax`, `.parkedRetrySeconds`, and this destination's directory.
#[derive(Debug, Clone)]
pub struct ParkingConfig {
    pub directory: PathBuf,
    pub bytes_max: u64,
    pub retry_every: Duration,
}

/// Outlives the sink's loop, so that writers run one after the other also after a panic.
#[derive(Clone)]
pub(super) struct ParkingSpace {
    config: ParkingConfig,
    /// `None` until the store is opened, and after an error.
    store: Arc<Mutex<Option<SegmentStore>>>,
}

/// The parked events, and the progress of the pass over them.
pub(super) struct Parking {
    space: ParkingSpace,
    due: Instant,
    pass: Option<Pass>,
}

/// The segments that are still to be retried, oldest first.
struct Pass {
    segments: VecDeque<u64>,
    open: Option<OpenSegment>,
}

struct OpenSegment {
    number: u64,
    waiting: VecDeque<Vec<u8>>,
    /// Lines that are still kept out.
    still: Vec<Vec<u8>>,
    /// Lines that were accepted or refused for good.
    gone: u64,
    delivered: u64,
}

/// Lines that are retried together.
struct Piece {
    lines: Vec<Vec<u8>>,
    letters: Vec<DeadLetter>,
    batch: Batch,
}

// === impl ParkingSpace ===

impl ParkingSpace {
    pub fn new(config: ParkingConfig) -> Self {
        Self { config, store: Arc::default() }
    }

    /// Runs blocking work on the store outside the arbiter. After an error the store is opened again.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SegmentStore) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DeliveryError> {
        let (store, config) = (Arc::clone(&self.store), self.config.clone());
        let working = actix_rt::task::spawn_blocking(move || {
            let mut store = lock(&store);
            let mut open = match store.take() {
                Some(open) => open,
                None => SegmentStore::open(&config.directory, config.bytes_max)?,
            };
            let done = work(&mut open)?;
            *store = Some(open);
            Ok(done)
        });
        let refused = |error: &dyn std::fmt::Display| {
            let at = self.config.directory.display();
            DeliveryError::new(PARKING_REFUSED, format!("events cannot be parked in {at}: {error}"))
        };
        match working.await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(refused(&error as &io::Error)),
            Err(panic) => Err(refused(&panic)),
        }
    }
}

// === impl Parking ===

impl Parking {
    /// The first pass is due at once: the limit may have been raised while the server was down.
    pub fn new(space: ParkingSpace) -> Self {
        Self { space, due: Instant::now(), pass: None }
    }

    /// The time of the next piece.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// The next piece of the pass. Starts a pass when there is none; returns `None` when it is over.
    async fn next_piece(&mut self, count: impl FnOnce(u64)) -> Result<Option<Piece>, DeliveryError> {
        if self.pass.is_none() {
            if !self.space.config.directory.is_dir() {
                self.end_pass();
                return Ok(None);
            }
            let directory = self.space.config.directory.clone();
            let (segments, lines) = self
                .space
                .with(move |store| {
                    let segments = store.end_segment()?;
                    let mut lines = 0;
                    for entry in entries(&directory)? {
                        entry?;
                        lines += 1;
                    }
                    Ok((segments, lines))
                })
                .await?;
            count(lines);
            self.pass = Some(Pass { segments: segments.into(), open: None });
        }
        loop {
            let Some(pass) = &mut self.pass else { return Ok(None) };
            let Some(open) = &mut pass.open else {
                let Some(number) = pass.segments.pop_front() else {
                    self.end_pass();
                    return Ok(None);
                };
                let directory = self.space.config.directory.clone();
                let read = self.space.with(move |_| read_segment(&directory, number)).await?;
                let waiting = read.into_iter().map(|entry| entry.line).collect();
                pass.open = Some(OpenSegment { number, waiting, still: Vec::new(), gone: 0, delivered: 0 });
                continue;
            };
            if let Some(piece) = open.next_piece() {
                return Ok(Some(piece));
            }
            // The segment contains no line that could be retried.
            return Ok(None);
        }
    }

    /// Writes the rest of the segment to disk if anything has changed. Returns the numbers of removed and of
    /// delivered events.
    async fn close_segment(&mut self) -> Result<(u64, u64), DeliveryError> {
        let Some(open) = self.pass.as_mut().and_then(|pass| pass.open.take()) else { return Ok((0, 0)) };
        if open.gone == 0 && !(open.still.is_empty() && open.waiting.is_empty()) {
            return Ok((0, 0));
        }
        let left: Vec<Vec<u8>> = open.still.into_iter().chain(open.waiting).collect();
        self.space.with(move |store| store.replace(open.number, &left)).await?;
        Ok((open.gone, open.delivered))
    }

    fn is_segment_done(&self) -> bool {
        let open = self.pass.as_ref().and_then(|pass| pass.open.as_ref());
        open.is_some_and(|open| open.waiting.is_empty())
    }

    fn end_pass(&mut self) {
        self.pass = None;
        self.due = Instant::now() + self.space.config.retry_every;
    }
}

impl OpenSegment {
    /// Lines that are not dead letters of ours stay where they are.
    fn next_piece(&mut self) -> Option<Piece> {
        let (mut lines, mut letters, mut records) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        while let Some(line) = self.waiting.pop_front() {
            let letter = serde_json::from_slice::<DeadLetter>(&line).ok();
            let Some((letter, record)) =
                letter.and_then(|letter| letter.record_bytes().map(|of| (letter, of)))
            else {
                self.still.push(line);
                continue;
            };
            bytes += line.len();
            lines.push(line);
            letters.push(letter);
            records.push(record);
            if lines.len() >= PIECE_RECORDS_MAX || bytes >= PIECE_BYTES_MAX {
                break;
            }
        }
        if lines.is_empty() {
            return None;
        }
        match Batch::of_many(0, records.iter().map(Vec::as_slice)) {
            Ok(batch) => Some(Piece { lines, letters, batch }),
            // Larger than any record of a journal, so it is not ours.
            Err(_) => {
                self.still.append(&mut lines);
                None
            }
        }
    }

    /// Records the outcome of a piece. Returns the events that are refused for good.
    fn settle(&mut self, piece: Piece, delivered: Delivered) -> Vec<Refused> {
        let done = usize::try_from(delivered.next_offset).unwrap_or(usize::MAX).min(piece.lines.len());
        let mut lines: Vec<Option<Vec<u8>>> = piece.lines.into_iter().map(Some).collect();
        let mut take = |offset: u64| lines.get_mut(usize::try_from(offset).ok()?)?.take();
        for parked in &delivered.parked {
            self.still.extend(take(parked.offset));
        }
        let rest: Vec<Vec<u8>> = lines.split_off(done).into_iter().flatten().collect();
        for line in rest.into_iter().rev() {
            self.waiting.push_front(line);
        }
        self.gone += lines.into_iter().flatten().count() as u64;
        self.delivered += delivered.events;
        let with_own_offset = |refused: Refused| {
            let letter = piece.letters.get(usize::try_from(refused.offset).ok()?)?;
            Some(Refused { offset: letter.offset, ..refused })
        };
        delivered.refused.into_iter().filter_map(with_own_offset).collect()
    }
}

/// Waits until `due`, or for ever without a time.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

// === the sink ===

impl<D: Destination> Run<D> {
    /// Parks events that a limit of the endpoint keeps out. Without parking they are refused.
    pub(super) async fn park(&mut self, delivered: &mut Delivered) -> Result<(), DeliveryError> {
        if delivered.parked.is_empty() {
            return Ok(());
        }
        let Some(parking) = &self.parking else {
            delivered.refused.append(&mut delivered.parked);
            return Ok(());
        };
        let meter = &self.config.meter;
        let (time, stream) = (unix_ms(), self.config.consumer.stream.name());
        let letters = delivered.parked.iter();
        let lines: Vec<Vec<u8>> =
            letters.map(|parked| DeadLetter::new(time, meter.name(), stream, parked).to_line()).collect();
        let reason = delivered.parked.first().map_or("", |parked| parked.reason.as_str());
        if !parking.space.with(move |store| store.append_if_room(&lines)).await? {
            let detail = format!(
                "a limit of the destination keeps events out ({reason}), and there is no room to park more of them \
                 (Pipeline.deadLetters.parkedBytesMax)"
            );
            return Err(DeliveryError::new(PARKING_FULL, detail));
        }
        meter.parked.inc_by(i64::try_from(delivered.parked.len()).unwrap_or(i64::MAX));
        warn!(self.config.log, "a limit of the destination blocks events, they are parked";
            "destination" => meter.name(), "events" => delivered.parked.len(), "reason" => reason);
        delivered.parked.clear();
        Ok(())
    }

    /// Retries the next piece of parked events when it is due.
    pub(super) async fn retry_parked_if_due(&mut self, from: u64) {
        if self.parking.as_ref().is_some_and(|parking| parking.due <= Instant::now()) {
            self.retry_parked(from).await;
        }
    }

    /// Retries the next piece of parked events. Returns the offset to continue from, which is `from` unless
    /// the endpoint turned out to be ahead.
    pub(super) async fn retry_parked(&mut self, from: u64) -> u64 {
        let Some(parking) = &mut self.parking else { return from };
        let gauge = &self.config.meter.parked;
        let piece =
            match parking.next_piece(|lines| _ = gauge.set(i64::try_from(lines).unwrap_or(i64::MAX))).await {
                Ok(Some(piece)) => piece,
                Ok(None) => {
                    self.finish_segment().await;
                    return from;
                }
                Err(trouble) => {
                    self.give_up_pass(&trouble);
                    return from;
                }
            };
        let commit = self.config.mailboxes.to_commit.clone();
        let progress = Progress { consumer: self.config.consumer, commit, offset: from };
        match self.destination.deliver(&piece.batch, &progress).await {
            Ok(delivered) => {
                let bytes = delivered.bytes;
                let open = self.parking.as_mut().and_then(|of| of.pass.as_mut()?.open.as_mut());
                let refused = open.map(|open| open.settle(piece, delivered)).unwrap_or_default();
                self.dead_letter(&refused).await;
                self.config.meter.bytes.inc_by(bytes);
                self.config.meter.set_up();
                if self.parking.as_ref().is_some_and(Parking::is_segment_done) {
                    self.finish_segment().await;
                }
                from
            }
            Err(trouble) => {
                self.config.meter.failed(trouble.class, &trouble.detail, unix_ms());
                // The records of the piece are still on disk, because the segment is only closed below.
                if let Some(open) = self.parking.as_mut().and_then(|of| of.pass.as_mut()?.open.as_mut()) {
                    open.waiting.extend(piece.lines);
                }
                self.finish_segment().await;
                self.give_up_pass(&trouble);
                self.resume().await
            }
        }
    }

    async fn finish_segment(&mut self) {
        let Some(parking) = &mut self.parking else { return };
        match parking.close_segment().await {
            Ok((0, _)) => {}
            Ok((gone, delivered)) => {
                self.config.meter.parked.dec_by(i64::try_from(gone).unwrap_or(i64::MAX));
                self.config.meter.delivered.inc_by(delivered);
                info!(self.config.log, "parked events delivered";
                    "destination" => self.config.meter.name(), "events" => delivered);
            }
            Err(trouble) => self.give_up_pass(&trouble),
        }
    }

    /// The next pass begins after the longest pause.
    fn give_up_pass(&mut self, trouble: &DeliveryError) {
        let Some(parking) = &mut self.parking else { return };
        parking.pass = None;
        parking.due = Instant::now() + self.config.pauses.max.min(parking.space.config.retry_every);
        error!(self.config.log, "cannot retry parked events now, will retry later";
            "destination" => self.config.meter.name(), "error" => &trouble.detail);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use actix::{Actor, Addr};

    use super::*;
    use crate::journal::message::{Commit, FetchLimits, JournalError, NextBatch, Position, PositionOf};
    use crate::journal::testing::batch_of;
    use crate::kit::message::Consumer;
    use crate::kit::metric::{DestinationMeter, Metrics};
    use crate::kit::testing::{Probe, discard_log, until};
    use crate::line_log::message::AppendLines;
    use crate::sinks::sink::{Pauses, Sink, SinkConfig, SinkMailboxes};
    use butler_sos_domain::streams::Stream;

    /// Accepts "a…", keeps "x…" out while its limit is low, refuses "bad".
    #[derive(Clone, Default)]
    struct Limited {
        is_raised: Arc<AtomicBool>,
        is_down: Arc<AtomicBool>,
        taken: Arc<Mutex<Vec<String>>>,
    }

    impl Destination for Limited {
        async fn deliver(&mut self, batch: &Batch, _: &Progress) -> Result<Delivered, DeliveryError> {
            if self.is_down.load(Ordering::SeqCst) {
                return Err(DeliveryError::new("connect", "down"));
            }
            let mut delivered = Delivered { next_offset: batch.next_offset(), ..Delivered::default() };
            for record in batch.iter() {
                let text = String::from_utf8_lossy(record.data).into_owned();
                let aside = Refused {
                    offset: record.offset,
                    reason: "a limit".to_owned(),
                    record: record.data.to_vec(),
                };
                match text.as_bytes() {
                    b"bad" => delivered.refused.push(aside),
                    [b'x', ..] if !self.is_raised.load(Ordering::SeqCst) => delivered.parked.push(aside),
                    _ => {
                        self.taken.lock().unwrap().push(text);
                        delivered.events += 1;
                    }
                }
            }
            Ok(delivered)
        }
    }

    struct Harness {
        directory: tempfile::TempDir,
        limited: Limited,
        retry_every: Duration,
        commits: Arc<Mutex<Vec<Commit>>>,
        letters: Arc<Mutex<Vec<AppendLines>>>,
        meter: DestinationMeter,
    }

    impl Harness {
        fn new() -> Self {
            Self {
                directory: tempfile::tempdir().unwrap(),
                limited: Limited::default(),
                retry_every: Duration::from_millis(20),
                commits: Arc::default(),
                letters: Arc::default(),
                meter: Metrics::new().destination("limited"),
            }
        }

        /// A sink for which the journal contains these records, from offset 5 on.
        fn start(&mut self, records: &'static [&'static [u8]], bytes_max: u64) -> Addr<Sink<Limited>> {
            let metrics = Metrics::new();
            self.meter = metrics.destination("limited");
            let (to_position, _) =
                Probe::<PositionOf>::mailbox(4, |_| Ok(Position { offset: 5, note: Vec::new() }));
            let (to_next, _) = Probe::<NextBatch>::mailbox(4, move |next| match next.from {
                5 if !records.is_empty() => Ok(batch_of(5, records)),
                _ => Err(JournalError::Disk("nothing".to_owned())),
            });
            let (to_commit, commits) = Probe::<Commit>::mailbox(4, |_| Ok(()));
            let (to_dead_letters, letters) = Probe::<AppendLines>::mailbox(4, |_| Ok(()));
            (self.commits, self.letters) = (commits, letters);
            let config = SinkConfig {
                consumer: Consumer { stream: Stream::UserEvents, name: "limited" },
                fetch_limits: FetchLimits { records_max: 10, bytes_max: 100, linger: Duration::ZERO },
                pauses: Pauses { min: Duration::from_millis(1), max: Duration::from_millis(2) },
                mailboxes: SinkMailboxes { to_position, to_next, to_commit, to_dead_letters },
                actor: metrics.actor("limited"),
                meter: self.meter.clone(),
                log: discard_log(),
            };
            let parking = ParkingConfig {
                directory: self.directory.path().join("parked"),
                bytes_max,
                retry_every: self.retry_every,
            };
            let limited = self.limited.clone();
            Sink::new(config, move || limited.clone()).with_parking(parking).start()
        }

        fn parked(&self) -> usize {
            entries(&self.directory.path().join("parked")).unwrap().count()
        }

        fn taken(&self) -> Vec<String> {
            self.limited.taken.lock().unwrap().clone()
        }
    }

    #[actix_rt::test]
    async fn parked_events_survive_restarts_and_are_delivered_when_the_limit_is_raised() {
        let mut harness = Harness::new();
        harness.retry_every = Duration::from_secs(3_600);
        harness.start(&[b"a1", b"x1", b"bad", b"x2"], 10_000);
        until(|| harness.commits.lock().unwrap().len() == 1).await;
        assert_eq!(harness.taken(), ["a1"], "the batch goes on");
        assert_eq!(harness.commits.lock().unwrap()[0].offset, 9);
        assert_eq!(harness.letters.lock().unwrap().len(), 1, "only what is refused for good");
        until(|| harness.meter.parked.get() == 2).await;
        assert_eq!(harness.parked(), 2);

        // A new process with a new counter. The endpoint is down at first.
        harness.limited = Limited::default();
        harness.retry_every = Duration::from_millis(20);
        harness.limited.is_down.store(true, Ordering::SeqCst);
        harness.start(&[], 10_000);
        until(|| harness.meter.parked.get() == 2).await;
        harness.limited.is_raised.store(true, Ordering::SeqCst);
        harness.limited.is_down.store(false, Ordering::SeqCst);
        until(|| harness.meter.parked.get() == 0).await;
        assert_eq!(harness.parked(), 0);
        let mut taken = harness.taken();
        taken.sort();
        assert_eq!(taken, ["x1", "x2"]);
    }

    #[actix_rt::test]
    async fn without_space_to_park_the_sink_waits_and_resumes() {
        let mut harness = Harness::new();
        harness.start(&[b"a1", b"x1", b"bad"], 10);
        until(|| harness.meter.up_and_class() == (false, Some(PARKING_FULL))).await;
        assert!(harness.commits.lock().unwrap().is_empty());
        assert!(harness.letters.lock().unwrap().is_empty(), "nothing of the batch is settled");
        assert_eq!(harness.parked(), 0);
        harness.limited.is_raised.store(true, Ordering::SeqCst);
        until(|| !harness.commits.lock().unwrap().is_empty()).await;
        assert!(harness.taken().contains(&"x1".to_owned()));
        assert!(harness.meter.up_and_class().0);
    }

    #[actix_rt::test]
    async fn a_disk_error_while_parking_settles_nothing() {
        let mut harness = Harness::new();
        std::fs::write(harness.directory.path().join("parked"), "a file in its place").unwrap();
        harness.start(&[b"x1"], 10_000);
        until(|| harness.meter.up_and_class() == (false, Some(PARKING_REFUSED))).await;
        assert!(harness.commits.lock().unwrap().is_empty());
        std::fs::remove_file(harness.directory.path().join("parked")).unwrap();
        until(|| !harness.commits.lock().unwrap().is_empty()).await;
        assert_eq!(harness.parked(), 1);
    }
}
