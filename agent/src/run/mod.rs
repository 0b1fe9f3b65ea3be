//! The daemon: one thread owns core and store, the shells run beside it, channels lie between.
//!
//! ```text
//!  net thread (tokio)           core thread (this one)                  librdkafka's threads
//!  MQTT session --FromBroker--> step -> commit -> effects --Outgoing--> producer
//!       ^--------ToBroker------------------'   ^-------FromKafka------- reports, inbox
//!  HTTP <------- report (watch) ---'
//! ```
//!
//! Bounds: `FromBroker` holds [`BROKER_QUEUE`] batches, and the broker hands out at most Receive Maximum messages; reports
//! from Kafka are bounded by the records in flight. The core never waits for a shell.

mod asks;
mod gauge;
mod shells;

use std::time::Duration;

use fettle_wire::Lane;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;

use crate::acquire::{FromBroker, ToBroker};
use crate::clock::Clock;
use crate::config::{self, Checked};
use crate::core::generation::Generation;
use crate::core::{Birth, Core, Effect, Event, Limits, RecoverError};
use crate::identity;
use crate::journal::lmdb::{Access, Lmdb, OpenError};
use crate::journal::replace;
use crate::journal::store::{Store, StoreError};
use crate::outbox::record;
use crate::status::report::Phase;
use crate::uplink::{FromKafka, Outgoing};
use gauge::Gauge;
use shells::Shells;

pub use asks::Ask;

/// Batches from the broker that may wait for the core.
pub(crate) const BROKER_QUEUE: usize = 4;
/// Time between looks at the clock when nothing arrives.
const TICK: Duration = Duration::from_secs(1);
/// Share of the store's bound beyond which raw entries are given up before their time; deleting needs room, too.
const NEARLY_FULL: f64 = 0.9;
/// First and longest pause before a failed commit is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How long a stop waits for Kafka to report on what is in flight.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The journal.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The identity key.
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    /// A thread, a runtime or a signal handler.
    #[error("cannot start {what}")]
    Start {
        /// What.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The listener for metrics and status.
    #[error(transparent)]
    Http(#[from] crate::http::HttpError),
    /// The MQTT session cannot work with this configuration.
    #[error(transparent)]
    Session(#[from] crate::acquire::session::SessionError),
    /// Kafka's client cannot work with this configuration.
    #[error(transparent)]
    Uplink(#[from] crate::uplink::UplinkError),
}

/// Runs the agent until SIGTERM or SIGINT.
pub fn run(config: Checked) -> Result<(), RunError> {
    run_until(config, &mut asks::OfTheSystem::listen()?.asks)
}

/// Runs the agent until it is asked to stop. A restored backup begins a new life: everything is let go of and opened anew.
pub fn run_until(mut config: Checked, asks: &mut UnboundedReceiver<Ask>) -> Result<(), RunError> {
    while let Some(next) = live(config, asks)? {
        config = next;
    }
    Ok(())
}

/// From opening the store to its clean end; the configuration to go on with, if another store takes its place.
fn live(config: Checked, asks: &mut UnboundedReceiver<Ask>) -> Result<Option<Checked>, RunError> {
    let key = identity::load_or_create(&config.store)?;
    let store = Lmdb::open(&config.store, config.journal.max_bytes, Access::Write)?;
    let incarnation = store.format().incarnation;
    tracing::info!(
        event = "store.opened",
        incarnation = format!("{incarnation:016x}"),
        store_version = store.format().version,
        "the store is open"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|source| RunError::Start { what: "the core's runtime", source })?;
    let mut gauge = Gauge::new(&config, incarnation);
    let shells = Shells::serve(&config, gauge.subscribe())?;
    gauge.phase(Phase::Recovering);
    let birth = Birth::of(&config, incarnation, config.sign.then_some(key));
    let recovering = Clock::new(config.clock, 0);
    let (core, recovered) = Core::recover(&store, birth, Generation::of(&config))?;
    let seconds = recovering.monotonic() as f64 / 1e6;
    gauge.recovered(&recovered, seconds);
    tracing::info!(
        event = "store.recovered",
        entries = recovered.entries,
        records = recovered.records,
        seconds,
        "the journal is replayed"
    );
    let clock = Clock::new(config.clock, core.now().monotonic);
    let mut shells = shells.connect(&config, &core)?;
    let mut daemon = Daemon { config, core, store, clock, gauge, effects: Vec::new() };
    tracing::info!(event = "agent.started", site = %daemon.config.site, agent = %daemon.config.agent,
        incarnation = format!("{incarnation:016x}"), version = env!("CARGO_PKG_VERSION"), "the agent runs");
    daemon.gauge.refresh(&daemon.core, &daemon.store, &daemon.clock, true);
    daemon.gauge.phase(Phase::Running);
    let end = runtime.block_on(daemon.serve(&mut shells, asks));
    daemon.gauge.phase(Phase::Stopping);
    runtime.block_on(daemon.stop(&mut shells));
    shells.end();
    match end {
        End::Stop => {
            tracing::info!(event = "agent.stopped", "clean stop: everything acknowledged is on disk");
            Ok(None)
        }
        End::Replace => {
            tracing::warn!(event = "store.replaced", "a restored backup takes the store's place");
            Ok(Some(daemon.config))
        }
    }
}

impl Birth {
    /// Who the agent of `config` is.
    pub fn of(config: &Checked, incarnation: u64, key: Option<ed25519_dalek::SigningKey>) -> Self {
        Self {
            identity: fettle_wire::Identity { site: config.site.clone(), agent: config.agent.clone(), incarnation },
            topics: fettle_wire::topic::KafkaTopics::new(config.kafka.prefix.clone()),
            key,
            limits: Limits::of(config),
            releases: config.releases.clone(),
        }
    }
}

/// Why the loop ended.
enum End {
    Stop,
    Replace,
}

struct Daemon {
    config: Checked,
    core: Core,
    store: Lmdb,
    clock: Clock,
    gauge: Gauge,
    effects: Vec<Effect>,
}

impl Daemon {
    async fn serve(&mut self, shells: &mut Shells, asks: &mut UnboundedReceiver<Ask>) -> End {
        // The configuration may have changed while the agent was away; the generation of a first start is the first entry.
        let reload = Event::Reload(Box::new(Generation::of(&self.config)), Limits::of(&self.config));
        self.step(reload, shells);
        // Until Kafka's client says otherwise.
        self.step(Event::Reachable(false), shells);
        self.commit_if_due(shells).await;
        loop {
            if let Some(end) = self.turn(shells, asks).await {
                return end;
            }
            while self.step_ready(shells) {
                if self.core.commit_due(self.clock.monotonic()) {
                    break;
                }
            }
            self.commit_if_due(shells).await;
            if self.gauge.refresh(&self.core, &self.store, &self.clock, false) > NEARLY_FULL {
                self.make_room();
            }
        }
    }

    /// Waits for whatever comes first and steps it.
    async fn turn(&mut self, shells: &mut Shells, asks: &mut UnboundedReceiver<Ask>) -> Option<End> {
        let now = self.clock.monotonic();
        let commit = self.core.next_commit().map(|at| Duration::from_micros(at.saturating_sub(now)));
        let wait = commit.map_or(TICK, |commit| commit.min(TICK));
        tokio::select! {
            biased;
            ask = asks.recv() => match ask {
                Some(Ask::Reload) => self.reload(shells),
                Some(Ask::Replace) if replace::waits(&self.config.store) => return Some(End::Replace),
                Some(Ask::Replace) => {
                    tracing::warn!(event = "store.not_replaced", "SIGUSR1, but no restored backup waits in the store");
                }
                Some(Ask::Stop) | None => return Some(End::Stop),
            },
            Some(report) = shells.from_kafka.recv() => self.kafka(report, shells),
            Some(event) = shells.from_broker.recv() => self.broker(event, shells),
            () = tokio::time::sleep(wait) => {}
        }
        if self.gauge.tick_due(self.clock.monotonic(), TICK) {
            self.step(Event::Tick, shells);
        }
        None
    }

    /// Steps one more event if one is ready: most of the cost is the waking up.
    fn step_ready(&mut self, shells: &mut Shells) -> bool {
        match shells.from_kafka.try_recv() {
            Ok(report) => {
                self.kafka(report, shells);
                return true;
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        match shells.from_broker.try_recv() {
            Ok(event) => {
                self.broker(event, shells);
                true
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => false,
        }
    }

    fn step(&mut self, event: Event, shells: &mut Shells) {
        self.core.step(self.clock.now(), event, &mut self.effects);
        self.carry_out(shells);
    }

    fn broker(&mut self, event: FromBroker, shells: &mut Shells) {
        self.gauge.broker(&event);
        match event {
            FromBroker::Messages(messages) => self.step(Event::Messages(messages), shells),
            FromBroker::SessionLost => {
                tracing::warn!(event = "mqtt.session_lost", "the broker forgot our session; nodes will send again");
                self.step(Event::SessionLost, shells);
            }
            FromBroker::Connected { session_present } => {
                tracing::info!(event = "mqtt.connected", session_present, "connected to the broker");
                // Unacknowledged messages of the old connection come again with new tickets.
                self.step(Event::SessionLost, shells);
            }
            FromBroker::Disconnected { reason } => {
                tracing::warn!(event = "mqtt.disconnected", reason, "the connection to the broker ended");
            }
        }
    }

    fn kafka(&mut self, report: FromKafka, shells: &mut Shells) {
        self.gauge.kafka(&report);
        match report {
            FromKafka::Delivered { lane, sequence } => self.step(Event::Delivered(lane, sequence), shells),
            FromKafka::Failed { lane, sequence, reason, fatal } => {
                tracing::warn!(
                    event = "kafka.delivery_failed",
                    lane = lane.as_str(),
                    sequence,
                    reason,
                    fatal,
                    "a record was not delivered"
                );
                let event = if fatal { Event::Refused(lane, sequence) } else { Event::Failed(lane, sequence) };
                self.step(event, shells);
            }
            FromKafka::Connected(reachable) => {
                if reachable {
                    tracing::info!(event = "kafka.connected", "a Kafka broker answers");
                } else {
                    tracing::warn!(event = "kafka.disconnected", "no Kafka broker answers; records wait in the outbox");
                }
                self.step(Event::Reachable(reachable), shells);
            }
            FromKafka::Command { partition, offset, payload } => {
                self.step(Event::Command { partition, offset, payload }, shells);
            }
            FromKafka::Rollout { payload } => self.step(Event::Rollout(payload), shells),
            FromKafka::Release { hash, outcome: Ok(bytes) } => {
                tracing::info!(event = "release.arrived", hash, bytes = bytes.len(), "a release file was found");
                self.step(Event::Release(bytes), shells);
            }
            FromKafka::Release { hash, outcome: Err((reason, why)) } => {
                tracing::warn!(event = "release.refused", hash, reason, why, "a release is not taken");
                self.step(Event::ReleaseRefused(hash, reason), shells);
            }
            FromKafka::Progress { partition, offset } => {
                self.step(Event::Command { partition, offset, payload: Vec::new() }, shells);
            }
        }
    }

    fn reload(&mut self, shells: &mut Shells) {
        let outcome = config::load(&self.config.file);
        self.gauge.reloaded(outcome.is_ok());
        match outcome {
            Ok(config) => {
                for key in needs_restart(&self.config, &config) {
                    tracing::warn!(event = "config.needs_restart", key, "this change is taken over by a restart only");
                }
                let generation = Generation::of(&config);
                self.step(Event::Reload(Box::new(generation), Limits::of(&config)), shells);
                let generation = self.core.shared().generations;
                tracing::info!(event = "config.reloaded", generation, "the new configuration is in force");
                self.config = Checked { mqtt: self.config.mqtt.clone(), kafka: self.config.kafka.clone(), ..config };
            }
            Err(error) => tracing::error!(event = "config.refused", %error, "the old configuration stays in force"),
        }
    }

    /// Commits if that is due; until it succeeds nothing else is stepped.
    async fn commit_if_due(&mut self, shells: &mut Shells) {
        if !self.core.commit_due(self.clock.monotonic()) {
            return;
        }
        let mut pause = RETRY.0;
        let mut failed = false;
        while let Err(error) = self.try_commit() {
            failed = true;
            tracing::error!(event = "store.commit_failed", %error, "the batch is kept and tried again");
            self.core.commit_failed(&mut self.effects);
            self.carry_out(shells);
            if matches!(error, StoreError::Full(_)) {
                self.make_room();
            }
            self.gauge.refresh(&self.core, &self.store, &self.clock, true);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
        if failed {
            tracing::info!(event = "store.commit_resumed", "commits succeed again");
        }
        self.core.committed(&mut self.effects);
        self.carry_out(shells);
    }

    /// Gives up raw entries, in a commit of its own.
    fn make_room(&mut self) {
        let Some(write) = self.core.make_room() else { return };
        match self.store.commit(&[write]) {
            Ok(()) => {
                tracing::warn!(event = "store.trimmed", "the store is nearly full: raw entries were given up early");
            }
            Err(error) => tracing::error!(event = "store.trouble", %error, "no room could be made"),
        }
    }

    fn try_commit(&mut self) -> Result<(), StoreError> {
        let began = self.clock.monotonic();
        let outcome = self.store.commit(self.core.prepare());
        self.gauge.commit(outcome.is_ok(), began, self.clock.monotonic(), self.clock.now().wall);
        outcome
    }

    fn carry_out(&mut self, shells: &mut Shells) {
        let mut effects = std::mem::take(&mut self.effects);
        let mut room = true;
        for effect in effects.drain(..) {
            match effect {
                Effect::Acknowledge(tickets) => {
                    self.gauge.acknowledged(tickets.len());
                    shells.to_broker(ToBroker::Acknowledge(tickets));
                }
                Effect::Confirm { topic, payload } => {
                    self.gauge.confirmed();
                    shells.to_broker(ToBroker::Publish { topic, payload, retain: true });
                }
                Effect::Fetch(hash) => {
                    tracing::info!(event = "release.wanted", hash, "looking for a release file");
                    shells.fetch(hash);
                }
                Effect::Produce(lane, sequence) => {
                    room = room && self.produce(lane, sequence, shells);
                    if !room {
                        self.core.step(self.clock.now(), Event::NotSent(lane), &mut self.effects);
                    }
                }
                Effect::ProduceEarly { sequence, key, payload } => {
                    let topic = self.core.topic(Lane::Alerts);
                    let early = Outgoing { lane: Lane::Alerts, sequence, topic, key, payload: payload.into_bytes() };
                    // If there is no room the alarm waits for its commit like everything else.
                    let _ = shells.producer.send(early);
                }
            }
        }
    }

    /// Reads a record back from the store and hands it to Kafka's client. False when that has no room.
    fn produce(&mut self, lane: Lane, sequence: u64, shells: &mut Shells) -> bool {
        let value = match self.store.get(&record::key(lane, sequence)) {
            Ok(Some(value)) => value,
            Ok(None) => return self.unreadable(lane, sequence, "it is not in the store"),
            Err(error) => {
                tracing::warn!(event = "store.trouble", %error, "a record could not be read and is tried again");
                return false;
            }
        };
        match Core::opened(lane, sequence, &value) {
            Ok((key, payload)) => {
                let topic = self.core.topic(lane);
                shells.producer.send(Outgoing { lane, sequence, topic, key, payload }).is_ok()
            }
            Err(damage) => self.unreadable(lane, sequence, &damage.to_string()),
        }
    }

    /// A record that cannot be sent must not hold up the lane; it is counted as shed.
    fn unreadable(&mut self, lane: Lane, sequence: u64, why: &str) -> bool {
        tracing::error!(event = "store.trouble", lane = lane.as_str(), sequence, error = why, "a record is lost");
        self.core.step(self.clock.now(), Event::Refused(lane, sequence), &mut self.effects);
        true
    }

    /// Clean stop: the broker hands out nothing more, every snapshot is written, what is acknowledged is on disk.
    async fn stop(&mut self, shells: &mut Shells) {
        while self.step_ready(shells) {}
        self.core.step(self.clock.now(), Event::Tick, &mut self.effects);
        self.core.snapshot_everything();
        self.finish_commit(shells);
        shells.quit_broker();
        let until = self.clock.monotonic() + FAREWELL.as_micros() as u64;
        while self.core.outbox().in_flight() > 0 && self.clock.monotonic() < until {
            match tokio::time::timeout(Duration::from_millis(100), shells.from_kafka.recv()).await {
                Ok(Some(FromKafka::Delivered { lane, sequence })) => {
                    self.core.step(self.clock.now(), Event::Delivered(lane, sequence), &mut self.effects);
                    // What may go now waits for the next start.
                    self.effects.clear();
                }
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => break,
            }
        }
        self.finish_commit(shells);
    }

    /// One attempt: what cannot be committed now is not acknowledged and comes again.
    fn finish_commit(&mut self, shells: &mut Shells) {
        if self.core.next_commit().is_none() {
            return;
        }
        match self.try_commit() {
            Ok(()) => {
                self.core.committed(&mut self.effects);
                self.effects.retain(|e| matches!(e, Effect::Acknowledge(_) | Effect::Confirm { .. }));
                self.carry_out(shells);
            }
            Err(error) => tracing::error!(event = "store.commit_failed", %error, "stopping without this commit"),
        }
    }
}

/// Keys that a reload cannot take over.
fn needs_restart(old: &Checked, new: &Checked) -> Vec<&'static str> {
    let shown = |c: &Checked| {
        [
            ("site", c.site.to_string()),
            ("agent", c.agent.to_string()),
            ("store", c.store.display().to_string()),
            ("sign", c.sign.to_string()),
            ("mqtt", format!("{:?}", c.mqtt)),
            ("kafka", format!("{:?}", c.kafka)),
            ("releases", format!("{:?}", c.releases)),
            ("journal.max_bytes", c.journal.max_bytes.to_string()),
            ("http.listen", c.http_listen.to_string()),
        ]
    };
    let changed = shown(old).into_iter().zip(shown(new)).filter(|(a, b)| a.1 != b.1);
    changed.map(|(a, _)| a.0).collect()
}
