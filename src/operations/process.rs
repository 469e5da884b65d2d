//! Metrics of this process. Values that the system does not report are zero.

use butler_sos_actors::kit::clock::unix_ns;
use butler_sos_actors::kit::metric::ProcessFigures;
use butler_sos_actors::kit::platform::process;
use butler_sos_domain::encode::own_lines::MemoryFigures;

/// Remembers when the process started.
#[derive(Debug, Clone, Copy)]
pub struct ProcessView {
    start_unix_seconds: f64,
}

impl Default for ProcessView {
    fn default() -> Self {
        Self { start_unix_seconds: unix_ns() as f64 / 1e9 }
    }
}

impl ProcessView {
    /// The figures now.
    #[must_use]
    pub fn figures(&self) -> ProcessFigures {
        let usage = process::usage();
        ProcessFigures {
            resident_bytes: usage.resident_bytes.unwrap_or(0),
            open_fds: usage.open_files.unwrap_or(0),
            threads: usage.threads.unwrap_or(0),
            cpu_seconds: usage.cpu_seconds.unwrap_or(0.0),
            start_unix_seconds: self.start_unix_seconds,
        }
    }
}

/// The memory of the process, in the categories of Butler SOS.
#[must_use]
pub fn memory() -> MemoryFigures {
    let memory = process::memory();
    MemoryFigures {
        heap_used_bytes: memory.own.unwrap_or(0),
        heap_total_bytes: memory.reserved.unwrap_or(0),
        external_bytes: memory.shared.unwrap_or(0),
        process_bytes: memory.resident.unwrap_or(0),
    }
}
