//! The barest receiver of user events: what the machine can do.
//!
//! Takes datagrams with `recvmmsg` (pauses after each that brought some, else waits: the way that was found to cost
//! least), finds the separators, writes a line with every field, and posts a thousand lines at a time, or what came in
//! 20 ms. It looks at nothing: no UTF-8, no escapes, no users, apps or browsers, no limits; it keeps nothing on disk,
//! counts nothing and tries nothing again.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver as Inbox, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use crate::udp::{AT_ONCE, Receiver};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where to listen; port 0 lets the system choose, and the first line of output says which.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where to post.
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: SocketAddr,
}

const LINES_MAX: usize = 1_000;
const LINGER: Duration = Duration::from_millis(20);
/// As long as the server's, by default.
const NAP: Duration = Duration::from_millis(5);
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;
/// Bodies between receiving and posting.
const BODIES_MAX: usize = 8;

pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut receiver = Receiver::new(options.listen, RECEIVE_BUFFER_BYTES, LINGER)?;
    println!("{}", receiver.address()?);
    let (to_poster, bodies) = sync_channel(BODIES_MAX);
    let to = options.to;
    let poster = std::thread::spawn(move || post(to, &bodies));
    let mut batch = Batch::default();
    let mut gathered = 0;
    while !poster.is_finished() {
        let naps = gathered > 0;
        if naps {
            std::thread::park_timeout(NAP);
        }
        let mut last = receiver.receive(!naps, |datagram| batch.add(datagram))?;
        gathered = last;
        batch.send_if_due(&to_poster)?;
        while last == AT_ONCE {
            last = receiver.receive(false, |datagram| batch.add(datagram))?;
            batch.send_if_due(&to_poster)?;
        }
    }
    poster.join().unwrap_or_else(|_| bail!("posting panicked"))
}

#[derive(Default)]
struct Batch {
    body: Vec<u8>,
    lines: usize,
    begun: Option<Instant>,
    last_ns: u64,
}

impl Batch {
    fn add(&mut self, datagram: &[u8]) {
        const KEYS: [&[u8]; 8] = [
            b"user_events host=\"",
            b"\",command=\"",
            b"\",directory=\"",
            b"\",user=\"",
            b"\",origin=\"",
            b"\",context=\"",
            b"\",message=\"",
            b"",
        ];
        let mut fields = datagram.splitn(8, |byte| *byte == b';');
        // The first field only says which layout it is.
        fields.next();
        for (key, field) in KEYS.iter().zip(fields) {
            self.body.extend_from_slice(key);
            self.body.extend_from_slice(field);
        }
        self.last_ns = now_ns().max(self.last_ns + 1);
        // Writing into memory does not fail.
        let _ = writeln!(self.body, "\" {}", self.last_ns);
        self.lines += 1;
        self.begun.get_or_insert_with(Instant::now);
    }

    fn send_if_due(&mut self, to_poster: &SyncSender<Vec<u8>>) -> anyhow::Result<()> {
        let is_due = self.lines >= LINES_MAX || self.begun.is_some_and(|begun| begun.elapsed() >= LINGER);
        if is_due {
            let room = self.body.len() + self.body.len() / 8;
            let body = std::mem::replace(&mut self.body, Vec::with_capacity(room));
            to_poster.send(body).context("posting has ended")?;
            (self.lines, self.begun) = (0, None);
        }
        Ok(())
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn post(to: SocketAddr, bodies: &Inbox<Vec<u8>>) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    for body in bodies {
        let head = format!(
            "POST /write?db=load&precision=ns HTTP/1.1\r\nHost: {to}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body)?;
        let mut status = String::new();
        answers.read_line(&mut status)?;
        if !status.contains(" 204 ") {
            bail!("the sink answers {status:?}");
        }
        while line.trim_end() != "" || line.is_empty() {
            line.clear();
            if answers.read_line(&mut line)? == 0 {
                bail!("the sink's answer breaks off");
            }
        }
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_every_field() {
        let mut batch = Batch::default();
        batch.add(b"/t/;h;c;d;u;o;x;m;n");
        let line = String::from_utf8(batch.body).unwrap();
        let expect = r#"user_events host="h",command="c",directory="d",user="u",origin="o",context="x",message="m;n" "#;
        assert_eq!(line, format!("{expect}{}\n", batch.last_ns));
    }
}
