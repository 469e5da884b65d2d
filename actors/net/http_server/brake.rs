//! Delays the answers to wrong tokens, so that guessing is slow. Correct tokens are never delayed.
//!
//! A connection whose answer is delayed can be evicted by a new one, and the number of delayed answers is
//! limited: beyond it the answer is sent at once, and its connection ends.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use butler_sos_domain::client_network::network_of;
use butler_sos_domain::guesses::Guesses;
use tokio::sync::Semaphore;

use super::connection_limiter::ConnectionSlot;
use crate::kit::lock::lock;

/// The maximum number of clients with a recorded wrong token.
const CLIENTS_MAX: usize = 4_096;

/// The maximum number of delayed answers.
const WAITING_MAX: usize = 64;

pub struct Brake {
    guesses: Mutex<Guesses<IpAddr>>,
    ipv6_prefix: u8,
    places: Semaphore,
    since: Instant,
}

// === impl Brake ===

impl Brake {
    /// For a server with this connection limit.
    #[must_use]
    pub fn new(ipv6_prefix: u8, connections_max: usize) -> Self {
        Self {
            guesses: Mutex::new(Guesses::new(CLIENTS_MAX)),
            ipv6_prefix,
            places: Semaphore::new((connections_max / 4).clamp(1, WAITING_MAX)),
            since: Instant::now(),
        }
    }

    /// Delays the answer to this wrong token. Returns false when too many answers are delayed already: the
    /// connection must then end.
    pub async fn hold(&self, client: IpAddr, slot: Option<&ConnectionSlot>) -> bool {
        let now_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let client = network_of(client, self.ipv6_prefix);
        let delay_ms = lock(&self.guesses).count(client, now_ms);
        if delay_ms == 0 {
            return true;
        }
        let Ok(_place) = self.places.try_acquire() else { return false };
        slot.into_iter().for_each(ConnectionSlot::await_body);
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        slot.into_iter().for_each(ConnectionSlot::begin);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Poll;

    use futures_util::poll;

    const GUESSER: &str = "2001:db8::1";

    fn hold<'b>(brake: &'b Brake, address: &str) -> impl Future<Output = bool> + use<'b> {
        brake.hold(address.parse().expect("an address"), None)
    }

    async fn use_up_what_is_free(brake: &Brake) {
        for n in 0..10 {
            assert_eq!(poll!(pin!(hold(brake, &format!("2001:db8::{n}")))), Poll::Ready(true));
        }
    }

    #[actix_rt::test]
    async fn a_network_shares_one_delay_and_others_are_not_delayed() {
        let brake = Brake::new(64, 100);
        use_up_what_is_free(&brake).await;
        let mut guess = pin!(hold(&brake, GUESSER));
        assert_eq!(poll!(&mut guess), Poll::Pending);
        assert_eq!(poll!(pin!(hold(&brake, "2001:db8:0:1::1"))), Poll::Ready(true));
        assert!(guess.await);
    }

    #[actix_rt::test]
    async fn the_number_of_delayed_answers_is_limited() {
        let brake = Brake::new(64, 4);
        use_up_what_is_free(&brake).await;
        let mut guess = pin!(hold(&brake, GUESSER));
        assert_eq!(poll!(&mut guess), Poll::Pending);
        assert_eq!(poll!(pin!(hold(&brake, GUESSER))), Poll::Ready(false));
        assert!(guess.await);
        assert_eq!(poll!(pin!(hold(&brake, GUESSER))), Poll::Pending, "the place is free again");
    }
}
