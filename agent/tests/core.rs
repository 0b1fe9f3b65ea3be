//! The core on a store in memory: acknowledgement, recovery, failure of commits, trimming. Each test names the invariant
//! of `core` or `journal` that it is about.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use bytes::Bytes;
use fettle_agent::acquire::Inbound;
use fettle_agent::core::generation::Generation;
use fettle_agent::core::lives::stored;
use fettle_agent::core::{Birth, Core, Effect, Event, Limits};
use fettle_agent::journal::lmdb::{Access, Lmdb};
use fettle_agent::journal::model::{Fate, Model};
use fettle_agent::journal::store::{Store, Write};
use fettle_agent::journal::{FORMAT_KEY, STORE_VERSION};
use fettle_models::life::file::LifeEnd;
use fettle_models::{AssetSpec, ChannelSpec, Registry, Role, Settings};
use fettle_wire::topic::KafkaTopics;
use fettle_wire::{Arrival, AssetEvent, ClockQuality, Durable, EventKind, Frame, Identity, Lane, Name, Unit, topic};

const SECOND: u64 = 1_000_000;
const BEGIN: i64 = 1_790_000_000_000_000;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn registry(assets: usize) -> Registry {
    let channel = |unit: &str| ChannelSpec {
        kind: "level".into(),
        unit: Unit::from_code(unit).unwrap(),
        role: Role::Monitored,
        range: None,
        interval: None,
        limit: Some(50.0),
    };
    let spec = AssetSpec {
        channels: BTreeMap::from([(name("temperature"), channel("Cel")), (name("pressure"), channel("bar"))]),
        ..AssetSpec::default()
    };
    let assets = (0..assets).map(|n| (name(&format!("pump-{n}")), spec.clone())).collect();
    Registry { generation: 1, assets }
}

fn generation(assets: usize) -> Generation {
    let json = serde_json::json!({
        "settings": Settings { baseline_slides: 60, ..Settings::default() },
        "registry": registry(assets), "foreign": [], "ledger_interval": 60 * SECOND,
    });
    serde_json::from_value(json).unwrap()
}

fn birth() -> Birth {
    Birth {
        identity: Identity { site: name("plant"), agent: name("gw"), incarnation: 7 },
        topics: KafkaTopics::new(name("fettle")),
        key: None,
        limits: Limits {
            batch: 100,
            commit_interval: 50_000,
            keep_bytes: 1 << 30,
            keep: i64::MAX,
            outbox_bytes: 1 << 26,
            evidence_bytes: 1 << 26,
            lives_bytes: 8 << 20,
        },
        releases: fettle_agent::release::ReleasePolicy::default(),
    }
}

fn at(seconds: u64) -> Arrival {
    Arrival { wall: BEGIN + (seconds * SECOND) as i64, monotonic: seconds * SECOND, quality: ClockQuality::Synced }
}

fn frame(asset: usize, sequence: u64, seconds: u64, value: f64) -> Inbound {
    let frame = Frame {
        version: 1,
        boot: asset as u64 + 100,
        sequence,
        oldest: 0,
        time: Some(BEGIN + (seconds * SECOND) as i64),
        uptime: seconds * SECOND,
        clock: ClockQuality::Synced,
        channels: vec!["pressure", "temperature"],
        readings: vec![(0, 0, value / 10.0), (1, 0, value)],
        flags: vec![],
        waveform: None,
    };
    Inbound {
        ticket: sequence * 1000 + asset as u64,
        topic: topic::readings("plant", &format!("pump-{asset}")),
        payload: Bytes::from(frame.encode().unwrap()),
        redelivered: false,
        oversize: None,
    }
}

struct Rig {
    core: Core,
    store: Model,
    effects: Vec<Effect>,
}

impl Rig {
    fn new(store: Model, assets: usize) -> Self {
        let (core, _) = Core::recover(&store, birth(), generation(assets)).unwrap();
        let mut rig = Self { core, store, effects: Vec::new() };
        rig.step(0, Event::Reload(Box::new(generation(assets)), birth().limits));
        rig.commit();
        rig
    }

    fn step(&mut self, seconds: u64, event: Event) {
        self.core.step(at(seconds), event, &mut self.effects);
    }

    fn commit(&mut self) {
        self.store.commit(self.core.prepare()).unwrap();
        self.core.committed(&mut self.effects);
    }

    /// Sends a frame of every asset each second.
    fn feed(&mut self, assets: usize, seconds: std::ops::Range<u64>, value: impl Fn(u64) -> f64) {
        for second in seconds {
            let frames = (0..assets).map(|a| frame(a, second, second, value(second))).collect();
            self.step(second, Event::Messages(frames));
            self.step(second, Event::Tick);
            self.commit();
        }
    }

    fn acknowledged(&self) -> Vec<u64> {
        let tickets =
            self.effects.iter().filter_map(|e| if let Effect::Acknowledge(t) = e { Some(t.clone()) } else { None });
        tickets.flatten().collect()
    }

    fn crash(self, assets: usize) -> Self {
        let (core, _) = Core::recover(&self.store, birth(), generation(assets)).unwrap();
        Self { core, store: self.store, effects: Vec::new() }
    }

    /// Everything that can be seen of the state.
    fn picture(&self) -> String {
        let accounts: Vec<_> = self.core.accounts().map(|(n, door, q)| (n.clone(), door.clone(), q)).collect();
        let engine: Vec<_> = self.core.engine().assets().map(|a| self.core.engine().save_asset(a)).collect();
        format!("{accounts:?} {:?} {engine:?} {:?}", self.core.shared(), self.core.lanes())
    }
}

#[test]
fn c1_nothing_is_acknowledged_before_its_commit() {
    let mut rig = Rig::new(Model::default(), 1);
    rig.step(1, Event::Messages(vec![frame(0, 0, 1, 20.0)]));
    assert_eq!(rig.acknowledged(), Vec::<u64>::new());
    rig.commit();
    assert_eq!(rig.acknowledged(), [0]);
}

#[test]
fn c1_a_failed_commit_acknowledges_nothing_and_is_retried_whole() {
    let mut rig = Rig::new(Model::default(), 1);
    rig.step(1, Event::Messages(vec![frame(0, 0, 1, 20.0)]));
    for fate in [Fate::Fails, Fate::Full, Fate::CommitsUnheard] {
        rig.store.fate = fate;
        rig.store.commit(rig.core.prepare()).unwrap_err();
        rig.core.commit_failed(&mut rig.effects);
        assert_eq!(rig.acknowledged(), Vec::<u64>::new(), "{fate:?}");
    }
    rig.commit();
    assert_eq!(rig.acknowledged(), [0]);
    let before = rig.picture();
    assert_eq!(rig.crash(1).picture(), before);
}

#[test]
fn a_lost_session_voids_tickets_but_not_messages() {
    let mut rig = Rig::new(Model::default(), 1);
    rig.step(1, Event::Messages(vec![frame(0, 0, 1, 20.0)]));
    rig.step(1, Event::SessionLost);
    rig.commit();
    assert_eq!(rig.acknowledged(), Vec::<u64>::new());
    let rig = rig.crash(1);
    assert_eq!(rig.core.accounts().map(|(_, door, _)| door.tally.used).sum::<u64>(), 2);
}

#[test]
fn c2_nodes_are_told_what_is_on_disk_at_most_once_a_second() {
    let mut rig = Rig::new(Model::default(), 1);
    rig.feed(1, 0..3, |_| 20.0);
    rig.step(3, Event::Messages(vec![frame(0, 3, 3, 20.0)]));
    let told: Vec<u64> = rig
        .effects
        .iter()
        .filter_map(|e| if let Effect::Confirm { payload, .. } = e { Durable::decode(payload).ok() } else { None })
        .map(|durable| durable.next_of(100).unwrap())
        .collect();
    assert_eq!(told, [1, 2, 3]);
}

#[test]
fn c3_recovery_gives_the_state_that_was_committed_at_any_point() {
    // Long enough for snapshots of different age, windows, health records and ledger rounds.
    let mut rig = Rig::new(Model::default(), 5);
    for part in 0..12u64 {
        rig.feed(5, part * 37..(part + 1) * 37, |s| 20.0 + (s % 7) as f64);
        let before = rig.picture();
        rig = rig.crash(5);
        assert_eq!(rig.picture(), before, "after part {part}");
    }
}

#[test]
fn c3_an_interrupted_life_emits_what_an_undisturbed_one_does() {
    let records = |store: &Model| {
        let mut records = Vec::new();
        store
            // Alarms and health; of ledger entries a newer one may have replaced an older one that a crash left waiting.
            .scan(b"o", b"o\x02", &mut |key, value| {
                records.push((key.to_vec(), value.to_vec()));
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        records
    };
    let value = |s: u64| if s > 300 { 80.0 } else { 20.0 + (s % 7) as f64 };
    let mut smooth = Rig::new(Model::default(), 3);
    smooth.feed(3, 0..500, value);
    let mut rough = Rig::new(Model::default(), 3);
    for part in 0..25u64 {
        rough.feed(3, part * 20..(part + 1) * 20, value);
        // What was stepped and not committed is lost with the crash and sent again by the nodes.
        let second = (part + 1) * 20;
        rough.step(second, Event::Messages(vec![frame(0, second, second, value(second))]));
        rough = rough.crash(3);
    }
    let (smooth, rough) = (records(&smooth.store), records(&rough.store));
    assert!(smooth.len() > 15);
    for (one, other) in smooth.iter().zip(&rough) {
        assert_eq!(String::from_utf8_lossy(&one.1), String::from_utf8_lossy(&other.1));
    }
    assert_eq!(smooth, rough);
}

#[test]
fn a_limit_exceeded_raises_an_alarm_that_leaves_although_the_disk_fails() {
    let mut rig = Rig::new(Model::default(), 1);
    rig.feed(1, 0..119, |_| 20.0);
    for second in 119..190 {
        rig.step(second, Event::Messages(vec![frame(0, second, second, 80.0)]));
        if rig.core.commit_due(0) {
            break;
        }
        rig.commit();
    }
    rig.store.fate = Fate::Fails;
    rig.store.commit(rig.core.prepare()).unwrap_err();
    rig.core.commit_failed(&mut rig.effects);
    let early: Vec<_> = rig.effects.iter().filter(|e| matches!(e, Effect::ProduceEarly { .. })).collect();
    assert_eq!(early.len(), 1);
    rig.core.committed(&mut rig.effects);
    assert!(rig.effects.iter().any(|e| matches!(e, Effect::Produce(Lane::Alerts, 0))));
}

#[test]
fn o1_a_record_leaves_the_store_only_when_delivered() {
    let mut rig = Rig::new(Model::default(), 1);
    rig.feed(1, 0..200, |_| 20.0);
    let produced: Vec<u64> = rig
        .effects
        .iter()
        .filter_map(|e| if let Effect::Produce(Lane::Health, s) = e { Some(*s) } else { None })
        .collect();
    assert!(produced.len() >= 2, "{produced:?}");
    let waiting = |store: &Model| {
        let mut n = 0;
        let visit = &mut |_: &[u8], _: &[u8]| {
            n += 1;
            std::ops::ControlFlow::Continue(())
        };
        store.scan(b"o\x01", b"o\x02", visit).unwrap();
        n
    };
    let before = waiting(&rig.store);
    rig = rig.crash(1);
    assert_eq!(waiting(&rig.store), before);
    rig.step(300, Event::Tick);
    rig.step(300, Event::Delivered(Lane::Health, produced[0]));
    assert_eq!(waiting(&rig.store), before);
    rig.commit();
    assert_eq!(waiting(&rig.store), before - 1);
}

#[test]
fn j4_trimming_keeps_what_recovery_needs() {
    let limits = |birth: &mut Birth| birth.limits.keep_bytes = 20_000;
    let mut small = birth();
    limits(&mut small);
    let store = Model::default();
    let (core, _) = Core::recover(&store, small, generation(3)).unwrap();
    let mut rig = Rig { core, store, effects: Vec::new() };
    rig.commit();
    rig.feed(3, 0..2000, |s| 20.0 + (s % 5) as f64);
    let status = rig.core.journal();
    assert!(status.position > 100_000 && status.bytes < status.position / 2, "{status:?}");
    let before = rig.picture();
    let mut small = birth();
    limits(&mut small);
    let (core, recovered) = Core::recover(&rig.store, small, generation(3)).unwrap();
    let rig = Rig { core, store: rig.store, effects: Vec::new() };
    assert_eq!(rig.picture(), before);
    assert!(recovered.batches < 2000, "{recovered:?}");
    // Snapshots cost at most a tenth of what is journaled, births and generations aside.
    assert!(status.snapshot_bytes < status.position / 5, "{status:?}");
}

/// A life with little room in the journal, in which the last of three assets falls silent once everything is in snapshots.
fn silent(seconds: u64) -> (Rig, Birth) {
    let mut small = birth();
    small.limits.keep_bytes = 20_000;
    let store = Model::default();
    let (core, _) = Core::recover(&store, small, generation(3)).unwrap();
    let mut rig = Rig { core, store, effects: Vec::new() };
    rig.feed(3, 0..20, |_| 20.0);
    rig.core.snapshot_everything();
    rig.commit();
    rig.feed(2, 20..20 + seconds, |s| 20.0 + (s % 5) as f64);
    let mut small = birth();
    small.limits.keep_bytes = 20_000;
    (rig, small)
}

#[test]
fn j4_an_asset_that_speaks_again_after_its_last_words_were_trimmed_does_not_keep_the_agent_from_starting() {
    let (mut rig, small) = silent(2000);
    assert!(rig.core.journal().bytes < rig.core.journal().position / 2, "the journal was trimmed");
    rig.step(2020, Event::Messages(vec![frame(2, 20, 2020, 20.0)]));
    // What all assets share speaks again, too.
    let stray = Inbound { topic: "nobody's".to_owned(), ticket: 1, ..frame(2, 21, 2020, 20.0) };
    rig.step(2020, Event::Messages(vec![stray]));
    rig.commit();
    let before = rig.picture();
    let (core, _) = Core::recover(&rig.store, small, generation(3)).unwrap();
    assert_eq!(Rig { core, ..rig }.picture(), before);
}

#[test]
fn j4_a_store_nearly_full_gives_up_only_what_no_recovery_needs() {
    let store = Model::default();
    let mut small = birth();
    small.limits.keep_bytes = 1_000_000;
    let (core, _) = Core::recover(&store, small, generation(3)).unwrap();
    let mut rig = Rig { core, store, effects: Vec::new() };
    rig.feed(3, 0..3000, |s| 20.0 + (s % 5) as f64);
    let before = (rig.picture(), rig.core.journal().bytes);
    let write = rig.core.make_room().unwrap();
    rig.store.commit(&[write]).unwrap();
    assert!(rig.core.journal().bytes < before.1 * 3 / 4);
    assert_eq!(rig.crash(3).picture(), before.0);
}

#[test]
fn a_damaged_batch_stops_the_start_and_is_named() {
    let mut rig = Rig::new(Model::default(), 1);
    rig.feed(1, 0..3, |_| 20.0);
    let (key, mut value) = rig.store.last(b"z", b"{").unwrap().unwrap();
    value[20] ^= 1;
    rig.store.commit(&[Write::Put(key, value)]).unwrap();
    let error = Core::recover(&rig.store, birth(), generation(1)).err().unwrap().to_string();
    assert!(error.contains("record z") && error.contains("restore a backup"), "{error}");
}

#[test]
fn a_reload_that_changes_an_output_is_a_generation_and_survives() {
    let mut rig = Rig::new(Model::default(), 1);
    rig.feed(1, 0..10, |_| 20.0);
    let generations = rig.core.shared().generations;
    let mut changed = generation(1);
    changed.settings.false_alarms_per_asset_month = 0.5;
    rig.step(10, Event::Reload(Box::new(changed.clone()), birth().limits));
    rig.step(10, Event::Reload(Box::new(changed.clone()), birth().limits));
    rig.commit();
    assert_eq!(rig.core.shared().generations, generations + 1);
    let (core, _) = Core::recover(&rig.store, birth(), changed).unwrap();
    assert_eq!(core.generation().settings.false_alarms_per_asset_month, 0.5);
    assert_eq!(core.shared().generations, generations + 1);
}

fn happened(ticket: u64, asset: &str, id: &str, kind: EventKind, at: Option<u64>) -> Inbound {
    let event = AssetEvent {
        version: 1,
        id: id.into(),
        kind,
        at: at.map(|seconds| BEGIN + (seconds * SECOND) as i64),
        components: vec![],
        note: Some("seized".into()),
        person: None,
    };
    let payload = Bytes::from(event.encode().unwrap());
    Inbound { ticket, topic: topic::event("plant", asset), payload, redelivered: false, oversize: None }
}

#[test]
fn c1_an_event_of_a_machine_is_acknowledged_after_its_commit_taken_once_and_counted_with_its_reason() {
    let mut rig = Rig::new(Model::default(), 2);
    rig.feed(1, 0..60, |_| 20.0);
    rig.effects.clear();
    let malformed =
        Inbound { payload: Bytes::from_static(b"{}"), ..happened(5, "pump-0", "x", EventKind::Failed, None) };
    let far = Inbound { payload: vec![0; 10_000].into(), ticket: 6, ..malformed.clone() };
    rig.step(
        60,
        Event::Messages(vec![
            happened(1, "pump-0", "e1", EventKind::Failed, Some(59)),
            happened(2, "pump-0", "e1", EventKind::Failed, Some(59)),
            happened(3, "pump-1", "e1", EventKind::Failed, None),
            happened(4, "nobody", "e1", EventKind::Failed, None),
            malformed,
            far,
        ]),
    );
    assert!(rig.effects.is_empty(), "nothing before the commit");
    assert!(rig.core.commit_due(at(60).monotonic), "at once: somebody waits for the answer");
    rig.commit();
    assert_eq!(rig.acknowledged(), [1, 2, 3, 4, 5, 6]);
    let events = &rig.core.shared().events;
    assert_eq!((events.taken, events.late, events.duplicate), (1, 0, 1));
    let refused = |reason: &str| (reason.to_owned(), 1);
    let reasons = ["malformed_cbor", "no_readings_yet", "oversized", "unknown_asset"].map(refused);
    assert_eq!(events.refused, BTreeMap::from(reasons));
    assert_eq!(rig.core.journal().dead_total, 4, "what was not taken can be looked at");
}

/// A pump's life in ten-second frames, and what is said of it.
fn lifetime(seconds: u64) -> Event {
    let mut messages = vec![frame(0, seconds / 10, seconds, 20.0 + (seconds % 70) as f64 / 70.0)];
    match seconds {
        2_400 => messages.push(happened(1, "pump-0", "broke", EventKind::Failed, Some(2_395))),
        2_450 => messages.push(happened(2, "pump-0", "broke", EventKind::Failed, Some(2_395))),
        4_000 => messages.push(happened(3, "pump-0", "new", EventKind::Replaced, None)),
        _ => {}
    }
    Event::Messages(messages)
}

#[test]
fn c3_lives_and_their_labels_come_out_of_a_kill_at_any_commit_as_they_went_in() {
    let picture = |rig: &Rig| {
        let lives = format!("{:?}", rig.core.lives().state());
        (lives, rig.core.engine().save_asset("pump-0"), rig.core.shared().events.clone(), rig.core.lanes())
    };
    let (mut steady, mut killed) = (Rig::new(Model::default(), 1), Rig::new(Model::default(), 1));
    for seconds in (0..6_000).step_by(10) {
        for rig in [&mut steady, &mut killed] {
            rig.step(seconds, lifetime(seconds));
            if seconds == 3_000 {
                let request = serde_json::json!({"event": {"asset": "pump-0", "event": "maintenance_done"}});
                let payload = serde_json::to_vec(&serde_json::json!({
                    "version": 1, "id": "c-1", "site": "plant", "agent": "gw", "issuer": "ada", "issued": 0,
                    "expires": i64::MAX, "request": request,
                }))
                .unwrap();
                rig.step(seconds, Event::Command { partition: 0, offset: 0, payload });
            }
            rig.commit();
        }
        // Every so often, and around what was said.
        if seconds % 170 == 0 || (2_390..2_470).contains(&seconds) || (2_990..3_020).contains(&seconds) {
            let store = killed.store.clone();
            let (core, _) = Core::recover(&store, birth(), generation(1)).unwrap();
            killed = Rig { core, store, effects: Vec::new() };
            assert_eq!(picture(&killed), picture(&steady), "after {seconds} s");
        }
    }
    let (lives, damaged) = stored::all(&killed.store).unwrap();
    let told: Vec<_> = lives
        .iter()
        .map(|l| {
            let life = &l.life;
            let ended = life.ended.as_ref().map(|e| (e.how, (e.at - BEGIN) / SECOND as i64));
            (life.life, ended, life.maintenance.len(), life.indices.len() > 2)
        })
        .collect();
    let expected = [
        (1, Some((LifeEnd::Failed, 2_395)), 0, true),
        (2, Some((LifeEnd::Replaced, 4_000)), 1, true),
        (3, None, 0, true),
    ];
    assert_eq!((told.as_slice(), damaged), (&expected[..], 0));
    assert_eq!(killed.core.shared().events.taken, 3);
}

/// Stores of every version, as that version wrote them after [`Rig::feed`] of two assets for 200 s. `FETTLE_WRITE_GOLDEN=1`
/// writes this version's.
#[test]
fn a_store_of_every_version_is_opened_and_goes_on_where_it_stood() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/store");
    let mut rig = Rig::new(Model::default(), 2);
    rig.feed(2, 0..200, |s| 20.0 + (s % 7) as f64);
    if std::env::var_os("FETTLE_WRITE_GOLDEN").is_some() {
        let mut store = Lmdb::open(&golden.join(format!("v{STORE_VERSION}")), 1 << 24, Access::Write).unwrap();
        let mut writes = Vec::new();
        rig.store
            .scan(&[0], &[u8::MAX; 16], &mut |key, value| {
                writes.extend((key != FORMAT_KEY).then(|| Write::Put(key.to_vec(), value.to_vec())));
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        store.commit(&writes).unwrap();
    }
    for version in 1..=STORE_VERSION {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(golden.join(format!("v{version}/data.mdb")), folder.path().join("data.mdb")).unwrap();
        assert_eq!(Lmdb::open(folder.path(), 1 << 24, Access::Read).unwrap().format().version, version);
        let store = Lmdb::open(folder.path(), 1 << 24, Access::Write).unwrap();
        assert_eq!(store.format().version, STORE_VERSION);
        let (mut core, recovered) = Core::recover(&store, birth(), generation(2)).unwrap();
        assert!(recovered.entries > 0, "the journal after the snapshots is replayed");
        let accounts: Vec<_> = core.accounts().map(|(n, door, q)| (n.to_string(), door.tally.clone(), q)).collect();
        let live: Vec<_> = rig.core.accounts().map(|(n, door, q)| (n.to_string(), door.tally.clone(), q)).collect();
        assert_eq!(accounts, live, "version {version}");
        let mut effects = Vec::new();
        core.step(at(201), Event::Messages(vec![frame(0, 199, 199, 20.0), frame(0, 200, 200, 20.0)]), &mut effects);
        let tally = core.accounts().next().unwrap().1.tally.clone();
        assert_eq!((tally.duplicate, tally.used), (2, 402), "version {version} remembers what it has seen");
    }
}
