//! Cost of one reading through the whole engine, beside a bare map of running means in the same run.
//!
//! `cargo bench -p fettle-models --bench engine`. One iteration is one minute of event time at one reading a second on
//! five channels of every asset: it holds exactly one slide, so windows, indicators, detection and publication are in
//! it. Printed besides criterion's own report: nanoseconds a reading, and the ratio to the reference, a
//! `BTreeMap<(asset, channel), (count, mean, m2)>` that is looked up by name and updated by Welford's formula.
//! Time is the thread's time on a processor where the system tells it (Linux), so that a busy machine matters less.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fettle_models::{AssetSpec, ChannelSpec, Engine, Output, Reading, Registry, Settings, Source};
use fettle_wire::time::{MINUTE, SECOND};
use fettle_wire::{Arrival, ClockQuality, Micros, Name, Quality};

const START: Micros = 1_767_225_600 * SECOND;
const CHANNELS: [&str; 5] = ["current", "pressure", "speed", "temperature", "vibration"];

fn name(text: &str) -> Name {
    Name::new(text).expect("the benchmark's own names are names")
}

fn noise(of: u64) -> f64 {
    let z = of.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((z ^ (z >> 32)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

struct Plant {
    engine: Engine,
    names: Vec<String>,
    second: u64,
    per_frame: usize,
    out: Vec<Output>,
}

impl Plant {
    /// A plant whose baselines are learned, at one reading a minute.
    fn new(assets: usize, window: Micros, per_frame: usize) -> Self {
        let names: Vec<_> = (0..assets).map(|i| format!("machine-{i:05}")).collect();
        let channels: BTreeMap<_, _> = CHANNELS.iter().map(|c| (name(c), ChannelSpec::adopted())).collect();
        let asset = AssetSpec { channels, ..AssetSpec::default() };
        let assets = names.iter().map(|n| (name(n), asset.clone())).collect();
        let settings = Settings { window, baseline_slides: 60, ..Settings::default() };
        let engine = Engine::new(settings, Registry { generation: 1, assets });
        let mut plant = Self { engine, names, second: 0, per_frame, out: Vec::new() };
        for _ in 0..70 {
            plant.second_passes();
            plant.second += 59;
        }
        (0..240).for_each(|_| plant.second_passes());
        plant
    }

    fn second_passes(&mut self) {
        let time = START + self.second as Micros * SECOND;
        let now = Arrival { wall: time, monotonic: self.second * 1_000_000, quality: ClockQuality::Synced };
        for (i, asset) in self.names.iter().enumerate() {
            for (f, frame) in CHANNELS.chunks(self.per_frame).enumerate() {
                let source = Source { boot: 1, sequence: self.second * 8 + f as u64 };
                let readings = frame.iter().map(|channel| Reading {
                    channel,
                    time,
                    value: noise(self.second * 131 + i as u64 + channel.len() as u64 * 7_919),
                    unit: None,
                    quality: Quality::Good,
                    restamped: false,
                });
                black_box(self.engine.readings(&now, asset, source, readings, &mut self.out));
            }
        }
        self.second += 1;
        self.out.clear();
    }

    fn minute_passes(&mut self) {
        (0..60).for_each(|_| self.second_passes());
    }
}

/// Nanoseconds this thread has run: the first number of its schedstat; wall time where there is none.
fn now() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ran = schedstat.and_then(|s| s.split(' ').next().and_then(|n| n.parse().ok()));
    ran.map_or_else(wall, Duration::from_nanos)
}

fn wall() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    START.get_or_init(Instant::now).elapsed()
}

/// Times iterations and keeps the total, so that nanoseconds a reading can be printed.
fn timed(iterations: u64, total: &Cell<(Duration, u64)>, mut minute: impl FnMut()) -> Duration {
    let start = now();
    (0..iterations).for_each(|_| minute());
    let elapsed = now() - start;
    total.set((total.get().0 + elapsed, total.get().1 + iterations));
    elapsed
}

fn report(what: &str, readings: u64, total: &Cell<(Duration, u64)>) -> f64 {
    let (time, iterations) = total.get();
    let each = time.as_nanos() as f64 / (iterations * readings).max(1) as f64;
    println!("{what}: {each:.1} ns a reading");
    each
}

fn engine(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine");
    group.sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    let readings = |assets: u64| assets * 60 * CHANNELS.len() as u64;
    let total = Cell::new((Duration::ZERO, 0));
    let mut map: BTreeMap<(String, String), (f64, f64, f64)> = BTreeMap::new();
    let keys: Vec<_> = (0..1_000).map(|i| format!("machine-{i:05}")).collect();
    group.throughput(Throughput::Elements(readings(1_000)));
    group.bench_function("reference: a map of running means, 1000 assets", |b| {
        b.iter_custom(|n| {
            timed(n, &total, || {
                for second in 0..60u64 {
                    for (i, asset) in keys.iter().enumerate() {
                        for channel in CHANNELS {
                            let x = noise(second * 131 + i as u64);
                            let entry = map.entry((asset.clone(), channel.to_string())).or_default();
                            entry.0 += 1.0;
                            let d = x - entry.1;
                            entry.1 += d / entry.0;
                            entry.2 += d * (x - entry.1);
                        }
                    }
                }
                black_box(&map);
            })
        });
    });
    let reference = report("reference", readings(1_000), &total);
    for (assets, window, per_frame) in
        [(1, 30, 5), (1_000, 30, 5), (10_000, 30, 5), (1_000, 5, 5), (1_000, 60, 5), (1_000, 30, 1)]
    {
        // Made when first needed: criterion may have been told to leave this one out.
        let mut plant = None;
        let total = Cell::new((Duration::ZERO, 0));
        let id = format!("{assets} assets, window {window} min, {per_frame} a frame");
        group.throughput(Throughput::Elements(readings(assets as u64)));
        group.bench_function(BenchmarkId::from_parameter(&id), |b| {
            let plant = plant.get_or_insert_with(|| Plant::new(assets, window * MINUTE, per_frame));
            b.iter_custom(|n| timed(n, &total, || plant.minute_passes()));
        });
        let each = report(&id, readings(assets as u64), &total);
        println!("{id}: {:.2} x the reference", each / reference);
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
