//! Reading a request's body within its bounds of size and time.

use std::time::Duration;

use actix_web::dev::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

/// What `Content-Length` says is allocated at once only up to here: a client may promise more than it sends.
const TRUSTED_LENGTH_MAX: usize = 16 * 1024;

/// How long the rest of a refused body is listened to.
const DISCARD_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("the body did not arrive in time")]
    Slow,
    #[error("the body ended early or was framed wrongly")]
    Cut,
}

/// Reads the whole body. Of one that is too large nothing is kept.
pub async fn read(
    payload: &mut Payload,
    declared: Option<u64>,
    bytes_max: usize,
    patience: Duration,
) -> Result<Bytes, BodyError> {
    if declared.is_some_and(|declared| declared > bytes_max as u64) {
        return Err(BodyError::TooLarge);
    }
    tokio::time::timeout(patience, collect(payload, declared, bytes_max))
        .await
        .unwrap_or(Err(BodyError::Slow))
}

async fn collect(payload: &mut Payload, declared: Option<u64>, bytes_max: usize) -> Result<Bytes, BodyError> {
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(|_| BodyError::Cut)?;
    // Most bodies come in one piece, which is then taken as it is.
    if declared == Some(first.len() as u64) {
        return Ok(first);
    }
    let expected = declared.unwrap_or_default().min(TRUSTED_LENGTH_MAX as u64) as usize;
    let mut body = BytesMut::with_capacity(expected.max(first.len()));
    let mut next = Some(Ok(first));
    while let Some(piece) = next {
        let piece = piece.map_err(|_| BodyError::Cut)?;
        if body.len() + piece.len() > bytes_max {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&piece);
        next = payload.next().await;
    }
    Ok(body.freeze())
}

/// Lets the rest of a refused body pass by, so that the client reads the answer instead of being cut off while it
/// still sends. False: there is more than `bytes_max`, or it takes too long; the connection is to be closed.
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
