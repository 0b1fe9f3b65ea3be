//! Steps of a life: what they hold, what a silence does to them, and that they are as final as the slides they are of.

use fettle_models::{Component, Engine, LifeStep, Output, Registry, Settings};
use fettle_wire::Micros;
use fettle_wire::time::{DAY, HOUR, MINUTE, SECOND};
use proptest::prelude::*;

use crate::plant::*;

fn steps(out: &[Output]) -> Vec<LifeStep> {
    out.iter().filter_map(|o| if let Output::LifeStep(s) = o { Some((**s).clone()) } else { None }).collect()
}

/// The steps of `all`, in the order given, until well after its end.
fn lived(settings: &Settings, registry: Registry, all: &[Sent]) -> Vec<LifeStep> {
    let mut engine = Engine::new(settings.clone(), registry);
    let mut out = Vec::new();
    run(&mut engine, "p", all, &mut out);
    let after = all.iter().map(|s| s.time).max().unwrap();
    flush(&mut engine, "p", after - after % HOUR + 2 * HOUR, &mut out);
    steps(&out)
}

#[test]
fn a_step_is_the_mean_of_its_slides_means() {
    // Minutes with one, two and no temperatures; speed throughout; vibration never.
    let at = |channel, time, value, sequence| Sent { channel, time, value, boot: 7, sequence, arrival: time };
    let mut all = vec![at(1, START, 10.0, 0), at(1, START + MINUTE, 20.0, 1), at(1, START + MINUTE + SECOND, 40.0, 2)];
    all.extend((0..10).map(|i| at(0, START + i * MINUTE + 30 * SECOND, 1500.0, 10 + i as u64)));
    all.sort_by_key(|s| s.time);
    let steps = lived(&settings(), registry(&["p"]), &all);
    let first = &steps[0];
    assert_eq!((first.life, first.index, first.end, first.age), (1, 0, START + 10 * MINUTE, None));
    assert_eq!(first.slides, 10);
    let names: Vec<_> = first.channels.iter().map(|c| c.0.as_str()).collect();
    assert_eq!(names, CHANNELS);
    let celsius = |kelvin: f64| kelvin - 273.15;
    assert!((celsius(first.values[1].unwrap()) - 20.0).abs() < 1e-4, "(10 + 30) / 2: {:?}", first.values);
    assert!(first.values[0].is_some() && first.values[2].is_none());
}

#[test]
fn a_silent_machine_tells_no_step_but_its_time_goes_on() {
    let mut all = stream(START + 3 * MINUTE, START + 25 * MINUTE, 30 * SECOND);
    all.extend(stream(START + 20 * DAY, START + 20 * DAY + 10 * MINUTE, 30 * SECOND));
    let steps = lived(&settings(), registry(&["p"]), &all);
    let told: Vec<_> = steps.iter().map(|s| (s.index, s.end - START, s.slides)).collect();
    let later = 20 * DAY / (10 * MINUTE);
    assert_eq!(told[..3], [(0, 10 * MINUTE, 7), (1, 20 * MINUTE, 10), (2, 30 * MINUTE, 5)]);
    assert_eq!(told[3], (later as u64, 20 * DAY + 10 * MINUTE, 10));
    assert_eq!(steps[3].time() - steps[0].time(), later as f64);
}

#[test]
fn age_counts_from_the_date_in_the_registry_and_is_absent_without_one() {
    let dated = |date: &str| {
        let mut registry = registry(&["p"]);
        let part = Component { name: "bearing".into(), installed: Some(date.into()), running_hours: None };
        registry.assets.values_mut().for_each(|a| a.components.push(part.clone()));
        registry
    };
    let all = stream(START, START + 20 * MINUTE, 30 * SECOND);
    let steps = lived(&settings(), dated("2025-12-31"), &all);
    assert_eq!((steps[0].index, steps[0].age), (144, Some(86_400.0 + 600.0)));
    assert_eq!(steps[0].began(), Some(144.0 - 145.0));
    let steps = lived(&settings(), dated("2027-01-01"), &all);
    assert_eq!((steps[0].index, steps[0].age), (0, None), "a date that has not come says nothing");
    assert_eq!(steps[0].began(), None);
}

#[test]
fn a_channel_that_joins_begins_its_own_mean_and_leaves_the_others() {
    let adopt = Settings { unknown: fettle_models::UnknownPolicy::Adopt, ..settings() };
    let all = stream(START, START + 20 * MINUTE, 30 * SECOND);
    // `speed` sorts before the others and joins late.
    let late: Vec<_> = all.iter().filter(|s| s.channel != 0 || s.time > START + 7 * MINUTE).copied().collect();
    let (whole, joined) = (lived(&adopt, Registry::default(), &all), lived(&adopt, Registry::default(), &late));
    assert_eq!(joined[0].values[1..], whole[0].values[1..]);
    assert!(joined[0].values[0].is_some() && joined[0].values[0] != whole[0].values[0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_arrival_within_the_lateness_changes_no_bit_of_a_step(
        seed: u64,
        most in 1..=125 * SECOND,
        length in 1..20 * MINUTE / MINUTE,
    ) {
        let settings = Settings { rul_step: length * MINUTE, baseline_slides: 40, ..settings() };
        let all: Vec<_> = stream(START, START + 2 * HOUR, 20 * SECOND)
            .into_iter()
            .filter(|s| (s.time / (7 * MINUTE)) % 3 != 1)
            .collect();
        let delay = |s: &Sent| (noise(seed ^ s.sequence.wrapping_mul(77)).abs() * most as f64) as Micros;
        let mut late: Vec<_> = all.iter().map(|s| Sent { arrival: s.time + delay(s), ..*s }).collect();
        late.sort_by_key(|s| s.arrival);
        let ordered = lived(&settings, registry(&["p"]), &all);
        prop_assert!(ordered.len() as i64 >= 2 * 60 / length / 2);
        prop_assert_eq!(ordered, lived(&settings, registry(&["p"]), &late));
    }
}
