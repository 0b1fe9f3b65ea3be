//! Rounds end in a better model or in none, and say why; many of them end near what one training on all rows finds.

use fettle_models::federate::message::fingerprint;
use fettle_models::federate::seal::{self, Kind};
use fettle_models::federate::site::judge;
use fettle_models::federate::{Cohort, Effect, Event, Jury, Learner, Refusal, Rules, Verdict, Void};
use fettle_models::train::{loss, random_network};

use super::fleet::{Fleet, HIDDEN, fresh, key, learn, rows, sealed, weights, who};

const HOUR: i64 = 3_600_000_000;

#[test]
fn sites_that_learn_together_reach_what_no_site_reaches_alone() {
    let fleet = Fleet::new(8);
    let mut cohort = fleet.cohort(Rules::default());
    let few: Vec<_> = (0..8).map(|site| rows(30, 40 + site)).collect();
    let mut learners = vec![Learner::default(); 8];
    let begin = loss(cohort.active().1, &fleet.root);
    for round in 0..60 {
        for step in 0..4 {
            let site = (4 * round + step) % 8;
            let update = learn(&mut learners[site], &cohort, site, &few[site]);
            fleet.step(&mut cohort, 0, Event::Update(&sealed(&update, site)));
        }
        fleet.release(&mut cohort);
    }
    let end = loss(cohort.active().1, &fleet.root);
    let alone = few.iter().map(|rows| {
        let plan = fettle_models::train::Plan { batch: 32, rate: 1e-2, ..Default::default() };
        let nothing = fettle_models::train::Samples::new(3);
        loss(&fettle_models::train::Trainer::fresh(3, &HIDDEN, plan).run(rows, &nothing), &fleet.root)
    });
    let best_alone = alone.fold(f64::INFINITY, f64::min);
    assert!(end < 0.2 * begin && end < best_alone, "{begin} -> {end}, alone at best {best_alone}");
    assert!(weights(&cohort).0 > 30, "{} rounds passed", weights(&cohort).0);
}

#[test]
fn a_candidate_that_is_not_better_on_the_root_set_voids_the_round() {
    let fleet = Fleet::new(4);
    // Nothing is harmful by itself, so that the gate alone decides.
    let mut cohort = fleet.cohort(Rules { harm: 1e9, ..Rules::default() });
    let before = weights(&cohort);
    let mut last = Vec::new();
    for site in 0..4 {
        let mut update = fresh(&cohort, site);
        update.tensors.iter_mut().for_each(|t| t.steps.0.iter_mut().for_each(|s| *s = s.wrapping_neg()));
        last = fleet.step(&mut cohort, 0, Event::Update(&sealed(&update, site)));
    }
    let Some(Effect::Void { reason: Void::NotBetter, account }) = last.last() else { panic!("{last:?}") };
    assert!(account.root.is_some_and(|(active, candidate)| candidate > active), "{account:?}");
    assert_eq!((weights(&cohort), cohort.rounds(), cohort.waiting().count()), (before, 1, 0));
    // The next round goes on from where it was.
    (0..4).for_each(|site| {
        fleet.honest(&mut cohort, 0, site);
    });
    assert_eq!(weights(&cohort).0, 1);
}

#[test]
fn a_round_that_is_late_makes_do_with_fewer() {
    let fleet = Fleet::new(4);
    let mut cohort = fleet.cohort(Rules { patience: HOUR, ..Rules::default() });
    for site in 0..2 {
        fleet.honest(&mut cohort, 7, site);
    }
    assert_eq!(fleet.step(&mut cohort, 7 + HOUR - 1, Event::Tick), []);
    let effects = fleet.step(&mut cohort, 7 + HOUR, Event::Tick);
    assert!(matches!(effects[..], [Effect::Publish { version: 1, .. }]), "{effects:?}");
}

/// A cohort without a root set whose round has made a candidate.
fn asked(fleet: &Fleet) -> (Cohort, Vec<Effect>) {
    let mut cohort = fleet.cohort(Rules { patience: HOUR, ..Rules::default() });
    let mut effects = Vec::new();
    for site in 0..4 {
        let bytes = sealed(&fresh(&cohort, site), site);
        cohort.step(0, Event::Update(&bytes), jury(fleet), &mut effects);
    }
    (cohort, effects)
}

fn jury(fleet: &Fleet) -> Jury<'_> {
    Jury { root: None, ..fleet.jury() }
}

fn vote(cohort: &mut Cohort, fleet: &Fleet, verdict: &Verdict, site: usize) -> Vec<Effect> {
    let mut effects = Vec::new();
    let bytes = seal::seal(Kind::Verdict, verdict, &key(site)).unwrap();
    cohort.step(1, Event::Verdict(&bytes), jury(fleet), &mut effects);
    effects
}

#[test]
fn without_a_root_set_the_sites_judge_and_a_liar_has_one_voice() {
    let fleet = Fleet::new(6);
    let (mut cohort, effects) = asked(&fleet);
    let Some(Effect::Judge { network, .. }) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(weights(&cohort).0, 0, "not active before it is judged");
    assert_eq!(cohort.outstanding(), [effects.last().unwrap().clone()]);
    let honest = |site: usize| judge(cohort.name(), &who(site), cohort.active().1, network, &rows(80, site as u64));
    let votes: Vec<Verdict> = (0..4).map(honest).collect();
    let lie = Verdict { loss_candidate: 1e30, samples: u32::MAX, ..votes[0].clone() };
    let refused = |effects: &[Effect]| matches!(effects[..], [Effect::Refused { .. }]);
    let mut stranger = lie.clone();
    stranger.candidate = fingerprint(&random_network(3, &HIDDEN, 5));
    assert!(refused(&vote(&mut cohort, &fleet, &stranger, 0)));
    assert!(!refused(&vote(&mut cohort, &fleet, &lie, 0)));
    assert!(refused(&vote(&mut cohort, &fleet, &votes[0], 0)), "one voice each");
    // Saved and loaded in between.
    cohort = serde_cbor::from_slice(&serde_cbor::to_vec(&cohort).unwrap()).unwrap();
    vote(&mut cohort, &fleet, &votes[1], 1);
    vote(&mut cohort, &fleet, &votes[2], 2);
    let effects = vote(&mut cohort, &fleet, &votes[3], 3);
    let Some(Effect::Publish { version: 1, account: Some(account), .. }) = effects.last() else {
        panic!("{effects:?}")
    };
    assert_eq!(account.verdicts, 4);
    assert_eq!(cohort.refused()[&Refusal::NotAsked], 1);
}

#[test]
fn a_candidate_most_sites_find_worse_or_nobody_judges_is_void() {
    let fleet = Fleet::new(6);
    let void = |effects: &[Effect]| {
        effects.iter().find_map(|e| if let Effect::Void { reason, .. } = e { Some(*reason) } else { None })
    };
    let (mut cohort, _) = asked(&fleet);
    let mut effects = Vec::new();
    cohort.step(HOUR, Event::Tick, jury(&fleet), &mut effects);
    assert_eq!(void(&effects), Some(Void::NotJudged));
    let (mut cohort, effects) = asked(&fleet);
    let Some(Effect::Judge { network, .. }) = effects.last() else { panic!("{effects:?}") };
    let mut last = Vec::new();
    for site in 0..4 {
        let mut verdict = judge(cohort.name(), &who(site), cohort.active().1, network, &rows(80, site as u64));
        verdict.loss_candidate = 2.0 * verdict.loss_active;
        last = vote(&mut cohort, &fleet, &verdict, site);
    }
    assert_eq!(void(&last), Some(Void::SitesDisagree));
    assert_eq!(weights(&cohort).0, 0);
}

#[test]
fn a_network_put_in_place_by_hand_is_a_new_version_and_drops_what_was_gathered() {
    let fleet = Fleet::new(6);
    let (mut cohort, effects) = asked(&fleet);
    let Some(Effect::Judge { .. }) = effects.last() else { panic!("{effects:?}") };
    let other = random_network(3, &HIDDEN, 9);
    let effects = fleet.step(&mut cohort, 2, Event::Replace(other.clone()));
    assert!(matches!(
        effects[..],
        [Effect::Void { reason: Void::Replaced, .. }, Effect::Publish { version: 1, account: None, .. }]
    ));
    assert_eq!(weights(&cohort), (1, fingerprint(&other)));
    assert_eq!(cohort.waiting().count(), 0);
}
