//! A connection on which a test says exactly the bytes that it wants to, and reads what comes back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One connection.
pub struct RawHttp(TcpStream);

/// What came until the connection ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Of every answer, in their order.
    pub statuses: Vec<u16>,
    pub text: String,
}

impl Heard {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let statuses = text.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)?.parse().ok());
        Self { statuses: statuses.collect(), text }
    }
}

impl RawHttp {
    pub fn connect(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Sends bytes; a server that has gone meanwhile is no error, it is heard.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).is_ok()
    }

    /// Says that nothing more will come.
    pub fn finish(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Write);
    }

    /// Reads until the server ends the connection.
    pub fn listen(&mut self) -> Heard {
        let mut bytes = Vec::new();
        // A reset after the answer is an end, too.
        let _ = self.0.read_to_end(&mut bytes);
        Heard::of(&bytes)
    }

    /// What has come by now. Does not wait.
    pub fn heard_so_far(&mut self) -> Heard {
        let mut bytes = Vec::new();
        let _ = self.0.set_nonblocking(true);
        // Ends with what it has read when more would have to be waited for.
        let _ = self.0.read_to_end(&mut bytes);
        let _ = self.0.set_nonblocking(false);
        Heard::of(&bytes)
    }

    /// Whether the server has ended the connection by now. Does not wait.
    pub fn is_ended(&mut self) -> bool {
        let mut byte = [0];
        let _ = self.0.set_nonblocking(true);
        let ended = loop {
            match self.0.read(&mut byte) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
            }
        };
        let _ = self.0.set_nonblocking(false);
        ended
    }

    /// Says everything, then nothing more, and listens.
    pub fn ask(server: SocketAddr, bytes: impl AsRef<[u8]>) -> Heard {
        let mut connection = Self::connect(server).expect("the server listens");
        connection.say(bytes);
        connection.finish();
        connection.listen()
    }
}
