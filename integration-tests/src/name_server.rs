//! A name server, and a way to run programs that ask it and nobody else.
//!
//! The programs' resolver is the system's own: they run in a mount namespace of their own (`unshare`), in which
//! `/etc/resolv.conf` names this server. It listens on port 53 of a loopback address of its own; all of it needs
//! root, as a small disk does. Files that the system looks into first (`/etc/hosts`) stay as they are.
//!
//! A message of DNS (RFC 1035, 4.1): id, flags, four counts, each two bytes; then the question: the name as labels
//! with their lengths, a zero, type and class. An answer repeats the question and adds a record that points to the
//! name at byte 12 (`c00c`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// What it does with questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Tells what it knows; of other names, that they do not exist.
    Answers,
    /// Knows nothing any more (`NXDOMAIN`).
    Forgetful,
    /// Fails (`SERVFAIL`).
    Fails,
    /// Says nothing.
    Silent,
}

/// The running server.
pub struct NameServer {
    directory: TempDir,
    state: Arc<Mutex<State>>,
}

struct State {
    manner: Manner,
    names: BTreeMap<String, Ipv4Addr>,
    asked: u64,
    ended: bool,
}

impl NameServer {
    /// `None` when this user may not: no port 53, or no mounts.
    pub fn start(names: &[(&str, Ipv4Addr)]) -> Option<Self> {
        if !Command::new("unshare").args(["--mount", "true"]).output().is_ok_and(|out| out.status.success()) {
            return None;
        }
        // Other tests have other addresses.
        let pid = std::process::id();
        let candidates = (1..=200).map(|n| Ipv4Addr::new(127, 53, (pid % 250) as u8, n));
        let bound = candidates
            .map(|at| (at, UdpSocket::bind((at, 53))))
            .find_map(|(at, socket)| Some((at, socket.ok()?)));
        let (address, socket) = bound?;
        let directory = TempDir::with_prefix("names-").ok()?;
        let resolv = format!("nameserver {address}\noptions timeout:1 attempts:2\n");
        std::fs::write(directory.path().join("resolv.conf"), resolv).ok()?;
        let names = names.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
        let state = Arc::new(Mutex::new(State { manner: Manner::Answers, names, asked: 0, ended: false }));
        let serves = Arc::clone(&state);
        socket.set_read_timeout(Some(Duration::from_millis(100))).ok()?;
        thread::spawn(move || serve(&socket, &serves));
        Some(Self { directory, state })
    }

    /// What to put before a command line, so that it asks this server.
    pub fn wrapper(&self) -> Vec<String> {
        let resolv: PathBuf = self.directory.path().join("resolv.conf");
        let script = format!("mount --bind '{}' /etc/resolv.conf && exec \"$@\"", resolv.display());
        ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).into()
    }

    pub fn set(&self, manner: Manner) {
        self.state().manner = manner;
    }

    /// Questions so far.
    pub fn asked(&self) -> u64 {
        self.state().asked
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state().ended = true;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(socket: &UdpSocket, state: &Mutex<State>) {
    let mut buffer = [0; 512];
    loop {
        let received = socket.recv_from(&mut buffer);
        let mut state = lock(state);
        if state.ended {
            return;
        }
        let Ok((length, from)) = received else { continue };
        state.asked += 1;
        if let Some(answer) = answer(&buffer[..length], state.manner, &state.names) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

const TYPE_A: u16 = 1;
const HEADER_BYTES: usize = 12;

/// The answer to a question; `None` where none is given.
fn answer(question: &[u8], manner: Manner, names: &BTreeMap<String, Ipv4Addr>) -> Option<Vec<u8>> {
    let (mut name, mut at) = (String::new(), HEADER_BYTES);
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(question.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let asked = question.get(HEADER_BYTES..at + 4)?;
    let known = names.get(&name);
    // NOERROR, SERVFAIL, NXDOMAIN
    let code = match (manner, known) {
        (Manner::Silent, _) => return None,
        (Manner::Fails, _) => 2,
        (Manner::Answers, Some(_)) => 0,
        _ => 3,
    };
    let address = known.filter(|_| code == 0 && kind == TYPE_A);
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&question[..2]);
    // An answer, recursion desired and available.
    out.extend_from_slice(&[0x81, 0x80 | code]);
    out.extend_from_slice(&[0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    out.extend_from_slice(asked);
    if let Some(address) = address {
        // Type A, class IN, to be kept for no time, four bytes.
        out.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        out.extend_from_slice(&address.octets());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_resolver_asks_it() {
        let Some(server) = NameServer::start(&[("db.test", Ipv4Addr::new(127, 0, 0, 9))]) else {
            println!("not tried: only root may mount");
            return;
        };
        let look_up = |name: &str| {
            let wrapper = server.wrapper();
            let mut command = Command::new(&wrapper[0]);
            let output = command.args(&wrapper[1..]).args(["getent", "ahostsv4", name]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().split_whitespace().next().map(str::to_owned)
        };
        assert_eq!(look_up("db.test").as_deref(), Some("127.0.0.9"));
        assert_eq!(look_up("other.test"), None);
        for manner in [Manner::Forgetful, Manner::Fails, Manner::Silent] {
            server.set(manner);
            assert_eq!(look_up("db.test"), None, "{manner:?}");
        }
        server.set(Manner::Answers);
        assert_eq!(look_up("db.test").as_deref(), Some("127.0.0.9"));
        assert!(server.asked() > 6);
    }
}
