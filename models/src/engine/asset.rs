//! One machine's state, and how a reading gets into it.
//!
//! Place in the flow: `fold` is the way in; it only keeps readings and moves watermarks. What follows from them is
//! `advance`'s business, once per call, so that the channels of one frame are seen together.
//!
//! A1: `channels` and the layout describe the same channels in the same order, that of their names.
//! A2: `closed <= evaluated`; every slide that ends at or before `closed` is final, every one that ends at or before
//! `evaluated` and has readings has been evaluated.
//! A3: `committed` is the evaluation of the last slide with readings that ends at or before `closed`, `detector` the
//! detector after it; `ahead` is that of the last one that ends in `(closed, evaluated]`, absent if there is none. Those
//! between are not kept: the detector makes them again from the readings of their slides, which are (D1 of `detect`).

use std::collections::{BTreeMap, VecDeque};

use fettle_wire::{Arrival, ClockQuality, Micros, Name, Tally, Unit};
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::door::Door;
use super::learned::Learned;
use super::waveform::Waveforms;
use super::{Output, Reading, Rules, Source};
use crate::assess::Assessment;
use crate::derived;
use crate::detect::{Detector, Layout};
use crate::life::Lives;
use crate::registry::{AssetSpec, ChannelSpec, Role};
use crate::window::{Grid, Inserted, Key, Queue, Summary, Watermark};

/// A channel's name, in place where it is short: a look at it must not cost a cache line of its own.
struct Label {
    length: u8,
    head: [u8; Self::SHORT],
}

impl Label {
    const SHORT: usize = 23;

    fn new(name: &Name) -> Self {
        let mut head = [0; Self::SHORT];
        let shown = name.len().min(Self::SHORT);
        head[..shown].copy_from_slice(&name.as_bytes()[..shown]);
        // A name has at most 64 bytes.
        Self { length: name.len() as u8, head }
    }

    /// Whether this is the label of `channel`, whose name is `name` in full.
    fn is(&self, name: &Name, channel: &str) -> bool {
        let shown = channel.len().min(Self::SHORT);
        usize::from(self.length) == channel.len()
            && self.head[..shown] == channel.as_bytes()[..shown]
            && (shown == channel.len() || **name == *channel)
    }
}

/// One channel. What every reading touches stands first and together.
#[repr(C)]
pub(super) struct Channel {
    label: Label,
    pub(super) door: Door,
    pub(super) mark: Watermark,
    pub(super) queue: Queue,
}

impl Channel {
    fn new(name: &Name, spec: &ChannelSpec) -> Self {
        Self { label: Label::new(name), door: Door::new(spec), mark: Watermark::default(), queue: Queue::default() }
    }
}

/// The last provisional evaluation.
pub(super) struct Ahead {
    pub(super) end: Micros,
    pub(super) assessment: Assessment,
    /// The detector after it; absent while the baseline is learned, when a detector is many times larger than a frozen
    /// one and soon made again.
    pub(super) detector: Option<Box<Detector>>,
}

/// A health record that went out and may still be revised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) end: Micros,
    pub(super) revision: u32,
    pub(super) digest: u64,
}

/// One machine. What every frame touches stands first and together.
#[repr(C)]
pub(super) struct Asset {
    pub(super) name: Name,
    pub(super) channels: Vec<Channel>,
    /// Index of the channel that is likely to come next.
    hint: usize,
    pub(super) evaluated: Micros,
    pub(super) closed: Micros,
    /// No frontier below this makes anything due.
    pub(super) next_due: Micros,
    pub(super) seen: Micros,
    /// Whether wall time was believable at the last call.
    pub(super) trusted: bool,
    /// Whether new channels may join on sight.
    adoptable: bool,
    /// Whether one has, since the engine last asked.
    pub(super) grown: bool,
    /// Whether the engine holds a deadline for it.
    pub(super) queued: bool,
    pub(super) layout: Layout,
    pub(super) detector: Detector,
    pub(super) committed: Option<(Micros, Assessment)>,
    pub(super) ahead: Option<Ahead>,
    /// End of the last slide that alarms have acted on.
    pub(super) alarmed: Micros,
    /// End of the earliest evaluated slide that a late reading has changed since.
    pub(super) dirty: Option<Micros>,
    pub(super) published: VecDeque<Published>,
    pub(super) conditions: BTreeMap<String, Condition>,
    pub(super) scratch: Vec<Option<f64>>,
    pub(super) evaluations: u64,
    /// What its waveform channels need; absent where it has none.
    pub(super) waveforms: Option<Box<Waveforms>>,
    /// What releases say of it; absent where none speaks of its class.
    pub(super) learned: Option<Box<Learned>>,
    pub(super) lives: Lives,
}

/// What became of one reading.
enum Outcome {
    Used { due: bool },
    Late,
    Duplicate,
    Rejected(&'static str),
    Shed(&'static str),
}

/// The layout of channels in service: what waveforms become stands in the place of the waveforms.
fn layout_of(channels: &BTreeMap<Name, ChannelSpec>) -> Layout {
    let channel = |(name, c): (&Name, &ChannelSpec)| (name.clone(), c.role, c.unit, c.limit.map(|l| c.unit.to_si(l)));
    Layout { channels: channels.iter().map(channel).collect() }
}

/// Whether a detector that learned `old` can go on with `new`: limits may differ, nothing else.
pub(super) fn same_inputs(old: &Layout, new: &Layout) -> bool {
    let input = |c: &(Name, Role, Unit, Option<f64>)| (c.0.clone(), c.1, c.2.code());
    old.channels.iter().map(input).eq(new.channels.iter().map(input))
}

impl Asset {
    pub(super) fn new(rules: &Rules, name: Name, spec: &AssetSpec, adopted: bool, seen: Micros) -> Self {
        let channels = derived::channels(spec);
        let layout = layout_of(&channels);
        Self {
            name,
            channels: channels.iter().map(|(name, c)| Channel::new(name, c)).collect(),
            waveforms: Waveforms::new(spec, &layout),
            detector: Detector::new(&layout, &rules.detector),
            layout,
            committed: None,
            ahead: None,
            evaluated: 0,
            closed: 0,
            alarmed: 0,
            dirty: None,
            published: VecDeque::new(),
            conditions: BTreeMap::new(),
            trusted: true,
            seen,
            adoptable: adopted,
            grown: false,
            queued: false,
            next_due: Micros::MIN,
            hint: 0,
            scratch: Vec::new(),
            evaluations: 0,
            learned: None,
            lives: Lives::new(spec.installed()),
        }
    }

    /// Arrival wall time of the last call.
    pub(super) fn seen(&self) -> Micros {
        self.seen
    }

    /// (open slides, readings kept, closed slides, provisional evaluations kept).
    pub(super) fn held(&self) -> (usize, usize, usize, usize) {
        let held = self.channels.iter().map(|c| c.queue.held());
        let (open, kept, closed) = held.fold((0, 0, 0), |a, h| (a.0 + h.0, a.1 + h.1, a.2 + h.2));
        (open, kept, closed, usize::from(self.ahead.is_some()))
    }

    /// Its channels with their units.
    pub(super) fn specs(&self) -> impl Iterator<Item = (Name, Unit)> {
        self.layout.channels.iter().map(|c| (c.0.clone(), c.2))
    }

    /// Keeps readings and moves watermarks; whether an evaluation may be due.
    pub(super) fn fold<'a>(
        &mut self,
        rules: &Rules,
        now: &Arrival,
        source: Source,
        readings: impl Iterator<Item = Reading<'a>>,
        tally: &mut Tally,
    ) -> bool {
        self.trusted = now.quality != ClockQuality::Unknown;
        self.seen = self.seen.max(now.wall);
        let mut any_due = false;
        for (index, reading) in readings.enumerate() {
            tally.received += 1;
            let key =
                Key { boot: source.boot, sequence: source.sequence, index: u32::try_from(index).unwrap_or(u32::MAX) };
            match self.fold_one(rules, now, key, &reading) {
                Outcome::Used { due } => {
                    tally.used += 1;
                    any_due |= due;
                }
                Outcome::Late => tally.late += 1,
                Outcome::Duplicate => tally.duplicate += 1,
                Outcome::Rejected(reason) => tally.reject(reason, 1),
                Outcome::Shed(reason) => tally.shed(reason, 1),
            }
        }
        any_due
    }

    fn fold_one(&mut self, rules: &Rules, now: &Arrival, key: Key, reading: &Reading<'_>) -> Outcome {
        let at = match self.channel(rules, reading) {
            Ok(at) => at,
            Err(reason) => return Outcome::Rejected(reason),
        };
        let channel = &mut self.channels[at];
        let value = match channel.door.admit(&rules.settings, now, reading) {
            Ok(value) => value,
            Err(reason) => return Outcome::Rejected(reason),
        };
        // `closed` lies on the grid: what is before it belongs to a slide that ends there or earlier (A2).
        if reading.time < self.closed {
            return Outcome::Late;
        }
        let flags = if reading.restamped { Summary::RESTAMPED } else { 0 };
        match channel.queue.insert(&rules.grid, reading.time, key, value, flags) {
            Inserted::Duplicate => return Outcome::Duplicate,
            Inserted::Full => return Outcome::Shed("window_full"),
            Inserted::Used => {}
        }
        if let Some(waveforms) = &mut self.waveforms {
            waveforms.note_speed(at, reading.time, value);
        }
        if reading.time < self.evaluated {
            let end = rules.grid.start(reading.time) + rules.grid.slide;
            self.dirty = Some(self.dirty.map_or(end, |dirty| dirty.min(end)));
        }
        let doubt = (!self.trusted).then(|| (rules.settings.max_ahead, key.boot.rotate_left(32) ^ key.sequence));
        let moved = channel.mark.note(reading.time, now.monotonic, doubt);
        let due = moved && channel.mark.at(rules.settings.disorder).is_some_and(|at| at >= self.next_due);
        Outcome::Used { due }
    }

    /// The index of a reading's channel; it may join on sight where the asset is an adopted one.
    fn channel(&mut self, rules: &Rules, reading: &Reading<'_>) -> Result<usize, &'static str> {
        let channels = &self.layout.channels;
        let at = match self.channels.get(self.hint) {
            Some(next) if next.label.is(&channels[self.hint].0, reading.channel) => self.hint,
            _ => match channels.binary_search_by(|c| (*c.0).cmp(reading.channel)) {
                Ok(at) => at,
                Err(_) if !self.adoptable => return Err("unknown_channel"),
                Err(_) if channels.len() >= rules.settings.max_channels => return Err("too_many_channels"),
                Err(at) => {
                    let name = Name::new(reading.channel).map_err(|_| "bad_name")?;
                    self.join(rules, at, name, reading.unit.unwrap_or(Unit::ONE));
                    at
                }
            },
        };
        self.hint = if at + 1 < self.channels.len() { at + 1 } else { 0 };
        Ok(at)
    }

    fn join(&mut self, rules: &Rules, at: usize, name: Name, unit: Unit) {
        let spec = ChannelSpec { unit, ..ChannelSpec::adopted() };
        self.channels.insert(at, Channel::new(&name, &spec));
        self.layout.channels.insert(at, (name, spec.role, unit, None));
        let joined = (0..self.channels.len()).map(|i| if i == at { None } else { Some(i - usize::from(i > at)) });
        self.lives.relayout(joined);
        self.grown = true;
        self.restart_detector(rules);
    }

    /// A new baseline is learned; what stands open is evaluated again by the new detector.
    fn restart_detector(&mut self, rules: &Rules) {
        self.detector = Detector::new(&self.layout, &rules.detector);
        self.committed = None;
        self.ahead = None;
        self.dirty = Some(self.closed + rules.grid.slide);
    }

    /// Takes a new description and new rules, and keeps what is still valid.
    pub(super) fn reconfigure(&mut self, rules: &Rules, spec: &AssetSpec) {
        let channels = derived::channels(spec);
        self.adopt_layout(rules, layout_of(&channels), channels.values());
        let before = self.waveforms.take();
        self.waveforms = Waveforms::new(spec, &self.layout);
        if let (Some(now), Some(before)) = (&mut self.waveforms, before) {
            now.take_over(before.into_saved());
        }
    }

    fn adopt_layout<'a>(&mut self, rules: &Rules, layout: Layout, specs: impl Iterator<Item = &'a ChannelSpec>) {
        let same = same_inputs(&self.layout, &layout);
        let old = core::mem::replace(&mut self.layout, layout);
        let before = |(name, _, unit, _): &(Name, Role, Unit, Option<f64>)| {
            old.channels.iter().position(|c| c.0 == *name && c.2 == *unit)
        };
        self.lives.relayout(self.layout.channels.iter().map(before));
        let mut kept: BTreeMap<Name, (Unit, Channel)> = BTreeMap::new();
        for (c, channel) in old.channels.into_iter().zip(self.channels.drain(..)) {
            kept.insert(c.0, (c.2, channel));
        }
        for ((name, _, unit, _), spec) in self.layout.channels.iter().zip(specs) {
            // Values were taken for another unit: they mean nothing now.
            let fresh = Channel::new(name, spec);
            self.channels.push(match kept.remove(name) {
                Some((before, channel)) if before == *unit => Channel { door: fresh.door, ..channel },
                _ => fresh,
            });
        }
        self.hint = 0;
        if same {
            self.ahead = None;
            self.dirty = Some(self.closed + rules.grid.slide);
        } else {
            self.restart_detector(rules);
        }
        self.channels.iter_mut().for_each(|c| c.queue.unfold());
        self.set_due(rules);
    }

    /// Starts windows and baseline anew on another grid. What was evaluated on the old one stays evaluated.
    pub(super) fn regrid(&mut self, rules: &Rules) {
        let reached = rules.grid.start(self.evaluated + rules.grid.slide - 1);
        (self.evaluated, self.closed, self.alarmed) = (reached, reached, reached);
        self.published.clear();
        self.channels.iter_mut().for_each(|c| c.queue = Queue::default());
        self.restart_detector(rules);
        self.dirty = None;
        self.set_due(rules);
    }

    pub(super) fn set_due(&mut self, rules: &Rules) {
        let Grid { slide, .. } = rules.grid;
        self.next_due = (self.evaluated + slide).min(self.closed + slide + rules.settings.lateness);
    }

    /// Turns channels idle whose time has come and evaluates what they held back; whether there were any, and the next
    /// deadline.
    pub(super) fn expire(&mut self, rules: &Rules, monotonic: u64, out: &mut Vec<Output>) -> (bool, Option<u64>) {
        let idle = rules.settings.idle;
        let expired = self.channels.iter_mut().fold(false, |any, c| c.mark.expire(monotonic, idle) | any);
        if expired {
            self.advance(rules, true, out);
        }
        (expired, self.deadline(idle))
    }

    /// The monotonic time at which the first channel may turn idle.
    pub(super) fn deadline(&self, idle: Micros) -> Option<u64> {
        self.channels.iter().filter_map(|c| c.mark.deadline(idle)).min()
    }
}
