//! Kafka client configuration: brokers, credentials, TLS, and librdkafka's own log lines.
//!
//! What producer and consumer share. TLS and SCRAM need the feature `tls` (librdkafka takes both from OpenSSL); without it they
//! are an error that says so, at check time. Passwords go into librdkafka's configuration and nowhere else.

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::config::checked::{KafkaConfig, Mechanism, TlsConfig};

/// Why the uplink cannot be set up. Kafka being away is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The configuration asks for something that this build cannot do.
    #[error("{0}")]
    Unsupported(String),
    /// librdkafka refuses the configuration.
    #[error("[kafka]: librdkafka refuses the configuration: {0}")]
    Client(#[from] rdkafka::error::KafkaError),
    /// A thread cannot be started.
    #[error("cannot start the uplink's thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Whether this build can do what the configuration asks for.
pub fn supported(config: &KafkaConfig) -> Result<(), String> {
    if cfg!(feature = "tls") {
        return Ok(());
    }
    if config.tls.is_some() {
        return Err("this build cannot do TLS: use one built with the feature `tls`, or remove [kafka.tls]".into());
    }
    if config.username.is_some() && config.mechanism != Mechanism::Plain {
        return Err(
            "this build cannot do SCRAM: use one built with the feature `tls`, or set mechanism = \"PLAIN\"".into()
        );
    }
    Ok(())
}

/// The part of the configuration that every client shares.
pub(crate) fn client(config: &KafkaConfig) -> Result<ClientConfig, UplinkError> {
    supported(config).map_err(UplinkError::Unsupported)?;
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.brokers);
    client.set("client.id", "fettle-agent");
    client.set("socket.keepalive.enable", "true");
    // Attempts go on for ever; away for days, one every three seconds is enough and little.
    client.set("reconnect.backoff.ms", "100");
    client.set("reconnect.backoff.max.ms", "3000");
    // Each failed attempt would be a line; changes of the connection are told once, by us.
    client.set("log.connection.close", "false");
    client.set("security.protocol", protocol(config));
    if let Some(user) = &config.username {
        client.set("sasl.mechanism", config.mechanism.as_str());
        client.set("sasl.username", user);
        client.set("sasl.password", config.password.as_ref().map(|secret| secret.reveal()).unwrap_or_default());
    }
    if let Some(tls) = &config.tls {
        set_tls(&mut client, tls);
    }
    client.set_log_level(RDKafkaLogLevel::Warning);
    Ok(client)
}

fn protocol(config: &KafkaConfig) -> &'static str {
    match (config.username.is_some(), config.tls.is_some()) {
        (false, false) => "plaintext",
        (false, true) => "ssl",
        (true, false) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    }
}

fn set_tls(client: &mut ClientConfig, tls: &TlsConfig) {
    client.set("ssl.ca.location", tls.ca_file.to_string_lossy());
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        client.set("ssl.certificate.location", cert.to_string_lossy());
        client.set("ssl.key.location", key.to_string_lossy());
    }
    client.set("ssl.endpoint.identification.algorithm", "https");
}

/// Passes a line of librdkafka's log on. Its lines about connections come with every attempt and are below `warn` here.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    use RDKafkaLogLevel::{Alert, Critical, Emerg, Error, Warning};
    match (level, facility) {
        (_, "FAIL" | "ERROR" | "CONNECT" | "DISCONNECT") => tracing::debug!(facility, "librdkafka: {line}"),
        (Emerg | Alert | Critical | Error, _) => tracing::error!(facility, "librdkafka: {line}"),
        (Warning, _) => tracing::warn!(facility, "librdkafka: {line}"),
        _ => tracing::debug!(facility, "librdkafka: {line}"),
    }
}

/// A client that only logs.
#[derive(Debug)]
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }
    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}

#[cfg(test)]
mod tests {
    use fettle_wire::Name;

    use super::*;
    use crate::config::checked::Secret;

    fn config(user: bool, mechanism: Mechanism, tls: bool) -> KafkaConfig {
        let file = || std::path::PathBuf::from("/nowhere/ca.pem");
        KafkaConfig {
            brokers: "127.0.0.1:1".into(),
            prefix: Name::new("fettle").unwrap(),
            username: user.then(|| "agent".into()),
            password: user.then(|| Secret::new("hunter2".into())),
            mechanism,
            tls: tls.then(|| TlsConfig { ca_file: file(), cert_file: None, key_file: None }),
        }
    }

    #[test]
    fn credentials_and_tls_choose_the_security_protocol() {
        assert_eq!(protocol(&config(false, Mechanism::Plain, false)), "plaintext");
        assert_eq!(protocol(&config(false, Mechanism::Plain, true)), "ssl");
        assert_eq!(protocol(&config(true, Mechanism::Plain, false)), "sasl_plaintext");
        assert_eq!(protocol(&config(true, Mechanism::ScramSha512, true)), "sasl_ssl");
    }

    #[test]
    fn a_build_without_tls_says_so_before_anything_runs() {
        let outcomes = [
            supported(&config(false, Mechanism::Plain, true)),
            supported(&config(true, Mechanism::ScramSha256, false)),
        ];
        for outcome in outcomes {
            assert_eq!(outcome.is_ok(), cfg!(feature = "tls"), "{outcome:?}");
            assert!(outcome.err().is_none_or(|text| text.contains("feature `tls`")));
        }
        assert_eq!(supported(&config(true, Mechanism::Plain, false)), Ok(()));
    }

    #[test]
    fn librdkafka_accepts_the_configuration() {
        let client = client(&config(false, Mechanism::Plain, false)).unwrap();
        client.create_native_config().unwrap();
        assert_eq!(client.get("security.protocol"), Some("plaintext"));
    }
}
