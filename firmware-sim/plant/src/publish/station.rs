//! A station: one machine, its sensor node, and what goes wrong with that node's clock and power.
//!
//! Between the machine model and the connection. A reboot is a new node: what the old one held is lost and counted.

use std::io;

use fettle_firmware::{Action, Clock as NodeClock, Event, Node, NodeSettings};
use fettle_wire::time::ClockQuality;
use fettle_wire::{Durable, Micros, Quality};

use crate::config::{ClockFault, Config};
use crate::fleet::Member;
use crate::ledger::{BootLedger, Fate, MachineLedger, Traffic};
use crate::machine::Machine;
use crate::random::{Purpose, Random, boot_id};
use crate::record::Record;

/// What stations of a run share.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) channels: Vec<(u16, usize, &'static str)>,
    pub(super) node: NodeSettings,
    pub(super) record: Option<Record>,
}

impl Common {
    pub(super) fn new(config: &Config, record: Option<Record>) -> Self {
        let mut link = config.link;
        link.ack_timeout = link.ack_timeout.max(3 * config.weather.late_by.unsigned_abs());
        let node = NodeSettings {
            channels: config.channels.iter().map(|c| c.name().to_owned()).collect(),
            frame_readings: config.frame_readings,
            frame_age: config.frame_age.map(Micros::unsigned_abs),
            ring_bytes: config.ring_bytes,
            link,
        };
        let channels = config.channels.iter().enumerate().map(|(i, c)| (i as u16, c.index(), c.name())).collect();
        Self { channels, node, record }
    }
}

/// One machine with its node.
pub(super) struct Station {
    pub(super) name: String,
    pub(super) topic: String,
    machine: Machine,
    pub(super) node: Node,
    clock: Option<ClockFault>,
    over: Vec<(u64, BootLedger)>,
    past: Traffic,
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
        let total = config.frames;
        let share = |total: u64| total / config.machines + u64::from(member.index < total % config.machines);
        let next = start.saturating_add(phase);
        Ok(Self {
            topic: fettle_wire::topic::readings(&config.site, &member.name),
            name: member.name.to_string(),
            node: boot(common, next, clock)?,
            machine: member.machine,
            clock,
            over: Vec::new(),
            past: Traffic::default(),
            weather,
            traffic: Traffic::default(),
            next,
            frames_left: total.map(share),
            done: total.map(share) == Some(0),
            reboot_at,
        })
    }

    /// Takes the sample due at [`Self::next`] and plans the next one. Returns how many frames were closed.
    pub(super) fn sample(&mut self, common: &Common, interval: Micros) -> io::Result<u64> {
        let sample = self.machine.sample(self.next);
        let sampled = self.next.unsigned_abs();
        let before = self.node.sequence();
        for (channel, index, name) in &common.channels {
            let value = sample.values[*index];
            if let Some(record) = &common.record {
                let time = self.node.utc(sampled);
                record.reading(&self.name, name, time, value, self.node.boot(), self.node.sequence())?;
            }
            let closed = self.node.reading(sampled, *channel, value, Quality::Good);
            if let (true, Some(left)) = (closed, &mut self.frames_left) {
                *left -= 1;
                if *left == 0 {
                    self.done = true;
                    break;
                }
            }
        }
        self.next = self.next.saturating_add(interval);
        Ok(self.node.sequence() - before)
    }

    /// Stops generating; what is batched leaves as a short frame.
    pub(super) fn finish(&mut self) {
        self.done = true;
        self.node.flush();
    }

    /// The node loses power: a new boot, at event time [`Self::next`].
    pub(super) fn reboot(&mut self, common: &Common, connected: bool, now: u64) -> Result<(), getrandom::Error> {
        // Readings not yet in a frame are held too: lost like the rest, though no sequence was ever used for them.
        let account = self.node.account();
        self.over.push((self.node.boot(), BootLedger::new(self.node.boot(), &account, true)));
        add_link(&mut self.past, &account.link);
        self.node = boot(common, self.next, self.clock)?;
        if connected {
            self.node.step(now, Event::Connected, &mut Vec::new());
        }
        Ok(())
    }

    pub(super) fn step(&mut self, now: u64, event: Event<'_>, actions: &mut Vec<Action>) {
        self.node.step(now, event, actions);
    }

    /// A confirmation: for the node, and for the account of boots that are over.
    pub(super) fn confirmed(&mut self, now: u64, durable: &Durable) {
        self.node.step(now, Event::Confirmed(durable), &mut Vec::new());
        for (boot, ledger) in &mut self.over {
            if let Some(next) = durable.next_of(*boot) {
                ledger.durable = ledger.durable.max(next.min(ledger.next));
            }
        }
    }

    pub(super) fn ledger(&self) -> MachineLedger {
        let account = self.node.account();
        let mut boots: Vec<BootLedger> = self.over.iter().map(|(_, ledger)| ledger.clone()).collect();
        boots.push(BootLedger::new(self.node.boot(), &account, false));
        let (mut frames, mut readings) = (Fate::default(), Fate::default());
        for boot in &boots {
            frames += boot.frames;
            readings += boot.readings;
        }
        let mut traffic = self.traffic;
        traffic += self.past;
        add_link(&mut traffic, &account.link);
        MachineLedger { asset: self.name.clone(), frames, readings, traffic, boots }
    }
}

fn boot(common: &Common, at: Micros, fault: Option<ClockFault>) -> Result<Node, getrandom::Error> {
    let clock = match fault {
        None => NodeClock::Utc { offset: 0, quality: ClockQuality::Synced },
        Some(ClockFault::Offset(offset)) => NodeClock::Utc { offset, quality: ClockQuality::Synced },
        Some(ClockFault::Epoch) => NodeClock::Utc { offset: at.saturating_neg(), quality: ClockQuality::Unknown },
        Some(ClockFault::Absent) => NodeClock::Absent,
    };
    Ok(Node::new(common.node.clone(), boot_id()?, at.unsigned_abs(), clock))
}

fn add_link(traffic: &mut Traffic, link: &fettle_firmware::link::LinkCount) {
    traffic.sent += link.sent;
    traffic.resent += link.resent;
    traffic.acknowledged += link.acknowledged;
    traffic.refused += link.refused;
}
