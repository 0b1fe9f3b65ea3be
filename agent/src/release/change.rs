//! What changes about releases, as it is journaled, and the account that is kept of it.

use std::collections::BTreeMap;

use fettle_models::release::Hash;
use fettle_wire::{ReleaseRef, Rollout};
use serde::{Deserialize, Serialize};

/// A change that the journal holds ([`crate::journal::entry::Entry::Release`], JSON).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A class of machines is to run a release.
    Wanted(Rollout),
    /// Its file is on disk, in the same commit, and was found good.
    Arrived {
        /// What it is.
        release: ReleaseRef,
        /// The class it is for.
        class: String,
        /// Bytes of the file.
        bytes: u64,
        /// Files that gave way to it.
        gone: Vec<Hash>,
    },
    /// Its file was not taken.
    Refused {
        /// Its content hash as asked for.
        hash: String,
        /// Why, in one word.
        reason: String,
    },
    /// What was in shadow speaks.
    Promoted {
        /// The class.
        class: String,
        /// What it runs from now on.
        hash: Hash,
    },
    /// What spoke before speaks again, or nothing if there was nothing.
    RolledBack {
        /// The class.
        class: String,
        /// Why, in one word.
        reason: String,
    },
}

/// A release file on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What it is.
    pub release: ReleaseRef,
    /// The class it is for.
    pub class: String,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What is known of releases, beside what the engine runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ReleaseAccount {
    /// The newest pointer of each class.
    pub rollouts: BTreeMap<String, Rollout>,
    /// Files on disk, by content hash.
    pub kept: BTreeMap<String, Kept>,
    /// Releases refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// The last refusal of each class's wanted release: content hash and reason.
    pub last_refusal: BTreeMap<String, (String, String)>,
    /// Releases taken, promoted and rolled back.
    pub taken: u64,
    /// See `taken`.
    pub promoted: u64,
    /// Roll-backs by reason.
    pub rolled_back: BTreeMap<String, u64>,
}

impl ReleaseAccount {
    /// Whether the pointer is newer than what is known of its class.
    pub fn is_news(&self, rollout: &Rollout) -> bool {
        self.rollouts.get(&rollout.class).is_none_or(|known| rollout.issued > known.issued)
    }

    /// Content hashes that are to be run and are neither here nor refused.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let refused = |r: &Rollout| self.last_refusal.get(&r.class).is_some_and(|(hash, _)| *hash == r.release.hash);
        let wanted = self.rollouts.values().filter(move |r| !self.kept.contains_key(&r.release.hash) && !refused(r));
        wanted.map(|r| r.release.hash.as_str())
    }
}
