//! What a seed decides: the agent's bounds, the plant's script, and the faults with their times.
//!
//! The script (values, reboots, one wild stamp, commands, events of machines) is part of the plant: the undisturbed run of the same seed has
//! it, too. The faults are left out there. Faults come in episodes of up to three at a time, with calm in between long
//! enough for everything to be sent again, so that no frame is later than the lateness that is configured.

use std::collections::BTreeMap;

use fettle_agent::core::generation::Generation;
use fettle_agent::core::{Birth, Limits};
use fettle_agent::journal::model::Fate;
use fettle_models::{AssetSpec, BearingGeometry, ChannelSpec, Registry, Role, Settings, UnknownPolicy};
use fettle_wire::topic::KafkaTopics;
use fettle_wire::{AssetEvent, ClockQuality, EventKind, Identity, Micros, Name, SCHEMA_VERSION, Unit};

use crate::random::{Purpose, Random, mix, mix_bytes};

pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;
/// Wall time at virtual time 0.
pub(crate) const EPOCH: i64 = 1_790_000_000_000_000;
pub(crate) const SITE: &str = "plant";
/// Nodes sample until here.
pub(crate) const STOP: u64 = 360 * SECOND;
/// Faults begin before this.
const CALM: u64 = 290 * SECOND;
/// Everything must be delivered by then.
pub(crate) const END: u64 = 440 * SECOND;

/// The assets with a node. The first four are registered and compared with the undisturbed run where nothing is lost.
pub(crate) const NODES: [&str; 8] = ["pump-0", "pump-1", "pump-2", "pump-3", "stray-0", "old-0", "mill-0", "mill-1"];
/// Has no registry entry.
pub(crate) const STRAY: usize = 4;
/// Its node's clock stands at 1970.
pub(crate) const OLD: usize = 5;
/// Its node stamps one frame two days ahead.
pub(crate) const WILD: usize = 1;

/// Sends a waveform block now and then, each by itself: what is read from it depends on nothing else, so it is compared,
/// too.
pub(crate) const LONE: usize = 6;
/// Sends consecutive blocks, more than its budget, with gaps; boots again in the midst of them; runs hot for a while. Which
/// blocks are joined, and which are over budget, depends on how they arrive, so it is not compared.
pub(crate) const MILL: usize = 7;
/// The waveforms' channel.
pub(crate) const ACCELERATION: &str = "acceleration";

/// Is fed by a publisher without our firmware, whose readings carry no time.
pub(crate) const FOREIGN: &str = "press-0";

/// Something that goes wrong for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A node's link is cut.
    NodeLink(usize),
    /// The agent's link to the broker is cut.
    AgentLink,
    /// The broker dies; comes back with its session as last saved, or without.
    Broker { session: bool },
    /// The agent dies at once.
    Crash,
    /// The agent dies in its next commit, before or after the disk has it.
    CrashInCommit { written: bool },
    /// The agent dies after carrying out so many effects of its next commit.
    CrashInEffects(u64),
    /// Commits fail.
    Disk(Fate),
    /// Kafka is away; what was handed over waits in the client.
    KafkaAway,
    /// Kafka's client is built anew: everything under way is reported failed, part of it is written all the same.
    ProducerReset,
    /// The agent's wall clock is off by so many seconds.
    Wall(i64),
    /// The configuration is loaded again with another number.
    Reload,
}

/// A fault and its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Episode {
    pub(crate) at: u64,
    pub(crate) until: u64,
    pub(crate) fault: Fault,
}

/// A defect put back on purpose, at the seam between the core and what is around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    /// PUBACK as soon as a message was stepped.
    AcknowledgeBeforeCommit,
    /// Confirmations as soon as a message was stepped.
    ConfirmBeforeCommit,
    /// The shared snapshot, with the command offsets, is written a commit later than what it belongs to.
    CursorOutsideTransaction,
    /// A record counts as delivered once it was handed to Kafka's client.
    DeletedOnProduce,
    /// A lost session empties the batch that is being built.
    PendingClearedOnLostSession,
    /// Raw samples kept around alarms are written a commit later than the entry that caused them.
    EvidenceOutsideTransaction,
    /// The door believes any stamp.
    FutureStampBelieved,
    /// Recovery starts with an empty memory of duplicates.
    DuplicatesForgotten,
}

/// What is particular about waveforms.
#[derive(Debug, Clone)]
pub(crate) struct Waveform {
    /// Blocks of an asset that are analysed in a minute.
    pub(crate) budget: u32,
    /// Samples of a block of mill-1, which lasts a second; 0 where it sends none, because nobody compares it.
    pub(crate) samples: usize,
    /// One second in so many mill-1's chip loses samples.
    pub(crate) gap: u64,
    /// When mill-1 boots again.
    pub(crate) reboot: Option<u64>,
    /// What the agent may keep of raw samples.
    pub(crate) kept_bytes: u64,
}

impl Waveform {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, Purpose::Waveform);
        Self {
            budget: random.between(36, 70) as u32,
            samples: [256, 512, 512, 2_048][random.below(4) as usize],
            gap: random.between(5, 14),
            reboot: random.hit(60).then(|| random.between(50_000, 300_000) * MS),
            kept_bytes: if random.hit(50) { 12_000 } else { 1 << 20 },
        }
    }
}

/// See the module's header.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) defect: Option<Defect>,
    pub(crate) quality: ClockQuality,
    pub(crate) commit_interval: u64,
    pub(crate) batch: usize,
    pub(crate) keep_bytes: u64,
    pub(crate) outbox_bytes: u64,
    pub(crate) window: usize,
    /// Longest ordinary delay of a message.
    pub(crate) latency: u64,
    /// Percent of frames that arrive twice, the second time up to some seconds later.
    pub(crate) duplicates: u64,
    pub(crate) policy: UnknownPolicy,
    /// When the node with the wild stamp stamps it.
    pub(crate) wild: Option<u64>,
    /// When pump-2 boots again.
    pub(crate) reboot: Option<u64>,
    /// Frames in pump-3's ring; mill-1's holds twice as many.
    pub(crate) small_ring: Option<usize>,
    pub(crate) waveform: Waveform,
    pub(crate) episodes: Vec<Episode>,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, Purpose::Plan);
        let quality = match random.below(10) {
            0..=2 => ClockQuality::Synced,
            3..=5 => ClockQuality::FreeRunning,
            _ => ClockQuality::Unknown,
        };
        let unknown = quality == ClockQuality::Unknown;
        let mut plan = Self {
            seed,
            defect: None,
            quality,
            commit_interval: random.between(100, 900) * MS,
            batch: random.between(4, 40) as usize,
            keep_bytes: if random.hit(30) { 40_000 } else { 1 << 30 },
            outbox_bytes: if random.hit(15) { 8_000 } else { 1 << 26 },
            window: 0,
            latency: random.between(5, 300) * MS,
            duplicates: random.below(12),
            policy: if random.hit(50) { UnknownPolicy::Quarantine } else { UnknownPolicy::Adopt },
            wild: (unknown && random.hit(80)).then(|| random.between(60, 200) * SECOND),
            reboot: random.hit(40).then(|| random.between(50, 300) * SECOND),
            small_ring: random.hit(25).then_some(6),
            waveform: Waveform::new(seed),
            episodes: Vec::new(),
        };
        // The agent announces a Receive Maximum of at least four commit batches.
        plan.window = 4 * plan.batch + random.between(40, 200) as usize;
        let mut at = random.between(5, 20) * SECOND;
        while at < CALM {
            for _ in 0..=random.below(3) {
                let begin = at + random.below(3_000) * MS;
                let until = begin + random.between(200, 12_000) * MS;
                let fault = any_fault(&mut random, unknown);
                plan.episodes.push(Episode { at: begin, until, fault });
            }
            at += random.between(38, 60) * SECOND;
        }
        plan
    }

    /// The same plant without faults.
    pub(crate) fn undisturbed(&self) -> Self {
        let calm = Self { episodes: Vec::new(), duplicates: 0, defect: None, ..self.clone() };
        let waveform = Waveform { samples: 0, ..self.waveform.clone() };
        Self { keep_bytes: 1 << 30, outbox_bytes: 1 << 26, latency: 20 * MS, waveform, ..calm }
    }

    /// The assets whose last revisions must equal those of the undisturbed run: nothing of theirs can be lost.
    pub(crate) fn compared(&self) -> Vec<&'static str> {
        if self.outbox_bytes < 1 << 26 {
            return Vec::new();
        }
        let whole = |at: &usize| match at {
            2 => self.reboot.is_none(),
            3 => self.small_ring.is_none(),
            _ => true,
        };
        (0..4).filter(whole).chain([LONE]).map(|at| NODES[at]).collect()
    }

    pub(crate) fn birth(&self) -> Birth {
        let name = |text: &str| Name::new(text).expect("it is a name");
        Birth {
            identity: Identity { site: name(SITE), agent: name("gw"), incarnation: mix(&[self.seed]) },
            topics: KafkaTopics::new(name("fettle")),
            key: None,
            limits: self.limits(),
            releases: fettle_agent::release::ReleasePolicy::default(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            batch: self.batch,
            commit_interval: self.commit_interval,
            keep_bytes: self.keep_bytes,
            keep: i64::MAX,
            outbox_bytes: self.outbox_bytes,
            evidence_bytes: self.waveform.kept_bytes,
            lives_bytes: if self.outbox_bytes < 1 << 26 { 1_500 } else { 1 << 20 },
        }
    }

    /// The configuration, numbered.
    pub(crate) fn generation(&self, number: u64) -> Generation {
        let micros = |seconds: u64| (seconds * SECOND) as Micros;
        let believed = self.defect == Some(Defect::FutureStampBelieved);
        let settings = Settings {
            pane: micros(1),
            slide: micros(5),
            window: micros(60),
            publish: micros(5),
            disorder: micros(2),
            lateness: micros(120),
            rul_step: micros(20),
            idle: micros(30),
            off_delay: micros(10),
            baseline_slides: 30,
            waveform_blocks_per_minute: self.waveform.budget,
            waveform_publish: micros(30),
            unknown: self.policy,
            max_ahead: if believed { 36_500 * 86_400 * SECOND as Micros } else { micros(600) },
            ..Settings::default()
        };
        let json = serde_json::json!({
            "settings": settings, "registry": registry(number), "ledger_interval": 10 * SECOND,
            "foreign": [{"topic": "sensors/{asset}/{channel}", "asset": null, "channel": null, "unit": "Cel"}],
        });
        serde_json::from_value(json).expect("it is a generation")
    }
}

fn registry(number: u64) -> Registry {
    let name = |text: &str| Name::new(text).expect("it is a name");
    let channel = |unit: &str, limit| ChannelSpec {
        kind: "level".into(),
        unit: Unit::from_code(unit).expect("it is a unit"),
        role: Role::Monitored,
        range: None,
        interval: None,
        limit,
    };
    let channels =
        BTreeMap::from([(name("temperature"), channel("Cel", Some(50.0))), (name("pressure"), channel("bar", None))]);
    let spec = AssetSpec { channels, ..AssetSpec::default() };
    let known = NODES.iter().enumerate().filter(|(at, _)| *at != STRAY).map(|(_, asset)| *asset);
    let mut assets: BTreeMap<_, _> = known.chain([FOREIGN]).map(|asset| (name(asset), spec.clone())).collect();
    let waveform = ChannelSpec { kind: "acceleration".into(), ..channel("m/s2", None) };
    for mill in [LONE, MILL] {
        let spec = assets.entry(name(NODES[mill])).or_default();
        spec.channels.insert(name(ACCELERATION), waveform.clone());
        if mill == MILL {
            spec.channels.remove("pressure");
            spec.channels.insert(name("speed"), ChannelSpec { role: Role::Operating, ..channel("{rpm}", None) });
            spec.bearing_geometry = Some(BearingGeometry {
                balls: 9,
                ball_diameter_mm: 7.94,
                pitch_diameter_mm: 39.04,
                contact_angle_deg: 0.0,
            });
        }
    }
    Registry { generation: number, assets }
}

fn any_fault(random: &mut Random, unknown: bool) -> Fault {
    match random.below(22) {
        0 | 1 => Fault::NodeLink(random.below(NODES.len() as u64) as usize),
        2 => Fault::AgentLink,
        3 | 4 => Fault::Broker { session: true },
        5 | 6 => Fault::Broker { session: false },
        7 | 8 => Fault::Crash,
        9 | 10 => Fault::CrashInCommit { written: random.hit(50) },
        11 | 12 => Fault::CrashInEffects(random.below(4)),
        13 => Fault::Disk(Fate::Fails),
        14 => Fault::Disk(Fate::Full),
        15 => Fault::Disk(Fate::CommitsUnheard),
        16 | 17 => Fault::KafkaAway,
        18 | 19 => Fault::ProducerReset,
        20 => {
            let days = 86_400 * random.between(1, 90) as i64;
            // Ahead, or in 1970, which the agent recognises. (A clock behind by less would have nodes' stamps rejected.)
            Fault::Wall(if !unknown && random.hit(50) { -EPOCH / SECOND as i64 } else { days })
        }
        _ => Fault::Reload,
    }
}

/// What control systems tell of machines: when, of which, and what. Each is said again and again, with the same id, because
/// a publisher cannot know what a broker forgets; the plant's script, like the commands.
pub(crate) fn events() -> Vec<(u64, &'static str, AssetEvent)> {
    let event = |id: &str, kind, at: u64| AssetEvent {
        version: SCHEMA_VERSION,
        id: id.to_owned(),
        kind,
        at: Some(EPOCH + (at * SECOND) as i64),
        components: Vec::new(),
        note: None,
        person: None,
    };
    let said = |from: u64, asset: &'static str, event: AssetEvent| {
        (0..10).map(move |n| ((from + 7 * n) * SECOND, asset, event.clone()))
    };
    let mut all: Vec<_> = said(122, NODES[WILD], event("broke", EventKind::Failed, 121)).collect();
    all.extend(said(190, NODES[WILD], event("new", EventKind::Replaced, 189)));
    all.extend(said(175, NODES[3], event("new", EventKind::Replaced, 174)));
    all.extend(said(170, "nobody", event("broke", EventKind::Failed, 169)));
    all
}

/// The value of a channel, in its unit: steady with a little noise; pump-0 runs hot for a minute, mill-1 for less.
pub(crate) fn value(asset: usize, channel: &str, at: u64) -> f64 {
    let noise = (mix(&[asset as u64, mix_bytes(channel.as_bytes()), at]) % 1000) as f64 / 1000.0;
    let hot = match asset {
        0 => (200 * SECOND..260 * SECOND).contains(&at),
        MILL => (210 * SECOND..250 * SECOND).contains(&at),
        _ => false,
    };
    match channel {
        "pressure" => 2.0 + noise / 10.0,
        "speed" => 300.0 + noise,
        "temperature" if hot => 80.0 + noise,
        _ => 20.0 + noise,
    }
}

/// The counts of a block of `asset`: noise. At the seconds of [`is_clipped`] some lie at the converter's end.
pub(crate) fn block(asset: usize, samples: usize, at: u64) -> Vec<u8> {
    let four = |i: usize| mix(&[asset as u64, at, i as u64]).to_le_bytes();
    let counts = (0..samples / 4).flat_map(four).collect::<Vec<u8>>();
    let mut counts: Vec<u8> =
        counts.chunks_exact(2).flat_map(|c| (i16::from_le_bytes([c[0], c[1]]) / 16).to_le_bytes()).collect();
    if is_clipped(at) {
        counts[..32].copy_from_slice(&[0xff, 0x7f].repeat(16));
    }
    counts
}

/// Whether the block that begins at `at` clips, so that it cannot be used.
pub(crate) fn is_clipped(at: u64) -> bool {
    (at / SECOND).is_multiple_of(29)
}
