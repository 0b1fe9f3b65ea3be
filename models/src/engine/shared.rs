//! What belongs to no asset in service: the quarantine and the list of adopted assets.
//!
//! Q1: at most `max_assets` quarantined, each with at most `max_channels` channel names; what exceeds that is counted.
//! Q2: an asset is registered, adopted or quarantined, never two of them.
//! Q3: what one asset's readings change is saved with that asset (its quarantine, its adoption); the rest is saved here and
//! says when it changed. So assets and the rest may be saved at different times and still fit (E2, E4).

use std::collections::BTreeMap;

use fettle_wire::{Arrival, Micros, Name, Tally, Unit};
use serde::{Deserialize, Serialize};

use super::Reading;
use super::releases::Places;
use crate::registry::{AssetSpec, ChannelSpec};
use crate::settings::Settings;

/// An unknown asset that sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Quarantined {
    readings: u64,
    seen: Micros,
    channels: BTreeMap<Name, Unit>,
}

/// An asset in service that the registry does not know.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Adopted {
    /// Whether a person asked for it; then it outlives its state.
    by_command: bool,
    channels: BTreeMap<Name, Unit>,
}

/// See the module's header.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Shared {
    /// Saved with each asset (Q3).
    #[serde(skip)]
    quarantine: BTreeMap<Name, Quarantined>,
    adopted: BTreeMap<Name, Adopted>,
    retired: u64,
    next_retirement: Micros,
    /// Which releases each class of machines runs.
    #[serde(default)]
    pub(super) releases: BTreeMap<String, Places>,
    /// Something that is saved here has changed since the engine's owner last asked.
    #[serde(skip)]
    changed: bool,
}

impl Shared {
    pub(super) fn quarantined(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.quarantine.iter().map(|(name, q)| (name, q.readings))
    }

    pub(super) fn is_quarantined(&self, asset: &str) -> bool {
        self.quarantine.contains_key(asset)
    }

    pub(super) fn retired(&self) -> u64 {
        self.retired
    }

    /// Notes that what is saved here has changed.
    pub(super) fn touch(&mut self) {
        self.changed = true;
    }

    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The quarantine of one asset, to be saved with it.
    pub(super) fn quarantine_of(&self, asset: &str) -> Option<&Quarantined> {
        self.quarantine.get(asset)
    }

    /// The adoption of one asset, to be saved with it.
    pub(super) fn adoption_of(&self, asset: &str) -> Option<&Adopted> {
        self.adopted.get(asset)
    }

    pub(super) fn restore_quarantine(&mut self, name: &Name, saved: Quarantined) {
        self.quarantine.insert(name.clone(), saved);
    }

    /// The asset's own word on its channels counts, however old or new the rest is.
    pub(super) fn restore_adoption(&mut self, name: &Name, saved: Adopted) {
        let by_command = saved.by_command || self.adopted.get(name).is_some_and(|a| a.by_command);
        self.adopted.insert(name.clone(), Adopted { by_command, ..saved });
        self.quarantine.remove(name);
    }

    /// The description of an adopted asset.
    pub(super) fn spec(&self, asset: &str) -> Option<AssetSpec> {
        let channel =
            |(name, unit): (&Name, &Unit)| (name.clone(), ChannelSpec { unit: *unit, ..ChannelSpec::adopted() });
        let adopted = self.adopted.get(asset)?;
        Some(AssetSpec { channels: adopted.channels.iter().map(channel).collect(), ..AssetSpec::default() })
    }

    /// Counts readings of an unknown asset and remembers which channels it has.
    pub(super) fn quarantine<'a>(
        &mut self,
        settings: &Settings,
        now: &Arrival,
        name: Name,
        readings: impl Iterator<Item = Reading<'a>>,
        tally: &mut Tally,
    ) {
        if !self.quarantine.contains_key(&name) && self.quarantine.len() >= settings.max_assets {
            tally.received = readings.count() as u64;
            tally.shed("too_many_assets", tally.received);
            return;
        }
        let fresh = || Quarantined { readings: 0, seen: now.wall, channels: BTreeMap::new() };
        let entry = self.quarantine.entry(name).or_insert_with(fresh);
        for reading in readings {
            tally.received += 1;
            if !entry.channels.contains_key(reading.channel)
                && entry.channels.len() < settings.max_channels
                && let Ok(channel) = Name::new(reading.channel)
            {
                entry.channels.insert(channel, reading.unit.unwrap_or(Unit::ONE));
            }
        }
        entry.seen = now.wall;
        entry.readings = entry.readings.saturating_add(tally.received);
        tally.reject("quarantined", tally.received);
    }

    /// Moves a quarantined asset into service.
    pub(super) fn adopt(&mut self, asset: &str, max_assets: usize) -> Result<(), &'static str> {
        let (name, quarantined) = self.quarantine.get_key_value(asset).ok_or("unknown_asset")?;
        if self.adopted.len() >= max_assets {
            return Err("too_many_assets");
        }
        let adopted = Adopted { by_command: true, channels: quarantined.channels.clone() };
        self.adopted.insert(name.clone(), adopted);
        self.quarantine.remove(asset);
        self.changed = true;
        Ok(())
    }

    /// Notes an asset that goes into service because the policy says so.
    pub(super) fn on_sight(&mut self, name: &Name) {
        self.quarantine.remove(name);
        self.adopted.entry(name.clone()).or_default();
    }

    /// An adopted asset has shown another channel.
    pub(super) fn grow(&mut self, asset: &str, channels: impl Iterator<Item = (Name, Unit)>) {
        if let Some(adopted) = self.adopted.get_mut(asset) {
            adopted.channels.extend(channels);
        }
    }

    /// The registry speaks for an asset from now on (Q2).
    pub(super) fn forget_registered(&mut self, registered: impl Fn(&Name) -> bool) {
        self.adopted.retain(|name, _| !registered(name));
        self.quarantine.retain(|name, _| !registered(name));
    }

    /// Whether it is time to look for what was unseen for long; about sixteen times within `retire_after`.
    pub(super) fn retirement_due(&mut self, wall: Micros, settings: &Settings) -> bool {
        let pause = settings.retire_after / 16;
        // A wall clock that was far ahead and came back must not put retirement off for ever.
        let due = wall >= self.next_retirement || self.next_retirement - wall > pause;
        if due {
            self.next_retirement = wall + pause;
            self.changed = true;
        }
        due
    }

    /// Counts dropped assets and forgets quarantined ones unseen since `before`, which it names.
    pub(super) fn retire(&mut self, before: Micros, dropped: &[Name]) -> Vec<Name> {
        self.retired += dropped.len() as u64;
        let unseen = self.quarantine.iter().filter(|(_, q)| q.seen < before).map(|(name, _)| name.clone());
        let forgotten: Vec<_> = unseen.collect();
        self.quarantine.retain(|_, q| q.seen >= before);
        for name in dropped {
            if self.adopted.get(name).is_some_and(|a| !a.by_command) {
                self.adopted.remove(name);
            }
        }
        forgotten
    }
}
