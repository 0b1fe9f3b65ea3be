//! What the agent says about itself, and the command that shows it to a person.
//!
//! `report` is the picture, `table` lays it out for a terminal, [`fetch`] gets it from the running agent. `status` never
//! opens the store: it works beside the agent, as any user of the machine. `letters` lists the dead letters and does.

pub mod evidence;
pub mod letters;
pub mod lives;
pub mod releases;
pub mod report;
pub mod table;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use report::Report;

/// How long the command waits for the agent.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest report read, in bytes: 10,000 assets take about 3 MB.
const MAX_REPORT: u64 = 64 << 20;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Nobody answers. A retry helps once the agent runs.
    #[error("no agent answers on {address}; is it running, and is this its configuration (http.listen)?")]
    Unreachable {
        /// Where it was sought.
        address: SocketAddr,
        /// What the connection said.
        source: io::Error,
    },
    /// Somebody answers, but not with a report.
    #[error("what answers on {address} is not a fettle-agent of this version")]
    NotAReport {
        /// Where it was sought.
        address: SocketAddr,
        /// What is wrong with the answer.
        source: serde_json::Error,
    },
}

/// Gets the report of the agent that serves on `address`.
pub fn fetch(address: SocketAddr) -> Result<Report, StatusError> {
    let answer = get(address).map_err(|source| StatusError::Unreachable { address, source })?;
    serde_json::from_slice(body(&answer)).map_err(|source| StatusError::NotAReport { address, source })
}

/// One request to our own server, as HTTP/1.0: the answer comes whole and the connection then ends. A client library
/// would be more code than the rest of this command.
fn get(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.take(MAX_REPORT).read_to_end(&mut answer)?;
    Ok(answer)
}

/// What follows the head; nothing where there is no head or it does not say that all went well.
fn body(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n");
    let fine = answer.starts_with(b"HTTP/1.") && answer.get(8..12) == Some(b" 200".as_slice());
    end.filter(|_| fine).map_or(&[], |end| &answer[end + 4..])
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use fettle_wire::time::{DAY, HOUR, SECOND};
    use fettle_wire::{ClockQuality, Lane, Name, ReleaseRef, Tally};

    use super::body;
    use super::releases::{ClassStatus, ReleasesStatus, RunStatus};
    use super::report::*;

    #[test]
    fn only_what_follows_a_good_head_is_a_report() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}"), b"{}");
        for bad in ["HTTP/1.0 404 Not Found\r\n\r\n{}", "HTTP/1.0 200 OK\r\n", "220 smtp ready\r\n\r\n", ""] {
            assert!(body(bad.as_bytes()).is_empty(), "{bad}");
        }
    }

    /// A report with something in every field.
    pub(crate) fn example() -> Report {
        let name = |text| Name::new(text).unwrap();
        let now = 1_795_255_200 * SECOND;
        let tally = Tally {
            received: 1_000_120,
            used: 1_000_000,
            late: 3,
            duplicate: 100,
            rejected: BTreeMap::from([("not_finite".to_owned(), 5), ("out_of_range".to_owned(), 7)]),
            shed: BTreeMap::from([("too_many_assets".to_owned(), 5)]),
        };
        let lane = |records, sent| LaneStatus { records, bytes: records * 700, sent, shed: 0 };
        let mut report = Report::new(name("plant-a"), name("gw-1"), now - 3 * DAY);
        report.incarnation = "00112233445566ff".to_owned();
        report.at = now;
        report.uptime_s = 259_200.0;
        report.phase = Phase::Running;
        report.clock = ClockQuality::Synced;
        report.configuration = ConfigurationStatus { generation: 4, reloads: 1, reload_failures: 0 };
        report.mqtt = MqttStatus {
            broker: "127.0.0.1:1883".to_owned(),
            connected: true,
            received_messages: 250_040,
            received_bytes: 31_000_000,
            acknowledged: 250_028,
            unacknowledged: 12,
            session_lost: 0,
            reconnects: 1,
            last_error: None,
        };
        report.kafka = KafkaStatus {
            brokers: "127.0.0.1:9092".to_owned(),
            connected: false,
            in_flight: 0,
            delivered: 4_000,
            errors: 12,
            lag_records: 812,
            lag_oldest_s: Some(754.0),
            commands_applied: 3,
            commands_refused: BTreeMap::from([("expired".to_owned(), 1)]),
            last_error: Some("all brokers are down".to_owned()),
        };
        report.journal = JournalStatus {
            batches: 90_000,
            entries: 251_000,
            bytes: 40_000_000,
            commits: 90_000,
            commit_failures: 0,
            failing: false,
            commit_seconds: Spread { p50: 0.0021, p99: 0.0084, max: 0.041, sum: 200.0, count: 90_000 },
            last_commit: Some(now - SECOND / 5),
            snapshots: 70,
            snapshot_bytes: 3_000_000,
            store_bytes: 900 << 20,
            store_max_bytes: 4 << 30,
            raw_bytes: 600 << 20,
            oldest_entry: Some(now - 2 * DAY - 5 * HOUR),
            days_left: Some(11.5),
        };
        report.outbox = BTreeMap::from([
            (Lane::Alerts.as_str().to_owned(), lane(2, 10)),
            (Lane::Health.as_str().to_owned(), lane(800, 3_500)),
            (Lane::Ledger.as_str().to_owned(), lane(10, 490)),
            (Lane::Evidence.as_str().to_owned(), lane(0, 24)),
        ]);
        report.outbox_max_bytes = 256 << 20;
        report.ledger = tally.clone();
        report.assets = vec![
            AssetStatus {
                asset: name("pump-1"),
                quarantined: false,
                frames: 250_000,
                missing: 2,
                lost: 1,
                readings: tally,
            },
            AssetStatus {
                asset: name("fan-9"),
                quarantined: true,
                frames: 40,
                missing: 0,
                lost: 0,
                readings: Tally::default(),
            },
        ];
        report.engine = EngineStatus {
            assets: 1,
            quarantined: vec![Quarantined { asset: name("fan-9"), readings: 40 }],
            alarms_open: 1,
            evaluations: 4_320,
        };
        report.dead_letters = DeadLetterStatus { kept: 5, count: 6, dropped: 1 };
        report.evidence = EvidenceStatus { blocks: 12, bytes: 98_304, written: 14, given_up: 2 };
        let release = |version| ReleaseRef { name: name("pump-life"), version, hash: "ab".repeat(32) };
        let run = |version| RunStatus {
            release: release(version),
            inferences: 900,
            seconds: 0.01,
            within_us: vec![(10, 890)],
        };
        let class = ClassStatus {
            active: Some(run(3)),
            shadow: Some(run(4)),
            previous: Some(release(2)),
            compared: 120,
            compared_of: 144,
            agreed: 118,
            refused: Some(("cd".repeat(32), "unknown_key".to_owned())),
        };
        report.releases = ReleasesStatus {
            classes: BTreeMap::from([("pump".to_owned(), class)]),
            wanted: vec!["cd".repeat(32)],
            kept: 3,
            kept_bytes: 700_000,
            taken: 4,
            promoted: 1,
            refused: BTreeMap::from([("unknown_key".to_owned(), 1)]),
            rolled_back: BTreeMap::from([("not_finite".to_owned(), 1)]),
        };
        let refused = BTreeMap::from([("life_over".to_owned(), 1)]);
        report.events = EventStatus { taken: 3, late: 1, duplicate: 2, refused };
        report.lives = LivesStatus { lives: 4, ended: 3, bytes: 65_536, steps_written: 900, given_up: 1 };
        report.recovery = RecoveryStatus { entries_replayed: 312, seconds: 0.021 };
        report.durable_confirmations = 80_000;
        report
    }
}
