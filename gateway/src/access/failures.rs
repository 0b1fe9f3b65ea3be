//! How often an address was wrong lately. Bounded; an IPv6 address counts with its /64, which one host has to itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// So many wrong tokens within [`WINDOW`] make an address wait.
pub const MANY: u32 = 10;
/// Counted from the first one.
pub const WINDOW: Duration = Duration::from_secs(60);
/// So many addresses are remembered.
const ADDRESSES: usize = 1_024;

/// Wrong tokens by address.
#[derive(Debug, Default)]
pub struct Failures {
    counts: BTreeMap<IpAddr, (u32, Instant)>,
}

fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

impl Failures {
    /// Whether this address has to wait.
    pub fn is_too_many(&self, from: IpAddr, now: Instant) -> bool {
        let found = self.counts.get(&host(from));
        found.is_some_and(|(count, since)| *count >= MANY && now.duration_since(*since) < WINDOW)
    }

    /// One more.
    pub fn add(&mut self, from: IpAddr, now: Instant) {
        let from = host(from);
        if self.counts.len() >= ADDRESSES && !self.counts.contains_key(&from) {
            self.counts.retain(|_, (_, since)| now.duration_since(*since) < WINDOW);
            let oldest = self.counts.iter().min_by_key(|(_, (_, since))| *since).map(|(address, _)| *address);
            if let Some(oldest) = oldest.filter(|_| self.counts.len() >= ADDRESSES) {
                self.counts.remove(&oldest);
            }
        }
        let count = self.counts.entry(from).or_insert((0, now));
        if now.duration_since(count.1) >= WINDOW {
            *count = (0, now);
        }
        count.0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_wrong_too_often_waits_and_others_do_not() {
        let (mut failures, now) = (Failures::default(), crate::clock::monotonic());
        let (bad, good) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        (0..MANY).for_each(|_| failures.add(bad, now));
        assert!(failures.is_too_many(bad, now) && !failures.is_too_many(good, now));
        assert!(!failures.is_too_many(bad, now + WINDOW));
        failures.add(bad, now + WINDOW);
        assert!(!failures.is_too_many(bad, now + WINDOW), "counted anew");
    }

    #[test]
    fn one_host_of_many_addresses_is_one_and_the_memory_is_bounded() {
        let (mut failures, now) = (Failures::default(), crate::clock::monotonic());
        for n in 0..u128::from(MANY) {
            failures.add(Ipv6Addr::from_bits((0x2001_0db8 << 96) + n).into(), now);
        }
        assert!(failures.is_too_many("2001:db8::ffff".parse().unwrap(), now));
        (0..5_000_u32).for_each(|n| failures.add(std::net::Ipv4Addr::from_bits(n).into(), now));
        assert!(failures.counts.len() <= ADDRESSES);
    }
}
