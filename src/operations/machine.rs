//! The machine that the server runs on, for the first lines of the log.

use std::fs;

use nix::sys::utsname::uname;
use slog::{Logger, info};

/// Says what it is; what cannot be read is left empty.
pub fn say_machine(log: &Logger) {
    let name = uname().ok();
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let name = name.as_ref();
    info!(log, "machine";
        "host" => text(name.map(|name| name.nodename())),
        "system" => system(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
        "kernel" => text(name.map(|name| name.release())),
        "architecture" => std::env::consts::ARCH,
        "processors" => std::thread::available_parallelism().map_or(0, usize::from),
        "memory_mb" => kilobytes(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:") / 1024);
}

/// `PRETTY_NAME="Debian GNU/Linux 13 (trixie)"`
fn system(os_release: &str) -> &str {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or(std::env::consts::OS, |name| name.trim_matches('"'))
}

/// A line such as `MemTotal:  2048 kB` of a file in `/proc`; 0 when it is not there.
pub(super) fn kilobytes(text: &str, key: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(key));
    value.and_then(|value| value.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_system_are_read() {
        let text = "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n";
        assert_eq!(system(text), "Debian GNU/Linux 13 (trixie)");
        assert_eq!(system(""), std::env::consts::OS);
        assert_eq!(kilobytes("A: 1 kB\nMemTotal:       16 kB\n", "MemTotal:"), 16);
        assert_eq!(kilobytes("", "MemTotal:"), 0);
    }
}
