//! Stands in for InfluxDB 1: answers every write with 204 and counts which numbers came, how often and how late.
//!
//! `GET /figures` tells, `POST /reset` forgets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

use crate::Latencies;
use crate::mark::{Mark, now_us};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where to listen; port 0 lets the system choose, and the first line of output says which.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// What came.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Figures {
    pub requests: u64,
    pub lines: u64,
    /// Lines with a mark that had not come before.
    pub distinct: u64,
    /// One above the highest number.
    pub end: u64,
    /// Of the bodies, as they were sent.
    pub body_bytes: u64,
    /// Milliseconds from sending a datagram to having read the request that holds its line.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

#[derive(Default)]
struct Tally {
    figures: Figures,
    seen: Vec<u64>,
    late: Latencies,
}

/// Larger numbers are not counted as distinct.
const NUMBER_MAX: u64 = 1 << 32;
const BODY_BYTES_MAX: u64 = 256 << 20;

pub fn run(options: &Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen).context("cannot listen")?;
    println!("{}", listener.local_addr()?);
    let tally = Arc::new(Mutex::new(Tally::default()));
    for stream in listener.incoming().flatten() {
        let tally = Arc::clone(&tally);
        std::thread::spawn(move || {
            // A connection that breaks is the client's matter.
            let _ = serve(stream, &tally);
        });
    }
    Ok(())
}

fn serve(stream: TcpStream, tally: &Mutex<Tally>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut input = BufReader::with_capacity(256 << 10, stream);
    let mut body = Vec::new();
    while let Some(request) = read_request(&mut input, &mut body)? {
        let lock = || tally.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match request.path() {
            "/write" => {
                let now_us = now_us();
                let wire_bytes = body.len() as u64;
                if request.is_gzip {
                    let mut lines = Vec::with_capacity(4 * body.len());
                    GzDecoder::new(body.as_slice()).read_to_end(&mut lines)?;
                    lock().add(&lines, wire_bytes, now_us);
                } else {
                    lock().add(&body, wire_bytes, now_us);
                }
                None
            }
            "/query" => Some(r#"{"results":[{"statement_id":0}]}"#.to_owned()),
            "/figures" => Some(serde_json::to_string(&lock().figures())?),
            "/reset" => {
                *lock() = Tally::default();
                None
            }
            _ => None,
        };
        let answer = match answer {
            Some(json) => format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
                json.len()
            ),
            None => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        };
        answers.write_all(answer.as_bytes())?;
    }
    Ok(())
}

impl Tally {
    fn add(&mut self, lines: &[u8], wire_bytes: u64, now_us: u64) {
        self.figures.requests += 1;
        self.figures.body_bytes += wire_bytes;
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.figures.lines += 1;
            let Some(mark) = Mark::of_line(line).filter(|mark| mark.number < NUMBER_MAX) else { continue };
            let (word, bit) = ((mark.number / 64) as usize, 1 << (mark.number % 64));
            if self.seen.len() <= word {
                self.seen.resize(word + 1, 0);
            }
            self.figures.distinct += u64::from(self.seen[word] & bit == 0);
            self.seen[word] |= bit;
            self.figures.end = self.figures.end.max(mark.number + 1);
            self.late.add(now_us.saturating_sub(mark.sent_us), 1);
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            p50_ms: self.late.quantile(0.5) as f64 / 1e3,
            p99_ms: self.late.quantile(0.99) as f64 / 1e3,
            max_ms: self.late.max() as f64 / 1e3,
            ..self.figures
        }
    }
}

struct Request {
    /// With the query.
    target: String,
    is_gzip: bool,
}

impl Request {
    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// Reads one request, its body into `body`; `None` when the client has closed.
fn read_request(input: &mut impl BufRead, body: &mut Vec<u8>) -> anyhow::Result<Option<Request>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut request =
        Request { target: line.split(' ').nth(1).unwrap_or_default().to_owned(), is_gzip: false };
    let (mut length, mut is_chunked) = (0, false);
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            bail!("the request breaks off");
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().context("a length")?;
        } else if name.eq_ignore_ascii_case("content-encoding") {
            request.is_gzip = value.eq_ignore_ascii_case("gzip");
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            is_chunked = value.eq_ignore_ascii_case("chunked");
        }
    }
    body.clear();
    if is_chunked {
        while read_chunk(input, body)? > 0 {}
    } else {
        take(input, length, body)?;
    }
    Ok(Some(request))
}

fn read_chunk(input: &mut impl BufRead, body: &mut Vec<u8>) -> anyhow::Result<u64> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let length = u64::from_str_radix(line.trim_end(), 16).context("a chunk's length")?;
    take(input, length, body)?;
    line.clear();
    input.read_line(&mut line)?;
    Ok(length)
}

fn take(input: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> anyhow::Result<()> {
    if body.len() as u64 + length > BODY_BYTES_MAX {
        bail!("a body of more than {BODY_BYTES_MAX} bytes");
    }
    let read = input.take(length).read_to_end(body)?;
    if (read as u64) < length {
        bail!("the body breaks off");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_with_a_length_and_in_chunks() {
        let mut input = "POST /write?db=x HTTP/1.1\r\nContent-Length: 3\r\nContent-Encoding: gzip\r\n\r\nabc\
            POST /query HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
            .as_bytes();
        let mut body = Vec::new();
        for (path, is_gzip) in [("/write", true), ("/query", false)] {
            let request = read_request(&mut input, &mut body).unwrap().unwrap();
            assert_eq!((request.path(), request.is_gzip, body.as_slice()), (path, is_gzip, &b"abc"[..]));
        }
        assert!(read_request(&mut input, &mut body).unwrap().is_none());
    }

    #[test]
    fn a_number_counts_once() {
        let mut tally = Tally::default();
        let line = |n: u64| format!("user_events,host=n{n:012}t0000000000001000 userId=\"a\" 1\n");
        let lines = [line(0), line(64), line(64), "user_events,host=x userId=\"a\" 1\n".to_owned()].concat();
        tally.add(lines.as_bytes(), 7, 3_000);
        let figures = tally.figures();
        assert_eq!((figures.lines, figures.distinct, figures.end), (4, 2, 65));
        assert_eq!(figures.max_ms, 2.0);
    }
}
