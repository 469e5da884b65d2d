//! What an answer of the fake is made of: the server that was asked, and what all four share.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::state::State;
use super::{Ports, pictures};

/// Which of the four a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Qps,
    Qrs,
    Https,
    Http,
}

impl Server {
    pub fn name(self) -> &'static str {
        match self {
            Self::Qps => "qps",
            Self::Qrs => "qrs",
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// What every request needs.
#[derive(Clone)]
pub struct Context {
    pub server: Server,
    pub state: Arc<State>,
    pub ports: Ports,
}

impl Context {
    pub fn url(&self, host: &str, server: Server, path: &str) -> String {
        match server {
            Server::Http => format!("http://{host}:{}{path}", self.ports.http),
            _ => format!("https://{host}:{}{path}", self.ports.https),
        }
    }

    /// Longer than anyone waits.
    pub async fn never(&self) {
        actix_rt::time::sleep(std::time::Duration::from_secs(3600)).await;
    }

    /// A PNG's head and 60 MiB of nothing, packed.
    pub fn gzip_bomb(&self) -> &'static [u8] {
        static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
        BOMB.get_or_init(|| {
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(pictures::PNG_SIGNATURE).expect("memory");
            let mebibyte = vec![0; 1 << 20];
            for _ in 0..60 {
                packer.write_all(&mebibyte).expect("memory");
            }
            packer.finish().expect("memory")
        })
    }
}
