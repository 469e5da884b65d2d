//! The crash machine by hand: `make torture`. Exit code 1 when anything was lost or doubled.

use std::process::ExitCode;

use butler_sos_integration_tests::seeded_rng::{SeededRng, any_seed};
use butler_sos_integration_tests::torture::image::{self, Damage};
use butler_sos_integration_tests::torture::machine::{self, Plan};
use clap::Parser;

/// Kills a server under load again and again, then compares ids at every destination.
#[derive(Parser)]
struct Arguments {
    /// How often the server is killed under load.
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// Repeats the choices of an earlier run; the moments of the machine it cannot repeat.
    #[arg(long)]
    seed: Option<u64>,
    /// How many copies of a running server are taken and started elsewhere afterwards, and as many damaged ones.
    #[arg(long, default_value_t = 10)]
    images: u64,
    /// User events in one life of the server, at most.
    #[arg(long, default_value_t = 1_500)]
    users: u64,
    /// Audit events in one life of the server, a fifth of them screenshots.
    #[arg(long, default_value_t = 120)]
    audits: u64,
}

fn main() -> ExitCode {
    let Arguments { rounds, seed, images, users, audits } = Arguments::parse();
    let seed = seed.unwrap_or_else(any_seed);
    println!("seed {seed}");
    let mut is_clean = true;
    if rounds > 0 {
        let plan = Plan { rounds, seed, users_per_life: users, audits_per_life: audits };
        let outcome = machine::run(plan, |line| println!("{line}"));
        println!("\n{outcome}");
        is_clean &= outcome.verdict.is_clean();
    }
    let mut seeded_rng = SeededRng::of_seed(seed);
    let mut lost = 0;
    for (number, damage) in (1..=images).zip(Damage::ALL.into_iter().cycle()) {
        for damage in [None, Some(damage)] {
            let outcome = image::run(&mut seeded_rng, damage);
            println!("image {number:2} of {images}: {outcome}");
            if !outcome.is_clean() {
                println!("{}", outcome.verdict);
                is_clean = false;
                lost += 1;
            }
        }
    }
    println!("\nseed {seed}: {}", if is_clean { "all is well" } else { "something was LOST or DOUBLED" });
    if lost > 0 {
        println!("{lost} images did not hold what they had to");
    }
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
