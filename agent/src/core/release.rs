//! Releases in the core: pointers and files in, changes journaled, the engine told.
//!
//! Every change is an entry ([`Change`]) with all snapshots in its commit, so that no replay crosses one; the file that an
//! entry speaks of is written in the same transaction (K2 of [`crate::release`]). A release whose file is gone or does not
//! open any more after a start is rolled back with the reason, by an entry like any other.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use fettle_models::engine::Compared;
use fettle_models::release::{Hash, Refusal, Release};
use fettle_wire::{Mode, ReleaseRef, Rollout};

use super::{Core, Effect, RecoverError};
use crate::journal::entry::Entry;
use crate::journal::open;
use crate::journal::store::Store;
use crate::release::change::{Change, Kept};
use crate::release::latency::{Latency, Timed};
use crate::release::policy::ReleasePolicy;

/// Pause between two looks at how releases do, microseconds.
const JUDGE_EVERY: u64 = 10_000_000;

/// What is at hand beside the journaled account.
#[derive(Debug)]
pub(super) struct Releases {
    policy: ReleasePolicy,
    /// Files that did not open at the start: content hash and reason.
    broken: BTreeMap<Hash, &'static str>,
    latencies: BTreeMap<Hash, Arc<Latency>>,
    judged_at: u64,
}

impl Releases {
    pub(super) fn new(policy: ReleasePolicy) -> Self {
        Self { policy, broken: BTreeMap::new(), latencies: BTreeMap::new(), judged_at: 0 }
    }
}

/// One class and what it runs, for status and metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseStatus {
    /// The class.
    pub class: String,
    /// What speaks.
    pub active: Option<ReleaseRef>,
    /// What is compared.
    pub shadow: Option<ReleaseRef>,
    /// What a roll-back would bring back.
    pub previous: Option<ReleaseRef>,
    /// How the shadow has compared so far.
    pub compared: Compared,
    /// Steps it is compared for.
    pub promote_steps: u64,
}

impl Core {
    /// Puts every release file of the store at hand.
    pub(super) fn load_releases(&mut self, store: &dyn Store) -> Result<(), RecoverError> {
        let mut damage = None;
        let mut found = Vec::new();
        store.scan(b"r", &[b'r' + 1], &mut |key, value| match open(key, value) {
            Ok(bytes) => {
                found.push((String::from_utf8_lossy(&key[1..]).into_owned(), bytes.into_owned()));
                ControlFlow::Continue(())
            }
            Err(e) => {
                damage = Some(e);
                ControlFlow::Break(())
            }
        })?;
        if let Some(damage) = damage {
            return Err(damage.into());
        }
        for (hash, bytes) in found {
            match self.open_release(&bytes) {
                Ok(release) => self.shelve(release),
                Err(refusal) => {
                    if let Some(hash) = Hash::parse(&hash) {
                        self.releases.broken.insert(hash, refusal.reason());
                    }
                }
            }
        }
        Ok(())
    }

    fn open_release(&self, bytes: &[u8]) -> Result<Release, Refusal> {
        let rollouts = &self.shared.releases.rollouts;
        self.releases.policy.open(bytes, &self.generation, |class| rollouts.get(class).map_or(0, |r| r.floor))
    }

    fn shelve(&mut self, release: Release) {
        let latency = Arc::clone(self.releases.latencies.entry(release.hash).or_default());
        self.engine.shelve(release.scored_by(|inner| Box::new(Timed::new(inner, latency))));
    }

    fn record_release(&mut self, change: &Change) {
        // Invariant: texts, numbers and text-keyed structs; JSON holds them all.
        let payload = serde_json::to_vec(change).unwrap_or_default();
        self.record(Entry::Release { arrival: self.now, payload });
    }

    /// A pointer came. Pointers come again at every start: only a newer one is news.
    pub(super) fn roll_out(&mut self, payload: &[u8], effects: &mut Vec<Effect>) {
        let Ok(rollout) = Rollout::decode(payload) else {
            self.change_shared();
            *self.shared.releases.refused.entry("malformed_rollout".to_owned()).or_default() += 1;
            return;
        };
        // Of classes that nobody here belongs to nothing is kept.
        let ours = self.generation.registry.assets.values().any(|a| a.class.as_deref() == Some(rollout.class.as_str()));
        if !ours || !self.shared.releases.is_news(&rollout) {
            return;
        }
        self.record_release(&Change::Wanted(rollout));
        effects.extend(self.wanted_releases().into_iter().map(Effect::Fetch));
    }

    /// Release files that are to be run and are not here.
    pub fn wanted_releases(&self) -> Vec<String> {
        self.shared.releases.missing().map(str::to_owned).collect()
    }

    /// A file came that a child could open. It is opened again: the child knows neither our machines nor our memory.
    pub(super) fn take_release(&mut self, bytes: Vec<u8>) {
        let opened = self.open_release(&bytes).and_then(|release| {
            let gone = self.make_room_for(&release, bytes.len() as u64)?;
            Ok((release, gone))
        });
        let hash = fettle_models::release::Package::read(&bytes).map(|p| p.hash.to_string()).unwrap_or_default();
        match opened {
            Err(refusal) => self.refuse_release(hash, refusal.reason().to_owned()),
            Ok((release, gone)) => {
                let class = release.manifest.class.clone();
                let reference =
                    ReleaseRef { name: release.manifest.name.clone(), version: release.manifest.version, hash };
                self.shelve(release);
                self.pending.files.push((reference.hash.clone(), Some(bytes.clone())));
                self.pending.files.extend(gone.iter().map(|hash| (hash.to_string(), None)));
                let bytes = bytes.len() as u64;
                self.record_release(&Change::Arrived { release: reference, class, bytes, gone });
            }
        }
    }

    /// Which files give way, oldest version first; none that a class runs, compares or could go back to.
    fn make_room_for(&self, release: &Release, bytes: u64) -> Result<Vec<Hash>, Refusal> {
        let account = &self.shared.releases;
        let same = |k: &&Kept| k.release.name == release.manifest.name && k.release.version == release.manifest.version;
        if let Some(known) = account.kept.values().find(same).and_then(|k| Hash::parse(&k.release.hash))
            && known != release.hash
        {
            let (name, version) = (release.manifest.name.to_string(), release.manifest.version);
            return Err(Refusal::Conflict { name, version, known });
        }
        let used = self.engine.releases_in_use();
        let mut idle: Vec<(&Kept, Hash)> =
            account.kept.values().filter_map(|k| Some((k, Hash::parse(&k.release.hash)?))).collect();
        idle.retain(|(_, hash)| !used.contains(hash) && *hash != release.hash);
        idle.sort_by_key(|(kept, hash)| (kept.release.version, *hash));
        let mut sum: u64 = account.kept.values().map(|k| k.bytes).sum::<u64>() + bytes;
        let mut gone = Vec::new();
        for (kept, hash) in idle {
            if sum <= self.releases.policy.max_bytes {
                break;
            }
            sum -= kept.bytes;
            gone.push(hash);
        }
        match sum <= self.releases.policy.max_bytes {
            true => Ok(gone),
            false => Err(Refusal::NoRoom { found: bytes, most: self.releases.policy.max_bytes }),
        }
    }

    pub(super) fn refuse_release(&mut self, hash: String, reason: String) {
        self.record_release(&Change::Refused { hash, reason });
    }

    pub(super) fn roll_back(&mut self, class: String, reason: &str) {
        if self.engine.releases().get(&class).is_some_and(|places| places.active.is_some()) {
            self.record_release(&Change::RolledBack { class, reason: reason.to_owned() });
        }
    }

    /// Promotes what has proved itself, and takes back what fails: at most every ten seconds.
    pub(super) fn judge_releases(&mut self) {
        if self.now.monotonic.saturating_sub(self.releases.judged_at) < JUDGE_EVERY {
            return;
        }
        self.releases.judged_at = self.now.monotonic;
        let classes: Vec<String> = self.engine.releases().keys().cloned().collect();
        for class in classes {
            if let Some(reason) = self.fault_of(&class) {
                self.roll_back(class.clone(), reason);
            }
            let Some(places) = self.engine.releases().get(&class) else { continue };
            let Some(shadow) = places.shadow.filter(|hash| self.engine.shelved().any(|r| r.hash == *hash)) else {
                continue;
            };
            if self.releases.policy.promotes(&self.engine.compared(&class), places.active.is_some()) {
                self.record_release(&Change::Promoted { class, hash: shadow });
            }
        }
    }

    /// Why the active release of a class must not go on, if it must not.
    fn fault_of(&self, class: &str) -> Option<&'static str> {
        let active = self.engine.releases().get(class)?.active?;
        if let Some(reason) = self.releases.broken.get(&active) {
            return Some(reason);
        }
        if !self.engine.shelved().any(|release| release.hash == active) {
            return Some("not_at_hand");
        }
        if self.engine.failures(class) > 0 {
            return Some("not_finite");
        }
        let slow = self.releases.latencies.get(&active)?.exceeds(self.releases.policy.latency_us);
        slow.then_some("latency")
    }

    /// Applies a change that the journal holds.
    pub(super) fn apply_release(&mut self, payload: &[u8]) {
        // Written by this program; what cannot be read here changes nothing, counted.
        if !self.shared_open() {
            return;
        }
        let Ok(change) = serde_json::from_slice::<Change>(payload) else {
            *self.shared.releases.refused.entry("unreadable_entry".to_owned()).or_default() += 1;
            return;
        };
        // Every asset of a class may say something else from now on: no replay crosses this.
        self.pending.everything = true;
        match change {
            Change::Wanted(rollout) => self.apply_wanted(rollout),
            Change::Arrived { release, class, bytes, gone } => {
                let account = &mut self.shared.releases;
                for hash in gone {
                    account.kept.remove(&hash.to_string());
                    self.engine.unshelve(&hash);
                }
                account.taken += 1;
                account.last_refusal.remove(&class);
                account.kept.insert(release.hash.clone(), Kept { release, class: class.clone(), bytes });
                self.place_wanted(&class);
            }
            Change::Refused { hash, reason } => {
                let account = &mut self.shared.releases;
                *account.refused.entry(reason.clone()).or_default() += 1;
                let of = account.rollouts.values().filter(|r| r.release.hash == hash).map(|r| r.class.clone());
                for class in of.collect::<Vec<_>>() {
                    account.last_refusal.insert(class, (hash.clone(), reason.clone()));
                }
            }
            Change::Promoted { class, hash } => {
                self.shared.releases.promoted += 1;
                self.change_places(&class, |places| places.activate(hash));
            }
            Change::RolledBack { class, reason } => {
                *self.shared.releases.rolled_back.entry(reason).or_default() += 1;
                self.change_places(&class, |places| {
                    if !places.roll_back() {
                        places.active = None;
                    }
                });
            }
        }
    }

    fn apply_wanted(&mut self, rollout: Rollout) {
        let account = &mut self.shared.releases;
        let class = rollout.class.clone();
        let floor = account.rollouts.get(&class).map_or(0, |known| known.floor);
        let rollout = Rollout { floor: rollout.floor.max(floor), ..rollout };
        account.last_refusal.remove(&class);
        account.rollouts.insert(class.clone(), rollout);
        self.place_wanted(&class);
    }

    /// Runs what the class's pointer asks for, if its file is here and no floor has risen above it.
    fn place_wanted(&mut self, class: &str) {
        let account = &self.shared.releases;
        let Some(rollout) = account.rollouts.get(class) else { return };
        let kept =
            account.kept.get(&rollout.release.hash).filter(|k| k.class == class && k.release.version >= rollout.floor);
        let (Some(_), Some(hash)) = (kept, Hash::parse(&rollout.release.hash)) else { return };
        let at_once = rollout.mode == Mode::Active;
        self.change_places(class, |places| {
            if at_once || places.active.is_none() {
                places.activate(hash);
            } else {
                places.stage(hash);
            }
        });
    }

    fn change_places(&mut self, class: &str, change: impl FnOnce(&mut fettle_models::engine::Places)) {
        let mut places = self.engine.releases().get(class).cloned().unwrap_or_default();
        change(&mut places);
        self.engine.run_releases(class, places);
    }

    /// What each class runs, for status and metrics.
    pub fn releases(&self) -> Vec<ReleaseStatus> {
        let reference = |hash: Option<Hash>| {
            let kept = self.shared.releases.kept.get(&hash?.to_string())?;
            Some(kept.release.clone())
        };
        let status = |(class, places): (&String, &fettle_models::engine::Places)| ReleaseStatus {
            class: class.clone(),
            active: reference(places.active),
            shadow: reference(places.shadow),
            previous: reference(places.previous),
            compared: self.engine.compared(class),
            promote_steps: self.releases.policy.promote_steps,
        };
        self.engine.releases().iter().map(status).collect()
    }

    /// How long inferences took, by content hash.
    pub fn latencies(&self) -> impl Iterator<Item = (&Hash, &Latency)> {
        self.releases.latencies.iter().map(|(hash, latency)| (hash, &**latency))
    }
}
