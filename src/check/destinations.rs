//! Destinations and Qlik Sense: whether each answers, and lets us in.
//!
//! All are asked at once, each for [`PATIENCE`] at most. Nothing is stored anywhere: a write to InfluxDB has no lines,
//! one to New Relic no events.

use std::{future::Future, net::IpAddr, time::Duration};

use butler_sos_actors::net::reachability::Server;
use butler_sos_actors::net::tls::ClientTls;
use butler_sos_actors::sinks::influx::check::{Examined, Growing, examine};
use butler_sos_actors::sinks::influx::client::{InfluxClient, InfluxConfig};
use butler_sos_actors::sinks::mqtt::mqtt_sink;
use butler_sos_actors::sinks::new_relic::client::{NewRelicClient, NewRelicConfig};
use butler_sos_actors::sinks::sink::DeliveryError;

use butler_sos_domain::encode::audit_line::DEFAULT_MEASUREMENT;
use butler_sos_domain::encode::user_line::MEASUREMENT as USER_MEASUREMENT;

use super::{
    PATIENCE, blocking,
    report::{CheckResult, Verdict},
};
use crate::{
    config::{
        Config,
        butler::{audit_events::DestinationKind, screenshots::AuthMode},
    },
    topology::settings,
};

/// Asks everything that the server would speak to.
pub async fn results(config: &Config) -> Vec<CheckResult> {
    let butler = &config.butler_sos;
    let audit = &butler.audit_events;
    let mut asked = Vec::new();
    let mut ask = |path: &'static str, task| asked.push((path, task));

    if butler.influxdb.enable {
        let growing = match config.user_events_to_influxdb() {
            true => vec![growing(USER_MEASUREMENT, "userFull")],
            false => Vec::new(),
        };
        let asking = influxdb(settings::influx(config), growing);
        ask("Butler-SOS.influxdbConfig.host", actix_rt::spawn(in_time(asking)));
    }
    if config.audit_to(DestinationKind::Influxdb) {
        let path = "Butler-SOS.auditEvents.destination.influxdb.metadata.host";
        let measurement = match audit.destination.influxdb.metadata.measurement_name.as_str() {
            "" => DEFAULT_MEASUREMENT,
            name => name,
        };
        let growing =
            ["eventId", "correlationId", "selectionTxnId", "user"].map(|tag| growing(measurement, tag));
        ask(path, actix_rt::spawn(in_time(influxdb(settings::audit_influx(config), growing.into()))));
    }
    if config.user_events_to_new_relic() {
        for account in settings::new_relic_accounts(config) {
            let asking =
                new_relic(NewRelicConfig { timeout: PATIENCE, ..settings::new_relic(config, account) });
            ask("Butler-SOS.newRelic.event.url", actix_rt::spawn(in_time(asking)));
        }
    }
    if butler.mqtt.enable {
        let mqtt = mqtt_sink::MqttConfig { timeout: PATIENCE, ..settings::mqtt(config) };
        ask("Butler-SOS.mqttConfig.brokerHost", actix_rt::spawn(in_time(fine(broker(mqtt)))));
    }
    if butler.app_names.enable {
        let host = butler.app_names.host_ip.clone().unwrap_or_default();
        let qrs = server(&host, config.pipeline.app_directory.port, None);
        ask(
            "Butler-SOS.appNames.hostIP",
            actix_rt::spawn(in_time(fine(tls(qrs, settings::qlik_tls(config))))),
        );
    }
    let shots = &audit.destination.screenshots;
    if audit.enable && shots.enable && shots.auth.mode != AuthMode::None {
        let host = shots.auth.qps.host.clone().unwrap_or_default();
        let mut resolve = config.pipeline.screenshots.resolve.iter();
        let address = resolve.find(|(name, _)| name.eq_ignore_ascii_case(&host));
        let address = address.and_then(|(_, address)| address.parse().ok());
        let qps = server(&host, shots.auth.qps.port, address);
        let path = "Butler-SOS.auditEvents.destination.screenshots.auth.qps.host";
        ask(path, actix_rt::spawn(in_time(fine(tls(qps, settings::qlik_tls(config))))));
    }

    let mut found = Vec::new();
    for (path, task) in asked {
        let results = match task.await {
            Ok(Ok(results)) => results,
            Ok(Err(detail)) => vec![(Verdict::Unavailable, detail)],
            Err(error) => vec![(Verdict::Unavailable, format!("the check failed: {error}"))],
        };
        found.extend(results.into_iter().map(|(verdict, detail)| CheckResult::new(verdict, path, detail)));
    }
    found
}

/// What was found about one endpoint, or why events would not arrive there.
type Asked = Result<Vec<(Verdict, String)>, String>;

async fn in_time(asking: impl Future<Output = Asked>) -> Asked {
    within(PATIENCE, asking).await
}

/// All is well, in these words.
async fn fine(asking: impl Future<Output = Result<String, String>>) -> Asked {
    asking.await.map(|detail| vec![(Verdict::Fine, detail)])
}

async fn within(patience: Duration, asking: impl Future<Output = Asked>) -> Asked {
    tokio::time::timeout(patience, asking).await.unwrap_or_else(|_| Err(no_answer()))
}

fn no_answer() -> String {
    format!("no response within {} seconds", PATIENCE.as_secs())
}

/// What went wrong, without secrets.
fn detail(trouble: DeliveryError) -> String {
    trouble.detail
}

fn growing(measurement: &str, tag: &'static str) -> Growing {
    Growing { measurement: measurement.to_owned(), tag }
}

async fn influxdb(config: InfluxConfig, growing: Vec<Growing>) -> Asked {
    let at = format!("{}:{}", config.host, config.port);
    let is_created = config.create_database;
    let client = InfluxClient::new(config).map_err(|error| error.to_string())?;
    let Examined { fine, warnings } = examine(&client, is_created, &growing).await.map_err(detail)?;
    let answers =
        [format!("InfluxDB at {at} responds")].into_iter().chain(fine).collect::<Vec<_>>().join("; ");
    let warnings = warnings.into_iter().map(|detail| (Verdict::Warning, detail));
    Ok([(Verdict::Fine, answers)].into_iter().chain(warnings).collect())
}

async fn new_relic(config: NewRelicConfig) -> Asked {
    let client = NewRelicClient::new(config).map_err(|error| error.to_string())?;
    fine(async { client.examine().await.map_err(detail) }).await
}

/// Connects by ourselves first, since the MQTT library tells little about what went wrong; then logs in.
async fn broker(mqtt: mqtt_sink::MqttConfig) -> Result<String, String> {
    let server = server(&mqtt.host, mqtt.port, None);
    match mqtt.tls.clone() {
        None => {
            let connecting = blocking(PATIENCE, move || server.connect().map(drop).map_err(detail));
            connecting.await.unwrap_or_else(|| Err(no_answer()))?;
        }
        Some(files) => {
            tls(server, files.client_tls()).await?;
        }
    }
    let at = format!("{}:{}", mqtt.host, mqtt.port);
    let refused = |trouble| format!("the broker at {at} refused the connection: {}", detail(trouble));
    mqtt_sink::reachable(&mqtt).await.map_err(refused)?;
    Ok(format!("the broker at {at} accepted the connection"))
}

fn server(host: &str, port: u16, address: Option<IpAddr>) -> Server {
    Server { host: host.to_owned(), port, address, patience: PATIENCE }
}

async fn tls(server: Server, tls: ClientTls) -> Result<String, String> {
    blocking(PATIENCE, move || {
        // What is wrong with our own files is told elsewhere.
        tls.connector().map_err(|_| "not checked: the certificates are unusable".to_owned())?;
        server.shake_hands(&tls).map_err(detail)?;
        Ok(format!("{}:{} responds with TLS", server.host, server.port))
    })
    .await
    .unwrap_or_else(|| Err(no_answer()))
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpListener};

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
        let found = results(&config).await;
        let paths: Vec<&str> = found.iter().map(|result| result.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "Butler-SOS.influxdbConfig.host",
                "Butler-SOS.mqttConfig.brokerHost",
                "Butler-SOS.appNames.hostIP"
            ]
        );
        assert!(found.iter().all(|result| result.verdict == Verdict::Unavailable), "{found:?}");
        assert!(results(&Config::default()).await.is_empty());
    }

    #[actix_rt::test]
    async fn who_never_answers_is_given_up() {
        let asked = within(Duration::from_millis(1), std::future::pending()).await;
        assert_eq!(asked, Err("no response within 5 seconds".to_owned()));
    }

    /// A server that insists on a client certificate, asked once.
    fn check_handshake(change: impl Fn(&mut ClientTls), expect: Result<(), &str>) {
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
        let outcome = server("localhost", port, address).shake_hands(&tls).map_err(detail);
        match (&outcome, expect) {
            (Ok(()), Ok(())) => {}
            (Err(detail), Err(expect)) => assert!(detail.contains(expect), "{detail}"),
            _ => panic!("{outcome:?}, expected {expect:?}"),
        }
        serving.join().expect("the server");
    }

    #[test]
    fn handshakes() {
        check_handshake(|_| (), Ok(()));
        check_handshake(|tls| tls.ca = None, Err("is signed by itself and not among those that are trusted"));
        check_handshake(
            |tls| (tls.cert, tls.key) = (None, None),
            Err("closed the connection, probably because it rejected the client certificate"),
        );
    }
}
