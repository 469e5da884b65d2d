//! Records that are delivered again, out of turn: retried dead letters and replays.
//!
//! A sink delivers them between two batches, so that only one delivery runs at a time. The position does not
//! move; only a note that the endpoint needs (a file's new length) is committed. After a failure the endpoint
//! is restored as after a restart, so that the next batch is not affected.

use actix::{Handler, ResponseFuture};
use tokio::sync::{mpsc, oneshot};

use super::parking::{Parking, until};
use super::{Destination, Progress, Run, Sink};
use crate::journal::batch::Batch;
use crate::journal::message::{Commit, NextBatch};
use crate::kit::clock::unix_ms;
use crate::kit::mailbox::{Envelope, InFlight};
use crate::sinks::message::{NotRedelivered, Redeliver, Redelivered};

/// A redelivery that a caller waits for.
pub(super) struct Order {
    redeliver: Redeliver,
    answer: oneshot::Sender<Result<Redelivered, NotRedelivered>>,
    /// Its room in the mailbox, which bounds the number of waiting orders.
    _in_flight: InFlight,
}

/// The receiving end of the queue, in the loop. The mailbox is its bound.
pub(super) type Orders = mpsc::UnboundedReceiver<Order>;

/// The sending end of the queue, in the actor.
#[derive(Default)]
pub(super) struct OrderBook(Option<mpsc::UnboundedSender<Order>>);

impl OrderBook {
    /// Opens a queue for a new loop. Callers that wait for the previous queue get an error.
    pub fn open(&mut self) -> Orders {
        let (sender, orders) = mpsc::unbounded_channel();
        self.0 = Some(sender);
        orders
    }
}

impl<D: Destination> Handler<Envelope<Redeliver>> for Sink<D> {
    type Result = ResponseFuture<Result<Redelivered, NotRedelivered>>;

    fn handle(&mut self, envelope: Envelope<Redeliver>, _: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        let order = Order { redeliver: envelope.body, answer, _in_flight: envelope.in_flight };
        if let Some(book) = &self.orders.0 {
            // Fails only when the loop has ended, and then the answer's sender is dropped too.
            let _ = book.send(order);
        }
        Box::pin(async move {
            answered.await.unwrap_or_else(|_| {
                Err(NotRedelivered { class: "restarted", detail: "the destination restarted".to_owned() })
            })
        })
    }
}

impl<D: Destination> Run<D> {
    /// The next batch in turn. Orders that arrive meanwhile are done first.
    pub(super) async fn next_batch(&mut self, from: &mut u64) -> Batch {
        loop {
            let config = self.config.clone();
            let question =
                NextBatch { consumer: config.consumer, from: *from, fetch_limits: config.fetch_limits };
            let mut next = Box::pin(async move { config.ask(&config.mailboxes.to_next, question).await });
            // The request stays pending while orders are done: a dropped one would occupy its room until a
            // record comes.
            let moved = loop {
                tokio::select! {
                    batch = &mut next => return batch,
                    Some(order) = self.orders.recv() => {
                        let on = self.out_of_turn(order, *from).await;
                        if on != *from {
                            break on;
                        }
                    }
                    () = until(self.parking.as_ref().map(Parking::due)) => {
                        let on = self.retry_parked(*from).await;
                        if on != *from {
                            break on;
                        }
                    }
                }
            };
            *from = moved;
        }
    }

    /// Executes one order. Returns the offset to continue from, which is `from` unless the endpoint turned
    /// out to be ahead.
    async fn out_of_turn(&mut self, order: Order, from: u64) -> u64 {
        let Order { redeliver, answer, _in_flight } = order;
        if answer.is_closed() {
            return from;
        }
        let batch = redeliver.batch;
        let commit = self.config.mailboxes.to_commit.clone();
        let progress = Progress { consumer: self.config.consumer, commit, offset: from };
        match self.destination.deliver(&batch, &progress).await {
            Ok(delivered) => {
                if delivered.note.is_some() {
                    let commit =
                        Commit { consumer: self.config.consumer, offset: from, note: delivered.note };
                    self.config.ask(&self.config.mailboxes.to_commit, commit).await;
                }
                self.config.meter.redelivered.inc_by(delivered.events);
                self.config.meter.bytes.inc_by(delivered.bytes);
                self.config.meter.set_up();
                let refused = delivered.refused.into_iter().chain(delivered.parked);
                let refused = refused.map(|one| (one.offset, one.reason)).collect();
                let done = Redelivered {
                    next_offset: delivered.next_offset.clamp(batch.from_offset(), batch.next_offset()),
                    events: delivered.events,
                    refused,
                };
                // The caller may be gone.
                let _ = answer.send(Ok(done));
                from
            }
            Err(trouble) => {
                self.config.meter.failed(trouble.class, &trouble.detail, unix_ms());
                let _ = answer.send(Err(NotRedelivered { class: trouble.class, detail: trouble.detail }));
                self.resume().await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use actix::Actor;

    use super::*;
    use crate::journal::message::{FetchLimits, JournalError, Position, PositionOf};
    use crate::journal::testing::batch_of;
    use crate::kit::delivery_error::DeliveryError;
    use crate::kit::mailbox::Mailbox;
    use crate::kit::message::Consumer;
    use crate::kit::metric::Metrics;
    use crate::kit::testing::{Probe, discard_log, until};
    use crate::line_log::message::AppendLines;
    use crate::sinks::sink::{Delivered, Pauses, Refused, SinkConfig, SinkMailboxes};
    use butler_sos_domain::streams::Stream;

    /// Accepts everything but "no", fails at "down", and records its calls.
    struct Picky(Arc<Mutex<Vec<String>>>);

    impl Destination for Picky {
        async fn resume(&mut self, position: &Position) -> Result<Option<Delivered>, DeliveryError> {
            self.0.lock().unwrap().push(format!("resume {}", position.offset));
            Ok(None)
        }

        async fn deliver(&mut self, batch: &Batch, _: &Progress) -> Result<Delivered, DeliveryError> {
            let mut delivered = Delivered { next_offset: batch.next_offset(), ..Delivered::default() };
            for record in batch.iter() {
                let text = String::from_utf8_lossy(record.data).into_owned();
                self.0.lock().unwrap().push(format!("{}={text}", record.offset));
                match text.as_str() {
                    "down" => return Err(DeliveryError::new("connect", "refused")),
                    "no" => delivered.refused.push(Refused {
                        offset: record.offset,
                        reason: "not this".to_owned(),
                        record: record.data.to_vec(),
                    }),
                    _ => delivered.events += 1,
                }
            }
            delivered.note = Some(b"length".to_vec());
            Ok(delivered)
        }
    }

    #[actix_rt::test]
    async fn a_redelivery_runs_between_batches_and_moves_no_position() {
        let metrics = Metrics::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (to_position, _) =
            Probe::<PositionOf>::mailbox(4, |_| Ok(Position { offset: 8, note: Vec::new() }));
        let (to_next, _) = Probe::<NextBatch>::mailbox(4, |next| match next.from {
            8 => Ok(batch_of(8, &[b"turn"])),
            _ => Err(JournalError::Disk("nothing".to_owned())),
        });
        let (to_commit, commits) = Probe::<Commit>::mailbox(4, |_| Ok(()));
        let (to_dead_letters, letters) = Probe::<AppendLines>::mailbox(4, |_| Ok(()));
        let config = SinkConfig {
            consumer: Consumer { stream: Stream::UserEvents, name: "picky" },
            fetch_limits: FetchLimits { records_max: 10, bytes_max: 100, linger: Duration::ZERO },
            pauses: Pauses { min: Duration::from_millis(1), max: Duration::from_millis(2) },
            mailboxes: SinkMailboxes { to_position, to_next, to_commit, to_dead_letters },
            actor: metrics.actor("picky"),
            meter: metrics.destination("picky"),
            log: discard_log(),
        };
        let made = Arc::clone(&seen);
        let to_sink = Mailbox::new(Sink::new(config, move || Picky(Arc::clone(&made))).start(), 4);
        until(|| commits.lock().unwrap().len() == 1).await;
        let ask = |offset, text: &str| {
            to_sink.ask(Redeliver { batch: Batch::of_one(offset, text.as_bytes()).unwrap() })
        };
        let taken = Redelivered { next_offset: 4, events: 1, refused: Vec::new() };
        assert_eq!(ask(3, "again").await.unwrap(), Ok(taken));
        let refused = Redelivered { next_offset: 5, events: 0, refused: vec![(4, "not this".to_owned())] };
        assert_eq!(ask(4, "no").await.unwrap(), Ok(refused));
        let failed = NotRedelivered { class: "connect", detail: "refused".to_owned() };
        assert_eq!(ask(5, "down").await.unwrap(), Err(failed));
        // The probe's journal discards commits, so that records after the new start are visible.
        until(|| seen.lock().unwrap().len() == 7).await;
        let expect = ["resume 8", "8=turn", "3=again", "4=no", "5=down", "resume 8", "8=turn"];
        assert_eq!(*seen.lock().unwrap(), expect);
        assert!(commits.lock().unwrap().iter().all(|commit| commit.offset == 9));
        assert!(letters.lock().unwrap().is_empty());
        let meter = metrics.destination("picky");
        assert_eq!(meter.redelivered.get(), 1);
    }
}
