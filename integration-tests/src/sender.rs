//! Datagrams to a server, none lost on the way.

use crate::sandbox::{Metrics, Sandbox, wait_for};

/// As many small datagrams as any kernel's receive buffer holds.
const STEP: usize = 50;

/// Sends each datagram, a step once the intake has the one before; waits until everything is delivered
/// and gives the figures then.
pub fn send<D: AsRef<[u8]>>(sandbox: &Sandbox, datagrams: &[D]) -> Metrics {
    let socket = sandbox.udp();
    let before = received(&sandbox.metrics());
    let mut sent = 0;
    for step in datagrams.chunks(STEP) {
        for datagram in step {
            socket.send(datagram.as_ref()).expect("a datagram can be sent");
        }
        sent += step.len() as u64;
        wait_for(&format!("{sent} datagrams to be received"), || {
            (received(&sandbox.metrics()) >= before + sent).then_some(())
        });
    }
    let metrics = sandbox.settle();
    assert_eq!(metrics.sum(KERNEL, &[]), 0.0, "the kernel dropped datagrams");
    metrics
}

const KERNEL: &str = "butler_sos_events_dropped_by_kernel_total";

fn received(metrics: &Metrics) -> u64 {
    let count = metrics.sum("butler_sos_events_received_total", &[("intake", "user_events")])
        + metrics.sum(KERNEL, &[]);
    count as u64
}
