//! An HTTP client that does what it is told and nothing else: one request per connection, no redirects, no cookies
//! of its own, any host name at any address. Blocking.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::X509;

use crate::certificates::Pair;

/// How a connection is made.
#[derive(Clone)]
pub struct PlainClient {
    /// Whom to trust; `None` is plain HTTP.
    pub root: Option<X509>,
    /// The certificate to show.
    pub certificate: Option<Pair>,
    pub timeout: Duration,
}

/// What came back.
#[derive(Debug)]
pub struct PlainAnswer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the connection ended before the body did.
    pub is_cut: bool,
}

impl PlainAnswer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl PlainClient {
    /// Sends one request to `127.0.0.1:port` as `host`, and reads the answer to its end.
    pub fn send(
        &self,
        host: &str,
        port: u16,
        request_line: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<PlainAnswer> {
        let tcp = TcpStream::connect(("127.0.0.1", port))?;
        tcp.set_read_timeout(Some(self.timeout))?;
        tcp.set_write_timeout(Some(self.timeout))?;
        let mut text = format!("{request_line} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body);
        let Some(root) = &self.root else { return exchange(tcp, &text) };
        let mut connector = SslConnector::builder(SslMethod::tls_client())?;
        connector.cert_store_mut().add_cert(root.clone())?;
        if let Some(pair) = &self.certificate {
            connector.set_certificate(&pair.certificate)?;
            connector.set_private_key(&pair.key)?;
        }
        let tls = connector.build().connect(host, tcp).map_err(|e| io::Error::other(e.to_string()))?;
        exchange(tls, &text)
    }

    pub fn get(&self, host: &str, port: u16, path: &str, cookie: Option<&str>) -> io::Result<PlainAnswer> {
        let cookie = cookie.map(|cookie| ("Cookie", cookie));
        self.send(host, port, &format!("GET {path}"), cookie.as_slice(), "")
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<PlainAnswer> {
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    let head_end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
    let Some(head_end) = head_end else {
        return Err(ended.err().unwrap_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof)));
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let raw = &bytes[head_end + 4..];
    let of = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let (body, is_cut) = if of("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        dechunk(raw)
    } else {
        let length = of("content-length").and_then(|v| v.parse::<usize>().ok());
        (raw.to_vec(), length.is_some_and(|length| raw.len() < length))
    };
    Ok(PlainAnswer { status: status.unwrap_or_default(), headers, body, is_cut })
}

/// The body of a chunked answer, and whether its end is missing.
fn dechunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = raw.windows(2).position(|w| w == b"\r\n") else { return (body, true) };
        let size =
            std::str::from_utf8(&raw[..line]).ok().and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
        raw = &raw[line + 2..];
        match size {
            Some(0) => return (body, false),
            Some(size) if raw.len() >= size + 2 => {
                body.extend_from_slice(&raw[..size]);
                raw = &raw[size + 2..];
            }
            _ => {
                body.extend_from_slice(raw);
                return (body, true);
            }
        }
    }
}
