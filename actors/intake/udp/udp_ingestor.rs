//! Receives user events by UDP.
//!
//! Receives: `Close`; the datagrams come from a separate thread ([`crate::intake::udp::receiver`]).
//! Sends: `DatagramsReceived` to the parser, weighed in events.
//! Keeps: nothing; the open port, its clock and its rate window are in [`UdpPort`] and outlive a restart.
//! When full: sheds datagrams without room, counted as `queue_full`; never waits.
//! When it fails: a panic of the thread is a panic of the actor; after the restart it continues with the same
//! socket, where the kernel has buffered new datagrams.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, Supervised, WrapFuture};
use butler_sos_domain::throttle::OnceAMinute;
use slog::{Logger, error, warn};
use tokio::sync::oneshot;

use crate::intake::message::DatagramsReceived;
use crate::intake::udp::receiver::{Ended, IntakeCounters, Receiver};
use crate::kit::mailbox::{Envelope, Mailbox};
use crate::kit::message::Close;
use crate::kit::metric::{ActorMeter, IntakeMeter};
use crate::kit::supervisor::panic_text;

pub use crate::intake::udp::port::{OpenError, UdpConfig, UdpPort, open};

/// The actor. It keeps one receiving thread at the port.
pub struct UdpIngestor {
    port: Arc<UdpPort>,
    to_parser: Mailbox<DatagramsReceived>,
    counters: IntakeCounters,
    actor: ActorMeter,
    log: Logger,
    /// Stops the thread.
    stop: Option<Arc<AtomicBool>>,
}

impl UdpIngestor {
    /// The bound of `to_parser` is `messageQueue.maxSize`. No other actor may send through it.
    #[must_use]
    pub fn new(
        port: Arc<UdpPort>,
        to_parser: Mailbox<DatagramsReceived>,
        intake: &IntakeMeter,
        actor: ActorMeter,
        log: Logger,
    ) -> Self {
        let counters = IntakeCounters::new(intake, &port);
        Self { port, to_parser, counters, actor, log, stop: None }
    }

    fn start_thread(&mut self, ctx: &mut Context<Self>) {
        self.stop_thread();
        if self.port.is_drained() {
            return;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let receiver = Receiver {
            port: Arc::clone(&self.port),
            to_parser: self.to_parser.clone(),
            actor: self.actor.clone(),
            counters: self.counters.clone(),
            log: self.log.clone(),
            stop: Arc::clone(&stop),
        };
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("udp-receiver".to_owned()).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| receiver.run()));
            // The receiver is gone when the actor was restarted or has ended.
            let _ = end.send(outcome.map_err(|panic| panic_text(&*panic)));
        });
        if let Err(error) = thread {
            error!(self.log, "cannot start the receiver thread, will retry"; "error" => %error);
            ctx.run_later(THREAD_RETRY, Self::start_thread);
            return;
        }
        self.stop = Some(stop);
        let watch = ended.into_actor(self).map(|ended, _, _| match ended {
            Ok(Ok(Ended::Stopped | Ended::Drained)) => {}
            // Panic like any other bug, so that the supervisor counts it and restarts this actor.
            Ok(Err(panic)) => panic!("the receiver's thread panicked: {panic}"),
            Err(_) => panic!("the receiver's thread ended without a word"),
        });
        ctx.spawn(watch);
    }

    fn stop_thread(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.store(true, Ordering::Release);
        }
    }

    fn watch_kernel_drops(&self, ctx: &mut Context<Self>) {
        let (port, log) = (Arc::clone(&self.port), self.log.clone());
        let Some(kernel) = self.counters.kernel.clone() else {
            warn!(log, "cannot read the drop counter of the kernel");
            return;
        };
        let watch = async move {
            let (mut dropped, mut drops) = (0, OnceAMinute::default());
            loop {
                let (counting, kernel) = (Arc::clone(&port), kernel.clone());
                let counted =
                    actix_rt::task::spawn_blocking(move || counting.count_kernel_drops(&kernel)).await;
                dropped += counted.ok().flatten().unwrap_or(0);
                if dropped > 0 && drops.is_due(port.began.elapsed()) {
                    warn!(log, "the kernel dropped datagrams because the receive buffer was full";
                        "datagrams" => dropped, "sysctl" => "net.core.rmem_max");
                    dropped = 0;
                }
                tokio::time::sleep(KERNEL_DROPS_EVERY).await;
            }
        };
        ctx.spawn(watch.into_actor(self));
    }

    fn refresh_sources(&self, ctx: &mut Context<Self>) {
        if !self.port.has_names() {
            return;
        }
        let (port, log) = (Arc::clone(&self.port), self.log.clone());
        let refresh = async move {
            loop {
                tokio::time::sleep(port.sources_refresh).await;
                let (port, log) = (Arc::clone(&port), log.clone());
                // When it fails, the last addresses stay in use.
                let _ = actix_rt::task::spawn_blocking(move || port.resolve_sources(&log)).await;
            }
        };
        ctx.spawn(refresh.into_actor(self));
    }
}

const THREAD_RETRY: Duration = Duration::from_secs(1);
const KERNEL_DROPS_EVERY: Duration = Duration::from_secs(1);

impl Actor for UdpIngestor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.start_thread(ctx);
        self.watch_kernel_drops(ctx);
        self.refresh_sources(ctx);
    }
}

impl Supervised for UdpIngestor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.stop_thread();
    }
}

impl Drop for UdpIngestor {
    fn drop(&mut self) {
        self.stop_thread();
    }
}

impl Handler<Envelope<Close>> for UdpIngestor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Envelope<Close>, _: &mut Self::Context) -> Self::Result {
        self.port.closing.store(true, Ordering::Release);
        let port = Arc::clone(&self.port);
        Box::pin(async move { port.until_drained().await })
    }
}

#[cfg(test)]
mod tests;
