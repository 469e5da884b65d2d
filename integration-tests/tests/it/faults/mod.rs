//! Faults: the server is killed, its destinations go away, its actors panic, its disk is full.

mod crash;
mod disk;
mod harness;
mod outages;
mod panics;
mod random_panics;
mod torture;
