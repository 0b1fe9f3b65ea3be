//! The false-alarm rate that the configuration asks for is the one that a healthy fleet gets: 100 assets over a simulated
//! month, a reading a minute, through generated journal entries and the agent's own core, beside the 99 % Poisson band.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use fettle_agent::core::generation::Generation;
use fettle_agent::core::{Birth, Core, Limits};
use fettle_agent::journal::entry::{Entry, Message};
use fettle_agent::journal::model::Model;
use fettle_models::{Output, Registry, Settings};
use fettle_sim::{Channel, Fleet, registry};
use fettle_wire::time::{MINUTE, MONTH};
use fettle_wire::topic::{self, KafkaTopics};
use fettle_wire::{Arrival, Change, ClockQuality, Frame, Identity, Micros, Name};

const ASSETS: u64 = 100;
/// 2026-01-01T00:00:00Z.
const BEGIN: Micros = 1_767_225_600_000_000;
/// One alarm per asset and month, so that a seed has about a hundred and the band is narrow.
const ASKED: f64 = 1.0;
/// Samples in one frame: half an hour.
const FRAME: usize = 30;

fn core(settings: &Settings, registry: &Registry) -> Core {
    let json = serde_json::json!({
        "settings": settings, "registry": registry, "foreign": [], "ledger_interval": 3_600_000_000_u64,
    });
    let generation: Generation = serde_json::from_value(json).unwrap();
    let name = |text| Name::new(text).unwrap();
    let birth = Birth {
        identity: Identity { site: name("plant"), agent: name("gw"), incarnation: 1 },
        topics: KafkaTopics::new(name("fettle")),
        key: None,
        limits: Limits {
            batch: 1,
            commit_interval: 1,
            keep_bytes: 1,
            keep: 1,
            outbox_bytes: 1,
            evidence_bytes: 1,
            lives_bytes: 1,
        },
        releases: fettle_agent::release::ReleasePolicy::default(),
    };
    Core::recover(&Model::default(), birth, generation).unwrap().0
}

/// One asset's month as journal entries.
fn month(member: fettle_sim::fleet::Member, channels: &[Channel]) -> impl Iterator<Item = Entry> {
    let names: Vec<&'static str> = channels.iter().map(|c| c.name()).collect();
    let channels = channels.to_vec();
    let topic = topic::readings("plant", &member.name);
    let mut samples = member.machine.samples(BEGIN, MINUTE).take((MONTH / MINUTE) as usize);
    let mut sequence = 0;
    std::iter::from_fn(move || {
        let block: Vec<_> = samples.by_ref().take(FRAME).collect();
        let (first, last) = (block.first()?.time, block.last()?.time);
        let readings = block
            .iter()
            .flat_map(|s| channels.iter().enumerate().map(move |(i, c)| (i as u16, s.time - first, s.value(*c))));
        let frame = Frame {
            version: 1,
            boot: 1,
            sequence,
            oldest: 0,
            time: Some(first),
            uptime: (first - BEGIN) as u64,
            clock: ClockQuality::Synced,
            channels: names.clone(),
            readings: readings.collect(),
            flags: vec![],
            waveform: None,
        };
        sequence += 1;
        let payload = frame.encode().unwrap().into();
        let message = Message { topic: topic.clone(), payload, redelivered: false, oversize: None };
        let arrival = Arrival { wall: last, monotonic: (last - BEGIN) as u64, quality: ClockQuality::Synced };
        Some(Entry::Messages { arrival, messages: vec![message] })
    })
}

/// Alarms raised by a healthy fleet of `seed` in its month: (anomaly, other).
fn alarms(seed: u64, settings: &Settings, channels: &[Channel]) -> (u64, u64) {
    let fleet = Fleet::healthy(seed, ASSETS);
    let text = registry::toml(&fleet, channels, 60.0).unwrap();
    let registry: Registry = toml::from_str(&text).unwrap();
    let (mut anomalies, mut others) = (0, 0);
    // Assets do not influence one another (E2): one core after the other keeps memory small and the count the same.
    for member in fleet.members {
        let mut core = core(settings, &registry);
        for entry in month(member, channels) {
            for output in core.observe(&entry) {
                match output {
                    Output::Alert(a) if a.change == Change::Raised && a.condition == "anomaly" => anomalies += 1,
                    Output::Alert(a) if a.change == Change::Raised => others += 1,
                    _ => {}
                }
            }
        }
    }
    (anomalies, others)
}

/// The central 99 % interval of a Poisson distribution.
fn band(mean: f64) -> (u64, u64) {
    let (mut probability, mut cumulative, mut low) = ((-mean).exp(), 0.0, None);
    for k in 0u32.. {
        cumulative += probability;
        if low.is_none() && cumulative > 0.005 {
            low = Some(u64::from(k));
        }
        if cumulative >= 0.995 {
            return (low.unwrap_or(0), u64::from(k));
        }
        probability *= mean / f64::from(k + 1);
    }
    unreachable!("the loop above ends")
}

#[test]
fn a_healthy_fleet_alarms_as_often_as_was_asked_for() {
    let long = std::env::var("FETTLE_TESTBED_LONG").is_ok_and(|v| v == "1");
    let settings = Settings { false_alarms_per_asset_month: ASKED, ..Settings::default() };
    let learned = Micros::from(settings.baseline_slides) * settings.slide;
    let expected = ASKED * ASSETS as f64 * (MONTH - learned) as f64 / MONTH as f64;
    let (low, high) = band(expected);
    for seed in 1..=if long { 5 } else { 1 } {
        let (anomalies, others) = alarms(seed, &settings, &Channel::ALL);
        let inside = if (low..=high).contains(&anomalies) { "inside" } else { "OUTSIDE" };
        println!("seed {seed}: {anomalies} alarms, {expected:.1} asked for: {inside} the 99 % band {low}..={high}");
        assert_eq!(others, 0, "limit alarms of a healthy fleet");
        assert_eq!(inside, "inside");
    }
}

#[test]
fn the_band_is_the_poisson_distribution_s() {
    // Known: for mean 100 the central 99 % interval is 75..=127.
    assert_eq!(band(100.0), (75, 127));
}
