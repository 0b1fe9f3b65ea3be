//! Remaining life and health index of a machine that wears, and of one that does not.

mod detect_synthetic;

use detect_synthetic::{IDEAL, Machine, VIBRATION, layout, params};
use fettle_models::detect::{Detector, Layout};
use fettle_models::predict::{METHODS, METHODS_WITHOUT_LIMIT};
use fettle_wire::Rul;
use fettle_wire::time::{DAY, MINUTE};

fn limited(limit: f64) -> Layout {
    let mut layout = layout();
    layout.channels[VIBRATION].3 = Some(limit);
    layout
}

/// Steps a machine whose vibration grows by `rate` (m/s per slide) after `start` slides; what is said each slide.
fn run(seed: u64, layout: &Layout, slides: u32, start: u32, rate: f64, mut each: impl FnMut(u32, Option<f64>, Rul)) {
    let (params, mut machine) = (params(1.0), Machine::new(seed, IDEAL));
    let mut detector = Detector::new(layout, &params);
    for i in 0..slides {
        let mut x = machine.next();
        x[VIBRATION] += rate * f64::from(i.saturating_sub(start));
        let a = detector.step(i64::from(i) * MINUTE, layout, &params, &x.map(Some));
        each(i, a.health_index, a.rul);
    }
}

/// Mean of the synthetic machine's vibration, m/s, roughly.
const MEAN: f64 = 3.2e-3;

#[test]
fn a_wearing_machine_is_told_when_it_reaches_its_limit() {
    // From 3.2 mm/s to 7.2 mm/s within four days.
    let (start, rate) = (2880, 4e-3 / 5760.0);
    let layout = limited(MEAN + 4e-3);
    let (mut told, mut held, mut first) = (0, 0, None);
    run(1, &layout, 2880 + 5760, start, rate, |i, _, rul| {
        if let Rul::Interval { p10, p50, p90, method, channel } = rul {
            assert!(METHODS.contains(&method.as_str()) && &*channel == "vibration", "{method}, {channel}");
            assert!(p10 <= p50 && p90.is_none_or(|p90| p50 <= p90));
            let truth = f64::from(2880 + 5760 - i) * 60.0;
            if i > start + 1440 {
                first.get_or_insert((truth, p50));
                told += 1;
                held += u32::from((p50 / truth - 1.0).abs() < 0.25 || (p50 - truth).abs() < 3.0 * 3600.0);
            }
        }
    });
    assert!(told > 4000, "told in {told} of 4320 slides");
    assert!(held * 10 > told * 9, "{held} of {told} medians within a quarter of the truth; first {first:?}");
}

#[test]
fn the_health_index_falls_from_one_to_nothing_at_the_limit() {
    let layout = limited(MEAN + 4e-3);
    let (mut healthy, mut end) = (1.0f64, 1.0);
    run(2, &layout, 2880 + 6500, 2880, 4e-3 / 5760.0, |i, index, _| {
        if (1500..2880).contains(&i) {
            healthy = healthy.min(index.unwrap());
        }
        end = index.unwrap_or(end);
    });
    assert!(healthy > 0.9, "{healthy}");
    assert_eq!(end, 0.0);
}

#[test]
fn a_healthy_machine_is_hardly_ever_told_an_end() {
    let (mut told, mut all) = (0, 0);
    for seed in 0..10 {
        run(100 + seed, &layout(), 1440 * 8, u32::MAX, 0.0, |i, index, rul| {
            if i >= 1440 {
                all += 1;
                told += u32::from(matches!(rul, Rul::Interval { .. }));
                assert!(index.unwrap() > 0.5);
            }
        });
    }
    assert!(f64::from(told) < 0.05 * f64::from(all), "{told} of {all}");
}

#[test]
fn why_there_is_no_remaining_life_is_told() {
    let mut reasons = std::collections::BTreeSet::new();
    run(3, &layout(), 3000, u32::MAX, 0.0, |_, _, rul| {
        if let Rul::None { reason } = rul {
            reasons.insert(reason);
        }
    });
    assert!(reasons.contains("baseline_not_learned") && reasons.contains("trend_not_identifiable"), "{reasons:?}");
}

#[test]
fn without_a_limit_the_method_says_that_it_made_one_up() {
    let mut methods = std::collections::BTreeSet::new();
    run(4, &layout(), 5000, 1500, 1e-6, |_, _, rul| {
        if let Rul::Interval { method, .. } = rul {
            methods.insert(method);
        }
    });
    assert!(
        methods.iter().eq(&{
            let mut all = METHODS_WITHOUT_LIMIT;
            all.sort_unstable();
            all
        }),
        "{methods:?}"
    );
}

#[test]
fn a_machine_that_is_only_run_harder_does_not_age() {
    // The load profile of the synthetic machine moves vibration and temperature all day; its level does not follow.
    let mut least = 1.0f64;
    run(5, &limited(MEAN + 4e-3), 1440 * 3, u32::MAX, 0.0, |_, index, _| least = least.min(index.unwrap_or(1.0)));
    assert!(least > 0.9, "{least}");
    assert!(params(1.0).rul_horizon > DAY);
}
