//! Cost of one slide of one frozen detector with five channels, of cloning it, and of a threshold.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use fettle_models::detect::{Detector, run_length};

#[path = "../tests/detect_synthetic/mod.rs"]
mod detect_synthetic;

fn detect(c: &mut Criterion) {
    let (layout, params) = (detect_synthetic::layout(), detect_synthetic::params(1.0));
    let mut machine = detect_synthetic::Machine::new(1, detect_synthetic::IDEAL);
    let mut detector = Detector::new(&layout, &params);
    let mut at = 0;
    let values: Vec<_> = (0..4096).map(|_| machine.next().map(Some)).collect();
    for x in &values {
        at += params.slide;
        detector.step(at, &layout, &params, x);
    }
    let mut i = 0;
    c.bench_function("detect/step of 5 channels", |b| {
        b.iter(|| {
            at += params.slide;
            i = (i + 1) % values.len();
            black_box(detector.step(at, &layout, &params, black_box(&values[i])))
        });
    });
    c.bench_function("detect/clone", |b| b.iter(|| black_box(detector.clone())));
    let mut learner = Detector::new(&layout, &params);
    values[..700].iter().enumerate().for_each(|(i, x)| {
        learner.step(i as i64 * params.slide, &layout, &params, x);
    });
    c.bench_function("detect/clone while learning", |b| b.iter(|| black_box(learner.clone())));
    c.bench_function("detect/run length of one threshold", |b| {
        b.iter(|| run_length::average_run_length(3, 0.1, black_box(20.0)));
    });
}

criterion_group!(benches, detect);
criterion_main!(benches);
