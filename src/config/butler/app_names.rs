//! `Butler-SOS.appNames`: names of apps from QRS (user-events contract).

use butler_sos_settings::section;

section! {
    /// Names of apps, asked from QRS so that events carry more than an id.
    pub struct AppNames {
        /// Whether they are requested.
        "enableAppNameExtract" => enable: bool = no();
        /// Milliseconds between two requests.
        "extractInterval" => extract_interval: u64 = int(60_000, 100..=86_400_000);
        /// Host name or address of the Qlik Sense server.
        "hostIP" => host_ip: Option<String> = maybe_text();
    }
}
