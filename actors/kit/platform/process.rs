//! This process and the machine: usage, limits, names, and the holder of a port.

use std::path::Path;
use std::{fs, io};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::utsname::uname;
use nix::unistd::{SysconfVar, gethostname, sysconf};

/// Resources that this process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    pub resident_bytes: Option<u64>,
    /// Open files and connections.
    pub open_files: Option<u64>,
    pub threads: Option<u64>,
    /// CPU time since the start, user and system, over all processors.
    pub cpu_seconds: Option<f64>,
}

/// The current usage of this process.
#[must_use]
pub fn usage() -> Usage {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let cpu_and_threads = cpu_and_threads(&stat);
    let ticks_per_second = sysconf_or(SysconfVar::CLK_TCK, 100) as f64;
    Usage {
        resident_bytes: resident_pages().map(|pages| pages * sysconf_or(SysconfVar::PAGE_SIZE, 4096)),
        open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
        threads: cpu_and_threads.map(|(_, threads)| threads),
        cpu_seconds: cpu_and_threads.map(|(ticks, _)| ticks as f64 / ticks_per_second),
    }
}

fn resident_pages() -> Option<u64> {
    fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()
}

/// User plus system time in ticks, and the number of threads. The second field, the program's name, may
/// contain blanks and ends at the last `)`.
fn cpu_and_threads(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some((field(14)? + field(15)?, field(20)?))
}

fn sysconf_or(what: SysconfVar, default: u64) -> u64 {
    sysconf(what).ok().flatten().and_then(|value| u64::try_from(value).ok()).unwrap_or(default)
}

/// The memory of this process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    pub resident: Option<u64>,
    /// The private part of the resident memory.
    pub own: Option<u64>,
    /// The part of the resident memory that is shared or backed by files.
    pub shared: Option<u64>,
    /// The virtual size.
    pub reserved: Option<u64>,
}

/// The current memory of this process.
#[must_use]
pub fn memory() -> Memory {
    memory_in(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn memory_in(status: &str) -> Memory {
    let bytes = |key| bytes_in(status, key);
    let shared = [bytes("RssFile:"), bytes("RssShmem:")];
    Memory {
        resident: bytes("VmRSS:"),
        own: bytes("RssAnon:"),
        shared: shared.into_iter().flatten().reduce(|a, b| a + b),
        reserved: bytes("VmData:"),
    }
}

/// A line such as `MemTotal:  2048 kB` of a file in `/proc`.
fn bytes_in(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// The machine that this process runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    pub host: Option<String>,
    /// The distribution and its version.
    pub system: Option<String>,
    pub kernel: Option<String>,
    pub memory_bytes: Option<u64>,
}

#[must_use]
pub fn machine() -> Machine {
    let name = uname().ok();
    let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    Machine {
        host: name.as_ref().map(|name| text(name.nodename())),
        system: system_in(&os_release).map(str::to_owned),
        kernel: name.as_ref().map(|name| text(name.release())),
        memory_bytes: bytes_in(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:"),
    }
}

/// `PRETTY_NAME="Debian GNU/Linux 13 (trixie)"`
fn system_in(os_release: &str) -> Option<&str> {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map(|name| name.trim_matches('"'))
}

/// The name of this machine. Invalid UTF-8 is replaced.
#[must_use]
pub fn host_name() -> Option<String> {
    gethostname().ok().map(|name| name.to_string_lossy().into_owned())
}

/// The limits of open files and connections of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    pub now: u64,
    /// The hard limit.
    pub most: u64,
}

pub fn open_files() -> io::Result<OpenFiles> {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(OpenFiles { now, most })
}

/// Raises the soft limit to the hard limit.
pub fn raise_open_files(limit: OpenFiles) -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_NOFILE, limit.most, limit.most)?)
}

/// The protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A process that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub process: u32,
    pub name: String,
}

/// The process that holds a port, as far as `/proc` shows it to this user.
#[must_use]
pub fn holder_of_port(protocol: Protocol, port: u16) -> Option<Holder> {
    let tables = match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let inodes: Vec<u64> = tables
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|text| sockets_at(&text, protocol, port))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let process: u32 = entry.file_name().to_str()?.parse().ok()?;
        let is_it = |link: &Path| links.iter().any(|known| link.as_os_str() == known.as_str());
        let mut open = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        open.any(|file| fs::read_link(file.path()).is_ok_and(|link| is_it(&link))).then(|| {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            Holder { process, name: name.trim_end().to_owned() }
        })
    })
}

/// Inodes of the sockets bound to a port. `/proc/net/tcp` and `udp` have one socket a line: the local address
/// with the port in hexadecimal in column 2, the state in column 4, the inode in column 10.
fn sockets_at(table: &str, protocol: Protocol, port: u16) -> Vec<u64> {
    const TCP_LISTEN: &str = "0A";
    let socket = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, local) = columns.get(1)?.rsplit_once(':')?;
        let listens = matches!(protocol, Protocol::Udp) || *columns.get(3)? == TCP_LISTEN;
        (listens && u16::from_str_radix(local, 16).ok()? == port)
            .then(|| columns.get(9)?.parse().ok())
            .flatten()
    };
    table.lines().skip(1).filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_program_name_with_blanks_and_brackets_is_skipped() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19";
        assert_eq!(cpu_and_threads(stat), Some((11 + 12, 17)));
        assert_eq!(cpu_and_threads(""), None);
    }

    #[test]
    fn reads_the_memory_of_the_process() {
        assert!(memory().resident.is_some_and(|bytes| bytes > 0));
        let text = "VmRSS:\t 12 kB\nRssAnon:\t 8 kB\nRssFile:\t 3 kB\nRssShmem:\t 1 kB\nVmData:\t 40 kB\n";
        let expect =
            Memory { resident: Some(12_288), own: Some(8_192), shared: Some(4_096), reserved: Some(40_960) };
        assert_eq!(memory_in(text), expect);
        assert_eq!(memory_in("VmRSS: x kB"), Memory::default());
    }

    #[test]
    fn usage_of_this_process_is_known() {
        let Usage { resident_bytes, open_files, threads, cpu_seconds } = usage();
        assert!([resident_bytes, open_files, threads].iter().all(|of| of.is_some_and(|figure| figure > 0)));
        assert!(cpu_seconds.is_some());
    }

    #[test]
    fn reads_memory_and_name_of_the_system() {
        let text = "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n";
        assert_eq!(system_in(text), Some("Debian GNU/Linux 13 (trixie)"));
        assert_eq!(system_in(""), None);
        assert_eq!(bytes_in("A: 1 kB\nMemTotal:       16 kB\n", "MemTotal:"), Some(16_384));
        assert_eq!(bytes_in("", "MemTotal:"), None);
    }

    #[test]
    fn finds_the_holder_of_a_port() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        for (protocol, address) in [(Protocol::Tcp, tcp.local_addr()), (Protocol::Udp, udp.local_addr())] {
            let found = holder_of_port(protocol, address.expect("an address").port());
            assert_eq!(found.map(|holder| holder.process), Some(std::process::id()), "{protocol:?}");
        }
    }

    #[test]
    fn reads_tables_of_sockets() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:2672 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0\n\
            1: 0100007F:2672 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 112 1 0 100 0 0 10 0\n\
            2: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 113 1 0 100 0 0 10 0\n\
            short line\n";
        assert_eq!(sockets_at(table, Protocol::Tcp, 9842), [111]);
        assert_eq!(sockets_at(table, Protocol::Udp, 9842), [111, 112]);
        assert!(sockets_at(table, Protocol::Tcp, 81).is_empty());
        assert!(sockets_at("", Protocol::Tcp, 81).is_empty());
    }
}
