//! The overlay against streams as agents write them: repetition, batches, crashes and conflicts.

use fettle_wire::{Change, Envelope};
use proptest::prelude::*;

use super::*;
use crate::config::Signatures;
use crate::fleet::asset::COUNT;
use crate::intake::record::tests::{account, alert, envelope, health, identity};
use crate::intake::record::{Body, decode};

/// One Kafka record.
#[derive(Debug, Clone)]
struct Sent {
    topic: &'static str,
    lane: fettle_wire::Lane,
    partition: i32,
    key: String,
    payload: String,
}

impl Sent {
    fn new(envelope: &Envelope, asset: &str) -> Self {
        let (topic, key) = match envelope.lane {
            fettle_wire::Lane::Alerts => ("fettle.alerts", format!("plant-a/{asset}")),
            fettle_wire::Lane::Health => ("fettle.health", format!("plant-a/{asset}")),
            fettle_wire::Lane::Ledger => ("fettle.ledger", format!("plant-a/gw-1/{asset}")),
            fettle_wire::Lane::Evidence => ("fettle.evidence", format!("plant-a/{asset}")),
        };
        let partition = i32::from(asset.ends_with('1'));
        Self { topic, lane: envelope.lane, partition, key, payload: envelope.encode().unwrap() }
    }
}

/// The store as a map, and the overlay above it.
#[derive(Default)]
struct Owner {
    store: BTreeMap<String, Vec<u8>>,
    overlay: Overlay,
}

impl Owner {
    fn apply(&mut self, offset: usize, sent: &Sent) -> Outcome {
        let incoming = Incoming {
            topic: sent.topic,
            lane: sent.lane,
            partition: sent.partition,
            offset: offset as i64,
            at: offset as i64,
            key: sent.key.as_bytes(),
            payload: sent.payload.as_bytes(),
        };
        let decoded = decode(&incoming, &Signatures::default());
        self.overlay.step(&incoming, decoded, &|key| Ok(self.store.get(key).cloned())).unwrap()
    }

    fn commit(&mut self) {
        for (_, key, value) in self.overlay.drain().unwrap() {
            self.store.insert(key, value);
        }
    }

    fn crash(&mut self) {
        self.overlay = Overlay::default();
    }

    /// What is known, without the counts of what arrived.
    fn knowledge(&self) -> BTreeMap<String, Vec<u8>> {
        self.store.iter().filter(|(key, _)| !key.starts_with(COUNT)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

/// A stream of one agent over two incarnations: each step says which asset does what.
fn stream(steps: &[(u8, u8)]) -> Vec<Sent> {
    let mut out = Vec::new();
    for (incarnation, part) in steps.chunks(steps.len().div_ceil(2).max(1)).enumerate() {
        let identity = identity(incarnation as u64 + 1);
        let mut sequences = [0_u64; 3];
        let mut phases = [0_u64; 3];
        for &(asset, what) in part {
            let asset_name = format!("pump-{}", asset % 3);
            let phase = &mut phases[usize::from(asset % 3)];
            let (lane, body) = match what % 3 {
                0 => {
                    let change = [Change::Raised, Change::Acknowledged, Change::Returned][(*phase % 3) as usize];
                    *phase += 1;
                    (0, Body::Alert(Box::new(alert(&asset_name, "anomaly", phase.div_ceil(3), change))))
                }
                1 => (1, Body::Health(Box::new(health(&asset_name, 60 * sequences[1] as i64, 0)))),
                _ => (2, Body::Ledger(Box::new(account(&asset_name, sequences[2])))),
            };
            out.push(Sent::new(&envelope(&identity, sequences[lane], &body), &asset_name));
            sequences[lane] += 1;
        }
    }
    out
}

proptest! {
    #[test]
    fn sending_any_suffix_again_changes_nothing_but_the_count_of_duplicates(
        steps in prop::collection::vec((0_u8..3, 0_u8..3), 1..80),
        from in 0.0..1.0_f64,
    ) {
        let stream = stream(&steps);
        let mut owner = Owner::default();
        for (offset, sent) in stream.iter().enumerate() {
            prop_assert_eq!(owner.apply(offset, sent), Outcome::Applied);
        }
        owner.commit();
        let before = owner.knowledge();
        let from = (from * stream.len() as f64) as usize;
        for (offset, sent) in stream.iter().enumerate().skip(from) {
            prop_assert_eq!(owner.apply(1_000 + offset, sent), Outcome::Duplicate);
        }
        owner.commit();
        prop_assert_eq!(owner.knowledge(), before);
    }

    #[test]
    fn batches_and_crashes_between_commits_leave_the_same_state_and_counts(
        steps in prop::collection::vec((0_u8..3, 0_u8..3), 1..60),
        cuts in prop::collection::vec((0_usize..60, any::<bool>()), 0..8),
    ) {
        let stream = stream(&steps);
        let mut whole = Owner::default();
        for (offset, sent) in stream.iter().enumerate() {
            whole.apply(offset, sent);
        }
        whole.commit();
        let mut cut = Owner::default();
        let mut committed = 0;
        for (at, crash) in cuts {
            let until = (committed + at).min(stream.len());
            for (offset, sent) in stream.iter().enumerate().take(until).skip(committed) {
                cut.apply(offset, sent);
            }
            if crash {
                cut.crash();
            } else {
                cut.commit();
                committed = until;
            }
        }
        for (offset, sent) in stream.iter().enumerate().skip(committed) {
            cut.apply(offset, sent);
        }
        cut.commit();
        prop_assert_eq!(cut.store, whole.store);
    }
}

fn read<T: DeserializeOwned>(owner: &Owner, key: &str) -> T {
    serde_json::from_slice(&owner.store[key]).unwrap()
}

#[test]
fn a_known_id_with_other_content_is_counted_and_the_first_stays() {
    let mut owner = Owner::default();
    let mut said = health("pump-0", 60, 0);
    let first = Sent::new(&envelope(&identity(1), 0, &Body::Health(Box::new(said.clone()))), "pump-0");
    said.health_index = Some(0.5);
    let other = Sent::new(&envelope(&identity(1), 1, &Body::Health(Box::new(said))), "pump-0");
    assert_eq!(owner.apply(0, &first), Outcome::Applied);
    assert_eq!(owner.apply(1, &other), Outcome::Conflict);
    owner.commit();
    let asset: AssetRecord = read(&owner, "asset|plant-a/pump-0");
    assert_eq!((asset.health.health_index, asset.conflicts), (Some(1.0), 1));
    let counts: Counts = read(&owner, "count|fettle.health|0");
    assert_eq!((counts.applied, counts.conflicts), (1, 1));
}

#[test]
fn an_alarm_that_left_early_and_comes_again_under_another_number_is_not_doubled() {
    let mut owner = Owner::default();
    let body = Body::Alert(Box::new(alert("pump-0", "anomaly", 1, Change::Raised)));
    assert_eq!(owner.apply(0, &Sent::new(&envelope(&identity(1), 5, &body), "pump-0")), Outcome::Applied);
    assert_eq!(owner.apply(1, &Sent::new(&envelope(&identity(1), 6, &body), "pump-0")), Outcome::Duplicate);
    let other = Body::Alert(Box::new(alert("pump-0", "limit.temperature", 1, Change::Raised)));
    assert_eq!(owner.apply(2, &Sent::new(&envelope(&identity(1), 5, &other), "pump-0")), Outcome::Applied);
}

#[test]
fn a_revision_of_an_older_window_does_not_replace_the_newest() {
    let mut owner = Owner::default();
    for (sequence, (end, revision)) in [(60, 0), (120, 0), (60, 1)].into_iter().enumerate() {
        let body = Body::Health(Box::new(health("pump-0", end, revision)));
        let sent = Sent::new(&envelope(&identity(1), sequence as u64, &body), "pump-0");
        assert_eq!(owner.apply(sequence, &sent), Outcome::Applied);
    }
    owner.commit();
    let asset: AssetRecord = read(&owner, "asset|plant-a/pump-0");
    assert_eq!((asset.health.window_end, asset.seen), (120, 2));
}

#[test]
fn a_new_incarnation_keeps_the_sums_of_the_earlier() {
    let mut owner = Owner::default();
    for (offset, (incarnation, sequence, used)) in
        [(1, 0, 10), (1, 1, 25), (2, 0, 4), (2, 1, 9)].into_iter().enumerate()
    {
        let body = Body::Ledger(Box::new(account("pump-0", used)));
        owner.apply(offset, &Sent::new(&envelope(&identity(incarnation), sequence, &body), "pump-0"));
    }
    owner.commit();
    let account: AccountRecord = read(&owner, "ledger|plant-a/gw-1/pump-0");
    assert_eq!((account.earlier.used, account.earlier_frames, account.entry.readings.used), (25, 25, 9));
}

#[test]
fn what_cannot_be_used_is_counted_with_its_place() {
    let mut owner = Owner::default();
    let body = Body::Health(Box::new(health("pump-0", 60, 0)));
    let mut sent = Sent::new(&envelope(&identity(1), 0, &body), "pump-0");
    sent.payload = "not JSON".into();
    assert_eq!(owner.apply(17, &sent), Outcome::Rejected("malformed_json"));
    owner.commit();
    let counts: Counts = read(&owner, "count|fettle.health|0");
    assert_eq!(counts.rejected["malformed_json"], 1);
    assert_eq!(counts.last_rejected, Some(Rejected { offset: 17, reason: "malformed_json".into() }));
    assert_eq!(owner.store.len(), 1);
}

#[test]
fn a_raise_read_twice_is_announced_once_and_leaves_when_it_was_sent() {
    let mut owner = Owner { overlay: Overlay::announcing(Some(Priority::Low)), ..Owner::default() };
    let raised = alert("pump-1", "anomaly", 1, Change::Raised);
    let sent = Sent::new(&envelope(&identity(1), 1, &Body::Alert(Box::new(raised))), "pump-1");
    let key = alarm_key("plant-a", "pump-1", "anomaly");
    let waiting = |owner: &Owner| {
        let record: AlarmRecord = serde_json::from_slice(&owner.store[&key]).unwrap();
        record.notices.waiting
    };
    for offset in 0..2 {
        owner.apply(offset, &sent);
        owner.commit();
    }
    let found = waiting(&owner);
    assert_eq!(found.iter().map(|n| (n.number, n.partition)).collect::<Vec<_>>(), [(0, sent.partition)]);
    let mark = Mark { partition: sent.partition, key: key.clone(), number: 0 };
    for _ in 0..2 {
        owner.overlay = Overlay::announcing(Some(Priority::Low));
        let Owner { store, overlay } = &mut owner;
        overlay.sent(&mark, &|key| Ok(store.get(key).cloned())).unwrap();
        owner.commit();
        assert_eq!(waiting(&owner), []);
    }
    owner.apply(2, &sent);
    owner.commit();
    assert_eq!(waiting(&owner), [], "read once more after a crash, and not announced again");
}
