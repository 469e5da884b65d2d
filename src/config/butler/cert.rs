//! `Butler-SOS.cert` and the part of `Butler-SOS.serversToMonitor` that says how Qlik's own certificates are checked.

use butler_sos_settings::{secret::Secret, section};

section! {
    /// Certificates exported from Qlik Sense, for QRS and QPS.
    pub struct Cert {
        /// Client certificate, PEM.
        "clientCert" => client_cert: Option<String> = maybe_text();
        /// Its key, PEM.
        "clientCertKey" => client_cert_key: Option<String> = maybe_text();
        /// The CA that signed the certificates of the servers, PEM.
        "clientCertCA" => client_cert_ca: Option<String> = maybe_text();
        /// The passphrase of the key, if it has one.
        "clientCertPassphrase" => client_cert_passphrase: Secret = secret();
    }
}

section! {
    /// Qlik Sense servers. Their health is not polled; what counts is whether certificates are verified.
    pub struct ServersToMonitor {
        /// Whether QRS and QPS must present a certificate signed by `cert.clientCertCA`.
        "rejectUnauthorized" => reject_unauthorized: bool = yes();
        ignored "pollingInterval";
        ignored "serverTagsDefinition";
        ignored "servers";
    }
}
