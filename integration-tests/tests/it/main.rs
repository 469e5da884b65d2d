//! The server and its parts against real servers and stand-ins.

mod influx_bench;
mod influx_versions;
mod real_influx;
