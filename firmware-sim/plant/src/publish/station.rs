//! A station: one machine, its sensor node, and what goes wrong with that node's clock and power.
//!
//! Between the machine model and the connection. The node is fed by the light model, or is a board with its drivers on
//! simulated chips; to the connection both are a [`Node`]. A reboot is a new node: what the old one held is lost and
//! counted; readings and samples that waited for the rest of their frame never had a sequence.

use std::collections::BTreeMap;
use std::io;

use fettle_firmware::board::Quantity;
use fettle_firmware::{
    Action, Board, BoardSettings, Clock as NodeClock, Destination, Event, Node, NodeSettings, Reason,
};
use fettle_wire::time::ClockQuality;
use fettle_wire::{Durable, Micros, Quality};

use super::PublishError;
use super::living::{Living, Turn};
use crate::channel::{ACCELERATION, Channel};
use crate::chip::rig::{self, Bus, Rig, Shared, Spi, Wait};
use crate::config::{ClockFault, Config, NodeKind};
use crate::fleet::Member;
use crate::ledger::{BootLedger, Fate, MAX_RANGES, MachineLedger, Traffic};
use crate::machine::Machine;
use crate::random::{Purpose, Random, boot_id};
use crate::record::Record;

/// What stations of a run share.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) channels: Vec<(u16, usize, &'static str)>,
    pub(super) node: NodeSettings,
    pub(super) record: Option<Record>,
    /// What a board on chips reads; `None` for the light model.
    quantities: Option<Vec<Quantity>>,
}

/// Frames that a node on chips holds: for each this many bytes of its ring. Readings take about a hundred, blocks
/// thousands.
const RING_BYTES_PER_FRAME: usize = 256;

impl Common {
    pub(super) fn new(config: &Config, record: Option<Record>) -> Self {
        let mut link = config.link;
        link.ack_timeout = link.ack_timeout.max(3 * config.weather.late_by.unsigned_abs());
        let on_chips = config.node == NodeKind::Firmware;
        let scalars = config.channels.iter().map(|c| c.name());
        let node = NodeSettings {
            channels: scalars.chain(on_chips.then_some(ACCELERATION)).map(str::to_owned).collect(),
            frame_readings: config.frame_readings,
            frame_age: config.frame_age.map(Micros::unsigned_abs),
            ring_bytes: config.ring_bytes,
            ring_frames: on_chips.then_some(config.ring_bytes / RING_BYTES_PER_FRAME),
            link,
        };
        // The configuration names no channel that no chip measures.
        let quantities = on_chips.then(|| config.channels.iter().filter_map(|c| quantity(*c)).collect());
        let channels = config.channels.iter().enumerate().map(|(i, c)| (i as u16, c.index(), c.name())).collect();
        Self { channels, node, record, quantities }
    }
}

fn quantity(channel: Channel) -> Option<Quantity> {
    match channel {
        Channel::Speed => Some(Quantity::Speed),
        Channel::Load => Some(Quantity::Load),
        Channel::Temperature => Some(Quantity::Temperature),
        Channel::Pressure => Some(Quantity::Pressure),
        Channel::Current => Some(Quantity::Current),
        Channel::Vibration => None,
    }
}

/// A board with its chips, from boot to boot.
struct OnChips {
    board: Board<Spi, Bus, Wait>,
    settings: BoardSettings,
    rig: Shared,
    /// Failures and lost samples of boots that are over.
    failures: BTreeMap<String, BTreeMap<String, u64>>,
    samples_lost: u64,
    /// Whether power fails in the next frame.
    brownout: bool,
}

enum Source {
    Light(Box<(Machine, Node)>),
    OnChips(Box<OnChips>),
}

/// One machine with its node.
pub(super) struct Station {
    pub(super) name: String,
    topic: String,
    waveform_topic: String,
    source: Source,
    clock: Option<ClockFault>,
    over: Vec<(u64, BootLedger)>,
    past: Traffic,
    /// Sequences of this boot that the ring dropped because it was full.
    overflowed: Vec<(u64, u64)>,
    brownouts: u64,
    /// Where lives end.
    living: Option<Living>,
    event_topic: String,
    pub(super) weather: Random,
    pub(super) traffic: Traffic,
    /// Event time of the next sample.
    pub(super) next: Micros,
    /// Frames it may still make.
    pub(super) frames_left: Option<u64>,
    /// Whether it makes no more readings.
    pub(super) done: bool,
    /// Monotonic time of the next reboot.
    pub(super) reboot_at: Option<u64>,
    /// Monotonic time from which power fails in the middle of a frame.
    pub(super) brownout_at: Option<u64>,
}

impl Station {
    pub(super) fn new(
        config: &Config,
        common: &Common,
        member: Member,
        start: Micros,
    ) -> Result<Self, getrandom::Error> {
        let mut random = Random::new(config.seed, member.index, Purpose::Clock);
        let chosen = |plan: &crate::config::WrongClock, random: &mut Random| {
            random.hit(plan.share) || plan.machines.contains(&member.name)
        };
        let clock = config.wrong_clock.as_ref().filter(|plan| chosen(plan, &mut random)).map(|plan| plan.fault);
        // Machines share the interval evenly, so that the plant's load is smooth.
        let phase = (config.interval as f64 * member.index as f64 / config.machines as f64) as Micros;
        let mut weather = Random::new(config.seed, member.index, Purpose::Weather);
        let reboot_at = config.weather.reboot_every.map(|every| (every as f64 * weather.between(0.5, 1.5)) as u64);
        let brownout_at = config.weather.brownout_every.map(|every| (every as f64 * weather.between(0.5, 1.5)) as u64);
        let share = |total: u64| total / config.machines + u64::from(member.index < total % config.machines);
        let frames_left = config.frames.map(share);
        let next = start.saturating_add(phase);
        let topic = fettle_wire::topic::readings(&config.site, &member.name);
        let waveform_topic = fettle_wire::topic::waveform(&config.site, &member.name, ACCELERATION);
        let event_topic = fettle_wire::topic::event(&config.site, &member.name);
        let name = member.name.to_string();
        let lives = member.lives.clone();
        Ok(Self {
            topic,
            waveform_topic,
            name,
            source: Source::new(config, common, member, next, clock)?,
            clock,
            over: Vec::new(),
            past: Traffic::default(),
            overflowed: Vec::new(),
            brownouts: 0,
            living: lives.map(Living::new),
            event_topic,
            weather,
            traffic: Traffic::default(),
            next,
            frames_left,
            done: frames_left == Some(0),
            reboot_at,
            brownout_at,
        })
    }

    /// The node.
    pub(super) fn node(&self) -> &Node {
        match &self.source {
            Source::Light(light) => &light.1,
            Source::OnChips(chips) => chips.board.node(),
        }
    }

    pub(super) fn node_mut(&mut self) -> &mut Node {
        match &mut self.source {
            Source::Light(light) => &mut light.1,
            Source::OnChips(chips) => chips.board.node_mut(),
        }
    }

    /// The topic of a frame.
    pub(super) fn topic(&self, to: Destination) -> &str {
        match to {
            Destination::Readings => &self.topic,
            Destination::Waveform(_) => &self.waveform_topic,
        }
    }

    /// The topic of what happens to the machine.
    pub(super) fn event_topic(&self) -> &str {
        &self.event_topic
    }

    /// What is to be told of the machine.
    pub(super) fn living(&mut self) -> Option<&mut Living> {
        self.living.as_mut()
    }

    /// Whether something is still to be told.
    pub(super) fn has_news(&self) -> bool {
        self.living.as_ref().is_some_and(Living::has_news)
    }

    /// Does what is due at [`Self::next`] and plans the next time. Returns how many frames were closed.
    pub(super) fn sample(&mut self, common: &Common, interval: Micros) -> Result<u64, PublishError> {
        let turn = self.living.as_mut().map(|living| living.turn(&self.name, self.next));
        match turn {
            Some(Turn::Stands(until)) => {
                self.next = until;
                let before = self.node().sequence();
                self.noting_overflow(|station| station.node_mut().flush());
                return Ok(self.node().sequence() - before);
            }
            Some(Turn::Replaced(machine)) => {
                if let Source::Light(light) = &mut self.source {
                    light.0 = *machine;
                }
            }
            Some(Turn::Runs) | None => {}
        }
        self.noting_overflow(|station| match &mut station.source {
            Source::Light(_) => station.sample_light(common, interval).map_err(PublishError::Record),
            Source::OnChips(_) => station.poll_board(common),
        })
    }

    /// Notes which sequences the ring drops while `act` closes frames. Nothing is freed by a confirmation meanwhile, so
    /// where anything overflowed, what is gone is what was lowest.
    fn noting_overflow<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let (first, before) = (self.node().ring().oldest(), self.node().ring().overflowed().frames);
        let done = act(self);
        let ring = self.node().ring();
        if ring.overflowed().frames > before {
            let (last, listed) = (ring.oldest() - 1, self.overflowed.len());
            match self.overflowed.last_mut() {
                Some(range) if range.1 + 1 == first => range.1 = last,
                _ if listed < MAX_RANGES => self.overflowed.push((first, last)),
                _ => {}
            }
        }
        done
    }

    fn sample_light(&mut self, common: &Common, interval: Micros) -> io::Result<u64> {
        let Source::Light(light) = &mut self.source else { return Ok(0) };
        let (machine, node) = &mut **light;
        let sample = machine.sample(self.next);
        let sampled = self.next.unsigned_abs();
        let before = node.sequence();
        for (channel, index, name) in &common.channels {
            let value = sample.values[*index];
            if let Some(record) = &common.record {
                let time = node.utc(sampled);
                record.reading(&self.name, name, time, value, node.boot(), node.sequence())?;
            }
            let closed = node.reading(sampled, *channel, value, Quality::Good);
            if let (true, Some(left)) = (closed, &mut self.frames_left) {
                *left -= 1;
                if *left == 0 {
                    self.done = true;
                    break;
                }
            }
        }
        self.next = self.next.saturating_add(interval);
        Ok(node.sequence() - before)
    }

    fn poll_board(&mut self, common: &Common) -> Result<u64, PublishError> {
        let Source::OnChips(chips) = &mut self.source else { return Ok(0) };
        let OnChips { board, rig, .. } = &mut **chips;
        rig.rig().advance_to(self.next);
        let (boot, before) = (board.node().boot(), board.node().sequence());
        let mut readings = Vec::new();
        let record = common.record.as_ref();
        let wake = board.poll(self.next.unsigned_abs(), &mut |taken| {
            if record.is_some() {
                readings.push(taken);
            }
        });
        if let Some(record) = record {
            for taken in readings {
                let Some((_, _, name)) = common.channels.get(usize::from(taken.channel)) else { continue };
                let time = board.node().utc(taken.sampled);
                let written = record.reading(&self.name, name, time, taken.value, boot, taken.sequence);
                written.map_err(PublishError::Record)?;
            }
        }
        // Conversions take their time, and the next poll cannot be before they are over.
        self.next = Micros::try_from(wake).unwrap_or(Micros::MAX).max(rig.rig().now());
        let closed = board.node().sequence() - before;
        if let Some(left) = &mut self.frames_left {
            *left = left.saturating_sub(closed);
            self.done = *left == 0;
        }
        Ok(closed)
    }

    /// Stops generating; what is batched leaves as a short frame.
    pub(super) fn finish(&mut self) {
        self.done = true;
        self.noting_overflow(|station| station.node_mut().flush());
    }

    /// Power fails as soon as the node is in the middle of a frame; only a node on chips ever is.
    pub(super) fn order_brownout(&mut self) {
        if let Source::OnChips(chips) = &mut self.source {
            chips.brownout = true;
        }
    }

    /// Whether power fails now.
    pub(super) fn browns_out(&self) -> bool {
        matches!(&self.source, Source::OnChips(chips) if chips.brownout && chips.board.mid_frame())
    }

    /// The node loses power: a new boot, at event time [`Self::next`].
    pub(super) fn reboot(&mut self, common: &Common, connected: bool, now: u64) -> Result<(), getrandom::Error> {
        // Readings not yet in a frame are held too: lost like the rest, though no sequence was ever used for them.
        let account = self.node().account();
        let (boot_id, overflowed) = (self.node().boot(), std::mem::take(&mut self.overflowed));
        self.over.push((boot_id, BootLedger::new(boot_id, &account, overflowed, true)));
        add_link(&mut self.past, &account.link);
        let clock = node_clock(self.next, self.clock);
        match &mut self.source {
            Source::Light(light) => light.1 = boot(common, self.next, clock)?,
            Source::OnChips(chips) => {
                self.brownouts += u64::from(chips.brownout && chips.board.mid_frame());
                chips.reboot(self.next, clock)?;
            }
        }
        if connected {
            self.node_mut().step(now, Event::Connected, &mut Vec::new());
        }
        Ok(())
    }

    pub(super) fn step(&mut self, now: u64, event: Event<'_>, actions: &mut Vec<Action>) {
        self.node_mut().step(now, event, actions);
    }

    /// A confirmation: for the node, and for the account of boots that are over.
    pub(super) fn confirmed(&mut self, now: u64, durable: &Durable) {
        self.node_mut().step(now, Event::Confirmed(durable), &mut Vec::new());
        for (boot, ledger) in &mut self.over {
            if let Some(next) = durable.next_of(*boot) {
                ledger.durable = ledger.durable.max(next.min(ledger.next));
            }
        }
    }

    pub(super) fn ledger(&self) -> MachineLedger {
        let account = self.node().account();
        let mut boots: Vec<BootLedger> = self.over.iter().map(|(_, ledger)| ledger.clone()).collect();
        boots.push(BootLedger::new(self.node().boot(), &account, self.overflowed.clone(), false));
        let (mut frames, mut readings) = (Fate::default(), Fate::default());
        for boot in &boots {
            frames += boot.frames;
            readings += boot.readings;
        }
        let mut traffic = self.traffic;
        traffic += self.past;
        add_link(&mut traffic, &account.link);
        let (sensor_failures, samples_lost) = match &self.source {
            Source::Light(_) => (BTreeMap::new(), 0),
            Source::OnChips(chips) => chips.failures(),
        };
        let (asset, brownouts) = (self.name.clone(), self.brownouts);
        let lives = self.living.as_ref().map_or_else(Vec::new, Living::ledger);
        MachineLedger { asset, frames, readings, traffic, boots, brownouts, sensor_failures, samples_lost, lives }
    }
}

impl Source {
    fn new(
        config: &Config,
        common: &Common,
        member: Member,
        at: Micros,
        clock: Option<ClockFault>,
    ) -> Result<Self, getrandom::Error> {
        let clock = node_clock(at, clock);
        let Some(quantities) = common.quantities.clone() else {
            let node = boot(common, at, clock)?;
            return Ok(Self::Light(Box::new((member.machine, node))));
        };
        let settings = BoardSettings {
            node: common.node.clone(),
            quantities,
            interval: config.interval.unsigned_abs(),
            waveform: Some(config.waveform.settings(member.index, config.machines)),
            loops: rig::loops(member.machine.design().rated_current_a),
        };
        let rig = Shared::new(Rig::new(config.seed, member.index, member.machine, member.sensor_faults, at));
        let board = Board::new(settings.clone(), rig.chips(), boot_id()?, at.unsigned_abs(), clock);
        let (failures, samples_lost, brownout) = (BTreeMap::new(), 0, false);
        Ok(Self::OnChips(Box::new(OnChips { board, settings, rig, failures, samples_lost, brownout })))
    }
}

impl OnChips {
    fn reboot(&mut self, at: Micros, clock: NodeClock) -> Result<(), getrandom::Error> {
        (self.failures, self.samples_lost) = self.failures();
        self.rig.rig().power_cycle();
        self.brownout = false;
        self.board = Board::new(self.settings.clone(), self.rig.chips(), boot_id()?, at.unsigned_abs(), clock);
        Ok(())
    }

    /// Failures by channel and reason, and samples lost, over all boots.
    fn failures(&self) -> (BTreeMap<String, BTreeMap<String, u64>>, u64) {
        let mut all = self.failures.clone();
        for (channel, name) in self.settings.node.channels.iter().enumerate() {
            let counts = self.board.failures(channel as u16);
            for (reason, count) in Reason::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
                *all.entry(name.clone()).or_default().entry(reason.name().to_owned()).or_default() += u64::from(count);
            }
        }
        (all, self.samples_lost + self.board.samples_lost())
    }
}

fn node_clock(at: Micros, fault: Option<ClockFault>) -> NodeClock {
    match fault {
        None => NodeClock::Utc { offset: 0, quality: ClockQuality::Synced },
        Some(ClockFault::Offset(offset)) => NodeClock::Utc { offset, quality: ClockQuality::Synced },
        Some(ClockFault::Epoch) => NodeClock::Utc { offset: at.saturating_neg(), quality: ClockQuality::Unknown },
        Some(ClockFault::Absent) => NodeClock::Absent,
    }
}

fn boot(common: &Common, at: Micros, clock: NodeClock) -> Result<Node, getrandom::Error> {
    Ok(Node::new(common.node.clone(), boot_id()?, at.unsigned_abs(), clock))
}

fn add_link(traffic: &mut Traffic, link: &fettle_firmware::link::LinkCount) {
    traffic.sent += link.sent;
    traffic.resent += link.resent;
    traffic.acknowledged += link.acknowledged;
    traffic.refused += link.refused;
}
