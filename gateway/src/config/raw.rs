//! The configuration as typed: shape and types only. Every key is optional here; rules live in `checked`.
//!
//! The TOML table is walked by hand rather than deserialised, because a deserialiser stops at the first mistake and a
//! person wants all of them. What is left in a table after its keys were taken is unknown, and refused.

use std::time::Duration;

use toml::{Table, Value};

use super::error::Problem;

/// As typed.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) listen: Option<String>,
    pub(super) store: Option<String>,
    pub(super) instance: Option<String>,
    pub(super) kafka: RawKafka,
    pub(super) batch: Option<i64>,
    pub(super) interval: Option<Duration>,
    pub(super) history: RawHistory,
    pub(super) partitions: Option<i64>,
    pub(super) replication: Option<i64>,
    pub(super) signatures_required: Option<bool>,
    pub(super) keys: Vec<RawKey>,
    pub(super) tls: Option<RawTls>,
    pub(super) access: RawAccess,
    pub(super) webhook: Option<RawWebhook>,
}

#[derive(Debug, Default)]
pub(super) struct RawWebhook {
    pub(super) url: Option<String>,
    pub(super) token_file: Option<String>,
    pub(super) priority: Option<String>,
    pub(super) page: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct RawAccess {
    pub(super) token_file: Option<String>,
    pub(super) hosts: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct RawHistory {
    pub(super) raw: Option<Duration>,
    pub(super) minutes: Option<Duration>,
    pub(super) hours: Option<Duration>,
    pub(super) alerts: Option<Duration>,
    pub(super) max_bytes: Option<i64>,
    pub(super) evidence_bytes: Option<i64>,
}

#[derive(Debug, Default)]
pub(super) struct RawKafka {
    pub(super) brokers: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) group: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) mechanism: Option<String>,
    pub(super) tls: Option<RawTls>,
}

#[derive(Debug, Default)]
pub(super) struct RawTls {
    pub(super) ca_file: Option<String>,
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
}

#[derive(Debug)]
pub(super) struct RawKey {
    pub(super) at: String,
    pub(super) site: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) public_key: Option<String>,
}

/// Walks the text. `Err` only where it is not TOML at all.
pub(super) fn read(text: &str) -> Result<(Raw, Vec<Problem>), Problem> {
    let table = text.parse::<Table>().map_err(|e| Problem {
        key: "(file)".into(),
        rule: "a configuration is TOML".into(),
        value: e.to_string().trim_end().replace('\n', "\n            "),
        remedy: "correct the line shown; `fettle-gateway check --help` shows a complete example".into(),
    })?;
    let mut problems = Vec::new();
    let mut top = Section { path: String::new(), table, problems: &mut problems };
    let mut raw = Raw { listen: top.text("listen"), store: top.text("store"), ..Raw::default() };
    raw.instance = top.text("instance");
    if let Some(mut kafka) = top.section("kafka") {
        raw.kafka = read_kafka(&mut kafka);
        kafka.finish();
    }
    if let Some(mut intake) = top.section("intake") {
        raw.batch = intake.whole("batch");
        raw.interval = intake.duration("interval");
        intake.finish();
    }
    if let Some(mut history) = top.section("history") {
        raw.history = RawHistory {
            raw: history.duration("raw"),
            minutes: history.duration("minutes"),
            hours: history.duration("hours"),
            alerts: history.duration("alerts"),
            max_bytes: history.whole("max_bytes"),
            evidence_bytes: history.whole("evidence_bytes"),
        };
        history.finish();
    }
    if let Some(mut topics) = top.section("topics") {
        raw.partitions = topics.whole("partitions");
        raw.replication = topics.whole("replication");
        topics.finish();
    }
    if let Some(mut signatures) = top.section("signatures") {
        raw.signatures_required = signatures.flag("required");
        raw.keys = signatures.each("keys", |key| RawKey {
            at: key.path.clone(),
            site: key.text("site"),
            agent: key.text("agent"),
            public_key: key.text("public_key"),
        });
        signatures.finish();
    }
    if let Some(mut tls) = top.section("tls") {
        raw.tls = Some(RawTls { ca_file: None, cert_file: tls.text("cert_file"), key_file: tls.text("key_file") });
        tls.finish();
    }
    if let Some(mut access) = top.section("access") {
        raw.access = RawAccess { token_file: access.text("token_file"), hosts: access.texts("hosts") };
        access.finish();
    }
    if let Some(mut webhook) = top.section("webhook") {
        raw.webhook = Some(RawWebhook {
            url: webhook.text("url"),
            token_file: webhook.text("token_file"),
            priority: webhook.text("priority"),
            page: webhook.text("page"),
        });
        webhook.finish();
    }
    top.finish();
    Ok((raw, problems))
}

fn read_kafka(kafka: &mut Section<'_>) -> RawKafka {
    let mut raw = RawKafka {
        brokers: kafka.text("brokers"),
        prefix: kafka.text("prefix"),
        group: kafka.text("group"),
        username: kafka.text("username"),
        password_file: kafka.text("password_file"),
        mechanism: kafka.text("mechanism"),
        tls: None,
    };
    if let Some(mut tls) = kafka.section("tls") {
        raw.tls = Some(RawTls {
            ca_file: tls.text("ca_file"),
            cert_file: tls.text("cert_file"),
            key_file: tls.text("key_file"),
        });
        tls.finish();
    }
    raw
}

/// One table while its keys are taken out.
struct Section<'p> {
    path: String,
    table: Table,
    problems: &'p mut Vec<Problem>,
}

impl Section<'_> {
    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    fn wrong(&mut self, key: &str, rule: &str, value: &Value, remedy: &str) {
        let key = self.key(key);
        let value = value.to_string();
        self.problems.push(Problem { key, rule: rule.into(), value, remedy: remedy.into() });
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.table.remove(key)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong(key, "a text", &other, "put it in quotation marks");
                None
            }
        }
    }

    fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(value) = self.table.remove(key) else { return Vec::new() };
        let all = value.as_array().map(|items| items.iter().map(|item| item.as_str().map(str::to_owned)));
        match all.and_then(|items| items.collect::<Option<Vec<String>>>()) {
            Some(texts) => texts,
            None => {
                self.wrong(key, "a list of texts", &value, "write [\"one\", \"two\"]");
                Vec::new()
            }
        }
    }

    fn whole(&mut self, key: &str) -> Option<i64> {
        match self.table.remove(key)? {
            Value::Integer(number) => Some(number),
            other => {
                self.wrong(key, "a whole number", &other, "write digits only, without quotation marks");
                None
            }
        }
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        match self.table.remove(key)? {
            Value::Boolean(flag) => Some(flag),
            other => {
                self.wrong(key, "true or false", &other, "write true or false, without quotation marks");
                None
            }
        }
    }

    fn duration(&mut self, key: &str) -> Option<Duration> {
        let value = self.table.remove(key)?;
        let parsed = value.as_str().and_then(parse_duration);
        if parsed.is_none() {
            self.wrong(
                key,
                "a duration with its unit",
                &value,
                "write a number and ms, s, min, h or d, like \"200ms\"",
            );
        }
        parsed
    }

    fn section(&mut self, key: &str) -> Option<Section<'_>> {
        match self.table.remove(key)? {
            Value::Table(table) => {
                let path = self.key(key);
                Some(Section { path, table, problems: self.problems })
            }
            other => {
                self.wrong(
                    key,
                    "a table",
                    &other,
                    &format!("write [{key}] on a line of its own and its keys below it"),
                );
                None
            }
        }
    }

    fn each<T>(&mut self, key: &str, mut read: impl FnMut(&mut Section<'_>) -> T) -> Vec<T> {
        let Some(value) = self.table.remove(key) else { return Vec::new() };
        let Value::Array(items) = value else {
            self.wrong(key, "a list of tables", &value, "write [[signatures.keys]] before each key");
            return Vec::new();
        };
        let mut out = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let name = format!("{key}[{index}]");
            match item {
                Value::Table(table) => {
                    let path = self.key(&name);
                    let mut section = Section { path, table, problems: self.problems };
                    out.push(read(&mut section));
                    section.finish();
                }
                other => self.wrong(&name, "a table", &other, "write { site = .., agent = .., public_key = .. }"),
            }
        }
        out
    }

    /// Refuses what nobody asked for.
    fn finish(self) {
        for (key, value) in &self.table {
            let key = self.key(key);
            self.problems.push(Problem {
                rule: "only known keys".into(),
                value: value.to_string(),
                remedy: "remove it or correct its spelling; `fettle-gateway check --help` lists every key".into(),
                key,
            });
        }
    }
}

/// `200ms`, `10s`, `5min`, `2h`, `7d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let millis: u64 = match text[digits..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}
