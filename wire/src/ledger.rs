//! The ledger: the account of every reading. All counters are cumulative within the agent's incarnation, so the latest
//! entry of an agent and asset says everything and an earlier one may be skipped.
//!
//! W1: `received = used + late + duplicate + sum(rejected) + sum(shed)`, in readings.
//! W2: per node boot, `next = received_frames + missing` over the sequences below `next`.

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
        let rejected: u64 = self.rejected.values().sum();
        let shed: u64 = self.shed.values().sum();
        self.received == self.used + self.late + self.duplicate + rejected + shed
    }

    /// Adds another account.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.used += other.used;
        self.late += other.late;
        self.duplicate += other.duplicate;
        for (reason, count) in &other.rejected {
            self.reject(reason, *count);
        }
        for (reason, count) in &other.shed {
            *self.shed.entry(reason.clone()).or_default() += count;
        }
    }

    /// Counts readings as rejected for `reason`.
    pub fn reject(&mut self, reason: &str, count: u64) {
        match self.rejected.get_mut(reason) {
            Some(n) => *n += count,
            None => {
                self.rejected.insert(reason.into(), count);
            }
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
