//! One stretch of load: send, wait until all that can come has come, and say what it cost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::process::{Program, pause};
use super::server::{Plan, Server, get};
use super::site::Site;
use crate::influx_sink::Figures;

/// A stand-in for InfluxDB.
pub struct Sink {
    _program: Program,
    pub address: SocketAddr,
}

/// What is measured: the server or the floor.
pub enum Receiver {
    Server(Box<Server>),
    Floor(Program, SocketAddr),
}

/// What a stretch of load was and did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stretch {
    pub sent: u64,
    /// That the sender reached.
    pub rate: f64,
    /// That the sink never got.
    pub lost: u64,
    /// Processor microseconds for each event sent, of the receiver alone.
    pub cpu_us: f64,
    pub resident_bytes_max: u64,
    pub p99_ms: f64,
    /// From the first datagram until the sink had all.
    pub seconds: f64,
}

impl Site {
    pub fn sink(&self) -> anyhow::Result<Sink> {
        let mut program = self.tool(["influx-sink"])?;
        let address = program.line()?.parse()?;
        Ok(Sink { _program: program, address })
    }

    /// A server with a fresh directory.
    pub fn fresh_server(&self, plan: &Plan) -> anyhow::Result<Server> {
        if self.scratch.exists() {
            std::fs::remove_dir_all(&self.scratch)?;
        }
        std::fs::create_dir_all(&self.scratch)?;
        self.same_server(plan)
    }

    /// A server that finds what the last one left.
    pub fn same_server(&self, plan: &Plan) -> anyhow::Result<Server> {
        Server::start(self, plan)
    }

    pub fn floor(&self, sink: &Sink) -> anyhow::Result<Receiver> {
        let to = sink.address.to_string();
        let mut program = Program::start(&self.server_cpus, &self.tools, ["floor", "--to", &to])?;
        let address = program.line()?.parse()?;
        Ok(Receiver::Floor(program, address))
    }

    /// Sends `count` events at `rate` (0: as fast as it goes) and waits until `sink` has what there is.
    pub fn stretch(
        &self,
        receiver: &Receiver,
        sink: &Sink,
        rate: f64,
        count: u64,
    ) -> anyhow::Result<Stretch> {
        sink.reset()?;
        let (program, to) = (receiver.program(), receiver.address().to_string());
        let cpu_before = program.cpu_seconds()?;
        let (rate_text, count_text) = (rate.to_string(), count.to_string());
        let began = Instant::now();
        let mut sender =
            self.tool(["udp-sender", "--to", &to, "--rate", &rate_text, "--count", &count_text])?;
        let watched = std::thread::scope(|scope| {
            let sent = scope.spawn(move || {
                let reported = sender.line()?;
                sender.finish()?;
                Ok::<Value, anyhow::Error>(serde_json::from_str(&reported)?)
            });
            let mut resident_bytes_max = 0;
            while !sent.is_finished() {
                resident_bytes_max = resident_bytes_max.max(program.resident_bytes()?);
                pause(Duration::from_millis(50));
            }
            let reported = sent.join().map_err(|_| anyhow::anyhow!("waiting for the sender panicked"))??;
            Ok::<_, anyhow::Error>((reported, resident_bytes_max))
        });
        let (reported, resident_bytes_max) = watched?;
        let (figures, came_at) = sink.settle(count)?;
        let number = |key: &str| reported.get(key).and_then(Value::as_f64).unwrap_or_default();
        Ok(Stretch {
            sent: count,
            rate: number("per_second"),
            lost: count - figures.distinct.min(count),
            cpu_us: (program.cpu_seconds()? - cpu_before) * 1e6 / count as f64,
            resident_bytes_max: resident_bytes_max.max(program.resident_bytes()?),
            p99_ms: figures.p99_ms,
            seconds: came_at.duration_since(began).as_secs_f64(),
        })
    }

    /// Sends and does not wait for any destination.
    pub fn send(&self, to: SocketAddr, rate: f64, count: u64, first: u64) -> anyhow::Result<()> {
        let texts = [to.to_string(), rate.to_string(), count.to_string(), first.to_string()];
        let [to, rate, count, first] = texts.each_ref().map(String::as_str);
        let arguments = ["udp-sender", "--to", to, "--rate", rate, "--count", count, "--first", first];
        let mut sender = self.tool(arguments)?;
        sender.line()?;
        sender.finish()
    }
}

impl Receiver {
    pub fn program(&self) -> &Program {
        match self {
            Self::Server(server) => &server.program,
            Self::Floor(program, _) => program,
        }
    }

    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Server(server) => server.user_events,
            Self::Floor(_, address) => *address,
        }
    }

    pub fn server(&self) -> anyhow::Result<&Server> {
        match self {
            Self::Server(server) => Ok(server),
            Self::Floor(..) => Err(anyhow::anyhow!("the floor is no server")),
        }
    }
}

/// Nothing new for so long: nothing more comes.
const QUIET: Duration = Duration::from_secs(2);

impl Sink {
    pub fn figures(&self) -> anyhow::Result<Figures> {
        serde_json::from_str(&get(self.address, "/figures")?).context("the sink's figures")
    }

    pub fn reset(&self) -> anyhow::Result<()> {
        get(self.address, "/reset").map(drop)
    }

    /// Waits until `count` numbers have come, or nothing new does; and when the last came.
    pub fn settle(&self, count: u64) -> anyhow::Result<(Figures, Instant)> {
        let (mut last, mut came_at) = (self.figures()?, Instant::now());
        while last.distinct < count && came_at.elapsed() < QUIET {
            pause(Duration::from_millis(20));
            let figures = self.figures()?;
            if figures.distinct > last.distinct {
                came_at = Instant::now();
            }
            last = figures;
        }
        Ok((last, came_at))
    }
}
