//! Waveforms through the core: from the frame on MQTT to the alarm, the evidence on Kafka's side and the samples on disk,
//! with crashes in between.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use bytes::Bytes;
use fettle_agent::acquire::Inbound;
use fettle_agent::core::evidence::Kept;
use fettle_agent::core::generation::Generation;
use fettle_agent::core::{Birth, Core, Effect, Event, Limits};
use fettle_agent::journal::model::Model;
use fettle_agent::journal::open;
use fettle_agent::journal::store::Store;
use fettle_agent::outbox::record;
use fettle_agent::status::evidence;
use fettle_models::{AssetSpec, BearingGeometry, ChannelSpec, Registry, Role, Settings};
use fettle_wire::time::MINUTE;
use fettle_wire::topic::{self, KafkaTopics};
use fettle_wire::{
    Alert, Arrival, Change, ClockQuality, Envelope, Evidence, Frame, Identity, Lane, Name, Occasion, Unit, Waveform,
};

const SECOND: i64 = 1_000_000;
const BEGIN: i64 = 1_790_000_040 * SECOND;
const RATE: f64 = 25_600.0;
const SAMPLES: usize = 4_096;
const SHAFT: f64 = 25.0;
const LEARNED: i64 = 150;
const GEOMETRY: BearingGeometry =
    BearingGeometry { balls: 9, ball_diameter_mm: 7.94, pitch_diameter_mm: 39.04, contact_angle_deg: 0.0 };

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn channel(kind: &str, unit: &str, role: Role) -> ChannelSpec {
    ChannelSpec { kind: kind.into(), unit: Unit::from_code(unit).unwrap(), role, ..ChannelSpec::adopted() }
}

fn generation() -> Generation {
    let spec = AssetSpec {
        bearing_geometry: Some(GEOMETRY),
        channels: BTreeMap::from([
            (name("acceleration"), channel("acceleration", "m/s2", Role::Monitored)),
            (name("speed"), channel("speed", "{rpm}", Role::Operating)),
            (name("temperature"), channel("temperature", "Cel", Role::Monitored)),
        ]),
        ..AssetSpec::default()
    };
    let assets = BTreeMap::from([(name("pump"), spec)]);
    let settings = Settings { baseline_slides: 120, waveform_publish: 30 * MINUTE, ..Settings::default() };
    let json = serde_json::json!({
        "settings": settings, "registry": Registry { generation: 1, assets }, "foreign": [],
        "ledger_interval": 60 * SECOND,
    });
    serde_json::from_value(json).unwrap()
}

fn birth(evidence_bytes: u64) -> Birth {
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
            evidence_bytes,
            lives_bytes: 8 << 20,
        },
        releases: fettle_agent::release::ReleasePolicy::default(),
    }
}

fn noise(of: u64) -> f64 {
    let mut z = of.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Noise, and impacts of `size` times as much at the outer ring's frequency, with slip, ringing at 5 kHz.
fn samples(size: f64, seed: u64) -> Vec<u8> {
    let mut at = seed << 20;
    let mut uniform = || {
        at += 1;
        noise(at)
    };
    let mut values: Vec<f64> = (0..SAMPLES).map(|_| 100.0 * (uniform() + uniform() + uniform())).collect();
    let every = RATE / GEOMETRY.frequencies(SHAFT)[0];
    let mut impact = every * 0.5 * (1.0 + uniform());
    while impact < SAMPLES as f64 {
        for (i, value) in values.iter_mut().enumerate().skip(impact.ceil() as usize).take(200) {
            let since = (i as f64 - impact) / RATE;
            *value += 100.0 * size * (-1_500.0 * since).exp() * (std::f64::consts::TAU * 5_000.0 * since).sin();
        }
        impact += every * (1.0 + 0.01 * uniform());
    }
    values.iter().flat_map(|v| (*v as i16).to_le_bytes()).collect()
}

fn inbound(topic: String, frame: &Frame<'_>) -> Inbound {
    let payload = Bytes::from(frame.encode().unwrap());
    Inbound { ticket: frame.sequence, topic, payload, redelivered: false, oversize: None }
}

/// What a node sends in one minute: its scalar channels and one block.
fn frames(minute: i64, size: f64) -> Vec<Inbound> {
    let time = BEGIN + minute * MINUTE;
    let head = Frame {
        version: 1,
        boot: 99,
        sequence: 2 * minute as u64,
        oldest: 0,
        time: Some(time),
        uptime: (minute * MINUTE).unsigned_abs(),
        clock: ClockQuality::Synced,
        channels: vec!["speed", "temperature"],
        readings: vec![(0, 0, 60.0 * SHAFT), (1, 0, 60.0 + noise(minute as u64))],
        flags: vec![],
        waveform: None,
    };
    let samples = samples(size, minute as u64);
    let block = Frame {
        sequence: head.sequence + 1,
        channels: vec!["acceleration"],
        readings: vec![],
        waveform: Some(Waveform { rate: RATE, scale: 0.01, offset: 0.0, samples: &samples }),
        ..head.clone()
    };
    vec![
        inbound(topic::readings("plant", "pump"), &head),
        inbound(topic::waveform("plant", "pump", "acceleration"), &block),
    ]
}

struct Rig {
    core: Core,
    store: Model,
    effects: Vec<Effect>,
    evidence_bytes: u64,
}

impl Rig {
    fn new(evidence_bytes: u64) -> Self {
        let store = Model::default();
        let (core, _) = Core::recover(&store, birth(evidence_bytes), generation()).unwrap();
        let mut rig = Self { core, store, effects: Vec::new(), evidence_bytes };
        rig.step(0, Event::Reload(Box::new(generation()), birth(evidence_bytes).limits));
        rig
    }

    fn step(&mut self, minute: i64, event: Event) {
        let (wall, monotonic) = (BEGIN + minute * MINUTE + SECOND, (minute * MINUTE + SECOND).unsigned_abs());
        self.core.step(Arrival { wall, monotonic, quality: ClockQuality::Synced }, event, &mut self.effects);
        self.store.commit(self.core.prepare()).unwrap();
        self.core.committed(&mut self.effects);
    }

    fn live(&mut self, minutes: std::ops::Range<i64>, size: impl Fn(i64) -> f64) {
        for minute in minutes {
            self.step(minute, Event::Messages(frames(minute, size(minute))));
        }
    }

    fn crash(self) -> Self {
        let (core, _) = Core::recover(&self.store, birth(self.evidence_bytes), generation()).unwrap();
        Self { core, effects: Vec::new(), ..self }
    }

    /// Everything that can be seen of the state.
    fn picture(&self) -> String {
        let accounts: Vec<_> = self.core.accounts().map(|(n, door, q)| (n.clone(), door.clone(), q)).collect();
        let saved = self.core.engine().save_asset("pump");
        format!("{accounts:?} {saved:?} {:?} {:?}", self.core.lanes(), self.core.evidence().bytes)
    }

    /// Bodies of a lane's records in the store.
    fn records<T: serde::de::DeserializeOwned>(&self, lane: Lane) -> Vec<(String, T)> {
        let mut records = Vec::new();
        let (from, to) = (record::key(lane, 0), record::key(lane, u64::MAX));
        let visit = &mut |key: &[u8], value: &[u8]| {
            let (_, sequence) = record::of_key(key).unwrap();
            let (_, payload) = Core::opened(lane, sequence, value).unwrap();
            let envelope = Envelope::decode(&payload).unwrap();
            assert_eq!(envelope.lane, lane);
            records.push((envelope.body.get().to_owned(), envelope.body().unwrap()));
            std::ops::ControlFlow::Continue(())
        };
        self.store.scan(&from, &to, visit).unwrap();
        records
    }

    fn kept(&self) -> Vec<Kept> {
        let mut kept = Vec::new();
        let visit = &mut |key: &[u8], value: &[u8]| {
            kept.push(Kept::decode(&open(key, value).unwrap()).unwrap());
            std::ops::ControlFlow::Continue(())
        };
        self.store.scan(b"e", b"f", visit).unwrap();
        kept
    }
}

/// Healthy until the baseline stands, then a defect that grows.
fn growing(minute: i64) -> f64 {
    (minute - LEARNED - 20).max(0) as f64 * 0.25
}

#[test]
fn a_growing_defect_is_found_shown_and_kept_and_a_crash_changes_no_bit_c3() {
    let (mut smooth, mut rough) = (Rig::new(1 << 20), Rig::new(1 << 20));
    let end = LEARNED + 80;
    smooth.live(0..end, growing);
    for part in 0..end / 23 + 1 {
        rough.live(part * 23..((part + 1) * 23).min(end), growing);
        let before = rough.picture();
        rough = rough.crash();
        assert_eq!(rough.picture(), before, "part {part}");
    }
    let alerts: Vec<(String, Alert)> = smooth.records(Lane::Alerts);
    let raised = &alerts.iter().find(|a| a.1.change == Change::Raised).expect("the defect is found").1;
    assert_eq!(raised.condition, "anomaly");
    assert!(raised.contributions[0].channel.starts_with("acceleration."), "{:?}", raised.contributions);
    assert!(raised.at > BEGIN + (LEARNED + 20) * MINUTE, "before there was a defect");
    let evidence: Vec<(String, Evidence)> = smooth.records(Lane::Evidence);
    let schema = serde_json::from_str(include_str!("../../wire/schema/evidence.schema.json")).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    for (text, _) in &evidence {
        let errors: Vec<_> = schema.iter_errors(&serde_json::from_str(text).unwrap()).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        assert!(text.len() < 40_000, "{} bytes", text.len());
    }
    let shown: Vec<_> = evidence.iter().filter(|e| e.1.occasion == Occasion::Alarm).collect();
    assert_eq!(shown.len(), alerts.iter().filter(|a| a.1.change == Change::Raised).count());
    assert_eq!(evidence.len() - shown.len(), (end as usize).div_ceil(30), "one each half hour");
    let kept = smooth.kept();
    assert_eq!(kept.iter().filter(|k| !k.after).count(), shown.len());
    assert!(kept.iter().filter(|k| k.after).count() >= 4 && kept.iter().all(|k| k.raised_at >= raised.raised_at));
    let tally = smooth.core.accounts().next().unwrap().1.tally.clone();
    assert_eq!((tally.used, tally.received), (3 * end as u64, 3 * end as u64), "a block counts as one reading");
    // What the rough life wrote is what the smooth one did.
    assert!(rough.records::<Alert>(Lane::Alerts) == alerts && rough.records::<Evidence>(Lane::Evidence) == evidence);
    assert_eq!(rough.kept(), kept);
}

#[test]
fn kept_samples_stay_within_their_bound_and_are_counted() {
    let mut rig = Rig::new(30_000);
    rig.live(0..LEARNED + 60, growing);
    let status = rig.core.evidence();
    assert!(status.written >= 5 && status.given_up > 0 && status.bytes <= 30_000, "{status:?}");
    assert_eq!(rig.kept().len() as u64, status.blocks);
    assert_eq!(rig.kept().len() as u64, status.written - status.given_up);
    let list = evidence::list(&rig.store, None, false).unwrap();
    assert_eq!(list.lines().count() as u64, status.blocks);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(evidence::save(&rig.store, Some("pump"), folder.path()).unwrap(), status.blocks);
    let rig = rig.crash();
    let recovered = rig.core.evidence();
    assert_eq!((recovered.blocks, recovered.bytes), (status.blocks, status.bytes));
}

#[test]
fn a_frame_whose_channel_is_not_its_topics_is_counted_and_confirmed() {
    let mut rig = Rig::new(1 << 20);
    let mut odd = frames(0, 0.0);
    odd[0].topic = topic::waveform("plant", "pump", "acceleration");
    odd[1].topic = topic::waveform("plant", "pump", "temperature");
    rig.step(0, Event::Messages(odd));
    let tally = rig.core.accounts().next().unwrap().1.tally.clone();
    assert_eq!((tally.received, tally.rejected["waveform_topic"]), (3, 3), "two readings and one block");
    assert!(tally.balances());
    assert!(rig.effects.iter().any(|e| matches!(e, Effect::Acknowledge(tickets) if tickets.len() == 2)));
}
