//! A UDP socket that sends and takes many datagrams with one system call.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg, setsockopt, sockopt};

/// Datagrams of one system call.
pub const AT_ONCE: usize = 64;

/// Sends to one address.
pub struct Sender {
    socket: UdpSocket,
    headers: MultiHeaders<SockaddrStorage>,
}

impl Sender {
    pub fn new(to: SocketAddr) -> anyhow::Result<Self> {
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).context("a socket to send from")?;
        socket.connect(to).with_context(|| format!("cannot send to {to}"))?;
        Ok(Self { socket, headers: MultiHeaders::preallocate(AT_ONCE, None) })
    }

    /// Sends up to [`AT_ONCE`] of `datagrams`; says how many.
    pub fn send(&mut self, datagrams: &[Vec<u8>]) -> Result<usize, Errno> {
        let slices: Vec<[IoSlice<'_>; 1]> =
            datagrams.iter().take(AT_ONCE).map(|datagram| [IoSlice::new(datagram)]).collect();
        let nowhere_else = [None::<SockaddrStorage>; AT_ONCE];
        let fd = self.socket.as_raw_fd();
        let sent = sendmmsg(fd, &mut self.headers, &slices, nowhere_else, [], MsgFlags::empty())?;
        Ok(sent.count())
    }
}

/// Takes from one port.
pub struct Receiver {
    socket: UdpSocket,
    headers: MultiHeaders<SockaddrStorage>,
    memory: Vec<u8>,
}

/// Longer datagrams are cut.
const SLOT_BYTES: usize = 2_112;

impl Receiver {
    /// `wait` is how long a call waits for a first datagram.
    pub fn new(listen: SocketAddr, buffer_bytes: usize, wait: Duration) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
        if setsockopt(&socket, sockopt::RcvBufForce, &buffer_bytes).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &buffer_bytes).context("the receive buffer")?;
        }
        socket.set_read_timeout(Some(wait)).context("the receive time-out")?;
        Ok(Self {
            socket,
            headers: MultiHeaders::preallocate(AT_ONCE, None),
            memory: vec![0; SLOT_BYTES * AT_ONCE],
        })
    }

    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        self.socket.local_addr().context("the socket's address")
    }

    /// Shows what is there, up to [`AT_ONCE`] datagrams; says how many. 0: none came in time.
    pub fn receive(&mut self, waits: bool, mut see: impl FnMut(&[u8])) -> Result<usize, Errno> {
        let flags = if waits { MsgFlags::MSG_WAITFORONE } else { MsgFlags::MSG_DONTWAIT };
        let mut slots = self.memory.chunks_exact_mut(SLOT_BYTES);
        let mut slices: [[IoSliceMut<'_>; 1]; AT_ONCE] =
            std::array::from_fn(|_| [IoSliceMut::new(slots.next().unwrap_or_default())]);
        match recvmmsg(self.socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(messages) => {
                Ok(messages.map(|message| see(message.iovs().next().unwrap_or_default())).count())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            Err(errno) => Err(errno),
        }
    }
}
