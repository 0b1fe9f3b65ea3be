//! G1: a hostile message is refused with its own reason and changes no bit of what the honest ones make.

use fettle_models::federate::seal::{self, Kind};
use fettle_models::federate::{Effect, Event, Fixed, Learner, Octets, Refusal, Rules, Update};
use fettle_models::train::random::Random;
use proptest::prelude::*;

use super::fleet::{Fleet, fresh, key, learn, name, rows, sealed, weights, who};

fn reason(effects: &[Effect]) -> Option<Refusal> {
    effects.iter().find_map(|e| if let Effect::Refused { reason, .. } = e { Some(*reason) } else { None })
}

#[test]
fn each_hostile_update_is_refused_with_its_own_reason() {
    let fleet = Fleet::new(6);
    let mut cohort = fleet.cohort(Rules { stalest: 1, flood: 3, ..Rules::default() });
    let good = fresh(&cohort, 5);
    let edit = |change: fn(&mut Update)| {
        let mut update = good.clone();
        change(&mut update);
        sealed(&update, 5)
    };
    let mut torn = sealed(&good, 5);
    torn.truncate(torn.len() / 2);
    let mut forged = sealed(&good, 5);
    let place = forged.len() / 2;
    forged[place] ^= 1;
    let hostile = [
        (Vec::new(), Refusal::Malformed),
        (torn, Refusal::Malformed),
        (vec![0x9b; 100], Refusal::Malformed),
        (vec![0xff; 1 << 20], Refusal::Malformed),
        (forged, Refusal::BadSignature),
        (seal::seal(Kind::Update, &good, &key(77)).unwrap(), Refusal::UnknownKey),
        (seal::seal(Kind::Update, &good, &key(1)).unwrap(), Refusal::WrongIdentity),
        (edit(|u| u.version = 9), Refusal::Version),
        (edit(|u| u.cohort = name("fan")), Refusal::WrongCohort),
        (edit(|u| u.base = Fixed([7; 32])), Refusal::UnknownBase),
        (edit(|u| u.base_version = 1), Refusal::WrongBase),
        (edit(|u| u.samples = 0), Refusal::NoSamples),
        (edit(|u| u.tensors[0].scale = f32::NAN), Refusal::NonFinite),
        (edit(|u| u.loss_after = f32::INFINITY), Refusal::NonFinite),
        (edit(|u| u.tensors[1].scale = 1e30), Refusal::TooLarge),
        (edit(|u| u.tensors[1].scale = -1.0), Refusal::TooLarge),
        (edit(|u| u.tensors[2].steps = Octets(vec![127; 1])), Refusal::WrongShape),
        (edit(|u| u.tensors.truncate(1)), Refusal::WrongShape),
        (edit(|u| u.tensors.push(u.tensors[0].clone())), Refusal::WrongShape),
        // More tensors than any network has: the decoder stops.
        (edit(|u| u.tensors.extend(vec![u.tensors[0].clone(); 70])), Refusal::Malformed),
        (edit(reverse), Refusal::Harmful),
    ];
    let before = serde_cbor::to_vec(&cohort).unwrap();
    for (i, (bytes, wanted)) in hostile.iter().enumerate() {
        let mut tried = cohort.clone();
        let effects = fleet.step(&mut tried, 0, Event::Update(bytes));
        assert_eq!(reason(&effects), Some(*wanted), "hostile update {i}: {effects:?}");
        assert_eq!(tried.refused().values().sum::<u64>(), 1);
        assert_eq!(weights(&tried), weights(&cohort));
        assert_eq!(tried.waiting().count(), 0);
    }
    assert_eq!(serde_cbor::to_vec(&cohort).unwrap(), before);
    // Replayed, superseded, flooded, stale: these need a past.
    let mut learner = Learner::default();
    let updates: Vec<Update> = (0..4).map(|_| learn(&mut learner, &cohort, 0, &rows(100, 1))).collect();
    let bytes: Vec<Vec<u8>> = updates.iter().map(|u| sealed(u, 0)).collect();
    let mut give = |bytes: &[u8]| reason(&fleet.step(&mut cohort, 0, Event::Update(bytes)));
    assert_eq!(give(&bytes[1]), None);
    assert_eq!(give(&bytes[1]), Some(Refusal::Replayed));
    assert_eq!(give(&bytes[0]), Some(Refusal::Superseded));
    assert_eq!([give(&bytes[2]), give(&bytes[3])], [None, None]);
    let more = learn(&mut learner, &cohort, 0, &rows(100, 1));
    assert_eq!(reason(&fleet.step(&mut cohort, 0, Event::Update(&sealed(&more, 0)))), Some(Refusal::Flooded));
    let stale = sealed(&fresh(&cohort, 5), 5);
    // The first round has site 0's already.
    for (round, sites) in [(0, 1..4), (1, 1..5)] {
        for site in sites {
            let update = sealed(&fresh(&cohort, site), site);
            assert_eq!(reason(&fleet.step(&mut cohort, 0, Event::Update(&update))), None, "round {round}");
        }
        assert_eq!(weights(&cohort).0, round + 1);
        fleet.release(&mut cohort);
    }
    assert_eq!(reason(&fleet.step(&mut cohort, 0, Event::Update(&stale))), Some(Refusal::TooStale));
    // Merged long ago and still young enough: known by its digest.
    let again = sealed(&fresh(&cohort, 1), 1);
    assert_eq!(reason(&fleet.step(&mut cohort, 0, Event::Update(&again))), None);
    assert_eq!(reason(&fleet.step(&mut cohort, 0, Event::Update(&again))), Some(Refusal::Replayed));
}

#[test]
fn an_envelope_written_anew_around_the_same_message_is_a_replay() {
    let fleet = Fleet::new(4);
    let mut cohort = fleet.cohort(Rules::default());
    let bytes = sealed(&fresh(&cohort, 0), 0);
    assert_eq!(reason(&fleet.step(&mut cohort, 0, Event::Update(&bytes))), None);
    // A map of indefinite length says the same as one of three entries.
    assert_eq!(bytes[0], 0xa3);
    let rewritten = [&[0xbf], &bytes[1..], &[0xff]].concat();
    assert_eq!(reason(&fleet.step(&mut cohort, 0, Event::Update(&rewritten))), Some(Refusal::Replayed));
}

/// The opposite of what was learned.
fn reverse(update: &mut Update) {
    let steps = update.tensors.iter_mut().flat_map(|t| &mut t.steps.0);
    steps.for_each(|s| *s = s.wrapping_neg());
}

/// What a site without a conscience, or a broken wire, makes of an honest update.
fn spoil(honest: &Update, site: usize, kind: u8, seed: u64) -> Vec<u8> {
    let (mut update, mut random) = (honest.clone(), Random::new(seed));
    let tensor = random.below(update.tensors.len());
    match kind {
        0 => update.tensors[tensor].scale = [f32::NAN, f32::INFINITY, 1e30, -1.0][random.below(4)],
        1 => update.tensors[tensor].steps.0.push(1),
        2 => update.base = Fixed([random.bits() as u8; 32]),
        3 => update.base_version += 1 + random.bits() % 1000,
        4 => update.loss_before = f32::NAN,
        5 => return seal::seal(Kind::Update, &update, &key(200)).unwrap(),
        6 => {
            let mut bytes = sealed(&update, site);
            let place = random.below(bytes.len());
            bytes[place] ^= 1 << random.below(8);
            return bytes;
        }
        _ => {
            let mut bytes = sealed(&update, site);
            bytes.truncate(random.below(bytes.len()));
            return bytes;
        }
    }
    sealed(&update, site)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn refused_updates_change_the_result_by_no_bit(
        hostile in proptest::collection::vec((0usize..5, 0u8..8, any::<u64>(), 0usize..4), 1..20),
    ) {
        let fleet = Fleet::new(6);
        let (mut clean, mut attacked) = (fleet.cohort(Rules::default()), fleet.cohort(Rules::default()));
        for _ in 0..2 {
            let updates: Vec<Vec<u8>> = (0..4).map(|site| sealed(&fresh(&clean, site), site)).collect();
            for (i, update) in updates.iter().enumerate() {
                for (_, kind, seed, _) in hostile.iter().filter(|(site, .., place)| *site >= 4 || *place == i) {
                    // Site 5 has a good key and never says anything sound.
                    let bytes = spoil(&fresh(&attacked, 5), 5, *kind, *seed);
                    let effects = fleet.step(&mut attacked, 0, Event::Update(&bytes));
                    prop_assert!(reason(&effects).is_some(), "kind {}: {:?}", kind, effects);
                }
                fleet.step(&mut clean, 0, Event::Update(update));
                fleet.step(&mut attacked, 0, Event::Update(update));
                prop_assert_eq!(weights(&clean), weights(&attacked));
            }
            fleet.release(&mut clean);
            fleet.release(&mut attacked);
        }
        prop_assert!(weights(&clean).0 > 0);
    }

    #[test]
    fn no_bytes_bring_the_centre_down(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let fleet = Fleet::new(2);
        let mut cohort = fleet.cohort(Rules::default());
        let before = weights(&cohort);
        for event in [Event::Update(&bytes), Event::Verdict(&bytes)] {
            prop_assert!(reason(&fleet.step(&mut cohort, 0, event)).is_some());
        }
        prop_assert_eq!(weights(&cohort), before);
    }
}

#[test]
fn a_refusal_names_the_site_only_where_a_signature_proves_it() {
    let fleet = Fleet::new(2);
    let mut cohort = fleet.cohort(Rules::default());
    let mut update = fresh(&cohort, 0);
    update.samples = 0;
    let proved = fleet.step(&mut cohort, 0, Event::Update(&sealed(&update, 0)));
    assert_eq!(proved, [Effect::Refused { who: Some(who(0)), reason: Refusal::NoSamples }]);
    let claimed = seal::seal(Kind::Update, &update, &key(1)).unwrap();
    let claimed = fleet.step(&mut cohort, 0, Event::Update(&claimed));
    assert_eq!(claimed, [Effect::Refused { who: None, reason: Refusal::WrongIdentity }]);
}
