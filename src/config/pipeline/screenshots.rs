//! `Pipeline.screenshots`: limits of downloads (screenshots contract).

use std::collections::BTreeMap;

use crate::config::schema::section;

section! {
    /// Downloads of screenshots.
    pub struct Screenshots {
        /// Hops of one walk.
        "redirectsMax" => redirects_max: u32 = int(5, 0..=50);
        /// Largest image.
        "bytesMax" => bytes_max: u64 = bytes("50 MiB", 1_024..=4_294_967_296);
        /// After how long a download that keeps failing is given up. Qlik's temporary content is gone after a
        /// day.
        "giveUpAfter" => give_up_after_seconds: u64 = seconds("24h", 0..=31_536_000);
        /// Downloads waiting for a later try.
        "retryEntriesMax" => retry_entries_max: usize = int(100_000, 1..=10_000_000);
        /// Downloads at a time. `Pipeline.actors.redirectWalker.concurrency` wins when it is given.
        "concurrency" => concurrency: usize = int(16, 1..=1_024);
        /// Downloads at a time from one host.
        "perHostConcurrency" => per_host_concurrency: usize = int(8, 1..=1_024);
        /// Addresses of hosts that the resolver does not know or knows otherwise: `name: address`.
        "resolve" => resolve: BTreeMap<String, String> = map_of_text();
    }
}
