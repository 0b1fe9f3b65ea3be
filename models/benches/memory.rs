//! What the engine holds: bytes a channel at 1,000 assets of five channels, baselines learned, windows full.
//!
//! `cargo bench -p fettle-models --bench memory`. What a channel holds depends on its rate, because readings stay until
//! their lateness has passed; so each rate is a process of its own (memory that one run has freed and not returned would
//! count for the next), started by this program with the seconds between two readings as its argument. Counted are
//! anonymous resident pages, as the system tells them (Linux): what the allocator keeps beside what is used is in it.
//! `... --bench memory -- 10` measures one rate in this process, to be run under a heap profiler.

use std::collections::BTreeMap;
use std::process::Command;

use fettle_models::{AssetSpec, ChannelSpec, Engine, Reading, Registry, Role, Settings, Source};
use fettle_wire::time::{MINUTE, SECOND};
use fettle_wire::{Arrival, ClockQuality, Micros, Name, Quality};

const START: Micros = 1_767_225_600 * SECOND;
const ASSETS: u64 = 1_000;
const CHANNELS: [&str; 5] = ["current", "pressure", "speed", "temperature", "vibration"];
const BASELINE_SLIDES: u32 = 60;
/// A full window, and so far into a slide that readings of three slides are held.
const SPAN: Micros = 34 * MINUTE - 10 * SECOND;

fn name(text: &str) -> Name {
    Name::new(text).expect("the benchmark's own names are names")
}

fn noise(of: u64) -> f64 {
    let z = of.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((z ^ (z >> 32)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn engine() -> Engine {
    let channel = |c: &&str| {
        let role = if *c == "speed" { Role::Operating } else { Role::Monitored };
        (name(c), ChannelSpec { role, ..ChannelSpec::adopted() })
    };
    let asset = AssetSpec { channels: CHANNELS.iter().map(channel).collect(), ..AssetSpec::default() };
    let assets: BTreeMap<_, _> = (0..ASSETS).map(|i| (name(&format!("machine-{i:05}")), asset.clone())).collect();
    let settings = Settings { baseline_slides: BASELINE_SLIDES, ..Settings::default() };
    Engine::new(settings, Registry { generation: 1, assets })
}

/// Feeds every asset frames of `in_frame` readings a channel, `interval` apart, for `span` of event time.
fn feed(engine: &mut Engine, from: Micros, span: Micros, interval: Micros, in_frame: i64, boot: u64) {
    let mut out = Vec::new();
    for frame in 0..span / (interval * in_frame) {
        let first = from + frame * interval * in_frame;
        let last = first + interval * (in_frame - 1);
        let monotonic = (last - START).unsigned_abs();
        let now = Arrival { wall: last, monotonic, quality: ClockQuality::Synced };
        for asset in 0..ASSETS {
            let samples = (0..in_frame).flat_map(|i| (0..CHANNELS.len()).map(move |c| (first + i * interval, c)));
            let readings = samples.map(|(time, channel)| Reading {
                channel: CHANNELS[channel],
                time,
                value: 40.0 + noise(time as u64 ^ (asset << 8) ^ channel as u64),
                unit: None,
                quality: Quality::Good,
                restamped: false,
            });
            let source = Source { boot: boot + asset, sequence: frame as u64 };
            engine.readings(&now, &format!("machine-{asset:05}"), source, readings, &mut out);
            out.clear();
        }
    }
}

/// Anonymous resident memory of this process, bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1024.0
}

fn measure(interval: Micros) {
    let mut engine = engine();
    let registry = resident();
    let learning = i64::from(BASELINE_SLIDES + 10) * MINUTE;
    feed(&mut engine, START, learning, MINUTE, 1, 1);
    let learned = resident();
    feed(&mut engine, START + learning, SPAN, interval, 10, 1 << 32);
    let full = resident();
    let asset = engine.held("machine-00000").expect("it has been fed");
    assert!(engine.assets().count() as u64 == ASSETS && asset.2 == 29 * CHANNELS.len(), "the windows are not full");
    let each = |bytes: f64| bytes / (ASSETS as f64 * CHANNELS.len() as f64);
    println!(
        "a reading each {} s: {:.0} bytes a channel above the registry ({:.0} when the baseline was learned), {:.1} MiB in all; \
         {} open slides, {} readings, {} closed slides of an asset, {} evaluations ahead",
        interval / SECOND,
        each(full - registry),
        each(learned - registry),
        full / f64::from(1 << 20),
        asset.0,
        asset.1,
        asset.2,
        asset.3,
    );
}

fn main() {
    // Cargo adds `--bench`.
    match std::env::args().skip(1).find_map(|argument| argument.parse::<Micros>().ok()) {
        Some(seconds) => measure(seconds * SECOND),
        None => {
            let this = std::env::current_exe().expect("a running program has a path");
            for seconds in ["10", "1"] {
                let done = Command::new(&this).arg(seconds).status();
                assert!(done.is_ok_and(|status| status.success()), "the run at {seconds} s failed");
            }
        }
    }
}
