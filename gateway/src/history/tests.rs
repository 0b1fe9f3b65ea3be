//! What the history promises, with a store on disk and without Kafka.

use std::collections::BTreeSet;

use fettle_wire::time::{DAY, HOUR, MINUTE};
use fettle_wire::{Change, Request};
use proptest::prelude::*;

use super::*;
use crate::history::query::{Ask, Curves};
use crate::intake::record::tests::{alert, health, name};

/// 2026-11-21T00:00:00Z, a multiple of every chunk's span.
const NOW: Micros = 20_778 * DAY;

struct Bed {
    history: History,
    folder: tempfile::TempDir,
}

impl Bed {
    fn new(max_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep { max_bytes, ..Keep::default() };
        Self { history: History::open(folder.path(), keep, "fettle").unwrap(), folder }
    }

    fn take(&self, healths: Vec<Health>) -> Taken {
        let healths = healths.into_iter().map(|h| (name("plant-a"), Box::new(h))).collect();
        self.history.take_in(&Batch { healths, ..Batch::default() }).unwrap()
    }

    fn curves(&self, resolution: Resolution, from: Micros, to: Micros, points: usize) -> Curves {
        let ask = Ask { from: Some(from), to: Some(to), resolution: Some(resolution), points, series: Vec::new() };
        self.history.curves("plant-a", "pump", &ask).unwrap().unwrap()
    }
}

fn said(at: Micros, revision: u32, score: f64) -> Health {
    Health { score: Some(score), ..health("pump", at, revision) }
}

fn scores(curves: &Curves) -> Vec<(u32, f32, f32, f32)> {
    let of = curves.curves.iter().find(|c| c.series.name == "score").unwrap();
    curves.column(of, |s| (s.count, s.mean, s.min, s.max)).into_iter().flatten().collect()
}

#[test]
fn minutes_and_hours_are_computed_from_the_records() {
    let bed = Bed::new(1 << 30);
    let at = |n: i64| NOW + n * 20_000_000;
    bed.take((0..9).map(|n| said(at(n), 0, n as f64)).collect());
    assert_eq!(bed.curves(Resolution::Raw, NOW, NOW + DAY, 100).points.len(), 9);
    let minutes = bed.curves(Resolution::Minute, NOW, NOW + DAY, 100);
    assert_eq!(scores(&minutes), [(3, 1.0, 0.0, 2.0), (3, 4.0, 3.0, 5.0), (3, 7.0, 6.0, 8.0)]);
    let hours = bed.curves(Resolution::Hour, NOW, NOW + DAY, 100);
    assert_eq!(scores(&hours), [(9, 4.0, 0.0, 8.0)]);
    assert_eq!(hours.records, 9);
}

#[test]
fn a_revision_replaces_its_window_everywhere_and_an_older_one_changes_nothing() {
    let bed = Bed::new(1 << 30);
    bed.take(vec![said(NOW, 0, 1.0), said(NOW + MINUTE, 0, 5.0)]);
    let taken = bed.take(vec![said(NOW, 2, 3.0), said(NOW, 1, 9.0)]);
    assert_eq!(taken.outcomes, BTreeMap::from([("revised", 1), ("older_revision", 1)]));
    for resolution in Resolution::ALL {
        let all = scores(&bed.curves(resolution, NOW, NOW + DAY, 100));
        let least = all.iter().map(|s| s.2).fold(f32::MAX, f32::min);
        let largest = all.iter().map(|s| s.3).fold(f32::MIN, f32::max);
        assert_eq!((least, largest), (3.0, 5.0), "{resolution:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn neither_order_nor_repetition_changes_the_history(
        mut records in prop::collection::vec((0..400_i64, 0..3_u32), 1..60),
        seed: u64,
    ) {
        let (one, other) = (Bed::new(1 << 30), Bed::new(1 << 30));
        // The value follows from window and revision, as it does for an agent.
        let make = |(n, revision): &(i64, u32)| said(NOW + n * 30_000_000, *revision, (*n * 3 + i64::from(*revision)) as f64);
        one.take(records.iter().map(make).collect());
        let mut state = seed | 1;
        for at in (1..records.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            records.swap(at, (state >> 33) as usize % (at + 1));
        }
        for part in records.chunks(7) {
            other.take(part.iter().map(make).collect());
            other.take(part.iter().map(make).collect());
        }
        for resolution in Resolution::ALL {
            let (a, b) = (bed_points(&one, resolution), bed_points(&other, resolution));
            prop_assert_eq!(a, b);
        }
    }
}

fn bed_points(bed: &Bed, resolution: Resolution) -> Vec<Point> {
    bed.curves(resolution, NOW - DAY, NOW + 2 * DAY, 5_000).points
}

#[test]
fn records_of_any_time_are_taken_and_each_asset_minds_its_own() {
    let bed = Bed::new(1 << 30);
    let odd = [i64::MIN, -1, 0, time::EARLIEST, NOW - 6 * 365 * DAY, NOW + 30 * 365 * DAY, time::LATEST, i64::MAX];
    bed.take(vec![said(NOW, 0, 1.0)]);
    let other = |at: &Micros| Health { asset: name("broken-clock"), window_end: *at, ..said(NOW, 0, 1.0) };
    let taken = bed.take(odd.iter().map(other).collect());
    assert_eq!(taken.outcomes["impossible_time"], 5, "before 2000, from 2100 on: {:?}", taken.outcomes);
    bed.history.keep(NOW).unwrap();
    let taken = bed.take(odd.iter().map(other).collect());
    assert_eq!((taken.outcomes["too_old"], taken.outcomes["repeated"]), (2, 1), "{:?}", taken.outcomes);
    assert_eq!(bed.curves(Resolution::Raw, NOW - DAY, NOW + DAY, 10).records, 1);
}

#[test]
fn what_is_too_old_is_removed_and_stays_in_the_coarser_points() {
    let bed = Bed::new(1 << 30);
    bed.take(vec![said(NOW - 100 * DAY, 0, 1.0), said(NOW - 8 * DAY, 0, 2.0), said(NOW, 0, 3.0)]);
    bed.history.keep(NOW).unwrap();
    let count = |of| bed.curves(of, NOW - 200 * DAY, NOW + DAY, 1_000).records;
    assert_eq!((count(Resolution::Raw), count(Resolution::Minute), count(Resolution::Hour)), (1, 2, 3));
}

#[test]
fn records_that_come_after_their_finer_points_were_given_up_are_never_counted_twice() {
    let bed = Bed::new(1 << 30);
    bed.history.keep(NOW).unwrap();
    let old = NOW - 8 * DAY;
    let records = || vec![said(old, 0, 1.0), said(old + 20_000_000, 0, 5.0)];
    let first = bed.take(records());
    assert_eq!(first.outcomes, BTreeMap::from([("stored_coarse", 2)]));
    let again = bed.take(records());
    assert_eq!(again.outcomes, BTreeMap::from([("late_for_good", 2)]));
    assert_eq!(scores(&bed.curves(Resolution::Minute, old - DAY, NOW, 10)), [(2, 3.0, 1.0, 5.0)]);
    assert_eq!(scores(&bed.curves(Resolution::Hour, old - DAY, NOW, 10)), [(2, 3.0, 1.0, 5.0)]);
}

#[test]
fn the_bytes_are_bounded_and_the_oldest_records_are_given_up_first_and_counted() {
    let bed = Bed::new(140 << 10);
    let mut given_up = BTreeMap::<&str, u64>::new();
    for hour in 0..5 * 24 {
        bed.take((0..60).map(|n| said(NOW + hour * HOUR + n * MINUTE, 0, (n * 7 % 13) as f64)).collect());
        for (what, count) in bed.history.keep(NOW + hour * HOUR).unwrap() {
            *given_up.entry(what).or_default() += count;
        }
        assert!(bed.history.bytes().unwrap() < 180 << 10, "a commit beyond the bound at most");
    }
    assert!(given_up["raw"] > 100, "{given_up:?}");
    let kept = |of| bed.curves(of, NOW, NOW + 6 * DAY, 5_000).records;
    let raw = bed.curves(Resolution::Raw, NOW, NOW + 6 * DAY, 5_000);
    assert_eq!(kept(Resolution::Raw) + given_up["raw"], 5 * 24 * 60, "each record is kept or counted");
    assert!(raw.points.last().unwrap().at > NOW + 5 * DAY - HOUR, "the newest stay");
    assert_eq!(kept(Resolution::Hour), 5 * 24 * 60, "hours last longest");
}

#[test]
fn many_points_are_folded_and_their_extremes_stay() {
    let bed = Bed::new(1 << 30);
    let spike = |n: i64| if n == 777 { 1_000.0 } else { (n % 10) as f64 };
    bed.take((0..1_440).map(|n| said(NOW + n * MINUTE, 0, spike(n))).collect());
    let curves = bed.curves(Resolution::Raw, NOW, NOW + DAY, 50);
    assert!(curves.points.len() <= 50 && curves.slot > 0);
    let all = scores(&curves);
    assert_eq!(all.iter().map(|s| s.0).sum::<u32>(), 1_440);
    assert_eq!(all.iter().filter(|s| s.3 == 1_000.0).count(), 1);
    assert!(all.iter().all(|s| s.2 == 0.0));
}

#[test]
fn the_resolution_follows_from_what_is_kept_and_how_much_is_looked_at() {
    let bed = Bed::new(1 << 30);
    bed.take(vec![said(NOW - 60 * DAY, 0, 1.0), said(NOW, 0, 1.0)]);
    bed.history.keep(NOW).unwrap();
    let chosen = |days: i64| {
        let ask = Ask { from: Some(NOW - days * DAY), to: Some(NOW + 1), points: 100, ..Ask::default() };
        bed.history.curves("plant-a", "pump", &ask).unwrap().unwrap().resolution
    };
    assert_eq!((chosen(0), chosen(10), chosen(80)), (Resolution::Raw, Resolution::Minute, Resolution::Hour));
}

#[test]
fn positions_and_data_survive_together_and_another_cluster_is_read_from_its_start() {
    let bed = Bed::new(1 << 30);
    let positions = BTreeMap::from([(("fettle.health".to_owned(), 3), 42)]);
    let healths = vec![(name("plant-a"), Box::new(said(NOW, 0, 1.0)))];
    bed.history.take_in(&Batch { healths, positions, ..Batch::default() }).unwrap();
    let Bed { history, folder } = bed;
    drop(history);
    let open = |prefix| History::open(folder.path(), Keep::default(), prefix).unwrap();
    let history = open("fettle");
    assert_eq!(history.positions("fettle.health").unwrap(), BTreeMap::from([(3, 42)]));
    history.set_cluster("one").unwrap();
    assert!(history.positions("fettle.health").unwrap().is_empty());
    assert!(history.curves("plant-a", "pump", &Ask::default()).unwrap().is_some(), "what is known stays");
    drop(history);
    assert!(open("other-fleet").curves("plant-a", "pump", &Ask::default()).unwrap().is_none());
}

fn logged(asset: &str, n: u8, at: Micros) -> Said {
    let mut alert = alert(asset, "anomaly", u64::from(n), Change::Raised);
    alert.at = at;
    let origin = Origin { site: name("plant-a"), agent: name("gw-1"), incarnation: "0".repeat(16) };
    Said { origin, id: RecordId([n; 16]), seen: 1, alert: Box::new(alert) }
}

#[test]
fn alerts_are_logged_once_newest_first_and_paged() {
    let bed = Bed::new(1 << 30);
    let all: Vec<Said> =
        (1..=9).map(|n| logged(if n % 2 == 0 { "pump" } else { "fan" }, n, NOW + i64::from(n))).collect();
    for _ in 0..2 {
        bed.history.take_in(&Batch { alerts: all.clone(), ..Batch::default() }).unwrap();
    }
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = bed.history.alerts(None, after.as_deref(), 4, |_| true).unwrap();
        found.extend(page.alerts.iter().map(|l| l.alert.occurrence));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    let of_pump = bed.history.alerts(Some("plant-a/pump"), None, 10, |_| true).unwrap();
    assert_eq!(of_pump.alerts.iter().map(|l| l.alert.occurrence).collect::<Vec<_>>(), [8, 6, 4, 2]);
    assert!(bed.history.alerts(Some("plant-a/none"), None, 10, |_| true).unwrap().alerts.is_empty());
    bed.history.keep(NOW + 91 * DAY).unwrap();
    assert!(bed.history.alerts(None, None, 10, |_| true).unwrap().alerts.is_empty());
    assert!(bed.history.alerts(Some("plant-a/pump"), None, 10, |_| true).unwrap().alerts.is_empty());
}

#[test]
fn a_command_is_confirmed_by_the_alert_that_names_it_whichever_comes_first() {
    let bed = Bed::new(1 << 30);
    let command = |id: &str, issued| Command {
        version: fettle_wire::SCHEMA_VERSION,
        id: id.into(),
        site: name("plant-a"),
        agent: name("gw-1"),
        issuer: "Ada".into(),
        issued,
        expires: issued + 7 * DAY,
        request: Request::Acknowledge { asset: name("pump"), condition: "anomaly".into(), occurrence: 1 },
    };
    let mut confirming = logged("pump", 1, NOW + 5);
    confirming.alert.command = Some("b".into());
    confirming.alert.by = Some("Ada".into());
    bed.history.take_in(&Batch { alerts: vec![confirming], ..Batch::default() }).unwrap();
    let commands = vec![command("a", NOW), command("b", NOW + 1)];
    bed.history.take_in(&Batch { commands, ..Batch::default() }).unwrap();
    let page = bed.history.audit(None, 10, |_| true).unwrap();
    let told: Vec<_> = page.entries.iter().map(|(c, done)| (c.id.as_str(), done.as_ref().map(|d| d.at))).collect();
    assert_eq!(told, [("b", Some(NOW + 5)), ("a", None)]);
    let first = bed.history.audit(None, 1, |_| true).unwrap();
    let second = bed.history.audit(first.next.as_deref(), 1, |_| true).unwrap();
    assert_eq!((second.entries[0].0.id.as_str(), second.next), ("a", None));
}

#[test]
fn a_strangers_names_cannot_grow_the_store_without_end() {
    let bed = Bed::new(1 << 30);
    let ids: BTreeSet<u32> = (0..20)
        .map(|n| {
            bed.take(vec![Health { asset: name(&format!("a{n}")), ..said(NOW, 0, 1.0) }]);
            let txn = bed.history.env().read_txn().unwrap();
            bed.history.names(&txn, &format!("plant-a/a{n}")).unwrap().unwrap().id
        })
        .collect();
    assert_eq!(ids.len(), 20, "each asset has a number of its own");
}

/// Five channels around a level, with noise in every digit, as a machine has them.
fn noisy(at: Micros, n: i64) -> Health {
    let noise = |k: i64| {
        let mixed = (n.wrapping_mul(8_131) + k).wrapping_mul(6_364_136_223_846_793_005_i64);
        (mixed as u64 >> 33) as f64 / (1_u64 << 31) as f64
    };
    let indicator = |k: i64| {
        let mean = 40.0 + 10.0 * k as f64 + noise(k);
        let (channel, unit) = (name(&format!("channel-{k}")), "K".into());
        let (skewness, kurtosis, slope) = (None, None, None);
        let (min, max, rms) = (mean - 1.0, mean + 1.0 + noise(k + 10), mean + 0.01 * noise(k + 20));
        fettle_wire::Indicator {
            channel,
            unit,
            count: 900,
            mean,
            variance: 1.0,
            skewness,
            kurtosis,
            min,
            max,
            rms,
            slope,
        }
    };
    let rul = fettle_wire::Rul::Interval {
        p10: 1e5 * noise(31),
        p50: 2e5 * noise(32),
        p90: Some(3e5 * noise(33)),
        method: "m".into(),
        channel: name("channel-0"),
    };
    let (score, p_value, health_index) = (Some(5.0 * noise(34)), Some(noise(35)), Some(0.9 + 0.1 * noise(36)));
    Health { score, p_value, health_index, rul, indicators: (0..5).map(indicator).collect(), ..health("pump", at, 0) }
}

#[test]
fn an_asset_with_five_channels_takes_less_than_thirty_megabytes_over_all_its_years() {
    let bed = Bed::new(1 << 30);
    let days = 4;
    for minute in 0..days * 1_440 {
        // As it comes: a record a minute, each in a commit of its own.
        bed.take(vec![noisy(NOW + minute * MINUTE, minute)]);
    }
    let txn = bed.history.env().read_txn().unwrap();
    let a_day = bed.history.points.each_ref().map(|database| {
        let stat = database.stat(&txn).unwrap();
        (stat.leaf_pages + stat.branch_pages + stat.overflow_pages) as u64 * u64::from(stat.page_size) / days as u64
    });
    let all = a_day[0] * 7 + a_day[1] * 90 + a_day[2] * 1_826;
    println!("bytes a day: raw {}, minutes {}, hours {}; over all {all}", a_day[0], a_day[1], a_day[2]);
    assert!(all < 30_000_000, "{a_day:?}: {all}");
}
