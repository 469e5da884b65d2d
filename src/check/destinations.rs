//! Destinations and Qlik Sense: reachability and login.
//!
//! All are probed at once, each for at most a few seconds. Nothing is stored: a write to InfluxDB has no
//! lines, one to New Relic no events.

use super::report::{CheckResult, Verdict};
use crate::{
    config::{Config, butler::screenshots::AuthMode},
    topology::{
        destinations::{
            self,
            probe::{Answered, Probe, server, shake_hands},
        },
        settings,
    },
};

/// Probes everything that the server would connect to.
pub async fn results(config: &Config) -> Vec<CheckResult> {
    let of_destinations = destinations::all().flat_map(|entry| (entry.probes)(config));
    let asked: Vec<_> = of_destinations
        .chain(qlik(config))
        .map(|probe| (probe.setting, actix_rt::spawn(probe.answer)))
        .collect();
    let mut found = Vec::new();
    for (setting, task) in asked {
        let results = match task.await {
            Ok(Ok(Answered { fine, warnings })) => {
                let warnings = warnings.into_iter().map(|detail| (Verdict::Warning, detail));
                [(Verdict::Fine, fine)].into_iter().chain(warnings).collect()
            }
            Ok(Err(detail)) => vec![(Verdict::Unavailable, detail)],
            Err(error) => vec![(Verdict::Unavailable, format!("the check failed: {error}"))],
        };
        found.extend(results.into_iter().map(|(verdict, detail)| CheckResult::new(verdict, setting, detail)));
    }
    found
}

/// The repository service and the proxy service, if they are used.
fn qlik(config: &Config) -> Vec<Probe> {
    let butler = &config.butler_sos;
    let mut probes = Vec::new();
    if butler.app_names.enable {
        let host = butler.app_names.host_ip.clone().unwrap_or_default();
        let qrs = server(&host, config.pipeline.app_directory.port, None);
        probes.push(Probe::plain("Butler-SOS.appNames.hostIP", shake_hands(qrs, settings::qlik_tls(config))));
    }
    let shots = &butler.audit_events.destination.screenshots;
    if butler.audit_events.enable && shots.enable && shots.auth.mode != AuthMode::None {
        let host = shots.auth.qps.host.clone().unwrap_or_default();
        let mut resolve = config.pipeline.screenshots.resolve.iter();
        let address = resolve.find(|(name, _)| name.eq_ignore_ascii_case(&host));
        let address = address.and_then(|(_, address)| address.parse().ok());
        let qps = server(&host, shots.auth.qps.port, address);
        let setting = "Butler-SOS.auditEvents.destination.screenshots.auth.qps.host";
        probes.push(Probe::plain(setting, shake_hands(qps, settings::qlik_tls(config))));
    }
    probes
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{IpAddr, TcpListener},
    };

    use butler_sos_actors::net::tls::{ClientTls, Trust};
    use openssl::ssl::{SslAcceptor, SslMethod, SslVerifyMode};
    use secrecy::ExposeSecret;

    use super::*;
    use crate::check::test_files::CertificateFiles;

    /// A port without a listener.
    fn free_port() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    }

    #[actix_rt::test]
    async fn endpoints_that_do_not_answer_are_named() {
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

    /// A server that requires a client certificate, probed once.
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
            // Waits until the client disconnects.
            if let Ok(mut stream) = acceptor.accept(stream) {
                let _ = stream.read(&mut [0; 1]);
            }
        });

        let mut tls = own.clone();
        change(&mut tls);
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        let outcome = server("localhost", port, address).shake_hands(&tls).map_err(|error| error.detail);
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
        check_handshake(
            |tls| tls.trust = Trust::System,
            Err("is signed by itself and not among those that are trusted"),
        );
        check_handshake(
            |tls| (tls.cert, tls.key) = (None, None),
            Err("closed the connection, probably because it rejected the client certificate"),
        );
    }
}
