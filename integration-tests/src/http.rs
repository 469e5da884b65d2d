//! The HTTP client of the tests: it does what it is told and nothing else. No redirects, no cookies of its own, any
//! host name at any address; what is no HTTP at all is [`crate::raw_http`]'s. Blocking.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::X509;
use serde_json::Value;

use crate::certificates::Pair;

/// Names and values.
type Headers = Vec<(String, String)>;

/// A client of one server; each thread has its own.
pub struct Http {
    server: SocketAddr,
    /// As the server is called in `Host` and, with TLS, in its certificate.
    name: String,
    /// Whom to trust; `None` is plain HTTP.
    root: Option<X509>,
    /// The certificate to show.
    certificate: Option<Pair>,
    timeout: Duration,
    /// Sent with every request.
    headers: Headers,
    keeps: bool,
    kept: RefCell<Option<TcpStream>>,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Headers,
    pub body: Vec<u8>,
    /// Whether the connection ended before the body did.
    pub is_cut: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body; its text where it is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| Value::String(self.text()))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text())
    }
}

impl Http {
    /// Plain, with a connection for each request.
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            name: server.ip().to_string(),
            root: None,
            certificate: None,
            timeout: Duration::from_secs(30),
            headers: Vec::new(),
            keeps: false,
            kept: RefCell::new(None),
        }
    }

    /// Keeps its connection for the next request, where there is no TLS.
    #[must_use]
    pub fn keeping(self) -> Self {
        Self { keeps: true, ..self }
    }

    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    #[must_use]
    pub fn with_tls(self, name: &str, root: &X509) -> Self {
        Self { root: Some(root.clone()), ..self.named(name) }
    }

    #[must_use]
    pub fn with_certificate(self, certificate: &Pair) -> Self {
        Self { certificate: Some(certificate.clone()), ..self }
    }

    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with_header("Authorization", &format!("Bearer {token}"))
    }

    /// The answer to a GET.
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, &[], "")
    }

    /// Sends one request and reads the answer to its end.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> io::Result<Answer> {
        let (status, headers, mut rest) = self.open(method, path, headers, body.as_ref())?;
        let mut body = Vec::new();
        let is_cut = rest.read_to_end(&mut body).is_err();
        let ends = value(&headers, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if !is_cut && !ends && !matches!(rest.left, Left::Everything) {
            self.kept.replace(rest.plain.filter(|_| self.keeps));
        }
        Ok(Answer { status, headers, body, is_cut })
    }

    /// The lines of an answer that has no end, as they come.
    pub fn follow(&self, path: &str) -> io::Result<(u16, impl Iterator<Item = io::Result<String>> + use<>)> {
        let (status, _, body) = self.open("GET", path, &[], b"")?;
        Ok((status, BufReader::new(body).lines()))
    }

    fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<(u16, Headers, Body)> {
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}:{}\r\n", self.name, self.server.port());
        for (name, value) in own.chain(headers.iter().copied()) {
            head += &format!("{name}: {value}\r\n");
        }
        if !self.keeps {
            head += "Connection: close\r\n";
        }
        if !body.is_empty() || method == "POST" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let (mut stream, plain) = self.connection()?;
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut from = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            let read = from.read_line(&mut line)?;
            if read == 0 {
                Err(io::Error::from(ErrorKind::UnexpectedEof))
            } else {
                Ok(line.trim_end().to_owned())
            }
        };
        let status = line()?.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or(ErrorKind::InvalidData)?;
        let mut headers = Vec::new();
        while let Some((name, value)) = line()?.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let left = if method == "HEAD" || status == 204 || status == 304 {
            Left::Bytes(0)
        } else if value(&headers, "transfer-encoding").is_some_and(|coding| coding == "chunked") {
            Left::Chunks(0)
        } else {
            let length = value(&headers, "content-length").and_then(|length| length.parse().ok());
            length.map_or(Left::Everything, Left::Bytes)
        };
        Ok((status, headers, Body { from, plain, left }))
    }

    /// The kept connection while the server keeps it too, or a new one; once more what is to be kept of it.
    fn connection(&self) -> io::Result<(Box<dyn Stream>, Option<TcpStream>)> {
        let kept = self.kept.take().filter(|tcp| {
            let quiet = tcp.set_nonblocking(true).and_then(|()| tcp.peek(&mut [0]));
            let is_quiet = quiet.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            tcp.set_nonblocking(false).is_ok() && is_quiet
        });
        let tcp = kept.map_or_else(|| TcpStream::connect(self.server), Ok)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(self.timeout))?;
        tcp.set_write_timeout(Some(self.timeout))?;
        let Some(root) = &self.root else {
            let plain = tcp.try_clone()?;
            return Ok((Box::new(tcp), Some(plain)));
        };
        let mut connector = SslConnector::builder(SslMethod::tls_client())?;
        connector.cert_store_mut().add_cert(root.clone())?;
        if let Some(pair) = &self.certificate {
            connector.set_certificate(&pair.certificate)?;
            connector.set_private_key(&pair.key)?;
        }
        let tls = connector.build().connect(&self.name, tcp).map_err(|e| io::Error::other(e.to_string()))?;
        Ok((Box::new(tls), None))
    }
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// The body of an answer, as it comes; an error where it ends too early.
struct Body {
    from: BufReader<Box<dyn Stream>>,
    plain: Option<TcpStream>,
    left: Left,
}

/// How much is still to come.
enum Left {
    Bytes(u64),
    /// So much of this chunk, and others.
    Chunks(u64),
    /// Whatever comes until the connection ends.
    Everything,
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Left::Chunks(0) = self.left {
            let mut line = String::new();
            self.from.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim(), 16).map_err(|_| ErrorKind::UnexpectedEof)?;
            self.left = Left::Chunks(size);
            if size == 0 {
                self.from.read_line(&mut line)?;
                self.left = Left::Bytes(0);
            }
        }
        let (Left::Bytes(left) | Left::Chunks(left)) = &mut self.left else { return self.from.read(into) };
        if *left == 0 || into.is_empty() {
            return Ok(0);
        }
        let read = self.from.by_ref().take(*left).read(into)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        *left -= read as u64;
        if matches!(self.left, Left::Chunks(0)) {
            self.from.read_line(&mut String::new())?;
        }
        Ok(read)
    }
}
