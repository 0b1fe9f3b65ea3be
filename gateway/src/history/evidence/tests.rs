//! What the history promises of evidence, with a store on disk and without Kafka.

use std::collections::BTreeMap;

use fettle_wire::time::{DAY, HOUR, MINUTE};

use super::*;
use crate::config::Keep;
use crate::history::store::Batch;
use crate::intake::record::tests;
use crate::lmdb;

/// 2026-11-21T00:00:00Z.
const NOW: Micros = 20_778 * DAY;

struct Bed {
    history: History,
    folder: tempfile::TempDir,
}

fn keep(evidence_bytes: u64) -> Keep {
    Keep { evidence_bytes, ..Keep::default() }
}

impl Bed {
    fn new(evidence_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { history: History::open(folder.path(), keep(evidence_bytes), "fettle").unwrap(), folder }
    }

    fn take(&self, evidence: Vec<Exhibit>) -> BTreeMap<&'static str, u64> {
        self.history.take_in(&Batch { evidence, ..Batch::default() }).unwrap().outcomes
    }

    fn listed(&self, asset: &str) -> Vec<Listed> {
        let page = self.history.evidence(&format!("plant-a/{asset}"), None, 10_000, |_| true).unwrap();
        page.map(|page| page.listed).unwrap_or_default()
    }

    fn times(&self, asset: &str) -> Vec<i64> {
        self.listed(asset).iter().map(|l| (l.time - NOW) / MINUTE).collect()
    }
}

fn exhibit(asset: &str, at: Micros, alarm: Option<u64>) -> Exhibit {
    sized(asset, at, alarm, 64)
}

fn sized(asset: &str, at: Micros, alarm: Option<u64>, samples: usize) -> Exhibit {
    let evidence = Box::new(tests::evidence(asset, at, samples, alarm));
    let envelope = tests::evidence_envelope(&tests::identity(7), 0, &evidence);
    Exhibit {
        site: envelope.site,
        agent: envelope.agent,
        id: envelope.id,
        content: envelope.content,
        seen: NOW,
        evidence,
    }
}

#[test]
fn evidence_is_listed_newest_first_in_pages_and_given_whole() {
    let bed = Bed::new(1 << 30);
    let all: Vec<Exhibit> = [3, 1, 4, 2]
        .into_iter()
        .map(|n| exhibit("pump", NOW + n * MINUTE, (n % 2 == 0).then_some(n as u64)))
        .chain([exhibit("fan", NOW + 9 * MINUTE, None)])
        .collect();
    assert_eq!(bed.take(all.clone()), BTreeMap::from([("evidence", 5)]));
    assert_eq!((bed.times("pump"), bed.times("fan")), (vec![4, 3, 2, 1], vec![9]));
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = bed.history.evidence("plant-a/pump", after.as_deref(), 3, |_| true).unwrap().unwrap();
        found.extend(page.listed.iter().map(|l| l.occurrence));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, [Some(4), None, Some(2), None]);
    for one in &all {
        let key = format!("plant-a/{}", one.evidence.asset);
        assert_eq!(bed.history.exhibit(&key, one.id).unwrap().as_ref(), Some(one));
    }
    assert_eq!(bed.history.exhibit("plant-a/fan", all[0].id).unwrap(), None, "of another asset");
    assert!(bed.history.evidence("plant-a/none", None, 3, |_| true).unwrap().is_none());
}

#[test]
fn what_is_read_again_changes_nothing_and_a_known_id_with_another_content_is_a_conflict() {
    let bed = Bed::new(1 << 30);
    let one = exhibit("pump", NOW, Some(1));
    bed.take(vec![one.clone()]);
    let before = bed.history.bytes().unwrap();
    assert_eq!(bed.take(vec![one.clone(), one.clone()]), BTreeMap::from([("repeated", 2)]));
    let mut other = one.clone();
    other.evidence.rate = 1.0;
    other.evidence.time += MINUTE;
    other.content = RecordId([9; 16]);
    assert_eq!(bed.take(vec![other]), BTreeMap::from([("conflict", 1)]));
    assert_eq!(bed.history.exhibit("plant-a/pump", one.id).unwrap(), Some(one), "the first stays");
    assert_eq!((bed.times("pump"), bed.history.bytes().unwrap()), (vec![0], before));
}

#[test]
fn of_each_channel_the_newest_periodic_ones_are_kept_and_every_one_of_an_alarm_whatever_the_order() {
    let count = PERIODIC as i64 + 30;
    let mut all: Vec<Exhibit> = (0..count).map(|n| exhibit("pump", NOW + n * MINUTE, None)).collect();
    all.extend((0..5).map(|n| exhibit("pump", NOW + n * MINUTE, Some(n as u64 + 1))));
    all.extend((0..3).map(|n| {
        let mut other = exhibit("pump", NOW + n * MINUTE, None);
        other.evidence.channel = tests::name("housing");
        other.id = RecordId([n as u8 + 1; 16]);
        other
    }));
    let (forth, back) = (Bed::new(1 << 30), Bed::new(1 << 30));
    let first = forth.take(all.clone());
    let kept = PERIODIC as u64;
    assert_eq!(first, BTreeMap::from([("evidence", count as u64 + 8), ("evidence_surplus", 30)]));
    all.reverse();
    let second: Vec<_> = all.chunks(11).map(|part| back.take(part.to_vec())).collect();
    let sum = |of: &str| second.iter().filter_map(|taken| taken.get(of)).sum::<u64>();
    assert_eq!((sum("evidence"), sum("evidence_surplus")), (kept + 8, 30), "what is too old is never stored");
    assert_eq!(forth.listed("pump"), back.listed("pump"));
    let alarms = forth.listed("pump").iter().filter(|l| l.occasion == Occasion::Alarm).count();
    let housing = forth.listed("pump").iter().filter(|l| l.channel.as_str() == "housing").count();
    assert_eq!((alarms, housing, forth.listed("pump").len()), (5, 3, PERIODIC + 8));
    assert_eq!(forth.times("pump").iter().filter(|at| **at >= 30).count(), PERIODIC, "the newest");
}

#[test]
fn beyond_its_bytes_the_periodic_and_oldest_goes_first_and_is_counted_and_the_curves_keep_their_room() {
    let bound = 1 << 20;
    let bed = Bed::new(bound);
    let mut given_up = BTreeMap::<&str, u64>::new();
    let mut run = |all: Vec<Exhibit>| {
        for part in all.chunks(4) {
            bed.take(part.to_vec());
            if bed.history.is_over().unwrap() {
                for (what, count) in bed.history.keep(NOW).unwrap() {
                    *given_up.entry(what).or_default() += count;
                }
            }
            let txn = bed.history.env().read_txn().unwrap();
            assert!(bed.history.evidence_bytes(&txn).unwrap() <= bound);
        }
        given_up.clone()
    };
    let incompressible = |asset: &str, n: i64, alarm| sized(asset, NOW + n * MINUTE, alarm, 6_144);
    let two = ["pump", "fan"];
    let periodic = |from: i64, to: i64| (from..to).map(|n| incompressible(two[n as usize % 2], n, None)).collect();
    run((0..20).map(|n| incompressible("pump", n, Some(n as u64 + 1))).collect());
    let given = run(periodic(0, 100));
    assert!(given["evidence"] > 20 && !given.contains_key("alarm_evidence"), "{given:?}");
    let left = |occasion| {
        let all = [bed.listed("pump"), bed.listed("fan")].concat();
        let mut times: Vec<i64> =
            all.iter().filter(|l| l.occasion == occasion).map(|l| (l.time - NOW) / MINUTE).collect();
        times.sort_unstable();
        times
    };
    assert_eq!(left(Occasion::Alarm).len(), 20);
    let periodic_left = left(Occasion::Periodic);
    assert_eq!(periodic_left.len() as u64 + given["evidence"], 100, "each is kept or counted");
    assert_eq!(*periodic_left.last().unwrap(), 99);
    assert!(periodic_left.windows(2).all(|pair| pair[1] == pair[0] + 1), "the oldest of all assets: {periodic_left:?}");
    let given = run((20..100).map(|n| incompressible("fan", n, Some(n as u64 + 1))).collect());
    assert!(left(Occasion::Periodic).is_empty() && given["evidence"] == 100, "{given:?}");
    let alarms = left(Occasion::Alarm);
    assert_eq!((alarms.len() as u64 + given["alarm_evidence"], *alarms.last().unwrap()), (100, 99));
}

#[test]
fn it_is_kept_as_long_as_alerts() {
    let bed = Bed::new(1 << 30);
    let ninety = keep(0).alerts;
    let at = [NOW - ninety - MINUTE, NOW - ninety + MINUTE, NOW + HOUR];
    let all = at.into_iter().flat_map(|at| [exhibit("pump", at, None), exhibit("pump", at, Some(1))]);
    bed.take(all.collect());
    bed.history.keep(NOW).unwrap();
    assert_eq!(bed.listed("pump").len(), 4);
    assert_eq!(bed.history.exhibit("plant-a/pump", exhibit("pump", at[0], Some(1)).id).unwrap(), None);
}

#[test]
fn evidence_cannot_be_of_any_time() {
    let odd = [i64::MIN, -1, 0, time::LATEST, i64::MAX, NOW + 2 * DAY];
    assert!(odd.iter().all(|at| !is_possible(*at, NOW)));
    assert!([time::EARLIEST, NOW - 400 * DAY, NOW, NOW + HOUR].iter().all(|at| is_possible(*at, NOW)));
}

#[test]
fn a_store_of_an_older_build_opens_keeps_what_it_has_and_takes_evidence() {
    let folder = tempfile::tempdir().unwrap();
    {
        let opened = lmdb::open(folder.path(), 1 << 30, 10).unwrap();
        for name in ["assets", "raw", "1min", "1h", "alerts", "alerts_by_asset", "audit", "confirmed"] {
            lmdb::database::<heed::types::Str, heed::types::Bytes>(&opened.env, name).unwrap();
        }
        let meta = lmdb::database::<heed::types::Str, heed::types::Str>(&opened.env, "meta").unwrap();
        let positions = lmdb::database::<heed::types::Str, heed::types::Bytes>(&opened.env, "positions").unwrap();
        let mut txn = opened.env.write_txn().unwrap();
        meta.put(&mut txn, "version", "1").unwrap();
        meta.put(&mut txn, "prefix", "fettle").unwrap();
        positions.put(&mut txn, "fettle.health|3", &42_i64.to_be_bytes()).unwrap();
        txn.commit().unwrap();
    }
    let bed = Bed { history: History::open(folder.path(), keep(1 << 30), "fettle").unwrap(), folder };
    assert_eq!(bed.history.positions("fettle.health").unwrap(), BTreeMap::from([(3, 42)]));
    assert!(bed.history.positions("fettle.evidence").unwrap().is_empty(), "read from the start");
    bed.take(vec![exhibit("pump", NOW, None)]);
    let Bed { history, folder } = bed;
    drop(history);
    let again = Bed { history: History::open(folder.path(), keep(1 << 30), "fettle").unwrap(), folder };
    assert_eq!(again.times("pump"), [0]);
    let Bed { history, folder } = again;
    drop(history);
    let other = Bed { history: History::open(folder.path(), keep(1 << 30), "other-fleet").unwrap(), folder };
    assert!(other.history.evidence("plant-a/pump", None, 1, |_| true).unwrap().is_none(), "another fleet's is emptied");
}

#[test]
fn damaged_bytes_count_as_absent() {
    let whole = pack(&exhibit("pump", NOW, None)).unwrap();
    assert!(unpack(&whole).is_some());
    for cut in 0..whole.len() - 128 {
        assert_eq!(unpack(&whole[..cut]), None, "{cut}");
    }
    let mut huge = whole;
    huge[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(unpack(&huge), None);
    assert_eq!((listed(&[]), listed(&[0, 200]), listed(&[0, 0, b'{'])), (None, None, None));
}
