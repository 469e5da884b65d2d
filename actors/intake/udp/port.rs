//! The open port, and the state of it that outlives a restart of the actor.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use butler_sos_domain::rate_window::RateWindow;
use prometheus_client::metrics::counter::Counter;
use slog::Logger;
use tokio::sync::watch;

use crate::intake::backpressure::Backpressure;
use crate::intake::udp::allowed_sources::{SourceError, SourceList};
use crate::intake::udp::datagram_filter::{Admission, AllowedSources};
use crate::intake::udp::limits::UdpLimits;
use crate::intake::udp::socket::{self, SocketConfig, SocketError};
use crate::kit::clock::Clock;
use crate::kit::lock::lock;
use crate::kit::platform::sockets::BoundUdp;

/// `Butler-SOS.userEvents.udpServerConfig` and `Pipeline.udp`.
#[derive(Debug, Clone)]
pub struct UdpConfig {
    pub socket: SocketConfig,
    /// `maxMessageSize`.
    pub datagram_bytes_max: usize,
    /// `rateLimit`, if it is on: datagrams in each minute.
    pub per_minute_max: Option<u64>,
    /// `allowedSources`, if `enableSourceValidation` is on: addresses, networks, names.
    pub allowed_sources: Option<Vec<String>>,
    pub limits: UdpLimits,
    /// `messageQueue.backpressureThreshold`: the fill level of the queue to the journal that causes a
    /// warning, in percent.
    pub backpressure_percent: u8,
}

#[cfg(test)]
impl UdpConfig {
    /// A port that the kernel chooses, open for every sender on this machine.
    pub(crate) fn for_test() -> Self {
        Self {
            socket: SocketConfig { host: "127.0.0.1".into(), port: 0, receive_buffer_bytes: 1 << 20 },
            datagram_bytes_max: 1_000,
            per_minute_max: None,
            allowed_sources: None,
            limits: UdpLimits { nap_micros: 500, ..UdpLimits::default() },
            backpressure_percent: 80,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Sources(#[from] SourceError),
}

/// Opens the port before any actor starts. Blocks while names are resolved.
///
/// `clock` stamps received datagrams.
///
/// # Errors
/// When the socket cannot be bound, or source validation is on and nothing in the list resolves.
pub fn open(config: &UdpConfig, clock: Clock, log: &Logger) -> Result<Arc<UdpPort>, OpenError> {
    let mut sources =
        config.allowed_sources.as_ref().map(|texts| SourceList::new(texts.iter().map(String::as_str)));
    let allowed = match &mut sources {
        None => AllowedSources::Everyone,
        Some(list) => {
            list.resolve(log);
            list.allowed()?
        }
    };
    let bound = socket::open(&config.socket, log)?;
    let admission =
        Admission { bytes_max: config.datagram_bytes_max, rate: config.per_minute_max.map(RateWindow::new) };
    let receiver_state =
        ReceiverState { admission, clock, backpressure: Backpressure::new(config.backpressure_percent) };
    let limits = &config.limits;
    let periods =
        (Duration::from_micros(limits.nap_micros), Duration::from_secs(limits.source_refresh_seconds));
    Ok(Arc::new(UdpPort::new(bound, receiver_state, sources, allowed, periods)))
}

/// The open port and everything that must survive a restart of the actor: the socket, the clock, the rate
/// window.
pub struct UdpPort {
    pub(crate) bound: BoundUdp,
    pub(crate) bytes_max: usize,
    pub(crate) pause: Duration,
    pub(crate) sources_refresh: Duration,
    /// `None` when every sender is allowed.
    source_list: Mutex<Option<SourceList>>,
    pub(super) allowed: Mutex<Arc<AllowedSources>>,
    /// Held by the one thread that receives.
    pub(super) receiver_state: Mutex<ReceiverState>,
    drops_seen: Mutex<u32>,
    pub(super) began: Instant,
    pub(crate) closing: AtomicBool,
    pub(super) drained: watch::Sender<bool>,
    #[cfg(test)]
    pub(crate) panic_at_next_datagram: AtomicBool,
}

/// The state that changes with each accepted datagram.
pub(crate) struct ReceiverState {
    pub admission: Admission,
    pub clock: Clock,
    pub backpressure: Backpressure,
}

impl UdpPort {
    fn new(
        bound: BoundUdp,
        receiver_state: ReceiverState,
        sources: Option<SourceList>,
        allowed: AllowedSources,
        (pause, sources_refresh): (Duration, Duration),
    ) -> Self {
        Self {
            bound,
            bytes_max: receiver_state.admission.bytes_max,
            pause,
            sources_refresh,
            source_list: Mutex::new(sources),
            allowed: Mutex::new(Arc::new(allowed)),
            receiver_state: Mutex::new(receiver_state),
            drops_seen: Mutex::new(0),
            began: Instant::now(),
            closing: AtomicBool::new(false),
            drained: watch::Sender::new(false),
            #[cfg(test)]
            panic_at_next_datagram: AtomicBool::new(false),
        }
    }

    /// The address of the socket, with the port that the kernel chose for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.bound.address
    }

    /// The receive buffer that the kernel granted.
    #[must_use]
    pub fn receive_buffer_bytes(&self) -> usize {
        self.bound.receive_buffer_bytes
    }

    pub(crate) fn is_drained(&self) -> bool {
        *self.drained.borrow()
    }

    /// Completes when the port is closed and everything in the kernel's buffer was taken.
    pub(crate) async fn until_drained(&self) {
        // The sender is a field of this object, so it exists.
        let _ = self.drained.subscribe().wait_for(|drained| *drained).await;
    }

    pub(crate) fn has_names(&self) -> bool {
        lock(&self.source_list).as_ref().is_some_and(SourceList::has_names)
    }

    /// Resolves the allowed names again. Blocks.
    pub(crate) fn resolve_sources(&self, log: &Logger) {
        let Some(mut list) = lock(&self.source_list).clone() else { return };
        list.resolve(log);
        if let Ok(allowed) = list.allowed() {
            *lock(&self.allowed) = Arc::new(allowed);
        }
        *lock(&self.source_list) = Some(list);
    }

    /// Adds to `kernel` the number of datagrams that the kernel has dropped since the last call, and returns
    /// it; `None` when the system does not report it. The actor calls this every second, and the metrics
    /// endpoint may call it before it answers. Blocks for about a millisecond.
    pub fn count_kernel_drops(&self, kernel: &Counter) -> Option<u64> {
        let mut seen = lock(&self.drops_seen);
        let now = self.bound.kernel_drops()?;
        let new = u64::from(now.wrapping_sub(*seen));
        *seen = now;
        kernel.inc_by(new);
        Some(new)
    }
}
