//! One connection to an MQTT broker, on `paho-mqtt`.
//!
//! A connection is opened, used until an error, and discarded. There is no automatic reconnect and no queue
//! that outlives a connection, because the journal is the queue. The library's callbacks run inside C, where
//! a panic would end the process, so no code of ours that could panic runs there. Contract: destinations.md,
//! "MQTT".
//!
//! # Two defects of the library, and how this module avoids them
//!
//! When a publish of QoS 1 or 2 fails at the network, the C library frees the message, and frees it again
//! when it cleans up the session (paho.mqtt.c issues 1621 and 1622, open): the process would abort. So the
//! library never cleans up: it does not see sessions as "clean" (the broker starts a new session
//! nevertheless). Closing a handle frees its messages too. The library reports a failed message before it
//! reports the end of the connection. So after the end, a handle without failed messages ([`Client::let_go`])
//! can be closed, and any other handle is abandoned. That costs the memory of the messages in flight, and the
//! time of those that wait inside the library (`mqtt_sink` keeps both small).
//!
//! The pending answer to a connect also owns the handle, and the library's thread releases it under the
//! library's lock. If it were the last owner, closing would wait for that lock for ever, and block every
//! other connection. So a handle is closed only after that owner is gone ([`Attempt`]), and abandoned
//! otherwise.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use paho_mqtt::{
    AsyncClient, ConnectOptions, ConnectOptionsBuilder, ConnectReturnCode, CreateOptionsBuilder,
    DeliveryToken, DisconnectOptionsBuilder, Error as PahoError, Message, PersistenceType, Properties,
    PropertyCode, ReasonCode, ServerResponse, SslOptions, SslOptionsBuilder,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;

use crate::kit::delivery_error::DeliveryError;
use crate::net::reachability::Server;
use crate::net::tls::{ClientTls, Trust};

/// Connection settings of a broker. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct MqttConfig {
    /// Name, IPv4 or IPv6 address.
    pub host: String,
    pub port: u16,
    pub tls: Option<MqttTls>,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// `None`: a name of this host and process. Brokers close a connection when another one uses its client
    /// id.
    pub client_id: Option<String>,
    /// 0, 1 or 2. With 0 there are no acknowledgements: messages that the network loses are lost.
    pub qos: u8,
    pub version: MqttVersion,
    /// The keep-alive interval in whole seconds.
    pub keep_alive: Duration,
    /// Messages sent and not yet acknowledged.
    pub in_flight_max: usize,
    /// The time limit of an acknowledgement, and of connecting.
    pub timeout: Duration,
}

/// TLS to the broker. All files are PEM, and are read again for each connection.
#[derive(Debug, Clone, Default)]
pub struct MqttTls {
    /// The CA to verify the broker with; `None`: the system's certificates.
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub passphrase: Option<SecretString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MqttVersion {
    /// 3.1.1
    V3,
    V5,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 1883,
            tls: None,
            username: None,
            password: None,
            client_id: None,
            qos: 1,
            version: MqttVersion::V5,
            keep_alive: Duration::from_secs(30),
            in_flight_max: 1_000,
            timeout: Duration::from_secs(30),
        }
    }
}

/// An open connection.
pub(crate) struct Client {
    /// Taken on drop, because closing waits for threads of the library.
    inner: Option<AsyncClient>,
    attempt: Attempt,
    qos: i32,
    /// The largest packet that the broker accepts, if it reported a limit.
    packet_bytes_max: Option<usize>,
    /// The maximum of unacknowledged messages: the smaller of the broker's limit and ours.
    window: usize,
    unacknowledged: Cell<usize>,
    /// Messages in flight whose result nobody waits for.
    let_go: RefCell<Vec<DeliveryToken>>,
    /// A message failed: the handle may point to freed memory.
    is_tainted: Cell<bool>,
    /// The broker's reason for closing the connection; 0 without one.
    closed_with: Arc<AtomicU32>,
    /// Notified when the connection has ended. Messages in flight are then never acknowledged.
    lost: Arc<Notify>,
    /// The library's time limit for connecting.
    connect_timeout: Duration,
}

/// Disconnected when the library has released the pending answer to a connect.
type Attempt = std::sync::mpsc::Receiver<()>;

/// Why a message was not acknowledged.
#[derive(Debug, Clone)]
pub(crate) enum NotTaken {
    /// The broker will never take it.
    Refused(String),
    /// The broker may accept it later.
    DeliveryError(DeliveryError),
    /// The connection ended before the answer.
    ConnectionLost(DeliveryError),
}

impl Client {
    pub async fn connect(config: &MqttConfig, client_id: &str) -> Result<Self, DeliveryError> {
        if config.version == MqttVersion::V3 && config.qos == 2 {
            // The broker may remember unfinished deliveries under packet ids that are used again.
            Self::open(config, client_id, true).await?.goodbye().await;
        }
        Self::open(config, client_id, false).await
    }

    async fn open(config: &MqttConfig, client_id: &str, forget_session: bool) -> Result<Self, DeliveryError> {
        match Self::try_open(config, client_id, forget_session).await {
            Err(trouble) if UNTOLD.contains(&trouble.class) => Err(match why_not(config).await {
                Some(why) => why,
                // The network path works, so the broker itself refused.
                None if trouble.class == "connect" => {
                    let detail = "the broker takes the connection and ends it without an answer";
                    DeliveryError::new("disconnected", detail)
                }
                None => trouble,
            }),
            opened => opened,
        }
    }

    async fn try_open(
        config: &MqttConfig,
        client_id: &str,
        forget_session: bool,
    ) -> Result<Self, DeliveryError> {
        let options = connect_options(config, forget_session)?;
        let in_flight_max = i32::try_from(config.in_flight_max).unwrap_or(i32::from(u16::MAX));
        let create = CreateOptionsBuilder::new()
            .server_uri(server_uri(config))
            .client_id(without_nul(client_id, "clientId")?)
            .persistence(PersistenceType::None)
            .max_buffered_messages(in_flight_max.saturating_add(SPARE_BUFFERS));
        keep_library();
        let inner = AsyncClient::new(create.finalize()).map_err(|error| trouble(&error))?;
        let closed_with = Arc::<AtomicU32>::default();
        let heard = Arc::clone(&closed_with);
        inner.set_disconnected_callback(move |_, _, reason| heard.store(reason as u32, Ordering::Relaxed));
        let lost = Arc::<Notify>::default();
        let ended = Arc::clone(&lost);
        inner.set_connection_lost_callback(move |_| ended.notify_one());
        let (held, attempt) = std::sync::mpsc::channel();
        let mut client = Self {
            inner: Some(inner),
            attempt,
            qos: i32::from(config.qos),
            packet_bytes_max: None,
            window: config.in_flight_max.max(1),
            unacknowledged: Cell::new(0),
            let_go: RefCell::default(),
            is_tainted: Cell::new(false),
            closed_with,
            lost,
            connect_timeout: connect_timeout(config),
        };
        let Some(inner) = &client.inner else { return Err(DeliveryError::new("connect", "no client")) };
        let held_until_answered = move |_: &AsyncClient, _, _| {
            let _held: &Sender<()> = &held;
        };
        let answer = inner.connect_with_callbacks(options, |_, _| {}, held_until_answered);
        let response = match tokio::time::timeout(config.timeout, answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(trouble(&error)),
            Err(_) => return Err(DeliveryError::new("timeout", "the broker does not answer the connection")),
        };
        client.packet_bytes_max = int_property(&response, PropertyCode::MaximumPacketSize);
        // Messages beyond the broker's limit would wait inside the library.
        let receive_max = int_property(&response, PropertyCode::ReceiveMaximum).unwrap_or(usize::MAX);
        client.window = client.window.min(receive_max.max(1));
        let qos_max = int_property(&response, PropertyCode::MaximumQos).unwrap_or(2);
        if usize::from(config.qos) > qos_max {
            let detail = format!("the broker takes QoS {qos_max} at most, {} is configured", config.qos);
            return Err(DeliveryError::new("qos", detail));
        }
        Ok(client)
    }

    pub fn is_connected(&self) -> bool {
        self.inner.as_ref().is_some_and(AsyncClient::is_connected)
    }

    /// The maximum of unacknowledged messages.
    pub fn window(&self) -> usize {
        self.window
    }

    async fn goodbye(self) {
        if let Some(inner) = &self.inner {
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, inner.disconnect(None)).await;
        }
    }

    /// Sends a message. The token completes when the broker has acknowledged it.
    pub fn publish(&self, topic: &str, payload: &[u8]) -> Result<DeliveryToken, NotTaken> {
        let packet_bytes = PACKET_OVERHEAD_BYTES_MAX + topic.len() + payload.len();
        let bytes_max = self.packet_bytes_max.unwrap_or(PACKET_BYTES_MAX).min(PACKET_BYTES_MAX);
        if packet_bytes > bytes_max {
            let detail = format!("a packet of {packet_bytes} bytes, the broker takes {bytes_max}");
            return Err(NotTaken::Refused(detail));
        }
        let Some(inner) = &self.inner else {
            return Err(NotTaken::ConnectionLost(DeliveryError::new("disconnected", "no connection")));
        };
        match inner.try_publish(Message::new(topic, payload, self.qos)) {
            Ok(token) => {
                self.unacknowledged.set(self.unacknowledged.get() + 1);
                Ok(token)
            }
            Err(PahoError::Publish(code, _)) => Err(self.not_taken(&PahoError::from_return_code(code))),
            Err(other) => Err(self.not_taken(&other)),
        }
    }

    /// Waits for the acknowledgement of one message.
    pub async fn acknowledged(&self, mut token: DeliveryToken, timeout: Duration) -> Result<(), NotTaken> {
        let answer = tokio::select! {
            biased;
            answer = tokio::time::timeout(timeout, &mut token) => answer,
            () = self.lost.notified() => {
                // Wake the next waiter.
                self.lost.notify_one();
                self.let_go(token);
                return Err(self.not_taken(&PahoError::Disconnected));
            }
        };
        match answer {
            Ok(answer) => {
                self.unacknowledged.set(self.unacknowledged.get().saturating_sub(1));
                self.is_tainted.set(self.is_tainted.get() || is_failure(&answer));
                answer.map_err(|error| self.not_taken(&error))
            }
            Err(_) => {
                self.let_go(token);
                if self.is_connected() {
                    return Err(NotTaken::DeliveryError(DeliveryError::new(
                        "timeout",
                        "the broker does not acknowledge",
                    )));
                }
                Err(self.not_taken(&PahoError::Disconnected))
            }
        }
    }

    /// Stops waiting for this message. Its result still decides how the connection can be closed.
    pub fn let_go(&self, token: DeliveryToken) {
        self.let_go.borrow_mut().push(token);
    }

    /// One round trip to the broker. It proves that the broker is alive and has read everything that was sent
    /// before.
    pub async fn round_trip(&self, timeout: Duration) -> Result<(), DeliveryError> {
        let Some(inner) = &self.inner else {
            return Err(DeliveryError::new("disconnected", "no connection"));
        };
        // There are no subscriptions, so this changes nothing.
        match tokio::time::timeout(timeout, inner.unsubscribe("butler-sos/round-trip")).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(trouble(&error)),
            Err(_) => Err(DeliveryError::new("timeout", "the broker does not answer")),
        }
    }

    /// Whether the broker closed the connection because of the size of a packet.
    pub fn closed_for_size(&self) -> bool {
        self.closed_with.load(Ordering::Relaxed) == ReasonCode::PacketTooLarge as u32
    }

    fn not_taken(&self, error: &PahoError) -> NotTaken {
        match error {
            PahoError::ReasonCode(code, _) => match refusal(*code) {
                Some(detail) => NotTaken::Refused(detail.to_owned()),
                None => NotTaken::DeliveryError(trouble(error)),
            },
            PahoError::BadUtf8String | PahoError::BadQos | PahoError::MaxBufferedMessages => {
                NotTaken::DeliveryError(trouble(error))
            }
            _ => {
                let mut trouble = trouble(error);
                let code = self.closed_with.load(Ordering::Relaxed);
                if code != 0 {
                    trouble.detail = format!("the broker closed the connection: {}", ReasonCode::from(code));
                }
                NotTaken::ConnectionLost(trouble)
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        inner.remove_disconnected_callback();
        inner.remove_connection_lost_callback();
        // The handle is abandoned unless it is certain that it can be closed.
        let inner = ManuallyDrop::new(inner);
        let attempt = std::mem::replace(&mut self.attempt, std::sync::mpsc::channel().1);
        let attempt_timeout = self.connect_timeout + GIVEN_UP_LATE_MAX;
        let in_flight = self.let_go.take();
        let is_sound = !self.is_tainted.get() && in_flight.len() == self.unacknowledged.get();
        // Disconnecting and closing may both wait for the library's threads.
        let close = move || {
            let is_let_go = attempt.recv_timeout(attempt_timeout) == Err(RecvTimeoutError::Disconnected);
            if inner.is_connected() {
                let goodbye = DisconnectOptionsBuilder::new().timeout(Duration::from_millis(100)).finalize();
                let _ = inner.disconnect(goodbye).wait_for(CLOSE_TIMEOUT);
            }
            // After the end of the connection nothing more is sent, and all failures have been reported.
            let has_ended = !inner.is_connected();
            let failed =
                |token: DeliveryToken| token.now_or_never().is_some_and(|answer| is_failure(&answer));
            if is_let_go && has_ended && is_sound && !in_flight.into_iter().any(failed) {
                drop(ManuallyDrop::into_inner(inner));
            }
        };
        let _ = std::thread::Builder::new().name("mqtt-close".to_owned()).spawn(close);
    }
}

/// Whether the library could not send the message. A refusal by the broker, or the end of the session, is not
/// such a failure.
fn is_failure(answer: &Result<(), PahoError>) -> bool {
    !matches!(answer, Ok(()) | Err(PahoError::ReasonCode(..) | PahoError::OperationIncomplete))
}

/// Keeps one handle that is never connected and never closed.
///
/// Closing the last handle of the process makes the library free data that all handles share, which is not
/// safe while another handle is being created or closed (observed as a double free).
fn keep_library() {
    static KEPT: OnceLock<Option<AsyncClient>> = OnceLock::new();
    KEPT.get_or_init(|| {
        let create = CreateOptionsBuilder::new().client_id("kept").persistence(PersistenceType::None);
        AsyncClient::new(create.server_uri("mqtt://localhost:1883").finalize()).ok()
    });
}

/// Fixed header (5), length of the topic (2), packet id (2), no properties (1), and a reserve.
const PACKET_OVERHEAD_BYTES_MAX: usize = 16;
/// The limit of the protocol.
const PACKET_BYTES_MAX: usize = 268_435_455;
/// The library counts only messages that it has not yet passed to the network, which are fewer than those in
/// flight.
const SPARE_BUFFERS: i32 = 64;
/// Not zero (see the head of this file). The next connection starts a new session anyway.
const SESSION_SECONDS: u32 = 1;
/// The library checks its time limits every three seconds, unless it is busy.
const GIVEN_UP_LATE_MAX: Duration = Duration::from_secs(30);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The broker's reason to refuse the message for good; `None` when it may accept it later.
fn refusal(code: ReasonCode) -> Option<&'static str> {
    match code {
        ReasonCode::PacketTooLarge => Some("the broker says: packet too large"),
        ReasonCode::PayloadFormatInvalid => Some("the broker says: payload format invalid"),
        ReasonCode::MalformedPacket => Some("the broker says: malformed packet"),
        ReasonCode::ImplementationSpecificError => Some("the broker will not take this message"),
        _ => None,
    }
}

/// Converts an error of the library, with a class for the metric. The library's messages contain no secret.
fn trouble(error: &PahoError) -> DeliveryError {
    match error {
        PahoError::ReasonCode(code, _) => match code {
            ReasonCode::NotAuthorized
            | ReasonCode::BadUserNameOrPassword
            | ReasonCode::Banned
            | ReasonCode::ClientIdentifierNotValid => {
                DeliveryError::new("auth", format!("the broker says: {code}"))
            }
            _ => DeliveryError::new("broker", format!("the broker says: {code}")),
        },
        PahoError::ConnectReturn(code) => match code {
            ConnectReturnCode::BadUserNameOrPassword
            | ConnectReturnCode::NotAuthorized
            | ConnectReturnCode::IdentifierRejected => {
                DeliveryError::new("auth", format!("the broker says: {code}"))
            }
            _ => DeliveryError::new("broker", format!("the broker says: {code}")),
        },
        PahoError::TcpConnectTimeout | PahoError::Timeout => DeliveryError::new("timeout", error.to_string()),
        PahoError::TcpTlsConnectFailure | PahoError::TcpConnectCompletionFailure => {
            DeliveryError::new("connect", "no TCP or TLS connection to the broker")
        }
        PahoError::Disconnected | PahoError::OperationIncomplete | PahoError::SocketError(_) => {
            DeliveryError::new("disconnected", "the connection to the broker ended")
        }
        PahoError::Publish(code, _) => trouble(&PahoError::from_return_code(*code)),
        other => DeliveryError::new("mqtt", other.to_string()),
    }
}

/// Classes of a failed connection for which the library does not report the step: name, connection or TLS.
const UNTOLD: [&str; 4] = ["connect", "disconnected", "mqtt", "timeout"];
/// The time limit of each diagnostic step.
const WHY_NOT_TIMEOUT: Duration = Duration::from_secs(3);

/// Repeats the connection step by step; `None` when every step succeeds.
async fn why_not(config: &MqttConfig) -> Option<DeliveryError> {
    let patience = config.timeout.min(WHY_NOT_TIMEOUT);
    let server = Server { host: config.host.clone(), port: config.port, address: None, patience };
    let tls = config.tls.as_ref().map(MqttTls::client_tls);
    let asking = actix_rt::task::spawn_blocking(move || match tls {
        Some(tls) => server.shake_hands(&tls),
        None => server.connect().map(drop),
    });
    // Resolving has its own limits, which are longer.
    let asked = tokio::time::timeout(2 * WHY_NOT_TIMEOUT, asking).await;
    asked.ok()?.ok()?.err()
}

impl MqttTls {
    /// The same TLS settings for a client of our own.
    #[must_use]
    pub fn client_tls(&self) -> ClientTls {
        let passphrase = self.passphrase.clone().unwrap_or_else(|| SecretString::from(""));
        let Self { ca, cert, key, .. } = self.clone();
        ClientTls { trust: Trust::only(ca), cert, key, passphrase, verify: true }
    }
}

fn server_uri(config: &MqttConfig) -> String {
    let scheme = if config.tls.is_some() { "mqtts" } else { "mqtt" };
    let bracketed = config.host.contains(':') && !config.host.starts_with('[');
    let (open, close) = if bracketed { ("[", "]") } else { ("", "") };
    format!("{scheme}://{open}{}{close}:{}", config.host.replace('\0', ""), config.port)
}

fn connect_options(config: &MqttConfig, forget_session: bool) -> Result<ConnectOptions, DeliveryError> {
    let mut options = match config.version {
        MqttVersion::V3 => {
            let mut options = ConnectOptionsBuilder::with_mqtt_version(paho_mqtt::MQTT_VERSION_3_1_1);
            options.clean_session(forget_session);
            options
        }
        MqttVersion::V5 => {
            let mut options = ConnectOptionsBuilder::new_v5();
            let mut properties = Properties::new();
            properties
                .push_u32(PropertyCode::SessionExpiryInterval, SESSION_SECONDS)
                .map_err(|error| trouble(&error))?;
            options.clean_start(true).properties(properties);
            options
        }
    };
    options
        .keep_alive_interval(config.keep_alive)
        .connect_timeout(connect_timeout(config))
        .max_inflight(i32::try_from(config.in_flight_max).unwrap_or(i32::from(u16::MAX)));
    if let Some(username) = &config.username {
        options.user_name(without_nul(username, "username")?);
    }
    if let Some(password) = &config.password {
        options.password(password.expose_secret().as_bytes());
    }
    if let Some(tls) = &config.tls {
        options.ssl_options(ssl_options(tls)?);
    }
    Ok(options.finalize())
}

/// The library has a resolution of whole seconds.
fn connect_timeout(config: &MqttConfig) -> Duration {
    config.timeout.max(Duration::from_secs(1))
}

fn ssl_options(tls: &MqttTls) -> Result<SslOptions, DeliveryError> {
    let unusable = |what: &str, path: &Path, error: &dyn std::fmt::Display| {
        DeliveryError::new("tls", format!("{what} {} cannot be used: {error}", path.display()))
    };
    // The library does not report which file it could not read.
    for (what, path) in [("ca", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)] {
        if let Some(path) = path {
            std::fs::File::open(path).map_err(|error| unusable(what, path, &error))?;
        }
    }
    let mut options = SslOptionsBuilder::new();
    options.enable_server_cert_auth(true).verify(true);
    if let Some(ca) = &tls.ca {
        options.trust_store(ca).map_err(|error| unusable("ca", ca, &error))?;
        options.disable_default_trust_store(true);
    }
    if let Some(cert) = &tls.cert {
        options.key_store(cert).map_err(|error| unusable("cert", cert, &error))?;
    }
    if let Some(key) = &tls.key {
        options.private_key(key).map_err(|error| unusable("key", key, &error))?;
    }
    if let Some(passphrase) = &tls.passphrase {
        options.private_key_password(without_nul(passphrase.expose_secret(), "passphrase")?);
    }
    Ok(options.finalize())
}

/// The library truncates such a text at its NUL, or panics.
fn without_nul<'a>(text: &'a str, what: &str) -> Result<&'a str, DeliveryError> {
    if text.contains('\0') {
        return Err(DeliveryError::new("config", format!("{what} holds a NUL")));
    }
    Ok(text)
}

fn int_property(response: &ServerResponse, code: PropertyCode) -> Option<usize> {
    // A four-byte number above i32::MAX is returned as a negative one.
    response.properties().get_int(code).map(|value| value.cast_unsigned() as usize)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

    /// A slow broker that answers with `connack`. Returns its port.
    fn slow_door(connack: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = move |mut stream: TcpStream| {
            let _ = stream.read(&mut [0; 1024]);
            thread::park_timeout(Duration::from_millis(200));
            let _ = stream.write_all(connack);
            // Until the client closes the connection.
            let _ = stream.read_to_end(&mut Vec::new());
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                thread::spawn(move || answer(stream));
            }
        });
        port
    }

    #[test]
    fn an_abandoned_connection_attempt_does_not_hang_the_library() {
        const NOT_AUTHORIZED: &[u8] = &[0x20, 3, 0, 0x87, 0];
        const WELCOME: &[u8] = &[0x20, 3, 0, 0, 0];
        let (done, is_done) = std::sync::mpsc::channel();
        // A separate thread: when the library hangs, this test fails and does not hang with it.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            for connack in [NOT_AUTHORIZED, WELCOME] {
                let port = slow_door(connack);
                let config = MqttConfig { host: "127.0.0.1".into(), port, ..MqttConfig::default() };
                let hasty = MqttConfig { timeout: Duration::from_millis(50), ..config.clone() };
                for n in 0..5 {
                    let trouble = runtime.block_on(Client::connect(&hasty, &format!("h{n}"))).err().unwrap();
                    assert_eq!(trouble.class, "timeout");
                }
                // Its answer comes after those to the others.
                let patient = runtime.block_on(Client::connect(&config, "p"));
                assert_eq!(
                    patient.err().map(|trouble| trouble.class),
                    (connack == NOT_AUTHORIZED).then_some("auth")
                );
            }
            done.send(()).unwrap();
        });
        is_done.recv_timeout(Duration::from_secs(60)).expect("the library answers");
    }

    #[test]
    fn addresses() {
        let check = |host: &str, tls: bool, expect: &str| {
            let tls = tls.then(MqttTls::default);
            let config = MqttConfig { host: host.into(), port: 99, tls, ..MqttConfig::default() };
            assert_eq!(server_uri(&config), expect);
        };
        check("broker", false, "mqtt://broker:99");
        check("127.0.0.1", true, "mqtts://127.0.0.1:99");
        check("::1", false, "mqtt://[::1]:99");
        check("[::1]", true, "mqtts://[::1]:99");
    }

    #[test]
    fn distinguishes_refused_messages_from_broker_errors() {
        for code in [ReasonCode::PacketTooLarge, ReasonCode::PayloadFormatInvalid] {
            assert!(refusal(code).is_some(), "{code}");
        }
        for code in [ReasonCode::NotAuthorized, ReasonCode::QuotaExceeded, ReasonCode::UnspecifiedError] {
            assert!(refusal(code).is_none(), "{code}");
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let config = MqttConfig {
            password: Some("hunter2".to_owned().into()),
            tls: Some(MqttTls { passphrase: Some("hunter2".to_owned().into()), ..MqttTls::default() }),
            ..MqttConfig::default()
        };
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let tls = MqttTls { ca: Some("/nowhere/ca.pem".into()), ..MqttTls::default() };
        let trouble = ssl_options(&tls).map(|_| ()).unwrap_err();
        assert_eq!(trouble.class, "tls");
        assert!(trouble.detail.contains("/nowhere/ca.pem"), "{trouble}");
    }
}
