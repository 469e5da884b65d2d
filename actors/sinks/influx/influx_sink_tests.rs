//! Tests against scripted servers that answer as the versions of InfluxDB do.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use flate2::read::GzDecoder;
use futures_util::StreamExt;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslAcceptorBuilder, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};

use super::*;
use crate::journal::batch::Record;
use crate::kit::testing::discard_log;
use crate::net::tls::reread::Reread;
use crate::sinks::influx::client::{BODY_BYTES_MAX, GZIP_BYTES_MIN, InfluxTarget, RetentionPolicy, Scheme};

/// A received request.
#[derive(Debug, Clone)]
struct Seen {
    method: String,
    path: String,
    auth: String,
    is_gzip: bool,
    body: String,
}

#[derive(Debug, Clone)]
struct Says {
    status: u16,
    body: String,
    retry_after: Option<&'static str>,
    pause: Duration,
}

fn says(status: u16, body: &str) -> Says {
    Says { status, body: body.to_owned(), retry_after: None, pause: Duration::ZERO }
}

type Script = Arc<Mutex<dyn FnMut(&Seen) -> Says + Send>>;

struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    fn start(script: impl FnMut(&Seen) -> Says + Send + 'static) -> Self {
        Self::start_with(script, None)
    }

    fn start_with(
        script: impl FnMut(&Seen) -> Says + Send + 'static,
        tls: Option<SslAcceptorBuilder>,
    ) -> Self {
        let script: Script = Arc::new(Mutex::new(script));
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let shared = (script, Arc::clone(&seen));
        let server = HttpServer::new(move || {
            App::new().app_data(web::Data::new(shared.clone())).default_service(web::to(answer))
        })
        .workers(1)
        .disable_signals();
        let server = match tls {
            Some(tls) => server.bind_openssl(("127.0.0.1", 0), tls),
            None => server.bind(("127.0.0.1", 0)),
        };
        let server = server.unwrap();
        let address = server.addrs()[0];
        actix_rt::spawn(server.run());
        Self { address, seen }
    }

    fn writes(&self) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| is_write(&seen.path)).cloned().collect()
    }

    /// The lines of each write.
    fn written(&self) -> Vec<Vec<String>> {
        let lines = |seen: Seen| seen.body.lines().map(str::to_owned).collect();
        self.writes().into_iter().map(lines).collect()
    }
}

fn is_write(path: &str) -> bool {
    path.contains("/write")
}

type Shared = (Script, Arc<Mutex<Vec<Seen>>>);

async fn answer(shared: web::Data<Shared>, request: HttpRequest, mut payload: web::Payload) -> HttpResponse {
    let mut body = Vec::new();
    while let Some(Ok(chunk)) = payload.next().await {
        body.extend_from_slice(&chunk);
    }
    let header = |name| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let is_gzip = header("content-encoding") == "gzip";
    let mut text = String::new();
    if is_gzip {
        GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(body).unwrap();
    }
    let seen = Seen {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        auth: header("authorization"),
        is_gzip,
        body: text,
    };
    let says = (shared.0.lock().unwrap())(&seen);
    shared.1.lock().unwrap().push(seen);
    tokio::time::sleep(says.pause).await;
    let mut response = HttpResponse::build(StatusCode::from_u16(says.status).unwrap());
    if let Some(pause) = says.retry_after {
        response.insert_header(("Retry-After", pause));
    }
    if says.status == 302 {
        response.insert_header(("Location", "/elsewhere"));
    }
    response.body(says.body)
}

fn v1() -> InfluxTarget {
    InfluxTarget::V1 {
        database: "senseops".into(),
        policy: RetentionPolicy { name: "10d".into(), duration: "10d".into() },
        auth: Some(("admin".into(), "hunter22".into())),
    }
}

fn v2() -> InfluxTarget {
    InfluxTarget::V2 {
        org: "an org".into(),
        bucket: "events".into(),
        description: "what happened".into(),
        token: "t0ken".into(),
        retention: "10d".into(),
    }
}

fn v3() -> InfluxTarget {
    InfluxTarget::V3 { database: "events".into(), token: "t0ken".into(), retention: "10d".into() }
}

fn config(address: SocketAddr, target: InfluxTarget) -> InfluxConfig {
    InfluxConfig {
        scheme: Scheme::Http,
        host: address.ip().to_string(),
        port: address.port(),
        write_timeout: Duration::from_secs(5),
        write_timeout_max: Duration::from_secs(5),
        body_bytes_max: BODY_BYTES_MAX,
        gzip_bytes_min: GZIP_BYTES_MIN,
        create_database: true,
        target,
        reread: Reread::default(),
    }
}

/// A record is its own line. `skip` has no line, `bad` is refused, `panic` panics half-way.
struct Plain;

impl LineEncoder for Plain {
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        match record.data {
            b"skip" => return Ok(()),
            b"bad" => {
                out.extend_from_slice(b"half");
                return Err("not an event".into());
            }
            b"panic" => {
                out.extend_from_slice(b"half");
                panic!("poison");
            }
            line => out.extend_from_slice(line),
        }
        out.push(b'\n');
        Ok(())
    }
}

fn influx(server: &Server, target: InfluxTarget) -> Influx {
    Influx::new(config(server.address, target), Plain, discard_log())
}

fn batch(lines: &[&str]) -> Batch {
    Batch::of_records(100, lines.iter().map(|line| line.as_bytes()))
}

fn offsets(delivered: &Delivered) -> Vec<u64> {
    delivered.refused.iter().map(|refused| refused.offset).collect()
}

const SOME: [&str; 6] = ["m f=0 10", "m f=1 11", "m f=2 12", "m f=3 13", "m f=4 14", "m f=5 15"];

/// Answers that every request succeeded and everything exists.
fn fine(seen: &Seen) -> Says {
    match seen.path.split('?').next() {
        Some("/query") => {
            says(200, r#"{"results":[{"series":[{"columns":["name"],"values":[["senseops"]]}]}]}"#)
        }
        Some("/api/v2/buckets") => says(200, r#"{"buckets":[{"name":"events","id":"1"}]}"#),
        Some("/api/v3/configure/database") => says(409, r#"{"error":"already exists"}"#),
        _ => says(204, ""),
    }
}

/// Refuses lines that contain `poison`, with a message that names no line.
fn refuses_poison(seen: &Seen) -> Says {
    match is_write(&seen.path) && seen.body.contains("poison") {
        true => says(400, r#"{"error":"no idea which"}"#),
        false => fine(seen),
    }
}

#[actix_rt::test]
async fn writes_to_each_version_with_its_api() {
    for (target, path, auth) in [
        (v1(), "/write?db=senseops&rp=10d&precision=ns", "Basic YWRtaW46aHVudGVyMjI="),
        (v2(), "/api/v2/write?org=an+org&bucket=events&precision=ns", "Token t0ken"),
        (v3(), "/api/v3/write_lp?db=events&precision=nanosecond", "Bearer t0ken"),
    ] {
        let server = Server::start(fine);
        let delivered = influx(&server, target).write(&batch(&SOME)).await.unwrap();
        assert_eq!((delivered.next_offset, delivered.events, delivered.refused.len()), (106, 6, 0));
        let writes = server.writes();
        assert_eq!(writes.len(), 1);
        assert_eq!(
            (writes[0].method.as_str(), writes[0].path.as_str(), writes[0].auth.as_str()),
            ("POST", path, auth)
        );
        assert!(!writes[0].is_gzip);
        assert_eq!(writes[0].body, format!("{}\n", SOME.join("\n")));
        assert!(server.seen.lock().unwrap().iter().all(|seen| seen.auth == auth), "administration, too");
    }
}

#[actix_rt::test]
async fn a_record_that_cannot_be_encoded_affects_no_other_record() {
    let server = Server::start(fine);
    let records = batch(&["m f=0 10", "bad", "skip", "panic", "m f=1 11"]);
    let delivered = influx(&server, v1()).write(&records).await.unwrap();
    assert_eq!(offsets(&delivered), [101, 103]);
    assert_eq!(delivered.refused[0].reason, "not an event");
    assert_eq!(delivered.refused[1].reason, "cannot be encoded: poison");
    assert_eq!(delivered.refused[1].record, b"panic");
    assert_eq!((delivered.events, delivered.bytes), (3, 18));
    assert_eq!(server.written(), [["m f=0 10", "m f=1 11"]]);
    let none = influx(&server, v1()).write(&batch(&["bad", "skip"])).await.unwrap();
    assert_eq!((none.next_offset, none.events), (102, 1));
    assert_eq!(server.writes().len(), 1, "nothing to write is not written");
}

#[actix_rt::test]
async fn bad_lines_are_isolated_by_splitting_and_no_other_line_is_lost() {
    let server = Server::start(refuses_poison);
    let lines = ["m f=0 10", "m f=1 11", "m poison=2 12", "m f=3 13", "m poison=4 14", "m f=5 15"];
    let delivered = influx(&server, v2()).write(&batch(&lines)).await.unwrap();
    assert_eq!(offsets(&delivered), [102, 104]);
    assert_eq!(delivered.refused[0].reason, "no idea which");
    assert_eq!((delivered.next_offset, delivered.events), (106, 4));
    let taken: Vec<String> =
        server.written().into_iter().filter(|lines| !lines.concat().contains("poison")).flatten().collect();
    assert_eq!(taken, ["m f=0 10", "m f=1 11", "m f=3 13", "m f=5 15"]);
}

/// Version 1 repeats lines that it cannot parse in a header, where HTTP allows no control characters.
#[actix_rt::test]
async fn an_unreadable_answer_is_a_refusal() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            // Requests are small: head and body come in one or two pieces.
            let mut request = String::new();
            let mut piece = [0; 4096];
            while !request.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                let length = head
                    .to_ascii_lowercase()
                    .split_once("content-length: ")
                    .and_then(|(_, rest)| rest.split("\r\n").next()?.parse::<usize>().ok());
                body.len() >= length.unwrap_or(0)
            }) {
                let read = std::io::Read::read(&mut connection, &mut piece).unwrap();
                assert!(read > 0, "{request}");
                request.push_str(std::str::from_utf8(&piece[..read]).unwrap());
            }
            let answer = if request.contains("poison") {
                "400 Bad Request\r\nX-Influxdb-Error: unable to parse 'm poison=\u{1}'"
            } else if request.starts_with("POST /write") {
                "204 No Content"
            } else {
                "200 OK"
            };
            let body = if answer == "200 OK" { r#"{"results":[]}"# } else { "" };
            let length = format!("Content-Length: {}\r\nConnection: close", body.len());
            let answer = format!("HTTP/1.1 {answer}\r\n{length}\r\n\r\n{body}");
            std::io::Write::write_all(&mut connection, answer.as_bytes()).unwrap();
        }
    });
    let mut influx = Influx::new(config(address, v1()), Plain, discard_log());
    let lines = ["m f=0 10", "m poison=1 11", "m f=2 12", "m f=3 13"];
    let delivered = influx.write(&batch(&lines)).await.unwrap();
    assert_eq!((offsets(&delivered), delivered.events), (vec![101], 3));
    assert!(delivered.refused[0].reason.contains("unreadable message"), "{}", delivered.refused[0].reason);
}

#[actix_rt::test]
async fn lines_named_in_the_answer_are_isolated_without_splitting() {
    let partial = r#"{"error":"partial write of line protocol occurred","data":[
        {"original_line":"m f=1","line_number":2,"error_message":"invalid column type"},
        {"original_line":"m f=4","line_number":5,"error_message":"too late"}]}"#;
    let server =
        Server::start(move |seen| if is_write(&seen.path) { says(400, partial) } else { fine(seen) });
    let delivered = influx(&server, v3()).write(&batch(&SOME)).await.unwrap();
    assert_eq!(offsets(&delivered), [101, 104]);
    assert_eq!(delivered.refused[0].reason, "invalid column type");
    assert_eq!((server.writes().len(), delivered.events), (1, 4));

    let unparsed = r#"{"code":"invalid","message":"unable to parse 'm f=3 13': missing fields"}"#;
    let server = Server::start(move |seen| match is_write(&seen.path) && seen.body.contains("f=3") {
        true => says(400, unparsed),
        false => fine(seen),
    });
    let delivered = influx(&server, v2()).write(&batch(&SOME)).await.unwrap();
    assert_eq!(offsets(&delivered), [103]);
    assert_eq!(server.written()[1..], [["m f=0 10", "m f=1 11", "m f=2 12", "m f=4 14", "m f=5 15"]]);
}

#[actix_rt::test]
async fn after_an_error_only_lines_that_were_not_accepted_are_sent() {
    let mut calls = 0;
    let server = Server::start(move |seen| {
        if !is_write(&seen.path) {
            return fine(seen);
        }
        calls += 1;
        // The whole batch, the first half, then an outage, then normal answers.
        match calls {
            3 => Says { retry_after: Some("7"), ..says(503, r#"{"error":"busy"}"#) },
            _ => refuses_poison(seen),
        }
    });
    let lines = ["m f=0 10", "m f=1 11", "m poison=2 12", "m f=3 13"];
    let mut influx = influx(&server, v1());
    let trouble = influx.write(&batch(&lines)).await.unwrap_err();
    assert_eq!((trouble.class, trouble.retry_after), ("http-503", Some(Duration::from_secs(7))));
    assert!(trouble.detail.contains("busy"));
    let delivered = influx.write(&batch(&lines)).await.unwrap();
    assert_eq!(offsets(&delivered), [102]);
    assert_eq!(delivered.events, 3);
    let times = |line: &str| server.written().iter().skip(1).flatten().filter(|seen| *seen == line).count();
    assert_eq!((times("m f=0 10"), times("m f=1 11")), (1, 1), "taken once, not sent again");
}

#[actix_rt::test]
async fn errors_that_the_data_does_not_cause_are_retried() {
    for (status, class) in [
        (401, "http-401"),
        (403, "http-403"),
        (404, "http-404"),
        (429, "http-429"),
        (500, "http-500"),
        (302, "http-3xx"),
    ] {
        let server = Server::start(move |seen| match is_write(&seen.path) {
            true => says(status, "your t0ken is bad"),
            false => fine(seen),
        });
        let trouble = influx(&server, v2()).write(&batch(&SOME)).await.unwrap_err();
        assert_eq!(trouble.class, class);
        assert!(!trouble.detail.contains("t0ken"), "{trouble}");
        assert_eq!(server.writes().len(), 1);
    }
}

#[actix_rt::test]
async fn a_server_without_an_answer_is_retried() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server { address: gone.local_addr().unwrap(), seen: Arc::default() };
    drop(gone);
    let trouble = influx(&server, v1()).write(&batch(&SOME)).await.unwrap_err();
    assert_eq!(trouble.class, "connect");
    let trouble = influx(&server, v3()).write(&batch(&SOME)).await.unwrap_err();
    assert_eq!(trouble.class, "connect");

    let server = Server::start(|seen| match is_write(&seen.path) {
        true => Says { pause: Duration::from_secs(60), ..says(204, "") },
        false => fine(seen),
    });
    let mut config = config(server.address, v1());
    config.write_timeout = Duration::from_millis(100);
    let trouble = Influx::new(config, Plain, discard_log()).write(&batch(&SOME)).await.unwrap_err();
    assert_eq!(trouble.class, "timeout");
}

#[actix_rt::test]
async fn a_body_that_is_too_large_is_split_and_the_next_one_is_smaller() {
    let long = "x".repeat(50_000);
    let lines: Vec<String> = (0..8).map(|n| format!("m f=\"{long}\" {n}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let server = Server::start(|seen| match is_write(&seen.path) && seen.body.len() > 120_000 {
        true => says(413, "too large"),
        false => fine(seen),
    });
    let mut influx = influx(&server, v1());
    let delivered = influx.write(&batch(&lines)).await.unwrap();
    assert_eq!((delivered.next_offset, delivered.events, delivered.refused.len()), (108, 8, 0));
    assert_eq!(server.writes().len(), 7);
    assert!(server.writes().iter().all(|seen| seen.is_gzip));
    let delivered = influx.write(&batch(&lines)).await.unwrap();
    assert_eq!((delivered.next_offset, delivered.events), (102, 2), "the first part");
    assert_eq!(server.writes().len(), 8);

    let server = Server::start(|seen| match is_write(&seen.path) && seen.body.contains("f=1") {
        true => says(413, "too large"),
        false => fine(seen),
    });
    let delivered = self::influx(&server, v1()).write(&batch(&SOME)).await.unwrap();
    assert_eq!(offsets(&delivered), [101]);
}

#[actix_rt::test]
async fn bodies_stay_below_their_limit() {
    let long = "x".repeat(1_000_000);
    let lines: Vec<String> = (0..7).map(|n| format!("m f=\"{long}\" {n}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let server = Server::start(fine);
    let delivered = influx(&server, v1()).write(&batch(&lines)).await.unwrap();
    assert_eq!((delivered.next_offset, delivered.events), (105, 5));
    assert!(server.writes()[0].body.len() <= BODY_BYTES_MAX);
}

#[actix_rt::test]
async fn version_3_without_its_own_api_is_written_to_through_the_older_api() {
    for missing in [404, 405] {
        let server = Server::start(move |seen| match seen.path.starts_with("/api/v3/") {
            true => says(missing, "no such route"),
            false => fine(seen),
        });
        let mut influx = influx(&server, v3());
        influx.write(&batch(&SOME)).await.unwrap();
        influx.write(&batch(&SOME)).await.unwrap();
        let paths: Vec<String> = server.writes().into_iter().map(|seen| seen.path).collect();
        let older = "/api/v2/write?bucket=events&precision=ns";
        assert_eq!(paths, ["/api/v3/write_lp?db=events&precision=nanosecond", older, older]);
        assert!(server.writes().iter().all(|seen| seen.auth == "Bearer t0ken"));
    }
    let server = Server::start(|_| says(404, "not here"));
    let mut influx = influx(&server, v3());
    assert_eq!(influx.write(&batch(&SOME)).await.unwrap_err().class, "http-404");
    influx.write(&batch(&SOME)).await.unwrap_err();
    assert!(server.writes()[2].path.starts_with("/api/v3/"), "not remembered, it was no better");
}

#[actix_rt::test]
async fn an_older_database_of_version_1_keeps_its_own_policy() {
    let server = Server::start(|seen| match seen.path.contains("rp=10d") {
        true => says(500, r#"{"error":"retention policy not found: 10d"}"#),
        false => fine(seen),
    });
    let mut influx = influx(&server, v1());
    influx.write(&batch(&SOME)).await.unwrap();
    influx.write(&batch(&SOME)).await.unwrap();
    assert_eq!(server.writes().len(), 3);
    assert_eq!(server.writes()[2].path, "/write?db=senseops&rp=&precision=ns");
}

#[actix_rt::test]
async fn creates_a_missing_database() {
    let server = Server::start(|seen| match seen.path.split('?').next() {
        Some("/query") if seen.path.contains("CREATE") => says(200, r#"{"results":[{"statement_id":0}]}"#),
        Some("/query") => says(200, r#"{"results":[{"series":[{"values":[["_internal"]]}]}]}"#),
        _ => fine(seen),
    });
    influx(&server, v1()).write(&batch(&SOME)).await.unwrap();
    let seen = server.seen.lock().unwrap().clone();
    let query = url::Url::parse(&format!("http://h{}", seen[1].path)).unwrap();
    let statement = query.query_pairs().find(|(key, _)| key == "q").unwrap().1.into_owned();
    assert_eq!(statement, r#"CREATE DATABASE "senseops" WITH DURATION 10d NAME "10d""#);
    assert_eq!(seen[1].method, "POST");
    assert!(!seen[1].path.contains("hunter22"));

    let server = Server::start(|seen| match (seen.method.as_str(), seen.path.split('?').next()) {
        ("GET", Some("/api/v2/buckets")) => says(404, r#"{"code":"not found","message":"bucket not found"}"#),
        ("GET", Some("/api/v2/orgs")) => says(200, r#"{"orgs":[{"id":"0a","name":"an org"}]}"#),
        ("POST", Some("/api/v2/buckets")) => says(201, r#"{"id":"1","name":"events"}"#),
        _ => fine(seen),
    });
    influx(&server, v2()).write(&batch(&SOME)).await.unwrap();
    let seen = server.seen.lock().unwrap().clone();
    assert_eq!(seen[0].path, "/api/v2/buckets?org=an+org&name=events");
    assert_eq!(seen[1].path, "/api/v2/orgs?org=an+org");
    let body: serde_json::Value = serde_json::from_str(&seen[2].body).unwrap();
    let rules = serde_json::json!([{ "type": "expire", "everySeconds": 864_000 }]);
    let expect = serde_json::json!({ "orgID": "0a", "name": "events", "description": "what happened", "retentionRules": rules });
    assert_eq!(body, expect);

    let server = Server::start(fine);
    influx(&server, v3()).write(&batch(&SOME)).await.unwrap();
    let seen = server.seen.lock().unwrap().clone();
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("POST", "/api/v3/configure/database"));
    assert_eq!(seen[0].body, r#"{"db":"events","retention_period":"10d"}"#);
}

#[actix_rt::test]
async fn creates_no_database_when_the_setting_forbids_it() {
    for target in [v1(), v2(), v3()] {
        let is_there = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let made = Arc::clone(&is_there);
        let server = Server::start(move |seen| {
            let is_there = made.load(std::sync::atomic::Ordering::SeqCst);
            match (seen.path.split('?').next(), is_there) {
                (Some("/api/v3/configure/database"), false) => {
                    says(200, r#"[{"iox::database":"_internal"}]"#)
                }
                (Some("/api/v3/configure/database"), true) => says(200, r#"[{"iox::database":"events"}]"#),
                // Version 3 would accept the line and create the database.
                (Some("/api/v3/write_lp"), _) | (_, true) => says(204, ""),
                _ => says(404, r#"{"error":"not found"}"#),
            }
        });
        let config = InfluxConfig { create_database: false, ..config(server.address, target.clone()) };
        let mut influx = Influx::new(config, Plain, discard_log());
        for _ in 0..2 {
            assert_eq!(influx.write(&batch(&SOME)).await.unwrap_err().class, "http-404", "{target:?}");
        }
        is_there.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(influx.write(&batch(&SOME)).await.unwrap().events, 6);
        let seen = server.seen.lock().unwrap();
        assert!(seen.iter().all(|seen| is_write(&seen.path) || seen.method == "GET"), "{seen:?}");
        if matches!(target, InfluxTarget::V3 { .. }) {
            assert_eq!(seen.iter().filter(|seen| is_write(&seen.path)).count(), 1);
        }
    }
    // An account that may not list databases tests by writing.
    for status in [401, 403, 404, 405, 200] {
        let server = Server::start(move |seen| match is_write(&seen.path) {
            true => says(204, ""),
            false => says(status, "{}"),
        });
        let config = InfluxConfig { create_database: false, ..config(server.address, v3()) };
        Influx::new(config, Plain, discard_log()).write(&batch(&SOME)).await.unwrap();
    }
}

#[actix_rt::test]
async fn sizes_are_as_configured() {
    for (gzip_bytes_min, expect) in [(0, true), (55, false), (54, true)] {
        let server = Server::start(fine);
        let config = InfluxConfig { gzip_bytes_min, ..config(server.address, v1()) };
        Influx::new(config, Plain, discard_log()).write(&batch(&SOME)).await.unwrap();
        assert_eq!(server.writes()[0].is_gzip, expect, "{gzip_bytes_min}");
    }
    for (body_bytes_max, expect) in [(54, 6), (53, 5), (20, 2), (1, 1)] {
        let server = Server::start(fine);
        let config = InfluxConfig { body_bytes_max, ..config(server.address, v1()) };
        let mut influx = Influx::new(config, Plain, discard_log());
        assert_eq!(influx.write(&batch(&SOME)).await.unwrap().events, expect, "{body_bytes_max}");
    }
}

#[actix_rt::test]
async fn an_account_that_may_only_write_can_write() {
    for target in [v1(), v2(), v3()] {
        for status in [401, 403] {
            let server = Server::start(move |seen| match is_write(&seen.path) {
                true => says(204, ""),
                false => says(status, r#"{"error":"not authorized"}"#),
            });
            influx(&server, target.clone()).write(&batch(&SOME)).await.unwrap();
            assert_eq!(server.writes().len(), 1);
        }
    }
}

#[actix_rt::test]
async fn a_database_that_disappears_is_prepared_again() {
    let mut calls = 0;
    let server = Server::start(move |seen| match is_write(&seen.path) {
        true => {
            calls += 1;
            if calls == 1 { says(404, r#"{"error":"database not found"}"#) } else { says(204, "") }
        }
        false => fine(seen),
    });
    let mut influx = influx(&server, v1());
    influx.write(&batch(&SOME)).await.unwrap_err();
    influx.write(&batch(&SOME)).await.unwrap();
    let paths: Vec<String> =
        server.seen.lock().unwrap().iter().map(|seen| seen.path[..6].to_owned()).collect();
    assert_eq!(paths, ["/query", "/write", "/query", "/write"]);
}

const PAGE: &str = "<!doctype html><html><body>Sign in</body></html>";

#[actix_rt::test]
async fn only_a_204_delivers_in_every_version() {
    for target in [v1(), v2(), v3()] {
        let mut calls = 0;
        let server = Server::start(move |seen| {
            if !is_write(&seen.path) {
                return fine(seen);
            }
            calls += 1;
            match calls {
                1..=3 => says(199 + calls, PAGE),
                4 => says(200, ""),
                5 => says(400, PAGE),
                _ => says(204, ""),
            }
        });
        let mut influx = influx(&server, target.clone());
        for _ in 0..5 {
            let trouble = influx.write(&batch(&SOME)).await.unwrap_err();
            assert_eq!(trouble.class, "not-influxdb", "{target:?}");
        }
        let delivered = influx.write(&batch(&SOME)).await.unwrap();
        assert_eq!((delivered.events, delivered.refused.len()), (6, 0), "{target:?}");
    }
}

#[actix_rt::test]
async fn a_web_page_does_not_count_as_a_created_database() {
    for target in [v1(), v2(), v3()] {
        for is_created in [true, false] {
            let server = Server::start(|seen| match is_write(&seen.path) {
                true => says(204, ""),
                false => says(200, PAGE),
            });
            let config =
                InfluxConfig { create_database: is_created, ..config(server.address, target.clone()) };
            let outcome = Influx::new(config, Plain, discard_log()).write(&batch(&SOME)).await;
            match (&target, is_created) {
                // These versions test by writing.
                (InfluxTarget::V1 { .. } | InfluxTarget::V2 { .. }, false) => assert!(outcome.is_ok()),
                _ => assert_eq!(outcome.unwrap_err().class, "not-influxdb", "{target:?} {is_created}"),
            }
        }
    }
}

#[actix_rt::test]
async fn a_500_about_one_line_rejects_only_that_line() {
    let conflict = r#"{"code":"internal error","message":"unexpected error writing points to database: field type conflict: input field \"poison\" on measurement \"m\" is type string, already exists as type float"}"#;
    let server = Server::start(move |seen| match is_write(&seen.path) && seen.body.contains("poison") {
        true => says(500, conflict),
        false => fine(seen),
    });
    let lines = ["m f=0 10", "m f=1 11", "m poison=\"x\" 12", "m f=3 13", "m f=4 14", "m f=5 15"];
    let delivered = influx(&server, v2()).write(&batch(&lines)).await.unwrap();
    assert_eq!((offsets(&delivered), delivered.events), (vec![102], 5));
    assert!(delivered.refused[0].reason.contains("field type conflict"));
}

#[actix_rt::test]
async fn lines_beyond_a_limit_of_the_server_are_parked() {
    let server = Server::start(|seen| {
        let count = seen.body.matches("new").count();
        let limit = format!(
            "partial write: max-values-per-tag limit exceeded (5/5): measurement=\\\"m\\\" tag=\\\"t\\\" value=\\\"new\\\" dropped={count}"
        );
        match is_write(&seen.path) {
            true if seen.body.contains("poison") => {
                says(400, r#"{"error":"unable to parse 'm poison': missing fields"}"#)
            }
            true if count > 0 => says(400, &format!(r#"{{"error":"{limit}"}}"#)),
            _ => fine(seen),
        }
    });
    let lines = ["m f=0 10", "m,t=new f=1 11", "m poison", "m f=3 13", "m,t=new f=4 14"];
    let delivered = influx(&server, v1()).write(&batch(&lines)).await.unwrap();
    let parked: Vec<u64> = delivered.parked.iter().map(|parked| parked.offset).collect();
    assert_eq!((offsets(&delivered), parked, delivered.events), (vec![102], vec![101, 104], 2));
    assert!(delivered.parked[0].reason.contains("max-values-per-tag"));
    assert_eq!(delivered.bytes, 18);
}

#[actix_rt::test]
async fn after_a_timeout_requests_are_smaller() {
    let server = Server::start(|seen| match is_write(&seen.path) && seen.body.lines().count() > 2 {
        true => Says { pause: Duration::from_secs(60), ..says(204, "") },
        false => fine(seen),
    });
    let mut config = config(server.address, v1());
    (config.write_timeout, config.write_timeout_max) =
        (Duration::from_millis(300), Duration::from_millis(300));
    let mut influx = Influx::new(config, Plain, discard_log());
    let delivered = loop {
        match influx.write(&batch(&SOME)).await {
            Ok(delivered) => break delivered,
            Err(trouble) => assert_eq!(trouble.class, "timeout"),
        }
    };
    assert_eq!((delivered.events, delivered.next_offset), (6, 106));
    let sizes: Vec<usize> = server.written().iter().map(Vec::len).collect();
    assert_eq!(sizes[..2], [6, 3], "never the same again: {sizes:?}");
    assert_eq!(sizes.iter().filter(|size| **size == 6).count(), 1);
}

#[actix_rt::test]
async fn after_a_timeout_a_server_that_is_always_slow_gets_more_time() {
    let server = Server::start(|seen| match is_write(&seen.path) {
        true => Says { pause: Duration::from_millis(300), ..says(204, "") },
        false => fine(seen),
    });
    let mut config = config(server.address, v1());
    (config.write_timeout, config.write_timeout_max) = (Duration::from_millis(100), Duration::from_secs(60));
    let mut influx = Influx::new(config, Plain, discard_log());
    let mut failures = 0;
    while influx.write(&batch(&SOME)).await.is_err() {
        failures += 1;
        assert!(failures < 20, "it never gets the time it needs");
    }
    assert!(failures > 0);
}

/// Records the decision about ids.
struct WithIds(Arc<Mutex<Vec<bool>>>);

impl LineEncoder for WithIds {
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        Plain.encode(record, out)
    }

    fn measurement_with_ids(&self) -> Option<&str> {
        Some("audit event")
    }

    fn set_ids_as_fields(&mut self, are_fields: bool) {
        self.0.lock().unwrap().push(are_fields);
    }
}

#[actix_rt::test]
async fn ids_are_decided_before_the_first_point() {
    let keys = |fields: &'static str, tags: &'static str| {
        move |seen: &Seen| {
            let list = |keys: &str| {
                let rows: Vec<String> = keys.split_whitespace().map(|key| format!("[\"{key}\"]")).collect();
                let series = if rows.is_empty() {
                    String::new()
                } else {
                    format!(r#","series":[{{"values":[{}]}}]"#, rows.join(","))
                };
                says(200, &format!(r#"{{"results":[{{"statement_id":0{series}}}]}}"#))
            };
            match seen.path.as_str() {
                path if path.contains("FIELD+KEYS+ON+%22senseops%22+FROM+%22audit+event%22") => list(fields),
                path if path.contains("TAG+KEYS+ON+%22senseops%22+FROM+%22audit+event%22") => list(tags),
                _ => fine(seen),
            }
        }
    };
    for (target, wanted, fields, tags, expect) in [
        (v1(), IdsAsFields::Auto, "", "", true),
        (v1(), IdsAsFields::Auto, "sheetId", "eventId user", false),
        (v1(), IdsAsFields::Auto, "sheetId eventId", "user", true),
        (v1(), IdsAsFields::Always, "sheetId", "eventId", true),
        (v1(), IdsAsFields::Never, "", "", false),
        (v2(), IdsAsFields::Auto, "", "", false),
        (v3(), IdsAsFields::Auto, "", "", false),
        (v3(), IdsAsFields::Always, "", "", true),
    ] {
        let server = Server::start(keys(fields, tags));
        let reported = Arc::<Mutex<Vec<bool>>>::default();
        let encoder = WithIds(Arc::clone(&reported));
        let mut influx = Influx::new(config(server.address, target), encoder, discard_log()).with_ids(wanted);
        for _ in 0..2 {
            influx.resume(&Position { offset: 0, note: Vec::new() }).await.unwrap();
        }
        assert_eq!(
            *reported.lock().unwrap(),
            [expect],
            "{wanted:?} {fields} {tags}: once, and as the server has it"
        );
        assert!(server.writes().is_empty());
    }
    // An account that may only write (403) continues; a failed login (401) does not.
    for (status, expect) in [(403, Ok(())), (401, Err("http-401"))] {
        let server = Server::start(move |seen| match seen.path.contains("KEYS") {
            true => says(status, r#"{"error":"no"}"#),
            false => fine(seen),
        });
        let reported = Arc::<Mutex<Vec<bool>>>::default();
        let encoder = WithIds(Arc::clone(&reported));
        let influx = Influx::new(config(server.address, v1()), encoder, discard_log());
        let outcome =
            influx.with_ids(IdsAsFields::Auto).resume(&Position { offset: 0, note: Vec::new() }).await;
        assert_eq!(outcome.map(|_| ()).map_err(|trouble| trouble.class), expect);
        assert_eq!(reported.lock().unwrap().len(), usize::from(expect.is_ok()));
    }
}

/// A self-signed certificate for 127.0.0.1.
fn certificate() -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "a test").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    let host =
        SubjectAlternativeName::new().ip("127.0.0.1").build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(host).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

#[actix_rt::test]
async fn verifies_the_server_over_tls() {
    let (certificate, key) = certificate();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, certificate.to_pem().unwrap()).unwrap();
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    acceptor.set_private_key(&key).unwrap();
    let server = Server::start_with(fine, Some(acceptor));
    let over_tls = |host: &str, ca: Option<&std::path::Path>| {
        let mut config = config(server.address, v1());
        config.host = host.to_owned();
        config.scheme = Scheme::Https { ca: ca.map(Into::into) };
        Influx::new(config, Plain, discard_log())
    };

    over_tls("127.0.0.1", Some(&ca)).write(&batch(&SOME)).await.unwrap();
    let paths: Vec<String> = server.seen.lock().unwrap().iter().map(|seen| seen.path.clone()).collect();
    assert_eq!(paths, ["/query?q=SHOW+DATABASES", "/write?db=senseops&rp=10d&precision=ns"]);

    let unknown = over_tls("127.0.0.1", None).write(&batch(&SOME)).await.unwrap_err();
    assert_eq!(unknown.class, "tls", "{unknown}");
    let another = over_tls("localhost", Some(&ca)).write(&batch(&SOME)).await.unwrap_err();
    assert_eq!(another.class, "tls", "{another}");
    let missing =
        over_tls("127.0.0.1", Some(&directory.path().join("none"))).write(&batch(&SOME)).await.unwrap_err();
    assert!(missing.class == "config" && missing.detail.contains("none"), "{missing}");
    assert_eq!(server.seen.lock().unwrap().len(), 2, "nobody else was told the password");
}
