//! Releases in the agent: a pointer, a file, a model that speaks, another beside it, a roll-back; each step over crashes.
//! Hostile files are tried in the real child process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use fettle_agent::acquire::Inbound;
use fettle_agent::core::generation::Generation;
use fettle_agent::core::{Birth, Core, Effect, Event, Limits};
use fettle_agent::journal::model::Model;
use fettle_agent::journal::store::Store;
use fettle_agent::release::{ReleasePolicy, trial};
use fettle_models::predict::conformal::{Conformal, Residual};
use fettle_models::predict::feature::{Channel, Frozen, Regimes, Scale, Schema};
use fettle_models::predict::filter::FilterParams;
use fettle_models::predict::learned::RulModel;
use fettle_models::release::{Draft, Key, Package, sign};
use fettle_models::train::random_network;
use fettle_models::{AssetSpec, ChannelSpec, Registry, Role, Settings};
use fettle_wire::topic::KafkaTopics;
use fettle_wire::{
    Arrival, ClockQuality, Frame, Health, Identity, Lane, Mode, Name, ReleaseRef, Rollout, Rul, Unit, json, topic,
};

const SECOND: u64 = 1_000_000;
const BEGIN: i64 = 1_790_000_000_000_000 / 3_600_000_000 * 3_600_000_000;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn model(seed: u64) -> RulModel {
    let channel = |name: &str, unit: &str| Channel { name: name.into(), unit: unit.into() };
    let schema = Schema {
        channels: vec![channel("pressure", "Pa"), channel("temperature", "K")],
        settings: vec![],
        time_unit: "step".into(),
        step_seconds: 60.0,
        time_constants: [2.0, 8.0, 32.0],
        baseline_steps: 3,
        baseline_least: 2,
        age: true,
    };
    let width = schema.width();
    let regimes = Regimes {
        setting_mean: vec![],
        setting_sd: vec![],
        centres: vec![vec![]],
        reach: vec![0.0],
        mean: vec![vec![3e5, 303.15]],
        sd: vec![vec![1e5, 10.0]],
    };
    let residual = |i: usize| Residual { unit: i, predicted: 5.0 * i as f64, truth: 5.0 * i as f64 + (i % 7) as f64 };
    RulModel {
        frozen: Frozen {
            schema,
            regimes,
            scale: Scale { mean: vec![0.0; width], sd: vec![1.0; width], farthest: 1e6 },
        },
        networks: vec![random_network(width, &[8, 4], seed)],
        trees: None,
        tree_weight: 0.0,
        filter: FilterParams { cap: 100.0, gain: 0.5, soft: 20.0, patience: 2.0 },
        conformal: Conformal::calibrate(&(0..20).map(residual).collect::<Vec<_>>(), 100.0).unwrap(),
        healthy: vec![0.0; width],
    }
}

fn file(version: u64, model: &RulModel) -> Vec<u8> {
    let draft = Draft {
        name: name("pump-life"),
        version,
        class: "pump",
        created: BEGIN,
        base: None,
        lives: 20,
        figures: BTreeMap::new(),
        note: "",
        model,
    };
    sign(&draft.build().unwrap(), &key()).unwrap()
}

fn pointer(file: &[u8], mode: Mode, issued: i64) -> Vec<u8> {
    let package = Package::read(file).unwrap();
    let release = ReleaseRef {
        name: package.manifest.name.clone(),
        version: package.manifest.version,
        hash: package.hash.to_string(),
    };
    let (class, issuer) = ("pump".to_owned(), "ada".to_owned());
    Rollout { version: 1, class, release, mode, floor: 0, issuer, issued }.encode().unwrap().into_bytes()
}

fn generation() -> Generation {
    let channel = |unit: &str| ChannelSpec {
        kind: "level".into(),
        unit: Unit::from_code(unit).unwrap(),
        role: Role::Monitored,
        range: None,
        interval: None,
        limit: None,
    };
    let spec = AssetSpec {
        class: Some("pump".into()),
        channels: BTreeMap::from([(name("temperature"), channel("Cel")), (name("pressure"), channel("bar"))]),
        ..AssetSpec::default()
    };
    let assets = BTreeMap::from([(name("pump-0"), spec.clone()), (name("pump-1"), spec)]);
    let settings = Settings { baseline_slides: 60, rul_step: 60_000_000, ..Settings::default() };
    let json = serde_json::json!({
        "settings": settings, "registry": Registry { generation: 1, assets }, "foreign": [],
        "ledger_interval": 3600 * SECOND,
    });
    serde_json::from_value(json).unwrap()
}

fn policy() -> ReleasePolicy {
    ReleasePolicy {
        keys: vec![Key::from(&key())],
        promote_steps: 8,
        promote_agreement: 0.0,
        ..ReleasePolicy::default()
    }
}

fn birth(releases: ReleasePolicy) -> Birth {
    let limits = Limits {
        batch: 100,
        commit_interval: 50_000,
        keep_bytes: 1 << 30,
        keep: i64::MAX,
        outbox_bytes: 1 << 26,
        evidence_bytes: 1 << 26,
        lives_bytes: 1 << 20,
    };
    let identity = Identity { site: name("plant"), agent: name("gw"), incarnation: 7 };
    Birth { identity, topics: KafkaTopics::new(name("fettle")), key: None, limits, releases }
}

fn at(seconds: u64) -> Arrival {
    Arrival { wall: BEGIN + (seconds * SECOND) as i64, monotonic: seconds * SECOND, quality: ClockQuality::Synced }
}

fn frame(asset: usize, seconds: u64) -> Inbound {
    let wear = seconds as f64 / 2000.0;
    let frame = Frame {
        version: 1,
        boot: asset as u64 + 100,
        sequence: seconds / 5,
        oldest: 0,
        time: Some(at(seconds).wall),
        uptime: seconds * SECOND,
        clock: ClockQuality::Synced,
        channels: vec!["pressure", "temperature"],
        readings: vec![(0, 0, 3.0 + 0.1 * wear), (1, 0, 30.0 + wear)],
        flags: vec![],
        waveform: None,
    };
    Inbound {
        ticket: seconds * 1000 + asset as u64,
        topic: topic::readings("plant", &format!("pump-{asset}")),
        payload: Bytes::from(frame.encode().unwrap()),
        redelivered: false,
        oversize: None,
    }
}

/// One agent; `crash` says after which commits it is killed.
struct Rig {
    core: Core,
    store: Model,
    effects: Vec<Effect>,
    policy: ReleasePolicy,
    commits: u64,
    crash: fn(u64) -> bool,
    said: BTreeMap<u64, Health>,
}

impl Rig {
    fn new(policy: ReleasePolicy, crash: fn(u64) -> bool) -> Self {
        let store = Model::default();
        let (core, _) = Core::recover(&store, birth(policy.clone()), generation()).unwrap();
        let mut rig = Self { core, store, effects: Vec::new(), policy, commits: 0, crash, said: BTreeMap::new() };
        rig.step(0, Event::Reload(Box::new(generation()), birth(ReleasePolicy::default()).limits));
        rig.commit();
        rig
    }

    fn step(&mut self, seconds: u64, event: Event) {
        self.core.step(at(seconds), event, &mut self.effects);
    }

    /// Commits, and dies after it where that is asked for: everything not on disk is gone.
    fn commit(&mut self) {
        let before = self.core.lanes();
        self.store.commit(self.core.prepare()).unwrap();
        self.core.committed(&mut self.effects);
        for sequence in 0..before[1] {
            let Some(value) = self.store.get(&fettle_agent::outbox::record::key(Lane::Health, sequence)).unwrap()
            else {
                continue;
            };
            let (_, payload) = Core::opened(Lane::Health, sequence, &value).unwrap();
            let envelope: fettle_wire::Envelope = json::decode(&payload).unwrap();
            self.said.insert(sequence, json::decode(envelope.body.get().as_bytes()).unwrap());
        }
        self.commits += 1;
        if (self.crash)(self.commits) {
            let (core, _) = Core::recover(&self.store, birth(self.policy.clone()), generation()).unwrap();
            self.core = core;
            self.effects.clear();
        }
    }

    fn feed(&mut self, seconds: std::ops::Range<u64>) {
        for second in seconds.step_by(5) {
            self.step(second, Event::Messages(vec![frame(0, second), frame(1, second)]));
            self.step(second, Event::Tick);
            self.commit();
        }
    }

    /// Rolls a release out as the shells would, and commits between the pointer and the file.
    fn release(&mut self, seconds: u64, file: &[u8], mode: Mode) {
        self.step(seconds, Event::Rollout(pointer(file, mode, at(seconds).wall)));
        self.commit();
        for hash in self.core.wanted_releases() {
            assert_eq!(hash, Package::read(file).unwrap().hash.to_string());
            self.step(seconds, Event::Release(file.to_vec()));
            self.commit();
        }
    }

    /// Versions in (active, shadow, previous).
    fn places(&self) -> [Option<u64>; 3] {
        let releases = self.core.releases();
        let Some(status) = releases.first() else { return [None; 3] };
        [&status.active, &status.shadow, &status.previous].map(|r| r.as_ref().map(|r| r.version))
    }

    fn last(&self) -> &Health {
        self.said.values().rfind(|h| h.asset.as_str() == "pump-0").unwrap()
    }

    fn picture(&self) -> String {
        let engine: Vec<_> = self.core.engine().assets().map(|a| self.core.engine().save_asset(a)).collect();
        format!("{engine:?} {:?} {:?}", self.core.shared(), self.core.lanes())
    }
}

/// The whole life of two releases on one agent.
fn story(crash: fn(u64) -> bool) -> Rig {
    let mut rig = Rig::new(policy(), crash);
    let (one, two) = (file(1, &model(1)), file(2, &model(2)));
    rig.feed(0..300);
    assert_eq!(rig.last().release, None, "no release, no word of one");
    rig.release(300, &one, Mode::Shadow);
    assert_eq!(rig.places(), [Some(1), None, None], "nothing to be compared with: it speaks at once");
    rig.feed(300..900);
    let health = rig.last();
    let release = health.release.as_ref().expect("a release speaks");
    assert_eq!((release.version, release.hash.len()), (1, 64));
    assert!(matches!(&health.rul, Rul::Interval { method, .. } if method == "network_ensemble"), "{:?}", health.rul);
    assert!(!health.rul_contributions.is_empty());
    rig.release(900, &two, Mode::Shadow);
    assert_eq!(rig.places(), [Some(1), Some(2), None]);
    rig.feed(900..1080);
    assert_eq!(rig.places(), [Some(1), Some(2), None], "not long enough");
    rig.feed(1080..1500);
    assert_eq!(rig.places(), [Some(2), None, Some(1)], "promoted by its record");
    rig.feed(1500..1620);
    assert_eq!(rig.last().release.as_ref().map(|r| r.version), Some(2));
    rig.step(1620, Event::RollBack("pump".into(), "not_finite"));
    rig.commit();
    assert_eq!(rig.places(), [Some(1), None, None]);
    rig.feed(1620..1800);
    assert_eq!(rig.last().release.as_ref().map(|r| r.version), Some(1));
    rig
}

#[test]
fn k2_a_release_lives_through_a_kill_after_every_commit_as_it_does_without_one() {
    let calm = story(|_| false);
    for crash in [|_| true, |n: u64| n % 7 == 3] as [fn(u64) -> bool; 2] {
        let killed = story(crash);
        // How long inferences took and how often was judged is no state; all else is the same bit for bit.
        assert_eq!(killed.picture(), calm.picture());
        assert_eq!(killed.said, calm.said);
    }
}

#[test]
fn a_pointer_that_is_old_or_of_a_foreign_class_changes_nothing() {
    let mut rig = Rig::new(policy(), |_| false);
    let (one, two) = (file(1, &model(1)), file(2, &model(2)));
    rig.release(100, &one, Mode::Active);
    rig.release(200, &two, Mode::Active);
    assert_eq!(rig.places(), [Some(2), None, Some(1)]);
    // The topic is read from its beginning at every start.
    rig.release(100, &one, Mode::Active);
    assert_eq!(rig.places(), [Some(2), None, Some(1)]);
    // A roll-back by command is a newer pointer to what is on the disk: nothing is fetched.
    rig.effects.clear();
    rig.release(300, &one, Mode::Active);
    assert_eq!(rig.places(), [Some(1), None, Some(2)]);
    assert!(!rig.effects.iter().any(|e| matches!(e, Effect::Fetch(_))), "K3");
    let mut foreign: Rollout = json::decode(&pointer(&two, Mode::Active, at(400).wall)).unwrap();
    foreign.class = "fan".into();
    rig.step(400, Event::Rollout(foreign.encode().unwrap().into_bytes()));
    assert!(rig.core.wanted_releases().is_empty());
}

#[test]
fn what_does_not_fit_or_has_no_room_is_refused_with_its_reason_and_not_asked_for_again() {
    let small = ReleasePolicy { max_bytes: file(1, &model(1)).len() as u64 + 10, ..policy() };
    let mut rig = Rig::new(small, |_| true);
    let mut other_step = model(3);
    other_step.frozen.schema.step_seconds = 600.0;
    rig.release(100, &file(3, &other_step), Mode::Active);
    assert!(rig.core.wanted_releases().is_empty());
    rig.release(200, &file(1, &model(1)), Mode::Active);
    rig.release(300, &file(2, &model(2)), Mode::Active);
    rig.release(400, &file(1, &model(9)), Mode::Active);
    let account = &rig.core.shared().releases;
    let counted: Vec<(&str, u64)> = account.refused.iter().map(|(r, n)| (r.as_str(), *n)).collect();
    assert_eq!(counted, [("conflict", 1), ("no_room", 1), ("schema", 1)]);
    assert_eq!(rig.places(), [Some(1), None, None]);
}

#[test]
fn a_release_whose_key_is_trusted_no_longer_is_taken_back_with_the_reason() {
    let mut rig = Rig::new(policy(), |_| false);
    rig.release(100, &file(1, &model(1)), Mode::Active);
    rig.policy.keys.clear();
    rig.crash = |_| true;
    rig.feed(100..130);
    assert_eq!(rig.places(), [None, None, None]);
    assert_eq!(rig.core.shared().releases.rolled_back.get("unknown_key"), Some(&1));
}

#[test]
fn k1_hostile_files_end_in_a_child_and_each_has_its_own_reason() {
    let program = Path::new(env!("CARGO_BIN_EXE_fettle-agent"));
    let keys = [Key::from(&key())];
    let good = file(1, &model(1));
    assert_eq!(trial::run_in(program, &good, &keys), Ok(()));
    let reason = |bytes: &[u8]| trial::run_in(program, bytes, &keys).unwrap_err().0;
    assert_eq!(reason(b"not a release at all"), "malformed");
    assert_eq!(reason(&good[..good.len() - 72]), "unsigned");
    assert_eq!(reason(&sign(&good, &SigningKey::from_bytes(&[9; 32])).unwrap()), "unknown_key");
    let mut flipped = good.clone();
    flipped[good.len() - 100] ^= 1;
    assert_eq!(reason(&flipped), "part_hash");
    assert_eq!(reason(&vec![0; (8 << 20) + 1]), "too_large");
    // A program that is no agent stands for a child that dies.
    let (died, why) = trial::run_in(Path::new("/bin/false"), &good, &keys).unwrap_err();
    assert_eq!(died, "trial", "{why}");
}
