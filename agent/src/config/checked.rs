//! The configuration as the agent runs with it: every value present, in its unit, and inside its rule.
//!
//! Built only by [`super::load`], which turns a file away as a whole if one rule is broken; so the rest of the agent
//! never checks a setting again. Nothing here reads a file or the environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fettle_models::{Registry, Settings};
use fettle_wire::{Name, Unit};

use crate::release::ReleasePolicy;

/// One agent's configuration.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The file it was read from; `reload` reads it again.
    pub file: PathBuf,
    /// The site.
    pub site: Name,
    /// This agent.
    pub agent: Name,
    /// The folder of the store, the identity key and the lock.
    pub store: PathBuf,
    /// Whether envelopes are signed.
    pub sign: bool,
    /// The MQTT broker.
    pub mqtt: MqttConfig,
    /// The Kafka cluster.
    pub kafka: KafkaConfig,
    /// The engine's settings.
    pub engine: Settings,
    /// The assets.
    pub registry: Registry,
    /// The journal's commits and what it keeps.
    pub journal: JournalConfig,
    /// What waits for Kafka.
    pub outbox: OutboxConfig,
    /// Bytes of raw samples around alarms that are kept.
    pub evidence_bytes: u64,
    /// Whose models may speak here, and on which conditions.
    pub releases: ReleasePolicy,
    /// Bytes of machines' lives that are kept for learning.
    pub lives_bytes: u64,
    /// How often each asset's account goes to Kafka.
    pub ledger_interval: Duration,
    /// Where metrics, health and status are served; loopback.
    pub http_listen: SocketAddr,
    /// What the agent believes of its own clock.
    pub clock: ClockConfig,
}

/// The MQTT broker and what is announced to it.
#[derive(Debug, Clone)]
pub struct MqttConfig {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The session's name at the broker; two clients with one name throw each other out.
    pub client_id: String,
    /// User, if the broker asks for one.
    pub username: Option<String>,
    /// Password of `username`.
    pub password: Option<Secret>,
    /// How long the broker keeps the session while the agent is away; whole seconds.
    pub session_expiry: Duration,
    /// Unacknowledged messages that the broker may hand out; at least 4 commit batches.
    pub receive_maximum: u16,
    /// The largest packet announced, in bytes.
    pub max_packet: u32,
    /// Whether the socket sends at once (TCP_NODELAY).
    pub tcp_nodelay: bool,
    /// TLS, if the broker speaks it.
    pub tls: Option<TlsConfig>,
    /// Topics of publishers that do not speak our frames.
    pub foreign: Vec<ForeignTemplate>,
}

/// Certificates for one broker. The files were readable when the configuration was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM of the authority that signed the broker's certificate.
    pub ca_file: PathBuf,
    /// PEM of our certificate; present exactly if `key_file` is.
    pub cert_file: Option<PathBuf>,
    /// PEM (PKCS #8) of its key.
    pub key_file: Option<PathBuf>,
}

/// Where a foreign publisher's readings are found and what they are called here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignTemplate {
    /// Levels separated by `/`: literal, `+`, `{asset}` or `{channel}`; each placeholder at most once.
    pub topic: String,
    /// The asset, where the topic has no `{asset}`.
    pub asset: Option<Name>,
    /// The channel, where the topic has no `{channel}`; without either, the payload's field names are the channels.
    pub channel: Option<Name>,
    /// The unit of the values; without it the registry's.
    pub unit: Option<Unit>,
}

/// The Kafka cluster.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// The fleet's prefix of every topic.
    pub prefix: Name,
    /// SASL user; present exactly if `password` is.
    pub username: Option<String>,
    /// SASL password.
    pub password: Option<Secret>,
    /// SASL mechanism; used only with a user.
    pub mechanism: Mechanism,
    /// TLS, if the cluster speaks it.
    pub tls: Option<TlsConfig>,
}

/// How a user proves itself to Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// RFC 7677.
    ScramSha256,
    /// As RFC 7677 with SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// All mechanisms.
    pub const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    /// The SASL name, as librdkafka's `sasl.mechanism` takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// The journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// A commit happens at the latest this long after the first message of its batch.
    pub commit_interval: Duration,
    /// A commit happens at the latest with this many messages.
    pub batch: usize,
    /// Raw entries kept for replay, in bytes of their records.
    pub keep_bytes: u64,
    /// Raw entries are kept no longer than this.
    pub keep: Duration,
    /// The store's map size: the most it can ever take on disk, in bytes.
    pub max_bytes: u64,
}

/// The outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxConfig {
    /// The most that waits for Kafka, in bytes of records; beyond it aggregates are thinned.
    pub max_bytes: u64,
}

/// What the agent believes of its own wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockConfig {
    /// Synced while systemd-timesyncd (or whoever keeps its mark) says so, else free-running.
    #[default]
    Auto,
    /// Disciplined by something that leaves no mark (chrony, PTP, GNSS).
    Synced,
    /// Set once.
    FreeRunning,
    /// Never set.
    Unknown,
}

/// A text that must not reach a log: `Debug` hides it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one call that hands it to a protocol library.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?}", Secret::new("hunter2".to_owned()));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
