//! Whoever wants to harm the server by what it listens to: HTTP that is no HTTP, crowds of connections, floods of
//! datagrams. What is asserted is what others get meanwhile, that memory is bounded, and that everything is counted.

mod connections;
mod http;
mod operations;
mod tls;
mod udp;

use butler_sos_integration_tests::audit_client::event_id;

/// Far above what the server needs, far below what a hole would take.
const MEMORY_MAX: u64 = 500 << 20;

/// The body of event `n`.
fn event(n: usize) -> String {
    format!(
        r#"{{"schemaVersion":1,"eventId":"{}","timestamp":"2026-11-20T10:11:12.345Z","type":"event.test","payload":{{"context":{{}},"event":{{"objectId":"o"}}}}}}"#,
        event_id(n)
    )
}

/// A POST of `body`, head and all, with more headers.
fn post(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("{}Content-Length: {length}\r\n\r\n{body}", head(headers))
}

/// The beginning of a POST's head.
fn head(headers: &str) -> String {
    format!("POST /api/v1/audit-event HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{headers}")
}
