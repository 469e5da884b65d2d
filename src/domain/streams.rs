//! The list of streams that the journal holds, and all that differs between them.
//!
//! A new stream is a variant here; whatever depends on the stream matches on it, or asks these functions, and does not
//! compile without an answer.

/// A stream of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    UserEvents,
    AuditEvents,
    /// Accepted screenshot events whose image is still to be fetched.
    Screenshots,
}

/// What differs between streams.
struct Facts {
    name: &'static str,
    label: &'static str,
    intake: &'static str,
    receiver: &'static str,
    is_acknowledged: bool,
    is_final: bool,
}

impl Stream {
    pub const ALL: [Self; 3] = [Self::UserEvents, Self::AuditEvents, Self::Screenshots];

    const fn facts(self) -> Facts {
        match self {
            Self::UserEvents => Facts {
                name: "user-events",
                label: "User events",
                intake: "user_events",
                receiver: "udp_ingestor",
                is_acknowledged: false,
                is_final: true,
            },
            Self::AuditEvents => Facts {
                name: "audit-events",
                label: "Audit events",
                intake: "audit_events",
                receiver: "audit_http_ingestor",
                is_acknowledged: true,
                is_final: true,
            },
            Self::Screenshots => Facts {
                name: "screenshots",
                label: "Pending screenshots",
                intake: "audit_events",
                receiver: "audit_http_ingestor",
                is_acknowledged: true,
                is_final: false,
            },
        }
    }

    /// The stream's one name: directory, metric label, log key, member of JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// What people call it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.facts().label
    }

    /// The label under which metrics count what comes in.
    #[must_use]
    pub const fn intake(self) -> &'static str {
        self.facts().intake
    }

    /// The actor that receives it from outside.
    #[must_use]
    pub const fn receiver(self) -> &'static str {
        self.facts().receiver
    }

    /// Whether a sender waits until its event is on disk: the journal syncs at once then, and not some times a second.
    #[must_use]
    pub const fn is_acknowledged(self) -> bool {
        self.facts().is_acknowledged
    }

    /// Whether its events are as they are delivered: destinations read them, and people look at them.
    #[must_use]
    pub const fn is_final(self) -> bool {
        self.facts().is_final
    }

    /// The streams that destinations read and people look at.
    pub fn of_events() -> impl Iterator<Item = Self> + Clone {
        Self::ALL.into_iter().filter(|stream| stream.is_final())
    }

    /// The stream of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_labels_are_unique_and_a_name_finds_its_stream() {
        assert_eq!(
            Stream::ALL.map(Stream::label).into_iter().collect::<BTreeSet<_>>().len(),
            Stream::ALL.len()
        );
        for stream in Stream::ALL {
            assert_eq!(Stream::named(stream.name()), Some(stream));
            assert!(
                stream.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "a directory"
            );
        }
        assert_eq!(Stream::named("other"), None);
        assert_eq!(Stream::of_events().collect::<Vec<_>>(), [Stream::UserEvents, Stream::AuditEvents]);
    }
}
