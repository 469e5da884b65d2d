//! What the actors of screenshot downloads say to each other.
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

/// How shall a download for this user log in? Answered at once on a cache hit, else when it is the asker's turn.
#[derive(Debug, Message)]
#[rtype(result = "Result<Grant, TicketFailed>")]
pub struct SessionFor(pub SessionKey);

/// How a download logs in.
#[derive(Debug)]
pub enum Grant {
    /// With a session that is open already.
    Session { session: SessionCookies, session_use: SessionUse },
    /// With a ticket. The asker leads: others of the same key wait until it says how it went.
    Ticket { ticket: SecretString, lease: Lease, session_use: SessionUse },
}

/// What a download did to the sessions of its key. Answered when those to be ended were, or soon after.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SessionNews {
    pub key: SessionKey,
    /// The lead that the download had, if it had one.
    pub lease: Option<Lease>,
    /// A session that it opened and that works.
    pub opened: Option<SessionCookies>,
    /// Cached sessions that Qlik Sense did not accept.
    pub rejected: Vec<SessionCookies>,
    /// Sessions that it opened and has no use for.
    pub discarded: Vec<SessionCookie>,
    /// The download is over: whoever waits for its session waits in vain.
    pub is_over: bool,
}

impl SessionNews {
    pub fn of(key: SessionKey, lease: Option<Lease>) -> Self {
        Self { key, lease, opened: None, rejected: Vec::new(), discarded: Vec::new(), is_over: false }
    }
}

/// End every session that is open, and keep none from now on. Answered when QPS was told of all of them.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct EndAllSessions;

// === tickets

/// A ticket for the key's user at the key's virtual proxy.
#[derive(Debug, Message)]
#[rtype(result = "Result<SecretString, TicketFailed>")]
pub struct TicketFor(pub SessionKey);

/// There is no ticket. `detail` is for the log; it holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TicketFailed {
    pub detail: String,
}

/// End these sessions at QPS, best effort. Answered when each was tried once.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SessionsOver {
    /// The one that their tickets were asked from.
    pub virtual_proxy: VirtualProxy,
    pub sessions: Vec<SessionCookie>,
}

// === images

/// Check and store the image that arrives by `pieces`.
#[derive(Debug, Message)]
#[rtype(result = "Result<ImageStored, ImageRefused>")]
pub struct StoreImage {
    /// The file's name in every target directory.
    pub file_name: String,
    pub claim: Claim,
    pub pieces: mpsc::Receiver<Piece>,
}

/// A part of a body. A channel that closes without `End` was cut.
#[derive(Debug)]
pub enum Piece {
    Bytes(Bytes),
    End,
}

/// Where an image is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageStored {
    /// One per target that took it; at least one.
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
    /// The body ended before its end.
    #[error("cut")]
    Cut,
    #[error("no target took it: {0}")]
    Write(String),
}

// === the walker

/// Take up no more downloads. Answered when those under way are over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct FinishDownloads;
