//! `Pipeline.udp`.

use butler_sos_settings::section;

section! {
    /// The UDP socket.
    pub struct UdpLimits {
        /// The receive buffer in the kernel. If the kernel grants less, a warning names the sysctl.
        "receiveBufferBytes" => receive_buffer_bytes: u64 = bytes("8 MiB", 4_096..=1_073_741_824);
        /// Microseconds between two reads of the socket while at least two datagrams arrive in that time. A longer
        /// pause saves processor time, a shorter one reduces latency. The server shortens it if the receive buffer is
        /// small.
        "napMicros" => nap_micros: u64 = int(5_000, 0..=100_000);
        /// The encoding of datagrams that are not UTF-8: the Windows code page of the proxies (`windows-1250` Central
        /// Europe, `windows-1251` Cyrillic, `windows-932` Japan, …), for appenders without `<encoding value="utf-8"/>`.
        /// `none`: each broken part becomes U+FFFD, as in Butler SOS.
        "fallbackEncoding" => fallback_encoding: String = text("windows-1252");
        /// Seconds between two resolutions of the names in `allowedSources`.
        "sourceRefreshSeconds" => source_refresh_seconds: u64 = int(300, 1..=86_400);
    }
}
