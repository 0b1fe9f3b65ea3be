//! A release to the fleet: its parts to `fettle.releases`, then the pointer to `fettle.rollouts`, each acknowledged by all
//! in-sync replicas. The pointer goes last: who follows it finds the parts.

use std::sync::Mutex;
use std::time::Duration;

use fettle_models::release::Package;
use fettle_wire::topic::{KafkaTopics, part_key};
use fettle_wire::{Micros, Mode, ReleasePart, ReleaseRef, Rollout};
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use crate::progress::Progress;

/// How long Kafka may take for everything.
const WAIT: Duration = Duration::from_secs(60);

/// Where to and how.
#[derive(Debug)]
pub struct Target<'a> {
    /// `host:port`, separated by commas.
    pub brokers: &'a str,
    /// The fleet's topics.
    pub topics: KafkaTopics,
    /// Settings of librdkafka, for TLS and SASL.
    pub settings: &'a [(String, String)],
}

/// What the pointer says.
#[derive(Debug)]
pub struct Order<'a> {
    /// How it is to be run.
    pub mode: Mode,
    /// The least version from now on.
    pub floor: u64,
    /// Who says so.
    pub issuer: &'a str,
    /// When.
    pub issued: Micros,
}

/// Notes what Kafka did not take.
#[derive(Default)]
struct Reports(Mutex<(usize, Vec<String>)>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        // A thread that died while it counted leaves nothing worse than a wrong count.
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match result {
            Ok(_) => state.0 += 1,
            Err((error, record)) => state.1.push(format!("{}: {error}", record.topic())),
        }
    }
}

/// Publishes a release file. It is not judged here: `verify` does that, and so does every agent.
///
/// # Errors
/// What is wrong with the file, or what Kafka says.
pub fn publish(file: &[u8], target: &Target<'_>, order: &Order<'_>, progress: &Progress) -> Result<Rollout, String> {
    let package = Package::read(file).map_err(|e| e.to_string())?;
    if package.signed_by().is_none() {
        return Err("the release is not signed and no agent would take it; sign it first".into());
    }
    let (manifest, hash) = (&package.manifest, package.hash.to_string());
    let release = ReleaseRef { name: manifest.name.clone(), version: manifest.version, hash: hash.clone() };
    let rollout = Rollout {
        version: fettle_wire::SCHEMA_VERSION,
        class: manifest.class.clone(),
        release,
        mode: order.mode,
        floor: order.floor,
        issuer: order.issuer.to_owned(),
        issued: order.issued,
    };
    let kafka = |e: KafkaError| format!("Kafka at {}: {e}", target.brokers);
    let producer = connect(target).map_err(kafka)?;
    let parts = ReleasePart::of(&hash, file);
    progress.begin("publishing", parts.len() + 1);
    let records = parts.iter().map(|part| Ok((part_key(&hash, part.index), part.encode().map_err(|e| e.to_string())?)));
    let records = records.collect::<Result<Vec<_>, String>>()?;
    send(&producer, &target.topics.releases(), &records, progress)
        .map_err(|e| format!("Kafka at {}: {e}", target.brokers))?;
    let pointer = rollout.encode().map_err(|e| e.to_string())?.into_bytes();
    let records = [(manifest.class.clone(), pointer)];
    send(&producer, &target.topics.rollouts(), &records, progress)
        .map_err(|e| format!("Kafka at {}: {e}", target.brokers))?;
    progress.end();
    Ok(rollout)
}

fn connect(target: &Target<'_>) -> Result<BaseProducer<Reports>, KafkaError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", target.brokers);
    config.set("enable.idempotence", "true");
    config.set("message.max.bytes", "1048576");
    config.set("message.timeout.ms", "30000");
    // So that a key lies where Kafka's own tools look for it.
    config.set("partitioner", "murmur2_random");
    for (key, value) in target.settings {
        config.set(key, value);
    }
    config.create_with_context(Reports::default())
}

fn send(
    producer: &BaseProducer<Reports>,
    topic: &str,
    records: &[(String, Vec<u8>)],
    progress: &Progress,
) -> Result<(), String> {
    let before = count(producer);
    for (key, payload) in records {
        let record = BaseRecord::to(topic).key(key).payload(payload);
        producer.send(record).map_err(|(e, _)| format!("{topic}: {e}"))?;
    }
    producer.flush(WAIT).map_err(|e| format!("{topic}: {e}; is there such a topic (fettle-gateway topics apply)?"))?;
    let state = producer.context().0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match state.1.first() {
        Some(error) => Err(format!("{error}; is there such a topic (fettle-gateway topics apply)?")),
        None if state.0 - before < records.len() => Err(format!("{topic}: no answer within {} s", WAIT.as_secs())),
        None => {
            records.iter().for_each(|_| progress.step());
            Ok(())
        }
    }
}

fn count(producer: &BaseProducer<Reports>) -> usize {
    producer.context().0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0
}
