//! E3: what is final is a function of the set of readings, not of the order in which they arrived.

use fettle_models::{Engine, Settings};
use fettle_wire::time::{HOUR, MINUTE, SECOND};
use fettle_wire::{Micros, Verdict};
use proptest::prelude::*;

use crate::plant::{LEARNED, START, Sent, flush, last_revisions, noise, registry, run, settings, stream};

/// Delays each reading by up to `most` and sorts by arrival.
fn delayed(all: &[Sent], seed: u64, most: Micros) -> Vec<Sent> {
    let delay = |s: &Sent| ((noise(seed ^ s.sequence.wrapping_mul(77)).abs()) * most as f64) as Micros;
    let mut late: Vec<_> = all.iter().map(|s| Sent { arrival: s.time + delay(s), ..*s }).collect();
    late.sort_by_key(|s| s.arrival);
    late
}

fn final_records(settings: &Settings, all: &[Sent]) -> std::collections::BTreeMap<Micros, fettle_wire::Health> {
    let mut engine = Engine::new(settings.clone(), registry(&["p"]));
    let mut out = Vec::new();
    let tally = run(&mut engine, "p", all, &mut out);
    assert_eq!((tally.used, tally.late), (all.len() as u64, 0));
    flush(&mut engine, "p", START + LEARNED + 2 * HOUR, &mut out);
    let mut last = last_revisions(&out);
    last.retain(|end, _| *end <= START + LEARNED + HOUR);
    last
}

/// Readings until after the baseline stands, with a fault in the last half hour: vibration grows.
fn long_run() -> Vec<Sent> {
    let mut all = stream(START, START + LEARNED + HOUR, 30 * SECOND);
    let grown =
        |s: &Sent| if s.channel == 2 { (s.time - START - LEARNED - 30 * MINUTE).max(0) as f64 * 2e-9 } else { 0.0 };
    all.iter_mut().for_each(|s| s.value += grown(s));
    all
}

#[test]
fn a_fault_is_seen_so_that_the_following_claims_mean_something() {
    let last = final_records(&settings(), &long_run());
    let count = |v: Verdict| last.values().filter(|h| h.verdict == v).count();
    assert_eq!(last.len(), 1_020);
    assert!(count(Verdict::None) >= 900 && count(Verdict::Normal) > 40 && count(Verdict::Abnormal) > 5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn readings_delayed_within_the_lateness_give_the_same_final_records_bit_for_bit(
        seed: u64,
        most in 1..=125 * SECOND,
    ) {
        let all = long_run();
        prop_assert_eq!(final_records(&settings(), &all), final_records(&settings(), &delayed(&all, seed, most)));
    }

    #[test]
    fn with_a_sparse_publication_every_record_on_its_grid_is_the_same(seed: u64, most in 1..=600 * SECOND) {
        let settings = Settings { publish: 5 * MINUTE, lateness: 10 * MINUTE, ..settings() };
        // Gaps, so that publishing periods end without readings.
        let all: Vec<_> = long_run().into_iter().filter(|s| (s.time / (7 * MINUTE)) % 3 != 1).collect();
        let ordered = final_records(&settings, &all);
        let shuffled = final_records(&settings, &delayed(&all, seed, most));
        for (end, health) in &ordered {
            prop_assert_eq!(shuffled.get(end), Some(health), "window end {}", end);
        }
        let extra = shuffled.keys().filter(|end| !ordered.contains_key(end)).filter(|e| *e % settings.publish == 0);
        prop_assert_eq!(extra.count(), 0);
    }
}
