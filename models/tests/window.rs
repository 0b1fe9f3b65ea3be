//! Windows against a naive recomputation: exact sums in extended precision from the raw readings, no merging at all.

use fettle_models::window::{Grid, Inserted, Key, Queue, Summary};
use fettle_wire::Micros;
use fettle_wire::time::{MINUTE, SECOND};
use proptest::prelude::*;

const GRID: Grid = Grid { pane: 10 * SECOND, slide: MINUTE, window: 30 * MINUTE };

/// Sum without losing what is small beside what is large (Neumaier).
fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut total, mut lost) = (0.0f64, 0.0f64);
    for x in terms {
        let next = total + x;
        lost += if total.abs() >= x.abs() { (total - next) + x } else { (x - next) + total };
        total = next;
    }
    total + lost
}

/// Central moments (m2, m3, m4 sums), mean and slope, from the readings themselves.
fn naive(readings: &[(Micros, f64)], from: Micros) -> (f64, [f64; 3], f64) {
    let n = readings.len() as f64;
    // About the first value, so that the offset costs no digits.
    let first = readings[0].1;
    let mean = sum(readings.iter().map(|r| r.1 - first)) / n;
    let seconds = |t: Micros| (t - from) as f64 * 1e-6;
    let time = sum(readings.iter().map(|r| seconds(r.0))) / n;
    let moment = |power: i32| sum(readings.iter().map(|r| (r.1 - first - mean).powi(power)));
    let covariance = sum(readings.iter().map(|r| (seconds(r.0) - time) * (r.1 - first - mean)));
    let time_m2 = sum(readings.iter().map(|r| (seconds(r.0) - time).powi(2)));
    (first + mean, [moment(2), moment(3), moment(4)], covariance / time_m2)
}

fn near(a: f64, b: f64, scale: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * scale.abs().max(f64::MIN_POSITIVE)
}

fn insert_all(queue: &mut Queue, readings: &[(Micros, f64)]) {
    for (i, (time, value)) in readings.iter().enumerate() {
        let key = Key { boot: 1, sequence: i as u64, index: 0 };
        assert_eq!(queue.insert(&GRID, *time, key, *value, 0), Inserted::Used);
    }
}

fn readings() -> impl Strategy<Value = Vec<(Micros, f64)>> {
    let one = (0..40 * MINUTE, -1.0f64..1.0);
    prop::collection::vec(one, 20..400).prop_map(|mut all| {
        all.sort_by_key(|r| r.0);
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_window_equals_its_naive_recomputation_at_any_offset(
        all in readings(),
        offset in prop::sample::select(vec![0.0, 1.0, 1e5, -1e5]),
        end in 30i64..=40,
        close in 0i64..=40,
    ) {
        let all: Vec<_> = all.into_iter().map(|(t, x)| (t, x + offset)).collect();
        let (from, to) = ((end - 30) * MINUTE, end * MINUTE);
        let inside: Vec<_> = all.iter().copied().filter(|r| (from..to).contains(&r.0)).collect();
        let mut queue = Queue::default();
        insert_all(&mut queue, &all);
        // Closing part of it changes nothing.
        queue.close(&GRID, close.min(end - 1) * MINUTE);
        let whole = queue.window(&GRID, to);
        prop_assert_eq!(whole.count as usize, inside.len());
        prop_assume!(inside.len() > 3);
        let (mean, [m2, m3, m4], slope) = naive(&inside, from);
        let extremes = inside.iter().fold((f64::MAX, f64::MIN), |e, r| (e.0.min(r.1), e.1.max(r.1)));
        prop_assert_eq!((whole.min, whole.max), extremes);
        prop_assert!(near(whole.mean, mean, 1.0 + offset, 1e-14), "mean {} {mean}", whole.mean);
        prop_assert!(near(whole.m2, m2, m2, 1e-9), "m2 {} {m2}", whole.m2);
        prop_assert!(near(whole.m3, m3, m4.max(m2), 1e-9), "m3 {} {m3}", whole.m3);
        prop_assert!(near(whole.m4, m4, m4, 1e-9), "m4 {} {m4}", whole.m4);
        prop_assert!(near(whole.covariance / whole.time_m2, slope, 1.0 / 60.0, 1e-8), "slope {slope}");
    }

    #[test]
    fn arrival_order_never_shows(all in readings(), keys: u64) {
        let mut numbered: Vec<_> = all.iter().copied().enumerate().collect();
        let fold = |order: &[(usize, (Micros, f64))]| {
            let mut queue = Queue::default();
            for (i, (time, value)) in order {
                let key = Key { boot: *i as u64 % 3, sequence: *i as u64, index: 0 };
                assert_eq!(queue.insert(&GRID, *time, key, *value, 0), Inserted::Used);
            }
            (30..=40).map(|end| queue.window(&GRID, end * MINUTE)).collect::<Vec<Summary>>()
        };
        let ordered = fold(&numbered);
        numbered.sort_by_key(|(i, _)| (*i as u64 ^ keys).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        prop_assert_eq!(ordered, fold(&numbered));
    }
}

#[test]
fn kurtosis_at_an_offset_of_1e5_is_exact_to_1e_9() {
    // A window of a long run: 1,800 readings, two values, kurtosis known in closed form (1 / (p q) - 3 + ...).
    let all: Vec<_> = (0..1_800).map(|i| (i * SECOND, 1e5 + if i % 10 == 0 { 1.0 } else { 0.0 })).collect();
    let mut queue = Queue::default();
    insert_all(&mut queue, &all);
    let w = queue.window(&GRID, 30 * MINUTE);
    let (p, q) = (0.1, 0.9);
    let kurtosis = f64::from(w.count) * w.m4 / (w.m2 * w.m2);
    assert!((kurtosis / ((1.0 - 3.0 * p * q) / (p * q)) - 1.0).abs() < 1e-9, "{kurtosis}");
}

#[test]
fn a_queue_holds_no_more_than_its_window_and_what_is_open() {
    let mut queue = Queue::default();
    for second in 0..100_000 {
        let key = Key { boot: 1, sequence: second as u64, index: 0 };
        assert_eq!(queue.insert(&GRID, second * SECOND, key, 1.0, 0), Inserted::Used);
        if second % 60 == 5 {
            queue.close(&GRID, (second - 120) / 60 * MINUTE);
        }
        let (open, kept, closed) = queue.held();
        assert!(open <= 4 && kept <= 240 && closed <= 30, "{open} {kept} {closed}");
    }
}
