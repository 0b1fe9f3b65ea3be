//! Cost of the indicators of one waveform block, as a multiple of one `realfft` of that block in the same run.
//!
//! `cargo bench -p fettle-models --bench waveform`. Four cases: a block of 4,096 samples by itself, which is what the
//! budget (4 transforms) is about, without and with a bearing; and one that joins three others, whose envelope is that of
//! all 16,384. Beside criterion's report it prints the ratios, from interleaved rounds so that a busy machine slows both.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use fettle_models::indicate::waveform::analyse::Bearing;
use fettle_models::indicate::waveform::{Analyser, BearingGeometry, Block, Run};
use realfft::RealFftPlanner;

const SAMPLES: usize = 4_096;
const ROUNDS: usize = 2_000;
const BEARING: Bearing = Bearing {
    geometry: BearingGeometry { balls: 9, ball_diameter_mm: 7.94, pitch_diameter_mm: 39.04, contact_angle_deg: 0.0 },
    shaft: 25.0,
};

fn samples(blocks: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 52) as i16 - 2_048
    };
    (0..blocks * SAMPLES).flat_map(|_| next().to_le_bytes()).collect()
}

fn run(blocks: usize) -> Run {
    let bytes = samples(blocks);
    let part = |n: usize| Block {
        boot: 1,
        sequence: n as u64,
        uptime: n as u64 * 160_000,
        rate: 25_600.0,
        scale: 0.001,
        offset: 0.0,
        samples: &bytes[n * 2 * SAMPLES..(n + 1) * 2 * SAMPLES],
    };
    let mut run = Run::begin(&part(0), 0);
    (1..blocks).for_each(|n| run.append(&part(n), 0));
    run
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads a clock")]
fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn waveform(c: &mut Criterion) {
    let plan = RealFftPlanner::<f64>::new().plan_fft_forward(SAMPLES);
    let (input, mut output, mut scratch) = (vec![0.5; SAMPLES], plan.make_output_vec(), plan.make_scratch_vec());
    let mut buffer = input.clone();
    let mut analyser = Analyser::default();
    let cases = [
        ("block", run(1), None),
        ("block, bearing", run(1), Some(BEARING)),
        ("joined, bearing", run(4), Some(BEARING)),
    ];
    let mut transform = || {
        // The transform destroys its input.
        buffer.copy_from_slice(&input);
        plan.process_with_scratch(&mut buffer, &mut output, &mut scratch).expect("the plan's own lengths");
        black_box(&output);
    };
    for (name, run, bearing) in &cases {
        let (mut peer, mut own) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            peer.push(timed(&mut transform));
            own.push(timed(|| {
                black_box(analyser.analyse(black_box(run), bearing.as_ref()));
            }));
        }
        let (peer, own) = (median(peer), median(own));
        println!("{name}: {own:.1} us, one realfft of {SAMPLES}: {peer:.1} us, ratio {:.2}", own / peer);
    }
    c.bench_function("waveform/realfft of 4096", |b| b.iter(&mut transform));
    for (name, run, bearing) in &cases {
        c.bench_function(&format!("waveform/{name}"), |b| {
            b.iter(|| black_box(analyser.analyse(run, bearing.as_ref())));
        });
    }
}

criterion_group!(benches, waveform);
criterion_main!(benches);
