//! Checks the client's token.

use openssl::memcmp;
use openssl::sha::sha256;

/// The hash of the token that clients must send. Hashes have one length, so the time of a comparison reveals
/// nothing, not even the length of the token.
pub struct Token([u8; 32]);

impl Token {
    /// `None` for an empty token: then no token is required.
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
    fn accepts_only_the_token() {
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
