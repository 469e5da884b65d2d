//! Does the client know the token?

use openssl::memcmp;
use openssl::sha::sha256;

/// The token that clients must send, as its hash: what is compared has one length, so the time that a
/// comparison takes tells nothing, not even how long the token is.
pub struct Token([u8; 32]);

impl Token {
    /// `None` for an empty token: then none is asked for.
    pub fn new(token: &str) -> Option<Self> {
        (!token.is_empty()).then(|| Self(sha256(token.as_bytes())))
    }

    /// Whether `authorization` is `Bearer <token>`, the scheme in any case.
    pub fn is_in(&self, authorization: Option<&[u8]>) -> bool {
        let given = authorization.and_then(|value| {
            let space = value.iter().position(|byte| *byte == b' ')?;
            let (scheme, rest) = value.split_at(space);
            scheme.eq_ignore_ascii_case(b"bearer").then(|| rest.trim_ascii())
        });
        given.is_some_and(|given| memcmp::eq(&sha256(given), &self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knows_it() {
        let token = Token::new("sekrit").expect("not empty");
        let check = |authorization: Option<&str>, expect: bool| {
            assert_eq!(token.is_in(authorization.map(str::as_bytes)), expect, "{authorization:?}");
        };
        check(Some("Bearer sekrit"), true);
        check(Some("bEARER  sekrit "), true);
        check(Some("Bearer sekri"), false);
        check(Some("Bearer sekrit2"), false);
        check(Some("Bearer Sekrit"), false);
        check(Some("Basic sekrit"), false);
        check(Some("sekrit"), false);
        check(Some("Bearer "), false);
        check(Some("Bearer"), false);
        check(Some(""), false);
        check(None, false);
        assert!(Token::new("").is_none());
    }
}
