//! The catalogue: every metric and every log event of the agent. docs/metrics.md is generated from it.
//!
//! Naming rule. Metrics: `fettle_agent_<room>_<what>_<unit>`, lower case; the unit is the SI base unit or `bytes`, in the
//! plural, and is left out for plain counts; counters end in `_total`; labels only where their values are few and known
//! (reason, lane), never an asset's name: that is what the ledger on Kafka and `/status` are for. Log events: the field
//! `event = "<room>.<what happened>"`, past tense.
//!
//! Metrics are read from a [`Report`], so that there is one account of the agent and not two; nothing registers, nothing
//! is global. A counter falls back to 0 with the process where the report says "since start".

mod metrics;

use std::fmt::Write as _;

pub use metrics::METRICS;

use crate::status::report::Report;

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, and falls to 0 with a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Quantiles with sum and count.
    Summary,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
        }
    }
}

/// One metric.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// One sentence for people.
    pub help: &'static str,
    read: Read,
}

enum Read {
    One(fn(&Report) -> f64),
    Many(fn(&Report, &mut Samples)),
}

impl Metric {
    fn samples(&self, report: &Report) -> Vec<Sample> {
        let mut samples = Samples::default();
        match self.read {
            Read::One(read) => samples.push("", Vec::new(), read(report)),
            Read::Many(read) => read(report, &mut samples),
        }
        samples.0
    }
}

/// The samples of one metric.
#[derive(Default)]
struct Samples(Vec<Sample>);

struct Sample {
    suffix: &'static str,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

impl Samples {
    fn push(&mut self, suffix: &'static str, labels: Vec<(&'static str, String)>, value: f64) {
        self.0.push(Sample { suffix, labels, value });
    }
}

/// The report as Prometheus text exposition, format 0.0.4.
pub fn exposition(report: &Report) -> String {
    let mut text = String::with_capacity(16 * 1024);
    for metric in METRICS {
        let Metric { name, kind, help, .. } = metric;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
        for Sample { suffix, labels, value } in metric.samples(report) {
            let _ = write!(text, "{name}{suffix}");
            for (i, (label, content)) in labels.iter().enumerate() {
                let open = if i == 0 { '{' } else { ',' };
                let _ = write!(text, "{open}{label}=\"{}\"", escape(content));
            }
            let close = if labels.is_empty() { "" } else { "}" };
            let _ = writeln!(text, "{close} {value}");
        }
    }
    text
}

fn escape(content: &str) -> String {
    content.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// One log event.
pub struct LogEvent {
    /// The value of the field `event`.
    pub name: &'static str,
    /// The level it is logged at.
    pub level: &'static str,
    /// What happened and, where somebody must act, what to do.
    pub meaning: &'static str,
}

const fn event(name: &'static str, level: &'static str, meaning: &'static str) -> LogEvent {
    LogEvent { name, level, meaning }
}

/// Every log event.
#[rustfmt::skip] // A table: one line an event.
pub static EVENTS: &[LogEvent] = &[
    event("agent.started", "info", "The agent runs; `site`, `agent`, `incarnation` and `version` say who."),
    event("agent.stopped", "info", "Clean stop: the snapshot is written and everything acknowledged is on disk."),
    event("log.suppressed", "info", "Lines from one place in the code were left out because they came too often; `count` says how many."),
    event("http.listening", "info", "Metrics, health and status are served at `address`."),
    event("http.failed", "error", "The server of metrics and status ended; ingest goes on. Restart the agent at a good moment."),
    event("config.reloaded", "info", "A new configuration was checked, journaled as `generation` and taken over."),
    event("config.refused", "error", "A reload found broken rules; the old configuration runs on. `fettle-agent check` lists them."),
    event("config.needs_restart", "warn", "A reload changed `key`, which is taken over only by a restart."),
    event("store.opened", "info", "The store is open; `incarnation` and `store_version` say which."),
    event("store.migrated", "info", "The store was of version `from` and was copied to version `to`; the old file is kept as data.mdb.replaced."),
    event("store.replaced", "warn", "A restored backup takes the store's place; the old file is kept as data.mdb.replaced."),
    event("store.not_replaced", "warn", "SIGUSR1 came, but no restored backup waits in the store; use `fettle-agent restore`."),
    event("store.recovered", "info", "Entries after the last snapshot were replayed; `entries` and `seconds` say how many and how long."),
    event("store.commit_failed", "error", "A commit failed and is tried again whole; nothing is acknowledged meanwhile. Look at the disk."),
    event("store.commit_resumed", "info", "Commits succeed again."),
    event("store.trimmed", "warn", "The store is nearly full and gave raw entries up before journal.keep and journal.keep_bytes ask for it; raise journal.max_bytes or lower journal.keep_bytes."),
    event("store.trouble", "warn", "A record could not be read, or no room could be made; `error` says why. At level error a record is lost or the store is full."),
    event("mqtt.connected", "info", "Connected to the broker; `session_present` says whether it kept our session."),
    event("mqtt.disconnected", "warn", "The connection to the broker ended; it is made again with back-off."),
    event("mqtt.session_lost", "warn", "The broker no longer knew our session; frames that it held are gone and nodes send again what is not confirmed durable."),
    event("mqtt.refused", "error", "The broker refused a subscription or connection; check credentials and its access list."),
    event("kafka.connected", "info", "A Kafka broker answers."),
    event("kafka.trouble", "warn", "The connection to Kafka cannot be made: credentials, certificate or name, with what to check."),
    event("kafka.disconnected", "warn", "No Kafka broker answers; records wait in the outbox."),
    event("release.wanted", "info", "A class of machines here is to run the release with content hash `hash`; its file is looked for on Kafka."),
    event("release.arrived", "info", "The file of release `hash` was found and a child process could open it."),
    event("release.refused", "warn", "Release `hash` is not taken; `reason` and `why` say what is wrong with it. What ran runs on."),
    event("kafka.delivery_failed", "warn", "A record was not delivered and is tried again."),
];

/// docs/metrics.md.
pub fn document() -> String {
    let mut text = String::from(
        "# Metrics and log events of fettle-agent\n\n\
         Generated from `agent/src/events.rs`; a test compares. To write it anew: `FETTLE_WRITE_DOCS=1 cargo test -p fettle-agent events`.\n\n\
         Metrics are served on `http.listen` at `/metrics` as Prometheus text. Names follow one rule: \
         `fettle_agent_<room>_<what>_<unit>`, counters end in `_total`, labels have few and known values. \
         Per-asset numbers are on the Kafka topic `fettle.ledger` and at `/status`.\n\n\
         ## Metrics\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for Metric { name, kind, labels, help, .. } in METRICS {
        let _ = writeln!(text, "| `{name}` | {} | {} | {help} |", kind.as_str(), labels.join(", "));
    }
    text.push_str(
        "\n## Log events\n\nThe field `event` of a log line. One place in the code writes at most 10 lines in 10 s; \
         what is left out is counted in `log.suppressed`.\n\n| event | level | meaning |\n|---|---|---|\n",
    );
    for LogEvent { name, level, meaning } in EVENTS {
        let _ = writeln!(text, "| `{name}` | {level} | {meaning} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use fettle_wire::Name;

    use super::*;

    #[test]
    fn names_follow_the_rule_and_are_unique() {
        let mut names = BTreeSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(names.insert(name), "{name} twice");
            assert!(name.starts_with("fettle_agent_"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert!(metric.help.ends_with('.'), "{name}");
        }
        let events: BTreeSet<_> = EVENTS.iter().map(|e| e.name).collect();
        assert_eq!(events.len(), EVENTS.len());
    }

    #[test]
    fn samples_carry_exactly_the_labels_of_the_catalogue() {
        let report = crate::status::tests::example();
        for metric in METRICS {
            let samples = metric.samples(&report);
            assert!(!samples.is_empty(), "{} has no sample in the example", metric.name);
            for sample in samples.iter().filter(|s| s.suffix.is_empty()) {
                let labels: Vec<_> = sample.labels.iter().map(|l| l.0).collect();
                assert_eq!(labels, metric.labels, "{}", metric.name);
            }
        }
    }

    #[test]
    fn an_odd_label_value_cannot_break_the_exposition() {
        let mut report = Report::new(Name::new("a").unwrap(), Name::new("b").unwrap(), 0);
        report.ledger.reject("a\"b\\c\nd", 1);
        let text = exposition(&report);
        assert!(text.contains(r#"reason="a\"b\\c\nd"} 1"#), "{text}");
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let (_, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
        }
    }

    #[test]
    fn the_document_says_what_the_catalogue_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        if std::env::var_os("FETTLE_WRITE_DOCS").is_some() {
            fs::write(&path, document()).unwrap();
        }
        assert!(
            fs::read_to_string(&path).unwrap() == document(),
            "docs/metrics.md is not what events.rs says; write it anew"
        );
    }

    /// The source without this room, as one text a file.
    fn sources() -> Vec<(String, String)> {
        let mut texts = Vec::new();
        let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(path) = files.pop() {
            if path.is_dir() {
                files.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            } else if !path.ends_with("events.rs") {
                texts.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
        texts
    }

    #[test]
    fn every_event_in_the_code_is_in_the_catalogue() {
        let known: BTreeSet<_> = EVENTS.iter().map(|e| e.name).collect();
        for (file, text) in sources() {
            for rest in text.split("event = \"").skip(1) {
                let name = rest.split('"').next().unwrap();
                assert!(known.contains(name), "{file} logs {name}, which events.rs does not list");
            }
        }
    }

    #[test]
    fn every_event_in_the_catalogue_is_in_the_code() {
        let sources = sources();
        for LogEvent { name, .. } in EVENTS {
            assert!(sources.iter().any(|(_, text)| text.contains(name)), "{name} is listed and never logged");
        }
    }
}
