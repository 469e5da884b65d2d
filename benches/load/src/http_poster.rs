//! Posts audit events over connections that are kept, one after the other on each, as fast as the answers come.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Latencies;
use crate::mark::now_us;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where to.
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: SocketAddr,
    /// Connections.
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// For how long.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Bytes of a body.
    #[arg(long, default_value_t = 1_000)]
    bytes: usize,
}

/// What all connections count together.
#[derive(Default)]
struct Tally {
    latencies: RefCell<Latencies>,
    statuses: RefCell<BTreeMap<u16, u64>>,
    next: Cell<u64>,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = Rc::new(Tally::default());
    // Ids that no other run has had.
    tally.next.set(now_us());
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(options.seconds);
    runtime.block_on(async {
        let local = tokio::task::LocalSet::new();
        let posting: Vec<_> = (0..options.connections)
            .map(|_| local.spawn_local(post(options.to, options.bytes, end, Rc::clone(&tally))))
            .collect();
        local
            .run_until(async {
                for connection in posting {
                    connection.await??;
                }
                anyhow::Ok(())
            })
            .await
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let (latencies, statuses) = (tally.latencies.borrow(), tally.statuses.borrow());
    let accepted = statuses.get(&202).copied().unwrap_or_default();
    println!(
        "{}",
        json!({
            "sent": latencies.count(),
            "accepted": accepted,
            "per_second": accepted as f64 / seconds,
            "p50_ms": latencies.quantile(0.5) as f64 / 1e3,
            "p99_ms": latencies.quantile(0.99) as f64 / 1e3,
            "max_ms": latencies.max() as f64 / 1e3,
            "statuses": *statuses,
        })
    );
    Ok(())
}

async fn post(to: SocketAddr, bytes: usize, end: Instant, tally: Rc<Tally>) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(to).await.with_context(|| format!("cannot connect to {to}"))?;
    stream.set_nodelay(true)?;
    let mut answer = Vec::with_capacity(4_096);
    while Instant::now() < end {
        let number = tally.next.get();
        tally.next.set(number + 1);
        let request = request(to, number, bytes);
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        let status = read_answer(&mut stream, &mut answer).await?;
        let us = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
        tally.latencies.borrow_mut().add(us, 1);
        *tally.statuses.borrow_mut().entry(status).or_default() += 1;
    }
    Ok(())
}

fn request(to: SocketAddr, number: u64, bytes: usize) -> String {
    let body = body(number, bytes);
    format!(
        "POST /api/v1/audit-event HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\n\
         X-Audit-QS-Version: 0.4.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A user looked at an object, which has as much data as it takes.
fn body(number: u64, bytes: usize) -> String {
    let text = |value: &str| {
        format!(
            concat!(
                r#"{{"schemaVersion":1,"eventId":"{:08x}-0000-4000-8000-{:012x}","timestamp":"2026-11-20T10:11:12.345Z","#,
                r#""type":"object.view.duration","source":{{"kind":"qlik-sense-extension","name":"audit-qs","version":"0.4.0"}},"#,
                r#""payload":{{"context":{{"user":"UserDirectory=LAB; UserId=goran","appId":"5a3c0000-0000-4000-8000-000000000001","#,
                r#""appName":"Sales","sheetId":"c1f9a7d2-0000-4000-8000-000000000001","sheetName":"Overview"}},"#,
                r#""event":{{"objectId":"JpQrs","duration":9123.4,"enteredAt":"2026-11-20T10:11:02.345Z","#,
                r#""leftAt":"2026-11-20T10:11:11.468Z","visible":false,"dataStateId":7,"objectData":{{"value":"{}"}}}}}}}}"#
            ),
            number >> 48,
            number & 0xffff_ffff_ffff,
            value
        )
    };
    let empty = text("").len();
    text(&"x".repeat(bytes.saturating_sub(empty)))
}

/// Reads one answer, whose body has a length; its status.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<u16> {
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            bail!("the connection ended within {:?}", String::from_utf8_lossy(answer));
        }
        let Some(head_end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&answer[..head_end])?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        });
        if answer.len() >= head_end + 4 + length.transpose()?.unwrap_or_default() {
            return Ok(head.split(' ').nth(1).unwrap_or_default().parse()?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_an_event_of_that_size() {
        let body = body(now_us(), 1_000);
        assert_eq!(body.len(), 1_000);
        assert!(butler_sos_domain::audit::check(body.as_bytes(), Some("0.4.0")).is_ok());
    }
}
