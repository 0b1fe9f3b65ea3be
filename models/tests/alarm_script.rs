//! Runs the scripts `testdata/alarm*.txt`: what happens to an alarm, and what is expected, readable without Rust.
//! And a random walk that checks the invariants of the life cycle.

#![allow(clippy::unwrap_used, reason = "a test's helpers may panic")]

use std::path::Path;

use fettle_models::alarm::{Alarm, AlarmParams, Signal, Transition};
use fettle_wire::time::{MINUTE, SECOND};
use fettle_wire::{AlarmState, Change, Micros};
use proptest::prelude::*;

fn word(value: impl serde::Serialize) -> String {
    // Through the wire's own names, as a reader of alerts sees them.
    fettle_wire::json::encode(&value).unwrap().replace('"', "")
}

fn told(outcome: Result<Option<Transition>, &'static str>) -> String {
    match outcome {
        Ok(None) => "-".into(),
        Ok(Some(t)) => format!("{} {} {}", word(t.change), word(t.state), t.occurrence),
        Err(reason) => format!("refused {reason}"),
    }
}

fn run(script: &str, name: &str) -> usize {
    let mut alarm = Alarm::new();
    let mut params = AlarmParams { on_delay: 0, off_delay: 0 };
    let mut checked = 0;
    for (number, line) in script.lines().enumerate() {
        let place = format!("{name}:{}: {line}", number + 1);
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => continue,
            [first, ..] if first.starts_with('#') => continue,
            ["delays", on, off] => {
                let seconds = |text: &str| text.parse::<Micros>().expect("seconds") * SECOND;
                (alarm, params) = (Alarm::new(), AlarmParams { on_delay: seconds(on), off_delay: seconds(off) });
                continue;
            }
            _ => {}
        }
        let (happens, expected) = line.split_once(" -> ").unwrap_or_else(|| panic!("no arrow in {place}"));
        let mut words = happens.split_whitespace();
        let (minutes, seconds) = words.next().and_then(|t| t.split_once(':')).expect(&place);
        let at = minutes.parse::<Micros>().unwrap() * MINUTE + seconds.parse::<Micros>().unwrap() * SECOND;
        let outcome = match (words.next(), words.next()) {
            (Some("signal"), Some(value)) => {
                Ok(alarm.step(at, Some(Signal::scored(value.parse().unwrap(), 10.0, 0.3)), &params))
            }
            (Some("unknown"), None) => Ok(alarm.step(at, None, &params)),
            (Some("ack"), Some(occurrence)) => alarm.acknowledge(occurrence.parse().unwrap(), at),
            _ => panic!("not understood: {place}"),
        };
        assert_eq!(told(outcome), expected.trim(), "{place}");
        checked += 1;
    }
    checked
}

#[test]
fn every_script_gives_what_it_expects() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut scripts = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("alarm") && name.ends_with(".txt") {
            assert!(run(&std::fs::read_to_string(&path).unwrap(), &name) > 0, "{name} checks nothing");
            scripts += 1;
        }
    }
    assert!(scripts > 0);
}

#[derive(Debug, Clone)]
enum Act {
    Signal(f64),
    Unknown,
    Acknowledge(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0.0..14.0).prop_map(Act::Signal),
        1 => Just(Act::Unknown),
        2 => (0u64..6).prop_map(Act::Acknowledge),
    ]
}

proptest! {
    #[test]
    fn occurrences_count_raises_and_every_change_is_one_of_the_diagram(
        acts in prop::collection::vec((0i64..200, act()), 1..200),
        on_delay in 0i64..120,
        off_delay in 0i64..400,
    ) {
        use AlarmState::{Acknowledged, Normal, ReturnedUnacknowledged, Unacknowledged};
        let params = AlarmParams { on_delay: on_delay * SECOND, off_delay: off_delay * SECOND };
        let (mut alarm, mut at, mut raises) = (Alarm::new(), 0, 0);
        for (later, act) in acts {
            at += later * SECOND;
            let before = alarm.state();
            let outcome = match act {
                Act::Signal(value) => alarm.step(at, Some(Signal::scored(value, 10.0, 0.3)), &params),
                Act::Unknown => alarm.step(at, None, &params),
                Act::Acknowledge(n) => alarm.acknowledge(n, at).unwrap_or(None),
            };
            raises += u64::from(outcome.is_some_and(|t| t.change == Change::Raised));
            prop_assert_eq!(alarm.occurrence(), raises);
            let allowed = match (before, outcome.map(|t| t.change)) {
                (_, None) => Some(before),
                (Normal | ReturnedUnacknowledged, Some(Change::Raised)) => Some(Unacknowledged),
                (Unacknowledged, Some(Change::Returned)) => Some(ReturnedUnacknowledged),
                (Acknowledged, Some(Change::Returned)) => Some(Normal),
                (Unacknowledged, Some(Change::Acknowledged)) => Some(Acknowledged),
                (ReturnedUnacknowledged, Some(Change::Acknowledged)) => Some(Normal),
                _ => None,
            };
            prop_assert_eq!(allowed, Some(alarm.state()));
            prop_assert_eq!(outcome.map(|t| t.state).unwrap_or(alarm.state()), alarm.state());
        }
    }
}
