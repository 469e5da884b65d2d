//! Messages of the actors of screenshot downloads.
//!
//! ```text
//! RedirectWalker ─SessionFor─► SessionCacheActor ─TicketFor─► TicketActor
//!                ─SessionNews►                   ─SessionsOver►
//!                ─StoreImage─► ImageWriter
//! ```
//!
//! `Debug` shows no ticket and no cookie's value.

use actix::Message;
use butler_sos_domain::image::Claim;
use butler_sos_domain::session::SessionKey;
use butler_sos_domain::session_cookie::{SessionCookie, SessionCookies};
use butler_sos_domain::single_flight::Lease;
use butler_sos_domain::virtual_proxy::VirtualProxy;
use bytes::Bytes;
use secrecy::SecretString;
use tokio::sync::mpsc;

use crate::screenshots::session_use::SessionUse;

// === sessions

/// Requests a login for a download of this user. The answer comes at once with a cached session, else when it
/// is the caller's turn.
#[derive(Debug, Message)]
#[rtype(result = "Result<Grant, TicketFailed>")]
pub struct SessionFor(pub SessionKey);

/// How a download logs in.
#[derive(Debug)]
pub enum Grant {
    /// With an open session.
    Session { session: SessionCookies, session_use: SessionUse },
    /// With a ticket. The caller leads: other downloads of the same key wait for its report.
    Ticket { ticket: SecretString, lease: Lease, session_use: SessionUse },
}

/// Changes that a download made to the sessions of its key. The answer comes when rejected and discarded
/// sessions are ended, or soon after.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SessionNews {
    pub key: SessionKey,
    /// The lead of the download, if it has one.
    pub lease: Option<Lease>,
    /// A working session that it opened.
    pub opened: Option<SessionCookies>,
    /// Cached sessions that Qlik Sense did not accept.
    pub rejected: Vec<SessionCookies>,
    /// Sessions that it opened and does not need.
    pub discarded: Vec<SessionCookie>,
    /// The download is over: it will report no session.
    pub is_over: bool,
}

impl SessionNews {
    pub fn of(key: SessionKey, lease: Option<Lease>) -> Self {
        Self { key, lease, opened: None, rejected: Vec::new(), discarded: Vec::new(), is_over: false }
    }
}

/// Ends all open sessions and keeps no new ones. The answer comes when QPS was notified of all of them.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct EndAllSessions;

// === tickets

/// Requests a ticket for the key's user at the key's virtual proxy.
#[derive(Debug, Message)]
#[rtype(result = "Result<SecretString, TicketFailed>")]
pub struct TicketFor(pub SessionKey);

/// There is no ticket. `detail` is for the log and contains no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TicketFailed {
    pub detail: String,
}

/// Ends these sessions at QPS, best effort. The answer comes when each was tried once.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SessionsOver {
    /// The virtual proxy of their tickets.
    pub virtual_proxy: VirtualProxy,
    pub sessions: Vec<SessionCookie>,
}

// === images

/// Checks and stores the image that arrives through `pieces`.
#[derive(Debug, Message)]
#[rtype(result = "Result<ImageStored, ImageRefused>")]
pub struct StoreImage {
    /// The file's name in every target directory.
    pub file_name: String,
    pub claim: Claim,
    pub pieces: mpsc::Receiver<Piece>,
}

/// A part of a body. A channel that closes without `End` means a truncated body.
#[derive(Debug)]
pub enum Piece {
    Bytes(Bytes),
    End,
}

/// The stored image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageStored {
    /// One path per target that stored it; at least one.
    pub paths: Vec<String>,
    /// Lower-case hex.
    pub sha256: String,
    pub bytes: u64,
}

/// Why an image is not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageRefused {
    #[error("the first bytes are not those of the image that was claimed")]
    NotAnImage,
    #[error("more than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    /// The body is truncated.
    #[error("cut")]
    Cut,
    #[error("no target took it: {0}")]
    Write(String),
}

// === the walker

/// Starts no more downloads. The answer comes when the running ones are over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct FinishDownloads;
