//! A long run by hand: `make soak MINUTES=60`. Exit code 1 when something grows, or was lost.

use std::process::ExitCode;
use std::time::Duration;

use butler_sos_integration_tests::torture::soak::{self, Plan};
use clap::Parser;

/// Runs a server with every destination at a steady rate, and looks whether memory, files, threads and disk stay flat.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// User events a second.
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// Audit events a second, a fifth of them screenshots.
    #[arg(long, default_value_t = 20)]
    audits: u64,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 5)]
    every: u64,
}

fn main() -> ExitCode {
    let Arguments { minutes, rate, audits, every } = Arguments::parse();
    let plan = Plan {
        time: Duration::from_secs(minutes * 60),
        users_per_second: rate,
        audits_per_second: audits,
        every: Duration::from_secs(every.max(1)),
    };
    let outcome = soak::run(plan, |line| println!("{line}"));
    println!("\n{outcome}");
    if outcome.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
