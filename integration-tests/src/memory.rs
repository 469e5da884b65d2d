//! What a process holds in memory.

/// Resident bytes of a process, as the kernel counts them.
pub fn resident_bytes(pid: u32) -> u64 {
    field(pid, "VmRSS:")
}

/// The most that was ever resident.
pub fn peak_bytes(pid: u32) -> u64 {
    field(pid, "VmHWM:")
}

fn field(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a line");
    let kilobytes: u64 =
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kilobytes * 1024
}
