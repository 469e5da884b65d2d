//! The sessions that downloads currently use, so that none of these is ended to make room for another.
//!
//! Dropping a handle ends the use, however the download ends, so no message can get lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use butler_sos_domain::session::SessionKey;
use tokio::sync::Notify;

/// The uses of all sessions. The session cache owns it.
#[derive(Debug, Default)]
pub struct SessionUses {
    of_keys: HashMap<SessionKey, Arc<AtomicUsize>>,
    changed: Arc<Notify>,
}

impl SessionUses {
    /// A download uses the key's session, or is about to open it.
    pub fn begin(&mut self, key: &SessionKey) -> SessionUse {
        // These have no handles any more.
        self.of_keys.retain(|_, count| Arc::strong_count(count) > 1);
        let count = Arc::clone(self.of_keys.entry(key.clone()).or_default());
        let mut session_use = SessionUse { count, changed: Arc::clone(&self.changed), is_counted: false };
        session_use.resume();
        session_use
    }

    /// Whether no download uses the key's session.
    pub fn is_idle(&self, key: &SessionKey) -> bool {
        self.of_keys.get(key).is_none_or(|count| count.load(Ordering::Acquire) == 0)
    }

    /// Notified whenever a use ends. Several ends at once count as one.
    pub fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }
}

/// A use of a session. Dropping it ends the use.
#[derive(Debug)]
pub struct SessionUse {
    count: Arc<AtomicUsize>,
    changed: Arc<Notify>,
    is_counted: bool,
}

impl SessionUse {
    /// The download waits before its next attempt. Another one may take the session's slot meanwhile.
    pub fn pause(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.count.fetch_sub(1, Ordering::Release);
            self.changed.notify_one();
        }
    }

    /// The download continues. If the session has been ended, Qlik Sense answers accordingly.
    pub fn resume(&mut self) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Drop for SessionUse {
    fn drop(&mut self) {
        self.pause();
    }
}

#[cfg(test)]
mod tests {
    use butler_sos_domain::session::AuthMode;
    use butler_sos_domain::virtual_proxy::VirtualProxy;

    use super::*;

    #[test]
    fn a_session_without_uses_is_idle() {
        let key = |user| {
            SessionKey::new(AuthMode::UserTicket, "qlik.test", 4243, VirtualProxy::default(), "LAB", user)
        };
        let mut uses = SessionUses::default();
        assert!(uses.is_idle(&key("goran")));
        let (mut first, second) = (uses.begin(&key("goran")), uses.begin(&key("GORAN")));
        assert!(!uses.is_idle(&key("goran")) && uses.is_idle(&key("anna")));
        drop(second);
        assert!(!uses.is_idle(&key("goran")));
        first.pause();
        first.pause();
        assert!(uses.is_idle(&key("goran")));
        first.resume();
        first.resume();
        assert!(!uses.is_idle(&key("goran")));
        drop(first);
        let _other = uses.begin(&key("anna"));
        assert!(uses.is_idle(&key("goran")) && uses.of_keys.len() == 1);
    }
}
