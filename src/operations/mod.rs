//! The endpoints for people and monitoring: dashboard, API for the commands, metrics, health.
//!
//! | path | what |
//! |---|---|
//! | `/metrics`, `/health`, `/ready` | for Prometheus, supervisors and load balancers |
//! | `/` | the dashboard; `/configuration` the effective configuration as text |
//! | `/api/state`, `/api/live` | everything at one moment ([`state`]); the same each second as server-sent events |
//! | `/api/events`, `/api/tail` | the newest events; those to come as server-sent events ([`event_json`]) |
//! | `/api/audit-events/{offset}/body` | an audit event's body, whole |
//! | `/api/screenshots`, `/api/screenshots/{offset}/image` | finished screenshots and their files |
//! | `/api/quarantine`, `/api/dead-letters` | rejected datagrams and dead letters ([`kept`]) |
//! | `/api/dead-letters/{id}[/drop\|/retry]`, `/api/dead-letters/[drop\|retry]`, `/api/replay[/stop]` |
//! actions on them ([`retry`], [`replay`]) |
//! | `/api/configuration` | every setting with its value and its source, secrets hidden |
//!
//! It reads counters, the journal and directories. For changes it sends messages to the actors. [`access`]
//! contains the rules of access.

pub mod access;
pub mod advice;
pub mod answer;
pub mod asked;
pub mod assets;
pub mod event_json;
pub mod history;
pub mod job_state;
pub mod jobs;
pub mod journal_port;
pub mod journal_reader;
pub mod kept;
pub mod live;
pub mod machine;
pub mod origin;
pub mod problem;
pub mod process;
pub mod readiness;
pub mod redeliverer;
pub mod replay;
pub mod retry;
pub mod screenshots;
pub mod server;
pub mod sse;
pub mod state;
pub mod tail;
pub mod view;
