//! The whole server, and its larger parts, against real servers and stand-ins.

mod check;
mod faults;
mod influx_bench;
mod influx_versions;
mod new_relic;
mod real_influx;
mod real_mosquitto;
mod screenshots;
