//! From publishing the reading that completes a condition to the alert being readable from Kafka.
//!
//! Behind a steady load, machines of one channel each have a minute above their limit on record; then one further reading
//! moves such a machine's watermark past that minute, which raises the alarm. The clock runs from before that reading is
//! written to mosquitto until a consumer of the alerts' topic holds the record. Meanwhile the same disk is asked how long an
//! fdatasync takes, by which the budget is stated.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fettle_wire::time::{MINUTE, SECOND};
use fettle_wire::{ClockQuality, Frame, Micros, topic};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use testbed::{Broker, Folder, Policy, eventually};

use crate::Bench;
use crate::agent::{Agent, Setup};
use crate::clock::{now, pause, pause_until};
use crate::flow::Flow;
use crate::frames::{Packets, registry};
use crate::ingest::{ASSETS, learn, source};
use crate::table::{Row, Table};

/// Alarms behind each load.
const PROBES: usize = 200;
/// Between two of them.
const BETWEEN: Duration = Duration::from_millis(75);
/// Between two measurements of the disk.
const SYNC_EVERY: Duration = Duration::from_millis(100);
/// What the agent may take beyond disk and commit interval, ms; the commit interval, ms.
const BUDGET: (f64, f64) = (20.0, 50.0);
const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn measure(bench: &Bench, table: &mut Table) {
    let broker = Broker::start(&bench.folder, Policy::Shipped);
    for load in &bench.load {
        measure_at(bench, &broker, *load, table);
    }
}

fn measure_at(bench: &Bench, broker: &Broker, load: u64, table: &mut Table) {
    let site = format!("latency-{load}");
    let kafka = bench.kafka();
    let probes = Probes { site: site.clone(), minute: (testbed::clock::wall() - 10 * MINUTE) / MINUTE * MINUTE };
    let setup = Setup { kafka: kafka.clone(), ..Setup::new(&site, broker.port(), probes.registry()) };
    let mut agent = Agent::start(&bench.programs.agent, &bench.folder, &setup);
    agent.await_ready();
    let mut feeder = Flow::to_broker(broker.port(), "feeder");
    let measured = learn(&mut feeder, &source(&site, 5), 1);
    let mut prober = Flow::to_broker(broker.port(), "prober");
    // The first alarm of all creates the topic; it is not measured.
    prober.send(&mut probes.minute_above(0), PATIENCE);
    prober.send(&mut probes.trigger(0), PATIENCE);
    let consumer = Alerts::read(&kafka, &site);
    consumer.await_probe(0);
    for probe in 1..=PROBES {
        prober.send(&mut probes.minute_above(probe), PATIENCE);
    }
    prober.settle();
    let seconds = BETWEEN.as_secs_f64() * (PROBES + 20) as f64;
    let mut background = measured.packets(0, (load as f64 * seconds) as usize);
    let ended = AtomicBool::new(false);
    let (sent, found, syncs, reached) = std::thread::scope(|scope| {
        let disk = scope.spawn(|| fdatasync(&bench.folder, &ended));
        let load = scope.spawn(|| {
            let sent = feeder.pace(&mut background, load as f64);
            sent.frames as f64 / sent.began.elapsed().as_secs_f64()
        });
        let reading = scope.spawn(|| consumer.collect(PROBES, Duration::from_secs_f64(seconds) + PATIENCE));
        let sent = fire(&mut prober, &probes);
        let found = reading.join().expect("the consumer does not panic");
        let reached = load.join().expect("the feeder does not panic");
        ended.store(true, Ordering::Relaxed);
        (sent, found, disk.join().expect("the disk answers"), reached)
    });
    let behind = agent.number("/mqtt/unacknowledged").unwrap_or(f64::NAN);
    let commits = agent.status().unwrap_or_default();
    let took: Vec<f64> =
        sent.iter().filter_map(|(probe, at)| Some(millis(found.get(probe)?.duration_since(*at)))).collect();
    let commit = |q: &str| commits["journal"]["commit_seconds"][q].as_f64().unwrap_or(f64::NAN) * 1e3;
    let what = |what: &str| format!("{what}, behind {reached:.0} frames/s");
    let budget = BUDGET.1 + 2.0 * quantile(&syncs, 0.99) + BUDGET.0;
    let note = format!(
        "{} of {PROBES} alarms; asked for {load} frames/s; {behind:.0} frames unacknowledged at the end",
        took.len()
    );
    table.add(Row::new(what("published to readable, p99"), quantile(&took, 0.99), "ms").at_most(budget).note(note));
    table.add(Row::new(what("published to readable, p50"), quantile(&took, 0.5), "ms"));
    table.add(Row::new(what("fdatasync of the same disk, p99"), quantile(&syncs, 0.99), "ms"));
    table.add(Row::new(what("fdatasync of the same disk, p50"), quantile(&syncs, 0.5), "ms"));
    table.add(Row::new(what("agent's commit, p99"), commit("p99"), "ms"));
    table.add(Row::new(what("agent's commit, p50"), commit("p50"), "ms"));
    agent.process.kill();
}

/// Sends the reading that raises each probe's alarm, at a steady pace; when each was sent.
fn fire(prober: &mut Flow, probes: &Probes) -> BTreeMap<usize, Instant> {
    let began = now();
    let mut sent = BTreeMap::new();
    for probe in 1..=PROBES {
        pause_until(began + BETWEEN * probe as u32);
        let mut trigger = probes.trigger(probe);
        sent.insert(probe, now());
        prober.send(&mut trigger, PATIENCE);
    }
    sent
}

/// Machines with one channel that has a limit.
struct Probes {
    site: String,
    /// Begin of the minute above the limit.
    minute: Micros,
}

impl Probes {
    fn registry(&self) -> String {
        let mut text = registry(ASSETS);
        for probe in 0..=PROBES {
            let name = name(probe);
            text +=
                &format!("[assets.{name}.channels.vibration]\nkind = \"vibration\"\nunit = \"mm/s\"\nlimit = 7.1\n");
        }
        text
    }

    fn frame(&self, probe: usize, sequence: u64, time: Micros, readings: Vec<(u16, i64, f64)>) -> Packets {
        let frame = Frame {
            version: fettle_wire::SCHEMA_VERSION,
            boot: 1,
            sequence,
            oldest: sequence,
            time: Some(time),
            uptime: 1,
            clock: ClockQuality::Synced,
            channels: vec!["vibration"],
            readings,
            flags: Vec::new(),
            waveform: None,
        };
        let mut packets = Packets::default();
        let payload = frame.encode().expect("a frame of numbers is CBOR");
        packets.add(&topic::readings(&self.site, &name(probe)), &payload);
        packets
    }

    fn minute_above(&self, probe: usize) -> Packets {
        let readings = (0..12).map(|i| (0, i * 5 * SECOND, 9.0)).collect();
        self.frame(probe, 0, self.minute, readings)
    }

    /// 66 s after the minute's begin: its end, the 5 s of disorder, and one more.
    fn trigger(&self, probe: usize) -> Packets {
        self.frame(probe, 1, self.minute + 66 * SECOND, vec![(0, 0, 9.0)])
    }
}

fn name(probe: usize) -> String {
    format!("probe-{probe:04}")
}

/// A consumer of one site's alerts.
struct Alerts(BaseConsumer);

impl Alerts {
    fn read(brokers: &str, prefix: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("group.id", "bench").set("enable.auto.commit", "false");
        config.set("fetch.wait.max.ms", "100").set("fetch.error.backoff.ms", "20");
        config.set("topic.metadata.refresh.interval.ms", "1000").set("allow.auto.create.topics", "true");
        let consumer: BaseConsumer = config.create().expect("librdkafka takes these settings");
        let mut from = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let topic = format!("{prefix}.alerts");
            from.add_partition_offset(&topic, partition, Offset::Beginning).expect("the beginning is an offset");
        }
        consumer.assign(&from).expect("partitions can be assigned");
        Self(consumer)
    }

    /// The next alert's probe, if one comes in a moment.
    fn next(&self) -> Option<usize> {
        let record = self.0.poll(Duration::from_millis(20))?.ok()?;
        let key = std::str::from_utf8(record.key()?).ok()?;
        key.rsplit_once("probe-")?.1.parse().ok()
    }

    fn await_probe(&self, probe: usize) {
        eventually("the first alarm is in Kafka", PATIENCE, || match self.next() {
            Some(found) if found == probe => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// When the first record of each probe was in hand, until there are `count` or the time is over.
    fn collect(&self, count: usize, within: Duration) -> BTreeMap<usize, Instant> {
        let (began, mut found) = (now(), BTreeMap::new());
        while found.len() < count && began.elapsed() < within {
            if let Some(probe) = self.next() {
                found.entry(probe).or_insert_with(now);
            }
        }
        found
    }
}

/// How long fdatasync takes after writing a few pages, ms, until it is enough.
fn fdatasync(folder: &Folder, ended: &AtomicBool) -> Vec<f64> {
    let path: &Path = &folder.path().join("fdatasync");
    let mut file = File::create(path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()));
    let mut took = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        file.write_all(&[7; 16 << 10]).expect("there is space on the disk");
        let began = now();
        file.sync_data().expect("the disk takes what it is given");
        took.push(millis(began.elapsed()));
        pause(SYNC_EVERY);
    }
    took
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The value at share `q` of the sorted values; NaN if there are none.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
