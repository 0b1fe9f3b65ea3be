//! The simulator's own account, read from its file: what nodes generated, what the agent confirmed durable.
//!
//! Declared here once more, with the fields that scenarios compare: the testbed believes the file, not the simulator's
//! code.

use std::path::Path;

use serde::Deserialize;

/// What became of frames or readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Fate {
    /// Made by the node.
    pub generated: u64,
    /// Confirmed durable by the agent.
    pub confirmed: u64,
    /// Lost because the node's ring was full.
    pub overflowed: u64,
    /// Given up because they were larger than the broker takes.
    pub discarded: u64,
    /// In the ring when the node rebooted.
    pub lost_by_reboot: u64,
    /// In the ring, unconfirmed.
    pub held: u64,
}

/// How frames went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Traffic {
    /// Frames handed to the link for the first time.
    pub sent: u64,
    /// Frames handed to the link again.
    pub resent: u64,
    /// Acknowledgements by the broker.
    pub acknowledged: u64,
    /// Publishes that went to the broker.
    pub published: u64,
}

/// One boot of one machine's node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Boot {
    /// Its id, 16 hexadecimal digits.
    pub boot: String,
    /// One above the last sequence used.
    pub next: u64,
    /// The sequence below which the node was told that everything is settled.
    pub durable: u64,
    /// Frames.
    pub frames: Fate,
    /// Readings.
    pub readings: Fate,
    /// Sequences that the node's ring dropped because it was full, inclusive, lowest first.
    #[serde(default)]
    pub overflowed_ranges: Vec<(u64, u64)>,
}

impl Boot {
    /// Whether the ring dropped the sequence.
    pub fn overflowed(&self, sequence: u64) -> bool {
        self.overflowed_ranges.iter().any(|(from, to)| (*from..=*to).contains(&sequence))
    }

    /// Whether the sequence was in the ring when the node rebooted. The ring holds what is newest.
    pub fn lost_by_reboot(&self, sequence: u64) -> bool {
        (self.next - self.frames.lost_by_reboot..self.next).contains(&sequence)
    }
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Machine {
    /// The asset.
    pub asset: String,
    /// Frames of all boots.
    pub frames: Fate,
    /// Readings of all boots.
    pub readings: Fate,
    /// Boots, oldest first.
    pub boots: Vec<Boot>,
    /// Losses of power in the middle of a frame.
    #[serde(default)]
    pub brownouts: u64,
}

/// The whole account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SimLedger {
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
    /// Every machine.
    pub machines: Vec<Machine>,
}

impl SimLedger {
    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Whether every frame that was generated has been confirmed durable.
    pub fn all_confirmed(&self) -> bool {
        self.frames.generated == self.frames.confirmed && self.readings.generated == self.readings.confirmed
    }
}
