//! `fettle-agent check`: what a configuration that breaks no rule will do, in numbers a person can judge before start.
//!
//! Bytes are not guessed: a representative health record, ledger entry and journal batch are built, encoded and packed by
//! the very code that runs. What only a running agent knows is a measured figure (the pages of a commit, docs/benchmarks.md)
//! or an assumption, and named as such. The last part says what the MQTT broker must be told, because its defaults lose
//! frames; a test holds it against the configuration that `deploy/` ships.

use std::fmt::Write as _;
use std::time::Duration;

use fettle_models::{AssetSpec, ChannelSpec, Settings, UnknownPolicy, derived};
use fettle_wire::evidence::{Evidence, Line, MAX_POINTS, Occasion, Spectrum};
use fettle_wire::frame::MAX_FRAME;
use fettle_wire::record::{Envelope, Identity, Lane};
use fettle_wire::time::{DAY, SECOND};
use fettle_wire::{
    Arrival, ClockQuality, Contribution, Frame, Health, Indicator, LedgerEntry, Name, NodeAccount, Rul, Tally, Verdict,
    json, topic,
};

use crate::config::quantity::{show_duration, show_size};
use crate::config::{Checked, MqttConfig};
use crate::journal::entry::{Entry, Header, Message};
use crate::journal::{batch_key, seal};
use crate::status::table::thousands;

/// A channel whose registry entry has no interval is counted as one reading in so many seconds.
const ASSUMED_INTERVAL: f64 = 10.0;
/// A waveform channel without one is counted as one block in so many seconds.
const ASSUMED_WAVEFORM: f64 = 60.0;
/// Samples that a waveform block is counted with, and bytes of its frame.
const BLOCK_SAMPLES: usize = 4_096;
const BLOCK_BYTES: f64 = 2.0 * BLOCK_SAMPLES as f64 + 100.0;
/// Bytes that a commit writes beside its entries and records, measured (`cargo bench -p fettle-agent --bench writes`): the
/// meta page, the list of free pages, two levels of branches and the leaf that the batch ends in, each rewritten whole.
const COMMIT_PAGES: u64 = 5 * 4096;
/// The most frames of which a representative batch is built.
const MOST_SAMPLED: usize = 200;
/// Bytes of a signature with its key id in an envelope.
const SIGNATURE: u64 = 190;

/// What goes where in a day.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    /// Frames that arrive.
    pub frames: f64,
    /// Readings in them.
    pub readings: f64,
    /// Frames with a waveform block that arrive.
    pub waveforms: f64,
    /// Bytes of evidence to Kafka, before compression.
    pub evidence_bytes: f64,
    /// Channels without an interval in the registry.
    pub assumed_channels: usize,
    /// Bytes of health records to Kafka, before compression.
    pub health_bytes: f64,
    /// Bytes of ledger entries to Kafka, before compression.
    pub ledger_bytes: f64,
    /// Bytes of the frames themselves.
    pub payload_bytes: f64,
    /// Bytes of raw entries in the journal, packed.
    pub raw_bytes: f64,
    /// Commits.
    pub commits: f64,
    /// Bytes written to disk.
    pub disk_bytes: f64,
}

/// Adds up a day of `config` at work.
pub fn estimate(config: &Checked) -> Estimate {
    let identity = Identity { site: config.site.clone(), agent: config.agent.clone(), incarnation: u64::MAX };
    let signature = if config.sign { SIGNATURE } else { 0 };
    let mut sum = Estimate::default();
    let publications = DAY as f64 / config.engine.publish as f64;
    let ledgers = 86_400.0 / config.ledger_interval.as_secs_f64();
    for (name, asset) in &config.registry.assets {
        let blocks = waveforms(asset).map(|c| 86_400.0 / c.interval.unwrap_or(ASSUMED_WAVEFORM));
        let shown = blocks.clone().map(|blocks| blocks.min(DAY as f64 / config.engine.waveform_publish as f64));
        sum.evidence_bytes += shown.sum::<f64>() * (evidence_bytes(&identity, name) + signature) as f64;
        let blocks: f64 = blocks.sum();
        sum.waveforms += blocks;
        let intervals = scalars(asset).map(|(_, c)| c.interval.unwrap_or(ASSUMED_INTERVAL));
        let fastest = intervals.clone().fold(f64::INFINITY, f64::min);
        let frames = if fastest.is_finite() { 86_400.0 / fastest } else { 0.0 };
        if frames + blocks == 0.0 {
            continue;
        }
        let readings: f64 = intervals.map(|interval| 86_400.0 / interval).sum();
        sum.assumed_channels += asset.channels.values().filter(|c| c.interval.is_none()).count();
        sum.frames += frames;
        sum.readings += readings;
        if frames > 0.0 {
            sum.payload_bytes += frames * frame(asset, readings / frames, 0).len() as f64;
        }
        sum.health_bytes += publications * (health_bytes(&identity, name, asset, &config.engine) + signature) as f64;
        // An account goes out only when it changed.
        sum.ledger_bytes += ledgers.min(frames + blocks) * (ledger_bytes(&identity, name) + signature) as f64;
    }
    sum.commits = (sum.frames + sum.waveforms).min(86_400.0 / config.journal.commit_interval.as_secs_f64());
    if sum.frames > 0.0 {
        let together = sum.frames / sum.frames.min(sum.commits).max(1.0);
        sum.raw_bytes = sum.frames * batch_bytes(config, together, sum.readings / sum.frames);
    }
    // Samples hardly pack.
    sum.payload_bytes += sum.waveforms * BLOCK_BYTES;
    sum.raw_bytes += sum.waveforms * BLOCK_BYTES;
    // Records to Kafka are written once into the outbox and deleted once; what packing saves there fills no page.
    let outbox = sum.health_bytes + sum.ledger_bytes + sum.evidence_bytes;
    sum.disk_bytes = sum.raw_bytes + outbox + sum.commits * COMMIT_PAGES as f64;
    sum
}

/// Channels that have readings of their own.
fn scalars(asset: &AssetSpec) -> impl Iterator<Item = (&Name, &ChannelSpec)> + Clone {
    asset.channels.iter().filter(|(_, c)| !derived::is_waveform(c))
}

/// Channels that have blocks.
fn waveforms(asset: &AssetSpec) -> impl Iterator<Item = &ChannelSpec> + Clone {
    asset.channels.values().filter(|c| derived::is_waveform(c))
}

/// Frame `number` of an asset as its node would send it.
fn frame(asset: &AssetSpec, readings: f64, number: u64) -> Vec<u8> {
    let channels: Vec<&str> = scalars(asset).map(|(name, _)| name.as_str()).collect();
    let count = channels.len().max(1) as u64;
    // Digits that do not repeat: packing must find no more than in measured values.
    let value = |i: u64| 1.0 + ((number * 31 + i + 1) as f64 * 0.618_033_988_749_894_9).fract();
    let readings = (0..readings.round().max(1.0) as u64).map(|i| ((i % count) as u16, 1_000 * i as i64, value(i)));
    let frame = Frame {
        version: fettle_wire::SCHEMA_VERSION,
        boot: value(0).to_bits(),
        sequence: 1_000_000 + number,
        oldest: 1_000_000,
        time: Some(1_800_000_000 * SECOND + number as i64 * 10_007),
        uptime: 1_000_000_000_000 + number * 10_007,
        clock: ClockQuality::Synced,
        readings: readings.collect(),
        channels,
        flags: Vec::new(),
        waveform: None,
    };
    frame.encode().unwrap_or_default()
}

/// What a frame takes in the journal, of a commit that holds `frames` of them.
fn batch_bytes(config: &Checked, frames: f64, readings: f64) -> f64 {
    let assets: Vec<_> = config.registry.assets.iter().filter(|(_, a)| scalars(a).next().is_some()).collect();
    if assets.is_empty() {
        return 0.0;
    }
    let count = (frames.round() as usize).clamp(1, MOST_SAMPLED);
    let mut payload = Vec::new();
    Header::default().encode(&mut payload);
    for (number, (name, asset)) in assets.iter().cycle().take(count).enumerate() {
        let number = number as u64;
        let wall = 1_800_000_000 * SECOND + number as i64 * 10_009;
        let arrival = Arrival { wall, monotonic: 1_000_000_000_000 + number * 10_009, quality: ClockQuality::Synced };
        let topic = topic::readings(&config.site, name);
        let message =
            Message { topic, payload: frame(asset, readings, number).into(), redelivered: false, oversize: None };
        Entry::Messages { arrival, messages: vec![message] }.encode(&mut payload);
    }
    seal(&batch_key(1), &payload).len() as f64 / count as f64
}

/// A number that takes as many digits in JSON as measured ones do.
const MEASURED: f64 = 0.123_456_789_012_345_6;

fn health_bytes(identity: &Identity, name: &Name, asset: &AssetSpec, settings: &Settings) -> u64 {
    let now = 1_800_000_000 * SECOND;
    let published = derived::channels(asset);
    let channels = || published.iter().map(|(channel, spec)| (channel.clone(), spec.unit.si_code().to_owned()));
    let health = Health {
        asset: name.clone(),
        window_start: now - settings.window,
        window_end: now,
        revision: 0,
        verdict: Verdict::Normal,
        reason: None,
        health_index: Some(MEASURED),
        score: Some(MEASURED),
        p_value: Some(MEASURED),
        contributions: channels()
            .map(|(channel, unit)| Contribution { channel, share: MEASURED, value: MEASURED, expected: MEASURED, unit })
            .collect(),
        baseline: 1.0,
        rul: Rul::None { reason: "trend_not_identifiable".to_owned() },
        indicators: channels()
            .map(|(channel, unit)| Indicator {
                channel,
                unit,
                count: 1_800,
                mean: MEASURED,
                variance: MEASURED,
                skewness: Some(MEASURED),
                kurtosis: Some(MEASURED),
                min: MEASURED,
                max: MEASURED,
                rms: MEASURED,
                slope: Some(MEASURED),
            })
            .collect(),
        flags: Vec::new(),
        release: None,
        rul_contributions: Vec::new(),
        life: Some(1),
        age: Some(1e8 + MEASURED),
    };
    enveloped(identity, Lane::Health, json::encode(&health).ok())
}

fn evidence_bytes(identity: &Identity, name: &Name) -> u64 {
    let spectrum = || Spectrum { frequencies: vec![1_234.0; MAX_POINTS], values: vec![0.001_234; MAX_POINTS] };
    let line = |name: &str| Line { name: name.to_owned(), frequency: 123.4, strength: Some(12.34) };
    let evidence = Evidence {
        asset: name.clone(),
        channel: name.clone(),
        time: 1_800_000_000 * SECOND,
        occasion: Occasion::Periodic,
        condition: None,
        occurrence: None,
        rate: 25_600.0,
        unit: "m/s2".to_owned(),
        scale: MEASURED,
        offset: 0.0,
        samples: vec![0; 2 * BLOCK_SAMPLES],
        spectrum: spectrum(),
        envelope: spectrum(),
        band: (3_200.0, 6_400.0),
        joined: BLOCK_SAMPLES as u64,
        lines: ["bpfo", "bpfi", "bsf", "ftf"].into_iter().map(line).collect(),
        speed: Some(24.67),
        speed_assumed: false,
    };
    enveloped(identity, Lane::Evidence, json::encode(&evidence).ok())
}

fn ledger_bytes(identity: &Identity, name: &Name) -> u64 {
    let node = NodeAccount {
        boot: "0123456789abcdef".to_owned(),
        next: 1_000_000,
        received: 1_000_000,
        missing: 0,
        lost: 0,
        missing_ranges: Vec::new(),
    };
    let entry = LedgerEntry {
        asset: name.clone(),
        quarantined: false,
        at: 1_800_000_000 * SECOND,
        frames: 1_000_000,
        readings: Tally { received: 1_000_000, used: 1_000_000, ..Tally::default() },
        nodes: vec![node],
        retired_received: 0,
        retired_missing: 0,
    };
    enveloped(identity, Lane::Ledger, json::encode(&entry).ok())
}

fn enveloped(identity: &Identity, lane: Lane, body: Option<String>) -> u64 {
    let body = body.and_then(|text| serde_json::value::RawValue::from_string(text).ok());
    let envelope = body.map(|body| Envelope::new(identity, lane, 1_000_000, &[], body));
    envelope.and_then(|e| e.encode().ok()).map_or(0, |text| text.len() as u64)
}

/// What `check` prints when no rule is broken.
pub fn describe(config: &Checked) -> String {
    let mut text = format!("{} breaks no rule\n", config.file.display());
    let estimate = estimate(config);
    describe_input(config, &estimate, &mut text);
    describe_output(config, &estimate, &mut text);
    describe_disk(config, &estimate, &mut text);
    describe_broker(&config.mqtt, &estimate, &mut text);
    for note in notes(config) {
        line(&mut text, "note", &note);
    }
    text
}

fn line(text: &mut String, label: &str, content: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {label:<9} {content}");
}

fn title(text: &mut String, title: &str) {
    let _ = writeln!(text, "\n{title}");
}

fn describe_input(config: &Checked, estimate: &Estimate, text: &mut String) {
    let assets = &config.registry.assets;
    let channels: usize = assets.values().map(|a| a.channels.len()).sum();
    title(text, "In");
    line(
        text,
        "agent",
        &format!(
            "{}/{}, MQTT {}:{}, Kafka {}",
            config.site, config.agent, config.mqtt.host, config.mqtt.port, config.kafka.brokers
        ),
    );
    line(
        text,
        "registry",
        &format!(
            "generation {}, {} assets, {} channels",
            config.registry.generation,
            thousands(assets.len() as u64),
            thousands(channels as u64)
        ),
    );
    let mut readings = format!(
        "{} readings in {} frames a day",
        thousands(estimate.readings as u64),
        thousands(estimate.frames as u64)
    );
    if estimate.waveforms > 0.0 {
        let _ = write!(
            readings,
            ", and {} waveform blocks, counted with {BLOCK_SAMPLES} samples each",
            thousands(estimate.waveforms as u64)
        );
    }
    if estimate.assumed_channels > 0 {
        let _ = write!(
            readings,
            "; {} channels have no interval and are counted with {ASSUMED_INTERVAL} s (waveforms {ASSUMED_WAVEFORM} s)",
            thousands(estimate.assumed_channels as u64)
        );
    }
    line(text, "expected", &readings);
    for template in &config.mqtt.foreign {
        line(
            text,
            "foreign",
            &format!("{}: only the broker's word stands for these; what it drops is not sent again", template.topic),
        );
    }
}

fn describe_output(config: &Checked, estimate: &Estimate, text: &mut String) {
    let engine = &config.engine;
    title(text, "To Kafka, a day, before compression");
    let publish = show_duration(Duration::from_micros(engine.publish.unsigned_abs()));
    line(
        text,
        "health",
        &format!("{}, one record per asset each {publish} and on each change of verdict", size(estimate.health_bytes)),
    );
    let interval = show_duration(config.ledger_interval);
    line(
        text,
        "ledger",
        &format!("{}, one entry per asset each {interval} if it changed", size(estimate.ledger_bytes)),
    );
    if estimate.waveforms > 0.0 {
        let publish = show_duration(Duration::from_micros(engine.waveform_publish.unsigned_abs()));
        line(
            text,
            "evidence",
            &format!(
                "{}, one block with its spectra per waveform channel each {publish} and for each alarm",
                size(estimate.evidence_bytes)
            ),
        );
    }
    let assets = config.registry.assets.len() as f64;
    let alarms = assets * engine.false_alarms_per_asset_month;
    line(
        text,
        "alerts",
        &format!(
            "about {alarms:.1} false alarms a month over all assets, as asked for ({} per asset)",
            engine.false_alarms_per_asset_month
        ),
    );
    let total = estimate.health_bytes + estimate.ledger_bytes + estimate.evidence_bytes;
    let mut without = format!("{} in all", size(total));
    if total > 0.0 {
        let days = config.outbox.max_bytes as f64 / total;
        let _ = write!(
            without,
            "; without Kafka the outbox ({}) lasts {}, then aggregates are thinned",
            show_size(config.outbox.max_bytes),
            days_text(days)
        );
    }
    line(text, "total", &without);
}

fn describe_disk(config: &Checked, estimate: &Estimate, text: &mut String) {
    let journal = &config.journal;
    title(text, "To disk, a day");
    line(
        text,
        "raw",
        &format!(
            "{}, kept for replay up to {} and {}",
            size(estimate.raw_bytes),
            show_size(journal.keep_bytes),
            show_duration(journal.keep)
        ),
    );
    if estimate.raw_bytes > 0.0 {
        let days = (journal.keep_bytes as f64 / estimate.raw_bytes).min(journal.keep.as_secs_f64() / 86_400.0);
        line(text, "replay", &format!("reaches back {}", days_text(days)));
    }
    line(
        text,
        "written",
        &format!(
            "{} with {} commits (at most {} or {} messages apart; {} of pages for each)",
            size(estimate.disk_bytes),
            thousands(estimate.commits as u64),
            show_duration(journal.commit_interval),
            thousands(journal.batch as u64),
            show_size(COMMIT_PAGES)
        ),
    );
    if estimate.waveforms > 0.0 {
        line(text, "evidence", &format!("raw blocks around alarms, at most {}", show_size(config.evidence_bytes)));
    }
    let step = Duration::from_micros(config.engine.rul_step.unsigned_abs());
    let steps = config.registry.assets.len() as f64 * 86_400.0 / step.as_secs_f64();
    // A value is a 32-bit float; number and end of a step take some five bytes.
    let wide = |a: &AssetSpec| 4.0 * derived::channels(a).len() as f64 + 5.0;
    let bytes = config.registry.assets.values().map(wide).sum::<f64>() * 86_400.0 / step.as_secs_f64();
    let reach =
        if bytes > 0.0 { days_text(config.lives_bytes as f64 / bytes) } else { "as long as it takes".to_owned() };
    line(
        text,
        "lives",
        &format!(
            "{} in {} steps of {} over all machines that run, kept for learning up to {}: {reach}",
            size(bytes),
            thousands(steps as u64),
            show_duration(step),
            show_size(config.lives_bytes)
        ),
    );
    line(text, "store", &format!("{}, at most {}", config.store.display(), show_size(journal.max_bytes)));
}

/// What mosquitto keeps for a queued message beside its payload, in bytes of memory (measured, 2.0.11).
const BROKER_OVERHEAD: f64 = 360.0;
/// The queue to give the broker, in bytes. It counts payloads only, and memory bounds it: see `deploy/mosquitto`.
const QUEUED: u64 = 64 << 20;

/// The broker's settings with their reasons, in mosquitto's words.
fn broker_settings(mqtt: &MqttConfig, estimate: &Estimate) -> Vec<(String, String)> {
    let queued = QUEUED as f64 / estimate.payload_bytes.max(1.0);
    let memory = size(QUEUED as f64 + queued * (estimate.frames + estimate.waveforms) * BROKER_OVERHEAD);
    let expiry = show_duration(mqtt.session_expiry);
    let (receive, packet) = (mqtt.receive_maximum, show_size(u64::from(mqtt.max_packet)));
    let settings = [
        ("max_queued_messages 0".to_owned(), "the default, 1000, drops QoS 1 messages while we are slow or away, acknowledged ones too".to_owned()),
        (format!("max_queued_bytes {QUEUED}"), format!("bounds that queue in bytes of payload instead; holds {} of this registry in {memory} of memory; raise it where there is memory", days_text(queued))),
        ("max_inflight_messages 0".to_owned(), format!("the default, 20, makes it wait for us; our Receive Maximum of {receive} is the bound")),
        (format!("message_size_limit {MAX_FRAME}"), format!("the largest frame; larger messages are not even stored (we announce packets of {packet})")),
        ("persistence true".to_owned(), "else a restart of the broker forgets our session and all that waits in it".to_owned()),
        ("autosave_interval 60".to_owned(), "what it saved last is what it still has after a crash; nodes send the rest again".to_owned()),
        ("persistent_client_expiration".to_owned(), format!("leave it out or write at least {expiry}: so long our session may wait (mqtt.session_expiry_s)")),
        ("set_tcp_nodelay false".to_owned(), "true ends the stall of a publisher that waits on a full window (4,500 messages/s) and costs every subscriber 30-40 %".to_owned()),
    ];
    settings.into()
}

fn describe_broker(mqtt: &MqttConfig, estimate: &Estimate, text: &mut String) {
    title(text, "What the MQTT broker must be told (mosquitto's words; deploy/ ships them)");
    for (setting, why) in broker_settings(mqtt, estimate) {
        let _ = writeln!(text, "  {setting:<29} {why}");
    }
    let _ = writeln!(
        text,
        "  A broker's acknowledgement proves nothing: nodes keep each frame until we confirm it on .../durable."
    );
}

/// What breaks no rule and still deserves a second thought.
pub fn notes(config: &Checked) -> Vec<String> {
    let mut notes = Vec::new();
    if config.registry.assets.is_empty() {
        notes.push(match config.engine.unknown {
            UnknownPolicy::Quarantine => {
                "the registry is empty: every asset will be quarantined until it is described or adopted".to_owned()
            }
            UnknownPolicy::Adopt => {
                "the registry is empty: every asset will be adopted as it appears, without units or limits".to_owned()
            }
        });
    }
    if config.mqtt.tls.is_none() && !is_local(&config.mqtt.host) {
        notes.push(format!("MQTT to {} goes over the network without TLS", config.mqtt.host));
    }
    if config.kafka.tls.is_none()
        && !config.kafka.brokers.split(',').all(|b| is_local(b.rsplit_once(':').map_or(b, |(host, _)| host)))
    {
        notes.push(format!("Kafka to {} goes over the network without TLS", config.kafka.brokers));
    }
    let unlimited = config.registry.assets.values().flat_map(|a| a.channels.values()).all(|c| c.limit.is_none());
    if unlimited && !config.registry.assets.is_empty() {
        notes.push("no channel has a limit: there will be no limit alarms and no remaining useful life".to_owned());
    }
    notes
}

fn is_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn size(bytes: f64) -> String {
    show_size(bytes as u64)
}

fn days_text(days: f64) -> String {
    match days {
        d if d < 2.0 => format!("{:.1} hours", d * 24.0),
        d if d < 1_000.0 => format!("{d:.1} days"),
        _ => "for years".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn local() -> Checked {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/local/agent.toml");
        config::load(&file).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn the_local_example_breaks_no_rule_and_is_described() {
        let config = local();
        let text = describe(&config);
        println!("{text}");
        for part in [
            "To Kafka",
            "To disk",
            "max_queued_messages 0",
            "max_inflight_messages 0",
            "persistence true",
            "readings in",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_day_of_bytes_grows_with_what_makes_it() {
        let config = local();
        let base = estimate(&config);
        assert!(base.readings > 0.0 && base.health_bytes > 0.0 && base.raw_bytes > 0.0, "{base:?}");
        let mut often = local();
        often.engine.publish /= 2;
        often.engine.slide /= 2;
        assert!((estimate(&often).health_bytes / base.health_bytes - 2.0).abs() < 1e-9);
        let mut signed = local();
        signed.sign = !config.sign;
        assert!(estimate(&signed).ledger_bytes != base.ledger_bytes);
    }

    #[test]
    fn a_waveform_channel_counts_with_its_blocks_and_its_evidence() {
        let mut config = local();
        let base = estimate(&config);
        assert_eq!((base.waveforms, base.evidence_bytes), (0.0, 0.0));
        let channel = ChannelSpec {
            kind: derived::WAVEFORM_KIND.to_owned(),
            unit: fettle_wire::Unit::from_code("m/s2").unwrap(),
            interval: Some(30.0),
            ..ChannelSpec::adopted()
        };
        let asset = config.registry.assets.values_mut().next().unwrap();
        asset.channels.insert(Name::new("acceleration").unwrap(), channel);
        let day = estimate(&config);
        assert_eq!((day.waveforms, day.readings), (2_880.0, base.readings));
        assert!((day.raw_bytes - base.raw_bytes) / (2_880.0 * BLOCK_BYTES) > 0.99, "{day:?}");
        assert!(day.health_bytes > base.health_bytes && (400_000.0..1e6).contains(&day.evidence_bytes), "{day:?}");
        assert!(describe(&config).contains("2,880 waveform blocks"), "{}", describe(&config));
    }

    #[test]
    fn the_advice_for_the_broker_is_what_deploy_ships() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/mosquitto/mosquitto.conf");
        let shipped = std::fs::read_to_string(shipped).unwrap();
        let lines: Vec<&str> = shipped.lines().map(str::trim).collect();
        let config = local();
        for (setting, _) in broker_settings(&config.mqtt, &estimate(&config)) {
            let known = lines.iter().any(|line| *line == setting || line.starts_with(&format!("{setting} ")));
            assert!(known, "{setting:?} is advised and not shipped");
        }
        assert!(lines.contains(&format!("max_queued_bytes {QUEUED}").as_str()));
    }

    #[test]
    fn the_journal_is_counted_as_it_is_packed() {
        let config = local();
        let (alone, together) = (batch_bytes(&config, 1.0, 1.0), batch_bytes(&config, 100.0, 1.0));
        assert!(together > 20.0 && together < 0.7 * alone, "{together} {alone}");
        let day = estimate(&config);
        assert!(day.disk_bytes > day.raw_bytes && day.payload_bytes > 0.0, "{day:?}");
    }

    #[test]
    fn a_signature_takes_the_bytes_that_are_counted_for_it() {
        let identity = Identity { site: Name::new("a").unwrap(), agent: Name::new("b").unwrap(), incarnation: 1 };
        let body = serde_json::value::RawValue::from_string("{}".to_owned()).unwrap();
        let mut envelope = Envelope::new(&identity, Lane::Health, 1, &[], body);
        let plain = envelope.encode().unwrap().len() as u64;
        envelope.sign(&ed25519_dalek::SigningKey::from_bytes(&[1; 32]));
        let signed = envelope.encode().unwrap().len() as u64;
        assert!(signed - plain <= SIGNATURE && signed - plain > SIGNATURE - 30, "{}", signed - plain);
    }

    #[test]
    fn what_leaves_the_machine_in_the_clear_is_said() {
        let mut config = local();
        assert!(!notes(&config).iter().any(|n| n.contains("TLS")), "loopback needs none");
        config.mqtt.host = "broker.plant".to_owned();
        config.kafka.brokers = "127.0.0.1:9092,kafka.plant:9092".to_owned();
        assert_eq!(notes(&config).iter().filter(|n| n.contains("TLS")).count(), 2);
    }
}
