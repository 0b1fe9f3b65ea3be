//! A board on its rig, driven through simulated time, with an agent that takes every frame and confirms it at once.

use std::collections::BTreeMap;

use fettle_firmware::board::{Quantity, Taken, WaveformSettings};
use fettle_firmware::sensor::iis3dwb::FullScale;
use fettle_firmware::{Action, Board, BoardSettings, Clock, Destination, Event, LinkSettings, NodeSettings};
use fettle_sim::chip::fault::SensorFault;
use fettle_sim::chip::rig::{Bus, Rig, Shared, Spi, Wait, loops};
use fettle_sim::machine::bearing::Component;
use fettle_sim::{Fault, Growth, Machine};
use fettle_wire::time::{ClockQuality, HOUR, SECOND};
use fettle_wire::{Durable, Frame, Micros, Quality};

/// A Saturday, 10:00 UTC: the early shift.
pub(crate) const START: Micros = 1_790_000_000 * SECOND / (24 * HOUR) * (24 * HOUR) + 10 * HOUR;
pub(crate) const QUANTITIES: [(Quantity, &str); 5] = [
    (Quantity::Speed, "speed"),
    (Quantity::Temperature, "temperature"),
    (Quantity::Pressure, "pressure"),
    (Quantity::Current, "current"),
    (Quantity::Load, "load"),
];
/// The waveform's channel.
pub(crate) const WAVEFORM: u16 = 5;

pub(crate) fn settings(machine: &Machine) -> BoardSettings {
    BoardSettings {
        node: NodeSettings {
            channels: QUANTITIES.iter().map(|q| q.1).chain(["acceleration"]).map(str::to_owned).collect(),
            frame_readings: 5,
            frame_age: None,
            ring_bytes: 256 * 1024,
            ring_frames: Some(1024),
            link: LinkSettings::default(),
        },
        quantities: QUANTITIES.iter().map(|q| q.0).collect(),
        interval: 1_000_000,
        waveform: Some(WaveformSettings {
            interval: 60_000_000,
            offset: 500_000,
            samples: 4_096,
            blocks: 4,
            full_scale: FullScale::G16,
        }),
        loops: loops(machine.design().rated_current_a),
    }
}

/// A machine whose outer ring has a spall of this severity, which stays so.
pub(crate) fn machine(seed: u64, severity: f64) -> Machine {
    // So slow that it stands still.
    let span = 1_000_000 * HOUR;
    let onset = START - (severity * span as f64) as Micros;
    let fault = Fault { onset, failure: onset + span, growth: Growth::Linear };
    Machine::new(seed, 0, (severity > 0.0).then_some(fault)).with_physics(Some(Component::OuterRing))
}

/// What arrived of one waveform block.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    pub(crate) sequence: u64,
    pub(crate) time: Micros,
    pub(crate) rate: f64,
    /// m/s2.
    pub(crate) samples: Vec<f64>,
}

/// A reading as it arrived: channel, time, value, quality.
pub(crate) type Reading = (String, Micros, f64, Quality);

pub(crate) struct Bench {
    pub(crate) rig: Shared,
    pub(crate) board: Board<Spi, Bus, Wait>,
    pub(crate) settings: BoardSettings,
    pub(crate) next: Micros,
    pub(crate) taken: Vec<Taken>,
    pub(crate) blocks: Vec<Block>,
    /// (boot, sequence) to the readings of a frame.
    pub(crate) readings: BTreeMap<(u64, u64), Vec<Reading>>,
    /// The frames' bytes in the order they were sent.
    pub(crate) bytes: Vec<Vec<u8>>,
}

impl Bench {
    pub(crate) fn new(seed: u64, machine: Machine, faults: Vec<SensorFault>) -> Self {
        let settings = settings(&machine);
        Self::with(seed, machine, faults, settings)
    }

    pub(crate) fn with(seed: u64, machine: Machine, faults: Vec<SensorFault>, settings: BoardSettings) -> Self {
        let rig = Shared::new(Rig::new(seed, 0, machine, faults, START));
        let clock = Clock::Utc { offset: 0, quality: ClockQuality::Synced };
        let mut board = Board::new(settings.clone(), rig.chips(), 7, START.unsigned_abs(), clock);
        board.node_mut().step(0, Event::Connected, &mut Vec::new());
        let (taken, blocks, readings, bytes) = Default::default();
        Self { rig, board, settings, next: START, taken, blocks, readings, bytes }
    }

    /// One poll at its time, and the frames it made to the agent.
    pub(crate) fn poll(&mut self) {
        self.rig.rig().advance_to(self.next);
        let taken = &mut self.taken;
        let wake = self.board.poll(self.next.unsigned_abs(), &mut |t| taken.push(t));
        self.next = Micros::try_from(wake).unwrap().max(self.rig.rig().now());
        self.deliver();
    }

    fn deliver(&mut self) {
        let mut actions = Vec::new();
        let node = self.board.node_mut();
        node.step(0, Event::Room(usize::MAX), &mut actions);
        for Action::Publish { to, bytes, sequence, .. } in actions {
            let frame = Frame::decode(&bytes).unwrap();
            let time = frame.time.unwrap();
            match (&frame.waveform, to) {
                (Some(w), Destination::Waveform(WAVEFORM)) => {
                    let counts = w.samples.as_chunks().0.iter().map(|c| i16::from_le_bytes(*c));
                    let samples = counts.map(|c| f64::from(c) * w.scale + w.offset).collect();
                    self.blocks.push(Block { sequence, time, rate: w.rate, samples });
                }
                (None, Destination::Readings) => {
                    let quality =
                        |i: usize| frame.flags.iter().find(|f| f.0 as usize == i).map_or(Quality::Good, |f| f.1);
                    let readings = frame.readings.iter().enumerate();
                    let readings = readings
                        .map(|(i, r)| (frame.channels[usize::from(r.0)].to_owned(), time + r.1, r.2, quality(i)));
                    self.readings.insert((frame.boot, sequence), readings.collect());
                }
                other => panic!("{other:?} does not fit"),
            }
            self.bytes.push(bytes);
        }
        let durable = Durable { version: 1, confirmed: vec![(node.boot(), node.sequence())] };
        node.step(0, Event::Confirmed(&durable), &mut Vec::new());
    }

    pub(crate) fn run(&mut self, span: Micros) {
        let end = self.next + span;
        while self.next < end {
            self.poll();
        }
    }

    /// Every good reading of a channel, and every bad one.
    pub(crate) fn values(&self, channel: &str) -> (Vec<f64>, Vec<f64>) {
        let all = self.readings.values().flatten().filter(|r| r.0 == channel);
        let (good, bad): (Vec<_>, Vec<_>) = all.partition(|r| r.3 == Quality::Good);
        (good.iter().map(|r| r.2).collect(), bad.iter().map(|r| r.2).collect())
    }
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
