//! Datagrams to a server, none lost on the way.

use std::net::{SocketAddr, UdpSocket};

use crate::sandbox::{Metrics, Sandbox, wait_for};

/// Sends to one life of a server, never more than the kernel's receive buffer holds.
pub struct Sender {
    socket: UdpSocket,
    operations: SocketAddr,
    /// Sent and not yet received, at most.
    window: u64,
    /// What the server had counted before this sender.
    before: u64,
    sent: u64,
}

impl Sender {
    /// To a server that counts up from what it has received by now.
    pub fn new(socket: UdpSocket, operations: SocketAddr, window: u64) -> Self {
        let before = Metrics::of(operations).map_or(0, |metrics| received(&metrics));
        Self { socket, operations, window, before, sent: 0 }
    }

    /// Sends everything, waiting for the server where it must.
    pub fn send<D: AsRef<[u8]>>(&mut self, datagrams: impl IntoIterator<Item = D>) {
        let mut datagrams = datagrams.into_iter().peekable();
        while datagrams.peek().is_some() {
            let room = wait_for("the intake to take events", || self.room().filter(|room| *room > 0));
            for datagram in datagrams.by_ref().take(room) {
                self.socket.send(datagram.as_ref()).expect("a datagram can be sent");
                self.sent += 1;
            }
        }
    }

    /// Sends as many as may be under way; answers how many. What a server that is gone does not take is no error.
    pub fn send_some<D: AsRef<[u8]>>(&mut self, datagrams: impl IntoIterator<Item = D>) -> u64 {
        let before = self.sent;
        for datagram in datagrams.into_iter().take(self.room().unwrap_or(0)) {
            let _ = self.socket.send(datagram.as_ref());
            self.sent += 1;
        }
        self.sent - before
    }

    /// How many more may be under way; `None` when nobody answers.
    fn room(&self) -> Option<usize> {
        let arrived = received(&Metrics::of(self.operations)?).saturating_sub(self.before);
        usize::try_from((arrived + self.window).saturating_sub(self.sent)).ok()
    }
}

const KERNEL: &str = "butler_sos_events_dropped_by_kernel_total";

/// What left the kernel's buffer, one way or the other.
fn received(metrics: &Metrics) -> u64 {
    let count = metrics.sum("butler_sos_events_received_total", &[("intake", "user_events")])
        + metrics.sum(KERNEL, &[]);
    count as u64
}

/// Sends datagrams of any size; waits until everything is delivered and gives the figures then.
pub fn send<D: AsRef<[u8]>>(sandbox: &Sandbox, datagrams: &[D]) -> Metrics {
    const WINDOW: u64 = 50;
    let before = received(&sandbox.metrics());
    Sender::new(sandbox.udp(), sandbox.address("operations"), WINDOW).send(datagrams);
    let metrics = sandbox.settle_after(before + datagrams.len() as u64);
    assert_eq!(metrics.sum(KERNEL, &[]), 0.0, "the kernel dropped datagrams");
    metrics
}
