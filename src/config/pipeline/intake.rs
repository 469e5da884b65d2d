//! `Pipeline.udp`, `Pipeline.userParsing`, `Pipeline.audit`: limits of the two intakes.

use crate::config::schema::section;

section! {
    /// The UDP socket.
    pub struct Udp {
        /// The kernel's receive buffer. When the kernel gives less, a warning names the sysctl.
        "receiveBufferBytes" => receive_buffer_bytes: u64 = bytes("8 MiB", 4_096..=1_073_741_824);
        /// Microseconds between two looks at the socket as long as two datagrams and more come in that time: longer
        /// saves processor, shorter saves time. Shorter by itself where the receive buffer is small.
        "napMicros" => nap_micros: u64 = int(5_000, 0..=100_000);
        /// Seconds between two resolutions of the names in `allowedSources`.
        "sourceRefreshSeconds" => source_refresh_seconds: u64 = int(300, 1..=86_400);
    }
}

section! {
    /// Parsing of user events.
    pub struct UserParsing {
        /// User agents whose parts are remembered.
        "userAgentCacheEntriesMax" => user_agent_cache_entries_max: usize = int(4_096, 1..=1_000_000);
    }
}

section! {
    /// The audit API.
    pub struct AuditIntake {
        /// Largest body taken; beyond it the answer is 413.
        "bodyBytesMax" => body_bytes_max: u64 = bytes("1 MiB", 1_024..=67_108_864);
        /// Addresses or networks of reverse proxies whose `X-Forwarded-For` is believed.
        "trustedProxies" => trusted_proxies: Vec<String> = list_of_text();
        /// Recent events remembered, so that a client's retry is stored once, and another event with the same ids is
        /// marked; 0: none.
        "deduplicateEntriesMax" => deduplicate_entries_max: usize = int(100_000, 0..=10_000_000);
        /// Bytes of all bodies above 16 KiB that are being received; beyond it they wait, and then the answer is 503.
        "largeBodiesBytesMax" => large_bodies_bytes_max: u64 = bytes("64 MiB", 65_536..=17_179_869_184);
        /// Largest request line and headers, together; beyond it the answer is 431. More than 96 headers are always
        /// too many.
        "headerBytesMax" => header_bytes_max: u64 = bytes("32 KiB", 1_024..=98_304);
        /// Open connections. When they are taken, a new one takes the place of the one that has shown least. Never
        /// more than the process may open files, less a reserve.
        "connectionsMax" => connections_max: usize = int(4_096, 1..=1_000_000);
        /// Open connections of one client address; trusted proxies may have more.
        "connectionsPerAddressMax" => connections_per_address_max: usize = int(1_024, 1..=1_000_000);
        /// Client addresses whose rate is remembered.
        "rateLimitEntriesMax" => rate_limit_entries_max: usize = int(65_536, 1..=10_000_000);
        /// Seconds that a client has for its request line and headers.
        "headerTimeoutSeconds" => header_timeout_seconds: u64 = int(10, 1..=3_600);
        /// Seconds that a client has for its body.
        "bodyTimeoutSeconds" => body_timeout_seconds: u64 = int(30, 1..=3_600);
        /// Seconds that a client has to take its answer.
        "answerTimeoutSeconds" => answer_timeout_seconds: u64 = int(30, 1..=3_600);
        /// Seconds that an idle connection is kept.
        "keepAliveSeconds" => keep_alive_seconds: u64 = int(75, 0..=3_600);
    }
}
