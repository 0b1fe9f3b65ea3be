//! What the witness sees of waveforms: a naive account of the blocks in the journal, and the raw samples in the store.
//!
//! It knows that a block is told by its bytes, that one which clips is refused, and that each minute of the agent's
//! monotonic clock has a budget. It analyses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use fettle_agent::core::Core;
use fettle_agent::core::evidence::Kept;
use fettle_agent::journal::model::Model;
use fettle_agent::journal::store::Store;
use fettle_agent::journal::{SEAL_BYTES, evidence_key, number_of, open};
use fettle_wire::Evidence;

use crate::check::{Check, hold};
use crate::plan::SECOND;
use crate::random::mix_bytes;

/// What became of an asset's blocks.
#[derive(Debug, Default)]
struct Account {
    /// The minute of the last block that was not refused, and how many of it were analysed.
    minute: (u64, u32),
    over_budget: u64,
    clipped: u64,
}

/// See the module's header.
#[derive(Debug, Default)]
pub(crate) struct Waveforms {
    budget: u32,
    kept_bytes: u64,
    accounts: BTreeMap<String, Account>,
    /// Contents of the blocks in the journal.
    pub(crate) blocks: BTreeSet<u64>,
    /// Lengths of blocks, of which a stretch of samples may be made.
    lengths: BTreeSet<usize>,
    /// In the store now: number, bytes.
    kept: BTreeMap<u64, u64>,
    ever: u64,
    gone: u64,
}

/// Whether samples lie at the converter's end, as no sound block's do.
fn clips(samples: &[u8]) -> bool {
    samples.chunks_exact(2).filter(|c| **c == i16::MAX.to_le_bytes()).count() >= 4
}

impl Waveforms {
    pub(crate) fn new(budget: u32, kept_bytes: u64) -> Self {
        Self { budget, kept_bytes, ..Self::default() }
    }

    /// A block that was not in the journal before.
    pub(crate) fn block(&mut self, asset: &str, monotonic: u64, samples: &[u8]) {
        self.blocks.insert(mix_bytes(samples));
        self.lengths.insert(samples.len());
        let account = self.accounts.entry(asset.to_owned()).or_default();
        if clips(samples) {
            account.clipped += 1;
            return;
        }
        let minute = monotonic / (60 * SECOND);
        if account.minute.0 != minute {
            account.minute = (minute, 0);
        }
        if account.minute.1 < self.budget {
            account.minute.1 += 1;
        } else {
            account.over_budget += 1;
        }
    }

    /// Blocks over budget, of all assets.
    pub(crate) fn over_budget(&self) -> u64 {
        self.accounts.values().map(|account| account.over_budget).sum()
    }

    /// Stretches ever kept, and given up since.
    pub(crate) fn kept(&self) -> (u64, u64) {
        (self.ever, self.gone)
    }

    /// Whether samples are whole blocks of the journal, one after the other.
    fn is_of_blocks(&self, samples: &[u8]) -> bool {
        let whole = |length: &usize| {
            samples.len().is_multiple_of(*length)
                && samples.chunks_exact(*length).all(|block| self.blocks.contains(&mix_bytes(block)))
        };
        !samples.is_empty() && self.lengths.iter().any(whole)
    }

    /// Reads the raw samples that are new in the store.
    pub(crate) fn read_kept(&mut self, store: &Model) -> Check {
        let (mut found, mut fresh) = (BTreeMap::new(), Vec::new());
        let visit = &mut |key: &[u8], value: &[u8]| {
            let number = number_of(key).expect("the core has numbered it");
            if !self.kept.contains_key(&number) {
                let opened = open(key, value).expect("the core has sealed it");
                fresh.push((number, Kept::decode(&opened).expect("the core has written it")));
            }
            found.insert(number, (value.len() - SEAL_BYTES) as u64);
            ControlFlow::Continue(())
        };
        store.scan(&evidence_key(0), b"f", visit).expect("the model can be read");
        let newest = self.kept.last_key_value().map(|(number, _)| *number);
        for (number, kept) in &fresh {
            hold!(newest.is_none_or(|n| *number > n), "V", "samples {number} are kept behind {newest:?}");
            let Kept { asset, time, samples, .. } = kept;
            hold!(self.is_of_blocks(&samples.0), "V", "samples {number} of {asset} at {time} were never journaled");
        }
        let bytes: u64 = found.values().sum();
        hold!(bytes <= self.kept_bytes, "V", "{bytes} bytes of samples are kept, {} may be", self.kept_bytes);
        self.ever += fresh.len() as u64;
        self.gone += self.kept.keys().filter(|number| !found.contains_key(*number)).count() as u64;
        self.kept = found;
        Ok(())
    }

    /// At a moment when everything stepped is committed.
    pub(crate) fn check_core(&self, core: &Core) -> Check {
        let status = core.evidence();
        let (told, found) = ((status.blocks, status.bytes), (self.kept.len() as u64, self.kept.values().sum()));
        hold!(
            told == found,
            "V",
            "the agent counts {told:?} stretches and bytes of samples, the store holds {found:?}"
        );
        for (asset, account) in &self.accounts {
            let door = core.accounts().find(|(name, ..)| ***name == *asset.as_str()).map(|(_, door, _)| door);
            let of = |counts: &BTreeMap<String, u64>, reason: &str| counts.get(reason).copied().unwrap_or(0);
            let told = door.map_or((0, 0), |door| {
                (of(&door.tally.shed, "waveform_over_budget"), of(&door.tally.rejected, "waveform_saturated"))
            });
            let counted = (account.over_budget, account.clipped);
            hold!(
                told == counted,
                "V",
                "{asset}: {told:?} blocks over budget and clipped, the journal has {counted:?}"
            );
        }
        Ok(())
    }

    /// What is shown to people is a block of the journal.
    pub(crate) fn check_shown(&self, evidence: &Evidence) -> Check {
        let Evidence { asset, time, samples, .. } = evidence;
        hold!(self.blocks.contains(&mix_bytes(samples)), "V", "the block of {asset} at {time} was never journaled");
        Ok(())
    }
}
