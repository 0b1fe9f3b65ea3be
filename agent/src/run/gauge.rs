//! What the daemon counts about itself, and the report it publishes: once a second, and where there are so many assets
//! that a report takes long, so much more seldom that reports take no more than one part in [`SHARE`] of the core's time.

use std::sync::Arc;
use std::time::Duration;

use fettle_wire::{Lane, Micros, Tally};
use tokio::sync::watch;

use crate::acquire::FromBroker;
use crate::clock::Clock;
use crate::config::Checked;
use crate::core::{Core, Recovered, lives};
use crate::journal::lmdb::Lmdb;
use crate::journal::snapshot::EventCounts;
use crate::journal::store::Store;
use crate::status::releases::ReleasesStatus;
use crate::status::report::{
    AssetStatus, EventStatus, EvidenceStatus, LaneStatus, LivesStatus, Phase, Quarantined, Report, Spread,
};
use crate::uplink::FromKafka;

/// The least microseconds between reports.
const REFRESH: u64 = 1_000_000;
/// A report that took so long to make is followed by a pause so many times as long.
const SHARE: u64 = 50;
/// Commit durations remembered for the quantiles.
const REMEMBERED: usize = 4096;
/// Microseconds over which the store's growth is measured.
const GROWTH_OVER: u64 = 3_600_000_000;
/// And the least time over which it says anything.
const GROWTH_LEAST: u64 = 60_000_000;

/// Counts, and publishes them.
pub(super) struct Gauge {
    report: Report,
    sender: watch::Sender<Arc<Report>>,
    started: Option<u64>,
    /// When the next report is due.
    due: u64,
    ticked: u64,
    commits: Vec<f64>,
    next_commit: usize,
    /// (monotonic, bytes in use) when the store's growth began to be measured.
    growth: Option<(u64, u64)>,
}

impl Gauge {
    pub(super) fn new(config: &Checked, incarnation: u64) -> Self {
        let mut report = Report::new(config.site.clone(), config.agent.clone(), crate::clock::wall());
        report.incarnation = format!("{incarnation:016x}");
        report.mqtt.broker = format!("{}:{}", config.mqtt.host, config.mqtt.port);
        report.kafka.brokers.clone_from(&config.kafka.brokers);
        report.outbox_max_bytes = config.outbox.max_bytes;
        let (sender, _) = watch::channel(Arc::new(report.clone()));
        Self { report, sender, started: None, due: 0, ticked: 0, commits: Vec::new(), next_commit: 0, growth: None }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Report>> {
        self.sender.subscribe()
    }

    pub(super) fn phase(&mut self, phase: Phase) {
        self.report.phase = phase;
        self.publish();
    }

    fn publish(&mut self) {
        self.sender.send_replace(Arc::new(self.report.clone()));
    }

    pub(super) fn recovered(&mut self, recovered: &Recovered, seconds: f64) {
        self.report.recovery.entries_replayed = recovered.entries;
        self.report.recovery.seconds = seconds;
    }

    pub(super) fn reloaded(&mut self, accepted: bool) {
        let configuration = &mut self.report.configuration;
        configuration.reloads += u64::from(accepted);
        configuration.reload_failures += u64::from(!accepted);
    }

    pub(super) fn tick_due(&mut self, now: u64, every: Duration) -> bool {
        let due = now.saturating_sub(self.ticked) >= every.as_micros() as u64;
        if due {
            self.ticked = now;
        }
        due
    }

    pub(super) fn broker(&mut self, event: &FromBroker) {
        let mqtt = &mut self.report.mqtt;
        match event {
            FromBroker::Messages(messages) => {
                mqtt.received_messages += messages.len() as u64;
                mqtt.received_bytes += messages.iter().map(|m| m.payload.len() as u64).sum::<u64>();
                mqtt.unacknowledged += messages.len() as u64;
            }
            FromBroker::SessionLost => mqtt.session_lost += 1,
            FromBroker::Connected { .. } => {
                mqtt.reconnects += u64::from(mqtt.received_messages > 0 || mqtt.last_error.is_some());
                mqtt.connected = true;
                mqtt.unacknowledged = 0;
                mqtt.last_error = None;
            }
            FromBroker::Disconnected { reason } => {
                mqtt.connected = false;
                mqtt.last_error = Some(reason.clone());
            }
        }
    }

    pub(super) fn acknowledged(&mut self, tickets: usize) {
        self.report.mqtt.acknowledged += tickets as u64;
        self.report.mqtt.unacknowledged = self.report.mqtt.unacknowledged.saturating_sub(tickets as u64);
    }

    pub(super) fn confirmed(&mut self) {
        self.report.durable_confirmations += 1;
    }

    pub(super) fn kafka(&mut self, report: &FromKafka) {
        let kafka = &mut self.report.kafka;
        match report {
            FromKafka::Delivered { .. } => kafka.delivered += 1,
            FromKafka::Failed { reason, .. } => {
                kafka.errors += 1;
                kafka.last_error = Some(reason.clone());
            }
            FromKafka::Connected(connected) => kafka.connected = *connected,
            FromKafka::Command { .. } | FromKafka::Progress { .. } => {}
            FromKafka::Rollout { .. } | FromKafka::Release { .. } => {}
        }
    }

    /// One attempt to commit, from monotonic `began` to `ended`.
    pub(super) fn commit(&mut self, succeeded: bool, began: u64, ended: u64, wall: Micros) {
        self.report.journal.failing = !succeeded;
        if !succeeded {
            return;
        }
        let seconds = ended.saturating_sub(began) as f64 / 1e6;
        if self.commits.len() < REMEMBERED {
            self.commits.push(seconds);
        } else {
            self.commits[self.next_commit] = seconds;
            self.next_commit = (self.next_commit + 1) % REMEMBERED;
        }
        let spread = &mut self.report.journal.commit_seconds;
        spread.count += 1;
        spread.sum += seconds;
        spread.max = spread.max.max(seconds);
        self.report.journal.last_commit = Some(wall);
    }

    /// Publishes a report if one is due; tells then how full the store is, 0..1.
    pub(super) fn refresh(&mut self, core: &Core, store: &Lmdb, clock: &Clock, at_once: bool) -> f64 {
        let now = clock.monotonic();
        let started = *self.started.get_or_insert(now);
        if !at_once && now < self.due {
            return 0.0;
        }
        let arrival = clock.now();
        self.report.at = arrival.wall;
        self.report.clock = arrival.quality;
        self.report.uptime_s = now.saturating_sub(started) as f64 / 1e6;
        self.report.configuration.generation = core.shared().generations;
        self.journal(core, store, now);
        self.outbox(core, now);
        self.accounts(core);
        self.publish();
        self.due = now.saturating_add(pause(clock.monotonic().saturating_sub(now)));
        self.report.journal.store_bytes as f64 / (self.report.journal.store_max_bytes as f64).max(1.0)
    }

    fn journal(&mut self, core: &Core, store: &Lmdb, now: u64) {
        let status = core.journal();
        let (used, max) = store.size();
        let journal = &mut self.report.journal;
        journal.batches = status.batches;
        journal.entries = status.entries;
        journal.bytes = status.position;
        journal.commits = status.commits;
        journal.commit_failures = status.failures;
        journal.snapshot_bytes = status.snapshot_bytes;
        journal.snapshots = status.snapshots;
        journal.store_bytes = used;
        journal.store_max_bytes = max;
        journal.raw_bytes = status.bytes;
        journal.oldest_entry = (status.oldest != 0).then_some(status.oldest);
        let (since, before) = *self.growth.get_or_insert((now, used));
        let (elapsed, grown) = (now.saturating_sub(since), used.saturating_sub(before));
        if elapsed > GROWTH_LEAST {
            let per_day = grown as f64 / elapsed as f64 * 86_400e6;
            journal.days_left = (grown > 0).then(|| max.saturating_sub(used) as f64 / per_day);
        }
        if elapsed > GROWTH_OVER {
            self.growth = Some((now, used));
        }
        journal.commit_seconds = quantiles(&self.commits, &journal.commit_seconds);
    }

    fn outbox(&mut self, core: &Core, now: u64) {
        let outbox = core.outbox();
        self.report.kafka.in_flight = outbox.in_flight() as u64;
        self.report.kafka.lag_records = outbox.len();
        self.report.kafka.lag_oldest_s = outbox.oldest().map(|since| now.saturating_sub(since) as f64 / 1e6);
        for lane in Lane::ALL {
            let s = outbox.status(lane);
            let status = LaneStatus { records: s.records, bytes: s.bytes, sent: s.sent, shed: s.shed };
            self.report.outbox.insert(lane.as_str().to_owned(), status);
        }
        let EventCounts { taken, late, duplicate, refused } = core.shared().events.clone();
        self.report.events = EventStatus { taken, late, duplicate, refused };
        self.report.kafka.commands_applied = core.shared().commands_applied;
        self.report.kafka.commands_refused.clone_from(&core.shared().commands_refused);
    }

    fn accounts(&mut self, core: &Core) {
        let mut total: Tally = core.shared().nameless.clone();
        let mut assets = Vec::new();
        let mut quarantined = Vec::new();
        for (asset, door, waits) in core.accounts() {
            total.add(&door.tally);
            let entry = door.entry(asset, waits, 0);
            let (missing, lost) =
                entry.nodes.iter().fold((entry.retired_missing, 0), |(m, l), n| (m + n.missing, l + n.lost));
            if waits {
                quarantined.push(Quarantined { asset: asset.clone(), readings: door.tally.received });
            }
            assets.push(AssetStatus {
                asset: asset.clone(),
                quarantined: waits,
                frames: door.frames,
                missing,
                lost,
                readings: entry.readings,
            });
        }
        self.report.engine.assets = core.engine().assets().count() as u64;
        self.report.engine.alarms_open = core.engine().alarms_open();
        self.report.engine.evaluations = core.engine().assets().map(|asset| core.engine().evaluations(asset)).sum();
        self.report.engine.quarantined = quarantined;
        self.report.assets = assets;
        self.report.ledger = total;
        let kept = core.evidence();
        self.report.evidence =
            EvidenceStatus { blocks: kept.blocks, bytes: kept.bytes, written: kept.written, given_up: kept.given_up };
        self.report.releases = ReleasesStatus::of(core);
        let lives::LivesStatus { lives, ended, bytes, steps_written, given_up } = core.lives().status();
        self.report.lives = LivesStatus { lives, ended, bytes, steps_written, given_up };
        let journal = core.journal();
        self.report.dead_letters.kept = journal.dead;
        self.report.dead_letters.count = journal.dead_total;
        self.report.dead_letters.dropped = journal.dead_total - journal.dead;
    }
}

/// Microseconds from one report to the next, if it took `took`.
fn pause(took: u64) -> u64 {
    REFRESH.max(took.saturating_mul(SHARE))
}

/// Quantiles of what is remembered; count, sum and maximum as they are.
fn quantiles(remembered: &[f64], spread: &Spread) -> Spread {
    let mut sorted = remembered.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |q: f64| sorted.get(((sorted.len() as f64 * q) as usize).min(sorted.len().saturating_sub(1))).copied();
    Spread { p50: at(0.5).unwrap_or(0.0), p99: at(0.99).unwrap_or(0.0), ..spread.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_each_second_and_never_take_more_than_their_share() {
        assert_eq!([pause(0), pause(20_000), pause(30_000)], [REFRESH, REFRESH, 1_500_000]);
        assert_eq!(pause(u64::MAX), u64::MAX);
    }
}
