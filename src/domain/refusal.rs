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
    /// Plain http, which `Pipeline.screenshots.allowHttp` does not allow, or to which https must not lead.
    #[error("http-not-allowed hostname={hostname}")]
    HttpNotAllowed { hostname: String },
    #[error("port-not-allowed hostname={hostname} port={port}")]
    PortNotAllowed { hostname: String, port: u16 },
    #[error("max-redirects")]
    MaxRedirects,
    #[error("user-not-parseable")]
    UserNotParseable,
    /// `Pipeline.screenshots.ticketUsers` lets nobody have a ticket for this user.
    #[error("user-not-allowed")]
    UserNotAllowed,
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
            Self::HostNotAllowed { .. } | Self::HttpNotAllowed { .. } | Self::PortNotAllowed { .. } => {
                Cow::Borrowed(self.class())
            }
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
            Self::HttpNotAllowed { .. } => "http-not-allowed",
            Self::PortNotAllowed { .. } => "port-not-allowed",
            Self::MaxRedirects => "max-redirects",
            Self::UserNotParseable => "user-not-parseable",
            Self::UserNotAllowed => "user-not-allowed",
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
            | Self::HttpNotAllowed { .. }
            | Self::PortNotAllowed { .. }
            | Self::MaxRedirects
            | Self::UserNotParseable
            | Self::UserNotAllowed
            | Self::InvalidVirtualProxy
            | Self::LoginRedirect
            | Self::TooLarge
            | Self::WriteFailed => false,
        }
    }

    /// Whether a download that ended so goes to the retry list: what is worth another attempt may be worth one
    /// later, and a disk may have room again. An answer that is no image is none: another service may have taken the
    /// request for an order, and would be given it again and again.
    pub fn is_retried_later(&self) -> bool {
        match self {
            Self::NotAnImage => false,
            Self::WriteFailed | Self::LoginRedirect => true,
            _ => self.is_retried_at_once(),
        }
    }

    /// The setting that would have allowed it.
    pub fn setting(&self) -> Option<&'static str> {
        match self {
            Self::HttpNotAllowed { .. } => Some("Pipeline.screenshots.allowHttp"),
            Self::PortNotAllowed { .. } => Some("Pipeline.screenshots.allowedPorts"),
            Self::UserNotAllowed => Some("Pipeline.screenshots.ticketUsers"),
            _ => None,
        }
    }

    /// The host that was refused.
    pub fn hostname(&self) -> Option<&str> {
        match self {
            Self::HostNotAllowed { hostname }
            | Self::HttpNotAllowed { hostname }
            | Self::PortNotAllowed { hostname, .. } => Some(hostname),
            _ => None,
        }
    }

    /// Whether the log says `redirect blocked reason=…` (after the first request; before it, the URL is refused).
    pub fn is_redirect_refusal(&self) -> bool {
        matches!(
            self,
            Self::MissingLocation
                | Self::InvalidLocation
                | Self::InvalidScheme
                | Self::HostNotAllowed { .. }
                | Self::HttpNotAllowed { .. }
                | Self::PortNotAllowed { .. }
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
        check(Reason::NotAnImage, "not-an-image", true, false);
        check(Reason::HttpNotAllowed { hostname: "x".into() }, "http-not-allowed", false, false);
        check(Reason::PortNotAllowed { hostname: "x".into(), port: 1 }, "port-not-allowed", false, false);
        check(Reason::UserNotAllowed, "user-not-allowed", false, false);
        check(Reason::LoginRedirect, "login-redirect", false, true);
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
