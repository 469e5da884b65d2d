//! Somebody who listens at a broker: Debian's `mosquitto_sub`, with everything that it hears.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::mosquitto::{Mosquitto, Options};
use crate::sandbox::wait_for;

/// The running listener.
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
    /// Listens to every topic of a broker that was started with `options`; messages that come while the
    /// broker is away wait there.
    pub fn start(broker: &Mosquitto, options: &Options) -> Self {
        // Its output is read line by line while it runs.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-d", "-h", "localhost", "-p", &broker.port().to_string()]);
        command.args(["-t", "#", "-q", "1", "-c", "-i", "listener", "-F", "message %t %x"]);
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
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub is installed (Debian: `apt-get install mosquitto-clients`)");
        let lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let heard = Arc::<Mutex<Heard>>::default();
        let hears = Arc::clone(&heard);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut heard = hears.lock().unwrap_or_else(PoisonError::into_inner);
                if line.starts_with("Subscribed ") {
                    heard.subscribed = true;
                } else if let Some(message) = line.strip_prefix("message ") {
                    heard.messages.push(Message::read(message));
                }
            }
        });
        let subscriber = Self { child, heard };
        wait_for("mosquitto_sub to listen", || subscriber.with(|heard| heard.subscribed).then_some(()));
        subscriber
    }

    /// Everything heard so far.
    pub fn messages(&self) -> Vec<Message> {
        self.with(|heard| heard.messages.clone())
    }

    /// Everything heard, once there are so many.
    pub fn wait_for_messages(&self, count: usize) -> Vec<Message> {
        wait_for(&format!("{count} messages at the broker"), || {
            (self.with(|heard| heard.messages.len()) >= count).then(|| self.messages())
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
        let (topic, hex) = text.rsplit_once(' ').unwrap_or((text, ""));
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
        Self { topic: topic.to_owned(), payload: (0..hex.len()).step_by(2).map(digit).collect() }
    }
}
