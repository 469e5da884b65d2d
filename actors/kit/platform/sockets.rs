//! Sockets: a UDP socket with a receive buffer of the wanted size, batch receive, and kernel drops.
//!
//! Kernel drops are read from `/proc/net/udp`. The counter that `SO_RXQ_OVFL` attaches to a datagram is as
//! old as that datagram, so after a burst it is too low until the next datagram arrives.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrStorage, bind, getsockopt,
    recvmmsg, setsockopt, socket, sockopt,
};

/// A bound UDP socket.
#[derive(Debug)]
pub struct BoundUdp {
    pub socket: UdpSocket,
    /// Contains the port that the kernel chose.
    pub address: SocketAddr,
    /// The size that the kernel granted.
    pub receive_buffer_bytes: usize,
    inode: u64,
}

/// The step that failed when a socket was opened.
#[derive(Debug)]
pub enum OpenUdpError {
    /// The address cannot be bound.
    Bind(io::Error),
    /// A required socket option cannot be set.
    Prepare(io::Error),
}

/// A blocking read ends after this time, so that the reader can check for a stop.
const READ_TIMEOUT: Duration = Duration::from_millis(50);

/// Binds a socket and requests a receive buffer of this size. The result contains the size that the kernel
/// granted.
pub fn open_udp(address: SocketAddr, receive_buffer_bytes: usize) -> Result<BoundUdp, OpenUdpError> {
    let cannot_bind = |errno: Errno| OpenUdpError::Bind(errno.into());
    let cannot_prepare = |errno: Errno| OpenUdpError::Prepare(errno.into());

    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(cannot_bind)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // `::` must accept IPv4 as well, whatever the system's default is.
        setsockopt(&fd, sockopt::Ipv6V6Only, &false).map_err(cannot_bind)?;
    }
    // Enlarge before the bind, so that the buffer is ready for the first datagram.
    let receive_buffer_bytes = enlarge(&fd, receive_buffer_bytes).map_err(cannot_prepare)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).map_err(cannot_bind)?;

    let socket = UdpSocket::from(fd);
    socket.set_read_timeout(Some(READ_TIMEOUT)).map_err(OpenUdpError::Prepare)?;
    let address = socket.local_addr().map_err(OpenUdpError::Prepare)?;
    let inode = nix::sys::stat::fstat(&socket).map_err(cannot_prepare)?.st_ino;
    Ok(BoundUdp { socket, address, receive_buffer_bytes, inode })
}

/// Requests the buffer with privilege, then without. Returns the granted size.
fn enlarge(fd: &impl AsFd, wanted: usize) -> Result<usize, Errno> {
    if setsockopt(fd, sockopt::RcvBufForce, &wanted).is_err() {
        setsockopt(fd, sockopt::RcvBuf, &wanted)?;
    }
    // The kernel doubles the requested size for its own bookkeeping and reports the double.
    Ok(getsockopt(fd, sockopt::RcvBuf)? / 2)
}

impl BoundUdp {
    /// The number of datagrams that the kernel has dropped at this socket since it was opened (modulo 2^32).
    /// `None` when `/proc` is missing or does not list the socket. Blocks for about a millisecond.
    #[must_use]
    pub fn kernel_drops(&self) -> Option<u32> {
        let table = if self.address.is_ipv6() { "/proc/self/net/udp6" } else { "/proc/self/net/udp" };
        drops_of(&std::fs::read_to_string(table).ok()?, self.inode)
    }
}

/// Finds a socket in `/proc/net/udp`: one socket a line, the inode in column 10, drops in the last column.
fn drops_of(table: &str, inode: u64) -> Option<u32> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        if columns.nth(9)?.parse::<u64>().ok()? != inode {
            return None;
        }
        columns.last()?.parse().ok()
    })
}

/// Memory for received datagrams, and the headers for a batch receive. It is reused for every call.
pub struct ReceiveArea {
    headers: MultiHeaders<SockaddrStorage>,
    memory: Vec<u8>,
    slot_bytes: usize,
}

/// Datagrams that one call takes at most.
pub const SLOTS: usize = 64;

/// A datagram in the receive area.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Truncated at one byte above the largest size that is accepted.
    pub bytes: &'a [u8],
    pub source: SocketAddr,
}

/// The behaviour when no datagram is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenEmpty {
    /// Waits at most 50 ms for a first datagram.
    Wait,
    Return,
}

impl ReceiveArea {
    /// For datagrams of up to `bytes_max`. A larger one has the length `bytes_max + 1`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        // An odd number of cache lines per slot keeps slots from sharing the same few cache sets.
        let slot_bytes = ((bytes_max.min(UDP_BYTES_MAX) + 1).div_ceil(64) | 1) * 64;
        Self {
            headers: MultiHeaders::preallocate(SLOTS, None),
            memory: vec![0; slot_bytes * SLOTS],
            slot_bytes,
        }
    }

    /// Receives the available datagrams, up to [`SLOTS`], passes each to `see`, and returns their number.
    ///
    /// # Errors
    /// An error for which [`is_nothing_there`] is true when no datagram was available; other errors as the
    /// kernel reports them.
    pub fn receive(
        &mut self,
        socket: &UdpSocket,
        when_empty: WhenEmpty,
        mut see: impl FnMut(Received<'_>),
    ) -> io::Result<usize> {
        let flags = match when_empty {
            WhenEmpty::Wait => MsgFlags::MSG_WAITFORONE,
            WhenEmpty::Return => MsgFlags::MSG_DONTWAIT,
        };
        let mut slots = self.memory.chunks_exact_mut(self.slot_bytes);
        let mut slices: [[IoSliceMut<'_>; 1]; SLOTS] =
            std::array::from_fn(|_| [IoSliceMut::new(slots.next().unwrap_or_default())]);
        let messages = recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None)?;
        let mut count = 0;
        for message in messages {
            count += 1;
            let bytes = message.iovs().next().unwrap_or_default();
            see(Received { bytes, source: message.address.as_ref().map_or(NOWHERE, socket_addr) });
        }
        Ok(count)
    }
}

/// Larger than any UDP datagram.
const UDP_BYTES_MAX: usize = 65_535;

/// Stands for a source that the kernel did not report. With UDP over IP it always reports one.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0));

/// The source. An IPv4-mapped IPv6 address becomes an IPv4 address.
fn socket_addr(storage: &SockaddrStorage) -> SocketAddr {
    let v4 = storage.as_sockaddr_in().map(|addr| SocketAddr::V4(SocketAddrV4::from(*addr)));
    let v6 = || storage.as_sockaddr_in6().map(|addr| SocketAddr::V6(SocketAddrV6::from(*addr)));
    let mut address = v4.or_else(v6).unwrap_or(NOWHERE);
    address.set_ip(address.ip().to_canonical());
    address
}

/// Whether an error of [`ReceiveArea::receive`] only says that no datagram was available.
#[must_use]
pub fn is_nothing_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Sets the backlog of connections to accept. The kernel may allow fewer.
pub fn set_backlog(listener: &TcpListener, connections_max: i32) -> io::Result<()> {
    Ok(nix::sys::socket::listen(listener, Backlog::new(connections_max)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound() -> BoundUdp {
        open_udp(SocketAddr::from(([127, 0, 0, 1], 0)), 1 << 16).unwrap()
    }

    #[test]
    fn an_empty_socket_returns_at_once() {
        let bound = bound();
        let got = ReceiveArea::new(100).receive(&bound.socket, WhenEmpty::Return, |_| ());
        assert!(is_nothing_there(&got.unwrap_err()));
    }

    #[test]
    fn finds_drops_by_inode() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            1: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 111 2 0000000000000000 7\n\
            2: 0100007F:270D 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 112 2 0000000000000000 4294967295\n";
        assert_eq!(drops_of(table, 112), Some(u32::MAX));
        assert_eq!(drops_of(table, 111), Some(7));
        assert_eq!(drops_of(table, 11), None);
        assert_eq!(drops_of("", 11), None);
        assert_eq!(drops_of("head\nshort line\n", 11), None);
    }

    #[test]
    fn every_datagram_is_either_received_or_dropped_by_the_kernel() {
        let bound = bound();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..2_000 {
            sender.send_to(&[b'x'; 300], bound.address).unwrap();
        }
        let mut area = ReceiveArea::new(1_000);
        let mut received = 0;
        while let Ok(count) = area.receive(&bound.socket, WhenEmpty::Return, |_| ()) {
            received += count;
        }
        let dropped = bound.kernel_drops().unwrap();
        assert!(dropped > 0, "the buffer was meant to be too small");
        assert_eq!(received + dropped as usize, 2_000);
        let unknown = BoundUdp { inode: 0, ..bound };
        assert_eq!(unknown.kernel_drops(), None);
    }
}
