//! One server, started as an administrator would start it, in a directory of its own.
//!
//! The real binary on ports that the system chooses; they stay the same over restarts, as an
//! administrator's would. Everything is thrown away at the end, unless a test failed: then the
//! directory and the log stay and are named.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Answer, Http};
use crate::tools::built;

/// Nothing here takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` gives something; panics with `what` when it never does.
pub fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, condition)
}

/// [`wait_for`] with a limit of its own.
pub fn wait_within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} for {what}");
        pause();
    }
}

/// Between two looks at a condition.
#[expect(clippy::disallowed_methods, reason = "a test's thread is nobody's arbiter")]
fn pause() {
    thread::sleep(Duration::from_millis(10));
}

/// The server's binary, built beside the tests.
pub fn binary(name: &str) -> PathBuf {
    let binary = built().join(name);
    assert!(binary.exists(), "{} is not built; `make test` builds it", binary.display());
    binary
}

/// A server in a directory of its own, running or not.
pub struct Sandbox {
    directory: Option<TempDir>,
    path: PathBuf,
    config: PathBuf,
    server: Option<Server>,
    /// Ports that the first start was given, kept for the next.
    ports: BTreeMap<String, SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
    /// Before the server's command line.
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
}

struct Server {
    child: Child,
}

impl Sandbox {
    /// A server with this configuration, not started yet. In the text, `{dir}` stands for the
    /// sandbox's directory. Ports are best left at 0.
    pub fn new(config: &str) -> Self {
        let directory = TempDir::with_prefix("butler-sos-").expect("a temporary directory");
        let path = directory.path().to_owned();
        let sandbox = Self {
            config: path.join("butler-sos.yaml"),
            directory: Some(directory),
            path,
            server: None,
            ports: BTreeMap::new(),
            log: Arc::default(),
            wrapper: Vec::new(),
            environment: Vec::new(),
        };
        sandbox.write_config(config);
        sandbox
    }

    /// [`Sandbox::new`], started and ready.
    pub fn start_new(config: &str) -> Self {
        let mut sandbox = Self::new(config);
        sandbox.start();
        sandbox
    }

    /// Starts of the server from now on stand behind these words, which end in replacing themselves by it.
    pub fn wrap(&mut self, wrapper: Vec<String>) {
        self.wrapper = wrapper;
    }

    /// Starts of the server from now on have this in their environment.
    pub fn set_environment(&mut self, name: &str, value: impl Into<String>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    pub fn write_config(&self, config: &str) {
        let config = config.replace("{dir}", &self.path.display().to_string());
        std::fs::write(&self.config, config).expect("the sandbox's directory is writable");
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// Starts the server and waits until it is ready.
    pub fn start(&mut self) {
        self.spawn();
        wait_for("the server to be ready", || {
            if let Some(status) = self.exited() {
                panic!("the server ended with {status} instead of starting:\n{}", self.log_text());
            }
            let operations = self.try_address("operations")?;
            (get(operations, "/ready")?.0 == 200).then_some(())
        });
    }

    /// Starts the server and waits until it says that it runs: `/ready` may be closed.
    pub fn start_closed(&mut self) {
        self.spawn();
        wait_for("the server to run", || {
            assert!(self.exited().is_none(), "the server ended:\n{}", self.log_text());
            self.log_text().contains("butler-sos is running").then_some(())
        });
    }

    /// Starts the server and does not wait.
    pub fn spawn(&mut self) {
        assert!(self.server.is_none(), "the server runs already");
        // As those who send know them.
        for service in SERVICES {
            if let Some(address) = self.try_address(service.name) {
                self.ports.insert(service.name.to_owned(), address);
            }
        }
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut command = match self.wrapper.split_first() {
            None => Command::new(binary("butler-sos")),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(binary("butler-sos"));
                command
            }
        };
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.arg("run").arg("-c").arg(&self.config).current_dir(&self.path);
        command.arg("--set").arg("Pipeline.log.format=json");
        for service in SERVICES {
            if let Some(address) = self.ports.get(service.name) {
                command.arg("--set").arg(format!("{}={}", service.port_key, address.port()));
            }
        }
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        for stream in [
            child.stdout.take().map(|out| Box::new(out) as Box<dyn std::io::Read + Send>),
            child.stderr.take().map(|err| Box::new(err) as Box<dyn std::io::Read + Send>),
        ]
        .into_iter()
        .flatten()
        {
            let log = Arc::clone(&self.log);
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            });
        }
        self.server = Some(Server { child });
    }

    /// `kill -9`: nothing is flushed, nobody is told.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("the server runs");
        server.child.kill().expect("the server can be killed");
        server.child.wait().expect("the server was a child");
    }

    /// SIGTERM, and what the server answers with.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_exit()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill is there");
        assert!(status.success(), "the server cannot be signalled");
    }

    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let status = wait_for("the server to end", || self.exited());
        self.server = None;
        status
    }

    /// The status with which the server has ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.server.as_mut()?.child.try_wait().expect("the server is a child")
    }

    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("the server runs").child.id()
    }

    /// Where the server listens: `operations`, `user-events` or `audit-events`.
    pub fn address(&self, service: &str) -> SocketAddr {
        wait_for(&format!("{service} to be listened for"), || self.try_address(service))
    }

    fn try_address(&self, service: &str) -> Option<SocketAddr> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let is_it = line.get("message")? == "listening" && line.get("service")? == service;
            is_it.then(|| line.get("address")?.as_str()?.parse().ok()).flatten()
        })
    }

    /// The log so far, one line each.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn log_text(&self) -> String {
        self.log_lines().join("\n")
    }

    /// Leaves the directory behind, with the log; where it is.
    pub fn keep(mut self) -> PathBuf {
        let _ = std::fs::write(self.path.join("server.log"), self.log_text());
        self.directory.take().map_or_else(|| self.path.clone(), TempDir::keep)
    }

    // --- talking to it

    /// A socket connected to the UDP intake.
    pub fn udp(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port to send from");
        socket.connect(self.address("user-events")).expect("the intake has an address");
        socket
    }

    /// A client of the operations server.
    pub fn operations(&self) -> Http {
        Http::new(self.address("operations"))
    }

    /// Status and body of a GET at the operations server.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.address("operations"), path).expect("the operations server answers")
    }

    /// The JSON that a GET at the operations server answers.
    pub fn json(&self, path: &str) -> Value {
        let answer = self.operations().get(path).expect("the operations server answers");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// What `/ready` answers: status and body.
    pub fn ready(&self) -> (u16, Value) {
        let answer = self.operations().get("/ready").expect("the operations server answers");
        (answer.status, answer.json())
    }

    /// Makes an actor panic (in builds for tests alone).
    pub fn panic(&self, actor: &str) {
        let answer = self.try_panic(actor).unwrap_or_else(|error| panic!("{actor}: {error}"));
        assert!(answer.status < 400, "{actor} cannot be made to panic: {answer:?}");
    }

    /// The same where the process may be gone before it has answered.
    pub fn try_panic(&self, actor: &str) -> io::Result<Answer> {
        self.operations().send("POST", &format!("/test/panic/{actor}"), &[], "")
    }

    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").1)
    }

    /// Waits until every intake has accounted for what it was given and no destination lags; the
    /// figures then.
    pub fn settle(&self) -> Metrics {
        self.settle_after(0)
    }

    /// [`Sandbox::settle`] once the UDP intake has received so many events.
    pub fn settle_after(&self, received: u64) -> Metrics {
        self.settle_within(PATIENCE, received)
    }

    /// [`Sandbox::settle_after`] with a limit of its own.
    pub fn settle_within(&self, limit: Duration, received: u64) -> Metrics {
        wait_within(limit, &format!("{received} events to be received and accounted for"), || {
            let metrics = self.metrics();
            (metrics.user_events_received() >= received && metrics.unaccounted() == 0.0).then_some(())
        });
        // What waits is told as of the beginning of an answer, what is stored as of its end: only now is whatever has
        // been stored among what waits.
        wait_within(limit, "every event to be delivered", || {
            let metrics = self.metrics();
            let waiting = metrics.sum("butler_sos_destination_lag_events", &[]);
            (waiting == 0.0 && metrics.unaccounted() == 0.0).then_some(metrics)
        })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.child.kill();
            let _ = server.child.wait();
        }
        if thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            let path = directory.keep();
            let log = path.join("server.log");
            let _ = std::fs::write(&log, self.log_text());
            eprintln!("the sandbox is kept in {}, its log is {}", path.display(), log.display());
        }
    }
}

/// A port that nobody listens on just now.
pub fn free_port() -> u16 {
    // Below those that the system gives to connections: whoever gets it may stop and start again.
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Other test processes begin elsewhere.
    let begin = std::process::id().wrapping_mul(101);
    let port = || {
        let next = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        u16::try_from(FIRST + next % COUNT).ok()
    };
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::from_fn(port).take(COUNT as usize).find(is_free).expect("a free port")
}

/// What the server listens for, and the setting that names its port.
struct Service {
    name: &'static str,
    port_key: &'static str,
}

const SERVICES: [Service; 3] = [
    Service { name: "operations", port_key: "Pipeline.operations.port" },
    Service { name: "user-events", port_key: "Butler-SOS.userEvents.udpServerConfig.portUserActivityEvents" },
    Service { name: "audit-events", port_key: "Butler-SOS.auditEvents.port" },
];

/// Status and body; `None` when nobody answers.
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let answer = Http::new(address).get(path).ok().filter(|answer| !answer.is_cut)?;
    Some((answer.status, answer.text()))
}

/// One exposition, as samples.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Vec<Sample>);

#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// What the operations server at `address` says; `None` when nobody answers.
    pub fn of(address: SocketAddr) -> Option<Self> {
        get(address, "/metrics").filter(|(status, _)| *status == 200).map(|(_, text)| Self::parse(&text))
    }

    /// Reads Prometheus text; our label values hold no quotes.
    fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(Sample::parse).collect())
    }

    /// The sum of all samples of `name` that have these labels; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        };
        self.0.iter().filter(has).map(|sample| sample.value).sum()
    }

    /// The values that a label of `name` has.
    pub fn labels(&self, name: &str, label: &str) -> BTreeSet<String> {
        let samples = self.0.iter().filter(|sample| sample.name == name);
        samples.filter_map(|sample| sample.labels.get(label).cloned()).collect()
    }

    /// User events that left the kernel's buffer, one way or the other.
    pub fn user_events_received(&self) -> u64 {
        let taken = self.sum("butler_sos_events_received_total", &[("intake", "user_events")]);
        (taken + self.sum("butler_sos_events_dropped_by_kernel_total", &[])) as u64
    }

    /// received − stored − rejected − shed, over all intakes: 0 when nothing is under way.
    pub fn unaccounted(&self) -> f64 {
        let all = |name| self.sum(name, &[]);
        all("butler_sos_events_received_total")
            - all("butler_sos_events_stored_total")
            - all("butler_sos_events_rejected_total")
            - all("butler_sos_events_shed_total")
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| {
            let (key, value) = label.split_once("=\"")?;
            Some((key.to_owned(), value.trim_end_matches('"').to_owned()))
        });
        Some(Self { name: name.to_owned(), labels: labels.collect(), value: value.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exposition_is_read() {
        let text = "# HELP x y\nx{a=\"b\",c=\"d\"} 3\nx{a=\"e\"} 4\nz 0.5\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("x", &[]), 7.0);
        assert_eq!(metrics.sum("x", &[("c", "d")]), 3.0);
        assert_eq!(metrics.sum("z", &[]), 0.5);
    }
}
