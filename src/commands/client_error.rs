//! Why a command has no answer from the server, and the exit code that says so.

use awc::http::StatusCode;

use crate::exit;

/// Why the server cannot be asked, or does not do what it was asked to.
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
    /// In the server's own words.
    #[error("{detail}{hint}")]
    Refused { status: StatusCode, detail: String, hint: &'static str },
    #[error("{server} is not a butler-sos server: {detail}")]
    Foreign { server: String, detail: String },
}

impl ClientError {
    /// The exit code that says the same.
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

    /// Asking again as it is cannot help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.is_client_error())
    }
}
