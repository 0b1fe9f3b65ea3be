//! A small plant: seeded machines whose readings are a function of (asset, channel, time), and ways to run them.

use std::collections::BTreeMap;

use fettle_models::{
    AssetSpec, ChannelSpec, Engine, Happened, LifeStep, Output, Reading, Registry, Role, Settings, Source,
};
use fettle_wire::time::{HOUR, MINUTE, SECOND};
use fettle_wire::{Alert, Arrival, ClockQuality, EventKind, Health, Micros, Name, Quality, Tally, Unit};

/// 2026-01-01T00:00:00Z, on every grid used here.
pub(crate) const START: Micros = 1_767_225_600 * SECOND;
/// How long it takes until the baseline stands.
pub(crate) const LEARNED: Micros = 16 * HOUR;
pub(crate) const CHANNELS: [&str; 3] = ["speed", "temperature", "vibration"];

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn unit(code: &str) -> Unit {
    Unit::from_code(code).unwrap()
}

pub(crate) fn spec(code: &str, role: Role, limit: Option<f64>) -> ChannelSpec {
    ChannelSpec { unit: unit(code), role, limit, ..ChannelSpec::adopted() }
}

pub(crate) fn machine() -> AssetSpec {
    let channels = BTreeMap::from([
        (name("speed"), spec("{rpm}", Role::Operating, None)),
        (name("temperature"), ChannelSpec { range: Some((-40.0, 200.0)), ..spec("Cel", Role::Monitored, Some(90.0)) }),
        (name("vibration"), spec("mm/s", Role::Monitored, None)),
    ]);
    AssetSpec { channels, ..AssetSpec::default() }
}

pub(crate) fn registry(assets: &[&str]) -> Registry {
    Registry { generation: 1, assets: assets.iter().map(|a| (name(a), machine())).collect() }
}

/// Settings with a baseline that is learned in less than [`LEARNED`].
pub(crate) fn settings() -> Settings {
    Settings { baseline_slides: 900, ..Settings::default() }
}

/// SplitMix64 as a number in -1..1: noise that is a function of what it belongs to.
pub(crate) fn noise(of: u64) -> f64 {
    let mut z = of.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// What a healthy machine shows on a channel at a time, in the registry's unit.
pub(crate) fn healthy(channel: usize, time: Micros) -> f64 {
    let e = noise((time as u64).wrapping_mul(3).wrapping_add(channel as u64));
    let load = noise((time / MINUTE) as u64);
    match channel {
        0 => 1480.0 + 20.0 * load + 2.0 * e,
        1 => 60.0 + 2.0 * load + 0.8 * e,
        _ => 2.0 + 0.1 * load + 0.15 * e,
    }
}

/// One reading on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sent {
    pub(crate) channel: usize,
    pub(crate) time: Micros,
    pub(crate) value: f64,
    pub(crate) boot: u64,
    pub(crate) sequence: u64,
    pub(crate) arrival: Micros,
}

/// A healthy hour or so: every `step` one reading per channel, arriving at once.
pub(crate) fn stream(from: Micros, to: Micros, step: Micros) -> Vec<Sent> {
    let times = (0..(to - from) / step).map(|i| from + i * step);
    let of = |time: Micros| (0..CHANNELS.len()).map(move |channel| (channel, time + channel as Micros));
    let sent = |(sequence, (channel, time)): (usize, (usize, Micros))| Sent {
        channel,
        time,
        value: healthy(channel, time),
        boot: 7,
        sequence: sequence as u64,
        arrival: time,
    };
    times.flat_map(of).enumerate().map(sent).collect()
}

pub(crate) fn reading(channel: &str, time: Micros, value: f64) -> Reading<'_> {
    Reading { channel, time, value, unit: None, quality: Quality::Good, restamped: false }
}

pub(crate) fn arrival(at: Micros) -> Arrival {
    Arrival { wall: at, monotonic: (at - START).unsigned_abs(), quality: ClockQuality::Synced }
}

/// Hands one reading to the engine.
pub(crate) fn send(engine: &mut Engine, asset: &str, sent: &Sent, out: &mut Vec<Output>) -> Tally {
    let source = Source { boot: sent.boot, sequence: sent.sequence };
    let one = reading(CHANNELS[sent.channel], sent.time, sent.value);
    let tally = engine.readings(&arrival(sent.arrival), asset, source, core::iter::once(one), out);
    assert!(tally.balances());
    tally
}

/// Hands all readings over in the order given, and the account of them.
pub(crate) fn run(engine: &mut Engine, asset: &str, all: &[Sent], out: &mut Vec<Output>) -> Tally {
    let mut tally = Tally::default();
    all.iter().for_each(|sent| tally.add(&send(engine, asset, sent, out)));
    tally
}

/// Readings far behind the rest that push everything before them over every bound.
pub(crate) fn flush(engine: &mut Engine, asset: &str, after: Micros, out: &mut Vec<Output>) {
    let sent = stream(after, after + 10 * MINUTE, 30 * SECOND);
    let sent: Vec<_> = sent.into_iter().map(|s| Sent { boot: 99, ..s }).collect();
    assert_eq!(run(engine, asset, &sent, out).used, sent.len() as u64);
}

/// Tells the engine at `now` what happened to an asset; whether it was late, or why it was not taken.
pub(crate) fn tell(
    engine: &mut Engine,
    asset: &str,
    now: Micros,
    (kind, at, id): (EventKind, Option<Micros>, &str),
    out: &mut Vec<Output>,
) -> Result<bool, &'static str> {
    let event = Happened { kind, at, components: &[], note: None, by: Some("ada"), id };
    engine.happened(&arrival(now), asset, &event, out)
}

pub(crate) fn steps(out: &[Output]) -> Vec<LifeStep> {
    out.iter().filter_map(|o| if let Output::LifeStep(s) = o { Some((**s).clone()) } else { None }).collect()
}

pub(crate) fn healths(out: &[Output]) -> impl Iterator<Item = &Health> {
    out.iter().filter_map(|o| if let Output::Health(h) = o { Some(h) } else { None })
}

pub(crate) fn alerts(out: &[Output]) -> impl Iterator<Item = &Alert> {
    out.iter().filter_map(|o| if let Output::Alert(a) = o { Some(a) } else { None })
}

/// The last revision of each window, its number taken off; checks on the way that revisions count from 0 (H1).
pub(crate) fn last_revisions(out: &[Output]) -> BTreeMap<Micros, Health> {
    let mut last: BTreeMap<Micros, Health> = BTreeMap::new();
    for health in healths(out) {
        let expected = last.get(&health.window_end).map_or(0, |h| h.revision + 1);
        assert_eq!(health.revision, expected, "H1 at {}", health.window_end);
        last.insert(health.window_end, health.clone());
    }
    last.values_mut().for_each(|h| h.revision = 0);
    last
}
