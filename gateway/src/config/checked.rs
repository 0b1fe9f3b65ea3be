//! The configuration as run: every value has passed its rule, every default is filled in.
//!
//! Must never: hold a password (files are named here and read when a client is made), stop at the first problem.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use fettle_wire::record::unhex;
use fettle_wire::topic::KafkaTopics;
use fettle_wire::{Micros, Name, Priority, time};

use super::access;
use super::error::Problem;
use super::raw::{Raw, RawHistory, RawKafka, RawKey, RawTls};
use crate::history::{evidence, keep};

/// As run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API listens; another address than loopback only with TLS and tokens.
    pub listen: SocketAddr,
    /// TLS of the API, where asked for.
    pub tls: Option<ServerTls>,
    /// Who may use it.
    pub access: Access,
    /// Who is told of alarms.
    pub webhook: Option<Webhook>,
    /// The folder of the store.
    pub store: PathBuf,
    /// This instance's name; `None`: made at random at first start and kept in the store.
    pub instance: Option<Name>,
    /// How Kafka is reached.
    pub kafka: Kafka,
    /// How records are taken in.
    pub intake: Intake,
    /// How much of the past is kept.
    pub history: Keep,
    /// What `topics apply` creates.
    pub topics: Topics,
    /// Whose records are believed.
    pub signatures: Signatures,
}

/// How Kafka is reached.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// `host:port`, comma-separated.
    pub brokers: String,
    /// Prefix of all topics: one fleet.
    pub prefix: Name,
    /// Consumer group of all instances of one fleet.
    pub group: String,
    /// SASL, where asked for.
    pub credentials: Option<Credentials>,
    /// TLS, where asked for.
    pub tls: Option<Tls>,
}

impl Kafka {
    /// The fleet's topics.
    pub fn topics(&self) -> KafkaTopics {
        KafkaTopics::new(self.prefix.clone())
    }
}

/// SASL user.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The file that holds the password.
    pub password_file: PathBuf,
    /// The mechanism.
    pub mechanism: Mechanism,
}

/// SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// RFC 7677.
    ScramSha256,
    /// As RFC 7677, with SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// The registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// TLS files.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Who is trusted; the system's certificates if absent.
    pub ca_file: Option<PathBuf>,
    /// Our certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// TLS files of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate with its chain, PEM, own certificate first.
    pub cert_file: PathBuf,
    /// Its key, PEM, PKCS#8, not encrypted.
    pub key_file: PathBuf,
}

/// Who may use the API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// The tokens; `None`: nobody is asked.
    pub token_file: Option<PathBuf>,
    /// Host names under which the API is reached, beside loopback and its own address.
    pub hosts: Vec<String>,
}

/// Who is told of alarms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where to.
    pub url: String,
    /// The file that holds its bearer token.
    pub token_file: Option<PathBuf>,
    /// The least priority that is told.
    pub least: Priority,
    /// Where people see the alarm, without a final slash; may be empty.
    pub page: String,
}

/// How records are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intake {
    /// At most this many records in one transaction.
    pub batch: usize,
    /// A transaction is begun at the latest this long after its first record was read.
    pub interval: Duration,
}

/// How much of the past is kept, in microseconds of event time and in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Records.
    pub raw: Micros,
    /// Points of a minute.
    pub minute: Micros,
    /// Points of an hour, and the audit log.
    pub hour: Micros,
    /// Alerts, and evidence.
    pub alerts: Micros,
    /// All of it.
    pub max_bytes: u64,
    /// Evidence, within all of it.
    pub evidence_bytes: u64,
}

impl Default for Keep {
    fn default() -> Self {
        let (raw, minute, hour, alerts) = (keep::RAW_DAYS, keep::MINUTE_DAYS, keep::HOUR_DAYS, keep::ALERT_DAYS);
        Self { raw, minute, hour, alerts, max_bytes: keep::MAX_BYTES, evidence_bytes: evidence::EVIDENCE_BYTES }
    }
}

/// What `topics apply` creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topics {
    /// Partitions of every topic; equal for all, because the state of a partition lives in the fleet's same partition.
    pub partitions: i32,
    /// Replicas of every partition.
    pub replication: i32,
}

/// Whose records are believed.
#[derive(Debug, Clone, Default)]
pub struct Signatures {
    /// Whether a record without a good signature by a listed key is rejected.
    pub required: bool,
    keys: Vec<((Name, Name), VerifyingKey)>,
}

impl Signatures {
    /// The key of an agent, where one is listed.
    pub fn key(&self, site: &Name, agent: &Name) -> Option<&VerifyingKey> {
        let at = self.keys.binary_search_by(|((s, a), _)| (s, a).cmp(&(site, agent))).ok()?;
        Some(&self.keys[at].1)
    }
}

pub(super) type Problems = Vec<Problem>;

pub(super) fn say(problems: &mut Problems, key: &str, rule: &str, value: &str, remedy: &str) {
    let (key, rule) = (key.into(), rule.into());
    problems.push(Problem { key, rule, value: value.into(), remedy: remedy.into() });
}

/// Applies every rule; `None` where a value without a default is missing or wrong.
pub(super) fn check(raw: Raw, folder: &Path, problems: &mut Problems) -> Option<Config> {
    let is_open = raw.tls.is_some() && raw.access.token_file.is_some();
    let listen = access::check_listen(raw.listen.as_deref().unwrap_or("127.0.0.1:8080"), is_open, problems);
    let tls = access::check_tls(raw.tls, folder, problems);
    let access = access::check_access(raw.access, folder, problems);
    let webhook = access::check_webhook(raw.webhook, folder, problems);
    let store = check_store(raw.store.as_deref(), folder, problems);
    let instance = raw.instance.map(|text| check_name("instance", &text, problems));
    let kafka = check_kafka(raw.kafka, folder, problems);
    let batch = check_range("intake.batch", raw.batch.unwrap_or(1_000), 1, 100_000, problems);
    let interval = check_interval(raw.interval.unwrap_or(Duration::from_millis(200)), problems);
    let history = check_history(&raw.history, problems);
    let partitions = check_range("topics.partitions", raw.partitions.unwrap_or(6), 1, 10_000, problems);
    let replication = check_range("topics.replication", raw.replication.unwrap_or(1), 1, 16, problems);
    let signatures = check_signatures(raw.signatures_required.unwrap_or(false), raw.keys, problems);
    Some(Config {
        listen: listen?,
        tls: tls?,
        access: access?,
        webhook: webhook?,
        store: store?,
        instance: match instance {
            None => None,
            Some(checked) => Some(checked?),
        },
        kafka: kafka?,
        intake: Intake { batch: usize::try_from(batch?).ok()?, interval: interval? },
        history: history?,
        topics: Topics { partitions: i32::try_from(partitions?).ok()?, replication: i32::try_from(replication?).ok()? },
        signatures,
    })
}

fn check_store(text: Option<&str>, folder: &Path, problems: &mut Problems) -> Option<PathBuf> {
    match text {
        Some(text) if !text.is_empty() => Some(folder.join(text)),
        _ => {
            let remedy = "name a folder on a local disk, like \"/var/lib/fettle-gateway\"; it is made if absent";
            say(problems, "store", "required: the folder of the store", text.unwrap_or("nothing"), remedy);
            None
        }
    }
}

fn check_name(key: &str, text: &str, problems: &mut Problems) -> Option<Name> {
    match Name::new(text) {
        Ok(name) => Some(name),
        Err(e) => {
            say(problems, key, &e.to_string(), &format!("{text:?}"), "choose a name like \"gw-a\"");
            None
        }
    }
}

fn check_range(key: &str, value: i64, low: i64, high: i64, problems: &mut Problems) -> Option<i64> {
    if (low..=high).contains(&value) {
        return Some(value);
    }
    let remedy = format!("choose a number from {low} to {high}, or remove the line for the default");
    say(problems, key, &format!("between {low} and {high}"), &value.to_string(), &remedy);
    None
}

fn check_interval(value: Duration, problems: &mut Problems) -> Option<Duration> {
    if (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&value) {
        return Some(value);
    }
    let remedy = "choose a duration like \"200ms\"; a transaction alone takes 105 to 225 ms";
    say(problems, "intake.interval", "between 1ms and 60s", &format!("{value:?}"), remedy);
    None
}

fn check_history(raw: &RawHistory, problems: &mut Problems) -> Option<Keep> {
    let default = Keep::default();
    let mut days = |key: &str, value: Option<Duration>, default: Micros| {
        let Some(value) = value else { return Some(default) };
        let days = i64::try_from(value.as_secs() / 86_400).unwrap_or(i64::MAX);
        check_range(&format!("history.{key} (days)"), days, 1, 36_525, problems).map(|_| days * time::DAY)
    };
    let raw_days = days("raw", raw.raw, default.raw);
    let minute = days("minutes", raw.minutes, default.minute);
    let hour = days("hours", raw.hours, default.hour);
    let alerts = days("alerts", raw.alerts, default.alerts);
    let bytes = raw.max_bytes.unwrap_or(i64::try_from(default.max_bytes).unwrap_or(i64::MAX));
    let bytes = check_range("history.max_bytes", bytes, 16 << 20, 1 << 42, problems);
    let bytes = bytes?;
    let usual = i64::try_from(default.evidence_bytes).unwrap_or(i64::MAX).min(bytes / 4);
    let most = bytes / evidence::MAX_SHARE;
    let share = check_range("history.evidence_bytes", raw.evidence_bytes.unwrap_or(usual), 1 << 20, most, problems);
    let kept = Keep {
        raw: raw_days?,
        minute: minute?,
        hour: hour?,
        alerts: alerts?,
        max_bytes: u64::try_from(bytes).ok()?,
        evidence_bytes: u64::try_from(share?).ok()?,
    };
    if kept.raw > kept.minute || kept.minute > kept.hour {
        let remedy = "keep the coarser points at least as long as the finer ones they are computed from";
        say(problems, "history", "raw <= minutes <= hours", "a finer one is kept longer", remedy);
        return None;
    }
    Some(kept)
}

fn check_kafka(raw: RawKafka, folder: &Path, problems: &mut Problems) -> Option<Kafka> {
    let brokers = check_brokers(raw.brokers.as_deref(), problems);
    let prefix = check_name("kafka.prefix", raw.prefix.as_deref().unwrap_or("fettle"), problems);
    let group = match (&raw.group, &prefix) {
        (None, Some(prefix)) => Some(format!("{prefix}-gateway")),
        (None, None) => None,
        (Some(text), _) => check_name("kafka.group", text, problems).map(|name| name.to_string()),
    };
    let tls = match raw.tls {
        None => Some(None),
        Some(tls) => check_tls(tls, folder, problems).map(Some),
    };
    let credentials = check_credentials(raw.username, raw.password_file, raw.mechanism, folder, problems);
    Some(Kafka { brokers: brokers?, prefix: prefix?, group: group?, credentials: credentials?, tls: tls? })
}

fn check_brokers(text: Option<&str>, problems: &mut Problems) -> Option<String> {
    let good = |broker: &str| {
        broker.trim().rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains("//") && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    match text {
        Some(text) if text.split(',').all(good) => Some(text.to_owned()),
        _ => {
            let remedy = "write \"host:9092\" or \"host1:9092,host2:9092\"";
            say(problems, "kafka.brokers", "required: host:port, comma-separated", text.unwrap_or("nothing"), remedy);
            None
        }
    }
}

fn check_tls(raw: RawTls, folder: &Path, problems: &mut Problems) -> Option<Tls> {
    if !cfg!(feature = "tls") {
        let remedy = "use a package (it has TLS) or build with --features tls; or remove [kafka.tls]";
        say(problems, "kafka.tls", "only in a build with the feature tls", "[kafka.tls]", remedy);
        return None;
    }
    let mut path = |key: &str, text: Option<String>| match text {
        None => Some(None),
        Some(text) => check_file(&format!("kafka.tls.{key}"), &text, folder, problems).map(Some),
    };
    let ca_file = path("ca_file", raw.ca_file);
    let cert_file = path("cert_file", raw.cert_file);
    let key_file = path("key_file", raw.key_file);
    let tls = Tls { ca_file: ca_file?, cert_file: cert_file?, key_file: key_file? };
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        let remedy = "give both for a client certificate, or neither";
        say(problems, "kafka.tls", "cert_file and key_file go together", "one of them", remedy);
        return None;
    }
    Some(tls)
}

pub(super) fn check_file(key: &str, text: &str, folder: &Path, problems: &mut Problems) -> Option<PathBuf> {
    let path = folder.join(text);
    match std::fs::File::open(&path).and_then(|file| file.metadata()) {
        Ok(found) if found.is_file() => Some(path),
        Ok(_) => {
            say(problems, key, "a file", text, "name the file, not its folder");
            None
        }
        Err(e) => {
            let remedy = "correct the path or the file's permissions";
            say(problems, key, &format!("a readable file ({e})"), text, remedy);
            None
        }
    }
}

/// `Some(None)`: none asked for. `None`: asked for and wrong.
fn check_credentials(
    username: Option<String>,
    password_file: Option<String>,
    mechanism: Option<String>,
    folder: &Path,
    problems: &mut Problems,
) -> Option<Option<Credentials>> {
    if username.is_none() && password_file.is_none() && mechanism.is_none() {
        return Some(None);
    }
    let (Some(username), Some(password_file)) = (&username, &password_file) else {
        let (key, found) = if username.is_none() {
            ("kafka.username", "a password file or mechanism without a user")
        } else {
            ("kafka.password_file", "a user without a password file")
        };
        say(problems, key, "username and password_file go together", found, "give both, or neither");
        return None;
    };
    let password_file = check_file("kafka.password_file", password_file, folder, problems);
    let scram = |which| if cfg!(feature = "tls") { Ok(which) } else { Err("only in a build with the feature tls") };
    let mechanism_text = mechanism.as_deref().unwrap_or("PLAIN");
    let mechanism = match mechanism_text {
        "PLAIN" => Ok(Mechanism::Plain),
        "SCRAM-SHA-256" => scram(Mechanism::ScramSha256),
        "SCRAM-SHA-512" => scram(Mechanism::ScramSha512),
        _ => Err("one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
    };
    let mechanism = mechanism.map_err(|rule| {
        let remedy = "write one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 (SCRAM: --features tls), as the broker expects";
        say(problems, "kafka.mechanism", rule, mechanism_text, remedy);
    });
    let username = username.clone();
    Some(Some(Credentials { username, password_file: password_file?, mechanism: mechanism.ok()? }))
}

fn check_signatures(required: bool, raw: Vec<RawKey>, problems: &mut Problems) -> Signatures {
    let mut keys = Vec::new();
    for key in raw {
        let mut name = |field: &str, text: Option<&str>| {
            check_name(&format!("{}.{field}", key.at), text.unwrap_or_default(), problems)
        };
        let site = name("site", key.site.as_deref());
        let agent = name("agent", key.agent.as_deref());
        let text = key.public_key.as_deref().unwrap_or("nothing");
        let mut bytes = [0; 32];
        let public = unhex(text, &mut bytes).and_then(|()| VerifyingKey::from_bytes(&bytes).ok());
        if public.is_none() {
            let remedy = "copy the public key that `fettle-agent identity` shows";
            let at = format!("{}.public_key", key.at);
            say(problems, &at, "an ed25519 public key, 64 hexadecimal digits", text, remedy);
        }
        if let (Some(site), Some(agent), Some(public)) = (site, agent, public) {
            keys.push(((site, agent), public));
        }
    }
    keys.sort_by(|a, b| a.0.cmp(&b.0));
    for pair in keys.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let (site, agent) = &pair[0].0;
        let remedy = "keep the one that `fettle-agent identity` shows and remove the other";
        say(problems, "signatures.keys", "one key for each agent", &format!("two for {site}/{agent}"), remedy);
    }
    if required && keys.is_empty() {
        let remedy = "add [[signatures.keys]] for each agent, or set required = false";
        say(problems, "signatures.required", "needs at least one key, else every record is rejected", "true", remedy);
    }
    Signatures { required, keys }
}
