//! What a verdict is, when there is none and why, and what must not change it.

mod detect_synthetic;

use detect_synthetic::{CURRENT, IDEAL, LOAD, Machine, SPEED, TEMPERATURE, VIBRATION, layout, params};
use fettle_models::Role;
use fettle_models::assess::Assessment;
use fettle_models::detect::{Detector, DetectorParams, Layout, tail};
use fettle_wire::time::MINUTE;
use fettle_wire::{Micros, NoVerdict, Rul, Verdict, cbor};

/// A detector with everything one needs to step it.
struct Rig {
    layout: Layout,
    params: DetectorParams,
    detector: Detector,
    at: Micros,
}

impl Rig {
    fn new(layout: Layout, params: DetectorParams) -> Self {
        let detector = Detector::new(&layout, &params);
        Self { layout, params, detector, at: 0 }
    }

    /// A detector that has learned `machine`.
    fn learned(machine: &mut Machine) -> Self {
        let mut rig = Self::new(layout(), params(1.0));
        (0..1440).for_each(|_| {
            rig.step(machine.next());
        });
        assert!(rig.detector.is_frozen());
        rig
    }

    fn slide(&mut self, x: &[Option<f64>]) -> Assessment {
        self.at += MINUTE;
        self.detector.step(self.at, &self.layout, &self.params, x)
    }

    fn step(&mut self, x: [f64; 5]) -> Assessment {
        self.slide(&x.map(Some))
    }
}

fn without(x: [f64; 5], absent: &[usize]) -> Vec<Option<f64>> {
    x.iter().enumerate().map(|(i, v)| (!absent.contains(&i)).then_some(*v)).collect()
}

#[test]
fn there_is_no_verdict_until_the_baseline_is_learned_and_then_always_one() {
    let mut machine = Machine::new(1, IDEAL);
    let mut rig = Rig::new(layout(), params(1.0));
    for slide in 1..=1440 {
        let a = rig.step(machine.next());
        assert_eq!((a.verdict, a.reason), (Verdict::None, Some(NoVerdict::BaselineNotLearned)));
        assert_eq!(a.baseline, f64::from(slide) / 1440.0);
    }
    let a = rig.step(machine.next());
    assert_eq!((a.verdict, a.reason, a.baseline), (Verdict::Normal, None, 1.0));
    assert!(a.score.is_some() && a.threshold.is_some() && a.p_value.is_some() && a.health_index.is_some());
}

#[test]
fn shares_sum_to_one_and_the_p_value_falls_below_its_threshold_exactly_when_the_score_rises_above_its_own() {
    let mut machine = Machine::new(2, IDEAL);
    let mut rig = Rig::learned(&mut machine);
    let (mut normal, mut abnormal) = (0, 0);
    for i in 0..2000 {
        let mut x = machine.next();
        x[TEMPERATURE] += if i > 1000 { 0.01 * f64::from(i - 1000) } else { 0.0 };
        let a = rig.step(x);
        let (score, threshold, p) = (a.score.unwrap(), a.threshold.unwrap(), a.p_value.unwrap());
        assert_eq!(score > threshold, p < tail::chi_squared_survival(threshold, 3));
        assert_eq!(score > threshold, a.verdict == Verdict::Abnormal);
        assert!((a.contributions.iter().map(|c| c.share).sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(a.contributions.windows(2).all(|w| w[0].share >= w[1].share && w[1].share >= 0.0));
        if a.verdict == Verdict::Abnormal { abnormal += 1 } else { normal += 1 }
    }
    assert!(normal > 1000 && abnormal > 0, "{normal} {abnormal}");
}

#[test]
fn a_fault_is_found_named_and_never_learned_away() {
    let mut machine = Machine::new(3, IDEAL);
    let mut rig = Rig::learned(&mut machine);
    let mut shifted = |rig: &mut Rig| {
        let mut x = machine.next();
        x[VIBRATION] += 4e-4;
        rig.step(x)
    };
    let last = (0..20).map(|_| shifted(&mut rig)).last().unwrap();
    assert_eq!(last.verdict, Verdict::Abnormal);
    assert_eq!(last.contributions[0].channel, VIBRATION);
    assert!(last.contributions[0].share > 0.7);
    assert!(last.contributions[0].value > last.contributions[0].expected);
    let still = (0..20_000).filter(|_| shifted(&mut rig).verdict == Verdict::Abnormal).count();
    assert!(still > 19_900, "after two weeks it is as abnormal as on the first day: {still}");
}

#[test]
fn a_fault_does_not_hide_itself_by_its_size() {
    // A fault moves its channel's own past far from all that was learned; that must not pass for inexperience.
    for size in [4e-4, 4e-3, 4e-2, 0.4] {
        let mut machine = Machine::new(17, IDEAL);
        let mut rig = Rig::learned(&mut machine);
        let abnormal = (0..500)
            .filter(|_| {
                let mut x = machine.next();
                x[VIBRATION] += size;
                rig.step(x).verdict == Verdict::Abnormal
            })
            .count();
        assert!(abnormal > 485, "{abnormal} of 500 slides abnormal with {size} m/s more");
    }
}

#[test]
fn absent_inputs_are_imputed_up_to_the_stated_share_and_then_there_is_no_verdict() {
    let mut machine = Machine::new(4, IDEAL);
    let mut rig = Rig::learned(&mut machine);
    let a = rig.slide(&without(machine.next(), &[CURRENT]));
    assert_eq!((a.verdict, &a.imputed[..]), (Verdict::Normal, &[CURRENT][..]));
    let a = rig.slide(&without(machine.next(), &[CURRENT, VIBRATION]));
    assert_eq!((a.verdict, a.reason), (Verdict::None, Some(NoVerdict::InputsMissing)));
    assert_eq!(a.imputed, [CURRENT, VIBRATION]);
    assert!(a.score.is_none() && a.contributions.is_empty());
    assert_eq!(a.rul, Rul::None { reason: "inputs_missing".into() });
    let a = rig.slide(&without(machine.next(), &[LOAD]));
    assert_eq!(a.reason, Some(NoVerdict::InputsMissing), "without the load nothing can be expected");
    rig.step(machine.next());
    let a = rig.step(machine.next());
    assert_eq!((a.verdict, a.imputed.len()), (Verdict::Normal, 0));
}

#[test]
fn imputing_one_channel_for_days_keeps_the_false_alarms_down() {
    let mut machine = Machine::new(5, IDEAL);
    let mut rig = Rig::learned(&mut machine);
    let abnormal = (0..10_000)
        .filter(|_| rig.slide(&without(machine.next(), &[TEMPERATURE])).verdict == Verdict::Abnormal)
        .count();
    assert!(abnormal < 60, "{abnormal}");
}

#[test]
fn outside_the_learned_speed_there_is_no_verdict() {
    let mut machine = Machine::new(6, IDEAL);
    let mut rig = Rig::learned(&mut machine);
    let mut x = machine.next();
    x[SPEED] = 200.0;
    let a = rig.step(x);
    assert_eq!((a.verdict, a.reason), (Verdict::None, Some(NoVerdict::RegimeUnknown)));
    assert_eq!(a.rul, Rul::None { reason: "regime_unknown".into() });
    assert!(a.health_index.is_some(), "what was known of its health is still known");
}

#[test]
fn after_a_gap_the_first_slide_has_no_lag_and_the_second_has() {
    let mut machine = Machine::new(7, IDEAL);
    let mut rig = Rig::learned(&mut machine);
    rig.at += 3 * MINUTE;
    assert_eq!(rig.step(machine.next()).reason, Some(NoVerdict::InputsMissing));
    assert_eq!(rig.step(machine.next()).verdict, Verdict::Normal);
}

#[test]
fn an_asset_without_monitored_channels_says_so() {
    let mut layout = layout();
    layout.channels.iter_mut().for_each(|c| c.1 = Role::Operating);
    let a = Rig::new(layout, params(1.0)).step([1.0; 5]);
    assert_eq!(a.reason, Some(NoVerdict::NothingMonitored));
}

#[test]
fn a_constant_channel_is_left_out_and_named_and_only_constant_ones_are_degenerate() {
    let (mut machine, mut rig) = (Machine::new(8, IDEAL), Rig::new(layout(), params(1.0)));
    let mut last = None;
    for _ in 0..1500 {
        let mut x = machine.next();
        x[CURRENT] = 7.25;
        last = Some(rig.step(x));
    }
    let a = last.unwrap();
    assert_eq!((a.verdict, &a.dropped[..]), (Verdict::Normal, &[CURRENT][..]));
    assert_eq!(a.contributions.len(), 2);

    let mut rig = Rig::new(layout(), params(1.0));
    let last = (0..1500).map(|_| rig.step([1.0, 2.0, 3.0, 4.0, 5.0])).last().unwrap();
    assert_eq!(last.reason, Some(NoVerdict::Degenerate));
}

#[test]
fn two_channels_that_are_the_same_do_not_make_it_degenerate() {
    let (mut machine, mut rig) = (Machine::new(9, IDEAL), Rig::new(layout(), params(1.0)));
    let mut last = None;
    for _ in 0..1500 {
        let mut x = machine.next();
        x[CURRENT] = 2.0 * x[VIBRATION];
        last = Some(rig.step(x));
    }
    let a = last.unwrap();
    assert_eq!((a.verdict, a.dropped.len()), (Verdict::Normal, 1));
}

#[test]
fn a_sensor_that_is_dead_at_commissioning_keeps_nobody_waiting() {
    let (mut machine, mut rig) = (Machine::new(10, IDEAL), Rig::new(layout(), params(1.0)));
    let last = (0..1500).map(|_| rig.slide(&without(machine.next(), &[TEMPERATURE]))).last().unwrap();
    assert_eq!((last.verdict, &last.dropped[..]), (Verdict::Normal, &[TEMPERATURE][..]));
}

#[test]
fn outliers_while_learning_are_counted_and_hide_no_later_fault() {
    let (mut clean, mut dirty) = (Machine::new(11, IDEAL), Machine::new(11, IDEAL));
    let mut clean_rig = Rig::learned(&mut clean);
    let mut dirty_rig = Rig::new(layout(), params(1.0));
    for i in 0..1440 {
        let mut x = dirty.next();
        if i > 70 && i % 100 == 0 {
            x[VIBRATION] = 0.5;
        }
        dirty_rig.step(x);
    }
    assert!(dirty_rig.detector.is_frozen());
    assert_eq!(dirty_rig.detector.winsorised() - clean_rig.detector.winsorised(), 14);
    let delay = |rig: &mut Rig, machine: &mut Machine| {
        (1..1000).find(|_| {
            let mut x = machine.next();
            x[VIBRATION] += 3e-4;
            rig.step(x).verdict == Verdict::Abnormal
        })
    };
    let (a, b) = (delay(&mut clean_rig, &mut clean).unwrap(), delay(&mut dirty_rig, &mut dirty).unwrap());
    assert!(b <= a + 5, "found after {a} slides, after {b} with outliers in the baseline");
}

#[test]
fn units_and_the_order_of_channels_change_nothing_but_rounding() {
    let order = [VIBRATION, SPEED, CURRENT, TEMPERATURE, LOAD];
    let scale = [(1e3, 0.0), (30.0 / std::f64::consts::PI, 0.0), (1e-3, 0.0), (1.8, 1e5), (1e2, 0.0)];
    let permuted = Layout { channels: order.map(|i| layout().channels[i].clone()).to_vec() };
    let mut machine = Machine::new(12, IDEAL);
    let (mut plain, mut other) = (Rig::new(layout(), params(1.0)), Rig::new(permuted, params(1.0)));
    let mut compared = 0;
    for i in 0..3000 {
        let mut x = machine.next();
        x[CURRENT] += if i > 2000 { 0.3 } else { 0.0 };
        let y: Vec<Option<f64>> = order.iter().zip(scale).map(|(c, (a, b))| Some(a * x[*c] + b)).collect();
        let (p, q) = (plain.step(x), other.slide(&y));
        assert_eq!((p.verdict, p.reason), (q.verdict, q.reason));
        if let (Some(p_score), Some(q_score)) = (p.score, q.score) {
            assert!((p_score - q_score).abs() < 1e-5 * (1.0 + p_score), "{p_score} and {q_score}");
            for share in &p.contributions {
                let same = q.contributions.iter().find(|s| order[s.channel] == share.channel).unwrap();
                assert!((same.share - share.share).abs() < 1e-4);
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 1560);
}

#[test]
fn saved_and_loaded_at_any_moment_it_continues_bit_for_bit() {
    let mut machine = Machine::new(13, IDEAL);
    let mut rig = Rig::new(layout(), params(1.0));
    for i in 0..2200 {
        let x = machine.next();
        let mut twin = None;
        if [0, 30, 61, 700, 1439, 1440, 2000].contains(&i) {
            let bytes = cbor::encode(&rig.detector).unwrap();
            let loaded: Detector = cbor::decode(&bytes, 1 << 20).unwrap();
            assert_eq!(cbor::encode(&loaded).unwrap(), bytes);
            twin = Some(Rig { detector: loaded, layout: layout(), params: params(1.0), at: rig.at });
        }
        let mut ahead = machine_values(&machine_seed(i));
        let expected = rig.step(x);
        if let Some(mut twin) = twin {
            assert_eq!(twin.step(x), expected);
            let mut original =
                Rig { detector: rig.detector.clone(), layout: layout(), params: params(1.0), at: rig.at };
            for x in ahead.drain(..) {
                assert_eq!(twin.step(x), original.step(x));
            }
        }
    }
}

fn machine_seed(i: u64) -> u64 {
    10_000 + i
}

fn machine_values(seed: &u64) -> Vec<[f64; 5]> {
    let mut machine = Machine::new(*seed, IDEAL);
    (0..20).map(|_| machine.next()).collect()
}

#[test]
fn a_clone_that_runs_ahead_leaves_the_original_alone() {
    let mut machine = Machine::new(14, IDEAL);
    let mut rig = Rig::learned(&mut machine);
    let before = cbor::encode(&rig.detector).unwrap();
    let mut tail = Rig { detector: rig.detector.clone(), layout: layout(), params: params(1.0), at: rig.at };
    (0..50).for_each(|_| {
        tail.step(machine.next());
    });
    assert_eq!(cbor::encode(&rig.detector).unwrap(), before);
    rig.step(machine.next());
}

#[test]
fn whatever_comes_in_nothing_panics_and_no_number_is_not_a_number() {
    let mut rng = detect_synthetic::seeded(15);
    let wild = [0.0, -0.0, f64::NAN, f64::INFINITY, -1e60, 1e60, 1e-300, 1.0, 1.0, 2.0, 3.0];
    for lambda in [0.01, 0.1, 1.0] {
        let mut params = params(0.1);
        (params.baseline_slides, params.lambda) = (40, lambda);
        let mut rig = Rig::new(layout(), params);
        for i in 0..3000 {
            let mut pick = || (detect_synthetic::uniform(&mut rng) * 12.0) as usize;
            let length = if i % 50 == 0 { pick() } else { 5 };
            let x: Vec<Option<f64>> = (0..length).map(|_| wild.get(pick()).copied()).collect();
            rig.at += MINUTE * i64::from(i % 97 == 0) - 2 * MINUTE * i64::from(i % 1001 == 0);
            let a = rig.slide(&x);
            let numbers = a.score.iter().chain(&a.p_value).chain(&a.health_index).chain([&a.baseline]);
            assert!(numbers.into_iter().all(|v| !v.is_nan()), "{a:?}");
            assert!(a.contributions.iter().all(|c| !c.share.is_nan()), "{a:?}");
        }
    }
}

#[test]
fn a_change_of_the_rate_asked_for_moves_the_threshold_at_once() {
    let mut machine = Machine::new(16, IDEAL);
    let mut rig = Rig::learned(&mut machine);
    let before = rig.step(machine.next()).threshold.unwrap();
    rig.params.false_alarms_per_asset_month = 0.1;
    let after = rig.step(machine.next()).threshold.unwrap();
    assert!(after > before + 3.0, "{before} and {after}");
}
