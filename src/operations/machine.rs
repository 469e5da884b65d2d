//! The machine that the server runs on, for the first lines of the log.

use butler_sos_actors::kit::platform::process::machine;
use slog::{Logger, info};

/// Logs the machine. Unknown values are empty.
pub fn say_machine(log: &Logger) {
    let machine = machine();
    info!(log, "machine";
        "host" => machine.host.unwrap_or_default(),
        "system" => machine.system.unwrap_or_else(|| std::env::consts::OS.to_owned()),
        "kernel" => machine.kernel.unwrap_or_default(),
        "architecture" => std::env::consts::ARCH,
        "processors" => std::thread::available_parallelism().map_or(0, usize::from),
        "memory_mb" => machine.memory_bytes.unwrap_or(0) / (1024 * 1024));
}
