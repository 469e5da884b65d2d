//! `butler-sos print-log4net`: the file that makes a Qlik Sense proxy send its user events here.
//!
//! The proxy logs by log4net and reads appenders of the administrator's own from
//! `C:\ProgramData\Qlik\Sense\Proxy\LocalLogConfig.xml`. Qlik Sense checks that file against a schema
//! (help.qlik.com, "Server logging: XML schema"), stricter than log4net itself: an appender holds filters, then
//! parameters as `<param name="…" value="…"/>`, then its layout; a layout holds converters, then parameters.
//!
//! What the conversion patterns make of an event is described in [`butler_sos_domain::datagram`]. The files in
//! `conf/log4net` are what [`file`] prints for [`EXAMPLE_HOST`]; a test keeps them so.

use crate::cli::{PrintLog4net, ProxyLayout};
use crate::config::Config;

/// The server of the files in `conf/log4net`.
pub const EXAMPLE_HOST: &str = "butler-sos.example.com";

/// Where a proxy sends to when nothing says otherwise.
const PORT_DEFAULT: u16 = 9997;

const FILE: &str = include_str!("print_log4net/file.xml");
const APPENDER: &str = include_str!("print_log4net/appender.xml");
const FILTER: &str = include_str!("print_log4net/filter.xml");
const CONVERTER: &str = include_str!("print_log4net/converter.xml");

/// One appender: which messages it takes, and what it sends of each.
struct Appender {
    name: &'static str,
    /// The kind of match, and each text or expression to match.
    matches: (&'static str, [&'static str; 2]),
    /// Names that the pattern uses and Qlik Sense's own converters fill.
    converters: &'static [(&'static str, &'static str)],
    pattern: &'static str,
}

/// What a layout needs of the proxy.
struct Wanted {
    logger: &'static str,
    appenders: &'static [Appender],
}

const HOSTNAME: (&str, &str) =
    ("hostname", "Qlik.Sense.Logging.log4net.Layout.Pattern.HostNamePatternConverter");

const EIGHT: Wanted = Wanted {
    logger: "AuditActivity.Proxy",
    appenders: &[
        Appender {
            name: "ButlerSosSession",
            matches: ("stringToMatch", ["Start session for user", "Stop session for user"]),
            converters: &[HOSTNAME],
            pattern: "/qseow-proxy-session/;%hostname;%property{Command};%property{UserDirectory};%property{UserId};%property{Origin};%property{Context};%message",
        },
        Appender {
            name: "ButlerSosConnection",
            matches: ("stringToMatch", ["connection Opened for session", "connection Closed for session"]),
            converters: &[HOSTNAME],
            pattern: "/qseow-proxy-connection/;%hostname;%property{Command};%property{UserDirectory};%property{UserId};%property{Origin};%property{Context};%message",
        },
    ],
};

const FIVE: Wanted = Wanted {
    logger: "Session.Proxy",
    appenders: &[Appender {
        name: "ButlerSosUserEvent",
        matches: ("regexToMatch", ["^(Start|Stop) session", "^(Opening|Closing) connection"]),
        converters: &[],
        pattern: "/proxy-user-event/;%property{hostname};%property{subsystem};%property{context};%message",
    }],
};

/// The whole file for the proxy.
#[must_use]
pub fn file(arguments: &PrintLog4net, config: &Config) -> String {
    let configured = config.butler_sos.user_events.udp_server.port;
    let port = arguments.port.unwrap_or(if configured == 0 { PORT_DEFAULT } else { configured });
    let wanted = match arguments.layout {
        ProxyLayout::Eight => &EIGHT,
        ProxyLayout::Five => &FIVE,
    };
    let appenders: String =
        wanted.appenders.iter().map(|appender| appender.xml(&arguments.host, port)).collect();
    let references: String = wanted
        .appenders
        .iter()
        .map(|appender| format!("    <appender-ref ref=\"{}\" />\n", escape(appender.name)))
        .collect();
    let (port, logger) = (port.to_string(), escape(wanted.logger));
    // No host in the comment: two hyphens in a row, as international names have, may not stand there.
    let values =
        [("port", &*port), ("logger", &logger), ("references", &references), ("appenders", &appenders)];
    fill(FILE, &values)
}

impl Appender {
    fn xml(&self, host: &str, port: u16) -> String {
        let (by, texts) = &self.matches;
        let filters: String =
            texts.iter().map(|text| fill(FILTER, &[("by", by), ("text", &escape(text))])).collect();
        let converters: String = self
            .converters
            .iter()
            .map(|(name, of_type)| fill(CONVERTER, &[("name", name), ("type", of_type)]))
            .collect();
        fill(
            APPENDER,
            &[
                ("name", self.name),
                ("filters", &filters),
                ("host", &escape(host)),
                ("port", &port.to_string()),
                ("converters", &converters),
                ("pattern", &escape(self.pattern)),
            ],
        )
    }
}

/// Puts each value in the place of `{{name}}`, or of the whole line when nothing else stands there: values of many
/// lines bring their own ends.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| {
        let place = format!("{{{{{name}}}}}");
        text.replace(&format!("{place}\n"), value).replace(&place, value)
    })
}

/// Text as the value of an attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
