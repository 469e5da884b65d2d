//! Keeps an actor alive across panics.
//!
//! actix's own supervisor survives `ctx.stop()` but not a panic, which drops the actor and
//! everything in its mailbox. This one drives the actor's `ContextFut` itself, inside
//! `catch_unwind`, and restarts it in place: same address, same waiting messages. Only the message that was
//! being handled is lost; its sender gets an error.
//!
//! A restarted actor gets `restarting()`, where it discards state that the panic may have left inconsistent,
//! and then `started()` again. All its timers, streams and spawned futures have been dropped by then, and
//! future handles count from one again: an actor must not keep a `SpawnHandle` across `restarting()`.

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::{Duration, Instant};

use actix::dev::{ContextFut, channel};
use actix::{Actor, Addr, Context, Supervised};
use actix_rt::ArbiterHandle;
use slog::{Logger, error, warn};

use crate::kit::metric::ActorMeter;

/// The restart policy (`Pipeline.supervision`).
#[derive(Debug, Clone, Copy)]
pub struct RestartPolicy {
    /// More restarts than this within `window` end the process.
    pub restarts_max: usize,
    pub window: Duration,
    /// The pause before the first restart. It doubles with each further restart in the window.
    pub backoff: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self { restarts_max: 4, window: Duration::from_secs(60), backoff: Duration::from_millis(100) }
    }
}

/// State that all supervisors of one process share.
#[derive(Clone)]
pub struct Supervision {
    pub policy: RestartPolicy,
    pub log: Logger,
    /// Called with the name of an actor that restarted too often. Ends the process.
    pub give_up: Arc<dyn Fn(&'static str) + Send + Sync>,
    #[cfg(feature = "test-panics")]
    pub switches: PanicSwitches,
}

impl Supervision {
    /// Starts the actor that `make` builds in `arbiter`, and keeps it running.
    ///
    /// The actix mailbox is not bounded here: a [`Mailbox`](crate::kit::mailbox::Mailbox) bounds each sender.
    pub fn start<A>(
        &self,
        arbiter: &ArbiterHandle,
        meter: ActorMeter,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Addr<A>
    where
        A: Actor<Context = Context<A>> + Supervised + Unpin,
    {
        let (sender, receiver) = channel::channel(MAILBOX_SLOTS);
        let supervision = self.clone();
        let address = Addr::new(sender);
        let kept = address.clone();
        arbiter.spawn_fn(move || {
            let fut = Context::with_receiver(receiver).into_future(make());
            actix_rt::spawn(Supervisor::new(fut, kept, supervision, meter));
        });
        address
    }
}

/// Far more than all mailboxes together accept. They enforce the real bounds.
const MAILBOX_SLOTS: usize = 1 << 20;

/// Drives one actor. Completes when the actor stops itself or is given up.
struct Supervisor<A: Actor<Context = Context<A>>> {
    fut: ContextFut<A, Context<A>>,
    /// actix does not restart an actor without an address, and nobody else holds the address of a sink.
    _address: Addr<A>,
    supervision: Supervision,
    meter: ActorMeter,
    restarts: VecDeque<Instant>,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
    #[cfg(feature = "test-panics")]
    switch: PanicSwitch,
}

impl<A> Supervisor<A>
where
    A: Actor<Context = Context<A>> + Supervised + Unpin,
{
    fn new(
        fut: ContextFut<A, Context<A>>,
        address: Addr<A>,
        supervision: Supervision,
        meter: ActorMeter,
    ) -> Self {
        Self {
            #[cfg(feature = "test-panics")]
            switch: supervision.switches.add(meter.name()),
            fut,
            _address: address,
            supervision,
            meter,
            restarts: VecDeque::new(),
            pause: None,
        }
    }

    fn poll_actor(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        #[cfg(feature = "test-panics")]
        self.switch.poll(cx);
        Pin::new(&mut self.fut).poll(cx)
    }

    /// Records a panic and returns the pause before the restart, or the end of the process.
    fn panicked(&mut self, panic: Box<dyn Any + Send>) -> Result<(), GivenUp> {
        let policy = self.supervision.policy;
        let now = Instant::now();
        while self.restarts.front().is_some_and(|at| now.duration_since(*at) > policy.window) {
            self.restarts.pop_front();
        }
        let actor = self.meter.name();
        let reason = panic_text(&*panic);
        if self.restarts.len() >= policy.restarts_max {
            error!(self.supervision.log, "actor panicked too often, giving up";
                "actor" => actor, "panic" => reason, "restarts" => self.restarts.len());
            (self.supervision.give_up)(actor);
            return Err(GivenUp);
        }
        let pause = policy.backoff * (1 << self.restarts.len().min(10));
        warn!(self.supervision.log, "actor panicked, restarting";
            "actor" => actor, "panic" => reason, "pause_ms" => pause.as_millis());
        self.restarts.push_back(now);
        self.meter.restarts.inc();
        self.meter.failed("panic");
        self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        Ok(())
    }
}

struct GivenUp;

impl<A> Future for Supervisor<A>
where
    A: Actor<Context = Context<A>> + Supervised + Unpin,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let outcome = if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(cx));
                this.pause = None;
                // `restart` drops the actor's futures, whose destructors may panic too.
                catch_unwind(AssertUnwindSafe(|| this.fut.restart()))
                    .map(|restarted| if restarted { Step::Again } else { Step::Ended })
            } else {
                catch_unwind(AssertUnwindSafe(|| this.poll_actor(cx))).map(|poll| match poll {
                    Poll::Pending => Step::Waits,
                    Poll::Ready(()) => Step::Ended,
                })
            };
            match outcome {
                Ok(Step::Again) => {}
                Ok(Step::Waits) => return Poll::Pending,
                Ok(Step::Ended) => return Poll::Ready(()),
                Err(panic) => {
                    if this.panicked(panic).is_err() {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }
}

enum Step {
    Again,
    Waits,
    Ended,
}

/// The message of a panic, if it has one.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "not a text".to_owned())
}

#[cfg(feature = "test-panics")]
pub use switch::{PanicSwitch, PanicSwitches};

/// Lets a test make any actor panic from outside. Not part of a release.
#[cfg(feature = "test-panics")]
mod switch {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::{self, Waker};

    use crate::kit::lock::lock;

    #[derive(Clone, Default)]
    pub struct PanicSwitches(Arc<Mutex<BTreeMap<&'static str, PanicSwitch>>>);

    #[derive(Clone, Default)]
    pub struct PanicSwitch {
        wanted: Arc<AtomicUsize>,
        waker: Arc<Mutex<Option<Waker>>>,
    }

    impl PanicSwitches {
        pub(super) fn add(&self, actor: &'static str) -> PanicSwitch {
            let mut switches = lock(&self.0);
            switches.entry(actor).or_default().clone()
        }

        /// Makes `actor` panic at its next turn. Returns false when there is no such actor.
        pub fn panic(&self, actor: &str) -> bool {
            let switches = lock(&self.0);
            let Some(switch) = switches.get(actor) else { return false };
            switch.wanted.fetch_add(1, Ordering::SeqCst);
            if let Some(waker) = lock(&switch.waker).take() {
                waker.wake();
            }
            true
        }

        pub fn actors(&self) -> Vec<&'static str> {
            lock(&self.0).keys().copied().collect()
        }
    }

    impl PanicSwitch {
        pub(super) fn poll(&self, cx: &mut task::Context<'_>) {
            *lock(&self.waker) = Some(cx.waker().clone());
            let took =
                self.wanted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |wanted| wanted.checked_sub(1));
            if took.is_ok() {
                panic!("a test asked this actor to panic");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actix::{AsyncContext, Handler, Message, WrapFuture};

    use super::*;
    use crate::kit::metric::Metrics;
    use crate::kit::testing::{discard_log, until};

    /// Counts numbers, and panics in the requested way.
    struct Fragile {
        seen: Arc<Mutex<Vec<u32>>>,
        starts: Arc<AtomicUsize>,
        half_done: bool,
    }

    impl Actor for Fragile {
        type Context = Context<Self>;

        fn started(&mut self, _: &mut Self::Context) {
            assert!(!self.half_done, "restarting() was not called before started()");
            self.starts.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Supervised for Fragile {
        fn restarting(&mut self, _: &mut Self::Context) {
            self.half_done = false;
        }
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Number(u32);

    impl Handler<Number> for Fragile {
        type Result = ();

        fn handle(&mut self, Number(n): Number, _: &mut Self::Context) {
            self.seen.lock().unwrap().push(n);
        }
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    enum Break {
        Handler,
        Future,
        Timer,
    }

    impl Handler<Break> for Fragile {
        type Result = ();

        fn handle(&mut self, how: Break, ctx: &mut Self::Context) {
            self.half_done = true;
            match how {
                Break::Handler => panic!("in a handler"),
                Break::Future => {
                    ctx.spawn(async { panic!("in a spawned future") }.into_actor(self));
                }
                Break::Timer => {
                    ctx.run_later(Duration::from_millis(1), |_, _| panic!("in a timer"));
                }
            }
        }
    }

    struct Harness {
        addr: Addr<Fragile>,
        seen: Arc<Mutex<Vec<u32>>>,
        starts: Arc<AtomicUsize>,
        given_up: Arc<AtomicUsize>,
        meter: ActorMeter,
        supervision: Supervision,
    }

    fn harness(restarts_max: usize) -> Harness {
        let (seen, starts) = (Arc::default(), Arc::<AtomicUsize>::default());
        let given_up = Arc::<AtomicUsize>::default();
        let gave_up = given_up.clone();
        let supervision = Supervision {
            policy: RestartPolicy {
                restarts_max,
                window: Duration::from_secs(60),
                backoff: Duration::from_millis(1),
            },
            log: discard_log(),
            give_up: Arc::new(move |_| {
                gave_up.fetch_add(1, Ordering::SeqCst);
            }),
            #[cfg(feature = "test-panics")]
            switches: PanicSwitches::default(),
        };
        let meter = Metrics::new().actor("fragile");
        let actor = Fragile { seen: Arc::clone(&seen), starts: Arc::clone(&starts), half_done: false };
        let addr = supervision.start(&actix_rt::Arbiter::current(), meter.clone(), move || actor);
        Harness { addr, seen, starts, given_up, meter, supervision }
    }

    async fn check_survives(how: fn() -> Break) {
        let harness = harness(10);
        harness.addr.send(Number(1)).await.unwrap();
        let killer = harness.addr.send(how());
        // These messages wait in the mailbox while the actor panics.
        let waiting: Vec<_> = (2..50).map(|n| harness.addr.send(Number(n))).collect();
        let _ = killer.await;
        for answer in waiting {
            answer.await.unwrap();
        }
        until(|| harness.starts.load(Ordering::SeqCst) == 2).await;
        harness.addr.send(Number(50)).await.unwrap();
        assert_eq!(*harness.seen.lock().unwrap(), (1..=50).collect::<Vec<_>>());
        assert_eq!(harness.meter.restarts.get(), 1);
    }

    #[actix_rt::test]
    async fn a_panic_in_a_handler_loses_only_its_message() {
        check_survives(|| Break::Handler).await;
    }

    #[actix_rt::test]
    async fn a_panic_in_a_spawned_future_loses_no_message() {
        check_survives(|| Break::Future).await;
    }

    #[actix_rt::test]
    async fn a_panic_in_a_timer_loses_no_message() {
        check_survives(|| Break::Timer).await;
    }

    /// Works without messages, as a sink does.
    struct Alone(Arc<AtomicUsize>);

    impl Actor for Alone {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            let starts = self.0.fetch_add(1, Ordering::SeqCst);
            ctx.spawn(async move { assert!(starts >= 3, "at the first three starts") }.into_actor(self));
            ctx.spawn(std::future::pending().into_actor(self));
        }
    }

    impl Supervised for Alone {}

    #[actix_rt::test]
    async fn an_actor_without_senders_is_restarted() {
        let starts = Arc::<AtomicUsize>::default();
        let supervision = harness(10).supervision;
        let meter = Metrics::new().actor("alone");
        let alone = Alone(Arc::clone(&starts));
        drop(supervision.start(&actix_rt::Arbiter::current(), meter.clone(), move || alone));
        until(|| starts.load(Ordering::SeqCst) == 4).await;
        assert_eq!(meter.restarts.get(), 3);
    }

    #[actix_rt::test]
    async fn the_sender_of_a_failed_request_gets_an_error() {
        let harness = harness(10);
        assert!(harness.addr.send(Break::Handler).await.is_err());
    }

    #[actix_rt::test]
    async fn too_many_panics_in_the_window_end_the_actor() {
        let harness = harness(3);
        for _ in 0..3 {
            assert!(harness.addr.send(Break::Handler).await.is_err());
        }
        assert_eq!(harness.given_up.load(Ordering::SeqCst), 0);
        assert!(harness.addr.send(Break::Handler).await.is_err());
        until(|| harness.given_up.load(Ordering::SeqCst) == 1).await;
        assert_eq!(harness.meter.restarts.get(), 3);
    }
}
