//! The commands that look at a running server, and do something about what they see.
//!
//! | command | file | asks |
//! |---|---|---|
//! | `status` | [`status`] | `/api/state` |
//! | `top` | [`top`] | `/api/live`, `/api/events` |
//! | `tail` | [`tail`] | `/api/tail` |
//! | `dlq list\|show\|retry\|drop` | [`dlq`] | `/api/dead-letters…` |
//! | `replay` | [`replay`] | `/api/replay`, and `/api/state` for how it goes ([`job`]) |
//!
//! All speak with the operations API through [`client`]. What they print is made by pure functions; text from outside
//! reaches a terminal escaped. Results go to standard output, notes and progress to standard error. Exit codes:
//! 0, 64 for what cannot be asked so, 69 when the server does not answer or does not do it.

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

/// Why a command ends without having done what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Client(#[from] client_error::ClientError),
    /// The server answered, and what was wanted did not happen.
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
            // Who reads has seen enough, as in `… | head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
            Self::Output(_) => exit::UNAVAILABLE,
        }
    }
}

/// The server that a command is about; `None` for a command that is about none.
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

/// Does what `command` asks of the server at `of`; the exit code.
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

/// Writes to standard output, at once.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A line on standard error. Nothing can be done when it is gone.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", crate::logging::line::escaped(text));
}
