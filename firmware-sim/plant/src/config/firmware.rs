//! The part of the configuration that only nodes on simulated chips have: waveforms and sensor faults.

use fettle_firmware::board::WaveformSettings;
use fettle_firmware::sensor::iis3dwb::FullScale;
use fettle_wire::time::{HOUR, MINUTE};
use fettle_wire::{Micros, Name};

use super::reader::{Problem, Reader};
use crate::channel::{ACCELERATION, Channel};
use crate::chip::fault::{Kind, SensorFault};
use crate::random::{Purpose, Random};

/// What runs on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NodeKind {
    /// The light model: readings straight from the machine.
    #[default]
    Light,
    /// The firmware on simulated chips.
    Firmware,
}

/// How nodes on chips take waveforms.
#[derive(Debug, Clone, PartialEq)]
pub struct Waveform {
    /// Event time between bursts.
    pub interval: Micros,
    /// Samples of a block.
    pub samples: usize,
    /// Consecutive blocks of a burst.
    pub blocks: u32,
    /// The chip's range.
    pub full_scale: FullScale,
}

impl Waveform {
    /// For the board of machine `index` of `machines`: bursts of a fleet are spread over their interval.
    pub fn settings(&self, index: u64, machines: u64) -> WaveformSettings {
        let interval = self.interval.unsigned_abs();
        WaveformSettings {
            interval,
            offset: (interval as f64 * ((index as f64 + 0.5) / machines as f64)) as u64,
            samples: self.samples,
            blocks: self.blocks,
            full_scale: self.full_scale,
        }
    }
}

/// Which sensors fail, how and when.
#[derive(Debug, Clone, PartialEq)]
pub struct SensorFaultPlan {
    /// What goes wrong.
    pub kind: Kind,
    /// The channel.
    pub channel: &'static str,
    /// Share of the machines, by chance.
    pub share: f64,
    /// Machines by name, in addition.
    pub machines: Vec<Name>,
    /// From the start of the run to the onset, event time.
    pub onset: Micros,
    /// How long it lasts.
    pub duration: Option<Micros>,
    /// See [`SensorFault::amount`].
    pub amount: f64,
}

/// The sensor faults of machine `index` named `name`, for a run that begins at event time `start`.
pub fn sensor_faults(plans: &[SensorFaultPlan], seed: u64, index: u64, name: &Name, start: Micros) -> Vec<SensorFault> {
    let mut random = Random::new(seed, index, Purpose::SensorFault);
    // Every plan draws, so that one does not change another's.
    let chosen = plans.iter().filter(|plan| random.uniform() < plan.share || plan.machines.contains(name));
    chosen
        .map(|plan| {
            let onset = start.saturating_add(plan.onset);
            let end = plan.duration.map(|d| onset.saturating_add(d));
            SensorFault { kind: plan.kind, channel: plan.channel, onset, end, amount: plan.amount }
        })
        .collect()
}

/// Microseconds that a burst may take: its FIFO is fetched piece by piece, and scalars wait meanwhile.
const LONGEST_BURST: Micros = 10_000_000;

pub(super) fn read_waveform(table: &toml::Table, problems: &mut Vec<Problem>) -> Waveform {
    let mut reader = Reader::new(table, "waveform.");
    let full_scale = match reader.integer("full_scale_g", 2..=16, 16) {
        2 => FullScale::G2,
        4 => FullScale::G4,
        8 => FullScale::G8,
        16 => FullScale::G16,
        other => {
            reader.problem("full_scale_g", "is 2, 4, 8 or 16", other, "leave it out for 16");
            FullScale::G16
        }
    };
    let waveform = Waveform {
        interval: reader.duration("interval", 100_000).unwrap_or(MINUTE),
        samples: reader.integer("samples", 16..=65_536, 4_096) as usize,
        blocks: reader.integer("blocks", 1..=1_000, 1) as u32,
        full_scale,
    };
    let burst = (waveform.samples as f64 * f64::from(waveform.blocks) / 26_667.0 * 1e6) as Micros;
    if burst > LONGEST_BURST || burst * 2 > waveform.interval {
        let value = format!("{} blocks of {}", waveform.blocks, waveform.samples);
        let rule = format!("a burst, here {:.1} s, takes at most 10 s and half the interval", burst as f64 * 1e-6);
        reader.problem("blocks", rule, value, "lower blocks or samples, or raise waveform.interval");
    }
    problems.extend(reader.finish());
    waveform
}

pub(super) fn read_sensor_fault(table: &toml::Table, problems: &mut Vec<Problem>) -> Option<SensorFaultPlan> {
    let mut reader = Reader::new(table, "sensor_fault.");
    let kind = reader.text("kind").and_then(|text| Kind::ALL.into_iter().find(|k| k.name() == text));
    if kind.is_none() {
        let value = table.get("kind").map_or("nothing".to_owned(), ToString::to_string);
        reader.problem("kind", format!("is one of {}", Kind::ALL.map(Kind::name).join(", ")), value, "choose one");
    }
    let known = Channel::ALL.map(Channel::name).into_iter().filter(|c| *c != Channel::Vibration.name());
    let known: Vec<&str> = known.chain([ACCELERATION]).collect();
    let channel = reader.text("channel").and_then(|text| known.iter().copied().find(|c| *c == text));
    if channel.is_none() {
        let value = table.get("channel").map_or("nothing".to_owned(), ToString::to_string);
        reader.problem("channel", format!("is one of {}", known.join(", ")), value, "choose one");
    }
    if kind.is_some_and(Kind::needs_amount) && !reader.has("amount") {
        reader.problem("amount", "is required for offset, drift and saturation", "nothing", "set it, in the unit");
    }
    let amount = reader.number("amount", -1e9..=1e9, 0.3);
    let names = reader.texts("machines").unwrap_or_default();
    let mut machines = Vec::new();
    for name in names {
        match Name::new(name) {
            Ok(name) => machines.push(name),
            Err(e) => reader.problem("machines", e.to_string(), format!("{name:?}"), "correct or remove it"),
        }
    }
    let share = reader.number("share", 0.0..=1.0, if machines.is_empty() { 0.1 } else { 0.0 });
    let onset = reader.duration("onset", 0).unwrap_or(HOUR);
    let duration = reader.duration("duration", 1);
    problems.extend(reader.finish());
    Some(SensorFaultPlan { kind: kind?, channel: channel?, share, machines, onset, duration, amount })
}
