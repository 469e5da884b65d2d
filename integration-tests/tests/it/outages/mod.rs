//! Outages of everything that the server speaks to over the network: each kind alone, and all at once.
//!
//! ```text
//! server ──► TcpProxy (──► TlsFront) ──► InfluxDB 1, 2, 3 · MQTT · New Relic · monitoring tool · Qlik Sense
//! ```
//!
//! While one is away, the others go on and hold everything; it is named with what is wrong, in words and by class;
//! when it is back, it gets what it has missed, without a restart.

mod all_at_once;
mod certificates;
mod harness;
mod names;
mod network;
mod qlik;
