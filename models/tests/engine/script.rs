//! Runs the watermark scripts in `testdata/watermark/*.txt`; they say by themselves what they mean.

use std::fmt::Write as _;

use fettle_models::{AssetSpec, ChannelSpec, Engine, Output, Registry, Settings, Source};
use fettle_wire::Micros;
use fettle_wire::time::{HOUR, MINUTE, SECOND};

use crate::plant::{START, arrival, name, reading};

/// `12:01:30` as event time of the scripts' day.
fn clock(text: &str) -> Micros {
    let mut parts = text.split(':').map(|p| p.parse::<Micros>().unwrap());
    let mut next = || parts.next().unwrap_or(0);
    START + next() * HOUR + next() * MINUTE + next() * SECOND
}

fn shown(out: &[Output]) -> String {
    let mut text = String::new();
    for output in out {
        if let Output::Health(h) = output {
            let minutes = (h.window_end - START) / MINUTE;
            write!(text, " | {:02}:{:02} r{}", minutes / 60, minutes % 60, h.revision).unwrap();
            h.indicators.iter().for_each(|i| write!(text, " {}={}", i.channel, i.count).unwrap());
        }
    }
    text
}

fn step(engine: &mut Engine, number: usize, line: &str) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    let mut out = Vec::new();
    let now = arrival(clock(words[0]));
    if words[1] == "tick" {
        engine.tick(&now, &mut out);
        return format!("tick{}", shown(&out));
    }
    let one = reading(words[1], clock(words[2]), 1.0);
    let tally =
        engine.readings(&now, "m", Source { boot: 1, sequence: number as u64 }, core::iter::once(one), &mut out);
    let outcome = match (tally.used, tally.late) {
        (1, _) => "used".to_string(),
        (_, 1) => "late".to_string(),
        _ => tally.rejected.keys().chain(tally.shed.keys()).cloned().collect(),
    };
    outcome + &shown(&out)
}

#[test]
fn the_scripts_say_what_happens() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/watermark");
    let mut ran = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let channels = ["a", "b"].map(|c| (name(c), ChannelSpec::adopted()));
        let asset = AssetSpec { channels: channels.into_iter().collect(), ..AssetSpec::default() };
        let registry = Registry { generation: 1, assets: [(name("m"), asset)].into_iter().collect() };
        let mut engine = Engine::new(Settings { window: 5 * MINUTE, ..Settings::default() }, registry);
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            let Some((given, expected)) = line.split_once("->").filter(|_| !line.starts_with('#')) else { continue };
            let happened = step(&mut engine, number, given);
            assert_eq!(happened, expected.trim(), "{}:{}: {line}", path.display(), number + 1);
            ran += 1;
        }
    }
    assert!(ran > 20, "{ran}");
}
