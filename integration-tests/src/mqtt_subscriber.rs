//! A subscriber that this project did not write: `mosquitto_sub`, which comes back after every interruption.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::mosquitto::Mosquitto;
use crate::sandbox::wait_for;

/// Collects messages from when it was started, also those that the broker got while it was away. For a broker
/// without TLS and password.
pub struct MqttSubscriber {
    child: Child,
    messages: Arc<Mutex<Vec<(String, Value)>>>,
}

impl MqttSubscriber {
    /// Subscribed to `topics` when this answers.
    pub fn start(broker: &Mosquitto, topics: &str) -> Self {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-h", "127.0.0.1", "-p", &broker.port().to_string()]);
        // A session that lasts, so that nothing is missed.
        command.args(["-q", "1", "-c", "-i", "subscriber", "-v", "-d", "-t", topics]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("stdbuf is there");
        let lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        let messages = Arc::<Mutex<Vec<(String, Value)>>>::default();
        let subscribed = Arc::<Mutex<bool>>::default();
        thread::spawn({
            let (messages, subscribed) = (Arc::clone(&messages), Arc::clone(&subscribed));
            move || {
                for line in lines.map_while(Result::ok) {
                    if line.starts_with("Subscribed ") {
                        *subscribed.lock().unwrap_or_else(PoisonError::into_inner) = true;
                    }
                    // Payloads are JSON objects; its own remarks are not.
                    let message = line.split_once(' ').and_then(|(topic, payload)| {
                        Some((topic.to_owned(), serde_json::from_str::<Value>(payload).ok()?))
                    });
                    if let Some(message) = message.filter(|(_, payload)| payload.is_object()) {
                        messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                    }
                }
            }
        });
        let subscriber = Self { child, messages };
        wait_for("mosquitto_sub to be subscribed", || {
            (*subscribed.lock().unwrap_or_else(PoisonError::into_inner)).then_some(())
        });
        subscriber
    }

    /// How many messages so far.
    pub fn len(&self) -> usize {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `each` makes of the messages (topic and payload) so far.
    pub fn map<T>(&self, each: impl FnMut(&(String, Value)) -> Option<T>) -> Vec<T> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(each).collect()
    }
}

impl Drop for MqttSubscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
