//! What a signal does to the running server.
//!
//! | signal | what happens |
//! |---|---|
//! | SIGTERM, SIGINT | it stops; a second one later than a second after the first stops it at once |
//! | SIGHUP | certificates and authorities are read again, the log file is opened anew |
//! | SIGUSR1, SIGUSR2 | nothing; the log tells |
//!
//! Commands that go on for a while hear those that they have to, [`Interrupts`] and [`Leaving`].

use std::io;
use std::time::Duration;

use butler_sos_actors::net::tls::reread::Reread;
use slog::{Logger, info, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::logging::FileReopener;

/// Who signals a whole process group, and its members too, means it once.
const ONE_WISH: Duration = Duration::from_secs(1);

/// Waits for a second wish to stop.
pub async fn told_again() -> &'static str {
    tokio::time::sleep(ONE_WISH).await;
    told_to_stop().await
}

/// Waits for SIGTERM or SIGINT, and says which.
pub async fn told_to_stop() -> &'static str {
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else {
        // Without handlers the signals end the process as they always do.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Handles every other signal for as long as the server runs. From the moment that this returns none of them ends the
/// process; must be called in the actor system's own arbiter.
pub fn handle_others(log: &Logger, reread: Reread, log_file: FileReopener) {
    match Others::listen() {
        Ok(others) => _ = actix_rt::spawn(others.handle(log.clone(), reread, log_file)),
        Err(error) => {
            warn!(log, "cannot install signal handlers, SIGHUP and SIGUSR1 end the server"; "error" => %error);
        }
    }
}

struct Others {
    hangup: Signal,
    first: Signal,
    second: Signal,
}

impl Others {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            first: signal(SignalKind::user_defined1())?,
            second: signal(SignalKind::user_defined2())?,
        })
    }

    async fn handle(mut self, log: Logger, reread: Reread, log_file: FileReopener) {
        loop {
            tokio::select! {
                Some(()) = self.hangup.recv() => {
                    reread.ask();
                    log_file.ask();
                    info!(log, "reloading certificates and reopening the log file"; "signal" => "SIGHUP");
                }
                Some(()) = self.first.recv() => info!(log, "signal ignored"; "signal" => "SIGUSR1"),
                Some(()) = self.second.recv() => info!(log, "signal ignored"; "signal" => "SIGUSR2"),
                else => return,
            }
        }
    }
}

/// Ctrl-C, heard from the beginning: what is pressed while nobody waits counts too.
pub struct Interrupts(Signal);

impl Interrupts {
    pub fn listen() -> io::Result<Self> {
        signal(SignalKind::interrupt()).map(Self)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// What ends a program from outside.
pub struct Leaving([Signal; 4]);

impl Leaving {
    pub fn listen() -> io::Result<Self> {
        let [interrupt, terminate, hangup, quit] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()]
                .map(signal);
        Ok(Self([interrupt?, terminate?, hangup?, quit?]))
    }

    /// Waits for any of them.
    pub async fn any(&mut self) {
        let all = self.0.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures_util::future::select_all(all).await;
    }
}
