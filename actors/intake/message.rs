//! Messages of the intake's actors.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use actix::Message;
use butler_sos_domain::app_id::AppNames;

/// The datagrams of one turn of the UDP receiver: one arena, and the position of each datagram in it.
#[derive(Default)]
pub struct DatagramsReceived {
    pub arena: Vec<u8>,
    pub datagrams: Vec<Datagram>,
}

#[derive(Debug, Clone, Copy)]
pub struct Datagram {
    pub start: usize,
    pub len: usize,
    pub source: SocketAddr,
    /// Unix nanoseconds from [`butler_sos_domain::receipt_clock`]: unique for each event.
    pub received_ns: u64,
}

impl DatagramsReceived {
    #[must_use]
    pub fn bytes_of(&self, datagram: &Datagram) -> &[u8] {
        self.arena.get(datagram.start..datagram.start + datagram.len).unwrap_or_default()
    }
}

impl Message for DatagramsReceived {
    type Result = ();
}

impl fmt::Debug for DatagramsReceived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatagramsReceived({} datagrams, {} bytes)", self.datagrams.len(), self.arena.len())
    }
}

/// A new table of app names from the app directory.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct AppNamesLearned(pub Arc<AppNames>);
