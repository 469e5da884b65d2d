//! libFuzzer with one of the targets, which the environment variable `FUZZ_TARGET` names (`list`: prints their names).
//! Where `FUZZ_SEEDS_TO` names a directory, the target's seeds are written there first, one a file.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use butler_sos_fuzz::{TARGETS, seeds, target};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(init: prepare(), |bytes: &[u8]| TARGET.get().expect("prepared")(bytes));

fn prepare() {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let Some(run) = target(&name) else {
        TARGETS.iter().for_each(|(name, _)| println!("{name}"));
        std::process::exit(if name == "list" { 0 } else { 64 });
    };
    TARGET.get_or_init(|| run);
    if let Some(directory) = std::env::var_os("FUZZ_SEEDS_TO").map(PathBuf::from) {
        for (n, seed) in seeds::of(&name).iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{n:04}")), seed).expect("the directory is writable");
        }
    }
}
