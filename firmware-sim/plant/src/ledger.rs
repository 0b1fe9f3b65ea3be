//! The sim's own ledger: what was generated, sent, acknowledged by the broker and confirmed durable.
//!
//! Written as one JSON file, replaced as a whole, so that a reader never sees half of one.
//!
//! - S1: per boot, in frames and in readings: generated = confirmed + overflowed + discarded + lost_by_reboot + held.
//! - S2: nothing is subtracted: a frame that overflowed or was lost by a reboot may have reached the agent all the same,
//!   just without the node knowing; the agent's ledger tells.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::AddAssign;
use std::path::Path;

use fettle_firmware::Account;
use fettle_firmware::ring::Count;
use serde::{Deserialize, Serialize};

/// What became of frames or readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fate {
    /// Made by the node.
    pub generated: u64,
    /// Confirmed durable by the agent.
    pub confirmed: u64,
    /// Lost because the ring was full.
    pub overflowed: u64,
    /// Given up because they were larger than the broker takes.
    pub discarded: u64,
    /// In the ring when the node rebooted.
    pub lost_by_reboot: u64,
    /// In the ring now, unconfirmed.
    pub held: u64,
}

impl Fate {
    /// S1.
    pub fn balances(&self) -> bool {
        self.generated == self.confirmed + self.overflowed + self.discarded + self.lost_by_reboot + self.held
    }
}

impl AddAssign for Fate {
    fn add_assign(&mut self, other: Self) {
        self.generated += other.generated;
        self.confirmed += other.confirmed;
        self.overflowed += other.overflowed;
        self.discarded += other.discarded;
        self.lost_by_reboot += other.lost_by_reboot;
        self.held += other.held;
    }
}

/// How frames went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Frames handed to the link for the first time.
    pub sent: u64,
    /// Frames handed to the link again.
    pub resent: u64,
    /// Acknowledgements by the broker of frames still held.
    pub acknowledged: u64,
    /// Refusals by the broker.
    pub refused: u64,
    /// Publishes that really went to the broker, copies included.
    pub published: u64,
    /// Of those, copies made by the link fault `duplicate_share`.
    pub duplicated: u64,
    /// Frames held back by the link fault `late_share`.
    pub delayed: u64,
    /// Frames swallowed by the link fault `lost_share`.
    pub swallowed: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.resent += other.resent;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.published += other.published;
        self.duplicated += other.duplicated;
        self.delayed += other.delayed;
        self.swallowed += other.swallowed;
    }
}

/// One boot of one machine's node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootLedger {
    /// The boot id, 16 hexadecimal digits.
    pub boot: String,
    /// One above the last sequence used.
    pub next: u64,
    /// The sequence below which the agent said everything is settled; also of boots that are over.
    pub durable: u64,
    /// Frames.
    pub frames: Fate,
    /// Readings.
    pub readings: Fate,
    /// Sequences that the ring dropped because it was full, inclusive, lowest first; the first [`MAX_RANGES`] ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overflowed_ranges: Vec<(u64, u64)>,
}

/// The most ranges listed for a boot.
pub const MAX_RANGES: usize = 256;

impl BootLedger {
    /// The ledger of a boot from its node's account and from what its ring dropped; `over` when the node has rebooted
    /// since.
    pub fn new(boot: u64, account: &Account, overflowed_ranges: Vec<(u64, u64)>, over: bool) -> Self {
        let fate = |part: fn(&Count) -> u64| {
            let held = part(&account.held);
            Fate {
                generated: part(&account.generated),
                confirmed: part(&account.confirmed),
                overflowed: part(&account.overflowed),
                discarded: part(&account.discarded),
                lost_by_reboot: if over { held } else { 0 },
                held: if over { 0 } else { held },
            }
        };
        Self {
            boot: format!("{boot:016x}"),
            next: account.generated.frames,
            durable: account.durable,
            frames: fate(|c| c.frames),
            readings: fate(|c| c.readings),
            overflowed_ranges,
        }
    }
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineLedger {
    /// The asset.
    pub asset: String,
    /// Frames of all boots.
    pub frames: Fate,
    /// Readings of all boots.
    pub readings: Fate,
    /// How frames went out, over all boots.
    pub traffic: Traffic,
    /// Boots, oldest first.
    pub boots: Vec<BootLedger>,
    /// Losses of power in the middle of a frame, among the reboots.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub brownouts: u64,
    /// What its chips failed to give, by channel and reason (`fettle_firmware::Reason`), over all boots. Readings sent as
    /// bad are among them and among the readings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sensor_failures: BTreeMap<String, BTreeMap<String, u64>>,
    /// Samples taken that belong to no block, because the FIFO ran over or the chip failed; over all boots. What a loss of
    /// power took from a block under way is not known to anybody.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub samples_lost: u64,
    /// Its lives so far, where they end, oldest first; the last [`MAX_LIVES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lives: Vec<LifeLedger>,
}

/// The most lives listed for a machine.
pub const MAX_LIVES: usize = 1_000;

/// One life as it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifeLedger {
    /// Which, from 1.
    pub life: u64,
    /// When it began, microseconds UTC.
    pub begin_us: i64,
    /// When it fails, or failed: true remaining life is the time until then.
    pub failure_us: i64,
    /// Whether it has.
    pub failed: bool,
    /// Of the events that tell of it (`failed`, and `replaced` at its begin), how many the broker has acknowledged.
    pub told: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The whole ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// The site.
    pub site: String,
    /// Wall time of the account, RFC 3339.
    pub at: String,
    /// Event time generated so far, RFC 3339: the latest reading of any machine.
    pub event_time: String,
    /// `generating`, `draining` or `finished`.
    pub phase: String,
    /// Times a connection to the broker was made.
    pub connects: u64,
    /// Frames of all machines.
    pub frames: Fate,
    /// Readings of all machines.
    pub readings: Fate,
    /// How frames went out.
    pub traffic: Traffic,
    /// Machines in the fleet's order.
    pub machines: Vec<MachineLedger>,
}

impl Ledger {
    /// Adds machines and sums them up.
    pub fn add(&mut self, machines: &[MachineLedger]) {
        for machine in machines {
            self.frames += machine.frames;
            self.readings += machine.readings;
            self.traffic += machine.traffic;
            self.machines.push(machine.clone());
        }
    }

    /// Whether every sum balances (S1).
    pub fn balances(&self) -> bool {
        let mut boots = self.machines.iter().flat_map(|m| &m.boots);
        self.frames.balances()
            && self.readings.balances()
            && boots.all(|b| b.frames.balances() && b.readings.balances())
    }

    /// Replaces the file at `path`.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        fs::write(&new, serde_json::to_vec(self).map_err(io::Error::other)?)?;
        fs::rename(&new, path)
    }
}
