//! E4 and configuration: what is saved goes on as if nothing had happened, what is still valid survives a generation.

use fettle_models::{Engine, Role, Settings, StateError, UnknownPolicy};
use fettle_wire::time::{DAY, MINUTE, SECOND};
use fettle_wire::{EventKind, Micros, Verdict};
use proptest::prelude::*;

use crate::plant::*;

/// A disturbed stream: delays, a gap, a fault, duplicates.
fn disturbed(seed: u64) -> Vec<Sent> {
    let mut all: Vec<_> = stream(START, START + 100 * MINUTE, 20 * SECOND)
        .into_iter()
        .filter(|s| !(30 * MINUTE..37 * MINUTE).contains(&(s.time - START)))
        .collect();
    for s in &mut all {
        s.arrival = s.time + (noise(seed ^ s.sequence).abs() * 130e6) as Micros;
        s.value += if s.channel == 1 && s.time > START + 80 * MINUTE { 45.0 } else { 0.0 };
    }
    all.sort_by_key(|s| s.arrival);
    let again: Vec<_> = all.iter().step_by(17).copied().collect();
    all.extend(again);
    all
}

/// A new engine that has taken over everything the old one saved.
fn reborn(old: &Engine, settings: &Settings) -> Engine {
    let mut new = Engine::new(settings.clone(), registry(&["p"]));
    new.load_shared(&old.save_shared()).unwrap();
    for asset in old.assets() {
        new.load_asset(asset, &old.save_asset(asset).unwrap()).unwrap();
    }
    new
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn saved_and_loaded_at_any_point_the_outputs_are_the_same_bit_for_bit(
        seed: u64,
        points in prop::collection::btree_set(0usize..900, 0..12),
        events in prop::collection::btree_set(0usize..900, 0..6),
        publish in 1i64..4,
    ) {
        let settings = Settings { publish: publish * MINUTE, baseline_slides: 40, unknown: UnknownPolicy::Adopt, ..settings() };
        let (mut steady, mut restarted) = (Vec::new(), Vec::new());
        let mut one = Engine::new(settings.clone(), registry(&["p"]));
        let mut other = Engine::new(settings.clone(), registry(&["p"]));
        for (i, sent) in disturbed(seed).iter().enumerate() {
            let (a, b) = (send(&mut one, "p", sent, &mut steady), send(&mut other, "p", sent, &mut restarted));
            prop_assert_eq!(a, b);
            if i % 5 == 0 {
                let (a, b) = (send(&mut one, "q", sent, &mut steady), send(&mut other, "q", sent, &mut restarted));
                prop_assert_eq!(a, b);
            }
            if i % 50 == 0 {
                let now = arrival(sent.arrival + if i % 100 == 0 { 3 * MINUTE } else { 0 });
                one.tick(&now, &mut steady);
                other.tick(&now, &mut restarted);
            }
            if events.contains(&i) {
                let (kind, id) = (if i % 3 == 0 { EventKind::Replaced } else { EventKind::Failed }, i.to_string());
                let at = Some(sent.time - (i as Micros % 7) * MINUTE);
                let a = tell(&mut one, "p", sent.arrival, (kind, at, &id), &mut steady);
                prop_assert_eq!(a, tell(&mut other, "p", sent.arrival, (kind, at, &id), &mut restarted));
            }
            if points.contains(&i) {
                other = reborn(&other, &settings);
            }
            prop_assert_eq!(one.pending(), other.pending());
        }
        prop_assert_eq!(steady.len(), restarted.len());
        prop_assert_eq!(steady, restarted);
    }

    #[test]
    fn broken_bytes_are_refused_and_never_panic(place in 0usize..4000, bit in 0u8..8, cut: bool) {
        let mut old = Engine::new(settings(), registry(&["p"]));
        run(&mut old, "p", &stream(START, START + 10 * MINUTE, 30 * SECOND), &mut Vec::new());
        let mut bytes = old.save_asset("p").unwrap();
        let place = place % bytes.len();
        if cut {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 1 << bit;
        }
        let mut new = Engine::new(settings(), registry(&["p"]));
        if new.load_asset(&name("p"), &bytes).is_ok() {
            new.tick(&arrival(START + DAY), &mut Vec::new());
        }
    }
}

#[test]
fn a_state_of_another_version_is_refused_by_number() {
    let mut engine = Engine::new(settings(), registry(&["p"]));
    assert!(matches!(engine.load_asset(&name("p"), &[9, 0xa0]), Err(StateError::Version(9))));
    assert!(matches!(engine.load_asset(&name("p"), &[]), Err(StateError::Empty)));
    assert!(matches!(engine.load_shared(&[1, 0xff]), Err(StateError::Malformed(_))));
}

/// Runs so that the baseline stands, and one more after the change; the verdicts of the first window after it.
fn change(settings_after: &Settings, adapt: impl Fn(&mut fettle_models::AssetSpec)) -> (Verdict, u64) {
    let mut engine = Engine::new(settings(), registry(&["p"]));
    let mut out = Vec::new();
    run(&mut engine, "p", &stream(START, START + LEARNED, 20 * SECOND), &mut out);
    let mut changed = registry(&["p"]);
    changed.assets.values_mut().take(1).for_each(adapt);
    let channels: Vec<_> = changed.assets[&name("p")].channels.keys().cloned().collect();
    engine.configure(settings_after.clone(), changed);
    let rest = stream(START + LEARNED, START + LEARNED + 10 * MINUTE, 20 * SECOND);
    let rest: Vec<_> = rest.into_iter().filter(|s| channels.contains(&name(CHANNELS[s.channel]))).collect();
    run(&mut engine, "p", &rest, &mut out);
    let last = last_revisions(&out).into_values().next_back().unwrap();
    (last.verdict, last.indicators.iter().map(|i| i.count).max().unwrap())
}

#[test]
fn a_new_generation_keeps_what_is_still_valid() {
    assert_eq!(change(&settings(), |_| ()), (Verdict::Normal, 90));
    // Another limit: baseline and windows go on.
    let limit = |a: &mut fettle_models::AssetSpec| a.channels.get_mut("temperature").unwrap().limit = Some(95.0);
    assert_eq!(change(&settings(), limit), (Verdict::Normal, 90));
    // Another pane: windows are folded anew, the baseline goes on.
    assert_eq!(change(&Settings { pane: 20 * SECOND, ..settings() }, |_| ()), (Verdict::Normal, 90));
    // Another role, another set of channels: a new baseline, the windows go on.
    let role = |a: &mut fettle_models::AssetSpec| a.channels.get_mut("speed").unwrap().role = Role::Monitored;
    assert_eq!(change(&settings(), role), (Verdict::None, 90));
    assert_eq!(change(&settings(), |a| drop(a.channels.remove("speed"))), (Verdict::None, 90));
    // Another slide: everything anew.
    let slower = Settings { slide: 2 * MINUTE, publish: 2 * MINUTE, ..settings() };
    let (verdict, count) = change(&slower, |_| ());
    assert_eq!(verdict, Verdict::None);
    assert!((20..=30).contains(&count), "{count}");
}

#[test]
fn an_asset_that_left_the_registry_leaves_the_engine() {
    let mut engine = Engine::new(settings(), registry(&["p", "q"]));
    for asset in ["p", "q"] {
        run(&mut engine, asset, &stream(START, START + MINUTE, 20 * SECOND), &mut Vec::new());
    }
    engine.configure(settings(), registry(&["q"]));
    assert_eq!(engine.assets().map(|a| a.as_str()).collect::<Vec<_>>(), ["q"]);
    assert_eq!(engine.save_asset("p"), None);
}
