//! Why a command got no answer from the server, and its exit code.

use awc::http::StatusCode;

use crate::exit;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("--server: {0}")]
    Address(&'static str),
    #[error("the configuration sets port 0: give the address of the server with --server http://HOST:PORT")]
    NoPort,
    #[error("--token-file {path}: {detail}")]
    TokenFile { path: String, detail: String },
    #[error("no TLS: {0}")]
    Tls(#[from] butler_sos_actors::net::tls::TlsError),
    #[error("no response from {server}: {detail} (is the server running? --server sets another address)")]
    Unreachable { server: String, detail: String },
    #[error(
        "the token is not sent to another machine in clear text: use an https:// address, an SSH tunnel or \
         --insecure-http"
    )]
    ClearText,
    /// With the server's own message.
    #[error("{detail}{hint}")]
    Refused { status: StatusCode, detail: String, hint: &'static str },
    #[error("{server} is not a butler-sos server: {detail}")]
    Foreign { server: String, detail: String },
}

impl ClientError {
    /// The exit code of this error.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match self {
            Self::Address(_)
            | Self::NoPort
            | Self::ClearText
            | Self::Refused { status: StatusCode::BAD_REQUEST, .. } => exit::USAGE,
            _ => exit::UNAVAILABLE,
        }
    }

    /// Whether the same request cannot succeed later.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.is_client_error())
    }
}
