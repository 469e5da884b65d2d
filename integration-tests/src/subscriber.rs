//! Somebody who listens at a broker: Debian's `mosquitto_sub`, with everything that it hears.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::mosquitto::Mosquitto;
use crate::sandbox::wait_for;

/// The running listener. The broker keeps its session, so that it misses nothing while either is away.
pub struct Subscriber {
    child: Child,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    subscribed: bool,
    messages: Vec<Message>,
}

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
}

impl Subscriber {
    /// Listens to `topics` (a filter: `sos/#`); subscribed when this answers. One at each broker.
    pub fn start(broker: &Mosquitto, topics: &str) -> Self {
        // Its output is read line by line while it runs.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-d", "-h", "localhost", "-p", &broker.port().to_string()]);
        // A payload may hold line ends, so it comes in hexadecimal digits.
        command.args(["-t", topics, "-q", "1", "-c", "-i", "listener", "-F", "message %t %x"]);
        let options = broker.options();
        if let Some((user, password)) = options.login {
            command.args(["-u", user, "-P", password]);
        }
        if options.tls {
            command.arg("--cafile").arg(broker.authority());
        }
        if options.client_certificate {
            let (cert, key) = broker.client_certificate();
            command.arg("--cert").arg(cert).arg("--key").arg(key);
        }
        // It says when the broker is away; nobody wants to know.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child =
            command.spawn().expect("stdbuf and mosquitto_sub are installed (Debian: mosquitto-clients)");
        let lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let heard = Arc::<Mutex<Heard>>::default();
        let hears = Arc::clone(&heard);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let message = line.strip_prefix("message ").map(Message::read);
                let mut heard = hears.lock().unwrap_or_else(PoisonError::into_inner);
                heard.subscribed |= line.starts_with("Subscribed ");
                heard.messages.extend(message);
            }
        });
        let subscriber = Self { child, heard };
        wait_for("mosquitto_sub to listen", || subscriber.with(|heard| heard.subscribed).then_some(()));
        subscriber
    }

    /// How many messages so far.
    pub fn count(&self) -> usize {
        self.with(|heard| heard.messages.len())
    }

    /// Everything heard so far.
    pub fn messages(&self) -> Vec<Message> {
        self.with(|heard| heard.messages.clone())
    }

    /// What was heard so far in one topic.
    pub fn json(&self, topic: &str) -> Vec<Value> {
        let of_topic = |heard: &Heard| -> Vec<Message> {
            heard.messages.iter().filter(|message| message.topic == topic).cloned().collect()
        };
        self.with(of_topic).iter().map(Message::json).collect()
    }

    /// Everything heard, once there are so many.
    pub fn wait_for_messages(&self, count: usize) -> Vec<Message> {
        wait_for(&format!("{count} messages at the broker"), || {
            (self.count() >= count).then(|| self.messages())
        })
    }

    fn with<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Message {
    /// Topic, blank, payload in hexadecimal digits.
    fn read(text: &str) -> Self {
        let (topic, digits) = text.rsplit_once(' ').unwrap_or((text, ""));
        Self { topic: topic.to_owned(), payload: hex::decode(digits).expect("pairs of hexadecimal digits") }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload)
            .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&self.payload)))
    }
}
