//! A subscriber that is not ours: `mosquitto_sub` with a session that the broker keeps, so that nothing is missed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::tools::output;

/// A subscription at QoS 1 to one topic, from its making on.
pub struct MosquittoSub {
    child: Child,
    payloads: Arc<Mutex<Vec<String>>>,
}

impl MosquittoSub {
    /// Subscribes at the broker on this port; returns when the broker has acknowledged it.
    pub fn start(port: u16, topic: &str) -> Self {
        let command = || {
            let mut command = Command::new("mosquitto_sub");
            command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", topic]);
            command.args(["-q", "1", "-i", &format!("sub {topic}"), "--disable-clean-session"]);
            command
        };
        output(command().arg("-E"));
        let mut child = command().stdout(Stdio::piped()).spawn().expect("mosquitto_sub is there");
        let payloads = Arc::<Mutex<Vec<String>>>::default();
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let kept = Arc::clone(&payloads);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { child, payloads }
    }

    /// What came so far. A payload with line ends in it is several.
    pub fn payloads(&self) -> Vec<String> {
        self.payloads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for MosquittoSub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
