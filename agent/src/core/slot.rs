//! What the core holds per asset: its account, its snapshot's place on disk, its due confirmation.
//!
//! Invariant J3 and J4 rest here: `stored` says up to which batch the asset's snapshot on disk holds; the least of the
//! changed ones is where a replay must begin. It is never moved back: what lies below may have been trimmed. So a state
//! that changes after a long silence counts as stored up to the batch before, which is true: nothing had changed.
//! Whatever changes a slot or its engine state, time included, must be noted here.

use std::collections::{BTreeMap, BTreeSet};

use fettle_wire::{Micros, Name};

use crate::ledger::Door;

/// One asset known to the door.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) door: Door,
    /// The snapshot on disk holds up to this batch, because it was written with it or because nothing has changed between;
    /// `None` before the first one.
    pub(super) stored: Option<u64>,
    changed: bool,
    confirm_due: bool,
    /// Monotonic instant of the last confirmation.
    confirmed_at: Option<u64>,
}

impl Slot {
    /// A slot as its snapshot has it.
    pub(super) fn stored(door: Door, batch: u64) -> Self {
        Self { door, stored: Some(batch), ..Self::default() }
    }
}

/// All assets known to the door.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: BTreeMap<Name, Slot>,
    /// Changed since their snapshot, oldest snapshot first.
    changed: BTreeSet<(Option<u64>, Name)>,
    due: Vec<Name>,
    unreported: usize,
}

impl Slots {
    pub(super) fn get_mut(&mut self, asset: &str) -> Option<&mut Slot> {
        self.slots.get_mut(asset)
    }

    pub(super) fn get(&self, asset: &str) -> Option<&Slot> {
        self.slots.get(asset)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Slot)> {
        self.slots.iter()
    }

    pub(super) fn names(&self) -> Vec<Name> {
        self.slots.keys().cloned().collect()
    }

    /// Adds an asset without a snapshot; it gets one in the next commit.
    pub(super) fn add(&mut self, asset: Name, slot: Slot) {
        self.slots.insert(asset, slot);
    }

    /// Assets heard neither since `wall` nor since `monotonic` whose account is reported.
    pub(super) fn unheard(&self, wall: Micros, monotonic: u64) -> Vec<Name> {
        let silent = |slot: &Slot| slot.door.heard < wall && slot.door.heard_at < monotonic;
        let unheard = self.slots.iter().filter(|(_, slot)| silent(slot) && !slot.door.unreported);
        unheard.map(|(name, _)| name.clone()).collect()
    }

    /// Forgets an asset.
    pub(super) fn remove(&mut self, asset: &Name) -> bool {
        let Some(slot) = self.slots.remove(asset) else { return false };
        self.changed.remove(&(slot.stored, asset.clone()));
        self.unreported = self.unreported.saturating_sub(usize::from(slot.door.unreported));
        true
    }

    /// Notes that a message in the batch `applying` changed the asset: for its snapshot, its ledger entry and its nodes.
    pub(super) fn touch(&mut self, asset: &str, applying: u64) {
        let Some(name) = self.slots.get_key_value(asset).map(|(name, _)| name.clone()) else { return };
        self.change(&name, applying);
        let Some(slot) = self.slots.get_mut(asset) else { return };
        let due = !slot.confirm_due && slot.door.has_nodes();
        slot.confirm_due |= due;
        self.unreported += usize::from(!std::mem::replace(&mut slot.door.unreported, true));
        if due {
            self.due.push(name);
        }
    }

    /// Notes that the asset's state changed in the batch `applying`: its snapshot is old.
    pub(super) fn change(&mut self, asset: &Name, applying: u64) {
        let Some(slot) = self.slots.get_mut(asset).filter(|slot| !slot.changed) else { return };
        slot.changed = true;
        slot.stored = slot.stored.map(|stored| stored.max(applying.saturating_sub(1)));
        self.changed.insert((slot.stored, asset.clone()));
    }

    /// Whether the touched asset needs no more notes: the fast path for the second frame of a batch.
    pub(super) fn is_touched(slot: &Slot) -> bool {
        slot.changed && slot.confirm_due && slot.door.unreported
    }

    /// The changed asset with the oldest snapshot.
    pub(super) fn oldest_changed(&self) -> Option<&(Option<u64>, Name)> {
        self.changed.first()
    }

    /// Changed assets that have no snapshot at all.
    pub(super) fn unstored(&self) -> Vec<Name> {
        self.changed.iter().take_while(|c| c.0.is_none()).map(|c| c.1.clone()).collect()
    }

    /// Every changed asset.
    pub(super) fn all_changed(&self) -> Vec<Name> {
        self.changed.iter().map(|c| c.1.clone()).collect()
    }

    /// The asset's snapshot, being written, holds up to `batch`.
    pub(super) fn stored(&mut self, asset: &Name, batch: u64) {
        if let Some(slot) = self.slots.get_mut(asset) {
            self.changed.remove(&(slot.stored, asset.clone()));
            slot.stored = Some(batch);
            slot.changed = false;
        }
    }

    /// Takes the account of every asset that changed since the last round. `batch` is the one being applied: a snapshot
    /// that holds it has this round behind it.
    pub(super) fn take_unreported(&mut self, batch: u64) -> Vec<Name> {
        let mut names = Vec::new();
        for (name, slot) in &mut self.slots {
            if slot.stored.is_none_or(|stored| stored < batch) && std::mem::take(&mut slot.door.unreported) {
                names.push(name.clone());
            }
        }
        names.iter().for_each(|name| self.change(name, batch));
        self.recount();
        names
    }

    pub(super) fn any_unreported(&self) -> bool {
        self.unreported > 0
    }

    /// Sets the count of unreported assets after recovery.
    pub(super) fn recount(&mut self) {
        self.unreported = self.slots.values().filter(|s| s.door.unreported).count();
    }

    /// Every asset with nodes is told again: the confirmation before a crash may not have left.
    pub(super) fn all_due(&mut self) {
        self.due.clear();
        for (name, slot) in &mut self.slots {
            slot.confirm_due = slot.door.has_nodes();
            if slot.confirm_due {
                self.due.push(name.clone());
            }
        }
    }

    /// Confirmations that may go at `now` (monotonic): at most one a second per asset.
    pub(super) fn take_due(&mut self, now: u64) -> Vec<Name> {
        const LEAST: u64 = 1_000_000;
        let mut ready = Vec::new();
        let slots = &mut self.slots;
        self.due.retain(|name| {
            let Some(slot) = slots.get_mut(name) else { return false };
            if slot.confirmed_at.is_some_and(|at| now.saturating_sub(at) < LEAST) {
                return true;
            }
            slot.confirmed_at = Some(now);
            slot.confirm_due = false;
            ready.push(name.clone());
            false
        });
        ready
    }

    /// Whether a confirmation waits for its second to pass.
    pub(super) fn any_due(&self) -> bool {
        !self.due.is_empty()
    }
}
