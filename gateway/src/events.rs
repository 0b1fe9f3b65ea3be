//! The catalogue: every metric of this daemon, in one table.
//!
//! Naming rule: `fettle_gateway_<what>[_<unit>]`, counters end in `_total`, durations are in seconds, sizes in bytes;
//! labels are closed sets (lane, outcome, partition), never an asset or a person. `gateway/METRICS.md` is made of the
//! table, the dashboard and the rules in `deploy/` may name nothing else; tests compare.
//! Counters count what this process did since its start; gauges named "fleet" tell of the whole fleet and are the same
//! on every instance (in sums over instances take one).

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fettle_wire::Lane;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::clock;
use crate::fleet::changelog::Feed;
use crate::fleet::overview::Overview;
use crate::intake::apply::Outcome;
use crate::status::Shown;

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// As exposed.
    pub name: &'static str,
    /// counter, gauge or histogram.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static str,
    /// What it says, without a full stop.
    pub help: &'static str,
}

const fn entry(name: &'static str, kind: &'static str, labels: &'static str, help: &'static str) -> Entry {
    Entry { name, kind, labels, help }
}

/// Every metric.
pub const CATALOGUE: &[Entry] = &[
    entry("fettle_gateway_build", "gauge", "version", "1, with the version of this build"),
    entry(
        "fettle_gateway_records_total",
        "counter",
        "lane, outcome",
        "Records taken in and committed by this process, by what became of them (applied, duplicate, conflict, rejected)",
    ),
    entry(
        "fettle_gateway_rejected_total",
        "counter",
        "lane, reason",
        "Records that could not be used, by reason; of the lane evidence every instance counts each",
    ),
    entry(
        "fettle_gateway_transactions_total",
        "counter",
        "outcome",
        "Kafka transactions of the intake (committed, failed); a failed one is undone and its records are read again",
    ),
    entry("fettle_gateway_transaction_seconds", "histogram", "", "Duration of a committed transaction"),
    entry(
        "fettle_gateway_intake_restarts_total",
        "counter",
        "",
        "Sessions of the intake that ended with an error and were begun again, waiting for Kafka included",
    ),
    entry(
        "fettle_gateway_intake_running",
        "gauge",
        "",
        "1 if the intake is in the consumer group, with or without partitions",
    ),
    entry("fettle_gateway_partitions_owned", "gauge", "", "Partitions whose records this instance takes in"),
    entry("fettle_gateway_lag_records", "gauge", "topic", "Records of a topic that the group has not taken in yet"),
    entry(
        "fettle_gateway_lag_measured_timestamp_seconds",
        "gauge",
        "",
        "When the lag was last measured, Unix time; 0: never",
    ),
    entry("fettle_gateway_copied_total", "counter", "feed", "Records copied into the local store (fleet, commands)"),
    entry(
        "fettle_gateway_copy_skipped_total",
        "counter",
        "feed",
        "Records of the fleet or commands topic that did not read and were passed over",
    ),
    entry(
        "fettle_gateway_fleet_copied",
        "gauge",
        "",
        "1 if the local copy of the fleet has been read to its end since the start",
    ),
    entry("fettle_gateway_store_bytes", "gauge", "", "Size of the local store on disk"),
    entry("fettle_gateway_fleet_assets", "gauge", "", "Assets known"),
    entry("fettle_gateway_fleet_quarantined", "gauge", "", "Assets that wait for adoption"),
    entry("fettle_gateway_fleet_alarms_open", "gauge", "priority, acknowledged", "Open alarms that are not shelved"),
    entry("fettle_gateway_fleet_alarms_shelved", "gauge", "", "Alarms, open or not, that a person has shelved"),
    entry(
        "fettle_gateway_fleet_conflicts",
        "gauge",
        "",
        "Records with a known id and another content, since the topics' first record",
    ),
    entry(
        "fettle_gateway_fleet_rejected",
        "gauge",
        "",
        "Records that could not be used, since the topics' first record",
    ),
    entry(
        "fettle_gateway_fleet_readings",
        "gauge",
        "outcome",
        "Readings accounted for by the agents (received, used, late, duplicate, rejected, shed)",
    ),
    entry("fettle_gateway_fleet_accounts_unbalanced", "gauge", "", "Accounts whose sums do not balance"),
    entry("fettle_gateway_fleet_frames_missing", "gauge", "", "Frames numbered by nodes and not received"),
    entry(
        "fettle_gateway_fleet_frames_lost",
        "gauge",
        "",
        "Of the missing frames, those that the node no longer holds",
    ),
    entry(
        "fettle_gateway_commands_total",
        "counter",
        "kind, outcome",
        "Commands asked for through this process (sent, already, refused, failed)",
    ),
    entry(
        "fettle_gateway_history_records_total",
        "counter",
        "outcome",
        "Records that the history read, by what became of them (stored, repeated, revised, older_revision, stored_coarse, late_for_good, too_old, impossible_time, crowded, too_many_assets, name_without_room, damaged, unusable, alert, command, evidence, evidence_surplus: more of a channel than are kept, conflict: evidence with a known id and another content)",
    ),
    entry(
        "fettle_gateway_history_given_up_total",
        "counter",
        "what",
        "Points, alerts and evidence given up to stay within history.max_bytes (raw, 1min, 1h, alerts) and history.evidence_bytes (evidence; alarm_evidence: evidence of alarms)",
    ),
    entry(
        "fettle_gateway_history_missed_total",
        "counter",
        "",
        "Records that Kafka deleted before the history read them",
    ),
    entry(
        "fettle_gateway_http_refused_total",
        "counter",
        "reason",
        "Requests turned away before they were looked at (host, foreign, no_token, too_many_failures, role, busy, slow)",
    ),
    entry(
        "fettle_gateway_webhook_notices_total",
        "counter",
        "outcome",
        "Notices to the webhook by what became of each try (sent; failed: tried again; refused: given up)",
    ),
    entry("fettle_gateway_webhook_waiting", "gauge", "", "Notices that wait for the webhook, of the whole fleet"),
    entry(
        "fettle_gateway_webhook_given_up",
        "gauge",
        "",
        "Notices given up because too many of one alarm waited, of the whole fleet",
    ),
    entry("fettle_gateway_history_bytes", "gauge", "", "Bytes of the history in use, at most history.max_bytes"),
    entry("fettle_gateway_history_copied", "gauge", "", "1 if the history has read what Kafka had at the start"),
    entry("fettle_gateway_events_total", "counter", "", "Events made for open pages"),
    entry("fettle_gateway_event_readers", "gauge", "", "Pages that listen to events"),
    entry(
        "fettle_gateway_event_readers_cut_off_total",
        "counter",
        "reason",
        "Pages cut off from their events (slow: they did not take them in time; full: too many listened)",
    ),
    entry("fettle_gateway_http_requests_total", "counter", "status", "Requests answered, by class of status"),
];

type Labels<const N: usize> = [(&'static str, String); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;
type Float = Gauge<f64, AtomicU64>;

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    records: Counters<2>,
    rejected: Counters<2>,
    transactions: Counters<1>,
    transaction_seconds: Histogram,
    intake_restarts: Counter,
    intake_running: Gauge,
    partitions_owned: Gauge,
    lag: Gauges<1>,
    lag_measured: Float,
    copied: Counters<1>,
    copy_skipped: Counters<1>,
    fleet_copied: Gauge,
    store_bytes: Gauge,
    assets: Gauge,
    quarantined: Gauge,
    alarms_open: Gauges<2>,
    alarms_shelved: Gauge,
    conflicts: Gauge,
    fleet_rejected: Gauge,
    readings: Gauges<1>,
    unbalanced: Gauge,
    missing: Gauge,
    lost: Gauge,
    commands: Counters<2>,
    history_records: Counters<1>,
    history_given_up: Counters<1>,
    history_missed: Counter,
    history_bytes: Gauge,
    history_copied: Gauge,
    events: Counter,
    event_readers: Gauge,
    event_readers_cut_off: Counters<1>,
    webhook: Counters<1>,
    webhook_waiting: Gauge,
    webhook_given_up: Gauge,
    refused: Counters<1>,
    requests: Counters<1>,
    said: Mutex<BTreeMap<&'static str, Instant>>,
}

/// The shortest time between two log lines about rejected records of one reason.
const QUIET: Duration = Duration::from_secs(10);

fn number<T: TryInto<i64>>(value: T) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

fn feed_name(feed: Feed) -> String {
    match feed {
        Feed::Fleet => "fleet".into(),
        Feed::Commands => "commands".into(),
    }
}

/// Registers `metric` under its entry in the catalogue.
fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, metric: M) -> M {
    let help = CATALOGUE.iter().find(|e| e.name == name).map_or("", |e| e.help);
    debug_assert!(!help.is_empty(), "{name} is not in the catalogue");
    registry.register(name.strip_suffix("_total").unwrap_or(name), help, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        let build: Gauges<1> = register(r, "fettle_gateway_build", Family::default());
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION").into())]).set(1);
        let seconds = Histogram::new(exponential_buckets(0.01, 2.0, 11));
        let metrics = Self {
            records: register(r, "fettle_gateway_records_total", Family::default()),
            rejected: register(r, "fettle_gateway_rejected_total", Family::default()),
            transactions: register(r, "fettle_gateway_transactions_total", Family::default()),
            transaction_seconds: register(r, "fettle_gateway_transaction_seconds", seconds),
            intake_restarts: register(r, "fettle_gateway_intake_restarts_total", Counter::default()),
            intake_running: register(r, "fettle_gateway_intake_running", Gauge::default()),
            partitions_owned: register(r, "fettle_gateway_partitions_owned", Gauge::default()),
            lag: register(r, "fettle_gateway_lag_records", Family::default()),
            lag_measured: register(r, "fettle_gateway_lag_measured_timestamp_seconds", Float::default()),
            copied: register(r, "fettle_gateway_copied_total", Family::default()),
            copy_skipped: register(r, "fettle_gateway_copy_skipped_total", Family::default()),
            fleet_copied: register(r, "fettle_gateway_fleet_copied", Gauge::default()),
            store_bytes: register(r, "fettle_gateway_store_bytes", Gauge::default()),
            assets: register(r, "fettle_gateway_fleet_assets", Gauge::default()),
            quarantined: register(r, "fettle_gateway_fleet_quarantined", Gauge::default()),
            alarms_open: register(r, "fettle_gateway_fleet_alarms_open", Family::default()),
            alarms_shelved: register(r, "fettle_gateway_fleet_alarms_shelved", Gauge::default()),
            conflicts: register(r, "fettle_gateway_fleet_conflicts", Gauge::default()),
            fleet_rejected: register(r, "fettle_gateway_fleet_rejected", Gauge::default()),
            readings: register(r, "fettle_gateway_fleet_readings", Family::default()),
            unbalanced: register(r, "fettle_gateway_fleet_accounts_unbalanced", Gauge::default()),
            missing: register(r, "fettle_gateway_fleet_frames_missing", Gauge::default()),
            lost: register(r, "fettle_gateway_fleet_frames_lost", Gauge::default()),
            commands: register(r, "fettle_gateway_commands_total", Family::default()),
            history_records: register(r, "fettle_gateway_history_records_total", Family::default()),
            history_given_up: register(r, "fettle_gateway_history_given_up_total", Family::default()),
            history_missed: register(r, "fettle_gateway_history_missed_total", Counter::default()),
            history_bytes: register(r, "fettle_gateway_history_bytes", Gauge::default()),
            history_copied: register(r, "fettle_gateway_history_copied", Gauge::default()),
            events: register(r, "fettle_gateway_events_total", Counter::default()),
            event_readers: register(r, "fettle_gateway_event_readers", Gauge::default()),
            event_readers_cut_off: register(r, "fettle_gateway_event_readers_cut_off_total", Family::default()),
            webhook: register(r, "fettle_gateway_webhook_notices_total", Family::default()),
            webhook_waiting: register(r, "fettle_gateway_webhook_waiting", Gauge::default()),
            webhook_given_up: register(r, "fettle_gateway_webhook_given_up", Gauge::default()),
            refused: register(r, "fettle_gateway_http_refused_total", Family::default()),
            requests: register(r, "fettle_gateway_http_requests_total", Family::default()),
            said: Mutex::default(),
            registry,
        };
        metrics.fill();
        metrics
    }
}

impl Metrics {
    /// Makes every series with a known label appear from the start: a rate needs a first 0.
    fn fill(&self) {
        for lane in Lane::ALL {
            // Evidence is not taken in: the history counts what became of it.
            let taken_in =
                if lane == Lane::Evidence { &[][..] } else { &["applied", "duplicate", "conflict", "rejected"] };
            for outcome in taken_in {
                drop(self.records.get_or_create(&[("lane", lane.as_str().into()), ("outcome", (*outcome).into())]));
            }
            drop(self.rejected.get_or_create(&[("lane", lane.as_str().into()), ("reason", "malformed_json".into())]));
        }
        for outcome in ["committed", "failed"] {
            drop(self.transactions.get_or_create(&[("outcome", outcome.into())]));
        }
        for feed in ["fleet", "commands"] {
            drop(self.copied.get_or_create(&[("feed", feed.into())]));
            drop(self.copy_skipped.get_or_create(&[("feed", feed.into())]));
        }
        for kind in
            ["acknowledge", "shelve", "unshelve", "comment", "label", "adopt", "failed", "replaced", "maintenance_done"]
        {
            for outcome in ["sent", "already", "refused", "failed"] {
                drop(self.commands.get_or_create(&[("kind", kind.into()), ("outcome", outcome.into())]));
            }
        }
        for outcome in ["stored", "repeated", "revised", "unusable", "alert", "command", "evidence", "conflict"] {
            drop(self.history_records.get_or_create(&[("outcome", outcome.into())]));
        }
        for what in ["raw", "1min", "1h", "alerts", "evidence", "alarm_evidence"] {
            drop(self.history_given_up.get_or_create(&[("what", what.into())]));
        }
        for reason in ["slow", "full"] {
            drop(self.event_readers_cut_off.get_or_create(&[("reason", reason.into())]));
        }
        for reason in ["host", "foreign", "no_token", "too_many_failures", "role", "busy", "slow"] {
            drop(self.refused.get_or_create(&[("reason", reason.into())]));
        }
        for outcome in ["sent", "failed", "refused"] {
            drop(self.webhook.get_or_create(&[("outcome", outcome.into())]));
        }
        for status in ["2xx", "4xx", "5xx"] {
            drop(self.requests.get_or_create(&[("status", status.into())]));
        }
    }

    /// A transaction of the intake was committed.
    pub fn committed(&self, took: Duration, outcomes: &BTreeMap<(Lane, Outcome), u64>) {
        self.transactions.get_or_create(&[("outcome", "committed".into())]).inc();
        self.transaction_seconds.observe(took.as_secs_f64());
        for ((lane, outcome), count) in outcomes {
            let lane = || ("lane", lane.as_str().to_owned());
            let name = match outcome {
                Outcome::Applied => "applied",
                Outcome::Duplicate => "duplicate",
                Outcome::Conflict => "conflict",
                Outcome::Rejected(reason) => {
                    self.rejected.get_or_create(&[lane(), ("reason", (*reason).into())]).inc_by(*count);
                    "rejected"
                }
            };
            self.records.get_or_create(&[lane(), ("outcome", name.into())]).inc_by(*count);
        }
    }

    /// The history could not use a record of evidence.
    pub fn evidence_rejected(&self, reason: &'static str) {
        let lane = Lane::Evidence.as_str().to_owned();
        self.rejected.get_or_create(&[("lane", lane), ("reason", reason.into())]).inc();
    }

    /// A transaction of the intake failed.
    pub fn transaction_failed(&self) {
        self.transactions.get_or_create(&[("outcome", "failed".into())]).inc();
    }

    /// A session of the intake ended with an error.
    pub fn intake_restarted(&self) {
        self.intake_restarts.inc();
    }

    /// Records were copied.
    pub fn copied(&self, feed: Feed, records: usize) {
        self.copied.get_or_create(&[("feed", feed_name(feed))]).inc_by(records as u64);
    }

    /// A record was passed over.
    pub fn copy_skipped(&self, feed: Feed) {
        self.copy_skipped.get_or_create(&[("feed", feed_name(feed))]).inc();
    }

    /// A command was asked for.
    pub fn command(&self, kind: &'static str, outcome: &'static str) {
        self.commands.get_or_create(&[("kind", kind.into()), ("outcome", outcome.into())]).inc();
    }

    /// The history took records in.
    pub fn history_taken(&self, outcomes: &BTreeMap<&'static str, u64>) {
        for (outcome, count) in outcomes {
            self.history_records.get_or_create(&[("outcome", (*outcome).into())]).inc_by(*count);
        }
    }

    /// The history gave something up to stay within its bytes.
    pub fn history_given_up(&self, what: &BTreeMap<&'static str, u64>) {
        for (what, count) in what {
            self.history_given_up.get_or_create(&[("what", (*what).into())]).inc_by(*count);
        }
    }

    /// Kafka deleted records before the history read them.
    pub fn history_missed(&self, records: u64) {
        self.history_missed.inc_by(records);
    }

    /// Bytes of the history in use.
    pub fn set_history_bytes(&self, bytes: u64) {
        self.history_bytes.set(number(bytes));
    }

    /// An event was made for open pages.
    pub fn event_made(&self) {
        self.events.inc();
    }

    /// A page began to listen, or no longer does.
    pub fn event_reader(&self, change: i64) {
        self.event_readers.inc_by(change);
    }

    /// A page was cut off from its events.
    pub fn event_reader_cut_off(&self, reason: &'static str) {
        self.event_readers_cut_off.get_or_create(&[("reason", reason.into())]).inc();
    }

    /// How many pages were cut off for `reason`.
    pub fn event_readers_cut_off(&self, reason: &'static str) -> u64 {
        self.event_readers_cut_off.get_or_create(&[("reason", reason.into())]).get()
    }

    /// A notice was tried.
    pub fn webhook(&self, outcome: &'static str) {
        self.webhook.get_or_create(&[("outcome", outcome.into())]).inc();
    }

    /// A request was turned away.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason.into())]).inc();
    }

    /// A request was answered.
    pub fn request(&self, status: u16) {
        self.requests.get_or_create(&[("status", format!("{}xx", status / 100))]).inc();
    }

    /// Logs a record that could not be used, once in a while per reason; all are counted.
    pub fn say_rejected(&self, topic: &str, partition: i32, offset: i64, reason: &'static str) {
        let now = clock::monotonic();
        // A map of instants is whole whatever happened to who held it.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(reason).is_some_and(|then| now.duration_since(*then) < QUIET) {
            return;
        }
        said.insert(reason, now);
        tracing::warn!(topic, partition, offset, reason, "a record could not be used; it is counted and passed");
    }

    /// The text a scraper reads.
    pub fn expose(&self, overview: &Overview, shown: &Shown, store_bytes: u64) -> String {
        self.set_status(shown, store_bytes);
        self.set_fleet(overview);
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn set_status(&self, shown: &Shown, store_bytes: u64) {
        use crate::status::Phase::WaitingForKafka;
        self.intake_running.set(i64::from(shown.intake != WaitingForKafka));
        self.partitions_owned.set(number(shown.partitions.len()));
        self.fleet_copied.set(i64::from(shown.fleet_copied));
        self.history_copied.set(i64::from(shown.history_copied));
        self.store_bytes.set(number(store_bytes));
        self.lag_measured.set(shown.lag.measured_at.unwrap_or(0) as f64 / 1e6);
        let mut lag = BTreeMap::<&str, i64>::new();
        for partition in &shown.lag.partitions {
            *lag.entry(&partition.topic).or_default() += partition.lag;
        }
        for (topic, records) in lag {
            self.lag.get_or_create(&[("topic", topic.into())]).set(records);
        }
    }

    fn set_fleet(&self, overview: &Overview) {
        self.assets.set(number(overview.assets.len()));
        self.quarantined.set(number(overview.assets.iter().filter(|a| a.quarantined).count()));
        self.conflicts.set(number(overview.conflicts()));
        let rejected = overview.records.iter().flat_map(|r| r.rejected.values());
        self.fleet_rejected.set(number(rejected.fold(0, |sum: u64, n| sum.saturating_add(*n))));
        self.set_alarms(overview);
        self.webhook_waiting.set(number(overview.notices_waiting));
        self.webhook_given_up.set(number(overview.notices_given_up));
        let totals = &overview.totals;
        let tally = &totals.readings;
        for (outcome, count) in [
            ("received", tally.received),
            ("used", tally.used),
            ("late", tally.late),
            ("duplicate", tally.duplicate),
            ("rejected", tally.rejected.values().fold(0, |sum, n| sum.saturating_add(*n))),
            ("shed", tally.shed.values().fold(0, |sum, n| sum.saturating_add(*n))),
        ] {
            self.readings.get_or_create(&[("outcome", outcome.into())]).set(number(count));
        }
        self.unbalanced.set(number(totals.unbalanced));
        self.missing.set(number(totals.missing));
        self.lost.set(number(totals.lost));
    }

    fn set_alarms(&self, overview: &Overview) {
        use fettle_wire::Priority::{Critical, High, Low, Medium};
        self.alarms_shelved.set(number(overview.alarms.iter().filter(|a| a.shelved_until.is_some()).count()));
        for (priority, name) in [(Low, "low"), (Medium, "medium"), (High, "high"), (Critical, "critical")] {
            for acknowledged in [false, true] {
                let open = overview.alarms.iter().filter(|a| {
                    let waits = crate::commands::is_unacknowledged(a.state);
                    a.open && a.shelved_until.is_none() && a.priority == priority && waits != acknowledged
                });
                let labels = [("priority", name.into()), ("acknowledged", acknowledged.to_string())];
                self.alarms_open.get_or_create(&labels).set(number(open.count()));
            }
        }
    }
}

/// The catalogue as a Markdown page.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics of fettle-gateway\n\nMade of the catalogue in `gateway/src/events.rs`; a test compares.\n\n\
         | metric | kind | labels | what it says |\n|---|---|---|---|\n",
    );
    for Entry { name, kind, labels, help } in CATALOGUE {
        text.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::status::{Lag, PartitionLag};

    fn exposed() -> String {
        let partition =
            PartitionLag { topic: "fettle.alerts".into(), partition: 0, committed: Some(1), end: 3, lag: 2 };
        let lag = Lag { measured_at: Some(1), error: None, total: 2, partitions: vec![partition] };
        let shown = Shown { lag, ..Shown::default() };
        Metrics::default().expose(&Overview::default(), &shown, 1)
    }

    #[test]
    fn what_is_exposed_is_the_catalogue_and_nothing_else() {
        let text = exposed();
        let mut found = BTreeSet::new();
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(name);
            found.insert(base.to_owned());
        }
        let catalogue: BTreeSet<String> = CATALOGUE.iter().map(|e| e.name.to_owned()).collect();
        assert_eq!(found, catalogue);
    }

    #[test]
    fn names_follow_the_rule() {
        for Entry { name, kind, .. } in CATALOGUE {
            assert!(name.starts_with("fettle_gateway_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == "counter", "{name}");
        }
    }

    fn compare(path: &str, expected: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("FETTLE_WRITE_DOCS").is_some() {
            std::fs::write(&path, expected).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, expected, "{} is old: run this test once with FETTLE_WRITE_DOCS=1", path.display());
    }

    #[test]
    fn the_documentation_is_the_catalogue() {
        compare("METRICS.md", &markdown());
    }

    fn names_in(path: &str) -> BTreeSet<String> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path);
        let text = std::fs::read_to_string(&path).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|w| w.starts_with("fettle_gateway_")).map(str::to_owned).collect()
    }

    #[test]
    fn dashboard_and_rules_name_only_what_is_exposed() {
        for file in ["grafana/fettle.json", "prometheus/fettle.rules.yml"] {
            let names = names_in(file);
            assert!(!names.is_empty(), "{file} names no metric");
            for name in names {
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(&name);
                assert!(CATALOGUE.iter().any(|e| e.name == base), "{file} names {name}, which is not exposed");
            }
        }
    }

    #[test]
    fn every_rule_has_its_entry_in_the_runbook() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let rules = std::fs::read_to_string(root.join("deploy/prometheus/fettle.rules.yml")).unwrap();
        let book = std::fs::read_to_string(root.join("docs/runbook-gateway.md")).unwrap();
        let alerts: Vec<&str> = rules.lines().filter_map(|l| l.trim().strip_prefix("- alert: ")).collect();
        assert!(!alerts.is_empty());
        for alert in alerts.into_iter().filter(|alert| alert.starts_with("FettleGateway")) {
            assert!(book.contains(&format!("## {alert}\n")), "docs/runbook-gateway.md has no entry for {alert}");
        }
    }
}
