//! The command line. Butler SOS's own flags work beside the commands; without a command the server runs.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand, ValueEnum, error::ErrorKind};

use butler_sos_settings::secret::Secret;

use crate::{config::butler::LogLevel, exit};
use butler_sos_domain::streams::Stream;
use clap::builder::PossibleValuesParser;

/// User activity and audit events of Qlik Sense, stored as evidence.
#[derive(Clone, Debug, Parser)]
#[command(name = "butler-sos", version, disable_version_flag = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub settings: Settings,
    /// Print the version and exit.
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    command: Option<Command>,
}

impl Cli {
    /// The command. The default is `run`.
    pub fn task(&self) -> Command {
        self.command.clone().unwrap_or(Command::Run)
    }

    /// Reads the command line. The error is printed by [`usage_exit`].
    pub fn read(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(join_switch(arguments.into_iter().map(Into::into)))?;
        cli.settings.verify()?;
        Ok(cli)
    }
}

/// Butler SOS's documentation writes `--skip-config-verification true`; here a command may follow the bare switch.
fn join_switch(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let switch = "--skip-config-verification";
    let mut joined: Vec<OsString> = Vec::new();
    for argument in arguments {
        match joined.last_mut() {
            Some(last) if *last == *switch && (argument == "true" || argument == "false") => {
                last.push("=");
                last.push(argument);
            }
            _ => joined.push(argument),
        }
    }
    joined
}

/// Prints what clap has to say, help included, and gives the exit code for it.
pub fn usage_exit(error: &clap::Error) -> u8 {
    // Nothing can be done when standard output is gone.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => exit::OK,
        _ => exit::USAGE,
    }
}

/// Where settings come from; these flags work with every command.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// Configuration file, YAML. Several may be given: later ones win.
    #[arg(short = 'c', long = "configfile", value_name = "FILE", global = true)]
    pub config_files: Vec<PathBuf>,
    /// Log level: error, warn, info, verbose, debug or silly.
    #[arg(short = 'l', long = "loglevel", value_name = "LEVEL", global = true, value_parser = parse_level, ignore_case = true)]
    pub log_level: Option<LogLevel>,
    /// A setting by its path, such as `Pipeline.journal.directory=/var/lib/butler-sos`.
    #[arg(long = "set", value_name = "PATH=VALUE", global = true, value_parser = parse_set)]
    pub set: Vec<(String, String)>,
    /// Start despite unknown keys and contradicting settings; they become warnings.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, hide_possible_values = true, action = clap::ArgAction::Set)]
    pub skip_config_verification: bool,
    /// Name of a New Relic account; may be given several times, together with the next two.
    #[arg(long, value_name = "NAME", num_args = 1.., global = true)]
    pub new_relic_account_name: Vec<String>,
    /// Insert key of that account.
    #[arg(long, value_name = "KEY", num_args = 1.., global = true, value_parser = parse_secret)]
    pub new_relic_api_key: Vec<Secret>,
    /// Id of that account.
    #[arg(long, value_name = "ID", num_args = 1.., global = true)]
    pub new_relic_account_id: Vec<String>,
}

impl Settings {
    fn verify(&self) -> Result<(), clap::Error> {
        let names = self.new_relic_account_name.len();
        if self.new_relic_api_key.len() != names || self.new_relic_account_id.len() != names {
            let detail = "each New Relic account needs --new-relic-account-name, --new-relic-api-key and --new-relic-account-id\n";
            return Err(clap::Error::raw(ErrorKind::WrongNumberOfValues, detail));
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the server (the default).
    Run,
    /// Check the configuration and report all mistakes.
    Check(Check),
    /// Print the effective configuration without secrets, with the origin of each value.
    PrintConfig,
    /// Send sample events to a running server.
    SendSample(SendSample),
    /// Print the log appenders that make a Qlik Sense proxy send its user events here.
    PrintLog4net(PrintLog4net),
    /// Show the status of a running server: problems with advice, intakes, destinations, journal.
    Status(Status),
    /// Show a running server live on one screen: pipeline, problems, latest events.
    Top(Top),
    /// Follow the events of a running server, one line each.
    Tail(Tail),
    /// List, retry or drop dead letters (events that a destination rejected).
    Dlq(Dlq),
    /// Deliver events that the journal still holds to a destination again.
    Replay(Replay),
    /// Print the pseudonym of a user, under the configured key (`Pipeline.privacy.pseudonymise`).
    Pseudonym(Pseudonym),
    /// Print a shell completion script.
    Completions(Completions),
    /// Print the manual page, as roff.
    Man,
}

/// Which server, and how to speak with it; else as the configuration says.
#[derive(Clone, Debug, Default, Args)]
pub struct ServerArguments {
    /// Address of the operations API, such as `http://127.0.0.1:9842`. The default is `Pipeline.operations`.
    #[arg(long, value_name = "URL", global = true)]
    pub server: Option<String>,
    /// The token. Other users can see it in the process list; prefer --token-file. The configured
    /// token is sent to the configured server only.
    #[arg(long, value_name = "TOKEN", global = true, value_parser = parse_header_secret)]
    pub token: Option<Secret>,
    /// A file that contains the token.
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Do not verify the server's certificate (with https).
    #[arg(long, global = true)]
    pub insecure: bool,
    /// Allow sending the token to another machine over http, in clear text.
    #[arg(long, global = true)]
    pub insecure_http: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub server: ServerArguments,
    /// Print `/api/state` as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Top {
    #[command(flatten)]
    pub server: ServerArguments,
    /// Filter for events: `user:anna app:sales type:session` and words, as for the key `/`.
    #[arg(long, value_name = "FILTER", default_value = "")]
    pub filter: String,
}

#[derive(Clone, Debug, Args)]
pub struct Tail {
    #[command(flatten)]
    pub server: ServerArguments,
    /// Only events of this stream.
    #[arg(long, value_parser = PossibleValuesParser::new(Stream::of_events().map(Stream::name)))]
    pub stream: Option<String>,
    /// Part of a user's directory, id or both (`DIRECTORY\\id`).
    #[arg(long, default_value = "")]
    pub user: String,
    /// Part of an app's name or id.
    #[arg(long, default_value = "")]
    pub app: String,
    /// Part of an event's type or command.
    #[arg(long = "type", value_name = "TYPE", default_value = "")]
    pub event_type: String,
    /// One JSON object per line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Dlq {
    #[command(flatten)]
    pub server: ServerArguments,
    #[command(subcommand)]
    pub task: DlqTask,
}

#[derive(Clone, Debug, Subcommand)]
pub enum DlqTask {
    /// List dead letters, newest first.
    List(DlqList),
    /// Show one dead letter.
    Show(DlqShow),
    /// Deliver again, only to the destination that rejected the event.
    Retry(DlqSome),
    /// Delete permanently.
    Drop(DlqSome),
}

#[derive(Clone, Debug, Args)]
pub struct DlqList {
    /// Only of this destination.
    #[arg(long, value_name = "DESTINATION")]
    pub destination: Option<String>,
    /// Maximum number.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub limit: u16,
    /// One JSON object per line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct DlqShow {
    /// The id, as `dlq list` shows it.
    pub id: String,
    /// As JSON, with the stored record in hex.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct DlqSome {
    /// The id, as `dlq list` shows it.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub id: Option<String>,
    /// All dead letters.
    #[arg(long)]
    pub all: bool,
    /// With `--all`: only of this destination.
    #[arg(long, value_name = "DESTINATION", requires = "all")]
    pub destination: Option<String>,
    /// One JSON object per line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    pub server: ServerArguments,
    /// The destination, as `butler-sos status` names it.
    #[arg(long, value_name = "DESTINATION")]
    pub destination: String,
    /// Start of the period in which events were stored: RFC 3339 such as 2026-11-20T10:00:00Z, or Unix milliseconds.
    #[arg(long, value_name = "TIME")]
    pub from: String,
    /// End of the period. The default is now.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Print the result as a JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Default, Args)]
pub struct Check {
    /// Check only the settings, not certificates, ports or destinations.
    #[arg(long)]
    pub offline: bool,
}

#[derive(Clone, Debug, Args)]
pub struct SendSample {
    /// User events by UDP (the default when neither this nor the next two are given).
    #[arg(long)]
    pub user_events: bool,
    /// Audit events by HTTP: whole sessions of users.
    #[arg(long)]
    pub audit: bool,
    /// Audit events that name screenshots; with `--audit` among the others.
    #[arg(long)]
    pub screenshots: bool,
    /// Target address. The default is the address in the configuration.
    #[arg(long, value_name = "HOST:PORT")]
    pub to: Option<String>,
    /// Events per second; 0: as fast as possible.
    #[arg(long, default_value_t = 10.0, value_parser = parse_rate)]
    pub rate: f64,
    /// Number of events. The default is to send until interrupted.
    #[arg(long)]
    pub count: Option<u64>,
    /// Layout of user events.
    #[arg(long, value_enum, default_value_t = Layout::Mixed)]
    pub layout: Layout,
    /// Bearer token of the audit API. The default, for the configured address, is the configured token.
    #[arg(long, value_parser = parse_secret)]
    pub token: Option<Secret>,
    /// A file that contains the token.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Audit events over HTTPS.
    #[arg(long)]
    pub https: bool,
    /// Do not verify the server's certificate.
    #[arg(long)]
    pub insecure: bool,
    /// Allow sending the token to another machine over http, in clear text.
    #[arg(long)]
    pub insecure_http: bool,
    /// What the screenshot URLs that are sent begin with, and their query if it has one; else the first of the
    /// configuration's `allowedImageDownloadHosts`.
    #[arg(long, value_name = "URL")]
    pub screenshot_url: Option<String>,
    /// Address to send from.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub from: Option<SocketAddr>,
}

#[derive(Clone, Debug, Args)]
pub struct Pseudonym {
    /// `DIRECTORY\id`, or as Qlik Sense writes it: `UserDirectory=DIRECTORY; UserId=id`.
    pub user: String,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Completions {
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Shells that can be given completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Clone, Debug, Args)]
pub struct PrintLog4net {
    /// This server, as the proxy reaches it: a name, IPv4 or IPv6.
    #[arg(long, value_parser = parse_host)]
    pub host: String,
    /// Its port for user events; else the one in the configuration.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// What the proxy sends of each event.
    #[arg(long, value_enum, default_value_t = ProxyLayout::Eight)]
    pub layout: ProxyLayout,
}

/// Layouts that a proxy can be told to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxyLayout {
    /// Eight fields, user and command among them (recommended).
    Eight,
    /// Five fields; user and command are read from the message.
    Five,
}

/// Layouts of user-event datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// All of them in turn.
    Mixed,
    /// `qseow-proxy-session` and `qseow-proxy-connection`.
    Eight,
    /// `proxy-user-event`.
    Five,
}

fn parse_level(text: &str) -> Result<LogLevel, String> {
    use LogLevel::{Debug, Error, Info, Silly, Verbose, Warn};
    [Error, Warn, Info, Verbose, Debug, Silly]
        .into_iter()
        .find(|level| level.name().eq_ignore_ascii_case(text.trim()))
        .ok_or_else(|| format!("one of {}", LogLevel::NAMES.join(", ")))
}

fn parse_set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) if !path.trim().is_empty() => Ok((path.trim().to_owned(), value.to_owned())),
        _ => Err("expected PATH=VALUE".into()),
    }
}

// clap asks for this shape of function.
#[allow(clippy::unnecessary_wraps)]
fn parse_secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text))
}

/// A token that can be sent; what is wrong with it is told without it.
fn parse_header_secret(text: &str) -> Result<Secret, String> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret::new(text))
    } else {
        Err("a token is printable ASCII without blanks".into())
    }
}

/// A name in the domain name system has at most so many characters.
const HOST_CHARS_MAX: usize = 253;

/// A name or an address that log4net resolves.
///
/// # Errors
/// What would be right.
pub fn parse_host(text: &str) -> Result<String, String> {
    let host = text.trim().trim_start_matches('[').trim_end_matches(']');
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
    };
    let name = host.len() <= HOST_CHARS_MAX && host.trim_end_matches('.').split('.').all(label);
    if host.parse::<IpAddr>().is_ok() || name {
        Ok(host.to_owned())
    } else {
        Err("a host name, an IPv4 or an IPv6 address, without port".into())
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|rate| rate.is_finite() && *rate >= 0.0)
        .ok_or_else(|| "a number from 0".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, u8> {
        Cli::read(line.split(' ')).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => exit::OK,
            _ => exit::USAGE,
        })
    }

    #[test]
    fn the_declaration_holds_together() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn butler_sos_flags_work_with_and_without_a_command() {
        let cli = read("butler-sos -c a.yaml --configfile b.yaml -l silly").expect("flags");
        assert!(matches!(cli.task(), Command::Run));
        assert_eq!(cli.settings.config_files, [PathBuf::from("a.yaml"), PathBuf::from("b.yaml")]);
        assert_eq!(cli.settings.log_level, Some(LogLevel::Silly));
        let cli = read("butler-sos run -c a.yaml --skip-config-verification").expect("flags");
        assert!(cli.settings.skip_config_verification);
        let cli =
            read("butler-sos --skip-config-verification true -c a.yaml check --offline").expect("flags");
        assert!(cli.settings.skip_config_verification);
        assert!(matches!(cli.task(), Command::Check(Check { offline: true })));
        let cli = read("butler-sos --skip-config-verification check").expect("flags");
        assert!(cli.settings.skip_config_verification);
        assert!(matches!(cli.task(), Command::Check(Check { offline: false })));
        let cli = read(
            "butler-sos --new-relic-account-name a b --new-relic-api-key k1 k2 --new-relic-account-id 1 2",
        )
        .expect("accounts");
        assert_eq!(cli.settings.new_relic_account_name, ["a", "b"]);
        assert!(!format!("{cli:?}").contains("k1"));
    }

    #[test]
    fn a_server_can_be_named_before_and_after_the_task() {
        for line in ["butler-sos dlq --server http://h list", "butler-sos dlq list --server http://h"] {
            let Command::Dlq(dlq) = read(line).expect("flags").task() else { panic!("{line}") };
            assert_eq!(dlq.server.server.as_deref(), Some("http://h"), "{line}");
        }
        let cli = read("butler-sos status --token hunter2").expect("flags");
        assert!(!format!("{cli:?}").contains("hunter2"));
    }

    #[test]
    fn usage_errors_are_told_apart() {
        assert_eq!(read("butler-sos --help").err(), Some(exit::OK));
        assert_eq!(read("butler-sos -V").err(), Some(exit::OK));
        assert_eq!(read("butler-sos frobnicate").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos -l loud").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos --set nothing").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos --new-relic-account-name a").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos send-sample --rate -1").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos print-log4net").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos tail --stream screenshots").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos dlq").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos dlq retry").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos dlq retry --json").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos dlq drop 1-0 --all").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos dlq drop --destination influx_sink").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos dlq drop --all --destination influx_sink").err(), None);
        assert_eq!(read("butler-sos dlq list --limit 0").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos replay --destination influx_sink").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos status --token a --token-file b").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos print-log4net --host a<b").err(), Some(exit::USAGE));
        assert_eq!(read("butler-sos print-log4net --host a --port 0").err(), Some(exit::USAGE));
    }
}
