use std::process::ExitCode;

use butler_sos::cli::{self, Cli, Command};
use butler_sos::config::{self, Config};
use butler_sos::{check, commands, exit, print_log4net, run, send_sample};

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return cli::usage_exit(&error).into(),
    };
    let task = cli.task();
    if let Some(server) = commands::server_of(&task) {
        return ask(&task, server, &cli.settings);
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
        Command::SendSample(arguments) => send(&arguments, &loaded.config),
        // They were done above.
        Command::Status(_) | Command::Top(_) | Command::Tail(_) | Command::Dlq(_) | Command::Replay(_) => {
            exit::USAGE.into()
        }
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

fn send(arguments: &cli::SendSample, config: &Config) -> ExitCode {
    match actix_rt::System::new().block_on(send_sample::run(arguments, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            exit::UNAVAILABLE.into()
        }
    }
}
