//! A TCP proxy between the server and a endpoint, that does to their connections what networks do.
//!
//! ```text
//! server ──► TcpProxy ──► InfluxDB, broker, …
//! ```
//!
//! It begins by forwarding; [`TcpProxy::set`] changes what happens from that moment on, to connections that are open
//! as well as to new ones. Its port stays the same, also while it refuses.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{self, Backlog};

use crate::http_request;
use crate::sandbox::wait_for;

/// A port that the system chooses, then asked for by its number: only such a port stays bound while nobody listens.
fn bind() -> Option<(TcpListener, SocketAddr)> {
    let chosen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok()?;
    Some((TcpListener::bind(chosen).ok()?, chosen))
}

/// What the proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Forward,
    /// Nobody listens; open connections are ended.
    Refuse,
    /// Connections are accepted, and nothing moves on any. What waits goes on with the next mode.
    Hang,
    /// Requests arrive; each connection is ended once so many bytes of answers have passed.
    CutAnswers {
        after_bytes: usize,
    },
    /// Answers pass at this rate.
    Slow {
        bytes_per_second: u32,
    },
    /// Requests of HTTP are read to their end, answered with this status and `Retry-After` in seconds, and do not
    /// reach the endpoint.
    Answer {
        status: u16,
        retry_after: Option<u32>,
    },
}

/// A proxy to one address. Dropping it ends all of its connections.
pub struct TcpProxy {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mode: Mode,
    /// Grows with every change of the mode.
    generation: u64,
    ended: bool,
    /// Both ends of every open connection.
    open: BTreeMap<u64, [TcpStream; 2]>,
    accepted: u64,
    /// When each request was answered in the endpoint's stead.
    answered: Vec<Instant>,
    /// Connections that reached the endpoint; the key of the next one in `open`.
    connected: u64,
}

impl TcpProxy {
    /// Forwards to `target` from a port that the system chooses.
    pub fn start(target: SocketAddr) -> Self {
        let (listener, address) = wait_for("a free port", bind);
        let state = State {
            mode: Mode::Forward,
            generation: 0,
            ended: false,
            open: BTreeMap::new(),
            accepted: 0,
            answered: Vec::new(),
            connected: 0,
        };
        let shared = Arc::new(Shared { target, state: Mutex::new(state), changed: Condvar::new() });
        let listener = Arc::new(listener);
        thread::spawn({
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(&shared));
            move || shared.accept(&listener)
        });
        Self { address, listener, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes what happens to connections, open ones and new ones.
    pub fn set(&self, mode: Mode) {
        let mut state = self.shared.lock();
        let before = std::mem::replace(&mut state.mode, mode);
        state.generation += 1;
        if mode == Mode::Refuse && before != Mode::Refuse {
            state.cut_all();
            self.stop_listening();
        } else if is_answer(mode) != is_answer(before) {
            state.cut_all();
        }
        if mode != Mode::Refuse && before == Mode::Refuse {
            let backlog = Backlog::new(128).expect("a backlog");
            socket::listen(&self.listener, backlog).expect("the port is still ours");
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// [`Mode::Forward`] again.
    pub fn resume(&self) {
        self.set(Mode::Forward);
    }

    /// Ends every open connection; new ones are taken as before.
    pub fn cut_all(&self) {
        self.shared.lock().cut_all();
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// When each request was answered by [`Mode::Answer`].
    pub fn answered(&self) -> Vec<Instant> {
        self.shared.lock().answered.clone()
    }

    /// The port stays bound, so nobody else gets it, and connections to it are refused.
    fn stop_listening(&self) {
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        state.cut_all();
        drop(state);
        self.stop_listening();
        self.shared.changed.notify_all();
    }
}

impl State {
    fn cut_all(&mut self) {
        for ends in std::mem::take(&mut self.open).values() {
            for end in ends {
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while `condition` holds; `None` when the proxy has ended.
    fn wait_while(&self, condition: impl Fn(&State) -> bool) -> Option<MutexGuard<'_, State>> {
        let state = self.changed.wait_while(self.lock(), |state| !state.ended && condition(state));
        Some(state.unwrap_or_else(PoisonError::into_inner)).filter(|state| !state.ended)
    }

    /// Passes the time, unless the mode changes.
    fn pause(&self, time: Duration) {
        let generation = self.lock().generation;
        let same = |state: &mut State| !state.ended && state.generation == generation;
        drop(self.changed.wait_timeout_while(self.lock(), time, same));
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            match listener.accept() {
                Ok((client, _)) => {
                    self.lock().accepted += 1;
                    let shared = Arc::clone(self);
                    thread::spawn(move || shared.connection(client));
                }
                Err(_) if self.wait_while(|state| state.mode == Mode::Refuse).is_none() => return,
                Err(_) => {}
            }
        }
    }

    fn connection(self: Arc<Self>, client: TcpStream) {
        let Some(state) = self.wait_while(|state| state.mode == Mode::Hang) else { return };
        let mode = state.mode;
        drop(state);
        if is_answer(mode) {
            self.answer(client);
            return;
        }
        let Ok(server) = TcpStream::connect(self.target) else { return };
        let pair = || Some([client.try_clone().ok()?, server.try_clone().ok()?]);
        let (Some(kept), Some([from_client, to_server])) = (pair(), pair()) else { return };
        let mut state = self.lock();
        if state.ended || state.mode == Mode::Refuse {
            return;
        }
        let number = state.connected;
        state.connected += 1;
        state.open.insert(number, kept);
        drop(state);
        let requests = thread::spawn({
            let shared = Arc::clone(&self);
            move || shared.pump(from_client, to_server, Direction::Requests)
        });
        self.pump(server, client, Direction::Answers);
        let _ = requests.join();
        self.lock().open.remove(&number);
    }

    /// Answers one request after the other, as long as the mode says so.
    fn answer(&self, client: TcpStream) {
        let Ok(mut to) = client.try_clone() else { return };
        let mut from = BufReader::new(client);
        while http_request::read(&mut from).is_some() {
            let mut state = self.lock();
            let Mode::Answer { status, retry_after } = state.mode else { return };
            state.answered.push(Instant::now());
            drop(state);
            let pause = retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
            let answer = format!("HTTP/1.1 {status} Fault\r\n{pause}Content-Length: 8\r\n\r\nscripted");
            if to.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Moves bytes until one side ends.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
        let mut buffer = [0; 16 * 1024];
        let (mut generation, mut passed) = (0, 0);
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let Some(state) = self.wait_while(|state| state.mode == Mode::Hang) else { break };
            let mode = state.mode;
            if std::mem::replace(&mut generation, state.generation) != generation {
                passed = 0;
            }
            drop(state);
            let mut bytes = &buffer[..count];
            match (direction, mode) {
                (Direction::Answers, Mode::CutAnswers { after_bytes }) => {
                    let room = after_bytes.saturating_sub(passed);
                    let is_end = count >= room;
                    bytes = &bytes[..count.min(room)];
                    let _ = to.write_all(bytes);
                    passed += bytes.len();
                    if is_end {
                        let _ = from.shutdown(Shutdown::Both);
                        let _ = to.shutdown(Shutdown::Both);
                        return;
                    }
                    continue;
                }
                (Direction::Answers, Mode::Slow { bytes_per_second }) => {
                    self.pause(Duration::from_secs_f64(count as f64 / f64::from(bytes_per_second.max(1))));
                }
                _ => {}
            }
            if to.write_all(bytes).is_err() {
                // The other direction learns of it, too.
                let _ = from.shutdown(Shutdown::Both);
                break;
            }
            passed += count;
        }
        let _ = to.shutdown(Shutdown::Write);
    }
}

fn is_answer(mode: Mode) -> bool {
    matches!(mode, Mode::Answer { .. })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Answers,
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    /// Answers every line with the same line.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        address
    }

    fn connect(proxy: &TcpProxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn say(stream: &mut TcpStream, text: &str) -> String {
        let _ = stream.write_all(text.as_bytes());
        let mut answer = vec![0; text.len()];
        let mut length = 0;
        while length < answer.len() {
            match stream.read(&mut answer[length..]) {
                Ok(count @ 1..) => length += count,
                _ => break,
            }
        }
        String::from_utf8(answer[..length].to_vec()).unwrap()
    }

    #[test]
    fn it_forwards_refuses_and_forwards_again() {
        let proxy = TcpProxy::start(echo());
        for _ in 0..3 {
            let mut stream = connect(&proxy);
            assert_eq!(say(&mut stream, "hello"), "hello");
            proxy.set(Mode::Refuse);
            assert_eq!(say(&mut stream, "hello"), "");
            let refused = TcpStream::connect(proxy.address()).map(|_| ());
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
            proxy.resume();
            assert_eq!(say(&mut connect(&proxy), "hello"), "hello");
        }
        assert_eq!(proxy.accepted(), 6);
    }

    #[test]
    fn requests_are_answered_in_the_far_sides_stead() {
        let proxy = TcpProxy::start(echo());
        let mut stream = connect(&proxy);
        assert_eq!(say(&mut stream, "hello"), "hello");
        proxy.set(Mode::Answer { status: 429, retry_after: Some(7) });
        assert_eq!(say(&mut stream, "hello"), "", "an open connection is ended");
        let mut stream = connect(&proxy);
        for body in ["Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"]
        {
            stream.write_all(format!("POST / HTTP/1.1\r\n{body}").as_bytes()).unwrap();
            let expect = "HTTP/1.1 429 Fault\r\nRetry-After: 7\r\nContent-Length: 8\r\n\r\nscripted";
            let mut answer = vec![0; expect.len()];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(String::from_utf8(answer).unwrap(), expect);
        }
        assert_eq!(proxy.answered().len(), 2);
        proxy.resume();
        assert_eq!(say(&mut connect(&proxy), "hello"), "hello");
    }

    #[test]
    fn answers_are_cut_hung_and_slowed() {
        let proxy = TcpProxy::start(echo());
        let mut stream = connect(&proxy);
        assert_eq!(say(&mut stream, "hello"), "hello");
        proxy.set(Mode::CutAnswers { after_bytes: 3 });
        assert_eq!(say(&mut stream, "hello"), "hel");
        assert_eq!(say(&mut connect(&proxy), "hello"), "hel");
        proxy.set(Mode::Hang);
        let mut stream = connect(&proxy);
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert_eq!(say(&mut stream, "hello"), "");
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        proxy.set(Mode::Slow { bytes_per_second: 100 });
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello", "what waited goes on");
        proxy.cut_all();
        assert_eq!(say(&mut stream, "hello"), "");
        assert_eq!(say(&mut connect(&proxy), "again"), "again");
    }
}
