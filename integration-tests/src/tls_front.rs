//! TLS in front of a server that speaks none, with a certificate that a test exchanges.
//!
//! ```text
//! server ──TLS──► TlsFront ──► InfluxDB, broker, …
//! ```
//!
//! New connections get the certificate of the moment; open ones go on.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use openssl::ssl::{ErrorCode, SslAcceptor, SslMethod, SslStream};

use crate::certificates::Pair;

/// The running front.
pub struct TlsFront {
    address: SocketAddr,
    acceptor: Arc<Mutex<SslAcceptor>>,
}

impl TlsFront {
    /// In front of `target`, on a port that the system chooses.
    pub fn start(target: SocketAddr, pair: &Pair) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let acceptor = Arc::new(Mutex::new(acceptor(pair)));
        let current = Arc::clone(&acceptor);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let acceptor = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
                thread::spawn(move || connection(client, &acceptor, target));
            }
        });
        Self { address, acceptor }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows this certificate from now on.
    pub fn show(&self, pair: &Pair) {
        *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = acceptor(pair);
    }
}

fn acceptor(pair: &Pair) -> SslAcceptor {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("TLS");
    builder.set_certificate(&pair.certificate).expect("a certificate");
    builder.set_private_key(&pair.key).expect("its key");
    builder.build()
}

/// A direction that is quiet is asked again after this.
const TICK: Duration = Duration::from_millis(2);

/// One thread moves both directions: a TLS connection cannot be read and written by two.
fn connection(client: TcpStream, acceptor: &SslAcceptor, target: SocketAddr) {
    let Ok(mut tls) = acceptor.accept(client) else { return };
    let Ok(mut server) = TcpStream::connect(target) else { return };
    let _ = server.set_nodelay(true);
    let _ = server.set_read_timeout(Some(TICK));
    let _ = tls.get_ref().set_nodelay(true);
    let _ = tls.get_ref().set_read_timeout(Some(TICK));
    let mut buffer = [0; 16 * 1024];
    loop {
        match read_tls(&mut tls, &mut buffer) {
            Ok(Some(0)) | Err(_) => break,
            Ok(Some(count)) if server.write_all(&buffer[..count]).is_err() => break,
            Ok(_) => {}
        }
        match server.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) if tls.write_all(&buffer[..count]).is_err() => break,
            Ok(_) => {}
            Err(error) if is_quiet(&error) => {}
            Err(_) => break,
        }
    }
    let _ = tls.shutdown();
    let _ = server.shutdown(Shutdown::Both);
}

/// `None` when nothing came.
fn read_tls(tls: &mut SslStream<TcpStream>, buffer: &mut [u8]) -> Result<Option<usize>, ()> {
    match tls.ssl_read(buffer) {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.code() == ErrorCode::ZERO_RETURN => Ok(Some(0)),
        Err(error) if error.code() == ErrorCode::WANT_READ || error.io_error().is_some_and(is_quiet) => {
            Ok(None)
        }
        Err(_) => Err(()),
    }
}

fn is_quiet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
