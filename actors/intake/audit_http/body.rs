//! Reads a request's body within its limits of size and time.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Up to this size the body is allocated as `Content-Length` says. Beyond it the client may announce more
/// than it sends.
const TRUSTED_LENGTH_MAX: usize = 16 * 1024;

/// The time limit for reading the rest of a refused body.
const DISCARD_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("the body did not arrive in time")]
    Slow,
    #[error("the body ended early or was framed wrongly")]
    Cut,
    #[error("other large bodies took all the room for too long")]
    NoRoom,
}

/// Memory for the bodies that are larger than [`SMALL_BYTES_MAX`], all together. The number of connections
/// bounds the small ones.
#[derive(Debug, Clone)]
pub struct LargeBodies {
    room: Arc<Semaphore>,
    pieces_max: u32,
}

/// The memory reserved for a body.
pub type Room = Option<OwnedSemaphorePermit>;

/// The largest body that needs no reservation.
const SMALL_BYTES_MAX: usize = 16 * 1024;

/// The unit of reservations.
const PIECE_BYTES: usize = 1024;

impl LargeBodies {
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let pieces_max =
            u32::try_from((bytes_max / PIECE_BYTES).clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { room: Arc::new(Semaphore::new(pieces_max as usize)), pieces_max }
    }

    /// Reserves memory for a body of this size as soon as it is free. It reserves all at once, so that no two
    /// requests wait for each other.
    async fn take(&self, bytes: usize) -> Room {
        let pieces = u32::try_from(bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX).min(self.pieces_max);
        Arc::clone(&self.room).acquire_many_owned(pieces).await.ok()
    }
}

/// Reads the whole body within its limits of bytes and time. A body that is too large is discarded.
pub async fn read(
    payload: &mut Payload,
    declared: Option<u64>,
    (bytes_max, patience): (usize, Duration),
    large: &LargeBodies,
) -> Result<(Bytes, Room), BodyError> {
    if declared.is_some_and(|declared| declared > bytes_max as u64) {
        return Err(BodyError::TooLarge);
    }
    let until = Instant::now() + patience;
    let mut room = None;
    let begin = timeout_at(until, collect(payload, declared, Vec::new(), SMALL_BYTES_MAX.min(bytes_max)));
    let body = match begin.await.unwrap_or(Err(BodyError::Slow))? {
        Collected::Whole(body) => body,
        Collected::Part(_) if SMALL_BYTES_MAX >= bytes_max => return Err(BodyError::TooLarge),
        Collected::Part(part) => {
            let bytes = declared.map_or(bytes_max, |declared| declared as usize);
            room = timeout_at(until, large.take(bytes)).await.map_err(|_| BodyError::NoRoom)?;
            let rest = timeout_at(until, collect(payload, declared, part, bytes_max));
            match rest.await.unwrap_or(Err(BodyError::Slow))? {
                Collected::Whole(body) => body,
                Collected::Part(_) => return Err(BodyError::TooLarge),
            }
        }
    };
    Ok((body, room))
}

enum Collected {
    Whole(Bytes),
    /// A part of the body, when more than expected has arrived.
    Part(Vec<u8>),
}

async fn collect(
    payload: &mut Payload,
    declared: Option<u64>,
    mut body: Vec<u8>,
    bytes_max: usize,
) -> Result<Collected, BodyError> {
    if body.len() > bytes_max {
        return Ok(Collected::Part(body));
    }
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|_| BodyError::Cut)?;
        // Most bodies arrive in one piece, which needs no copy.
        if body.is_empty() && declared == Some(piece.len() as u64) {
            return Ok(Collected::Whole(piece));
        }
        if body.is_empty() {
            let expected = declared.unwrap_or_default().min(bytes_max as u64) as usize;
            body.reserve(expected.min(TRUSTED_LENGTH_MAX).max(piece.len()));
        }
        body.extend_from_slice(&piece);
        if body.len() > bytes_max {
            return Ok(Collected::Part(body));
        }
    }
    Ok(Collected::Whole(body.into()))
}

/// Reads and discards the rest of a refused body, so that the client can read the answer before the
/// connection closes. Returns false when there is more than `bytes_max` or it takes too long: the connection
/// must then be closed.
pub async fn discard(payload: &mut Payload, bytes_max: usize) -> bool {
    let passing = async {
        let mut passed = 0;
        while let Some(piece) = payload.next().await {
            let Ok(piece) = piece else { return false };
            passed += piece.len();
            if passed > bytes_max {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(DISCARD_PATIENCE, passing).await.unwrap_or(false)
}
