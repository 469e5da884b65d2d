//! Complete and truncated bodies, from a server with scripted answers.

use std::net::IpAddr;

use futures_util::StreamExt;
use openssl::ssl::{SslConnector, SslMethod};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers one connection with these bytes and closes it. Returns the request.
async fn ask(answer: &'static str) -> (Result<(u16, String, bool), ImageClientError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = actix_rt::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    let hosts = StaticHosts::new([("qlik.test".to_owned(), IpAddr::from([127, 0, 0, 1]))]);
    let client = ImageClient::new(SslConnector::builder(SslMethod::tls_client()).unwrap().build(), &hosts);
    let url = Url::parse(&format!("http://qlik.test:{port}/a%20b?c=d")).unwrap();
    let cookie = SecretString::from("X-Qlik-Session=1");
    let answered = match client.get(&url, Some(&cookie)).await {
        Err(error) => Err(error),
        Ok(mut answer) => {
            let (mut body, mut is_cut) = (String::new(), false);
            while let Some(piece) = answer.body.next().await {
                match piece {
                    Ok(piece) => body.push_str(std::str::from_utf8(&piece).unwrap()),
                    Err(Cut) => is_cut = true,
                }
            }
            Ok((answer.status.as_u16(), body, is_cut))
        }
    };
    (answered, server.await.unwrap().replace(&port.to_string(), "PORT"))
}

#[actix_rt::test]
async fn detects_truncated_bodies() {
    let check = async |answer, body: &str, is_cut| {
        assert_eq!(ask(answer).await.0, Ok((200, body.to_owned(), is_cut)), "{answer}");
    };
    check("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd", "abcd", false).await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nabcd", "abcd", false).await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcd", "abcd", true).await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "", true).await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", "abc", false).await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", false).await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n";
    check(chunked, "abcd", false).await;
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n", "abcd", true).await;
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nabcd", "abcd", true).await;
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", true).await;
    // Only the connection's end marks the end of this body.
    check("HTTP/1.0 200 OK\r\n\r\nabcd", "abcd", false).await;
}

#[actix_rt::test]
async fn sends_only_the_expected_headers() {
    let (answer, request) = ask("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(answer, Ok((404, String::new(), false)));
    let mut lines: Vec<_> = request.trim_end().split("\r\n").map(str::to_ascii_lowercase).collect();
    assert_eq!(lines.remove(0), "get /a%20b?c=d http/1.1");
    // Headers that `awc` adds itself.
    lines.retain(|line| !line.starts_with("date:") && line != "content-length: 0");
    lines.sort();
    assert_eq!(
        lines,
        [
            "accept-encoding: identity",
            "accept: */*",
            "cookie: x-qlik-session=1",
            "host: qlik.test:port",
            &format!("user-agent: butler-sos/{}", env!("CARGO_PKG_VERSION")),
        ]
    );
}

#[actix_rt::test]
async fn reports_invalid_answers() {
    assert_eq!(ask("").await.0, Err(ImageClientError::Transport));
    assert_eq!(ask("SSH-2.0-OpenSSH\r\n\r\n").await.0, Err(ImageClientError::Transport));
}
