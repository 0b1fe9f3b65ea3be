//! The metrics of the catalogue, one a line, in the order in which they are served. Names follow the rule in `events`.

use std::collections::BTreeMap;

use fettle_wire::ClockQuality;
use fettle_wire::time::SECOND;

use super::Kind::{self, Counter, Gauge, Summary};
use super::{Metric, Read, Samples};
use crate::status::releases::RunStatus;
use crate::status::report::{LaneStatus, Report};

/// Every metric.
#[rustfmt::skip] // A table: one line a metric.
pub static METRICS: &[Metric] = &[
    family(Gauge, "fettle_agent_build_info", "Always 1; the labels say which build runs for whom.", &["version", "site", "agent"], |r, s| {
        s.push("", vec![("version", r.version.clone()), ("site", r.site.to_string()), ("agent", r.agent.to_string())], 1.0);
    }),
    gauge("fettle_agent_ready", "1 when frames can be taken: recovered, connected to MQTT, commits succeed.", |r| truth(r.not_ready().is_empty())),
    gauge("fettle_agent_start_time_seconds", "Wall time of the start, seconds since 1970.", |r| r.started as f64 / SECOND as f64),
    gauge("fettle_agent_uptime_seconds", "Time since the start.", |r| r.uptime_s),
    counter("fettle_agent_cpu_seconds_total", "Processor time spent.", |r| r.process.cpu_seconds),
    gauge("fettle_agent_resident_bytes", "Resident memory, the mapped store's pages included.", |r| count(r.process.resident_bytes)),
    gauge("fettle_agent_anonymous_bytes", "Resident memory not backed by a file.", |r| count(r.process.anonymous_bytes)),
    family(Gauge, "fettle_agent_clock_quality", "1 for the quality the wall clock has now, 0 for the others.", &["quality"], |r, s| {
        for (text, quality) in [("synced", ClockQuality::Synced), ("free_running", ClockQuality::FreeRunning), ("unknown", ClockQuality::Unknown)] {
            s.push("", vec![("quality", text.to_owned())], truth(r.clock == quality));
        }
    }),
    gauge("fettle_agent_configuration_generation", "The configuration generation that runs.", |r| count(r.configuration.generation)),
    counter("fettle_agent_reloads_total", "Reloads taken over.", |r| count(r.configuration.reloads)),
    counter("fettle_agent_reload_failures_total", "Reloads refused because the configuration breaks a rule.", |r| count(r.configuration.reload_failures)),
    gauge("fettle_agent_mqtt_connected", "1 while there is a session with the MQTT broker.", |r| truth(r.mqtt.connected)),
    counter("fettle_agent_mqtt_messages_total", "Messages received from the broker.", |r| count(r.mqtt.received_messages)),
    counter("fettle_agent_mqtt_bytes_total", "Payload bytes of those messages.", |r| count(r.mqtt.received_bytes)),
    counter("fettle_agent_mqtt_acknowledged_messages_total", "Messages acknowledged, each after the commit that holds it.", |r| count(r.mqtt.acknowledged)),
    gauge("fettle_agent_mqtt_unacknowledged_messages", "Messages received and not yet acknowledged.", |r| count(r.mqtt.unacknowledged)),
    counter("fettle_agent_mqtt_sessions_lost_total", "Connections at which the broker no longer knew the session.", |r| count(r.mqtt.session_lost)),
    counter("fettle_agent_mqtt_reconnects_total", "Connections to the MQTT broker made again.", |r| count(r.mqtt.reconnects)),
    counter("fettle_agent_durable_confirmations_total", "Durable confirmations published to nodes.", |r| count(r.durable_confirmations)),
    gauge("fettle_agent_kafka_connected", "1 while a Kafka broker answers.", |r| truth(r.kafka.connected)),
    gauge("fettle_agent_kafka_in_flight_records", "Records handed to the producer and not yet reported on.", |r| count(r.kafka.in_flight)),
    counter("fettle_agent_kafka_delivered_records_total", "Records that Kafka reported as delivered.", |r| count(r.kafka.delivered)),
    counter("fettle_agent_kafka_errors_total", "Delivery errors; every record is tried again.", |r| count(r.kafka.errors)),
    gauge("fettle_agent_kafka_lag_records", "Records in the outbox that Kafka does not have yet.", |r| count(r.kafka.lag_records)),
    gauge("fettle_agent_kafka_lag_seconds", "Age of the oldest record in the outbox; 0 when it is empty.", |r| r.kafka.lag_oldest_s.unwrap_or(0.0)),
    counter("fettle_agent_commands_applied_total", "Commands applied.", |r| count(r.kafka.commands_applied)),
    family(Counter, "fettle_agent_commands_refused_total", "Commands refused, by reason.", &["reason"], |r, s| by_reason(&r.kafka.commands_refused, s)),
    counter("fettle_agent_machine_events_taken_total", "Events of machines (failed, replaced, maintenance done) taken.", |r| count(r.events.taken)),
    counter("fettle_agent_machine_events_late_total", "Of those, the ones told after what they are about was final.", |r| count(r.events.late)),
    counter("fettle_agent_machine_events_duplicate_total", "Events of machines known already.", |r| count(r.events.duplicate)),
    family(Counter, "fettle_agent_machine_events_refused_total", "Events of machines that could not be taken, by reason.", &["reason"], |r, s| by_reason(&r.events.refused, s)),
    counter("fettle_agent_journal_batches_total", "Batches stepped through the core.", |r| count(r.journal.batches)),
    counter("fettle_agent_journal_entries_total", "Entries written to the journal.", |r| count(r.journal.entries)),
    counter("fettle_agent_journal_bytes_total", "Bytes of those entries.", |r| count(r.journal.bytes)),
    counter("fettle_agent_journal_commits_total", "Commits that succeeded.", |r| count(r.journal.commits)),
    counter("fettle_agent_journal_commit_failures_total", "Commits that failed; their batch is tried again and nothing is acknowledged meanwhile.", |r| count(r.journal.commit_failures)),
    gauge("fettle_agent_journal_failing", "1 while the last commit failed.", |r| truth(r.journal.failing)),
    family(Summary, "fettle_agent_journal_commit_seconds", "How long a commit takes, the sync to disk included.", &["quantile"], |r, s| {
        let spread = &r.journal.commit_seconds;
        for (quantile, value) in [("0.5", spread.p50), ("0.99", spread.p99), ("1", spread.max)] {
            s.push("", vec![("quantile", quantile.to_owned())], value);
        }
        s.push("_sum", Vec::new(), spread.sum);
        s.push("_count", Vec::new(), count(spread.count));
    }),
    gauge("fettle_agent_journal_last_commit_time_seconds", "Wall time of the last commit, seconds since 1970; 0 before the first.", |r| r.journal.last_commit.unwrap_or(0) as f64 / SECOND as f64),
    counter("fettle_agent_journal_snapshots_total", "Snapshots written.", |r| count(r.journal.snapshots)),
    counter("fettle_agent_journal_snapshot_bytes_total", "Bytes of those snapshots.", |r| count(r.journal.snapshot_bytes)),
    gauge("fettle_agent_store_bytes", "Pages in use in the store.", |r| count(r.journal.store_bytes)),
    gauge("fettle_agent_store_max_bytes", "The store's bound, journal.max_bytes.", |r| count(r.journal.store_max_bytes)),
    gauge("fettle_agent_store_raw_bytes", "Raw entries kept for replay.", |r| count(r.journal.raw_bytes)),
    gauge("fettle_agent_store_days_left", "Days until the store is full if it grows as in the last hour; -1 when it does not grow.", |r| r.journal.days_left.unwrap_or(-1.0)),
    family(Gauge, "fettle_agent_outbox_records", "Records that wait for Kafka, by lane.", &["lane"], |r, s| by_lane(r, s, |lane| lane.records)),
    family(Gauge, "fettle_agent_outbox_bytes", "Bytes of those records.", &["lane"], |r, s| by_lane(r, s, |lane| lane.bytes)),
    gauge("fettle_agent_outbox_max_bytes", "The outbox's bound, outbox.max_bytes.", |r| count(r.outbox_max_bytes)),
    family(Counter, "fettle_agent_outbox_sent_records_total", "Records delivered, by lane.", &["lane"], |r, s| by_lane(r, s, |lane| lane.sent)),
    family(Counter, "fettle_agent_outbox_shed_records_total", "Records dropped to keep the bound, by lane.", &["lane"], |r, s| by_lane(r, s, |lane| lane.shed)),
    counter("fettle_agent_readings_received_total", "Readings that arrived.", |r| count(r.ledger.received)),
    counter("fettle_agent_readings_used_total", "Readings folded into a pane.", |r| count(r.ledger.used)),
    counter("fettle_agent_readings_late_total", "Readings that arrived after their pane was closed for good.", |r| count(r.ledger.late)),
    counter("fettle_agent_readings_duplicate_total", "Readings known already.", |r| count(r.ledger.duplicate)),
    family(Counter, "fettle_agent_readings_rejected_total", "Readings that could not be used, by reason.", &["reason"], |r, s| by_reason(&r.ledger.rejected, s)),
    family(Counter, "fettle_agent_readings_shed_total", "Usable readings dropped to keep a bound, by reason.", &["reason"], |r, s| by_reason(&r.ledger.shed, s)),
    gauge("fettle_agent_readings_balanced", "1 when received = used + late + duplicate + rejected + shed. 0 is a defect.", |r| truth(r.ledger.balances())),
    gauge("fettle_agent_frames_missing", "Sequences of nodes not received (yet).", |r| count(r.assets.iter().map(|a| a.missing).sum())),
    gauge("fettle_agent_frames_lost", "Of those, the ones that their nodes no longer hold.", |r| count(r.assets.iter().map(|a| a.lost).sum())),
    gauge("fettle_agent_engine_assets", "Assets in service.", |r| count(r.engine.assets)),
    gauge("fettle_agent_engine_quarantined_assets", "Assets that wait for adoption.", |r| count(r.engine.quarantined.len() as u64)),
    gauge("fettle_agent_engine_alarms_open", "Alarms raised and not returned.", |r| count(r.engine.alarms_open)),
    counter("fettle_agent_engine_evaluations_total", "Evaluations of assets on their grid.", |r| count(r.engine.evaluations)),
    counter("fettle_agent_dead_letters_total", "Messages put aside because they could not be used.", |r| count(r.dead_letters.count)),
    gauge("fettle_agent_dead_letters_kept", "Of those, the ones kept for inspection.", |r| count(r.dead_letters.kept)),
    counter("fettle_agent_dead_letters_dropped_total", "Of those, the ones dropped to keep the bound.", |r| count(r.dead_letters.dropped)),
    gauge("fettle_agent_evidence_blocks", "Raw waveform blocks kept around alarms.", |r| count(r.evidence.blocks)),
    gauge("fettle_agent_evidence_bytes", "Bytes of those blocks; waveform.evidence_bytes is the bound.", |r| count(r.evidence.bytes)),
    counter("fettle_agent_evidence_written_total", "Such blocks written.", |r| count(r.evidence.written)),
    counter("fettle_agent_evidence_given_up_total", "Of those, the ones given up to keep the bound, oldest first.", |r| count(r.evidence.given_up)),
    gauge("fettle_agent_releases_kept", "Release files on disk.", |r| count(r.releases.kept)),
    gauge("fettle_agent_releases_kept_bytes", "Bytes of those files; releases.max_bytes is the bound.", |r| count(r.releases.kept_bytes)),
    gauge("fettle_agent_releases_wanted", "Release files that are looked for on Kafka.", |r| count(r.releases.wanted.len() as u64)),
    counter("fettle_agent_releases_taken_total", "Releases taken since the store began.", |r| count(r.releases.taken)),
    family(Counter, "fettle_agent_releases_refused_total", "Releases refused since the store began, by reason.", &["reason"], |r, s| by_reason(&r.releases.refused, s)),
    counter("fettle_agent_releases_promoted_total", "Releases promoted out of the shadow since the store began.", |r| count(r.releases.promoted)),
    family(Counter, "fettle_agent_releases_rolled_back_total", "Releases that were taken back since the store began, by reason.", &["reason"], |r, s| by_reason(&r.releases.rolled_back, s)),
    family(Gauge, "fettle_agent_release_info", "1 for each release that runs, active or in shadow, by class.", &["class", "role", "name", "version"], |r, s| {
        by_run(r, |labels, _| s.push("", labels, 1.0));
    }),
    family(Counter, "fettle_agent_release_inferences_total", "Inferences by release since the start.", &["class", "role", "name", "version"], |r, s| {
        by_run(r, |labels, run| s.push("", labels, count(run.inferences)));
    }),
    family(Counter, "fettle_agent_release_inference_seconds_total", "Seconds of those inferences.", &["class", "role", "name", "version"], |r, s| {
        by_run(r, |labels, run| s.push("", labels, run.seconds));
    }),
    family(Counter, "fettle_agent_release_slow_inferences_total", "Of those, the ones that took more than 10 us.", &["class", "role", "name", "version"], |r, s| {
        by_run(r, |labels, run| {
            let within = run.within_us.iter().find(|(bound, _)| *bound == 10).map_or(run.inferences, |(_, n)| *n);
            s.push("", labels, count(run.inferences - within));
        });
    }),
    family(Gauge, "fettle_agent_release_shadow_agreed", "Share of compared steps at which the release in shadow said nearly what the active one said, by class.", &["class"], |r, s| {
        for (class, status) in r.releases.classes.iter().filter(|(_, c)| c.shadow.is_some()) {
            s.push("", vec![("class", class.clone())], count(status.agreed) / count(status.compared.max(1)));
        }
    }),
    gauge("fettle_agent_lives", "Lives of machines kept for learning.", |r| count(r.lives.lives)),
    gauge("fettle_agent_lives_ended", "Of those, the ones that have ended.", |r| count(r.lives.ended)),
    gauge("fettle_agent_lives_bytes", "Bytes of those lives; lives.max_bytes is the bound.", |r| count(r.lives.bytes)),
    counter("fettle_agent_lives_steps_total", "Steps of lives written.", |r| count(r.lives.steps_written)),
    counter("fettle_agent_lives_given_up_total", "Lives given up to keep the bound, ended ones first.", |r| count(r.lives.given_up)),
    gauge("fettle_agent_recovery_replayed_entries", "Entries replayed by the last start.", |r| count(r.recovery.entries_replayed)),
    gauge("fettle_agent_recovery_seconds", "How long that took.", |r| r.recovery.seconds),
];

type Help = &'static str;

const fn counter(name: &'static str, help: Help, read: fn(&Report) -> f64) -> Metric {
    Metric { name, kind: Counter, labels: &[], help, read: Read::One(read) }
}

const fn gauge(name: &'static str, help: Help, read: fn(&Report) -> f64) -> Metric {
    Metric { name, kind: Gauge, labels: &[], help, read: Read::One(read) }
}

const fn family(
    kind: Kind,
    name: &'static str,
    help: Help,
    labels: &'static [&'static str],
    read: fn(&Report, &mut Samples),
) -> Metric {
    Metric { name, kind, labels, help, read: Read::Many(read) }
}

fn count(value: u64) -> f64 {
    value as f64
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn by_run(report: &Report, mut read: impl FnMut(Vec<(&'static str, String)>, &RunStatus)) {
    for (class, status) in &report.releases.classes {
        for (role, run) in [("active", &status.active), ("shadow", &status.shadow)] {
            let Some(run) = run else { continue };
            let (name, version) = (run.release.name.to_string(), run.release.version.to_string());
            read(vec![("class", class.clone()), ("role", role.to_owned()), ("name", name), ("version", version)], run);
        }
    }
}

fn by_reason(counts: &BTreeMap<String, u64>, samples: &mut Samples) {
    for (reason, number) in counts {
        samples.push("", vec![("reason", reason.clone())], count(*number));
    }
}

fn by_lane(report: &Report, samples: &mut Samples, read: fn(&LaneStatus) -> u64) {
    for (lane, status) in &report.outbox {
        samples.push("", vec![("lane", lane.clone())], count(read(status)));
    }
}
