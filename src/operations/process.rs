//! Figures of this process, read from `/proc/self`.

use std::fs;

use butler_sos_actors::kit::metric::ProcessFigures;
use butler_sos_domain::encode::own_lines::MemoryFigures;
use nix::unistd::{SysconfVar, sysconf};

use butler_sos_actors::kit::clock::unix_ns;

use super::machine::kilobytes;

/// Remembers what does not change.
#[derive(Debug, Clone, Copy)]
pub struct ProcessView {
    start_unix_seconds: f64,
    page_bytes: u64,
    ticks_per_second: f64,
}

impl Default for ProcessView {
    fn default() -> Self {
        Self {
            start_unix_seconds: unix_ns() as f64 / 1e9,
            page_bytes: sysconf_or(SysconfVar::PAGE_SIZE, 4096),
            ticks_per_second: sysconf_or(SysconfVar::CLK_TCK, 100) as f64,
        }
    }
}

impl ProcessView {
    /// The figures now; what cannot be read is zero.
    #[must_use]
    pub fn figures(&self) -> ProcessFigures {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let (cpu_ticks, threads) = cpu_and_threads(&stat).unwrap_or_default();
        ProcessFigures {
            resident_bytes: resident_pages().unwrap_or(0) * self.page_bytes,
            open_fds: fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64),
            threads,
            cpu_seconds: cpu_ticks as f64 / self.ticks_per_second,
            start_unix_seconds: self.start_unix_seconds,
        }
    }
}

/// Where the process's memory is; what cannot be read is zero.
#[must_use]
pub fn memory() -> MemoryFigures {
    memory_in(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn memory_in(status: &str) -> MemoryFigures {
    let bytes = |key| kilobytes(status, key) * 1024;
    MemoryFigures {
        heap_used_bytes: bytes("RssAnon:"),
        heap_total_bytes: bytes("VmData:"),
        external_bytes: bytes("RssFile:") + bytes("RssShmem:"),
        process_bytes: bytes("VmRSS:"),
    }
}

fn resident_pages() -> Option<u64> {
    fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()
}

/// User plus system time in ticks, and threads. The second field of the line, the program's
/// name, may hold blanks and ends with the last `)`.
fn cpu_and_threads(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some((field(14)? + field(15)?, field(20)?))
}

fn sysconf_or(what: SysconfVar, default: u64) -> u64 {
    sysconf(what).ok().flatten().and_then(|value| u64::try_from(value).ok()).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_move_the_fields() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19";
        assert_eq!(cpu_and_threads(stat), Some((11 + 12, 17)));
    }

    #[test]
    fn memory_is_what_the_system_says() {
        let memory = memory();
        assert!(memory.process_bytes > 0);
        let text = "VmRSS:\t 12 kB\nRssAnon:\t 8 kB\nRssFile:\t 3 kB\nRssShmem:\t 1 kB\nVmData:\t 40 kB\n";
        let memory = memory_in(text);
        assert_eq!((memory.heap_used_bytes, memory.heap_total_bytes), (8_192, 40_960));
        assert_eq!((memory.external_bytes, memory.process_bytes), (4_096, 12_288));
    }

    #[test]
    fn this_process_has_figures() {
        let figures = ProcessView::default().figures();
        assert!(figures.resident_bytes > 0 && figures.open_fds > 0 && figures.threads > 0);
    }
}
