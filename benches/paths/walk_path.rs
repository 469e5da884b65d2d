//! Does one step so many times: what `scripts/instructions` runs under valgrind.
//!
//! `walk-path` alone lists the steps; `walk-path <step> <times>` does one.

use std::hint::black_box;
use std::process::ExitCode;

use butler_sos_paths::STEPS;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(wanted) = arguments.next() else {
        STEPS.iter().for_each(|step| println!("{}", step.name));
        return ExitCode::SUCCESS;
    };
    let times = arguments.next().and_then(|times| times.parse().ok());
    let (Some(step), Some(times)) = (STEPS.iter().find(|step| step.name == wanted), times) else {
        eprintln!("walk-path [<step> <times>]");
        return ExitCode::from(64);
    };
    let mut run = (step.prepare)();
    let bytes: usize = (0..times).map(|n| black_box(run(black_box(n)))).sum();
    println!("{bytes} bytes");
    ExitCode::SUCCESS
}
