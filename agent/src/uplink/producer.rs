//! The producer: takes records from the core, hands them to Kafka, reports what became of each. The only file with one.
//!
//! Place in the flow: outbox -> core -> [`Producer::send`] -> Kafka; delivery reports -> [`FromKafka`] -> core, which deletes.
//!
//! - **librdkafka keeps nothing.** What it holds is bounded for each lane ([`MOST`], [`MOST_BYTES`]), so that aggregates waiting
//!   for an absent Kafka never stand before alarms, and every record is still in the outbox.
//! - **Exactly once in order (U2).** acks=all, idempotent, retries without end and *without* `message.timeout.ms`. A time-out
//!   would report a record as failed although later ones of its partition go through, and sending it again would put it behind
//!   them, where a reader that keeps the highest sequence takes it for a duplicate: lost. Without one, librdkafka itself
//!   retries in order for as long as Kafka is away, and a record is written once.
//! - **Failure.** What remains are errors that time does not heal (unknown topic, no permission, too large). The lane is then
//!   held until all that it has under way is reported, and a moment longer, so that the core can begin again at the first.
//!   After a fatal error of the idempotent producer it is torn down and built anew; all under way is reported failed, once.
//! - **Partition** = murmur2 of the key, as Java's default partitioner computes it (`murmur2_random`): every writer in the
//!   fleet, whatever its language, puts an asset into the same partition.
//!
//! Invariant U1 rests on `Account`: a report leaves only for a record that is still in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fettle_wire::Lane;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use serde::Deserialize;

use super::connect::{self, UplinkError};
use super::{FromKafka, Outgoing};
use crate::config::checked::KafkaConfig;

/// The most records of one lane under way.
const MOST: usize = 1_024;
/// The most bytes of one lane under way.
const MOST_BYTES: usize = 4 << 20;
/// A larger record travels alone, so an error about size concerns it and no neighbour.
const BATCH_SIZE: usize = 64 << 10;
/// How long one turn of the thread waits for reports.
const POLL: Duration = Duration::from_millis(50);
/// How long a lane is held after a failure, at least.
const HOLD: Duration = Duration::from_millis(250);
/// Pause before the next attempt when librdkafka cannot be started again.
const REBUILD: Duration = Duration::from_secs(1);

/// Where reports go. Called on the producer's threads; must not block.
pub type Report = Arc<dyn Fn(FromKafka) + Send + Sync>;

/// The producer. Dropping it stops it: what is under way then is reported failed.
pub struct Producer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    config: ClientConfig,
    account: Arc<Account>,
    /// Absent while it is built anew. Senders use it under the lock; only the thread holds a second reference.
    client: Mutex<Option<Arc<BaseProducer<Context>>>>,
    stop: AtomicBool,
}

impl Producer {
    /// Starts the producer and its thread. Kafka need not be there.
    pub fn new(config: &KafkaConfig, report: Report) -> Result<Self, UplinkError> {
        let account = Arc::new(Account { report, state: Mutex::default(), empty: Condvar::new() });
        let config = settings(config)?;
        let client = build(&config, &account)?;
        let shared = Shared { config, account, client: Mutex::new(Some(client)), stop: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new().name("kafka-producer".into()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes a record over. Gives it back when the lane is full or held, or the producer is being built anew: try again after
    /// the next report, or in a moment.
    pub fn send(&self, record: Outgoing) -> Result<(), Outgoing> {
        let guard = lock(&self.shared.client);
        let Some(client) = guard.as_ref() else { return Err(record) };
        if !self.shared.account.open(&record) {
            return Err(record);
        }
        let sent = client.send(
            BaseRecord::with_opaque_to(&record.topic, Box::new((record.lane, record.sequence)))
                .key(&record.key)
                .payload(&record.payload),
        );
        let Err((error, _)) = sent else { return Ok(()) };
        let again = [RDKafkaErrorCode::QueueFull, RDKafkaErrorCode::Fatal];
        if error.rdkafka_error_code().is_some_and(|code| again.contains(&code)) {
            self.shared.account.withdraw(&record);
            return Err(record);
        }
        let hopeless = error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge);
        self.shared.account.failed(record.lane, record.sequence, explain(&error), hopeless);
        Ok(())
    }

    /// How many records are under way.
    pub fn under_way(&self) -> usize {
        lock(&self.shared.account.state).lanes.values().map(|lane| lane.under_way.len()).sum()
    }

    /// Waits until nothing is under way, at most `timeout`; says whether that was reached.
    pub fn flush(&self, timeout: Duration) -> bool {
        let account = &self.shared.account;
        let busy = |state: &mut State| state.lanes.values().any(|lane| !lane.under_way.is_empty());
        let waited = account.empty.wait_timeout_while(lock(&account.state), timeout, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told by the panic hook.
            let _ = thread.join();
        }
    }
}

fn settings(config: &KafkaConfig) -> Result<ClientConfig, UplinkError> {
    let mut client = connect::client(config)?;
    client.set("acks", "all");
    client.set("enable.idempotence", "true");
    client.set("message.timeout.ms", "0");
    client.set("partitioner", "murmur2_random");
    client.set("linger.ms", "5");
    client.set("batch.size", BATCH_SIZE.to_string());
    // librdkafka's own, it needs no library beside it.
    client.set("compression.type", "lz4");
    // Never reached: the lanes' bounds are lower.
    client.set("queue.buffering.max.messages", (Lane::ALL.len() * MOST * 2).to_string());
    client.set("queue.buffering.max.kbytes", (Lane::ALL.len() * MOST_BYTES * 4 / 1024).to_string());
    client.set("statistics.interval.ms", "2000");
    Ok(client)
}

fn build(config: &ClientConfig, account: &Arc<Account>) -> Result<Arc<BaseProducer<Context>>, KafkaError> {
    BaseProducer::from_config_and_context(config, Context(Arc::clone(account))).map(Arc::new)
}

impl Shared {
    /// The thread: serves reports, releases held lanes, builds the producer anew.
    fn run(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(client) = self.current() else {
                self.rebuild();
                continue;
            };
            client.poll(POLL);
            if self.account.is_held() {
                thread::sleep(HOLD);
                client.poll(Duration::ZERO);
                self.account.release();
            }
            if let Some((code, reason)) = client.client().fatal_error() {
                tracing::warn!(%code, reason, "the Kafka producer cannot go on and is built anew");
                self.tear_down(client, "the Kafka producer was built anew");
            }
        }
        if let Some(client) = self.current() {
            self.tear_down(client, "the agent is stopping");
        }
    }

    /// The present producer. A function of its own, so that the lock is not held while the caller uses it.
    fn current(&self) -> Option<Arc<BaseProducer<Context>>> {
        lock(&self.client).clone()
    }

    /// Ends one producer. Every record still under way is reported failed: most by librdkafka as it is purged, the rest here.
    fn tear_down(&self, client: Arc<BaseProducer<Context>>, reason: &str) {
        *lock(&self.client) = None;
        drop(client);
        self.account.fail_all(reason);
    }

    fn rebuild(&self) {
        match build(&self.config, &self.account) {
            Ok(client) => {
                self.account.release();
                *lock(&self.client) = Some(client);
            }
            Err(error) => {
                tracing::error!(%error, "the Kafka producer cannot be started; trying again");
                thread::sleep(REBUILD);
            }
        }
    }
}

/// What is under way, and the only place from which reports leave.
struct Account {
    report: Report,
    state: Mutex<State>,
    empty: Condvar,
}

#[derive(Default)]
struct State {
    lanes: BTreeMap<Lane, LaneState>,
    connected: Option<bool>,
    /// Why no connection can be made, if that was told.
    trouble: Option<RDKafkaErrorCode>,
}

#[derive(Default)]
struct LaneState {
    under_way: BTreeMap<u64, usize>,
    bytes: usize,
    held: bool,
}

impl LaneState {
    fn take(&mut self, sequence: u64) -> bool {
        let size = self.under_way.remove(&sequence);
        self.bytes -= size.unwrap_or_default();
        size.is_some()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole after every statement, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Account {
    /// Enters a record, if its lane has room for it.
    fn open(&self, record: &Outgoing) -> bool {
        let mut state = lock(&self.state);
        let lane = state.lanes.entry(record.lane).or_default();
        let size = record.payload.len() + record.key.len();
        // One record is always let through, however large.
        let full = lane.under_way.len() >= MOST || (lane.bytes > 0 && lane.bytes + size > MOST_BYTES);
        if full || lane.held || lane.under_way.contains_key(&record.sequence) {
            return false;
        }
        lane.under_way.insert(record.sequence, size);
        lane.bytes += size;
        true
    }

    /// Forgets a record that librdkafka did not take.
    fn withdraw(&self, record: &Outgoing) {
        lock(&self.state).lanes.entry(record.lane).or_default().take(record.sequence);
    }

    fn close(&self, lane: Lane, sequence: u64, failed: bool) -> bool {
        let mut state = lock(&self.state);
        let entry = state.lanes.entry(lane).or_default();
        entry.held |= failed;
        let known = entry.take(sequence);
        if state.lanes.values().all(|lane| lane.under_way.is_empty()) {
            self.empty.notify_all();
        }
        known
    }

    fn delivered(&self, lane: Lane, sequence: u64) {
        if self.close(lane, sequence, false) {
            (self.report)(FromKafka::Delivered { lane, sequence });
        }
    }

    fn failed(&self, lane: Lane, sequence: u64, reason: String, fatal: bool) {
        if self.close(lane, sequence, true) {
            (self.report)(FromKafka::Failed { lane, sequence, reason, fatal });
        }
    }

    fn fail_all(&self, reason: &str) {
        let left: BTreeSet<(Lane, u64)> = {
            let state = lock(&self.state);
            let of_lane =
                |(lane, entry): (&Lane, &LaneState)| entry.under_way.keys().map(|s| (*lane, *s)).collect::<Vec<_>>();
            state.lanes.iter().flat_map(of_lane).collect()
        };
        for (lane, sequence) in left {
            self.failed(lane, sequence, reason.to_owned(), false);
        }
    }

    fn is_held(&self) -> bool {
        lock(&self.state).lanes.values().any(|lane| lane.held)
    }

    /// Lets lanes go on that have nothing under way any more.
    fn release(&self) {
        lock(&self.state).lanes.values_mut().for_each(|lane| lane.held &= !lane.under_way.is_empty());
    }

    /// Each attempt fails for the same reason: it is told once, and again after it has changed or Kafka was there.
    fn trouble(&self, code: RDKafkaErrorCode, reason: &str) {
        if lock(&self.state).trouble.replace(code) != Some(code) {
            let remedy = remedy(code);
            tracing::warn!(event = "kafka.trouble", reason, "the connection to Kafka cannot be made: {remedy}");
        }
    }

    fn connected(&self, now: bool) {
        let changed = {
            let mut state = lock(&self.state);
            state.trouble = state.trouble.filter(|_| !now);
            state.connected.replace(now) != Some(now)
        };
        if changed {
            tracing::debug!(connected = now, "Kafka");
            (self.report)(FromKafka::Connected(now));
        }
    }
}

/// What librdkafka calls back.
struct Context(Arc<Account>);

/// The part of librdkafka's statistics that is read.
#[derive(Deserialize)]
struct Statistics {
    brokers: BTreeMap<String, BrokerState>,
}

#[derive(Deserialize)]
struct BrokerState {
    state: String,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        connect::log(level, facility, line);
    }

    fn stats_raw(&self, json: &[u8]) {
        if let Ok(statistics) = serde_json::from_slice::<Statistics>(json) {
            self.0.connected(statistics.brokers.values().any(|broker| broker.state == "UP"));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        use RDKafkaErrorCode::{AllBrokersDown, Authentication, Resolve, SSL};
        match error.rdkafka_error_code() {
            Some(AllBrokersDown) => self.0.connected(false),
            Some(code @ (Authentication | Resolve | SSL)) => self.0.trouble(code, reason),
            _ => {}
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<(Lane, u64)>;

    fn delivery(&self, result: &DeliveryResult<'_>, record: Self::DeliveryOpaque) {
        let (lane, sequence) = *record;
        match result {
            Ok(_) => {
                self.0.connected(true);
                self.0.delivered(lane, sequence);
            }
            Err((error, message)) => {
                let too_large = error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge);
                let alone = message.payload_len() > BATCH_SIZE;
                self.0.failed(lane, sequence, explain(error), too_large && alone);
            }
        }
    }
}

fn remedy(code: RDKafkaErrorCode) -> &'static str {
    match code {
        RDKafkaErrorCode::Authentication => {
            "check `username`, `password_file` and `mechanism` in [kafka] and the brokers' users"
        }
        RDKafkaErrorCode::SSL => "check `ca_file` in [kafka.tls], and that `brokers` uses the names in the certificate",
        _ => "check the names in `brokers` and this machine's name service",
    }
}

fn explain(error: &KafkaError) -> String {
    use RDKafkaErrorCode::{
        MessageSizeTooLarge, PurgeInflight, PurgeQueue, TopicAuthorizationFailed, UnknownPartition, UnknownTopic,
        UnknownTopicOrPartition,
    };
    let remedy = match error.rdkafka_error_code() {
        Some(UnknownTopic | UnknownTopicOrPartition | UnknownPartition) => {
            ": create the topics with `fettle-gateway topics apply`"
        }
        Some(TopicAuthorizationFailed) => ": allow the agent's user to write the topic",
        Some(MessageSizeTooLarge) => ": raise the topic's max.message.bytes",
        Some(PurgeQueue | PurgeInflight) => ": the producer was stopped",
        _ => "",
    };
    format!("{error}{remedy}")
}
