//! Saving and loading: one asset at a time, and what is shared.
//!
//! The bytes are one version number and CBOR in packed form. Not saved is what follows from the rest: the layout's
//! doors come from the registry, provisional evaluations are made again from the committed detector and the open
//! slides (E4). Bytes come from our own store, which has checked its checksum; what the engine itself relies on is
//! checked again all the same.

use std::collections::{BTreeMap, VecDeque};

use fettle_wire::cbor::{self, CborError};
use fettle_wire::time::LATEST;
use fettle_wire::{Micros, Name, NoVerdict, Rul, Unit, Verdict};
use serde::{Deserialize, Serialize};

use super::asset::{Asset, Published};
use super::condition::Condition;
use super::learned::Learned;
use super::shared::{Adopted, Quarantined, Shared};
use super::waveform::{Saved as WaveformSaved, Saving as WaveformSaving};
use super::{Engine, Rules};
use crate::assess::{Assessment, Share};
use crate::detect::{Detector, Layout};
use crate::life::Lives;
use crate::registry::{AssetSpec, ChannelSpec, Role};
use crate::settings::MAX_SLIDE;
use crate::window::queue::{Saved, Saving};
use crate::window::{Grid, Watermark};

/// The version of the state this build writes; the only one it reads so far.
const STATE_VERSION: u8 = 1;
/// Stands before the saved quarantine of an asset, which has no other state.
const QUARANTINED: u8 = 0x81;
/// The most bytes of one saved state that are read.
const MAX_STATE: usize = 256 << 20;

/// Why a saved state was not taken. A retry with the same bytes never helps; without the state the asset starts anew.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Written by another build.
    #[error("state of version {0} cannot be read, this build reads {STATE_VERSION}")]
    Version(u8),
    /// No bytes at all.
    #[error("state is empty")]
    Empty,
    /// Not the CBOR that was expected.
    #[error("state cannot be decoded")]
    Malformed(#[source] CborError),
    /// The parts do not fit together.
    #[error("state contradicts itself: {0}")]
    Inconsistent(&'static str),
    /// Neither registered nor adopted.
    #[error("asset {0} is neither registered nor adopted, so its state has no place")]
    UnknownAsset(Name),
}

/// An assessment as saved. [`Rul`] is made for JSON: its tagged form does not survive packed CBOR, this one does.
#[derive(Serialize, Deserialize)]
struct Kept {
    verdict: Verdict,
    reason: Option<NoVerdict>,
    numbers: [Option<f64>; 4],
    contributions: Vec<Share>,
    baseline: f64,
    life: KeptLife,
    imputed: Vec<usize>,
    dropped: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
enum KeptLife {
    Interval(f64, f64, Option<f64>, String, Name),
    None(String),
}

impl From<&Assessment> for Kept {
    fn from(a: &Assessment) -> Self {
        let life = match a.rul.clone() {
            Rul::Interval { p10, p50, p90, method, channel } => KeptLife::Interval(p10, p50, p90, method, channel),
            Rul::None { reason } => KeptLife::None(reason),
        };
        Self {
            verdict: a.verdict,
            reason: a.reason,
            numbers: [a.score, a.threshold, a.p_value, a.health_index],
            contributions: a.contributions.clone(),
            baseline: a.baseline,
            life,
            imputed: a.imputed.clone(),
            dropped: a.dropped.clone(),
        }
    }
}

impl From<Kept> for Assessment {
    fn from(kept: Kept) -> Self {
        let rul = match kept.life {
            KeptLife::Interval(p10, p50, p90, method, channel) => Rul::Interval { p10, p50, p90, method, channel },
            KeptLife::None(reason) => Rul::None { reason },
        };
        let [score, threshold, p_value, health_index] = kept.numbers;
        Self {
            verdict: kept.verdict,
            reason: kept.reason,
            score,
            threshold,
            p_value,
            contributions: kept.contributions,
            baseline: kept.baseline,
            health_index,
            rul,
            imputed: kept.imputed,
            dropped: kept.dropped,
        }
    }
}

/// One asset as saved.
#[derive(Serialize)]
struct Written<'a> {
    grid: Grid,
    layout: &'a Layout,
    channels: Vec<(&'a Watermark, Saving<'a>)>,
    detector: &'a Detector,
    committed: Option<(Micros, Kept)>,
    evaluated: Micros,
    closed: Micros,
    alarmed: Micros,
    dirty: Option<Micros>,
    published: &'a VecDeque<Published>,
    conditions: &'a BTreeMap<String, Condition>,
    trusted: bool,
    seen: Micros,
    adopted: Option<&'a Adopted>,
    waveforms: Option<WaveformSaving<'a>>,
    learned: Option<&'a Learned>,
    lives: &'a Lives,
}

/// One asset as loaded: field by field what [`Written`] is.
#[derive(Deserialize)]
struct Read {
    grid: Grid,
    layout: Layout,
    channels: Vec<(Watermark, Saved)>,
    detector: Detector,
    committed: Option<(Micros, Kept)>,
    evaluated: Micros,
    closed: Micros,
    alarmed: Micros,
    dirty: Option<Micros>,
    published: VecDeque<Published>,
    conditions: BTreeMap<String, Condition>,
    trusted: bool,
    seen: Micros,
    #[serde(default)]
    adopted: Option<Adopted>,
    #[serde(default)]
    waveforms: Option<WaveformSaved>,
    #[serde(default)]
    learned: Option<Box<Learned>>,
    lives: Option<Lives>,
}

fn encode<T: Serialize>(state: &T) -> Option<Vec<u8>> {
    let body = cbor::encode(state).ok()?;
    let mut bytes = Vec::with_capacity(body.len() + 1);
    bytes.push(STATE_VERSION);
    bytes.extend_from_slice(&body);
    Some(bytes)
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StateError> {
    match bytes.split_first() {
        None => Err(StateError::Empty),
        Some((&STATE_VERSION, body)) => cbor::decode(body, MAX_STATE).map_err(StateError::Malformed),
        Some((version, _)) => Err(StateError::Version(*version)),
    }
}

/// A description that has this layout but for the limits.
fn spec_of(layout: &Layout) -> AssetSpec {
    let channel = |(name, role, unit, _): &(Name, Role, Unit, Option<f64>)| {
        (name.clone(), ChannelSpec { unit: *unit, role: *role, ..ChannelSpec::adopted() })
    };
    AssetSpec { channels: layout.channels.iter().map(channel).collect(), ..AssetSpec::default() }
}

impl Read {
    fn check(&self) -> Result<(), StateError> {
        let grid = &self.grid;
        if !(grid.pane > 0 && grid.slide > 0 && grid.window > 0 && grid.slide <= MAX_SLIDE) {
            return Err(StateError::Inconsistent("the grid is not one"));
        }
        let whole = |time: Micros| (0..=LATEST).contains(&time) && time % grid.slide == 0;
        let sane = |time: &Micros| (0..=LATEST + grid.slide).contains(time);
        let checks = [
            (self.channels.len() == self.layout.channels.len(), "channels and layout differ in number"),
            (self.layout.channels.is_sorted_by(|a, b| a.0 < b.0), "channels are not in order"),
            (self.closed <= self.evaluated, "closed lies after evaluated"),
            (self.published.iter().is_sorted_by(|a, b| a.end < b.end), "published records are not in order"),
            (self.channels.iter().all(|c| c.0.sane() && c.1.consistent(grid)), "slides are not in order"),
            (whole(self.evaluated) && whole(self.closed), "boundaries lie off the grid"),
            (sane(&self.alarmed) && self.dirty.iter().all(sane), "times lie out of bounds"),
            (self.lives.iter().all(|l| l.consistent(self.channels.len())), "lives do not fit the channels"),
            (self.waveforms.iter().all(WaveformSaved::consistent), "waveforms are not what was joined"),
        ];
        match checks.into_iter().find(|c| !c.0) {
            Some((_, what)) => Err(StateError::Inconsistent(what)),
            None => Ok(()),
        }
    }
}

impl Asset {
    fn written(&self, rules: &Rules) -> Written<'_> {
        Written {
            grid: rules.grid,
            layout: &self.layout,
            channels: self.channels.iter().map(|c| (&c.mark, c.queue.saving(&rules.grid))).collect(),
            detector: &self.detector,
            committed: self.committed.as_ref().map(|c| (c.0, Kept::from(&c.1))),
            evaluated: self.evaluated,
            closed: self.closed,
            alarmed: self.alarmed,
            dirty: self.dirty,
            published: &self.published,
            conditions: &self.conditions,
            trusted: self.trusted,
            seen: self.seen,
            adopted: None,
            waveforms: self.waveforms.as_ref().map(|w| w.saving()),
            learned: self.learned.as_deref(),
            lives: &self.lives,
        }
    }

    /// Takes over a saved state whose inputs are this asset's.
    fn restore(&mut self, rules: &Rules, state: Read) {
        for (channel, (mark, queue)) in self.channels.iter_mut().zip(state.channels) {
            (channel.mark, channel.queue) = (mark, queue.load(&state.grid));
        }
        self.detector = state.detector;
        self.committed = state.committed.map(|c| (c.0, c.1.into()));
        self.evaluated = state.evaluated;
        self.closed = state.closed;
        self.alarmed = state.alarmed;
        self.dirty = state.dirty;
        self.published = state.published;
        self.conditions = state.conditions;
        self.trusted = state.trusted;
        self.seen = state.seen;
        self.learned = state.learned;
        if let Some(lives) = state.lives {
            self.lives = lives;
        }
        self.set_due(rules);
    }
}

impl Engine {
    /// The state of one asset, with its adoption, or its quarantine; `None` if it has neither.
    pub fn save_asset(&self, asset: &str) -> Option<Vec<u8>> {
        let Some(slot) = self.names.get(asset) else {
            let mut bytes = encode(self.shared.quarantine_of(asset)?)?;
            bytes[0] = QUARANTINED;
            return Some(bytes);
        };
        let adopted = self.shared.adoption_of(asset);
        self.slots[*slot].as_ref().and_then(|state| encode(&Written { adopted, ..state.written(&self.rules) }))
    }

    /// Takes what [`Engine::save_asset`] wrote, after [`Engine::load_shared`]. What the configuration has changed since is
    /// handled as [`Engine::configure`] does.
    pub fn load_asset(&mut self, asset: &Name, bytes: &[u8]) -> Result<(), StateError> {
        if let Some((&QUARANTINED, body)) = bytes.split_first() {
            let saved: Quarantined = cbor::decode(body, MAX_STATE).map_err(StateError::Malformed)?;
            if self.spec(asset).is_none() {
                self.shared.restore_quarantine(asset, saved);
            }
            return Ok(());
        }
        let mut state: Read = decode(bytes)?;
        state.check()?;
        if let Some(adopted) = state.adopted.take().filter(|_| !self.registry.assets.contains_key(asset)) {
            self.shared.restore_adoption(asset, adopted);
        }
        let spec = self.spec(asset).ok_or_else(|| StateError::UnknownAsset(asset.clone()))?;
        let adopted = !self.registry.assets.contains_key(asset);
        let mut fresh = Asset::new(&self.rules, asset.clone(), &spec, adopted, state.seen);
        let (grid, layout) = (state.grid, state.layout.clone());
        let waveforms = state.waveforms.take();
        if layout == fresh.layout {
            fresh.restore(&self.rules, state);
        } else {
            // Build it as it was, then let it change as a new generation would change it.
            let before = spec_of(&layout);
            fresh = Asset::new(&self.rules, asset.clone(), &before, adopted, state.seen);
            fresh.restore(&self.rules, state);
            fresh.reconfigure(&self.rules, &spec);
        }
        if grid.slide != self.rules.grid.slide {
            fresh.regrid(&self.rules);
        } else if grid != self.rules.grid {
            fresh.reconfigure(&self.rules, &spec);
        }
        if let (Some(now), Some(before)) = (&mut fresh.waveforms, waveforms) {
            now.take_over(before);
        }
        fresh.catch_up(&self.rules, Micros::MAX);
        fresh.evaluations = 0;
        let deadline = fresh.deadline(self.rules.settings.idle);
        fresh.queued = deadline.is_some();
        self.drop_state(asset);
        let slot = self.place(Box::new(fresh));
        self.deadlines.extend(deadline.map(|at| (at, slot)));
        Ok(())
    }

    /// What belongs to no asset, and assets that were adopted and have not spoken since.
    pub fn save_shared(&self) -> Vec<u8> {
        // Maps of names and numbers always have a CBOR form; an empty state is refused when loaded.
        encode(&self.shared).unwrap_or_default()
    }

    /// Takes what [`Engine::save_shared`] wrote.
    pub fn load_shared(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let shared: Shared = decode(bytes)?;
        self.shared = shared;
        self.shared.forget_registered(|name| self.registry.assets.contains_key(name));
        Ok(())
    }
}
