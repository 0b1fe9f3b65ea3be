//! What the codec costs: a frame of 1 and of 100 readings, encoded and decoded, and an alert's envelope.
//!
//! `cargo bench -p fettle-wire`; docs/benchmarks.md keeps the figures. Throughput is in readings, so criterion's
//! `elem/s` is readings per second. The values have few significant digits, as sensors send them, but do not fit the
//! half precision that CBOR's encoder tries first: they cost nine bytes each.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fettle_wire::time::SECOND;
use fettle_wire::{
    AlarmState, Alert, Change, ClockQuality, Contribution, Envelope, Frame, Identity, Lane, Name, Priority,
};
use serde_json::value::RawValue;

const CHANNELS: [&str; 5] = ["vibration", "temperature", "pressure", "current", "speed"];

fn frame(readings: usize) -> Frame<'static> {
    Frame {
        version: fettle_wire::SCHEMA_VERSION,
        boot: 0x1234_5678_9abc_def0,
        sequence: 123_456,
        oldest: 123_400,
        time: Some(1_795_254_314 * SECOND),
        uptime: 86_400_000_000,
        clock: ClockQuality::Synced,
        channels: CHANNELS[..readings.min(CHANNELS.len())].to_vec(),
        readings: (0..readings)
            .map(|i| ((i % CHANNELS.len()) as u16, i as i64 * 10_000, 70.1 + i as f64 * 0.01))
            .collect(),
        flags: Vec::new(),
        waveform: None,
    }
}

fn alert() -> Alert {
    let name = |text: &str| Name::new(text).expect("a valid name");
    Alert {
        asset: name("pump-1"),
        condition: "anomaly".into(),
        occurrence: 1,
        change: Change::Raised,
        state: AlarmState::Unacknowledged,
        priority: Priority::High,
        raised_at: 1_795_254_314 * SECOND,
        at: 1_795_254_314 * SECOND,
        score: 31.401_234,
        p_value: Some(1.2e-7),
        message: "vibration is 3.1 times what the baseline expects".into(),
        contributions: CHANNELS
            .iter()
            .map(|c| Contribution { channel: name(c), share: 0.2, value: 70.1, expected: 69.9, unit: "m/s".into() })
            .collect(),
        flags: Vec::new(),
        shelved_until: None,
        comment: None,
        label: None,
        by: None,
        command: None,
    }
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    for readings in [1, 100] {
        let frame = frame(readings);
        let bytes = frame.encode().expect("encodable");
        group.throughput(Throughput::Elements(readings as u64));
        group.bench_function(format!("decode/{readings}"), |b| {
            b.iter(|| Frame::decode(black_box(&bytes)).expect("a frame").readings.len());
        });
        group.bench_function(format!("encode/{readings}"), |b| {
            b.iter(|| black_box(&frame).encode().expect("encodable").len());
        });
    }
    group.finish();

    let name = |text: &str| Name::new(text).expect("a valid name");
    let identity = Identity { site: name("plant-a"), agent: name("gw-1"), incarnation: 7 };
    let body = RawValue::from_string(fettle_wire::json::encode(&alert()).expect("encodable")).expect("JSON");
    let text = Envelope::new(&identity, Lane::Alerts, 1, &[b"pump-1"], body.clone()).encode().expect("encodable");
    let mut group = c.benchmark_group("envelope");
    group.bench_function("wrap and encode", |b| {
        b.iter(|| Envelope::new(&identity, Lane::Alerts, 1, &[b"pump-1"], body.clone()).encode().expect("encodable"));
    });
    group.bench_function("decode with body", |b| {
        b.iter(|| {
            let envelope = Envelope::decode(black_box(text.as_bytes())).expect("an envelope");
            envelope.body::<Alert>().expect("an alert").score
        });
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
