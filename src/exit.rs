//! Exit codes, as the service manager and scripts see them (config contract).

/// All went as it should.
pub const OK: u8 = 0;
/// The command line cannot be understood.
pub const USAGE: u8 = 64;
/// A needed resource is not there: a port is taken, a directory cannot be written, the journal is locked.
pub const UNAVAILABLE: u8 = 69;
/// Supervision gave up: an actor kept panicking.
pub const SUPERVISION: u8 = 70;
/// The configuration holds mistakes.
pub const CONFIG: u8 = 78;
