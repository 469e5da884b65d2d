//! Limits connections, and evicts one for a new one when all slots are taken.
//!
//! Each connection has a slot; slots are limited in total and per address. When all are taken, a new
//! connection gets the slot of the least active one: first those without a successful request, of these the
//! one that waits longest; then the one whose last successful answer is oldest. A request in progress keeps
//! its slot. So a flood of connections without requests evicts its own members, and rarely a client that
//! works: that keeps the service open to all clients during a flood. When one address is not at its limit,
//! the slot is taken from the address with the most connections.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use butler_sos_domain::client_network::network_of;
use futures_util::task::AtomicWaker;
use ipnet::IpNet;

use crate::kit::lock::lock;
use crate::kit::metric::ConnectionCounters;

/// The limits of connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    pub connections_max: usize,
    /// The limit of one address, unless it is in `many_behind`.
    pub per_address_max: usize,
    /// Proxies, whose addresses many clients share.
    pub many_behind: Vec<IpNet>,
    /// Addresses of one IPv6 network with this prefix length count as one.
    pub ipv6_prefix: u8,
}

/// All slots of a server.
pub struct ConnectionLimiter {
    limits: ConnectionLimits,
    taken: Mutex<Taken>,
    since: Instant,
    counted: ConnectionCounters,
}

#[derive(Default)]
struct Taken {
    count: usize,
    by_address: HashMap<IpAddr, AddressSlots>,
}

/// The slots of one address.
#[derive(Default)]
struct AddressSlots {
    count: usize,
    /// In the order in which they were taken or last checked. Some may be free already.
    line: VecDeque<Arc<ConnectionSlot>>,
}

/// The request head is incomplete or missing.
const WAITING: u8 = 0;
/// The head is complete, the body is not.
const BODY: u8 = 1;
/// A whole request is in progress.
const BUSY: u8 = 2;

/// The slot of one connection. It is freed when its [`SlotGuard`] is dropped.
pub struct ConnectionSlot {
    address: IpAddr,
    /// When the slot was taken, or a request on it was last successful: ms since the server began.
    shown_ms: AtomicU64,
    is_proven: AtomicBool,
    phase: AtomicU8,
    /// The number of answered requests.
    answered: AtomicU64,
    is_evicted: AtomicBool,
    is_given_back: AtomicBool,
    /// The task of the connection.
    pub(super) waker: AtomicWaker,
    began: Instant,
}

/// Holds a slot as long as the connection lasts.
pub struct SlotGuard {
    slot: Arc<ConnectionSlot>,
    limiter: Weak<ConnectionLimiter>,
}

// === impl ConnectionLimiter ===

impl ConnectionLimiter {
    pub fn new(limits: ConnectionLimits, counted: ConnectionCounters) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default(), since: Instant::now(), counted })
    }

    pub fn connections_max(&self) -> usize {
        self.limits.connections_max
    }

    /// The number of connections.
    pub fn count(&self) -> usize {
        self.taken().count
    }

    /// A slot for a connection from `address`; `None` when every slot that it could get has a request in
    /// progress.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<SlotGuard> {
        let canonical = address.to_canonical();
        let is_many = self.limits.many_behind.iter().any(|network| network.contains(&canonical));
        let address = network_of(address, self.limits.ipv6_prefix);
        let mut taken = self.taken();
        let own = taken.by_address.get(&address).map_or(0, |slots| slots.count);
        let from = if own >= self.limits.per_address_max && !is_many {
            Some(address)
        } else if taken.count >= self.limits.connections_max {
            taken.by_address.iter().max_by_key(|(_, slots)| slots.count).map(|(address, _)| *address)
        } else {
            None
        };
        if let Some(from) = from {
            let Some(slot) = taken.by_address.get_mut(&from).and_then(AddressSlots::least) else {
                self.counted.refused.inc();
                return None;
            };
            self.counted.evicted.inc();
            taken.give_back(&slot);
            slot.evict();
        }
        let now_ms = self.now_ms();
        let slot = Arc::new(ConnectionSlot {
            address,
            shown_ms: AtomicU64::new(now_ms),
            is_proven: AtomicBool::new(false),
            phase: AtomicU8::new(WAITING),
            answered: AtomicU64::new(0),
            is_evicted: AtomicBool::new(false),
            is_given_back: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            began: self.since,
        });
        taken.count += 1;
        let slots = taken.by_address.entry(address).or_default();
        slots.count += 1;
        slots.line.push_back(Arc::clone(&slot));
        Some(SlotGuard { slot, limiter: Arc::downgrade(self) })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        lock(&self.taken)
    }
}

impl Taken {
    /// Frees a slot once, either at the eviction or at the end of the connection.
    fn give_back(&mut self, slot: &ConnectionSlot) {
        if slot.is_given_back.swap(true, Ordering::Relaxed) {
            return;
        }
        self.count -= 1;
        let Some(slots) = self.by_address.get_mut(&slot.address) else { return };
        slots.count -= 1;
        if slots.count == 0 {
            self.by_address.remove(&slot.address);
        } else if slots.line.len() > 2 * slots.count + LINE_SLACK {
            slots.line.retain(|slot| !slot.is_given_back.load(Ordering::Relaxed));
        }
    }
}

/// Freed slots that a line may contain in addition to as many as there are taken ones.
const LINE_SLACK: usize = 32;

impl AddressSlots {
    /// The least active slot without a request in progress. Active ones go to the end of the line, so that
    /// the next search is short.
    fn least(&mut self) -> Option<Arc<ConnectionSlot>> {
        for _ in 0..self.line.len() {
            let slot = self.line.pop_front()?;
            if slot.is_given_back.load(Ordering::Relaxed) {
                continue;
            }
            if !slot.is_proven.load(Ordering::Relaxed) && !slot.is_busy() {
                return Some(slot);
            }
            self.line.push_back(slot);
        }
        let idle = self.line.iter().filter(|slot| !slot.is_busy());
        idle.min_by_key(|slot| slot.shown_ms.load(Ordering::Relaxed)).cloned()
    }
}

// === impl ConnectionSlot ===

impl ConnectionSlot {
    /// A request's head was read, and the request is in progress.
    pub fn begin(&self) {
        self.phase.store(BUSY, Ordering::Relaxed);
    }

    /// Its body is still to come.
    pub fn await_body(&self) {
        self.phase.store(BODY, Ordering::Relaxed);
    }

    /// A request is answered. `is_good`: the client is authorized.
    pub fn end(&self, is_good: bool) {
        if is_good {
            let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.is_proven.store(true, Ordering::Relaxed);
            self.shown_ms.store(now_ms, Ordering::Relaxed);
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.phase.store(WAITING, Ordering::Relaxed);
    }

    fn is_busy(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == BUSY
    }

    /// Whether the server waits for a request head.
    pub(super) fn is_waited_for(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == WAITING
    }

    /// The number of requests answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub fn is_evicted(&self) -> bool {
        self.is_evicted.load(Ordering::Acquire)
    }

    /// Ends the connection as soon as its task runs.
    pub fn evict(&self) {
        self.is_evicted.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl SlotGuard {
    pub fn slot(&self) -> &Arc<ConnectionSlot> {
        &self.slot
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if let Some(limiter) = self.limiter.upgrade() {
            limiter.taken().give_back(&self.slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(connections_max: usize, per_address_max: usize) -> Arc<ConnectionLimiter> {
        let many_behind = vec!["10.0.0.0/8".parse().unwrap()];
        let limits = ConnectionLimits { connections_max, per_address_max, many_behind, ipv6_prefix: 64 };
        ConnectionLimiter::new(limits, ConnectionCounters::default())
    }

    fn admit(limiter: &Arc<ConnectionLimiter>, address: &str) -> Option<SlotGuard> {
        limiter.admit(address.parse().unwrap())
    }

    fn evicted(held: &[SlotGuard]) -> Vec<usize> {
        held.iter().enumerate().filter(|(_, held)| held.slot.is_evicted()).map(|(place, _)| place).collect()
    }

    #[test]
    fn a_dropped_guard_frees_its_slot() {
        let limiter = limiter(2, 2);
        drop((admit(&limiter, "192.0.2.1"), admit(&limiter, "192.0.2.2")));
        assert_eq!(limiter.count(), 0);
        assert!(limiter.taken().by_address.is_empty());
    }

    #[test]
    fn freed_slots_do_not_accumulate_in_the_line() {
        let limiter = limiter(100, 100);
        let _stays = admit(&limiter, "192.0.2.1");
        (0..10_000).for_each(|_| drop(admit(&limiter, "192.0.2.1")));
        let taken = limiter.taken();
        assert_eq!(taken.count, 1);
        assert!(taken.by_address.values().all(|slots| slots.line.len() <= 2 + LINE_SLACK + 1));
    }

    #[test]
    fn evicts_the_connection_that_waits_longest() {
        let limiter = limiter(10, 3);
        let held: Vec<_> = (0..5).filter_map(|_| admit(&limiter, "192.0.2.1")).collect();
        assert_eq!(evicted(&held), [0, 1]);
        assert_eq!(limiter.count(), 3);
        drop(held);
        assert_eq!(limiter.count(), 0);
        assert_eq!(limiter.counted.evicted.get(), 2);
    }

    #[test]
    fn keeps_connections_with_successful_requests() {
        let limiter = limiter(10, 3);
        let mut held: Vec<_> = (0..3).filter_map(|_| admit(&limiter, "192.0.2.1")).collect();
        held[0].slot.begin();
        held[0].slot.end(true);
        held[1].slot.begin();
        held[1].slot.end(false);
        held.extend((0..5).filter_map(|_| admit(&limiter, "192.0.2.1")));
        assert_eq!(evicted(&held), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn keeps_connections_with_a_request_in_progress() {
        let limiter = limiter(10, 2);
        let held: Vec<_> = (0..2).filter_map(|_| admit(&limiter, "192.0.2.1")).collect();
        held.iter().for_each(|held| held.slot.begin());
        assert!(admit(&limiter, "192.0.2.1").is_none());
        assert_eq!(limiter.counted.refused.get(), 1);
        held[1].slot.end(true);
        assert!(admit(&limiter, "192.0.2.1").is_some());
        assert_eq!(evicted(&held), [1]);
    }

    #[test]
    fn the_limit_of_an_address_evicts_no_other_address() {
        let limiter = limiter(10, 2);
        let other = admit(&limiter, "192.0.2.2").unwrap();
        let held: Vec<_> = (0..20).filter_map(|_| admit(&limiter, "192.0.2.1")).collect();
        assert!(!other.slot.is_evicted());
        assert_eq!(evicted(&held).len(), 18);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let limiter = limiter(10, 3);
        let other = admit(&limiter, "2001:db8:0:1::1").unwrap();
        let held: Vec<_> = (0..9).filter_map(|n| admit(&limiter, &format!("2001:db8::{n}"))).collect();
        assert_eq!(evicted(&held), [0, 1, 2, 3, 4, 5]);
        assert!(!other.slot.is_evicted());
        drop((held, other));
        assert!(limiter.taken().by_address.is_empty());
    }

    #[test]
    fn evicts_from_the_address_with_the_most_connections() {
        let limiter = limiter(6, 4);
        let held: Vec<_> = (0..4).filter_map(|_| admit(&limiter, "192.0.2.1")).collect();
        let others: Vec<_> = (2..6).filter_map(|n| admit(&limiter, &format!("192.0.2.{n}"))).collect();
        assert_eq!(evicted(&held), [0, 1]);
        assert_eq!(evicted(&others), [] as [usize; 0]);
        assert_eq!(limiter.count(), 6);
    }

    #[test]
    fn a_proxy_may_use_all_slots() {
        let limiter = limiter(6, 2);
        let held: Vec<_> = (0..6).filter_map(|_| admit(&limiter, "10.0.0.1")).collect();
        assert_eq!(evicted(&held), [] as [usize; 0]);
        let mapped = limiter.admit("::ffff:10.0.0.1".parse().unwrap());
        assert!(mapped.is_some());
        assert_eq!(evicted(&held), [0]);
    }
}
