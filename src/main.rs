use std::io::{self, Write};
use std::process::ExitCode;

use butler_sos::cli::{self, Cli, Command};
use butler_sos::config::{self, Config};
use butler_sos::{check, commands, exit, manual, print_log4net, run, send_sample};
use butler_sos_domain::pseudonym::{KEY_BYTES_MIN, Pseudonymizer};

/// A server runs for months with threads that come and go; the system's allocator keeps an arena for each of them, and
/// memory grows without a leak. Builds for tests keep it: it notices what is freed twice.
#[cfg(not(debug_assertions))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return cli::usage_exit(&error).into(),
    };
    let task = cli.task();
    if let Some(server) = commands::server_of(&task) {
        return ask(&task, server, &cli.settings);
    }
    // What is told of the command line itself needs no settings.
    match &task {
        Command::Completions(arguments) => return print(&manual::completions(arguments.shell)),
        Command::Man => {
            return match manual::page() {
                Ok(page) => print(&page),
                Err(error) => {
                    eprintln!("{error}");
                    exit::UNAVAILABLE.into()
                }
            };
        }
        _ => {}
    }
    let loaded = match config::load(&cli.settings) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return exit::CONFIG.into();
        }
    };
    match task {
        Command::Run => run::run(&loaded),
        Command::Check(arguments) => check::run(&loaded, arguments.offline).into(),
        Command::PrintConfig => {
            print!("{}", loaded.print());
            ExitCode::SUCCESS
        }
        Command::PrintLog4net(arguments) => {
            print!("{}", print_log4net::file(&arguments, &loaded.config));
            ExitCode::SUCCESS
        }
        Command::Pseudonym(arguments) => pseudonym(&arguments.user, &loaded.config),
        Command::SendSample(arguments) => send(&arguments, &loaded.config),
        // They were done above.
        Command::Status(_)
        | Command::Top(_)
        | Command::Tail(_)
        | Command::Dlq(_)
        | Command::Replay(_)
        | Command::Completions(_)
        | Command::Man => exit::USAGE.into(),
    }
}

/// Who reads may have seen enough, as in `… | head`: that is no failure.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("cannot write: {error}");
            exit::UNAVAILABLE.into()
        }
        _ => ExitCode::SUCCESS,
    }
}

/// A command that asks a running server. One that is told which needs no configuration: its secrets may not be
/// readable for everybody who may ask.
fn ask(command: &Command, server: &cli::ServerArguments, settings: &cli::Settings) -> ExitCode {
    let configured = match config::load(settings) {
        Ok(loaded) => Some(loaded.config.pipeline.operations),
        Err(_) if server.server.is_some() && settings.config_files.is_empty() => None,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return exit::CONFIG.into();
        }
    };
    commands::run(command, server, configured.as_ref()).into()
}

/// Also while nothing is replaced: whoever was replaced before has stayed so.
fn pseudonym(user: &str, config: &Config) -> ExitCode {
    let key = config.pipeline.privacy.pseudonymise.key.expose();
    if key.len() < KEY_BYTES_MIN {
        eprintln!("Pipeline.privacy.pseudonymise.key is not given");
        return exit::CONFIG.into();
    }
    print(&format!("{}\n", Pseudonymizer::new(key.as_bytes()).of_text(user)))
}

fn send(arguments: &cli::SendSample, config: &Config) -> ExitCode {
    match actix_rt::System::new().block_on(send_sample::run(arguments, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            exit::UNAVAILABLE.into()
        }
    }
}
