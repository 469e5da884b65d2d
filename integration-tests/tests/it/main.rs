//! The whole server, and its larger parts, against real servers and stand-ins.

mod audit_crash;
mod audit_hostile;
mod browser;
mod check;
mod conservation;
mod draining;
mod faults;
mod golden_audit_api;
mod golden_audit_events;
mod golden_user_events;
mod grafana_queries;
mod influx_bench;
mod influx_versions;
mod new_relic;
mod operations;
mod ordered_object;
mod own_measurements;
mod pipeline;
mod poison;
mod prometheus_rules;
mod real_influx;
mod real_mosquitto;
mod screenshots;
mod sent_events;
mod service_manager;
