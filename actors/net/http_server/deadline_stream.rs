//! A connection's stream with deadlines.
//!
//! | phase | limit |
//! |---|---|
//! | the first head (and the handshake before it) | the header timeout, and a margin, so that actix's own
//! answer 408 is sent first |
//! | a later head, from its first byte | the header timeout |
//! | idle after an answer | the keep-alive and the header timeout |
//! | the client does not read the answer | the answer timeout |
//!
//! While a request is in progress there is no deadline here: its body has its own timeout. An evicted or late
//! connection gets an error at the next read or write, which ends it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_rt::net::{ActixStream, Ready, TcpStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::ServerConfig;
use super::connection_limiter::{ConnectionSlot, SlotGuard};

/// The margin that actix's own timeouts get before these.
const SLACK: Duration = Duration::from_secs(2);

/// The limits of the phases.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    first: Duration,
    head: Duration,
    idle: Duration,
    answer: Duration,
}

impl Limits {
    pub fn of(config: &ServerConfig, is_tls: bool) -> Self {
        let handshake = if is_tls { config.header_timeout } else { Duration::ZERO };
        Self {
            first: handshake + config.header_timeout + SLACK,
            head: config.header_timeout,
            idle: config.keep_alive + config.header_timeout,
            answer: config.answer_timeout,
        }
    }
}

/// A stream with a slot.
pub struct DeadlineStream {
    io: TcpStream,
    peer: SocketAddr,
    held: SlotGuard,
    limits: Limits,
    /// The number of the answer with which the current wait began.
    after_answer: u64,
    /// The deadline for data from the client.
    read_by: Instant,
    /// Whether a later head has begun.
    in_head: bool,
    /// The deadline for the client to read something, while it does not.
    write_by: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl DeadlineStream {
    pub fn new(io: TcpStream, peer: SocketAddr, held: SlotGuard, limits: Limits) -> Self {
        let read_by = Instant::now() + limits.first;
        // Each answer is written as a whole.
        let _ = io.set_nodelay(true);
        Self {
            io,
            peer,
            held,
            limits,
            after_answer: 0,
            read_by,
            in_head: false,
            write_by: None,
            timer: Box::pin(sleep_until(read_by)),
        }
    }

    pub fn slot(&self) -> &Arc<ConnectionSlot> {
        self.held.slot()
    }

    pub fn peer(&self) -> Option<SocketAddr> {
        Some(self.peer)
    }

    /// Returns an error when this connection must end. Otherwise its task is woken at the deadline.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let slot = self.held.slot();
        slot.waker.register(cx.waker());
        if slot.is_evicted() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "another needs the room"));
        }
        let answered = slot.answered();
        if answered != self.after_answer {
            self.after_answer = answered;
            self.in_head = false;
            self.read_by = Instant::now() + self.limits.idle;
        }
        loop {
            let read_by = slot.is_waited_for().then_some(self.read_by);
            let by = read_by.into_iter().chain(self.write_by).min();
            // A timer that ends too early is set again then, which is cheaper than at each step.
            if let Some(by) = by
                && by < self.timer.deadline()
            {
                self.timer.as_mut().reset(by);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            let now = Instant::now();
            match by {
                Some(by) if by <= now => return Err(io::ErrorKind::TimedOut.into()),
                Some(by) => self.timer.as_mut().reset(by),
                // Checked again when the request is answered.
                None => self.timer.as_mut().reset(now + self.limits.idle + SLACK),
            }
        }
    }

    /// Records whether a write made progress. Without progress the answer timeout runs.
    fn wrote<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(_) => {
                self.write_by = None;
                // The progress of a streamed answer shows that the client is alive.
                if !self.in_head && self.after_answer > 0 {
                    self.read_by = Instant::now() + self.limits.idle;
                }
            }
            Poll::Pending if self.write_by.is_none() => {
                self.write_by = Some(Instant::now() + self.limits.answer);
                self.check(cx)?;
            }
            Poll::Pending => {}
        }
        result
    }
}

impl AsyncRead for DeadlineStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        if buf.filled().len() > before
            && !this.in_head
            && this.after_answer > 0
            && this.held.slot().is_waited_for()
        {
            this.in_head = true;
            this.read_by = Instant::now() + this.limits.head;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for DeadlineStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        this.wrote(cx, result)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl ActixStream for DeadlineStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.io, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.io, cx)
    }
}
