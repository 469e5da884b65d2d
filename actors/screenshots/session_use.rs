//! Which sessions downloads use at this moment, so that none of these is ended to make room for another.
//!
//! A handle that is dropped, however its download ends, is a use that is over: no message can get lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use butler_sos_domain::session::SessionKey;
use tokio::sync::Notify;

/// The uses of all sessions; the session cache has it.
#[derive(Debug, Default)]
pub struct SessionUses {
    of_keys: HashMap<SessionKey, Arc<AtomicUsize>>,
    changed: Arc<Notify>,
}

impl SessionUses {
    /// A download uses the key's session, or is about to open it.
    pub fn begin(&mut self, key: &SessionKey) -> SessionUse {
        // Nobody has a handle of these any more.
        self.of_keys.retain(|_, count| Arc::strong_count(count) > 1);
        let count = Arc::clone(self.of_keys.entry(key.clone()).or_default());
        let mut session_use = SessionUse { count, changed: Arc::clone(&self.changed), is_counted: false };
        session_use.resume();
        session_use
    }

    /// Whether nobody uses the key's session.
    pub fn is_idle(&self, key: &SessionKey) -> bool {
        self.of_keys.get(key).is_none_or(|count| count.load(Ordering::Acquire) == 0)
    }

    /// Reported whenever a use is over; several at once are one.
    pub fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }
}

/// A use of a session; over when dropped.
#[derive(Debug)]
pub struct SessionUse {
    count: Arc<AtomicUsize>,
    changed: Arc<Notify>,
    is_counted: bool,
}

impl SessionUse {
    /// The download waits before its next attempt: another one may have the session's slot meanwhile.
    pub fn pause(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.count.fetch_sub(1, Ordering::Release);
            self.changed.notify_one();
        }
    }

    /// It goes on. Should the session have been ended, Qlik Sense will say so.
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
    fn a_session_is_idle_when_nobody_uses_it() {
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
