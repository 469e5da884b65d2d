//! What the service manager (systemd) is told: ready, how it goes, alive, stopping.
//!
//! # The protocol (`sd_notify(3)`)
//!
//! A unit of `Type=notify` gets two variables. `NOTIFY_SOCKET` names a Unix datagram socket, by its path or, when it
//! begins with `@`, by its name in the abstract namespace; every datagram to it is a list of lines `KEY=value`.
//! `WATCHDOG_USEC` is the time in microseconds within which the next `WATCHDOG=1` must arrive, lest the service be
//! killed and started anew; it is meant for the process whose number is `WATCHDOG_PID`, when that is given.
//!
//! | datagram | when |
//! |---|---|
//! | `READY=1` | every part has started and listens |
//! | `WATCHDOG=1` | at half the interval, as long as the journal answers |
//! | `STATUS=…` | with each of these; `systemctl status` shows it |
//! | `STOPPING=1`, `EXTEND_TIMEOUT_USEC=…` | destinations catch up, which may take this long |
//!
//! Without `NOTIFY_SOCKET` nothing is sent and nothing watched.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, warn};

use crate::operations::readiness::Readiness;
use crate::operations::view::View;

/// The line to the service manager; cheap to clone.
#[derive(Clone)]
pub struct ServiceManager {
    line: Option<Arc<UnixDatagram>>,
    /// How often to say how it goes.
    pulse: Duration,
    /// Whether somebody waits for a sign of life.
    watched: bool,
    log: Logger,
}

/// Between two states told when there is no watchdog to set the pace.
const PULSE_UNWATCHED: Duration = Duration::from_secs(30);
/// A watchdog shorter than this is served as if it had this length: the journal has a while to answer.
const PULSE_MIN: Duration = Duration::from_millis(50);
/// The service manager reads at once, or something is wrong with it that must not stop us.
const SEND_LIMIT: Duration = Duration::from_secs(1);

impl ServiceManager {
    /// The service manager that started this process, if one did and wants to be told.
    #[must_use]
    pub fn from_environment(log: &Logger) -> Self {
        Self::from_variables(|name| std::env::var_os(name), std::process::id(), log)
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>, pid: u32, log: &Logger) -> Self {
        let line = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            let line = connect(&name);
            line.inspect_err(|error| {
                warn!(log, "cannot reach the service manager"; "socket" => ?name, "error" => %error);
            })
            .ok()
        });
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let for_us = number("WATCHDOG_PID").is_none_or(|watched| watched == u64::from(pid));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| for_us && *micros > 0);
        let pulse = watchdog.map_or(PULSE_UNWATCHED, |micros| Duration::from_micros(micros / 2));
        let watched = watchdog.is_some();
        Self { line: line.map(Arc::new), pulse: pulse.max(PULSE_MIN), watched, log: log.clone() }
    }

    /// Everything has started and listens.
    pub fn ready(&self) {
        self.notify("READY=1\nSTATUS=receiving events");
    }

    /// The end has begun, and takes `limit` at most.
    pub fn stopping(&self, limit: Duration) {
        let micros = limit.as_micros();
        self.notify(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=stopping, destinations catch up"
        ));
    }

    /// Tells how it goes, and that the journal answers, for as long as it is polled. Must run where everything else
    /// waits too: a server whose own arbiter hangs gives no sign of life.
    pub async fn watch(self, view: View) {
        if self.line.is_none() {
            return;
        }
        let mut pulse = tokio::time::interval(self.pulse);
        pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            pulse.tick().await;
            self.notify(&sign(&view.readiness().await, self.watched));
        }
    }

    fn notify(&self, lines: &str) {
        let Some(line) = &self.line else { return };
        if let Err(error) = line.send(lines.as_bytes()) {
            warn!(self.log, "cannot notify the service manager"; "error" => %error);
        }
    }
}

/// What is told at each pulse. The state is told also when the sign of life is withheld: it says why.
fn sign(readiness: &Readiness, watched: bool) -> String {
    let life = if watched && readiness.journal_answers { "WATCHDOG=1\n" } else { "" };
    format!("{life}STATUS={}", status(readiness))
}

/// One line for `systemctl status`.
fn status(readiness: &Readiness) -> String {
    let waiting = readiness.destinations.iter().filter(|(_, destination)| !destination.up);
    let waiting: Vec<String> =
        waiting.map(|(name, destination)| format!("{name} ({})", destination.lag_events)).collect();
    let text = match (readiness.reasons.is_empty(), waiting.is_empty()) {
        (false, _) => format!("not ready: {}", readiness.reasons.join("; ")),
        (true, false) => format!("receiving events, which wait for {}", waiting.join(", ")),
        (true, true) => "receiving events".to_owned(),
    };
    text.replace(char::is_control, " ")
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let line = UnixDatagram::unbound()?;
    line.connect_addr(&address)?;
    line.set_write_timeout(Some(SEND_LIMIT))?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use slog::{Discard, o};

    use super::*;
    use crate::operations::readiness::DestinationReadiness;

    /// A service manager that listens, and a line to it.
    struct Fake {
        socket: UnixDatagram,
        _directory: tempfile::TempDir,
        line: ServiceManager,
    }

    fn of(variables: &[(&str, &str)]) -> ServiceManager {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        ServiceManager::from_variables(variable, 42, &Logger::root(Discard, o!()))
    }

    fn fake() -> Fake {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        let line = of(&[("NOTIFY_SOCKET", path.to_str().expect("a plain path"))]);
        Fake { socket, _directory: directory, line }
    }

    impl Fake {
        fn received(&self) -> String {
            let mut buffer = [0; 1024];
            let length = self.socket.recv(&mut buffer).expect("a datagram");
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        }
    }

    #[test]
    fn ready_and_stopping_are_told() {
        let fake = fake();
        fake.line.ready();
        assert_eq!(fake.received(), "READY=1\nSTATUS=receiving events");
        fake.line.stopping(Duration::from_secs(35));
        assert_eq!(
            fake.received(),
            "STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000\nSTATUS=stopping, destinations catch up"
        );
    }

    #[test]
    fn names_without_a_place_in_the_file_system() {
        let name = format!("butler-sos-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        of(&[("NOTIFY_SOCKET", &format!("@{name}"))]).ready();
        let mut buffer = [0; 8];
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        socket.recv(&mut buffer).expect("a datagram");
        assert_eq!(&buffer, b"READY=1\n");
    }

    #[test]
    fn nobody_to_tell() {
        for variables in [&[][..], &[("NOTIFY_SOCKET", "")], &[("NOTIFY_SOCKET", "/nobody/listens/here")]] {
            let line = of(variables);
            assert!(line.line.is_none());
            line.ready();
        }
    }

    #[test]
    fn the_pulse_is_half_the_watchdog() {
        let check = |variables: &[(&str, &str)], watched: bool, pulse: Duration| {
            let line = of(variables);
            assert_eq!((line.watched, line.pulse), (watched, pulse), "{variables:?}");
        };
        let seconds = Duration::from_secs;
        check(&[("WATCHDOG_USEC", "60000000")], true, seconds(30));
        check(&[("WATCHDOG_USEC", "60000000"), ("WATCHDOG_PID", "42")], true, seconds(30));
        check(&[("WATCHDOG_USEC", "60000000"), ("WATCHDOG_PID", "43")], false, PULSE_UNWATCHED);
        check(&[("WATCHDOG_USEC", "1")], true, PULSE_MIN);
        check(&[("WATCHDOG_USEC", "0")], false, PULSE_UNWATCHED);
        check(&[("WATCHDOG_USEC", "soon")], false, PULSE_UNWATCHED);
        check(&[], false, PULSE_UNWATCHED);
    }

    #[test]
    fn life_is_that_the_journal_answers() {
        let check = |reasons: &[&str], down: &[&'static str], answers: bool, watched: bool, expect: &str| {
            let readiness = Readiness {
                stopping: false,
                status: "",
                reasons: reasons.iter().map(ToString::to_string).collect(),
                warnings: Vec::new(),
                destinations: down.iter().map(|name| (*name, waiting())).collect(),
                journal_answers: answers,
            };
            assert_eq!(sign(&readiness, watched), expect);
        };
        check(&[], &[], true, true, "WATCHDOG=1\nSTATUS=receiving events");
        check(&[], &[], true, false, "STATUS=receiving events");
        let waits = "WATCHDOG=1\nSTATUS=receiving events, which wait for csv_sink (7), influx_sink (7)";
        check(&[], &["influx_sink", "csv_sink"], true, true, waits);
        // A full disk is told, and is no reason to be started anew.
        check(
            &["the journal rejects events: a\nb"],
            &[],
            true,
            true,
            "WATCHDOG=1\nSTATUS=not ready: the journal rejects events: a b",
        );
        check(
            &["the journal does not respond"],
            &["csv_sink"],
            false,
            true,
            "STATUS=not ready: the journal does not respond",
        );
    }

    fn waiting() -> DestinationReadiness {
        DestinationReadiness {
            up: false,
            lag_events: 7,
            lag_seconds: 1.0,
            last_error: Some("refused".into()),
            last_error_class: Some("connect"),
            last_error_unix_ms: None,
        }
    }
}
