//! What is fed: a hundred assets of five channels, whose frames take turns, a hundred frames a second in all.

use bytes::Bytes;
use fettle_agent::acquire::Inbound;
use fettle_agent::core::generation::Generation;
use fettle_models::{Registry, Settings};
use fettle_wire::{Arrival, ClockQuality, Frame, Micros, Name, Unit, topic};

pub(crate) const ASSETS: u64 = 100;
const SITE: &str = "plant";
const BEGIN: Micros = 1_790_000_010_000_000;
/// Slides until a baseline is learned: few, so that a short run holds every kind of record.
const BASELINE_SLIDES: u32 = 60;
const CHANNELS: [(&str, &str, f64); 5] = [
    ("current", "A", 41.0),
    ("pressure", "bar", 6.2),
    ("speed", "{rpm}", 1_480.0),
    ("temperature", "Cel", 70.1),
    ("vibration", "mm/s", 2.3),
];

/// The instant `micros` after the beginning.
pub(crate) fn at(micros: u64) -> Arrival {
    Arrival { wall: BEGIN + micros as i64, monotonic: micros, quality: ClockQuality::Synced }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("our own names are names")
}

pub(crate) fn site() -> Name {
    name(SITE)
}

fn asset(number: u64) -> String {
    format!("machine-{number:05}")
}

pub(crate) fn generation() -> Generation {
    let channel = |(channel, unit, _): (&str, &str, f64)| {
        let unit = Unit::from_code(unit).expect("the codes above are UCUM");
        let role = if channel == "speed" { "operating" } else { "monitored" };
        (channel.to_owned(), serde_json::json!({ "kind": channel, "unit": unit, "role": role }))
    };
    let channels: serde_json::Map<_, _> = CHANNELS.into_iter().map(channel).collect();
    let assets: serde_json::Map<_, _> =
        (0..ASSETS).map(|n| (asset(n), serde_json::json!({ "channels": channels }))).collect();
    let registry: Registry = serde_json::from_value(serde_json::json!({ "generation": 1, "assets": assets }))
        .expect("the registry above is one");
    let settings = Settings { baseline_slides: BASELINE_SLIDES, ..Settings::default() };
    let generation = serde_json::json!({
        "settings": settings, "registry": registry, "foreign": [], "ledger_interval": 60_000_000u64,
    });
    serde_json::from_value(generation).expect("the generation above is one")
}

/// Uniform in -1..1, decided by `of`.
fn noise(of: u64) -> f64 {
    let z = of.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((z ^ (z >> 32)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Frame `number` of the plant, in turn of the assets, with `per_frame` readings that together span a frame's turn.
pub(crate) fn frame(number: u64, per_frame: u64) -> Inbound {
    let (of, sequence) = (number % ASSETS, number / ASSETS);
    let count = CHANNELS.len() as u64;
    // An asset sends a frame a second, so it samples each channel `per_frame / count` times a second.
    let interval = 1_000_000 * count / per_frame;
    let first = sequence * per_frame;
    let instant = |sample: u64| (sample / count * interval) as i64;
    let names = (0..count.min(per_frame)).map(|i| CHANNELS[((first + i) % count) as usize].0);
    let readings = (first..first + per_frame).map(|sample| {
        let channel = sample % count;
        let value = CHANNELS[channel as usize].2 * (1.0 + 0.03 * noise((sample << 16) ^ (of << 3)));
        (((sample - first) % count) as u16, instant(sample) - instant(first), value)
    });
    let frame = Frame {
        version: fettle_wire::SCHEMA_VERSION,
        boot: noise(of).to_bits(),
        sequence,
        oldest: sequence.saturating_sub(64),
        time: Some(BEGIN + instant(first)),
        uptime: instant(first) as u64,
        clock: ClockQuality::Synced,
        channels: names.collect(),
        readings: readings.collect(),
        flags: Vec::new(),
        waveform: None,
    };
    Inbound {
        ticket: number,
        topic: topic::readings(SITE, &asset(of)),
        payload: Bytes::from(frame.encode().expect("a frame of numbers is CBOR")),
        redelivered: false,
        oversize: None,
    }
}
