//! Destinations and Qlik Sense: whether each answers, and lets us in.
//!
//! All are asked at once, each for [`PATIENCE`] at most. Nothing is written anywhere.

use std::{
    future::Future,
    io::{self, ErrorKind, Read},
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use butler_sos_actors::{
    influx_client::{InfluxClient, InfluxConfig},
    mqtt_sink,
    sink::Trouble,
    tls::ClientTls,
};
use openssl::ssl::{HandshakeError, SslConnector};

use super::{
    PATIENCE, blocking,
    report::{Finding, Verdict},
};
use crate::{
    config::{
        Config,
        butler::{audit_events::DestinationKind, screenshots::AuthMode},
    },
    topology::settings,
};

/// How long a server that refuses our certificate gets to say so. With TLS 1.3 it does so after the handshake.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(300);

/// Asks everything that the server would speak to.
pub async fn findings(config: &Config) -> Vec<Finding> {
    let butler = &config.butler_sos;
    let audit = &butler.audit_events;
    let mut asked = Vec::new();
    let mut ask = |path: &'static str, task| asked.push((path, task));

    if butler.influxdb.enable {
        ask("Butler-SOS.influxdbConfig.host", actix_rt::spawn(in_time(influxdb(settings::influx(config)))));
    }
    if config.audit_to(DestinationKind::Influxdb) {
        let path = "Butler-SOS.auditEvents.destination.influxdb.metadata.host";
        ask(path, actix_rt::spawn(in_time(influxdb(settings::audit_influx(config)))));
    }
    if butler.mqtt.enable {
        let mqtt = mqtt_sink::MqttConfig { timeout: PATIENCE, ..settings::mqtt(config) };
        ask("Butler-SOS.mqttConfig.brokerHost", actix_rt::spawn(in_time(broker(mqtt))));
    }
    if butler.app_names.enable {
        let host = butler.app_names.host_ip.clone().unwrap_or_default();
        let qrs = Server { host, port: config.pipeline.app_directory.port, address: None };
        ask("Butler-SOS.appNames.hostIP", actix_rt::spawn(in_time(tls(qrs, settings::qlik_tls(config)))));
    }
    let shots = &audit.destination.screenshots;
    if audit.enable && shots.enable && shots.auth.mode != AuthMode::None {
        let host = shots.auth.qps.host.clone().unwrap_or_default();
        let mut resolve = config.pipeline.screenshots.resolve.iter();
        let address = resolve.find(|(name, _)| name.eq_ignore_ascii_case(&host));
        let address = address.and_then(|(_, address)| address.parse().ok());
        let qps = Server { host, port: shots.auth.qps.port, address };
        let path = "Butler-SOS.auditEvents.destination.screenshots.auth.qps.host";
        ask(path, actix_rt::spawn(in_time(tls(qps, settings::qlik_tls(config)))));
    }

    let mut found = Vec::new();
    for (path, task) in asked {
        found.push(match task.await {
            Ok(Ok(words)) => Finding::new(Verdict::Fine, path, words),
            Ok(Err(words)) => Finding::new(Verdict::Unavailable, path, words),
            Err(error) => Finding::new(Verdict::Unavailable, path, format!("cannot be asked: {error}")),
        });
    }
    found
}

async fn in_time(asking: impl Future<Output = Result<String, String>>) -> Result<String, String> {
    within(PATIENCE, asking).await
}

async fn within(
    patience: Duration,
    asking: impl Future<Output = Result<String, String>>,
) -> Result<String, String> {
    tokio::time::timeout(patience, asking).await.unwrap_or_else(|_| Err(no_answer()))
}

fn no_answer() -> String {
    format!("no answer within {} seconds", PATIENCE.as_secs())
}

/// What went wrong, without secrets.
fn words(trouble: Trouble) -> String {
    trouble.words
}

async fn influxdb(config: InfluxConfig) -> Result<String, String> {
    let at = format!("{}:{}", config.host, config.port);
    let client = InfluxClient::new(config).map_err(|error| error.to_string())?;
    client.reachable().await.map_err(words)?;
    Ok(format!("InfluxDB at {at} answers"))
}

/// Connects by ourselves first, since the MQTT library tells little about what went wrong; then logs in.
async fn broker(mqtt: mqtt_sink::MqttConfig) -> Result<String, String> {
    let server = Server { host: mqtt.host.clone(), port: mqtt.port, address: None };
    match mqtt.tls.clone() {
        None => {
            let connecting = blocking(PATIENCE, move || server.connect().map(drop));
            connecting.await.unwrap_or_else(|| Err(no_answer()))?;
        }
        Some(files) => {
            tls(server, settings::mqtt_client_tls(files)).await?;
        }
    }
    let at = format!("{}:{}", mqtt.host, mqtt.port);
    let refused = |trouble| format!("the broker at {at} does not let us in: {}", words(trouble));
    mqtt_sink::reachable(&mqtt).await.map_err(refused)?;
    Ok(format!("the broker at {at} lets us in"))
}

/// Somebody to connect to.
struct Server {
    host: String,
    port: u16,
    /// Instead of what the name resolves to.
    address: Option<IpAddr>,
}

async fn tls(server: Server, tls: ClientTls) -> Result<String, String> {
    blocking(PATIENCE, move || {
        let connector =
            tls.connector().map_err(|_| "not asked: the certificates cannot be used".to_owned())?;
        shake_hands(&server, &connector)
    })
    .await
    .unwrap_or_else(|| Err(no_answer()))
}

impl Server {
    /// Blocks.
    fn connect(&self) -> Result<TcpStream, String> {
        let Self { host, port, address } = self;
        let host = host.trim_matches(['[', ']']);
        let addresses: Vec<SocketAddr> = match address {
            Some(address) => vec![SocketAddr::new(*address, *port)],
            None => {
                let found = (host, *port).to_socket_addrs();
                found.map_err(|error| format!("{host} has no address: {error}"))?.collect()
            }
        };
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in addresses {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(format!("{host}:{port} does not answer: {last}"))
    }
}

/// Connects, shakes hands, and listens for a moment whether we are refused. Blocks.
fn shake_hands(server: &Server, connector: &SslConnector) -> Result<String, String> {
    let stream = server.connect()?;
    let (host, port) = (server.host.trim_matches(['[', ']']), server.port);
    let prepared =
        stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    prepared.map_err(|error| error.to_string())?;
    let mut stream = connector.connect(host, stream).map_err(|error| match error {
        HandshakeError::Failure(broken) => {
            let verified = broken.ssl().verify_result();
            match verified == openssl::x509::X509VerifyResult::OK {
                true => format!("{host}:{port} and we do not agree on TLS: {}", broken.error()),
                false => format!("the certificate of {host}:{port} is not accepted: {verified}"),
            }
        }
        other => format!("{host}:{port} breaks off the TLS handshake: {other}"),
    })?;
    stream.get_ref().set_read_timeout(Some(REFUSAL_TIMEOUT)).map_err(|error| error.to_string())?;
    match stream.read(&mut [0; 1]) {
        Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Err(format!("{host}:{port} ends the connection, probably because of our certificate: {error}"))
        }
        _ => Ok(format!("{host}:{port} answers with TLS")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use openssl::ssl::{SslAcceptor, SslMethod, SslVerifyMode};
    use secrecy::ExposeSecret;

    use super::*;
    use crate::check::test_files::CertificateFiles;

    /// A port that nobody listens at.
    fn free_port() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    }

    #[actix_rt::test]
    async fn who_is_not_there_is_named() {
        let mut config = Config::default();
        let butler = &mut config.butler_sos;
        butler.influxdb.enable = true;
        butler.influxdb.host = "127.0.0.1".into();
        butler.influxdb.port = free_port();
        butler.mqtt.enable = true;
        butler.mqtt.broker_host = "127.0.0.1".into();
        butler.mqtt.broker_port = free_port();
        butler.app_names.enable = true;
        butler.app_names.host_ip = Some("127.0.0.1".into());
        config.pipeline.app_directory.port = free_port();
        let found = findings(&config).await;
        let paths: Vec<&str> = found.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "Butler-SOS.influxdbConfig.host",
                "Butler-SOS.mqttConfig.brokerHost",
                "Butler-SOS.appNames.hostIP"
            ]
        );
        assert!(found.iter().all(|finding| finding.verdict == Verdict::Unavailable), "{found:?}");
        assert!(findings(&Config::default()).await.is_empty());
    }

    #[actix_rt::test]
    async fn who_never_answers_is_given_up() {
        let asked = within(Duration::from_millis(1), std::future::pending()).await;
        assert_eq!(asked, Err("no answer within 5 seconds".to_owned()));
    }

    /// A server that insists on a client certificate, asked once.
    fn check_handshake(change: impl Fn(&mut ClientTls), expect: Result<&str, &str>) {
        let files = CertificateFiles::new(90);
        let own = files.client();
        let key = std::fs::read(files.path("key.pem")).expect("a key");
        let passphrase = own.passphrase.expose_secret().as_bytes();
        let key = openssl::pkey::PKey::private_key_from_pem_passphrase(&key, passphrase).expect("a key");
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("TLS");
        acceptor.set_certificate_chain_file(files.path("cert.pem")).expect("a certificate");
        acceptor.set_private_key(&key).expect("a key");
        acceptor.set_ca_file(files.path("cert.pem")).expect("a CA");
        acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        let acceptor = acceptor.build();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serving = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            // Stays until the client goes.
            if let Ok(mut stream) = acceptor.accept(stream) {
                let _ = stream.read(&mut [0; 1]);
            }
        });

        let mut tls = own.clone();
        change(&mut tls);
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        let server = Server { host: "localhost".into(), port, address };
        let outcome = shake_hands(&server, &tls.connector().expect("a connector"));
        match (&outcome, expect) {
            (Ok(words), Ok(expect)) | (Err(words), Err(expect)) => assert!(words.contains(expect), "{words}"),
            _ => panic!("{outcome:?}, expected {expect:?}"),
        }
        serving.join().expect("the server");
    }

    #[test]
    fn handshakes() {
        check_handshake(|_| (), Ok("answers with TLS"));
        check_handshake(|tls| tls.ca = None, Err("is not accepted: self-signed certificate"));
        check_handshake(
            |tls| (tls.cert, tls.key) = (None, None),
            Err("ends the connection, probably because of our certificate"),
        );
    }
}
