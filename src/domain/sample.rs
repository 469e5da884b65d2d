//! Believable user events for trying the server out: many users, apps and browsers, every
//! command, every layout. The same number always gives the same datagram.

/// Which of the accepted layouts samples have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Mostly eight fields, sometimes five.
    Mixed,
    /// `qseow-proxy-session` and `qseow-proxy-connection`.
    Eight,
    /// `proxy-user-event`.
    Five,
}

/// The `n`-th sample datagram, marked so that samples are never taken for evidence: the host
/// is `sample-…` and the user directory `SAMPLE`.
#[must_use]
pub fn datagram(n: u64, layout: Layout) -> String {
    let mut rng = SeededRng(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D);
    let host = format!("sample-{}", 1 + rng.below(4));
    let user = format!("{}.{}", rng.pick(FIRST_NAMES), rng.pick(LAST_NAMES));
    let app = 1 + rng.below(40);
    let app = format!("5a3c0000-0000-4000-8000-{app:012x}");
    let browser = rng.pick(USER_AGENTS);
    let (kind, command, log4net) = match rng.below(10) {
        0 | 1 => ("session", "Start session", "Start session"),
        2 => ("session", "Stop session", "Stop session"),
        3..=6 => ("connection", "Open connection", "Opening connection"),
        _ => ("connection", "Close connection", "Closing connection"),
    };
    let context = match (kind, rng.below(8)) {
        ("session", 0) => "/hub".to_owned(),
        (_, 1) => format!("app/{app}"),
        _ => format!("/app/{app}?reloaduri=https%3A%2F%2F{host}%2Fsense%2Fapp%2F{app}"),
    };
    let five = rng.below(5) == 0;
    if layout == Layout::Five || (layout == Layout::Mixed && five) {
        return format!(
            "/proxy-user-event/;{host};Session.Proxy;{context};{log4net} for user 'SAMPLE\\{user}' UserAgent: '{browser}'"
        );
    }
    format!(
        "/qseow-proxy-{kind}/;{host};{command};SAMPLE;{user};AppAccess;{context};{command} for user 'SAMPLE\\{user}'. UserAgent: '{browser}'"
    )
}

/// A small generator of pseudo-random numbers (SplitMix64): samples need no better.
struct SeededRng(u64);

impl SeededRng {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        let at = self.below(among.len() as u64);
        usize::try_from(at).ok().and_then(|at| among.get(at)).copied().unwrap_or_default()
    }
}

const FIRST_NAMES: &[&str] = &[
    "anna", "bjorn", "carla", "david", "elin", "farid", "greta", "hugo", "ines", "johan", "karin", "luis",
    "maja", "nils", "olga", "per", "rosa", "sven", "tove", "umar",
];
const LAST_NAMES: &[&str] =
    &["berg", "costa", "dahl", "ek", "falk", "gomez", "holm", "ivanova", "jensen", "klein"];
const USER_AGENTS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.2903.86",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::datagram::parse;
    use crate::fallback_encoding::FallbackEncoding;

    #[test]
    fn every_sample_is_a_user_event_with_a_user() {
        let mut commands = BTreeSet::new();
        let mut users = BTreeSet::new();
        for n in 0..2_000 {
            let datagram = datagram(n, Layout::Mixed);
            let parsed = parse(datagram.as_bytes(), n, FallbackEncoding::NONE)
                .unwrap_or_else(|why| panic!("{datagram}: {why:?}"));
            assert!(parsed.event.host.starts_with("sample-"));
            assert_eq!(parsed.event.user_directory.as_deref(), Some("SAMPLE"));
            commands.insert(parsed.event.command.into_owned());
            users.insert(parsed.event.user_id.map(|id| id.into_owned()));
        }
        assert_eq!(commands.len(), 4);
        assert!(users.len() > 100);
    }
}
