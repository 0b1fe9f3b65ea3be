//! Steps of a life: what they hold, what a silence does to them, and that they are as final as the slides they are of.
//! Ends of lives: what begins anew, what cannot be taken, and that neither order nor a restart changes anything.

use fettle_models::{Component, Engine, Happened, LifeEvent, LifeStep, Output, Registry, Settings};
use fettle_wire::time::{DAY, HOUR, MINUTE, SECOND};
use fettle_wire::{Change, EventKind, Micros, Verdict};
use proptest::prelude::*;

use crate::plant::*;

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

const FAILED: EventKind = EventKind::Failed;
const REPLACED: EventKind = EventKind::Replaced;

fn quick() -> Settings {
    Settings { baseline_slides: 120, ..settings() }
}

fn events(out: &[Output]) -> Vec<LifeEvent> {
    out.iter().filter_map(|o| if let Output::LifeEvent(e) = o { Some((**e).clone()) } else { None }).collect()
}

/// (life, end, age, slides) of each step.
fn told(out: &[Output]) -> Vec<(u64, Micros, Option<f64>, u32)> {
    steps(out).iter().map(|s| (s.life, (s.end - START) / MINUTE, s.age, s.slides)).collect()
}

#[test]
fn a_failure_ends_a_life_and_the_next_begins_with_data_its_own_baseline_and_no_alarm() {
    let mut engine = Engine::new(quick(), registry(&["p"]));
    let mut out = Vec::new();
    let hot = |s: Sent| Sent { value: s.value + if s.channel == 1 { 40.0 } else { 0.0 }, ..s };
    run(&mut engine, "p", &stream(START, START + 5 * HOUR, 30 * SECOND), &mut out);
    let wear: Vec<_> = stream(START + 5 * HOUR, START + 323 * MINUTE, 30 * SECOND).into_iter().map(hot).collect();
    run(&mut engine, "p", &wear, &mut out);
    assert_eq!(engine.alarms_open(), 2, "anomaly and limit");
    assert_eq!(healths(&out).last().unwrap().verdict, Verdict::Abnormal);
    out.clear();
    let failed = START + 322 * MINUTE + 40 * SECOND;
    assert_eq!(tell(&mut engine, "p", failed + SECOND, (FAILED, Some(failed), "e1"), &mut out), Ok(false));
    let alert = alerts(&out).next().unwrap();
    assert_eq!((alert.condition.as_str(), alert.occurrence, alert.change), ("life", 1, Change::Labelled));
    assert_eq!((alert.by.as_deref(), alert.command.as_deref()), (Some("ada"), Some("e1")));
    assert_eq!((events(&out)[0].ends, events(&out)[0].begins, events(&out)[0].late), (Some(1), None, false));
    assert_eq!(engine.alarms_open(), 2, "a machine that stands still is not well");
    run(&mut engine, "p", &stream(START + 370 * MINUTE, START + 400 * MINUTE, 30 * SECOND), &mut out);
    assert_eq!(engine.alarms_open(), 0);
    let returned: Vec<_> = alerts(&out).filter(|a| a.change == Change::Returned).map(|a| a.at).collect();
    assert_eq!(returned, [START + 371 * MINUTE; 2], "with the first slide of the next life");
    let minutes = |m: f64| Some(m * 60.0);
    let told = told(&out);
    assert_eq!(told[0], (1, 323, None, 3), "the last step ends with the slide of the failure");
    assert_eq!(told[1..3], [(2, 380, minutes(10.0), 10), (2, 390, minutes(20.0), 10)]);
    assert_eq!(steps(&out)[1].index, 0);
    let last = healths(&out).last().unwrap();
    assert_eq!(
        (last.verdict, last.life, last.age),
        (Verdict::None, Some(2), Some((last.window_end - START - 370 * MINUTE) as f64 * 1e-6))
    );
    assert!(last.baseline < 0.5);
}

#[test]
fn a_replacement_begins_a_life_whose_age_counts_from_what_was_told() {
    let mut engine = Engine::new(quick(), registry(&["p"]));
    let mut out = Vec::new();
    run(&mut engine, "p", &stream(START, START + 30 * MINUTE, 30 * SECOND), &mut out);
    let at = START + 25 * MINUTE;
    assert_eq!(tell(&mut engine, "p", START + 30 * MINUTE, (REPLACED, Some(at), "e1"), &mut out), Ok(true));
    assert_eq!(events(&out)[0].begins, Some(2));
    run(&mut engine, "p", &stream(START + 30 * MINUTE, START + 45 * MINUTE, 30 * SECOND), &mut out);
    let told = told(&out);
    // Closed until minute 27 when it was told: what was final stays with the first life.
    assert_eq!(told[2], (1, 27, None, 7));
    assert_eq!(told[3], (2, 30, Some(300.0), 3));
    assert_eq!(told[4], (2, 40, Some(900.0), 10));
    assert!(alerts(&out).next().unwrap().flags.contains(&"late".to_owned()));
}

#[test]
fn a_replacement_after_a_failure_is_the_beginning_of_the_next_life_not_another_end() {
    // Told before, or after the new machine has spoken, or after that is final.
    for (spoken, late) in [(0, false), (2 * MINUTE, false), (20 * MINUTE, true)] {
        let mut engine = Engine::new(quick(), registry(&["p"]));
        let mut out = Vec::new();
        run(&mut engine, "p", &stream(START, START + 30 * MINUTE, 30 * SECOND), &mut out);
        let now = START + 30 * MINUTE;
        assert_eq!(tell(&mut engine, "p", now, (FAILED, None, "e1"), &mut out), Ok(false));
        let begin = START + 60 * MINUTE;
        run(&mut engine, "p", &stream(begin, begin + spoken, 30 * SECOND), &mut out);
        let replaced = (REPLACED, Some(begin - 90 * SECOND), "e2");
        assert_eq!(tell(&mut engine, "p", begin + spoken, replaced, &mut out), Ok(late), "{spoken}");
        run(&mut engine, "p", &stream(begin + spoken, begin + 45 * MINUTE, 30 * SECOND), &mut out);
        let events = events(&out);
        assert_eq!((events[1].life, events[1].ends, events[1].begins), (2, None, Some(2)));
        let last = steps(&out).pop().unwrap();
        assert_eq!((last.life, last.age), (2, Some((last.end - begin) as f64 * 1e-6 + 90.0)), "{spoken}");
        assert_eq!(last.index, (last.end - START) as u64 / 600_000_000 - 6, "the beginning lies in the step before");
    }
}

#[test]
fn data_between_a_failure_and_a_later_replacement_are_a_life_of_their_own() {
    let mut engine = Engine::new(quick(), registry(&["p"]));
    let mut out = Vec::new();
    run(&mut engine, "p", &stream(START, START + 30 * MINUTE, 30 * SECOND), &mut out);
    tell(&mut engine, "p", START + 30 * MINUTE, (FAILED, None, "e1"), &mut out).unwrap();
    run(&mut engine, "p", &stream(START + 30 * MINUTE, START + 60 * MINUTE, 30 * SECOND), &mut out);
    tell(&mut engine, "p", START + 60 * MINUTE, (REPLACED, None, "e2"), &mut out).unwrap();
    run(&mut engine, "p", &stream(START + 60 * MINUTE, START + 90 * MINUTE, 30 * SECOND), &mut out);
    let lives: Vec<_> = steps(&out).iter().map(|s| s.life).collect();
    assert_eq!(lives, [1, 1, 1, 2, 2, 2, 3, 3]);
    assert_eq!((events(&out)[1].ends, events(&out)[1].begins), (Some(2), Some(3)));
}

#[test]
fn after_a_late_failure_the_age_of_the_next_life_is_not_known() {
    let mut engine = Engine::new(quick(), registry(&["p"]));
    let mut out = Vec::new();
    run(&mut engine, "p", &stream(START, START + 60 * MINUTE, 30 * SECOND), &mut out);
    let failed = (FAILED, Some(START + 20 * MINUTE), "e1");
    assert_eq!(tell(&mut engine, "p", START + 60 * MINUTE, failed, &mut out), Ok(true));
    let last = healths(&out).last().unwrap();
    assert_eq!((last.window_end - START, last.life, last.age), (59 * MINUTE, Some(2), None), "told at once");
    run(&mut engine, "p", &stream(START + 60 * MINUTE, START + 90 * MINUTE, 30 * SECOND), &mut out);
    let of_next: Vec<_> = steps(&out).into_iter().filter(|s| s.life == 2).map(|s| (s.index, s.age)).collect();
    assert_eq!(of_next, [(0, None), (1, None), (2, None)]);
}

#[test]
fn maintenance_begins_a_life_only_where_components_were_replaced() {
    let mut engine = Engine::new(quick(), registry(&["p"]));
    let mut out = Vec::new();
    run(&mut engine, "p", &stream(START, START + 30 * MINUTE, 30 * SECOND), &mut out);
    let mut done = |id: &str, components: &[String], out: &mut Vec<Output>| {
        let kind = EventKind::MaintenanceDone;
        let event = Happened { kind, at: None, components, note: Some("greased"), by: None, id };
        engine.happened(&arrival(START + 30 * MINUTE), "p", &event, out).unwrap();
    };
    done("e1", &[], &mut out);
    done("e2", &["bearing_de".to_owned()], &mut out);
    let led: Vec<_> = events(&out).iter().map(|e| (e.life, e.ends, e.begins)).collect();
    assert_eq!(led, [(1, None, None), (1, Some(1), Some(2))]);
    let said: Vec<_> = alerts(&out).map(|a| a.message.as_str()).collect();
    assert_eq!(said, ["maintenance was done on p", "maintenance was done on p (bearing_de)"]);
    assert_eq!(alerts(&out).next().unwrap().comment.as_deref(), Some("greased"));
}

#[test]
fn what_cannot_be_taken_says_why_and_changes_nothing() {
    let mut engine = Engine::new(quick(), registry(&["p", "q"]));
    let mut out = Vec::new();
    run(&mut engine, "p", &stream(START, START + 30 * MINUTE, 30 * SECOND), &mut out);
    let now = START + 30 * MINUTE;
    let before = engine.save_asset("p");
    let mut tell = |asset: &str, what| tell(&mut engine, asset, now, what, &mut out);
    assert_eq!(tell("x", (FAILED, None, "a")), Err("unknown_asset"));
    assert_eq!(tell("q", (FAILED, None, "a")), Err("no_readings_yet"));
    assert_eq!(tell("p", (FAILED, Some(now + HOUR), "a")), Err("time_in_future"));
    assert_eq!(tell("p", (FAILED, Some(i64::MAX), "a")), Err("time_after_2100"));
    assert_eq!(tell("p", (FAILED, Some(i64::MIN), "a")), Err("time_before_2000"));
    assert_eq!(tell("p", (FAILED, Some(START - MINUTE), "a")), Err("before_this_life"));
    assert_eq!(engine.save_asset("p"), before);
    let mut out = Vec::new();
    let mut tell = |what| crate::plant::tell(&mut engine, "p", now, what, &mut out);
    assert_eq!(tell((FAILED, Some(now), "a")), Ok(false));
    assert_eq!(tell((FAILED, Some(now), "a")), Err("duplicate"));
    assert_eq!(tell((FAILED, Some(now), "b")), Err("life_over"));
    assert_eq!(tell((FAILED, Some(now - 1), "b")), Err("before_this_life"));
    for (n, id) in (0..7).zip(["0", "1", "2", "3", "4", "5", "6"]) {
        assert_eq!(tell((REPLACED, Some(now + n), id)), Ok(false));
    }
    assert_eq!(tell((REPLACED, Some(now + 8), "c")), Err("too_many_events"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_failure_told_in_time_parts_the_readings_alike_in_any_order_of_arrival(
        seed: u64,
        most in 1..=120 * SECOND,
        failed in 20..100i64,
        silent in 0..4i64,
    ) {
        let settings = Settings { baseline_slides: 40, ..settings() };
        let at = START + failed * MINUTE + 7 * SECOND;
        let all: Vec<_> = stream(START, START + 2 * HOUR, 20 * SECOND)
            .into_iter()
            .filter(|s| s.time <= at || s.time > at + silent * MINUTE)
            .collect();
        let delay = |s: &Sent| (noise(seed ^ s.sequence.wrapping_mul(77)).abs() * most as f64) as Micros;
        let mut late: Vec<_> = all.iter().map(|s| Sent { arrival: s.time + delay(s), ..*s }).collect();
        late.sort_by_key(|s| s.arrival);
        let run_with_failure = |all: &[Sent]| {
            let mut engine = Engine::new(settings.clone(), registry(&["p"]));
            let mut out = Vec::new();
            let before = all.partition_point(|s| s.arrival <= at);
            run(&mut engine, "p", &all[..before], &mut out);
            assert_eq!(tell(&mut engine, "p", at, (FAILED, Some(at), "e"), &mut out), Ok(false));
            run(&mut engine, "p", &all[before..], &mut out);
            flush(&mut engine, "p", START + 4 * HOUR, &mut out);
            let mut records = last_revisions(&out);
            records.retain(|end, _| *end <= START + 2 * HOUR);
            (steps(&out), records)
        };
        let ordered = run_with_failure(&all);
        prop_assert_eq!(ordered.0.iter().map(|s| s.life).max(), Some(2));
        prop_assert_eq!(ordered, run_with_failure(&late));
    }
}
