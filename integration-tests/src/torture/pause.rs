//! The one place where the machine lets time pass.

use std::time::Duration;

/// Lets time pass on a thread that is nobody's arbiter. Nothing that is checked hangs on how long it takes.
#[expect(clippy::disallowed_methods, reason = "a thread of the machine's own")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
