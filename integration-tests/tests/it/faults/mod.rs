//! Faults: the server is killed, its destinations go away, its actors panic, its disk is full.

mod bench;
mod crash;
mod disk;
mod outages;
mod panics;
mod random_panics;
mod torture;
