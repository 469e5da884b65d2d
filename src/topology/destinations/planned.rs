//! A sink that is to be started, and how much it takes at a time.

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

/// A sink that is to be started.
pub struct Planned {
    pub consumer: Consumer,
    /// What people call the destination.
    pub label: Cow<'static, str>,
    /// What its errors are called in error tracking.
    pub error_type: ErrorType,
    pub fetch_limits: FetchLimits,
    /// Why events must not be replayed to it.
    pub replay_refused: Option<&'static str>,
    start: Start,
}

type Start = Box<dyn FnOnce(&Supervision, &ArbiterHandle, ActorMeter, SinkConfig) -> Mailbox<Redeliver>>;

/// Who a destination is.
pub struct Identity {
    pub stream: Stream,
    pub name: &'static str,
    pub label: Cow<'static, str>,
    pub error_type: ErrorType,
    /// Orders to deliver once more that may wait.
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

    /// Starts it; answers where orders to deliver once more lead.
    pub fn start(
        self,
        supervision: &Supervision,
        arbiter: &ArbiterHandle,
        config: SinkConfig,
    ) -> Mailbox<Redeliver> {
        (self.start)(supervision, arbiter, config.actor.clone(), config)
    }
}

/// Most bytes of records in one batch of a destination that has no limit of its own.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Of a destination that writes files as large as its batch.
const FILE_BYTES_MAX: usize = 32 << 20;
const BATCH_RECORDS_MAX: usize = 1_000;

/// What is there is taken; while it is delivered, the next batch gathers.
pub fn at_once() -> FetchLimits {
    FetchLimits { records_max: BATCH_RECORDS_MAX, bytes_max: BATCH_BYTES_MAX, linger: Duration::ZERO }
}

/// The same for rows of a file, where each batch costs syncs whatever its size.
pub fn rows() -> FetchLimits {
    FetchLimits { records_max: 10_000, ..at_once() }
}

/// A batch gathers until it has so many records, or for so long.
pub fn gathered(records_max: u32, linger_ms: u64) -> FetchLimits {
    FetchLimits {
        records_max: size(records_max),
        bytes_max: BATCH_BYTES_MAX,
        linger: Duration::from_millis(linger_ms),
    }
}

/// As much as belongs into one file.
pub fn a_file(records_max: u32, linger_ms: u64) -> FetchLimits {
    FetchLimits { bytes_max: FILE_BYTES_MAX, ..gathered(records_max, linger_ms) }
}
