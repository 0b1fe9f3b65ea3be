//! Clocks that leap, lie or stop.

use fettle_models::{Engine, Output, Settings, Source};
use fettle_wire::time::{DAY, HOUR, MINUTE, SECOND};
use fettle_wire::{Arrival, ClockQuality, Micros, Tally};

use crate::plant::*;

const YEAR: Micros = 365 * DAY;

fn ten_minutes(engine: &mut Engine, from: Micros, out: &mut Vec<Output>) -> Tally {
    run(engine, "p", &stream(from, from + 10 * MINUTE, 20 * SECOND), out)
}

#[test]
fn a_jump_over_decades_costs_what_a_jump_over_an_hour_costs() {
    let cost = |jump: Micros| {
        let mut engine = Engine::new(settings(), registry(&["p"]));
        let mut out = Vec::new();
        ten_minutes(&mut engine, START, &mut out);
        ten_minutes(&mut engine, START + jump, &mut out);
        (engine.evaluations("p"), out.len(), engine.held("p"))
    };
    assert_eq!(cost(60 * YEAR), cost(HOUR));
    assert!(cost(60 * YEAR).0 <= 20);
}

#[test]
fn how_a_gap_was_crossed_changes_nothing_that_is_final() {
    let run = |ticks: bool, publish: Micros| {
        let settings = Settings { publish, ..settings() };
        let mut engine = Engine::new(settings, registry(&["p"]));
        let mut out = Vec::new();
        ten_minutes(&mut engine, START, &mut out);
        if ticks {
            (1..60).for_each(|i| engine.tick(&arrival(START + (10 + i) * MINUTE), &mut out));
        }
        ten_minutes(&mut engine, START + 10 * YEAR, &mut out);
        flush(&mut engine, "p", START + 11 * YEAR, &mut out);
        last_revisions(&out)
    };
    for publish in [MINUTE, 3 * MINUTE, HOUR] {
        assert_eq!(run(true, publish), run(false, publish));
    }
}

#[test]
fn stamps_of_1970_and_2106_are_counted_and_harm_nobody() {
    let outputs = |strays: bool| {
        let mut engine = Engine::new(settings(), registry(&["p"]));
        let (mut out, mut tally) = (Vec::new(), Tally::default());
        for sent in stream(START, START + 20 * MINUTE, 20 * SECOND) {
            if strays && sent.sequence % 10 == 3 {
                for time in [0, 86_400 * SECOND, 4_291_747_200 * SECOND, i64::MIN, i64::MAX, START + DAY] {
                    tally.add(&send(&mut engine, "p", &Sent { time, ..sent }, &mut Vec::new()));
                }
            }
            send(&mut engine, "p", &sent, &mut out);
        }
        (out, tally)
    };
    let (clean, _) = outputs(false);
    let (strayed, tally) = outputs(true);
    assert_eq!(clean, strayed);
    assert_eq!((tally.rejected["time_before_2000"], tally.rejected["time_after_2100"]), (54, 36));
    assert_eq!((tally.rejected["time_in_future"], tally.used), (18, 0));
}

#[test]
fn with_an_unknown_wall_clock_one_stamp_far_ahead_moves_no_channel() {
    let outputs = |stray: bool| {
        let mut engine = Engine::new(settings(), registry(&["p"]));
        let mut out = Vec::new();
        let unknown = |engine: &mut Engine, sent: &Sent, out: &mut Vec<Output>| {
            let now = Arrival { quality: ClockQuality::Unknown, ..arrival(sent.arrival) };
            let source = Source { boot: sent.boot, sequence: sent.sequence };
            let one = reading(CHANNELS[sent.channel], sent.time, sent.value);
            engine.readings(&now, "p", source, core::iter::once(one), out)
        };
        for sent in stream(START, START + 20 * MINUTE, 20 * SECOND) {
            if stray && [30, 31, 32].contains(&sent.sequence) {
                // One on each channel: not even all of them together may leap on a single stamp each.
                let tally = unknown(&mut engine, &Sent { time: START + 70 * YEAR, boot: 1, ..sent }, &mut out);
                assert_eq!(tally.used, 1);
            }
            let tally = unknown(&mut engine, &sent, &mut out);
            assert_eq!((tally.used, tally.late), (1, 0));
        }
        out
    };
    assert_eq!(outputs(false), outputs(true));
}

#[test]
fn a_node_whose_clock_restarted_in_2000_harms_only_its_own_channel() {
    let mut engine = Engine::new(settings(), registry(&["p"]));
    let mut out = Vec::new();
    let behind = |s: &Sent| if s.channel == 2 { s.time - 26 * YEAR } else { s.time };
    let all = stream(START, START + 20 * MINUTE, 20 * SECOND);
    let all: Vec<_> = all.iter().map(|s| Sent { time: behind(s), ..*s }).collect();
    let tally = run(&mut engine, "p", &all, &mut out);
    let ends: Vec<_> = healths(&out).map(|h| h.window_end).filter(|e| *e > START).collect();
    assert_eq!(ends.len(), 19);
    assert!(tally.late > 50 && tally.used >= 120, "{tally:?}");
}

#[test]
fn a_silent_channel_stops_holding_its_asset_back_after_the_idle_time() {
    let mut engine = Engine::new(settings(), registry(&["p"]));
    let mut out = Vec::new();
    let all = stream(START, START + 10 * MINUTE, 20 * SECOND);
    let all: Vec<_> = all.into_iter().filter(|s| s.channel != 2 || s.time < START + 3 * MINUTE).collect();
    let reached = |out: &[Output]| healths(out).map(|h| (h.window_end - START) / MINUTE).max();
    run(&mut engine, "p", &all, &mut out);
    assert_eq!(reached(&out), Some(2));
    assert!(engine.pending());
    engine.tick(&arrival(START + 9 * MINUTE + 59 * SECOND), &mut out);
    assert_eq!(reached(&out), Some(9));
    // When all are silent, the rest is evaluated up to the highest watermark; then nothing is pending.
    engine.tick(&arrival(START + 20 * MINUTE), &mut out);
    assert_eq!(reached(&out), Some(9));
    assert!(!engine.pending());
}

#[test]
fn a_late_reading_revises_and_a_later_one_is_only_counted() {
    let mut engine = Engine::new(settings(), registry(&["p"]));
    let mut out = Vec::new();
    ten_minutes(&mut engine, START, &mut out);
    let before = out.len();
    let late =
        |time: Micros| Sent { channel: 1, time, value: 60.0, boot: 3, sequence: 1, arrival: START + 10 * MINUTE };
    assert_eq!(send(&mut engine, "p", &late(START + 8 * MINUTE + 1), &mut out).used, 1);
    assert_eq!(send(&mut engine, "p", &late(START + 8 * MINUTE + 1), &mut out).duplicate, 1);
    assert_eq!(send(&mut engine, "p", &late(START + MINUTE), &mut out).late, 1);
    assert_eq!(out.len(), before, "a revision waits for the next evaluation");
    ten_minutes(&mut engine, START + 10 * MINUTE, &mut out);
    let revised: Vec<_> = healths(&out).filter(|h| h.revision > 0).map(|h| (h.window_end - START) / MINUTE).collect();
    assert_eq!(revised, [9]);
    last_revisions(&out);
}

#[test]
fn a_flood_within_the_open_time_meets_a_bound() {
    let mut engine = Engine::new(settings(), registry(&["p"]));
    let mut tally = Tally::default();
    for frame in 0..100 {
        let source = Source { boot: 1, sequence: frame };
        let at = |i: i64| START + (frame as i64 * 1000 + i) * 2_000;
        let readings = (0..1000).map(|i| reading("vibration", at(i), 1.0));
        tally.add(&engine.readings(&arrival(START + 4 * MINUTE), "p", source, readings, &mut Vec::new()));
        // Another channel speaks and holds the asset back.
        tally.add(&engine.readings(
            &arrival(START + 4 * MINUTE),
            "p",
            source,
            core::iter::once(reading("speed", START + frame as i64, 1480.0)),
            &mut Vec::new(),
        ));
    }
    assert!(tally.balances());
    assert!(tally.shed["window_full"] > 30_000, "{tally:?}");
    assert!(engine.held("p").unwrap().1 <= 65_536 + 100);
}
