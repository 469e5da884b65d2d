//! The thread that empties the UDP socket.
//!
//! It is a separate thread because the wake-up is the main cost of a datagram: it waits for a first datagram
//! or, with dense traffic, pauses. It receives all available datagrams with few system calls, and offers them
//! to the parser as one message. It waits for the parser only when the port closes: otherwise datagrams
//! without room are shed and counted. Every datagram from the socket is counted as received and then as
//! exactly one of rejected, shed or forwarded, also when this code panics.

mod coalescing;
mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use slog::{Logger, info, warn};

use self::coalescing::Coalescing;
pub(crate) use self::tally::IntakeCounters;
use self::tally::{DropLog, Tally};
use crate::intake::backpressure::Change;
use crate::intake::message::{Datagram, DatagramsReceived};
use crate::intake::udp::datagram_filter::AllowedSources;
use crate::intake::udp::port::{ReceiverState, UdpPort};
use crate::kit::clock::unix_ns;
use crate::kit::lock::lock;
use crate::kit::mailbox::{InFlight, Mailbox};
use crate::kit::metric::ActorMeter;
use crate::kit::platform::sockets::{ReceiveArea, Received, SLOTS, WhenEmpty, is_nothing_there};

/// The maximum number of datagrams in one message.
pub(crate) const BATCH_MAX: usize = 512;

/// A datagram takes one unit of the queue's bound for each 4 KiB begun, so that the bound, which counts
/// events, also bounds memory with the largest possible datagrams.
const BYTES_PER_UNIT: usize = 4_096;

/// The time limit for receiving and waiting for room while the port closes.
const DRAIN_MAX: Duration = Duration::from_secs(2);

const ERROR_PAUSE: Duration = Duration::from_millis(10);
const ROOM_PAUSE: Duration = Duration::from_millis(1);

/// Why the thread ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was stopped, or another thread replaces it.
    Stopped,
    /// The port is closing and everything was taken.
    Drained,
}

/// The state of the thread.
pub(crate) struct Receiver {
    pub port: Arc<UdpPort>,
    pub to_parser: Mailbox<DatagramsReceived>,
    pub actor: ActorMeter,
    pub counters: IntakeCounters,
    pub log: Logger,
    pub stop: Arc<AtomicBool>,
}

impl Receiver {
    /// Receives until it is stopped, or the port is drained.
    pub fn run(self) -> Ended {
        let port = Arc::clone(&self.port);
        // Waits until an earlier thread has ended.
        let mut receiver_state = lock(&port.receiver_state);
        let mut state = State::new(&port);
        while !self.stop.load(Ordering::Acquire) {
            if port.closing.load(Ordering::Acquire) {
                self.drain(&mut receiver_state, &mut state);
                return Ended::Drained;
            }
            self.turn(&mut receiver_state, &mut state, WhenEmpty::Wait);
            // Also without a datagram, so that the end of backpressure is noticed at the next timeout of the
            // socket.
            self.look_at_queue(&mut receiver_state);
        }
        Ended::Stopped
    }

    fn look_at_queue(&self, receiver_state: &mut ReceiverState) {
        let (depth, bound) = (self.to_parser.depth(), self.to_parser.bound());
        match receiver_state.backpressure.look(depth, bound, self.port.began.elapsed()) {
            Some(Change::Begins) => {
                self.counters.backpressure.inc();
                warn!(self.log, "user events arrive faster than they are stored, the queue is filling";
                    "waiting" => depth, "max_size" => bound, "threshold_percent" => receiver_state.backpressure.percent());
            }
            Some(Change::BeginsQuietly) => {
                self.counters.backpressure.inc();
            }
            Some(Change::Ends { lasted }) => {
                info!(self.log, "the queue of user events is below its threshold again";
                    "waiting" => depth, "max_size" => bound, "seconds" => lasted.as_secs());
            }
            None => {}
        }
    }

    fn drain(&self, receiver_state: &mut ReceiverState, state: &mut State) {
        let began = Instant::now();
        while began.elapsed() < DRAIN_MAX && self.turn(receiver_state, state, WhenEmpty::Return) > 0 {}
        if let Some(kernel) = &self.counters.kernel {
            self.port.count_kernel_drops(kernel);
        }
        self.port.drained.send_replace(true);
    }

    /// Receives the available datagrams, decides about each, and forwards the accepted ones. Returns the
    /// number received.
    fn turn(&self, receiver_state: &mut ReceiverState, state: &mut State, when_empty: WhenEmpty) -> usize {
        let allowed = Arc::clone(&lock(&self.port.allowed));
        let mut turn = Turn {
            tally: Tally::new(&self.counters),
            batch: DatagramsReceived {
                arena: Vec::with_capacity(state.last_bytes),
                datagrams: Vec::with_capacity(state.last_datagrams),
            },
        };
        let (mut count, mut last, mut when_empty) = (0, SLOTS, when_empty);
        if let Some(pause) = state.coalescing.next().filter(|_| when_empty == WhenEmpty::Wait) {
            std::thread::park_timeout(pause);
            when_empty = WhenEmpty::Return;
        }
        // Refused datagrams count too, so that a flood of them cannot keep this turn from ending.
        while last == SLOTS && count + SLOTS <= BATCH_MAX {
            last = self.receive(receiver_state, state, &allowed, &mut turn, when_empty);
            count += last;
            when_empty = WhenEmpty::Return;
        }
        state.coalescing.looked(self.port.began.elapsed(), count, last < SLOTS);
        if count == 0 {
            return 0;
        }
        state.last_bytes = turn.batch.arena.len();
        state.last_datagrams = turn.batch.datagrams.len();
        turn.tally.count_received();
        self.forward(turn.batch, &mut turn.tally);
        state.drop_log.add(&turn.tally, self.port.began.elapsed(), &self.log);
        count
    }

    /// One system call. Accepted datagrams are added to the turn's batch.
    fn receive(
        &self,
        receiver_state: &mut ReceiverState,
        state: &mut State,
        allowed: &AllowedSources,
        turn: &mut Turn<'_>,
        when_empty: WhenEmpty,
    ) -> usize {
        let ReceiverState { admission, clock, .. } = receiver_state;
        let mut times = None;
        let received =
            state.area.receive(&self.port.bound.socket, when_empty, |Received { bytes, source }| {
                turn.tally.receive();
                #[cfg(test)]
                assert!(!self.port.panic_at_next_datagram.swap(false, Ordering::SeqCst), "a test wants it");
                // One reading of the clocks serves all datagrams of the call. Nothing blocks here, so the
                // clock may stay locked.
                let (since_start, clock, unix_ns) =
                    times.get_or_insert_with(|| (self.port.began.elapsed(), clock.lock(), unix_ns()));
                match admission.check(allowed, source.ip(), bytes.len(), *since_start) {
                    Ok(()) => {
                        let start = turn.batch.arena.len();
                        turn.batch.arena.extend_from_slice(bytes);
                        let received_ns = clock.stamp(*unix_ns);
                        turn.batch.datagrams.push(Datagram { start, len: bytes.len(), source, received_ns });
                    }
                    Err(refusal) => turn.tally.reject(refusal),
                }
            });
        match received {
            Ok(count) => count,
            Err(error) if is_nothing_there(&error) => 0,
            Err(error) => {
                state.drop_log.error(&error, self.port.began.elapsed(), &self.log);
                std::thread::park_timeout(ERROR_PAUSE);
                0
            }
        }
    }

    /// Offers as much of the batch as there is room for, and sheds the rest. When the port is closing it
    /// waits for room, because only few more datagrams follow.
    fn forward(&self, mut batch: DatagramsReceived, tally: &mut Tally<'_>) {
        let began = Instant::now();
        while !batch.datagrams.is_empty() {
            let bound = self.to_parser.bound();
            // Nobody else sends to this mailbox, so the room cannot shrink from here on.
            let (fitting, weight) = fitting(&batch.datagrams, bound - self.to_parser.depth(), bound);
            if fitting == 0 {
                if self.port.closing.load(Ordering::Acquire) && began.elapsed() < DRAIN_MAX {
                    std::thread::park_timeout(ROOM_PAUSE);
                    continue;
                }
                break;
            }
            let rest = split_off(&mut batch, fitting);
            give_back_slack(&mut batch.arena);
            let events = fitting as u64;
            let mut in_flight = InFlight::default();
            in_flight.answers_for(events, self.counters.lost.clone());
            match self.to_parser.offer_with(batch, weight, in_flight) {
                Ok(()) => {
                    tally.forward(events);
                    self.actor.sent.inc();
                }
                Err(refused) => tally.shed(refused.datagrams.len() as u64),
            }
            batch = rest;
        }
        tally.shed(batch.datagrams.len() as u64);
    }
}

/// State that the thread keeps between turns.
struct State {
    area: ReceiveArea,
    coalescing: Coalescing,
    drop_log: DropLog,
    /// Sizes of the last batch, as an estimate for the next.
    last_bytes: usize,
    last_datagrams: usize,
}

impl State {
    fn new(port: &UdpPort) -> Self {
        Self {
            area: ReceiveArea::new(port.bytes_max),
            coalescing: Coalescing::new(port.pause, port.receive_buffer_bytes()),
            drop_log: DropLog::default(),
            last_bytes: 0,
            last_datagrams: 0,
        }
    }
}

struct Turn<'a> {
    tally: Tally<'a>,
    batch: DatagramsReceived,
}

/// How many of the first datagrams fit into `free` units, and their weight. One that is heavier than the
/// whole bound fits when nothing else is in flight.
fn fitting(datagrams: &[Datagram], free: u32, bound: u32) -> (usize, u32) {
    let mut weight = 0;
    for (at, datagram) in datagrams.iter().enumerate() {
        let own = to_u32(datagram.len.div_ceil(BYTES_PER_UNIT).max(1)).min(bound);
        if weight + own > free {
            return (at, weight);
        }
        weight += own;
    }
    (datagrams.len(), weight)
}

/// Splits the batch after its first `at` datagrams and returns the rest.
fn split_off(batch: &mut DatagramsReceived, at: usize) -> DatagramsReceived {
    let Some(cut) = batch.datagrams.get(at).map(|datagram| datagram.start) else {
        return DatagramsReceived::default();
    };
    let mut rest =
        DatagramsReceived { arena: batch.arena.split_off(cut), datagrams: batch.datagrams.split_off(at) };
    for datagram in &mut rest.datagrams {
        datagram.start -= cut;
    }
    rest
}

/// Returns unused memory, so that queued batches hold little more than they need.
fn give_back_slack(arena: &mut Vec<u8>) {
    if arena.capacity() > 4_096 && arena.capacity() / 4 > arena.len() {
        arena.shrink_to_fit();
    }
}

fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};

    use super::*;
    use crate::intake::udp::datagram_filter::Refusal;
    use crate::intake::udp::port::{UdpConfig, open};
    use crate::kit::metric::Metrics;
    use crate::kit::testing::{Probe, discard_log};

    fn batch(lengths: &[usize]) -> DatagramsReceived {
        let mut batch = DatagramsReceived::default();
        for (n, &len) in lengths.iter().enumerate() {
            let start = batch.arena.len();
            batch.arena.resize(start + len, n as u8);
            let source = SocketAddr::from(([127, 0, 0, 1], 1));
            batch.datagrams.push(Datagram { start, len, source, received_ns: n as u64 });
        }
        batch
    }

    #[test]
    fn counts_the_datagrams_that_fit() {
        let check = |lengths: &[usize], free: u32, bound: u32, expect: (usize, u32)| {
            assert_eq!(fitting(&batch(lengths).datagrams, free, bound), expect, "{lengths:?} {free}/{bound}");
        };
        check(&[10, 10, 10], 10, 10, (3, 3));
        check(&[10, 10, 10], 2, 10, (2, 2));
        check(&[10, 10, 10], 0, 10, (0, 0));
        check(&[0, 0], 1, 10, (1, 1));
        check(&[4_096, 4_097, 1], 3, 10, (2, 3));
        check(&[65_000, 1], 10, 10, (1, 10));
        check(&[65_000, 1], 9, 10, (0, 0));
        check(&[65_000, 1], 17, 100, (2, 17));
        check(&[], 5, 10, (0, 0));
    }

    #[actix_rt::test]
    async fn a_flood_of_refused_datagrams_does_not_keep_a_turn_from_ending() {
        let config = UdpConfig { datagram_bytes_max: 10, ..UdpConfig::for_test() };
        let port = open(&config, Default::default(), &discard_log()).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..BATCH_MAX + 1 {
            sender.send_to(&[b'x'; 11], port.address()).unwrap();
        }
        let metrics = Metrics::new();
        let counters = IntakeCounters::new(&metrics.intake("user_events"), &port);
        let (to_parser, _) = Probe::mailbox(10, |_: &DatagramsReceived| ());
        let receiver = Receiver {
            port: Arc::clone(&port),
            to_parser,
            actor: metrics.actor("udp_ingestor"),
            counters: counters.clone(),
            log: discard_log(),
            stop: Arc::default(),
        };
        let (mut receiver_state, mut state) = (lock(&port.receiver_state), State::new(&port));
        assert_eq!(receiver.turn(&mut receiver_state, &mut state, WhenEmpty::Return), BATCH_MAX);
        assert_eq!(counters.rejected[Refusal::Size as usize].get(), BATCH_MAX as u64);
        assert_eq!(receiver.turn(&mut receiver_state, &mut state, WhenEmpty::Return), 1);
    }

    #[test]
    fn a_split_batch_keeps_every_datagram() {
        let mut first = batch(&[3, 0, 5, 2]);
        let rest = split_off(&mut first, 2);
        let shown = |batch: &DatagramsReceived| -> Vec<Vec<u8>> {
            batch.datagrams.iter().map(|datagram| batch.bytes_of(datagram).to_vec()).collect()
        };
        assert_eq!(shown(&first), [vec![0, 0, 0], vec![]]);
        assert_eq!(shown(&rest), [vec![2; 5], vec![3; 2]]);
        let rest = split_off(&mut first, 2);
        assert_eq!((first.datagrams.len(), rest.datagrams.len()), (2, 0));
    }
}
