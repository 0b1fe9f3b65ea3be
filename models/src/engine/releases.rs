//! The releases an engine has at hand, and which class of machines runs which.
//!
//! Which class runs what is state: it changes by a journal entry and is saved with what assets share. The models
//! themselves are not: a hash names a content for ever, so whoever loads an engine brings them ([`Engine::shelve`]). Where
//! one is missing its places stay, and the assets say so.
//!
//! L1: activating what was in shadow goes on with the state it has; nobody learns a baseline twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::learned::{Compared, Learned};
use super::{Engine, Output};
use crate::release::{Hash, Release};

/// What a class of machines runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Places {
    /// What speaks.
    pub active: Option<Hash>,
    /// What is asked beside it and not heard.
    pub shadow: Option<Hash>,
    /// What spoke before: for an instant roll-back.
    pub previous: Option<Hash>,
}

impl Places {
    /// Every release in a place.
    pub fn all(&self) -> impl Iterator<Item = Hash> {
        self.active.into_iter().chain(self.shadow).chain(self.previous)
    }

    /// `hash` is asked beside what is active.
    pub fn stage(&mut self, hash: Hash) {
        if self.active != Some(hash) {
            self.shadow = Some(hash);
        }
    }

    /// `hash` speaks from now on, and what spoke is kept.
    pub fn activate(&mut self, hash: Hash) {
        if self.active != Some(hash) {
            self.previous = self.active;
            self.active = Some(hash);
        }
        self.shadow = self.shadow.filter(|shadow| *shadow != hash);
    }

    /// What spoke before speaks again; whether there was one.
    pub fn roll_back(&mut self) -> bool {
        let Some(previous) = self.previous.take() else { return false };
        self.active = Some(previous);
        self.shadow = self.shadow.filter(|shadow| *shadow != previous);
        true
    }
}

/// See the module's header.
#[derive(Default)]
pub(super) struct Releases {
    pub(super) loaded: BTreeMap<Hash, Release>,
}

impl Releases {
    pub(super) fn get(&mut self, hash: &Hash) -> Option<&mut Release> {
        self.loaded.get_mut(hash)
    }
}

impl Engine {
    /// Puts a release at hand. It speaks once a class runs it ([`Engine::run_releases`]).
    pub fn shelve(&mut self, release: Release) {
        self.releases.loaded.insert(release.hash, release);
    }

    /// Takes a release away; what runs it says that it is missing.
    pub fn unshelve(&mut self, hash: &Hash) {
        self.releases.loaded.remove(hash);
    }

    /// The releases at hand.
    pub fn shelved(&self) -> impl Iterator<Item = &Release> {
        self.releases.loaded.values()
    }

    /// What each class of machines runs.
    pub fn releases(&self) -> &BTreeMap<String, Places> {
        &self.shared.releases
    }

    /// Lets a class of machines run other releases. Every asset must be saved with the entry that did it: each takes the
    /// change up at its next step.
    pub fn run_releases(&mut self, class: &str, places: Places) {
        self.shared.releases.insert(class.to_owned(), places);
        self.shared.touch();
    }

    /// Releases that some class runs, keeps or compares.
    pub fn releases_in_use(&self) -> BTreeSet<Hash> {
        self.shared.releases.values().flat_map(Places::all).collect()
    }

    /// How the shadow of a class has compared with what is active, over all its assets.
    pub fn compared(&self, class: &str) -> Compared {
        let Some(shadow) = self.shared.releases.get(class).and_then(|p| p.shadow) else { return Compared::default() };
        let of_class = |name: &fettle_wire::Name| self.class_of(name) == Some(class);
        let assets =
            self.names.iter().filter(|(name, _)| of_class(name)).filter_map(|(_, slot)| self.slots[*slot].as_ref());
        let mut sum = Compared::default();
        assets.filter_map(|a| a.learned.as_ref()?.compared(&shadow)).for_each(|compared| sum.add(compared));
        sum
    }

    /// What of a class gave a number that is none since it was activated: a reason to go back.
    pub fn failures(&self, class: &str) -> u64 {
        let Some(active) = self.shared.releases.get(class).and_then(|p| p.active) else { return 0 };
        let of_class = |name: &fettle_wire::Name| self.class_of(name) == Some(class);
        let assets =
            self.names.iter().filter(|(name, _)| of_class(name)).filter_map(|(_, slot)| self.slots[*slot].as_ref());
        assets.filter_map(|a| a.learned.as_ref()).map(|learned| learned.failures(&active)).sum()
    }

    fn class_of(&self, asset: &str) -> Option<&str> {
        self.registry.assets.get(asset)?.class.as_deref()
    }

    /// Shows the steps of a life among `out[from..]` to the releases that the asset's class runs.
    pub(super) fn prognose(&mut self, slot: usize, from: usize, out: &[Output]) {
        let steps = out[from..].iter().filter_map(|output| match output {
            Output::LifeStep(step) => Some(&**step),
            _ => None,
        });
        for step in steps {
            let Some(class) = self.registry.assets.get(&step.asset).and_then(|spec| spec.class.as_deref()) else {
                return;
            };
            let Some(asset) = &mut self.slots[slot] else { return };
            let Some(places) = self.shared.releases.get(class).filter(|p| p.active.or(p.shadow).is_some()) else {
                asset.learned = None;
                return;
            };
            asset.learned.get_or_insert_with(|| Box::new(Learned::default())).step(&mut self.releases, places, step);
        }
    }
}
