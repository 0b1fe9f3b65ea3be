//! Alarms as the engine raises them: on the first evaluation, with their evidence.

use fettle_models::{Act, Engine, Settings};
use fettle_wire::time::{DAY, HOUR, MINUTE, SECOND};
use fettle_wire::{AlarmState, Change, Label, Micros, Priority};

use crate::plant::*;

fn with(channel: usize, from: Micros, to: Micros, add: f64) -> Vec<Sent> {
    let mut all = stream(START, START + LEARNED + HOUR, 20 * SECOND);
    for s in all.iter_mut().filter(|s| s.channel == channel && (from..to).contains(&s.time)) {
        s.value += add;
    }
    all
}

#[test]
fn a_limit_exceeded_raises_once_returns_after_the_off_delay_and_can_be_acknowledged() {
    let mut engine = Engine::new(settings(), registry(&["p"]));
    let mut out = Vec::new();
    run(&mut engine, "p", &with(1, START + 100 * MINUTE, START + 110 * MINUTE, 45.0), &mut out);
    let limit: Vec<_> = alerts(&out).filter(|a| a.condition == "limit.temperature").collect();
    let told: Vec<_> = limit.iter().map(|a| (a.change, a.state, (a.at - START) / MINUTE, a.occurrence)).collect();
    let expected = [
        (Change::Raised, AlarmState::Unacknowledged, 101, 1),
        (Change::Returned, AlarmState::ReturnedUnacknowledged, 116, 1),
    ];
    assert_eq!(told, expected);
    assert_eq!(limit[0].priority, Priority::High);
    assert!(
        limit[0].message.starts_with("temperature is at 10")
            && limit[0].message.ends_with("above its limit of 90.0 Cel")
    );
    assert!((limit[0].score - 378.0).abs() < 5.0, "SI value: {}", limit[0].score);
    let mut after = Vec::new();
    assert_eq!(
        engine.act("p", "limit.temperature", &Act::Acknowledge { occurrence: 1 }, "ann", "c1", &mut after),
        Ok(())
    );
    assert_eq!(
        engine.act("p", "limit.temperature", &Act::Acknowledge { occurrence: 1 }, "bob", "c2", &mut after),
        Ok(())
    );
    let seen: Vec<_> = alerts(&after).collect();
    assert_eq!(seen.len(), 1, "acknowledging twice changes nothing");
    assert_eq!((seen[0].change, seen[0].state), (Change::Acknowledged, AlarmState::Normal));
    assert_eq!((seen[0].by.as_deref(), seen[0].command.as_deref()), (Some("ann"), Some("c1")));
    assert_eq!(
        engine.act("x", "anomaly", &Act::Acknowledge { occurrence: 1 }, "ann", "c", &mut after),
        Err("unknown_asset")
    );
    assert_eq!(
        engine.act("p", "nothing", &Act::Acknowledge { occurrence: 1 }, "ann", "c", &mut after),
        Err("unknown_condition")
    );
    assert_eq!(
        engine.act("p", "limit.temperature", &Act::Acknowledge { occurrence: 9 }, "ann", "c", &mut after),
        Err("unknown_occurrence")
    );
}

#[test]
fn unusual_behaviour_raises_an_anomaly_that_names_the_channel() {
    let mut engine = Engine::new(settings(), registry(&["p"]));
    let mut out = Vec::new();
    run(&mut engine, "p", &with(2, START + LEARNED, START + LEARNED + HOUR, 1.0), &mut out);
    let raised: Vec<_> = alerts(&out).filter(|a| a.change == Change::Raised).collect();
    assert_eq!(raised.len(), 1, "{raised:?}");
    let alert = raised[0];
    assert_eq!((alert.condition.as_str(), alert.asset.as_str()), ("anomaly", "p"));
    let minutes = (alert.at - START - LEARNED) / MINUTE;
    assert!((1..10).contains(&minutes), "{minutes}");
    assert_eq!(alert.contributions[0].channel.as_str(), "vibration");
    assert!(alert.message.contains("mostly vibration"), "{}", alert.message);
    assert!(alert.p_value.is_some_and(|p| p < 1e-3));
}

#[test]
fn a_limit_that_the_configuration_takes_away_returns_its_alarm() {
    let settings = Settings { off_delay: 0, ..settings() };
    let mut engine = Engine::new(settings.clone(), registry(&["p"]));
    let mut out = Vec::new();
    run(&mut engine, "p", &with(1, START, START + LEARNED + HOUR, 45.0), &mut out);
    assert_eq!(engine.alarms_open(), 1);
    let mut without = registry(&["p"]);
    without.assets.get_mut("p").unwrap().channels.get_mut("temperature").unwrap().limit = None;
    engine.configure(settings, without);
    out.clear();
    let rest = stream(START + LEARNED + HOUR, START + LEARNED + HOUR + 5 * MINUTE, 20 * SECOND);
    run(&mut engine, "p", &rest, &mut out);
    let returned: Vec<_> = alerts(&out).filter(|a| a.condition == "limit.temperature").map(|a| a.change).collect();
    assert_eq!(returned, [Change::Returned]);
}

#[test]
fn a_shelved_alarm_goes_on_says_so_and_the_shelf_ends_by_itself() {
    let mut engine = Engine::new(settings(), registry(&["p"]));
    let mut out = Vec::new();
    let all = with(1, START + 100 * MINUTE, START + 110 * MINUTE, 45.0);
    let (before, after): (Vec<_>, Vec<_>) = all.into_iter().partition(|s| s.time < START + 105 * MINUTE);
    run(&mut engine, "p", &before, &mut out);
    let raised = alerts(&out).find(|a| a.condition == "limit.temperature").cloned().expect("it is raised");
    assert_eq!(raised.shelved_until, None);
    out.clear();
    let until = raised.at + 20 * MINUTE;
    let mut act = |act: Act, out: &mut Vec<_>| engine.act("p", "limit.temperature", &act, "ann", "c1", out);
    assert_eq!(act(Act::Shelve { until: raised.at - MINUTE }, &mut out), Err("shelf_in_the_past"));
    assert_eq!(act(Act::Shelve { until: raised.at + 32 * DAY }, &mut out), Err("shelf_too_long"));
    assert_eq!(act(Act::Unshelve, &mut out), Ok(()));
    assert_eq!(out.len(), 0, "there was no shelf");
    assert_eq!(act(Act::Shelve { until }, &mut out), Ok(()));
    run(&mut engine, "p", &after, &mut out);
    let told: Vec<_> = alerts(&out)
        .filter(|a| a.condition == "limit.temperature")
        .map(|a| (a.change, a.state, a.shelved_until, a.by.as_deref()))
        .collect();
    let expected = [
        (Change::Shelved, AlarmState::Unacknowledged, Some(until), Some("ann")),
        (Change::Returned, AlarmState::ReturnedUnacknowledged, Some(until), None),
        (Change::Unshelved, AlarmState::ReturnedUnacknowledged, None, None),
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_occurrence_can_be_labelled_and_commented_after_it_has_ended_and_keeps_its_label() {
    let mut engine = Engine::new(settings(), registry(&["p"]));
    let mut out = Vec::new();
    run(&mut engine, "p", &with(1, START + 100 * MINUTE, START + 110 * MINUTE, 45.0), &mut out);
    out.clear();
    let mut act = |act: Act, out: &mut Vec<_>| engine.act("p", "limit.temperature", &act, "ann", "c", out);
    assert_eq!(act(Act::Acknowledge { occurrence: 1 }, &mut out), Ok(()));
    assert_eq!(act(Act::Label { occurrence: 1, label: Label::MaintenanceDone }, &mut out), Ok(()));
    let text = "oil was low".to_owned();
    assert_eq!(act(Act::Comment { occurrence: 1, text: text.clone() }, &mut out), Ok(()));
    assert_eq!(act(Act::Comment { occurrence: 2, text: text.clone() }, &mut out), Err("unknown_occurrence"));
    let told: Vec<_> = alerts(&out).map(|a| (a.change, a.state, a.label, a.comment.clone())).collect();
    let label = Some(Label::MaintenanceDone);
    let expected = [
        (Change::Acknowledged, AlarmState::Normal, None, None),
        (Change::Labelled, AlarmState::Normal, label, None),
        (Change::Commented, AlarmState::Normal, label, Some(text)),
    ];
    assert_eq!(told, expected);
    let comment = alerts(&out).last().unwrap();
    assert_eq!(comment.message, "ann says: oil was low");
}
