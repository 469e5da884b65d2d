//! What must hold for whatever bytes come from outside.
//!
//! Each target is a function from bytes to nothing that panics when a promise is broken. Three things call it: the
//! engine (libFuzzer, coverage-guided; `make fuzz`), the test below with the seeds, with what was once found, and
//! with damaged seeds, and a person with one file (`fuzz-engine <file>`).
//!
//! | target | bytes are | what must hold besides that nothing panics |
//! |---|---|---|
//! | `datagram` | a datagram | an event keeps its bounds, survives its record, and is readable in every format |
//! | `envelope` | the body of a POST | an accepted one survives its record and is one point and one message |
//! | `depth` | steps into objects and arrays, and out of them | 128 levels are accepted and 129 not; no format makes much of what is deep |
//! | `encode` | texts of an event | accepted, and readable in Parquet, QVD, CSV, JSON and lines with what was sent |
//! | `location` | a redirect's `Location` | no host beyond the list is ever asked, and no ticket goes on |
//! | `set_cookie` | a `Set-Cookie` | what is sent back can break out of neither header nor path |
//! | `configuration` | a configuration file | it is loaded or its mistakes are told, no secret is shown, and comments change nothing |
//! | `record` | a record of the journal | what decodes encodes to itself |
//! | `journal` | damage to a journal's files | it opens, tells no wrong record, and goes on |
//! | `influx_answer` | an InfluxDB's refusal | every line has one fate, and groups to send again are smaller |

pub mod qvd;
pub mod seeds;
pub mod targets;

/// One target: its name and what is called with each input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, in the order in which they run.
pub const TARGETS: [Target; 10] = [
    ("datagram", targets::datagram::run),
    ("envelope", targets::envelope::run),
    ("depth", targets::depth::run),
    ("encode", targets::encode::run),
    ("location", targets::location::run),
    ("set_cookie", targets::set_cookie::run),
    ("configuration", targets::configuration::run),
    ("record", targets::record::run),
    ("journal", targets::journal::run),
    ("influx_answer", targets::influx_answer::run),
];

/// The target of this name.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Damaged inputs a target, besides the seeds themselves.
    const DAMAGED: usize = 300;

    /// The bytes with a few of them changed, taken out or put in.
    fn damaged(rng: &mut SmallRng, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..=bytes.len());
            match rng.random_range(0..4) {
                0 => bytes.insert(at, rng.random()),
                1 => bytes.truncate(at),
                _ if at == bytes.len() => bytes.push(rng.random()),
                2 => bytes[at] = rng.random(),
                _ => {
                    bytes.remove(at);
                }
            }
        }
        bytes
    }

    fn check(name: &str) {
        let run = target(name).expect("a target");
        let seeds = seeds::of(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        seeds.iter().for_each(|seed| run(seed));
        let mut rng = SmallRng::seed_from_u64(0x5eed);
        for n in 0..DAMAGED {
            run(&damaged(&mut rng, &seeds[n % seeds.len()]));
        }
    }

    #[test]
    fn datagram() {
        check("datagram");
    }

    #[test]
    fn envelope() {
        check("envelope");
    }

    #[test]
    fn depth() {
        check("depth");
    }

    #[test]
    fn encode() {
        check("encode");
    }

    #[test]
    fn location() {
        check("location");
    }

    #[test]
    fn set_cookie() {
        check("set_cookie");
    }

    #[test]
    fn configuration() {
        check("configuration");
    }

    #[test]
    fn record() {
        check("record");
    }

    #[test]
    fn journal() {
        check("journal");
    }

    #[test]
    fn influx_answer() {
        check("influx_answer");
    }

    #[test]
    fn every_target_is_tested() {
        let source = include_str!("lib.rs");
        for (name, _) in TARGETS {
            assert!(source.contains(&format!("check(\"{name}\");")), "{name}");
        }
    }
}
