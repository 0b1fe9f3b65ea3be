//! The report: everything the agent says about itself, refreshed once a second by the daemon.
//!
//! Place in the flow: the daemon fills it, `http` serves it as JSON and as metrics (`events` says which field is which
//! metric), `fettle-agent status` prints it. It is a picture, not a memory: nothing in the agent reads it back. Counters
//! are cumulative within the incarnation unless their doc says "since start". Field names are an interface to scripts;
//! new ones are added, none is renamed.

use std::collections::BTreeMap;
use std::fs;

use fettle_wire::{ClockQuality, Micros, Name, Tally};
use serde::{Deserialize, Serialize};

use super::releases::ReleasesStatus;

/// What the daemon is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Opening the store.
    #[default]
    Starting,
    /// Replaying what follows the last snapshot.
    Recovering,
    /// At work.
    Running,
    /// Writing a snapshot, then gone.
    Stopping,
}

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The site.
    pub site: Name,
    /// The agent.
    pub agent: Name,
    /// Random number born with the store, 16 hexadecimal digits.
    pub incarnation: String,
    /// Version of the program.
    pub version: String,
    /// Wall time of this picture.
    pub at: Micros,
    /// Wall time of the start.
    pub started: Micros,
    /// Seconds since the start, by the monotonic clock.
    pub uptime_s: f64,
    /// What the daemon is doing.
    pub phase: Phase,
    /// How far the wall clock is trusted.
    pub clock: ClockQuality,
    /// The configuration that runs.
    #[serde(default)]
    pub configuration: ConfigurationStatus,
    /// The MQTT side.
    #[serde(default)]
    pub mqtt: MqttStatus,
    /// The Kafka side.
    #[serde(default)]
    pub kafka: KafkaStatus,
    /// The journal and its store.
    #[serde(default)]
    pub journal: JournalStatus,
    /// The outbox, by lane: `alerts`, `health`, `ledger`, `evidence`.
    #[serde(default)]
    pub outbox: BTreeMap<String, LaneStatus>,
    /// The most the outbox may hold, in bytes.
    #[serde(default)]
    pub outbox_max_bytes: u64,
    /// What became of every reading, over all assets.
    #[serde(default)]
    pub ledger: Tally,
    /// The same by asset; may be refreshed less often than the rest.
    #[serde(default)]
    pub assets: Vec<AssetStatus>,
    /// The engine.
    #[serde(default)]
    pub engine: EngineStatus,
    /// Messages that could not be used.
    #[serde(default)]
    pub dead_letters: DeadLetterStatus,
    /// Raw waveform samples kept around alarms.
    #[serde(default)]
    pub evidence: EvidenceStatus,
    /// Releases.
    #[serde(default)]
    pub releases: ReleasesStatus,
    /// What became of events of machines, within the incarnation.
    #[serde(default)]
    pub events: EventStatus,
    /// Lives of machines recorded for learning.
    #[serde(default)]
    pub lives: LivesStatus,
    /// The last start's recovery.
    #[serde(default)]
    pub recovery: RecoveryStatus,
    /// Durable confirmations published to nodes, since start.
    #[serde(default)]
    pub durable_confirmations: u64,
    /// The process; filled when the report is served.
    #[serde(default)]
    pub process: ProcessStatus,
}

impl Report {
    /// The report of an agent that begins to start.
    pub fn new(site: Name, agent: Name, started: Micros) -> Self {
        Self {
            site,
            agent,
            incarnation: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: started,
            started,
            uptime_s: 0.0,
            phase: Phase::Starting,
            clock: ClockQuality::Unknown,
            configuration: ConfigurationStatus::default(),
            mqtt: MqttStatus::default(),
            kafka: KafkaStatus::default(),
            journal: JournalStatus::default(),
            outbox: BTreeMap::new(),
            outbox_max_bytes: 0,
            ledger: Tally::default(),
            assets: Vec::new(),
            engine: EngineStatus::default(),
            dead_letters: DeadLetterStatus::default(),
            evidence: EvidenceStatus::default(),
            releases: ReleasesStatus::default(),
            events: EventStatus::default(),
            lives: LivesStatus::default(),
            recovery: RecoveryStatus::default(),
            durable_confirmations: 0,
            process: ProcessStatus::default(),
        }
    }

    /// Why the agent is not ready to take frames; empty when it is. Kafka's absence is normal and not a reason.
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match self.phase {
            Phase::Starting => reasons.push("opening the store".to_owned()),
            Phase::Recovering => reasons.push("replaying the journal".to_owned()),
            Phase::Stopping => reasons.push("stopping".to_owned()),
            Phase::Running => {}
        }
        if !self.mqtt.connected {
            let why = self.mqtt.last_error.as_deref().unwrap_or("no connection yet");
            reasons.push(format!("not connected to the MQTT broker {}: {why}", self.mqtt.broker));
        }
        if self.journal.failing {
            reasons.push("the last commit failed; nothing is acknowledged until one succeeds".to_owned());
        }
        reasons
    }
}

/// Raw waveform samples kept around alarms. Counts are since start.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EvidenceStatus {
    /// Blocks, or runs of joined blocks, on disk.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Written.
    pub written: u64,
    /// Given up, oldest first, to keep waveform.evidence_bytes.
    pub given_up: u64,
}

/// What became of events of machines (failed, replaced, maintenance done).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EventStatus {
    /// Taken.
    pub taken: u64,
    /// Of those, told after what they are about was final.
    pub late: u64,
    /// Known already.
    pub duplicate: u64,
    /// Not taken, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// Lives of machines recorded for learning.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LivesStatus {
    /// Lives kept.
    pub lives: u64,
    /// Of those, the ones that have ended.
    pub ended: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Steps recorded, since start.
    pub steps_written: u64,
    /// Lives given up to keep lives.max_bytes, since start.
    pub given_up: u64,
}

/// The configuration that runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// The generation that the journal holds.
    pub generation: u64,
    /// Reloads taken over, since start.
    pub reloads: u64,
    /// Reloads refused, since start.
    pub reload_failures: u64,
}

/// The MQTT side. Counts are since start.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MqttStatus {
    /// `host:port`.
    pub broker: String,
    /// Whether there is a session.
    pub connected: bool,
    /// Messages received.
    pub received_messages: u64,
    /// Their payloads, in bytes.
    pub received_bytes: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages received and not yet acknowledged.
    pub unacknowledged: u64,
    /// Connections at which the broker no longer knew the session.
    pub session_lost: u64,
    /// Connections made again.
    pub reconnects: u64,
    /// The last error, for people.
    pub last_error: Option<String>,
}

/// The Kafka side. Counts are since start.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct KafkaStatus {
    /// The brokers as configured.
    pub brokers: String,
    /// Whether a broker answers.
    pub connected: bool,
    /// Records handed to the producer and not yet reported on.
    pub in_flight: u64,
    /// Records reported as delivered.
    pub delivered: u64,
    /// Delivery errors; every one is tried again.
    pub errors: u64,
    /// Records in the outbox.
    pub lag_records: u64,
    /// Age of the oldest record in the outbox, s; absent when it is empty.
    pub lag_oldest_s: Option<f64>,
    /// Commands applied, within the incarnation.
    pub commands_applied: u64,
    /// Commands refused, by reason, within the incarnation.
    pub commands_refused: BTreeMap<String, u64>,
    /// The last error, for people.
    pub last_error: Option<String>,
}

/// How long something took, since start.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Spread {
    /// Median, s.
    pub p50: f64,
    /// 99 % quantile, s.
    pub p99: f64,
    /// Largest, s.
    pub max: f64,
    /// Sum, s.
    pub sum: f64,
    /// How many.
    pub count: u64,
}

/// The journal and its store. Counts are since start.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct JournalStatus {
    /// Batches stepped.
    pub batches: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes of those entries.
    pub bytes: u64,
    /// Commits that succeeded.
    pub commits: u64,
    /// Commits that failed; their batch is tried again.
    pub commit_failures: u64,
    /// Whether the last commit failed.
    pub failing: bool,
    /// How long commits took.
    pub commit_seconds: Spread,
    /// Wall time of the last commit.
    pub last_commit: Option<Micros>,
    /// Snapshots written.
    pub snapshots: u64,
    /// Bytes of those snapshots.
    pub snapshot_bytes: u64,
    /// Pages in use in the store, in bytes.
    pub store_bytes: u64,
    /// The store's bound, in bytes.
    pub store_max_bytes: u64,
    /// Raw entries kept for replay, in bytes.
    pub raw_bytes: u64,
    /// Arrival of the oldest of them.
    pub oldest_entry: Option<Micros>,
    /// Days until the store is full if it grows as in the last hour; absent when it does not grow.
    pub days_left: Option<f64>,
}

/// One lane of the outbox.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LaneStatus {
    /// Records that wait.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records delivered, within the incarnation.
    pub sent: u64,
    /// Records dropped to keep the bound, within the incarnation.
    pub shed: u64,
}

/// One asset's account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssetStatus {
    /// The asset.
    pub asset: Name,
    /// Whether it waits for adoption.
    pub quarantined: bool,
    /// Messages received.
    pub frames: u64,
    /// Sequences of its nodes not received (yet).
    pub missing: u64,
    /// Of those, the ones its nodes no longer hold.
    pub lost: u64,
    /// What became of its readings.
    pub readings: Tally,
}

/// The engine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EngineStatus {
    /// Assets in service with state.
    pub assets: u64,
    /// Assets waiting for adoption.
    pub quarantined: Vec<Quarantined>,
    /// Alarms raised and not returned.
    pub alarms_open: u64,
    /// Evaluations of assets on their grid, since start.
    pub evaluations: u64,
}

/// An asset that the registry does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The name under which it sends.
    pub asset: Name,
    /// Readings counted so far.
    pub readings: u64,
}

/// Messages that could not be used.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DeadLetterStatus {
    /// Messages kept for inspection.
    pub kept: u64,
    /// Messages that were ever put there, within the incarnation.
    pub count: u64,
    /// Of those, dropped to keep the bound.
    pub dropped: u64,
}

/// The last start's recovery.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RecoveryStatus {
    /// Entries replayed after the last snapshot.
    pub entries_replayed: u64,
    /// How long it took, s.
    pub seconds: f64,
}

/// The process, as the system sees it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Resident memory, in bytes, the mapped store's pages included.
    pub resident_bytes: u64,
    /// Of that, memory of its own (not backed by a file), in bytes.
    pub anonymous_bytes: u64,
    /// Processor time spent, s.
    pub cpu_seconds: f64,
}

/// Clock ticks a second in /proc/<pid>/stat: USER_HZ, 100 on every Linux this runs on.
const TICKS: f64 = 100.0;

impl ProcessStatus {
    /// Asks the system. What it does not say is 0.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            resident_bytes: kib(&status, "VmRSS:") * 1024,
            anonymous_bytes: kib(&status, "RssAnon:") * 1024,
            cpu_seconds: cpu_ticks(&stat) as f64 / TICKS,
        }
    }
}

fn kib(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// utime + stime, fields 14 and 15 of proc(5); counted after the program's name, which may hold anything.
fn cpu_ticks(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_without_kafka_is_ready_and_one_without_mqtt_is_not() {
        let name = |text| Name::new(text).unwrap();
        let mut report = Report::new(name("a"), name("b"), 0);
        report.phase = Phase::Running;
        report.mqtt.connected = true;
        assert_eq!(report.not_ready(), Vec::<String>::new());
        report.mqtt.connected = false;
        report.mqtt.last_error = Some("connection refused".to_owned());
        assert!(report.not_ready()[0].contains("connection refused"));
    }

    #[test]
    fn a_report_of_an_older_agent_is_read() {
        let text = r#"{"site":"a","agent":"b","incarnation":"0","version":"0.0.9","at":1,"started":0,"uptime_s":1.0,
            "phase":"running","clock":"synced","unheard_of":{}}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert_eq!(report.durable_confirmations, 0);
    }

    #[test]
    fn a_program_named_like_a_number_does_not_shift_the_fields() {
        let stat = "1 (a) 9 9) S 0 0 0 0 0 0 0 0 0 0 250 50 0 0";
        assert_eq!(cpu_ticks(stat), 300);
        assert!(ProcessStatus::read().resident_bytes > 0);
    }
}
