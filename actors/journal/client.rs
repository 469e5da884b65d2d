//! Repeats a request to the journal until it answers, because it may be restarting or its disk may be full.

use std::time::Duration;

use actix::Message;
use slog::{Logger, warn};

use crate::kit::mailbox::Mailbox;

/// The pause between two requests.
pub const PAUSE: Duration = Duration::from_millis(200);

/// Repeats the request until there is an answer. The log names the `destination`, if there is one.
pub async fn ask<M, T, E>(mailbox: &Mailbox<M>, question: M, log: &Logger, destination: Option<&str>) -> T
where
    M: Message<Result = Result<T, E>> + Clone + Send + 'static,
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    loop {
        let error = match mailbox.ask(question.clone()).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => error.to_string(),
            Err(gone) => gone.to_string(),
        };
        match destination {
            Some(destination) => warn!(log, "the journal does not respond, will retry";
                "destination" => destination, "error" => error),
            None => warn!(log, "the journal does not respond, will retry"; "error" => error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
