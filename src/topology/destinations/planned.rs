//! A sink to start, and its fetch limits.

use std::borrow::Cow;
use std::time::Duration;

use actix_rt::ArbiterHandle;
use butler_sos_actors::journal::message::FetchLimits;
use butler_sos_actors::kit::mailbox::Mailbox;
use butler_sos_actors::kit::message::Consumer;
use butler_sos_actors::kit::metric::ActorMeter;
use butler_sos_actors::kit::supervisor::Supervision;
use butler_sos_actors::sinks::message::Redeliver;
use butler_sos_actors::sinks::sink::{Destination, ParkingConfig, Sink, SinkConfig};
use butler_sos_domain::own_errors::ErrorType;
use butler_sos_domain::streams::Stream;

use crate::topology::settings::size;

/// A sink to start.
pub struct Planned {
    pub consumer: Consumer,
    /// The label of the destination.
    pub label: Cow<'static, str>,
    /// Its error type in error tracking.
    pub error_type: ErrorType,
    pub fetch_limits: FetchLimits,
    /// Why a replay is refused.
    pub replay_refused: Option<&'static str>,
    start: Start,
}

type Start = Box<dyn FnOnce(&Supervision, &ArbiterHandle, ActorMeter, SinkConfig) -> Mailbox<Redeliver>>;

/// The identity of a destination.
pub struct Identity {
    pub stream: Stream,
    pub name: &'static str,
    pub label: Cow<'static, str>,
    pub error_type: ErrorType,
    /// The maximum number of waiting redeliveries.
    pub mailbox_max: u32,
}

impl Planned {
    pub fn new<D: Destination>(
        identity: Identity,
        fetch_limits: FetchLimits,
        make: impl Fn() -> D + Send + Sync + 'static,
    ) -> Self {
        Self::with_sink(identity, fetch_limits, move |config| Sink::new(config, make))
    }

    /// A destination with limits of its own: events that these keep out are parked.
    pub fn with_parking<D: Destination>(
        identity: Identity,
        fetch_limits: FetchLimits,
        parking: ParkingConfig,
        make: impl Fn() -> D + Send + Sync + 'static,
    ) -> Self {
        Self::with_sink(identity, fetch_limits, move |config| Sink::new(config, make).with_parking(parking))
    }

    fn with_sink<D: Destination>(
        identity: Identity,
        fetch_limits: FetchLimits,
        sink: impl FnOnce(SinkConfig) -> Sink<D> + Send + 'static,
    ) -> Self {
        let Identity { stream, name, label, error_type, mailbox_max } = identity;
        let start: Start = Box::new(move |supervision, arbiter, meter, config| {
            let sink = supervision.start(arbiter, meter, move || sink(config));
            Mailbox::new(sink, mailbox_max)
        });
        let consumer = Consumer { stream, name };
        Self { consumer, label, error_type, fetch_limits, replay_refused: D::REPLAY_REFUSED, start }
    }

    /// Starts it. Returns the mailbox for redeliveries.
    pub fn start(
        self,
        supervision: &Supervision,
        arbiter: &ArbiterHandle,
        config: SinkConfig,
    ) -> Mailbox<Redeliver> {
        (self.start)(supervision, arbiter, config.actor.clone(), config)
    }
}

/// The maximum size of a batch for a destination without its own limit.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// The same for a destination that writes one file per batch.
const FILE_BYTES_MAX: usize = 32 << 20;
const BATCH_RECORDS_MAX: usize = 1_000;

/// Takes the available records at once. The next batch accumulates during a delivery.
pub fn at_once() -> FetchLimits {
    FetchLimits { records_max: BATCH_RECORDS_MAX, bytes_max: BATCH_BYTES_MAX, linger: Duration::ZERO }
}

/// The same for rows of a file, where each batch costs a fixed number of syncs.
pub fn rows() -> FetchLimits {
    FetchLimits { records_max: 10_000, ..at_once() }
}

/// Waits until the batch has this many records, or for this long.
pub fn gathered(records_max: u32, linger_ms: u64) -> FetchLimits {
    FetchLimits {
        records_max: size(records_max),
        bytes_max: BATCH_BYTES_MAX,
        linger: Duration::from_millis(linger_ms),
    }
}

/// As many records as belong into one file.
pub fn a_file(records_max: u32, linger_ms: u64) -> FetchLimits {
    FetchLimits { bytes_max: FILE_BYTES_MAX, ..gathered(records_max, linger_ms) }
}
