//! Who comes in: quarantine, adoption, unknown channels, bounds, retirement.

use fettle_models::{Engine, Reading, Settings, Source, UnknownPolicy};
use fettle_wire::time::{DAY, MINUTE, SECOND};
use fettle_wire::{Arrival, ClockQuality, Quality, Tally};

use crate::plant::*;

const SOURCE: Source = Source { boot: 1, sequence: 1 };

fn give(engine: &mut Engine, asset: &str, readings: &[Reading<'_>]) -> Tally {
    let tally = engine.readings(&arrival(START + MINUTE), asset, SOURCE, readings.iter().copied(), &mut Vec::new());
    assert!(tally.balances(), "E1: {tally:?}");
    tally
}

#[test]
fn an_unknown_asset_is_counted_listed_and_adopted_by_command_with_the_units_it_declared() {
    let mut engine = Engine::new(settings(), registry(&["p"]));
    let warm = Reading { unit: Some(unit("Cel")), ..reading("temperature", START, 20.0) };
    let tally = give(&mut engine, "stray", &[warm, reading("bad name", START, 1.0), reading("x", START, 1.0)]);
    assert_eq!((tally.received, tally.rejected["quarantined"]), (3, 3));
    assert!(engine.is_quarantined("stray"));
    assert_eq!(engine.quarantined().map(|(n, c)| (n.to_string(), c)).collect::<Vec<_>>(), [("stray".to_string(), 3)]);
    assert_eq!(engine.adopt("nobody"), Err("unknown_asset"));
    assert_eq!(engine.adopt("stray"), Ok(()));
    assert_eq!(engine.adopt("stray"), Ok(()), "twice changes nothing");
    assert!(!engine.is_quarantined("stray"));
    // Adoption survives a restart, and so do channels that join later.
    let tally = give(&mut engine, "stray", &[warm, reading("late-comer", START, 5.0)]);
    assert_eq!(tally.used, 2);
    let mut next = Engine::new(settings(), registry(&["p"]));
    next.load_shared(&engine.save_shared()).unwrap();
    next.load_asset(&name("stray"), &engine.save_asset("stray").unwrap()).unwrap();
    let bar = Reading { unit: Some(unit("bar")), ..warm };
    let tally =
        give(&mut next, "stray", &[Reading { time: START + 1, ..warm }, bar, reading("late-comer", START, 5.0)]);
    assert_eq!((tally.used, tally.rejected["unit_contradiction"], tally.duplicate), (2, 1, 0), "{tally:?}");
}

#[test]
fn every_reading_has_one_outcome_with_its_reason() {
    let mut engine = Engine::new(settings(), registry(&["p"]));
    let good = reading("temperature", START, 20.0);
    let tally = give(
        &mut engine,
        "p",
        &[
            good,
            Reading { value: f64::NAN, ..good },
            Reading { quality: Quality::Bad, ..good },
            Reading { value: 300.0, ..good },
            Reading { unit: Some(unit("A")), ..good },
            Reading { channel: "nonsense", ..good },
            Reading { channel: "", ..good },
            Reading { time: START + DAY, ..good },
            Reading { quality: Quality::Uncertain, ..good },
        ],
    );
    let reasons: Vec<_> = tally.rejected.iter().map(|(r, n)| format!("{r} {n}")).collect();
    let expected = [
        "bad_quality 1",
        "not_finite 1",
        "out_of_range 1",
        "time_in_future 1",
        "unit_contradiction 1",
        "unknown_channel 2",
    ];
    assert_eq!(reasons, expected);
    assert_eq!((tally.received, tally.used), (9, 2));
    assert_eq!(give(&mut engine, "p", &[good]).duplicate, 1);
    assert_eq!(give(&mut engine, "no/name", &[good]).rejected["bad_name"], 1);
}

#[test]
fn under_the_adopt_policy_assets_and_channels_are_taken_up_to_the_bound() {
    let settings = Settings { unknown: UnknownPolicy::Adopt, max_assets: 2, max_channels: 3, ..settings() };
    let mut engine = Engine::new(settings, registry(&[]));
    let names: Vec<_> = (0..5).map(|i| format!("c{i}")).collect();
    let five: Vec<_> = names.iter().map(|n| reading(n, START, 1.0)).collect();
    let tally = give(&mut engine, "a", &five);
    assert_eq!((tally.used, tally.rejected["too_many_channels"]), (3, 2));
    assert_eq!(give(&mut engine, "b", &five[..1]).used, 1);
    assert_eq!(give(&mut engine, "c", &five).shed["too_many_assets"], 5);
    assert_eq!(give(&mut engine, "a", &[reading("a b", START, 1.0)]).rejected["too_many_channels"], 1);
    assert_eq!(give(&mut engine, "b", &[reading("a b", START, 1.0)]).rejected["bad_name"], 1);
}

#[test]
fn the_quarantine_is_bounded() {
    let settings = Settings { max_assets: 3, max_channels: 2, ..settings() };
    let mut engine = Engine::new(settings, registry(&[]));
    let tallies: Vec<_> = (0..5).map(|i| give(&mut engine, &format!("s{i}"), &[reading("x", START, 1.0)])).collect();
    assert_eq!(tallies.iter().filter(|t| t.shed.contains_key("too_many_assets")).count(), 2);
    assert_eq!(engine.quarantined().count(), 3);
}

#[test]
fn an_asset_unseen_for_long_is_retired_and_a_leaping_wall_clock_retires_nobody_who_speaks() {
    let mut engine = Engine::new(settings(), registry(&["p", "q"]));
    let mut out = Vec::new();
    for asset in ["p", "q"] {
        run(&mut engine, asset, &stream(START, START + MINUTE, 20 * SECOND), &mut out);
    }
    let leap = Arrival { wall: START + 400 * DAY, monotonic: 61_000_000, quality: ClockQuality::Synced };
    engine.tick(&leap, &mut out);
    assert_eq!(engine.assets().count(), 2);
    run(&mut engine, "q", &stream(START + 20 * DAY, START + 20 * DAY + MINUTE, 20 * SECOND), &mut out);
    engine.tick(&arrival(START + 32 * DAY), &mut out);
    assert_eq!(engine.assets().map(|a| a.as_str()).collect::<Vec<_>>(), ["q"]);
    assert_eq!(engine.retired(), 1);
    // It comes back as new.
    run(&mut engine, "p", &stream(START + 33 * DAY, START + 33 * DAY + MINUTE, 20 * SECOND), &mut out);
    assert_eq!(engine.assets().count(), 2);
}

#[test]
fn assets_never_influence_one_another() {
    let alone = {
        let mut engine = Engine::new(settings(), registry(&["p"]));
        let mut out = Vec::new();
        run(&mut engine, "p", &stream(START, START + 20 * MINUTE, 20 * SECOND), &mut out);
        out
    };
    let mut engine = Engine::new(settings(), registry(&["p", "q"]));
    let mut out = Vec::new();
    for sent in stream(START, START + 20 * MINUTE, 20 * SECOND) {
        send(&mut engine, "p", &sent, &mut out);
        let wild = Sent { time: sent.time - sent.sequence as i64 * MINUTE, value: -sent.value, ..sent };
        send(&mut engine, "q", &wild, &mut Vec::new());
    }
    assert_eq!(out, alone);
}
