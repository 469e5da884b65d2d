//! Stores the newest lines of JSON on disk: dead letters, rejected datagrams.
//!
//! Receives: `AppendLines`; the answer comes when its lines are on disk.
//! Sends: nothing.
//! Keeps: the lines, in a directory of bounded size ([`crate::line_log::store`]); the oldest are removed
//! first, and counted.
//! When full: the mailbox bounds its input; waiting messages are written and synced together.
//! When it fails: a disk error is an answer (`LinesRefused`); the lines of the message are then not stored.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, Supervised, WrapFuture};
use butler_sos_domain::throttle::OnceAMinute;
use slog::{Logger, error, warn};
use tokio::sync::oneshot;

use crate::kit::lock::lock;
use crate::kit::mailbox::{Envelope, InFlight};
use crate::kit::metric::ActorMeter;
use crate::line_log::message::{AppendLines, LinesRefused};
use crate::line_log::store::{Appended, SegmentStore};

pub use crate::line_log::store::{Entry, EntryId, NotAnEntryId, entries, find, newest, remove};

/// `Pipeline.deadLetters` or `Pipeline.quarantine`.
#[derive(Debug, Clone)]
pub struct LineLogConfig {
    pub directory: PathBuf,
    pub bytes_max: u64,
}

/// The actor.
pub struct LineLog {
    config: LineLogConfig,
    /// One blocking task at a time uses it. `None` until it is opened, and after an error.
    store: Arc<Mutex<Option<SegmentStore>>>,
    waiting: Vec<Waiting>,
    writing: bool,
    actor: ActorMeter,
    log: Logger,
    began: Instant,
    errors: OnceAMinute,
}

/// A message that waits for the disk, and occupies its room in the mailbox meanwhile.
struct Waiting {
    keep: AppendLines,
    answer: oneshot::Sender<Result<(), LinesRefused>>,
    _in_flight: InFlight,
}

impl LineLog {
    #[must_use]
    pub fn new(config: LineLogConfig, actor: ActorMeter, log: Logger) -> Self {
        Self {
            config,
            store: Arc::default(),
            waiting: Vec::new(),
            writing: false,
            actor,
            log,
            began: Instant::now(),
            errors: OnceAMinute::default(),
        }
    }

    /// Writes all waiting messages with one sync. Messages that arrive meanwhile form the next group.
    fn write(&mut self, ctx: &mut Context<Self>) {
        if self.writing || self.waiting.is_empty() {
            return;
        }
        self.writing = true;
        let group = std::mem::take(&mut self.waiting);
        let (store, config) = (Arc::clone(&self.store), self.config.clone());
        let written = actix_rt::task::spawn_blocking(move || {
            let outcome = append(&store, &config, &group).map_err(|error| LinesRefused(error.to_string()));
            for waiting in group {
                // The caller may be gone.
                let _ = waiting.answer.send(outcome.as_ref().map(|_| ()).map_err(Clone::clone));
            }
            outcome
        });
        let done = written.into_actor(self).map(|outcome, this, ctx| {
            this.writing = false;
            match outcome {
                Ok(Ok(appended)) => this.count(appended),
                Ok(Err(refused)) => this.log_error(&refused.to_string()),
                // Dropping the group notifies its callers.
                Err(panic) => this.log_error(&panic.to_string()),
            }
            this.write(ctx);
        });
        ctx.spawn(done);
    }

    fn count(&mut self, appended: Appended) {
        // The next error is a new one, and is logged at once.
        self.errors = OnceAMinute::default();
        for (reason, lines) in [("evicted", appended.evicted), ("too_large", appended.too_large)] {
            if lines > 0 {
                self.actor.rejected(reason, lines);
                warn!(self.log, "the line log evicted old lines to free space"; "actor" => self.actor.name(),
                    "reason" => reason, "lines" => lines, "directory" => %self.config.directory.display());
            }
        }
    }

    fn log_error(&mut self, detail: &str) {
        self.actor.rejected("disk", 1);
        if self.errors.is_due(self.began.elapsed()) {
            error!(self.log, "the line log cannot write lines"; "actor" => self.actor.name(), "error" => detail,
                "directory" => %self.config.directory.display());
        }
    }
}

/// Blocks.
fn append(
    store: &Mutex<Option<SegmentStore>>,
    config: &LineLogConfig,
    group: &[Waiting],
) -> std::io::Result<Appended> {
    let mut store = lock(store);
    // Taken out, so that it is opened again after an error or a panic.
    let mut open = match store.take() {
        Some(open) => open,
        None => SegmentStore::open(&config.directory, config.bytes_max)?,
    };
    let lines = group.iter().flat_map(|waiting| &waiting.keep.lines);
    let appended = open.append(lines.map(Vec::as_slice))?;
    *store = Some(open);
    Ok(appended)
}

impl Actor for LineLog {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // After a restart, messages are still waiting.
        self.write(ctx);
    }
}

impl Supervised for LineLog {
    fn restarting(&mut self, _: &mut Self::Context) {
        // A running group finishes on its own thread. The store's lock delays the next one until then.
        self.writing = false;
    }
}

impl Handler<Envelope<AppendLines>> for LineLog {
    type Result = ResponseFuture<Result<(), LinesRefused>>;

    fn handle(&mut self, envelope: Envelope<AppendLines>, ctx: &mut Self::Context) -> Self::Result {
        self.actor.received.inc();
        let (answer, answered) = oneshot::channel();
        self.waiting.push(Waiting { keep: envelope.body, answer, _in_flight: envelope.in_flight });
        self.write(ctx);
        Box::pin(async move {
            answered.await.unwrap_or_else(|_| Err(LinesRefused("the writer ended unexpectedly".to_owned())))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::kit::mailbox::Mailbox;
    use crate::kit::metric::Metrics;
    use crate::kit::supervisor::{RestartPolicy, Supervision};
    use crate::kit::testing::{discard_log, until};

    fn line_log(
        directory: &Path,
        bytes_max: u64,
    ) -> (actix::Addr<LineLog>, Mailbox<AppendLines>, ActorMeter) {
        let meter = Metrics::new().actor("quarantine");
        let config = LineLogConfig { directory: directory.to_owned(), bytes_max };
        let line_log = LineLog::new(config, meter.clone(), discard_log());
        let supervision = Supervision {
            policy: RestartPolicy { backoff: Duration::from_millis(1), ..RestartPolicy::default() },
            log: discard_log(),
            give_up: Arc::new(|actor| panic!("{actor} was given up")),
            #[cfg(feature = "test-panics")]
            switches: crate::kit::supervisor::PanicSwitches::default(),
        };
        let addr = supervision.start(&actix_rt::Arbiter::current(), meter.clone(), move || line_log);
        (addr.clone(), Mailbox::new(addr, 1_000), meter)
    }

    fn keep(lines: &[&str]) -> AppendLines {
        AppendLines { lines: lines.iter().map(|line| line.as_bytes().to_vec()).collect() }
    }

    fn kept(directory: &Path) -> Vec<String> {
        entries(directory).unwrap().map(|entry| String::from_utf8(entry.unwrap().line).unwrap()).collect()
    }

    #[actix_rt::test]
    async fn answered_lines_are_on_disk_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (_addr, mailbox, _) = line_log(dir.path(), 100_000);
        let asks = (0..50).map(|n| {
            let mailbox = mailbox.clone();
            async move { mailbox.ask(keep(&[&format!("a{n}"), &format!("b{n}")])).await }
        });
        for answer in futures_util::future::join_all(asks).await {
            answer.unwrap().unwrap();
        }
        let expect: Vec<String> = (0..50).flat_map(|n| [format!("a{n}"), format!("b{n}")]).collect();
        assert_eq!(kept(dir.path()), expect);
        assert_eq!(mailbox.depth(), 0);
    }

    #[actix_rt::test]
    async fn a_disk_error_is_an_answer_and_the_log_recovers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kept");
        fs::write(&path, "a file where the directory should be").unwrap();
        let (_addr, mailbox, meter) = line_log(&path, 100_000);
        assert!(mailbox.ask(keep(&["1"])).await.unwrap().is_err());
        assert!(mailbox.ask(keep(&["2"])).await.unwrap().is_err());
        fs::remove_file(&path).unwrap();
        mailbox.ask(keep(&["3"])).await.unwrap().unwrap();
        assert_eq!(kept(&path), ["3"]);
        assert_eq!(meter.restarts.get(), 0);
    }

    #[actix_rt::test]
    async fn a_link_in_place_of_a_file_is_an_error_and_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let segment = dir.path().join(format!("{:020}.jsonl", 1));
        let victim = dir.path().join("victim");
        fs::write(&victim, "theirs\n").unwrap();
        std::os::unix::fs::symlink(&victim, &segment).unwrap();
        let (_addr, mailbox, meter) = line_log(dir.path(), 100_000);
        assert!(mailbox.ask(keep(&["1"])).await.unwrap().is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs\n");
        fs::remove_file(&segment).unwrap();
        mailbox.ask(keep(&["2"])).await.unwrap().unwrap();
        assert_eq!(kept(dir.path()), ["2"]);
        assert_eq!(meter.restarts.get(), 0);
    }

    #[actix_rt::test]
    async fn evicted_lines_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (_addr, mailbox, meter) = line_log(dir.path(), 80);
        for n in 0..20 {
            mailbox.ask(keep(&[&format!("{n:08}")])).await.unwrap().unwrap();
        }
        let large = "x".repeat(80);
        mailbox.ask(keep(&[&large])).await.unwrap().unwrap();
        assert!(kept(dir.path()).len() < 20);
        until(|| meter.received.get() == 21).await;
    }

    #[derive(actix::Message)]
    #[rtype(result = "()")]
    struct Panic;

    impl Handler<Panic> for LineLog {
        type Result = ();

        fn handle(&mut self, _: Panic, _: &mut Self::Context) {
            panic!("a test wants it");
        }
    }

    #[actix_rt::test]
    async fn a_panic_loses_no_waiting_line() {
        let dir = tempfile::tempdir().unwrap();
        let (addr, mailbox, meter) = line_log(dir.path(), 100_000);
        for n in 0..100 {
            mailbox.offer(keep(&[&n.to_string()]), 1).unwrap();
            if n == 50 {
                assert!(addr.send(Panic).await.is_err());
            }
        }
        until(|| kept(dir.path()).len() == 100).await;
        until(|| mailbox.depth() == 0).await;
        assert_eq!(meter.restarts.get(), 1);
    }
}
