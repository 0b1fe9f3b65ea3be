//! The ledger: the account of every reading. All counters are cumulative within the agent's incarnation, so the latest
//! entry of an agent and asset says everything and an earlier one may be skipped.
//!
//! W1: `received = used + late + duplicate + sum(rejected) + sum(shed)`, in readings ([`Tally::balances`]).
//! W2: per node boot, `next = received + missing` over the sequences below `next`, and `lost <= missing`
//! ([`NodeAccount::balances`]).
//!
//! The agent writes one entry per asset and interval on `fettle.ledger`; the fleet gateway and any other reader check
//! the two sums. A counter that would pass 2^64 - 1 stays there, and an account that does no longer balances: neither
//! counting nor checking panics, whatever an entry from elsewhere claims.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::Name;
use crate::time::Micros;

/// Outcomes of readings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Readings that arrived.
    pub received: u64,
    /// Folded into a pane.
    pub used: u64,
    /// Arrived after their pane was closed for good.
    pub late: u64,
    /// Known already.
    pub duplicate: u64,
    /// Not usable, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Usable but dropped to keep a bound, by reason.
    pub shed: BTreeMap<String, u64>,
}

impl Tally {
    /// Whether the sums balance (W1).
    pub fn balances(&self) -> bool {
        let reasons = self.rejected.values().chain(self.shed.values());
        let outcomes = [&self.used, &self.late, &self.duplicate].into_iter().chain(reasons);
        outcomes.copied().try_fold(0, u64::checked_add) == Some(self.received)
    }

    /// Adds another account.
    pub fn add(&mut self, other: &Self) {
        self.received = self.received.saturating_add(other.received);
        self.used = self.used.saturating_add(other.used);
        self.late = self.late.saturating_add(other.late);
        self.duplicate = self.duplicate.saturating_add(other.duplicate);
        for (reason, count) in &other.rejected {
            self.reject(reason, *count);
        }
        for (reason, count) in &other.shed {
            self.shed(reason, *count);
        }
    }

    /// Counts readings as rejected for `reason`.
    pub fn reject(&mut self, reason: &str, count: u64) {
        count_reason(&mut self.rejected, reason, count);
    }

    /// Counts readings as shed for `reason`.
    pub fn shed(&mut self, reason: &str, count: u64) {
        count_reason(&mut self.shed, reason, count);
    }
}

fn count_reason(reasons: &mut BTreeMap<String, u64>, reason: &str, count: u64) {
    match reasons.get_mut(reason) {
        Some(n) => *n = n.saturating_add(count),
        None => {
            reasons.insert(reason.into(), count);
        }
    }
}

/// The account of one boot of one node, in frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAccount {
    /// The boot id, 16 hexadecimal digits (a JSON number could not carry it).
    pub boot: String,
    /// One above the highest sequence seen.
    pub next: u64,
    /// Distinct sequences received.
    pub received: u64,
    /// Sequences below `next` not received: `next - received`.
    pub missing: u64,
    /// Of those, the ones that the node itself no longer holds: lost for good.
    pub lost: u64,
    /// Where they are, inclusive, lowest first; the first 32 ranges.
    pub missing_ranges: Vec<(u64, u64)>,
}

impl NodeAccount {
    /// Whether the sums balance (W2).
    pub fn balances(&self) -> bool {
        self.received.checked_add(self.missing) == Some(self.next) && self.lost <= self.missing
    }
}

/// The body of a record on `fettle.ledger`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The asset.
    pub asset: Name,
    /// Whether the asset is unknown to the registry and waits for adoption.
    pub quarantined: bool,
    /// Wall time of the account.
    pub at: Micros,
    /// Messages received for this asset, whatever became of them.
    pub frames: u64,
    /// What became of the readings.
    pub readings: Tally,
    /// Boots of this asset's nodes, most recently heard first; at most 16.
    pub nodes: Vec<NodeAccount>,
    /// Of boots no longer listed: distinct sequences received.
    pub retired_received: u64,
    /// Of boots no longer listed: sequences missing.
    pub retired_missing: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_balances_when_each_reading_has_one_outcome() {
        let mut tally = Tally { received: 10, used: 3, late: 2, duplicate: 1, ..Tally::default() };
        assert!(!tally.balances());
        tally.reject("not_finite", 1);
        tally.reject("not_finite", 2);
        tally.shed("outbox_full", 1);
        assert!(tally.balances());
        assert_eq!(tally.rejected["not_finite"], 3);
        tally.used += 1;
        assert!(!tally.balances());
    }

    #[test]
    fn the_sum_of_balanced_accounts_balances() {
        let mut one = Tally { received: 3, used: 1, ..Tally::default() };
        one.reject("a", 2);
        let mut other = Tally { received: 5, late: 1, duplicate: 1, ..Tally::default() };
        other.reject("a", 1);
        other.shed("b", 2);
        one.add(&other);
        assert!(one.balances());
        assert_eq!((one.received, one.rejected["a"], one.shed["b"]), (8, 3, 2));
    }

    #[test]
    fn counters_near_their_end_neither_panic_nor_balance_by_wrapping() {
        let mut tally = Tally { received: 1, used: u64::MAX, late: 2, ..Tally::default() };
        assert!(!tally.balances(), "u64::MAX + 2 wraps to 1");
        tally.add(&tally.clone());
        assert_eq!((tally.used, tally.late), (u64::MAX, 4));
        tally.reject("a", u64::MAX);
        tally.reject("a", 1);
        assert_eq!(tally.rejected["a"], u64::MAX);
    }

    #[test]
    fn a_node_account_balances_over_the_sequences_below_next() {
        let account = |next, received, missing, lost| NodeAccount {
            boot: "00".into(),
            next,
            received,
            missing,
            lost,
            missing_ranges: Vec::new(),
        };
        assert!(account(10, 7, 3, 3).balances());
        assert!(!account(10, 7, 2, 0).balances());
        assert!(!account(10, 7, 3, 4).balances(), "more lost than missing");
        assert!(!account(6, u64::MAX, 7, 0).balances(), "u64::MAX + 7 wraps to 6");
    }
}
