//! `Pipeline.audit`.

use butler_sos_settings::section;

section! {
    /// The audit API.
    pub struct AuditHttpLimits {
        /// Maximum body size; beyond it the API returns 413.
        "bodyBytesMax" => body_bytes_max: u64 = bytes("1 MiB", 1_024..=67_108_864);
        /// Addresses or networks of reverse proxies whose `X-Forwarded-For` is trusted.
        "trustedProxies" => trusted_proxies: Vec<String> = list_of_text();
        /// Number of recent events that are remembered to store a resent event once and to mark another event with the
        /// same ids. 0: none.
        "deduplicateEntriesMax" => deduplicate_entries_max: usize = int(100_000, 0..=10_000_000);
        /// Maximum total size of bodies above 16 KiB in progress; beyond it requests wait, then the API returns 503.
        "largeBodiesBytesMax" => large_bodies_bytes_max: u64 = bytes("64 MiB", 65_536..=17_179_869_184);
        /// Maximum size of request line and headers; beyond it the API returns 431. At most 96 headers are allowed.
        "headerBytesMax" => header_bytes_max: u64 = bytes("32 KiB", 1_024..=98_304);
        /// Maximum number of open connections. Beyond it, a new connection evicts the least active one. The limit of
        /// open files, less a reserve, also applies.
        "connectionsMax" => connections_max: usize = int(4_096, 1..=1_000_000);
        /// Maximum number of open connections of one client address; trusted proxies can have more.
        "connectionsPerAddressMax" => connections_per_address_max: usize = int(1_024, 1..=1_000_000);
        /// Number of client addresses whose rate is tracked.
        "rateLimitEntriesMax" => rate_limit_entries_max: usize = int(65_536, 1..=10_000_000);
        /// Prefix length that identifies an IPv6 client, for rates and connections: a client usually has a whole
        /// network of 64 bits.
        "rateLimitIpv6Prefix" => rate_limit_ipv6_prefix: u8 = int(64, 32..=128);
        /// Time limit for request line and headers in seconds.
        "headerTimeoutSeconds" => header_timeout_seconds: u64 = int(10, 1..=3_600);
        /// Time limit for the body in seconds.
        "bodyTimeoutSeconds" => body_timeout_seconds: u64 = int(30, 1..=3_600);
        /// Time limit for reading the response in seconds.
        "answerTimeoutSeconds" => answer_timeout_seconds: u64 = int(30, 1..=3_600);
        /// Seconds that an idle connection is kept.
        "keepAliveSeconds" => keep_alive_seconds: u64 = int(75, 0..=3_600);
    }
}
