//! The crash machine and its copies, for a short while; `make torture` runs them for long.

use butler_sos_integration_tests::seeded_rng::{SeededRng, any_seed};
use butler_sos_integration_tests::torture::image::{self, Damage};
use butler_sos_integration_tests::torture::machine::{self, Plan};

/// Fifteen lives, each cut short by `kill -9` under user events, audit events and screenshots: whatever was
/// acknowledged is at every destination, once where once is promised.
#[test]
fn what_was_acknowledged_survives_kill_9() {
    let plan = Plan { rounds: 15, seed: any_seed(), users_per_life: 1_800, audits_per_life: 80 };
    println!("{plan:?}");
    let outcome = machine::run(plan, |line| println!("{line}"));
    println!("{outcome}");
    assert!(outcome.verdict.is_clean(), "{plan:?}\n{outcome}");
    assert!(outcome.kills >= 15 && outcome.unanswered > 0, "the server was killed while it was spoken to");
}

fn check_copies(damages: &[Option<Damage>]) {
    let seed = any_seed();
    println!("seed {seed}");
    let mut seeded_rng = SeededRng::of_seed(seed);
    for damage in damages {
        let outcome = image::run(&mut seeded_rng, *damage);
        println!("{outcome}");
        assert!(outcome.is_clean(), "seed {seed}: {outcome}\n{}\n{:#?}", outcome.verdict, outcome.logged);
    }
}

/// The power is cut: the directories, copied while the server runs, are started elsewhere.
#[test]
fn a_copy_of_a_running_server_holds_all_that_was_acknowledged() {
    check_copies(&[None, None]);
}

/// The same with damage to the journal: told, counted, and no more lost than what was damaged.
#[test]
fn a_damaged_copy_loses_what_was_damaged_and_says_so() {
    check_copies(&[Some(Damage::CutTail), Some(Damage::FlipTail)]);
}

#[test]
fn a_copy_with_one_bit_wrong_anywhere_starts_and_delivers_the_rest() {
    check_copies(&[Some(Damage::FlipAnywhere), Some(Damage::FlipOffsets)]);
}
