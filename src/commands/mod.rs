//! The commands that read the state of a running server, and change it.
//!
//! | command | file | endpoint |
//! |---|---|---|
//! | `status` | [`status`] | `/api/state` |
//! | `top` | [`top`] | `/api/live`, `/api/events` |
//! | `tail` | [`tail`] | `/api/tail` |
//! | `dlq list\|show\|retry\|drop` | [`dlq`] | `/api/dead-letters…` |
//! | `replay` | [`replay`] | `/api/replay`, and `/api/state` for how it goes ([`job`]) |
//!
//! All use the operations API through [`client`]. Pure functions format their output; foreign text is escaped
//! for the terminal. Results go to standard output, notes and progress to standard error. Exit codes: 0, 64
//! for invalid arguments, 69 when the server does not answer or does not execute the order.

use std::io::{self, Write};

use crate::cli::{Command, ServerArguments};
use crate::config::pipeline::operations::Operations;
use crate::exit;

pub mod address;
pub mod client;
pub mod client_error;
pub mod dlq;
pub mod job;
pub mod replay;
pub mod sse_reader;
pub mod status;
pub mod table;
pub mod tail;
pub mod text;
pub mod token;
pub mod top;

use client::Server;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Client(#[from] client_error::ClientError),
    /// The server answered, but the result is not the wanted one.
    #[error("{0}")]
    NotDone(String),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl CommandError {
    fn exit(&self) -> u8 {
        match self {
            Self::Usage(_) => exit::USAGE,
            Self::Client(error) => error.exit(),
            Self::NotDone(_) => exit::UNAVAILABLE,
            // The reader has closed the pipe, as in `… | head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
            Self::Output(_) => exit::UNAVAILABLE,
        }
    }
}

/// The server of a command; `None` for a command without one.
#[must_use]
pub fn server_of(command: &Command) -> Option<&ServerArguments> {
    match command {
        Command::Status(arguments) => Some(&arguments.server),
        Command::Top(arguments) => Some(&arguments.server),
        Command::Tail(arguments) => Some(&arguments.server),
        Command::Dlq(arguments) => Some(&arguments.server),
        Command::Replay(arguments) => Some(&arguments.server),
        Command::Run
        | Command::Check(_)
        | Command::PrintConfig
        | Command::SendSample(_)
        | Command::PrintLog4net(_)
        | Command::Pseudonym(_)
        | Command::Completions(_)
        | Command::Man => None,
    }
}

/// Runs `command` on the server at `of`. Returns the exit code.
pub fn run(command: &Command, of: &ServerArguments, configured: Option<&Operations>) -> u8 {
    let done = actix_rt::System::new().block_on(async {
        let server = Server::new(of, configured)?;
        match command {
            Command::Status(arguments) => status::run(&server, arguments.json).await,
            Command::Top(arguments) => top::run(&server, arguments).await,
            Command::Tail(arguments) => tail::run(&server, arguments).await,
            Command::Dlq(arguments) => dlq::run(&server, &arguments.task).await,
            Command::Replay(arguments) => replay::run(&server, arguments).await,
            _ => Ok(()),
        }
    });
    match done {
        Ok(()) => exit::OK,
        Err(error) => {
            let code = error.exit();
            if code != exit::OK {
                note(&error.to_string());
            }
            code
        }
    }
}

/// Writes to standard output and flushes.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line to standard error. Errors are ignored.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", crate::logging::line::escaped(text));
}
