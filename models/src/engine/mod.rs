//! The engine: the blocks composed, readings in, health records and alerts out.
//!
//! Place in the flow: the agent's journal hands over what it has on disk; what comes out goes to the outbox in the same
//! transaction. `door` admits readings, `asset` holds one machine's state, `advance` evaluates it, `emit` writes health
//! records, `condition` runs alarms, `shared` holds what belongs to no machine in service, `state` saves and loads,
//! `waveform` turns blocks into readings of derived channels, which then go the way of every reading, `life` folds what
//! is final into steps of the machine's life, `releases` and `learned` show these to released models.
//!
//! Time. A reading goes into its channel's slide. When an asset's frontier (`window::watermark`) passes a slide's end,
//! the slide is evaluated *provisionally*: the detector takes one step, alarms act, a health record may go out. When the
//! frontier has passed the end by the lateness, the slide is *closed*: the detector's step is committed and nothing can
//! change it any more. A late reading in between re-evaluates from its slide on; records that were published and have
//! really changed follow as revisions with the next evaluation. Alarms act once, on the first evaluation.
//! Slides without any reading are not evaluated: a jump over decades costs what a jump over a minute costs.
//!
//! E1: readings in = used + late + duplicate + rejected + shed, call by call.
//! E2: assets never influence one another; each can be saved and loaded alone.
//! E3: as long as no reading is late or shed, the last revision of every window is a function of the set of readings,
//! not of the order in which they arrived. (What is read from a waveform depends in addition on the speed and the block
//! that came before it.)
//! E4: saved and loaded at any point, the engine continues bit for bit as it would have.
//! E5: everything held is bounded: assets, channels, open slides, readings, provisional evaluations; of each waveform
//! channel 32 KiB of samples.
//!
//! It must never read a clock, draw a random number, or let the order of a hash table show.

mod advance;
mod asset;
mod condition;
mod door;
mod emit;
mod learned;
mod life;
mod releases;
mod shared;
mod state;
mod waveform;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fettle_wire::{Alert, Arrival, ClockQuality, Evidence, Health, Micros, Name, Quality, Tally, Unit};

use crate::alarm::{Act, AlarmParams};
use crate::detect::DetectorParams;
use crate::indicate::waveform::Analyser;
use crate::life::{Happened, LifeEvent, LifeStep};
use crate::registry::{AssetSpec, Registry};
use crate::settings::{Settings, UnknownPolicy};
use crate::window::Grid;
use asset::Asset;
use releases::Releases;
use shared::Shared;

pub use learned::Compared;
pub use releases::Places;
pub use state::StateError;
pub use waveform::{Capture, WaveformBlock};

/// Where readings come from; with the index in the frame it orders readings of equal time and tells duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Boot of the node; a hash of the topic for a foreign publisher.
    pub boot: u64,
    /// Sequence of the frame within the boot; a hash of the content for a foreign publisher.
    pub sequence: u64,
}

/// One reading at the door.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading<'a> {
    /// The channel, not yet checked to be a name.
    pub channel: &'a str,
    /// Event time.
    pub time: Micros,
    /// Value in `unit`, or in the registry's unit where none is declared.
    pub value: f64,
    /// The unit the payload declares.
    pub unit: Option<Unit>,
    /// How far its node trusts it.
    pub quality: Quality,
    /// Whether the agent gave it its time.
    pub restamped: bool,
}

/// What the engine has to say.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// The state of an asset over one window.
    Health(Health),
    /// A change in an alarm.
    Alert(Alert),
    /// A waveform block with its spectra.
    Evidence(Box<Evidence>),
    /// Raw samples around an alarm, to be kept at the site.
    Capture(Box<Capture>),
    /// A step of an asset's life is finished; for the site's own history.
    LifeStep(Box<LifeStep>),
    /// What somebody said happened to an asset itself; for the site's own history.
    LifeEvent(Box<LifeEvent>),
}

/// What every evaluation needs, derived from the settings once.
pub(crate) struct Rules {
    settings: Settings,
    grid: Grid,
    detector: DetectorParams,
    alarm: AlarmParams,
}

impl Rules {
    fn new(settings: Settings) -> Self {
        let detector = DetectorParams {
            slide: settings.slide,
            baseline_slides: settings.baseline_slides,
            false_alarms_per_asset_month: settings.false_alarms_per_asset_month,
            lambda: settings.mewma_lambda,
            max_imputed_share: settings.max_imputed_share,
            rul_horizon: settings.rul_horizon,
        };
        let alarm = AlarmParams { on_delay: settings.on_delay, off_delay: settings.off_delay };
        Self { grid: Grid::new(&settings), detector, alarm, settings }
    }
}

/// The engine. See the module's header.
pub struct Engine {
    rules: Rules,
    registry: Registry,
    shared: Shared,
    /// Assets with state, by slot; a retired asset leaves its slot free.
    slots: Vec<Option<Box<Asset>>>,
    /// In order, for iteration.
    names: BTreeMap<Name, usize>,
    /// For lookup only: its order never shows.
    lookup: HashMap<Name, usize>,
    /// The slot of the last call: frames of one asset come in runs.
    last: usize,
    /// (monotonic time at which a channel may turn idle, slot), for assets that are queued.
    deadlines: BTreeSet<(u64, usize)>,
    /// The releases at hand: no state, their content is named by their hash.
    releases: Releases,
    /// Plans and buffers: no state (V1 of `indicate::waveform`).
    analyser: Analyser,
}

impl Engine {
    /// An engine without state. The settings have been checked (S2), the registry too (R1).
    pub fn new(settings: Settings, registry: Registry) -> Self {
        Self {
            rules: Rules::new(settings),
            registry,
            shared: Shared::default(),
            slots: Vec::new(),
            names: BTreeMap::new(),
            lookup: HashMap::new(),
            last: 0,
            deadlines: BTreeSet::new(),
            releases: Releases::default(),
            analyser: Analyser::default(),
        }
    }

    /// Takes a new generation of settings and registry and keeps every state that is still valid: an asset whose
    /// channels, units or roles changed learns a new baseline, a changed slide restarts windows and baselines, an asset
    /// that is neither registered nor adopted any more is dropped. Nothing is emitted; what changes is told by the next
    /// evaluation.
    pub fn configure(&mut self, settings: Settings, registry: Registry) {
        let before = self.rules.grid;
        self.rules = Rules::new(settings);
        self.registry = registry;
        let registered = |name: &Name| self.registry.assets.contains_key(name);
        self.shared.forget_registered(registered);
        let gone: Vec<_> = self.names.keys().filter(|n| self.spec(n).is_none()).cloned().collect();
        for name in gone {
            self.drop_state(&name);
        }
        for (name, slot) in &self.names {
            let spec = self.registry.assets.get(name).cloned().or_else(|| self.shared.spec(name));
            if let (Some(asset), Some(spec)) = (&mut self.slots[*slot], spec) {
                asset.reconfigure(&self.rules, &spec);
                if before.slide != self.rules.grid.slide {
                    asset.regrid(&self.rules);
                }
            }
        }
    }

    /// Readings of one asset from one frame, in the frame's order. The tally is of this call and balances (E1).
    pub fn readings<'a>(
        &mut self,
        now: &Arrival,
        asset: &str,
        source: Source,
        readings: impl Iterator<Item = Reading<'a>>,
        out: &mut Vec<Output>,
    ) -> Tally {
        let mut tally = Tally::default();
        let slot = match self.slot(asset).map_or_else(|| self.admit_asset(now, asset), Ok) {
            Ok(slot) => slot,
            Err(refusal) => {
                self.refuse(now, asset, &refusal, readings, &mut tally);
                return tally;
            }
        };
        self.last = slot;
        let Some(state) = &mut self.slots[slot] else { return tally };
        let due = state.fold(&self.rules, now, source, readings, &mut tally);
        if state.grown {
            state.grown = false;
            self.shared.grow(asset, state.specs());
        }
        self.follow(now, slot, due, tally.used > 0, out);
        debug_assert!(tally.balances(), "E1");
        tally
    }

    /// One waveform block of one asset, which weighs as one reading. The tally is of this call and balances (E1): the
    /// readings that are derived from a block are not counted as received.
    pub fn waveform(&mut self, now: &Arrival, asset: &str, block: &WaveformBlock<'_>, out: &mut Vec<Output>) -> Tally {
        let mut tally = Tally::default();
        let slot = match self.slot(asset).map_or_else(|| self.admit_asset(now, asset), Ok) {
            Ok(slot) => slot,
            Err(refusal) => {
                // A quarantined asset is listed without this channel: a command could not say what it measures.
                self.refuse(now, asset, &refusal, std::iter::empty(), &mut tally);
                tally.received = 1;
                match refusal {
                    Refusal::Quarantine(_) => tally.reject("quarantined", 1),
                    Refusal::Reject(reason) => tally.reject(reason, 1),
                    Refusal::Shed(reason) => tally.shed(reason, 1),
                }
                return tally;
            }
        };
        self.last = slot;
        let Some(state) = &mut self.slots[slot] else { return tally };
        let due = state.take_block(&self.rules, now, &mut self.analyser, block, out, &mut tally);
        self.follow(now, slot, due, tally.used > 0, out);
        debug_assert!(tally.balances() && tally.received == 1, "E1");
        tally
    }

    /// What follows once readings are folded: an evaluation that may be due, and a deadline where there is none.
    fn follow(&mut self, now: &Arrival, slot: usize, due: bool, used: bool, out: &mut Vec<Output>) {
        let Some(state) = &mut self.slots[slot] else { return };
        if due {
            let from = out.len();
            state.advance(&self.rules, false, out);
            state.show_raises(&mut self.analyser, out);
            self.prognose(slot, from, out);
        }
        let Some(state) = &mut self.slots[slot] else { return };
        if !state.queued && used {
            state.queued = true;
            let deadline = now.monotonic.saturating_add(self.rules.settings.idle.unsigned_abs());
            self.deadlines.insert((deadline, slot));
        }
    }

    /// Time has passed: [`Engine::expire`] and [`Engine::retire`].
    pub fn tick(&mut self, now: &Arrival, out: &mut Vec<Output>) {
        self.expire(now, out);
        self.retire(now);
    }

    /// Channels turn idle, each asset for itself (E2); the assets that this changed. Costs what is due, not what is held.
    pub fn expire(&mut self, now: &Arrival, out: &mut Vec<Output>) -> Vec<Name> {
        let mut due = BTreeMap::new();
        while let Some(&(deadline, slot)) = self.deadlines.first().filter(|d| d.0 <= now.monotonic) {
            self.deadlines.remove(&(deadline, slot));
            if let Some(asset) = &self.slots[slot] {
                due.insert(asset.name.clone(), slot);
            }
        }
        // By name: slots depend on history, and their order must not show (E4).
        let mut changed = Vec::new();
        for (name, slot) in due {
            let Some(asset) = &mut self.slots[slot] else { continue };
            let from = out.len();
            let (expired, next) = asset.expire(&self.rules, now.monotonic, out);
            asset.show_raises(&mut self.analyser, out);
            self.prognose(slot, from, out);
            let Some(asset) = &mut self.slots[slot] else { continue };
            asset.queued = next.is_some();
            self.deadlines.extend(next.map(|deadline| (deadline, slot)));
            if expired {
                changed.push(name);
            }
        }
        changed
    }

    /// Whether a tick could change anything soon: some channel speaks and may turn idle.
    pub fn pending(&self) -> bool {
        !self.deadlines.is_empty()
    }

    /// A person asks something of an alarm. An error names why it cannot be; no retry helps. Acknowledging twice, or an
    /// occurrence that has ended, changes nothing and is no error; nor is ending a shelf that is none.
    pub fn act(
        &mut self,
        asset: &str,
        condition: &str,
        act: &Act,
        by: &str,
        command: &str,
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        let slot = self.slot(asset).ok_or("unknown_asset")?;
        let state = self.slots[slot].as_mut().ok_or("unknown_asset")?;
        state.act(condition, act, by, command, out)
    }

    /// Takes in what somebody says happened to an asset itself; whether it was late. An error names why it cannot be taken,
    /// and that it was taken before (`duplicate`); no retry helps.
    pub fn happened(
        &mut self,
        now: &Arrival,
        asset: &str,
        event: &Happened<'_>,
        out: &mut Vec<Output>,
    ) -> Result<bool, &'static str> {
        let unseen = if self.spec(asset).is_some() { "no_readings_yet" } else { "unknown_asset" };
        let slot = self.slot(asset).ok_or(unseen)?;
        let state = self.slots[slot].as_mut().ok_or(unseen)?;
        let late = state.happened(&self.rules, now, event, out)?;
        state.show_raises(&mut self.analyser, out);
        Ok(late)
    }

    /// Takes a quarantined asset into service with the channels it has shown, each in the unit it declared (or as a pure
    /// number), all monitored. Adopting an asset that is in service already changes nothing.
    pub fn adopt(&mut self, asset: &str) -> Result<(), &'static str> {
        if self.spec(asset).is_some() {
            return Ok(());
        }
        self.shared.adopt(asset, self.rules.settings.max_assets)
    }

    /// Whether what [`Engine::save_shared`] saves has changed since the last call.
    pub fn take_shared_change(&mut self) -> bool {
        self.shared.take_change()
    }

    /// Assets that wait for adoption, with the readings each has sent.
    pub fn quarantined(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.shared.quarantined()
    }

    /// Whether the asset waits for adoption.
    pub fn is_quarantined(&self, asset: &str) -> bool {
        self.shared.is_quarantined(asset)
    }

    /// Assets with state, by name.
    pub fn assets(&self) -> impl Iterator<Item = &Name> {
        self.names.keys()
    }

    /// Assets whose state was dropped because they were unseen for long, since the store began.
    pub fn retired(&self) -> u64 {
        self.shared.retired()
    }

    /// Alarms that are raised and have not returned, over all assets.
    pub fn alarms_open(&self) -> u64 {
        self.slots.iter().flatten().map(|asset| asset.alarms_open()).sum()
    }

    /// Provisional and committed evaluations of an asset since it was created or loaded: what work it cost.
    pub fn evaluations(&self, asset: &str) -> u64 {
        self.slot(asset).and_then(|slot| self.slots[slot].as_ref()).map_or(0, |a| a.evaluations)
    }

    /// What an asset holds: (open slides, readings kept, closed slides, provisional evaluations kept).
    pub fn held(&self, asset: &str) -> Option<(usize, usize, usize, usize)> {
        self.slots[self.slot(asset)?].as_ref().map(|a| a.held())
    }

    fn slot(&self, asset: &str) -> Option<usize> {
        match self.slots.get(self.last) {
            Some(Some(last)) if &*last.name == asset => Some(self.last),
            _ => self.lookup.get(asset).copied(),
        }
    }

    fn spec(&self, asset: &str) -> Option<AssetSpec> {
        self.registry.assets.get(asset).cloned().or_else(|| self.shared.spec(asset))
    }

    /// Finds or makes the state of an asset that has none; an error says how its readings are counted.
    fn admit_asset(&mut self, now: &Arrival, asset: &str) -> Result<usize, Refusal> {
        let name = Name::new(asset).map_err(|_| Refusal::Reject("bad_name"))?;
        let spec = match self.spec(asset) {
            Some(spec) => spec,
            None if self.rules.settings.unknown == UnknownPolicy::Adopt => AssetSpec::default(),
            None => return Err(Refusal::Quarantine(name)),
        };
        if self.names.len() >= self.rules.settings.max_assets {
            return Err(Refusal::Shed("too_many_assets"));
        }
        let adopted = !self.registry.assets.contains_key(asset);
        if adopted {
            self.shared.on_sight(&name);
        }
        let state = Asset::new(&self.rules, name, &spec, adopted, now.wall);
        Ok(self.place(Box::new(state)))
    }

    fn refuse<'a>(
        &mut self,
        now: &Arrival,
        asset: &str,
        refusal: &Refusal,
        readings: impl Iterator<Item = Reading<'a>>,
        tally: &mut Tally,
    ) {
        debug_assert!(self.slot(asset).is_none());
        match refusal {
            Refusal::Quarantine(name) => {
                self.shared.quarantine(&self.rules.settings, now, name.clone(), readings, tally);
            }
            Refusal::Reject(reason) => {
                tally.received = readings.count() as u64;
                tally.reject(reason, tally.received);
            }
            Refusal::Shed(reason) => {
                tally.received = readings.count() as u64;
                tally.shed(reason, tally.received);
            }
        }
    }

    fn place(&mut self, state: Box<Asset>) -> usize {
        let name = state.name.clone();
        let slot = match self.slots.iter().position(Option::is_none).filter(|_| self.names.len() < self.slots.len()) {
            Some(free) => {
                self.slots[free] = Some(state);
                free
            }
            None => {
                self.slots.push(Some(state));
                self.slots.len() - 1
            }
        };
        self.names.insert(name.clone(), slot);
        self.lookup.insert(name, slot);
        slot
    }

    fn drop_state(&mut self, name: &str) {
        self.lookup.remove(name);
        if let Some(slot) = self.names.remove(name) {
            self.slots[slot] = None;
            self.deadlines.retain(|d| d.1 != slot);
        }
    }

    /// Drops what was unseen for long and names it. Wall time must be believable, and an asset with a channel that still
    /// speaks by monotonic time is never retired: a wall clock that leaps does not empty the engine. Unlike everything
    /// else this concerns assets and what they share at once: who replays a part of them must not repeat it.
    pub fn retire(&mut self, now: &Arrival) -> Vec<Name> {
        if now.quality == ClockQuality::Unknown || !self.shared.retirement_due(now.wall, &self.rules.settings) {
            return Vec::new();
        }
        let before = now.wall - self.rules.settings.retire_after;
        let unseen = |slot: &usize| self.slots[*slot].as_ref().is_some_and(|a| !a.queued && a.seen() < before);
        let mut gone: Vec<_> =
            self.names.iter().filter(|(_, slot)| unseen(slot)).map(|(name, _)| name.clone()).collect();
        for name in &gone {
            self.drop_state(name);
        }
        let forgotten = self.shared.retire(before, &gone);
        gone.extend(forgotten);
        gone
    }
}

/// Why an asset's readings cannot be folded, all of them alike.
enum Refusal {
    Reject(&'static str),
    Shed(&'static str),
    Quarantine(Name),
}
