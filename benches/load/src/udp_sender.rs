//! Sends user events by UDP: at a steady rate, or as fast as it can.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use nix::errno::Errno;
use serde_json::json;

use crate::mark::{Mark, Templates, now_us};
use crate::udp::{AT_ONCE, Sender};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where to.
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: SocketAddr,
    /// How many.
    #[arg(long)]
    count: u64,
    /// Events per second; 0: as fast as possible.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// The first one's number.
    #[arg(long, default_value_t = 0)]
    first: u64,
}

/// The shortest time between two calls: what becomes due meanwhile goes together.
const TICK: Duration = Duration::from_micros(500);

pub fn run(options: &Options) -> anyhow::Result<()> {
    let templates = Templates::new();
    let mut sender = Sender::new(options.to)?;
    let mut datagrams = vec![Vec::new(); AT_ONCE];
    let (begun, mut sent, mut calls) = (Instant::now(), 0_u64, 0_u64);
    while sent < options.count {
        let due = wait_until_due(options.rate, sent, begun).min(options.count) - sent;
        let many = usize::try_from(due).unwrap_or(AT_ONCE).min(AT_ONCE);
        let sent_us = now_us();
        for (datagram, number) in datagrams[..many].iter_mut().zip(options.first + sent..) {
            templates.write(Mark { number, sent_us }, datagram);
        }
        let mut gone = 0;
        while gone < many {
            match sender.send(&datagrams[gone..many]) {
                Ok(count) => gone += count,
                // What an earlier datagram met; this one was not sent.
                Err(Errno::ECONNREFUSED | Errno::EINTR) => {}
                Err(errno) => bail!("sending to {}: {errno}", options.to),
            }
            calls += 1;
        }
        sent += many as u64;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({ "sent": sent, "seconds": seconds, "per_second": sent as f64 / seconds, "calls": calls })
    );
    Ok(())
}

/// How many should have been sent by now, when that is more than `sent`.
fn wait_until_due(rate: f64, sent: u64, begun: Instant) -> u64 {
    if rate <= 0.0 {
        return sent + AT_ONCE as u64;
    }
    loop {
        let due = (begun.elapsed().as_secs_f64() * rate) as u64 + 1;
        if due > sent {
            return due;
        }
        let next = begun + Duration::from_secs_f64(sent as f64 / rate);
        let pause = next.saturating_duration_since(Instant::now()).max(TICK);
        std::thread::park_timeout(pause);
    }
}
