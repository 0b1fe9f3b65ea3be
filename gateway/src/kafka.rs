//! How Kafka is reached: one place that turns the configuration into clients.
//!
//! Kafka being absent, for hours, is normal: librdkafka reconnects by itself with back-off; what it says about it is
//! logged here, at most once in [`QUIET`] per kind. Passwords are read from their file when a client is made and go
//! nowhere else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::ProducerContext;

use crate::clock;
use crate::config::Kafka;

/// The shortest time between two equal messages of the library.
pub const QUIET: Duration = Duration::from_secs(30);

/// Why a client cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The password file.
    #[error("cannot read kafka.password_file {path}: {source}; correct its path or permissions")]
    Password {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// librdkafka.
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// A topic is absent.
    #[error("topic {topic} does not exist; run `fettle-gateway topics apply --config FILE` once")]
    NoTopic {
        /// The topic.
        topic: String,
    },
}

/// What every client has in common.
pub fn base(kafka: &Kafka, client: &str) -> Result<ClientConfig, LinkError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.brokers)
        .set("client.id", format!("fettle-gateway-{client}"))
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "2000")
        .set("socket.keepalive.enable", "true")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set_log_level(RDKafkaLogLevel::Warning);
    let protocol = match (kafka.tls.is_some(), kafka.credentials.is_some()) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &kafka.tls {
        let files = [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.cert_file),
            ("ssl.key.location", &tls.key_file),
        ];
        for (key, path) in files {
            if let Some(path) = path {
                config.set(key, path.to_string_lossy());
            }
        }
    }
    if let Some(credentials) = &kafka.credentials {
        let path = &credentials.password_file;
        let failed = |source| LinkError::Password { path: path.clone(), source };
        let password = std::fs::read_to_string(path).map_err(failed)?;
        config
            .set("sasl.mechanism", credentials.mechanism.as_str())
            .set("sasl.username", &credentials.username)
            .set("sasl.password", password.trim_end_matches(['\r', '\n']));
    }
    Ok(config)
}

/// A consumer's settings: what was committed only, no commits of its own, bounded queues.
pub fn consumer(kafka: &Kafka, client: &str, group: &str) -> Result<ClientConfig, LinkError> {
    let mut config = base(kafka, client)?;
    config
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.wait.max.ms", "100");
    Ok(config)
}

/// How many partitions `topic` has.
pub fn partitions<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str) -> Result<i32, LinkError> {
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(5))?;
    let found = metadata.topics().iter().find(|t| t.name() == topic);
    match found.map(|t| (t.error(), t.partitions().len())) {
        Some((None, count)) if count > 0 => Ok(i32::try_from(count).unwrap_or(i32::MAX)),
        _ => Err(LinkError::NoTopic { topic: topic.into() }),
    }
}

/// The library's messages, logged at most once in [`QUIET`] per kind, over all clients of the process: they all speak of
/// the same Kafka.
#[derive(Default)]
pub struct Quiet;

static SAID: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());

fn is_due(kind: &str) -> bool {
    let now = clock::monotonic();
    // A poisoned lock only means that a thread died while logging; the map is whole.
    let mut said = SAID.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if said.get(kind).is_some_and(|then| now.duration_since(*then) < QUIET) {
        return false;
    }
    if said.len() > 64 {
        said.clear();
    }
    said.insert(kind.to_owned(), now);
    true
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if is_due(facility) {
            tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
        }
    }
    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(error, KafkaError::PartitionEOF(_))
            || error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF)
        {
            return; // asked for, and not an error
        }
        let kind = error.rdkafka_error_code().map(|code| format!("{code:?}")).unwrap_or_default();
        if is_due(&kind) {
            tracing::warn!(kind, "kafka: {reason}");
        }
    }
}

impl ConsumerContext for Quiet {}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result
            && is_due("delivery")
        {
            tracing::warn!(%error, "kafka: a record was not delivered");
        }
    }
}
