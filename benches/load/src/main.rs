//! Programs that load butler-sos, a floor to hold it against, and the measurement that runs them.
//!
//! No tricks with time: a rate is kept on average and what is late is sent at once; a latency begins before the first
//! byte is sent. Each program says what it did in one line of JSON.

mod bench;
mod constant;
mod floor;
mod http_poster;
mod influx_sink;
mod mark;
mod udp;
mod udp_sender;

use butler_sos_domain::histogram::Histogram;
use clap::{Parser, Subcommand};

/// Latencies in microseconds, to within 3 %.
type Latencies = Histogram<32>;

#[derive(Debug, Parser)]
#[command(name = "butler-sos-load", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    /// Send user events by UDP, each with a number and the time of sending.
    UdpSender(udp_sender::Options),
    /// Post audit events over connections that are kept.
    HttpPoster(http_poster::Options),
    /// Stand in for InfluxDB 1: take lines and count which numbers came.
    InfluxSink(influx_sink::Options),
    /// The barest receiver: no actors, no journal, no metrics.
    Floor(floor::Options),
    /// The audit API's web server, answering a constant.
    Constant(constant::Options),
    /// Measure everything, and write the table.
    Bench(bench::Options),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().program {
        Program::UdpSender(options) => udp_sender::run(&options),
        Program::HttpPoster(options) => http_poster::run(&options),
        Program::InfluxSink(options) => influx_sink::run(&options),
        Program::Floor(options) => floor::run(&options),
        Program::Constant(options) => constant::run(&options),
        Program::Bench(options) => bench::run(&options),
    }
}
