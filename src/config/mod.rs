//! Configuration: `Butler-SOS:` as Butler SOS 15 knows it, and `Pipeline:`, which is ours.
//!
//! Layers, later ones win: built-in defaults, files, environment, command line. Only this module reads files or the
//! environment for settings; everything else gets its typed section.

pub mod butler;
pub mod coerce;
pub mod pipeline;
pub mod schema;
pub mod secret;

use self::{butler::ButlerSos, pipeline::Pipeline, schema::section};

section! {
    /// The whole configuration.
    pub struct Config {
        /// The keys of Butler SOS 15.
        "Butler-SOS" => butler_sos: ButlerSos = group::<ButlerSos>();
        /// The keys of this server alone.
        "Pipeline" => pipeline: Pipeline = group::<Pipeline>();
    }
}

impl Config {
    /// Downloads of screenshots at a time.
    pub fn screenshot_concurrency(&self) -> usize {
        self.pipeline.actors.redirect_walker.concurrency.unwrap_or(self.pipeline.screenshots.concurrency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_build() {
        let config = Config::default();
        assert_eq!(config.butler_sos.user_events.udp_server.message_queue.max_size, 100_000);
        assert_eq!(config.pipeline.journal.bytes_max, 4 << 30);
        assert_eq!(config.pipeline.screenshots.give_up_after_seconds, 86_400);
    }
}
