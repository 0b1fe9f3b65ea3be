//! What is fed: frames of a plant whose assets each sample five channels at a steady interval, as PUBLISH packets ready to
//! be written, so that feeding costs the feeder next to nothing.
//!
//! An asset's samples are numbered through (instant, channel); its frame `n` holds `per_frame` of them from `n * per_frame`
//! on. Frames of all assets take turns. Values are a level and noise, which no detector takes for a fault.

use fettle_wire::{ClockQuality, Frame, Micros, topic};

use crate::packet;

/// Channel, unit and level of what an asset measures.
pub(crate) const CHANNELS: [(&str, &str, f64); 5] = [
    ("current", "A", 41.0),
    ("pressure", "bar", 6.2),
    ("speed", "{rpm}", 1_480.0),
    ("temperature", "Cel", 70.1),
    ("vibration", "mm/s", 2.3),
];

/// A plant that sends.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) site: String,
    pub(crate) assets: usize,
    pub(crate) per_frame: usize,
    /// Event time between two samples of a channel, us.
    pub(crate) interval: Micros,
    /// Event time of the first sample, us.
    pub(crate) start: Micros,
    /// Boot of every node; another run of frames is another boot.
    pub(crate) boot: u64,
}

/// The name of an asset.
pub(crate) fn asset(number: usize) -> String {
    format!("machine-{number:05}")
}

/// A registry of so many assets, as TOML.
pub(crate) fn registry(assets: usize) -> String {
    let mut text = String::from("generation = 1\n");
    for number in 0..assets {
        for (channel, unit, _) in CHANNELS {
            let role = if channel == "speed" { "\nrole = \"operating\"" } else { "" };
            let asset = asset(number);
            text += &format!("[assets.{asset}.channels.{channel}]\nkind = \"{channel}\"\nunit = \"{unit}\"{role}\n");
        }
    }
    text
}

/// Uniform in -1..1, decided by `of`.
pub(crate) fn noise(of: u64) -> f64 {
    let z = of.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((z ^ (z >> 32)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

impl Source {
    /// The next part of this plant: from where `frames` frames of this one end, at another size and interval.
    pub(crate) fn then(&self, frames: usize, per_frame: usize, interval: Micros) -> Self {
        let start = self.start + self.span(frames) + self.interval;
        Self { per_frame, interval, start, boot: self.boot + 1, ..self.clone() }
    }

    /// Event time that so many frames of the plant cover, us.
    pub(crate) fn span(&self, frames: usize) -> Micros {
        let samples = frames.div_ceil(self.assets) * self.per_frame;
        (samples.div_ceil(CHANNELS.len()) as Micros) * self.interval
    }

    /// How many frames of the plant cover so much event time.
    pub(crate) fn frames_in(&self, span: Micros) -> usize {
        let samples = (span / self.interval) as usize * CHANNELS.len();
        samples.div_ceil(self.per_frame) * self.assets
    }

    /// Frames `from..to` of the plant, as packets.
    pub(crate) fn packets(&self, from: usize, to: usize) -> Packets {
        let topics: Vec<_> = (0..self.assets).map(|number| topic::readings(&self.site, &asset(number))).collect();
        let mut packets = Packets::default();
        for number in from..to {
            let (of, sequence) = (number % self.assets, number / self.assets);
            packets.add(&topics[of], &self.frame(of as u64, sequence as u64));
        }
        packets
    }

    fn frame(&self, asset: u64, sequence: u64) -> Vec<u8> {
        let first = sequence * self.per_frame as u64;
        let count = CHANNELS.len() as u64;
        let instant = |sample: u64| (sample / count) as Micros * self.interval;
        // A frame names only what it holds; a whole round of channels needs no shift.
        let names = (0..count.min(self.per_frame as u64)).map(|i| CHANNELS[((first + i) % count) as usize].0);
        let readings = (first..first + self.per_frame as u64).map(|sample| {
            let channel = sample % count;
            let level = CHANNELS[channel as usize].2;
            let value = level * (1.0 + 0.03 * noise((sample << 16) ^ (asset << 3) ^ self.boot.rotate_left(40)));
            (((sample - first) % count) as u16, instant(sample) - instant(first), value)
        });
        let time = self.start + instant(first);
        let frame = Frame {
            version: fettle_wire::SCHEMA_VERSION,
            boot: self.boot,
            sequence,
            oldest: sequence.saturating_sub(64),
            time: Some(time),
            uptime: (time - self.start) as u64,
            clock: ClockQuality::Synced,
            channels: names.collect(),
            readings: readings.collect(),
            flags: Vec::new(),
            waveform: None,
        };
        frame.encode().expect("a frame of numbers is CBOR")
    }
}

/// PUBLISH packets one after the other.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    pub(crate) bytes: Vec<u8>,
    /// Where each ends.
    pub(crate) ends: Vec<usize>,
    /// Where each has its packet id.
    pub(crate) ids: Vec<usize>,
}

impl Packets {
    pub(crate) fn add(&mut self, topic: &str, payload: &[u8]) {
        self.ids.push(packet::publish(topic, payload, &mut self.bytes));
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn begin_of(&self, packet: usize) -> usize {
        if packet == 0 { 0 } else { self.ends[packet - 1] }
    }
}
