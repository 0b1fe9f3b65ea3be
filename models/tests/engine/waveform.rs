//! Waveforms: a block becomes readings of derived channels, which go the way of every reading; what is bounded stays so.

use fettle_models::indicate::waveform::Block;
use fettle_models::{
    AssetSpec, BearingGeometry, Capture, Engine, Output, Registry, Role, Settings, Source, WaveformBlock,
};
use fettle_wire::evidence::{MAX_POINTS, MAX_SAMPLES, Occasion};
use fettle_wire::time::{HOUR, MINUTE, SECOND};
use fettle_wire::{Change, Evidence, Micros, Tally, Verdict};

use crate::plant::*;

const RATE: f64 = 25_600.0;
const SAMPLES: usize = 4_096;
const BASELINE: i64 = 240;
/// Turns of the shaft a second.
const SHAFT: f64 = 25.0;
const GEOMETRY: BearingGeometry =
    BearingGeometry { balls: 9, ball_diameter_mm: 7.94, pitch_diameter_mm: 39.04, contact_angle_deg: 0.0 };

fn bearing() -> AssetSpec {
    let mut spec = machine();
    spec.channels.get_mut("speed").unwrap().kind = "speed".into();
    let waveform =
        fettle_models::ChannelSpec { kind: "acceleration".into(), ..self::spec("m/s2", Role::Monitored, None) };
    spec.channels.insert(name("a"), waveform);
    AssetSpec { bearing_geometry: Some(GEOMETRY), ..spec }
}

fn plant(settings: &Settings, spec: &AssetSpec) -> Engine {
    let assets = ["p", "q"].into_iter().map(|a| (name(a), spec.clone())).collect();
    Engine::new(settings.clone(), Registry { generation: 1, assets })
}

fn quick() -> Settings {
    Settings { baseline_slides: BASELINE as u32, ..Settings::default() }
}

/// Noise of about 1 m/s2, and impacts of `size` times as much at the outer ring's frequency, with slip, ringing at 5 kHz.
fn samples(size: f64, seed: u64) -> Vec<u8> {
    let mut at = seed << 20;
    let mut uniform = || {
        at += 1;
        noise(at)
    };
    let mut values: Vec<f64> = (0..SAMPLES).map(|_| 100.0 * (uniform() + uniform() + uniform())).collect();
    let every = RATE / GEOMETRY.frequencies(SHAFT)[0];
    let mut impact = every * 0.5 * (1.0 + uniform());
    while impact < SAMPLES as f64 {
        for (i, value) in values.iter_mut().enumerate().skip(impact.ceil() as usize).take(200) {
            let since = (i as f64 - impact) / RATE;
            *value += 100.0 * size * (-1_500.0 * since).exp() * (std::f64::consts::TAU * 5_000.0 * since).sin();
        }
        impact += every * (1.0 + 0.01 * uniform());
    }
    values.iter().flat_map(|v| (*v as i16).to_le_bytes()).collect()
}

fn block(samples: &[u8], time: Micros, sequence: u64) -> WaveformBlock<'_> {
    let uptime = (time - START).unsigned_abs();
    let block = Block { boot: 7, sequence, uptime, rate: RATE, scale: 0.01, offset: 0.0, samples };
    WaveformBlock { channel: "a", time, restamped: false, block }
}

fn send_block(engine: &mut Engine, asset: &str, block: &WaveformBlock<'_>, out: &mut Vec<Output>) -> Tally {
    let tally = engine.waveform(&arrival(block.time), asset, block, out);
    assert!(tally.balances() && tally.received == 1);
    tally
}

/// One minute of a machine: its scalar channels, and one block.
fn minute(engine: &mut Engine, asset: &str, at: i64, size: f64, out: &mut Vec<Output>) {
    let time = START + at * MINUTE;
    for (i, channel) in CHANNELS.into_iter().enumerate() {
        let value = if channel == "speed" { 60.0 * SHAFT } else { healthy(i, time + i as Micros) };
        let source = Source { boot: 7, sequence: 4 * at as u64 + i as u64 };
        let one = reading(channel, time + SECOND, value);
        assert_eq!(engine.readings(&arrival(time + SECOND), asset, source, core::iter::once(one), out).used, 1);
    }
    let bytes = samples(size, at as u64);
    assert_eq!(send_block(engine, asset, &block(&bytes, time + 2 * SECOND, 4 * at as u64 + 3), out).used, 1);
}

fn evidence(out: &[Output]) -> impl Iterator<Item = &Evidence> {
    out.iter().filter_map(|o| if let Output::Evidence(e) = o { Some(&**e) } else { None })
}

fn captures(out: &[Output]) -> impl Iterator<Item = &Capture> {
    out.iter().filter_map(|o| if let Output::Capture(c) = o { Some(&**c) } else { None })
}

#[test]
fn a_growing_defect_raises_an_anomaly_that_names_what_the_waveform_shows_and_evidence_is_given() {
    let mut engine = plant(&quick(), &bearing());
    let mut out = Vec::new();
    (0..BASELINE + 120).for_each(|at| minute(&mut engine, "p", at, 0.0, &mut out));
    assert_eq!(alerts(&out).count(), 0, "{:?}", alerts(&out).next());
    let last = healths(&out).last().unwrap();
    assert_eq!(last.verdict, Verdict::Normal, "{:?} {:?}", last.reason, last.flags);
    let shown: Vec<&str> = last.indicators.iter().map(|i| i.channel.as_str()).collect();
    for channel in ["a.rms", "a.peak", "a.crest", "a.kurtosis", "a.band1", "a.band5", "a.bpfo", "a.bpfi", "a.bsf"] {
        assert!(shown.contains(&channel), "{channel} {shown:?}");
    }
    assert!(!shown.contains(&"a"), "a waveform is no value");
    assert!(last.flags.is_empty(), "{:?}", last.flags);
    assert!(evidence(&out).all(|e| e.occasion == Occasion::Periodic));
    assert_eq!(evidence(&out).count(), 6, "one an hour");
    out.clear();
    (BASELINE + 120..BASELINE + 240)
        .for_each(|at| minute(&mut engine, "p", at, (at - BASELINE - 120) as f64 * 0.1, &mut out));
    let raised = alerts(&out).find(|a| a.change == Change::Raised).unwrap();
    assert_eq!(raised.condition, "anomaly");
    let most = &raised.contributions[0];
    assert!(["a.bpfo", "a.kurtosis", "a.rms"].contains(&most.channel.as_str()), "{:?}", raised.contributions);
    let shown: Vec<_> = evidence(&out).filter(|e| e.occasion == Occasion::Alarm).collect();
    assert_eq!(shown.len(), alerts(&out).filter(|a| a.change == Change::Raised).count());
    let shown = shown[0];
    assert_eq!((shown.condition.as_deref(), shown.occurrence), (Some("anomaly"), Some(raised.occurrence)));
    assert!(shown.samples.len() <= 2 * MAX_SAMPLES && shown.spectrum.values.len() <= MAX_POINTS);
    assert!((shown.speed.unwrap() - SHAFT).abs() < 0.01 && !shown.speed_assumed);
    assert_eq!(shown.lines.len(), 4);
    let json = fettle_wire::json::encode(shown).unwrap();
    assert!(json.len() < 40_000, "{}", json.len());
    let kept: Vec<_> = captures(&out).collect();
    assert_eq!(kept.iter().filter(|c| !c.after).count(), 1);
    assert_eq!(kept.iter().filter(|c| c.after).count(), 4);
    assert!(kept.iter().all(|c| c.samples.len() == 2 * SAMPLES && c.raised_at == raised.raised_at));
    assert!(kept.is_sorted_by(|a, b| a.time < b.time), "no block twice");
}

#[test]
fn a_block_counts_once_whatever_becomes_of_it() {
    let settings = Settings { waveform_blocks_per_minute: 3, ..quick() };
    let mut engine = plant(&settings, &bearing());
    let (mut out, good) = (Vec::new(), samples(0.0, 1));
    let mut tally = Tally::default();
    let mut take = |block: WaveformBlock<'_>| tally.add(&send_block(&mut engine, "p", &block, &mut Vec::new()));
    let at = START + HOUR;
    take(WaveformBlock { channel: "temperature", ..block(&good, at, 0) });
    take(block(&[0; 2 * SAMPLES], at, 1));
    take(block(&good[..100], at, 2));
    take(WaveformBlock { time: 5, ..block(&good, at, 3) });
    for n in 4..9 {
        take(block(&good, at + n as Micros * SECOND, n));
    }
    take(block(&good, at + MINUTE, 9));
    assert_eq!((tally.received, tally.used), (10, 4));
    assert_eq!(tally.shed["waveform_over_budget"], 2);
    for reason in ["waveform_not_configured", "waveform_constant", "waveform_too_short", "time_before_2000"] {
        assert_eq!(tally.rejected[reason], 1, "{reason} {tally:?}");
    }
    let unknown = engine.waveform(&arrival(at), "stranger", &block(&good, at, 0), &mut out);
    assert_eq!((unknown.received, unknown.rejected["quarantined"]), (1, 1));
    (0..10).for_each(|n| minute(&mut engine, "q", n, 0.0, &mut out));
    let late = send_block(&mut engine, "q", &block(&good, START, 99), &mut out);
    assert_eq!(late.late, 1);
    let again = send_block(&mut engine, "q", &block(&samples(0.0, 9), START + 9 * MINUTE + 2 * SECOND, 39), &mut out);
    assert_eq!(again.duplicate, 1);
}

#[test]
fn a_waveform_channel_that_is_silent_holds_nothing_back_and_takes_no_scalar() {
    let mut engine = plant(&quick(), &bearing());
    let mut out = Vec::new();
    let all = stream(START, START + 20 * MINUTE, 20 * SECOND);
    assert_eq!(run(&mut engine, "p", &all, &mut out).used, all.len() as u64);
    assert!(healths(&out).count() > 10);
    let one = core::iter::once(reading("a", START, 1.0));
    let tally = engine.readings(&arrival(START), "p", Source { boot: 1, sequence: 0 }, one, &mut out);
    assert_eq!(tally.rejected["unknown_channel"], 1);
}

#[test]
fn without_a_reading_the_rated_speed_is_assumed_and_said() {
    let spec = AssetSpec { rated_speed_rpm: Some(60.0 * SHAFT), ..bearing() };
    let mut engine = plant(&quick(), &spec);
    let (mut out, bytes) = (Vec::new(), samples(5.0, 1));
    for n in 0..5 {
        send_block(&mut engine, "p", &block(&bytes, START + n * MINUTE, n as u64), &mut out);
    }
    let shown = evidence(&out).next().unwrap();
    assert!(shown.speed_assumed && shown.speed == Some(SHAFT) && shown.lines[0].strength.unwrap() > 15.0, "{shown:?}");
    assert!(healths(&out).last().unwrap().flags.contains(&"speed_assumed:a".to_owned()));
}

#[test]
fn e2_and_e4_assets_do_not_mix_and_a_restart_changes_no_bit() {
    let settings = Settings { waveform_publish: 5 * MINUTE, ..quick() };
    let size = |at: i64| if at > BASELINE + 20 { 8.0 } else { 0.0 };
    let (mut alone, mut mixed) = (Vec::new(), Vec::new());
    let mut one = plant(&settings, &bearing());
    let mut other = plant(&settings, &bearing());
    for at in 0..BASELINE + 40 {
        minute(&mut one, "p", at, size(at), &mut alone);
        let mut of_q = Vec::new();
        minute(&mut other, "q", at, 3.0, &mut of_q);
        minute(&mut other, "p", at, size(at), &mut mixed);
        if at % 7 == 0 || at > BASELINE + 15 {
            let mut new = plant(&settings, &bearing());
            new.load_shared(&other.save_shared()).unwrap();
            for asset in ["p", "q"] {
                let saved = other.save_asset(asset).unwrap();
                new.load_asset(&name(asset), &saved).unwrap();
                assert_eq!(new.save_asset(asset).unwrap(), saved, "what was loaded is saved alike");
            }
            other = new;
        }
    }
    assert!(alerts(&alone).count() > 0 && captures(&alone).count() > 0);
    assert!(alone == mixed, "the outputs differ");
    let bytes = one.save_asset("p").unwrap().len();
    assert!(bytes < 400_000, "{bytes}");
}
