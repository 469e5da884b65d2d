//! Why a screenshot has no image: the words that logs, metrics and the stored event share.
//!
//! Each reason also knows whether trying again may help, within the download or from the retry list. Rules:
//! contract, screenshots.md, "The walk" 6, 9 and what follows 10.

use std::borrow::Cow;

use thiserror::Error;

use crate::retry::is_retryable_status;

/// Why there is no image. [`Reason::name`] is what the event gets as `screenshotError`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reason {
    #[error("invalid-url")]
    InvalidUrl,
    #[error("missing-location")]
    MissingLocation,
    #[error("invalid-location")]
    InvalidLocation,
    #[error("invalid-scheme")]
    InvalidScheme,
    #[error("host-not-allowed hostname={hostname}")]
    HostNotAllowed { hostname: String },
    #[error("max-redirects")]
    MaxRedirects,
    #[error("user-not-parseable")]
    UserNotParseable,
    #[error("invalid-virtual-proxy")]
    InvalidVirtualProxy,
    #[error("ticket-failed")]
    TicketFailed,
    /// Qlik Sense answered with its login page, again and again.
    #[error("login-redirect")]
    LoginRedirect,
    #[error("http-{0}")]
    Http(u16),
    #[error("not-an-image")]
    NotAnImage,
    #[error("too-large")]
    TooLarge,
    #[error("timeout")]
    Timeout,
    #[error("tls")]
    Tls,
    /// Not reached, broken off, or not HTTP.
    #[error("transport")]
    Transport,
    /// No storage target took the file.
    #[error("write-failed")]
    WriteFailed,
}

impl Reason {
    /// A short, stable word: the reason without its particulars.
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Self::HostNotAllowed { .. } => Cow::Borrowed("host-not-allowed"),
            other => Cow::Owned(other.to_string()),
        }
    }

    /// The reason as a label with few values: all statuses are one.
    pub fn class(&self) -> &'static str {
        match self {
            Self::InvalidUrl => "invalid-url",
            Self::MissingLocation => "missing-location",
            Self::InvalidLocation => "invalid-location",
            Self::InvalidScheme => "invalid-scheme",
            Self::HostNotAllowed { .. } => "host-not-allowed",
            Self::MaxRedirects => "max-redirects",
            Self::UserNotParseable => "user-not-parseable",
            Self::InvalidVirtualProxy => "invalid-virtual-proxy",
            Self::TicketFailed => "ticket-failed",
            Self::LoginRedirect => "login-redirect",
            Self::Http(_) => "http-status",
            Self::NotAnImage => "not-an-image",
            Self::TooLarge => "too-large",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Transport => "transport",
            Self::WriteFailed => "write-failed",
        }
    }

    /// Whether another attempt of the same download may do better.
    pub fn is_retried_at_once(&self) -> bool {
        match self {
            Self::TicketFailed | Self::NotAnImage | Self::Timeout | Self::Tls | Self::Transport => true,
            Self::Http(status) => is_retryable_status(*status),
            Self::InvalidUrl
            | Self::MissingLocation
            | Self::InvalidLocation
            | Self::InvalidScheme
            | Self::HostNotAllowed { .. }
            | Self::MaxRedirects
            | Self::UserNotParseable
            | Self::InvalidVirtualProxy
            | Self::LoginRedirect
            | Self::TooLarge
            | Self::WriteFailed => false,
        }
    }

    /// Whether a download that ended so goes to the retry list: what is worth another attempt may be worth one
    /// later, and a disk may have room again.
    pub fn is_retried_later(&self) -> bool {
        self.is_retried_at_once() || matches!(self, Self::WriteFailed | Self::LoginRedirect)
    }

    /// Whether the log says `redirect blocked reason=…` (after the first request; before it, the URL is refused).
    pub fn is_redirect_refusal(&self) -> bool {
        matches!(
            self,
            Self::MissingLocation
                | Self::InvalidLocation
                | Self::InvalidScheme
                | Self::HostNotAllowed { .. }
                | Self::MaxRedirects
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_names_and_what_may_pass() {
        let check = |reason: Reason, name: &str, at_once: bool, later: bool| {
            let found = (reason.name().into_owned(), reason.is_retried_at_once(), reason.is_retried_later());
            assert_eq!(found, (name.to_owned(), at_once, later));
            if !matches!(reason, Reason::Http(_)) {
                assert_eq!(reason.class(), name);
            }
        };
        check(Reason::HostNotAllowed { hostname: "x".into() }, "host-not-allowed", false, false);
        check(Reason::UserNotParseable, "user-not-parseable", false, false);
        check(Reason::InvalidVirtualProxy, "invalid-virtual-proxy", false, false);
        check(Reason::Http(404), "http-404", true, true);
        check(Reason::Http(410), "http-410", false, false);
        check(Reason::NotAnImage, "not-an-image", true, true);
        check(Reason::TooLarge, "too-large", false, false);
        check(Reason::TicketFailed, "ticket-failed", true, true);
        check(Reason::Timeout, "timeout", true, true);
        check(Reason::Tls, "tls", true, true);
        check(Reason::WriteFailed, "write-failed", false, true);
        assert_eq!(
            Reason::HostNotAllowed { hostname: "evil.test".into() }.to_string(),
            "host-not-allowed hostname=evil.test"
        );
        assert!(Reason::MaxRedirects.is_redirect_refusal() && !Reason::Timeout.is_redirect_refusal());
    }
}
