//! G2 and G4: neither the order of arrival nor a kill between two events shows in the result.

use fettle_models::federate::{Cohort, Effect, Event, Learner, Rules};
use fettle_models::train::random::Random;
use proptest::prelude::*;

use super::fleet::{Fleet, learn, rows, sealed, weights};

/// Rounds of sites' updates, each round in an order of its own; saved and loaded where `kill` says.
fn rounds(seed: u64, kill: bool) -> (Cohort, Vec<Effect>) {
    let fleet = Fleet::new(12);
    let mut cohort = fleet.cohort(Rules { fewest: 12, ..Rules::default() });
    let mut learners = vec![Learner::default(); 12];
    let mut all = Vec::new();
    for round in 0..3u64 {
        let mut updates: Vec<Vec<u8>> = Vec::new();
        for (site, learner) in learners.iter_mut().enumerate() {
            let mut sent = vec![learn(learner, &cohort, site, &rows(50 + 20 * site, site as u64))];
            if site % 3 == 0 && round == 1 {
                // Two from one site: the newer one counts, whichever comes first.
                sent.push(learn(learner, &cohort, site, &rows(90, 70 + site as u64)));
            }
            updates.extend(sent.iter().map(|u| sealed(u, site)));
        }
        // The site that closes the round comes last, and has sent one.
        let last = updates.pop().unwrap();
        Random::of(seed, round).shuffle(&mut updates);
        updates.push(last);
        for (i, update) in updates.iter().enumerate() {
            if kill && (i + seed as usize).is_multiple_of(3) {
                cohort = serde_cbor::from_slice(&serde_cbor::to_vec(&cohort).unwrap()).unwrap();
            }
            let effects = fleet.step(&mut cohort, round as i64, Event::Update(update));
            all.extend(effects.into_iter().filter(|e| matches!(e, Effect::Publish { .. } | Effect::Void { .. })));
        }
        if kill {
            // The shell died before it signed: it is told again.
            let again = cohort.outstanding();
            assert!(
                matches!(again[..], [Effect::Publish { version, .. }] if version == weights(&cohort).0),
                "{again:?}"
            );
        }
        fleet.release(&mut cohort);
        assert!(cohort.outstanding().is_empty());
    }
    (cohort, all)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_result_depends_on_neither_order_nor_kills(seed in 1u64..1_000_000) {
        let (still, effects) = rounds(0, false);
        let (moved, again) = rounds(seed, true);
        prop_assert_eq!(weights(&still).0, 3, "every round passed");
        prop_assert_eq!(weights(&moved), weights(&still));
        prop_assert_eq!(again, effects);
    }
}

#[test]
fn one_site_has_one_place_in_a_round_and_the_newest_keeps_it() {
    let fleet = Fleet::new(4);
    let mut cohort = fleet.cohort(Rules::default());
    let mut learner = Learner::default();
    let [old, new] = [0, 1].map(|_| learn(&mut learner, &cohort, 0, &rows(100, 1)));
    let first = fleet.step(&mut cohort, 0, Event::Update(&sealed(&old, 0)));
    assert!(matches!(first[..], [Effect::Taken { replaced: false, .. }]), "{first:?}");
    let second = fleet.step(&mut cohort, 0, Event::Update(&sealed(&new, 0)));
    assert!(matches!(second[..], [Effect::Taken { replaced: true, .. }]), "{second:?}");
    for site in 1..3 {
        let effects = fleet.honest(&mut cohort, 0, site);
        assert_eq!(effects.len(), 1, "three sites are no round");
    }
    let effects = fleet.honest(&mut cohort, 0, 3);
    let Some(Effect::Publish { account: Some(account), .. }) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(account.contributions.len(), 4);
    let weight: f64 = account.contributions.iter().map(|c| c.weight).sum();
    assert!((weight - 1.0).abs() < 1e-12);
}
