use std::process::ExitCode;

use butler_sos::cli::{self, Cli, Command};
use butler_sos::config::{self, Config};
use butler_sos::{check, exit, print_log4net, run, send_sample};

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return cli::usage_exit(&error).into(),
    };
    let loaded = match config::load(&cli.settings) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return exit::CONFIG.into();
        }
    };
    match cli.task() {
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
    }
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
