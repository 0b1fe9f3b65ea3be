//! The agent's process: the loop of `fettle_agent::run` under virtual time. It steps what has arrived, commits when due,
//! retries a failed commit with growing pauses and steps nothing meanwhile, and carries effects out in order.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fettle_agent::acquire::Inbound;
use fettle_agent::core::{Core, Effect, Event};
use fettle_agent::journal::model::Fate;
use fettle_agent::journal::store::{Store, StoreError};
use fettle_agent::outbox::{index, record};
use fettle_agent::uplink::FromKafka;
use fettle_wire::{Arrival, ClockQuality, Lane};

use crate::check::{self, Check, Violation, content};
use crate::plan::{Defect, EPOCH, MS, SECOND};
use crate::uplink::Flying;
use crate::world::{Happening, World};

/// First and longest pause before a failed commit is tried again.
const RETRY: (u64, u64) = (50 * MS, 5 * SECOND);
/// A wall clock before this was never set, whatever the configuration says (as in `fettle_agent::clock`).
const OLDEST_WALL: i64 = 1_735_689_600_000_000;
/// One commit in so many is followed by a recovery beside it.
const WATCH: u64 = 32;

/// What the session hands over.
#[derive(Debug)]
pub(crate) enum Input {
    Messages(Vec<Inbound>),
    SessionLost,
    Connected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Steps what comes.
    Stepping,
    /// A batch is on its way to the disk, or waits to be tried again: nothing is stepped.
    Committing,
}

/// The agent between start and crash.
pub(crate) struct Process {
    pub(crate) life: u64,
    pub(crate) core: Core,
    /// Monotonic time at the start.
    floor: u64,
    started: u64,
    effects: Vec<Effect>,
    pub(crate) broker: VecDeque<Input>,
    pub(crate) kafka: VecDeque<FromKafka>,
    phase: Phase,
    pause: u64,
    next_tick: u64,
    wake: Option<u64>,
    pub(crate) connection: Option<u64>,
    pub(crate) connected_before: bool,
    /// Ticket: connection, the broker's id there, content.
    tickets: BTreeMap<u64, (u64, u64, u64)>,
    next_ticket: u64,
    /// Confirmations that wait for a connection.
    pub(crate) unsent: BTreeMap<String, Vec<u8>>,
    pub(crate) inbox: BTreeMap<i32, i64>,
    /// What Kafka's client last said of Kafka.
    pub(crate) reachable: Option<bool>,
}

impl Process {
    fn monotonic(&self, now: u64) -> u64 {
        self.floor + now - self.started
    }

    /// Gives a message its ticket.
    pub(crate) fn inbound(&mut self, connection: u64, id: u64, topic: String, payload: Bytes, again: bool) -> Inbound {
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, (connection, id, content(&topic, &payload)));
        Inbound { ticket: self.next_ticket, topic, payload, redelivered: again, oversize: None }
    }
}

impl World {
    /// Starts the agent from its store.
    pub(crate) fn start(&mut self) -> Check {
        if self.process.is_some() {
            return Ok(());
        }
        let recovered = Core::recover(&self.disk.model, self.plan.birth(), self.plan.generation(self.generation));
        let (core, recovered) =
            recovered.map_err(|e| Violation::new("C3", format!("the agent does not start: {e}")))?;
        self.lives += 1;
        self.trace.note(self.now, "start", &[self.lives, recovered.entries, recovered.records]);
        if let Some(committed) = self.committed.take() {
            check::check_pictures(&committed, &check::picture(&core))?;
        }
        let floor = core.now().monotonic + 1;
        let inbox = core.command_offsets().clone();
        let life = self.lives;
        self.process = Some(Process {
            life,
            core,
            floor,
            started: self.now,
            effects: Vec::new(),
            broker: VecDeque::new(),
            kafka: VecDeque::new(),
            phase: Phase::Stepping,
            pause: RETRY.0,
            next_tick: self.now + SECOND,
            wake: None,
            connection: None,
            connected_before: false,
            tickets: BTreeMap::new(),
            next_ticket: life << 32,
            unsent: BTreeMap::new(),
            inbox,
            reachable: None,
        });
        self.later(20 * MS, Happening::Connect(life));
        self.later(50 * MS, Happening::Inbox(life));
        // As the daemon does: the configuration may have changed while the agent was away.
        let generation = Box::new(self.plan.generation(self.generation));
        self.step(Event::Reload(generation, self.plan.limits()))?;
        self.step(Event::Reachable(false))?;
        self.commit_if_due();
        Ok(())
    }

    /// The process ends here, whatever it was about to do.
    pub(crate) fn crash(&mut self) {
        let Some(process) = self.process.take() else { return };
        let applied = process.core.next_commit().is_none();
        self.committed = applied.then(|| check::picture(&process.core));
        self.shed_before += shed(&process.core);
        self.lives_given_up += process.core.lives().status().given_up;
        self.trace.note(self.now, "crash", &[process.life, u64::from(applied)]);
        self.seen.crashes += 1;
        self.broker.connection = None;
        self.producer_lost();
        self.disk.crashed();
        let pause = self.chance.between(50, 3_000) * MS;
        self.later(pause, Happening::Start);
    }

    fn arrival(&self, process: &Process) -> Arrival {
        let wall = EPOCH + self.now as i64 + self.wall * SECOND as i64;
        let quality = match self.plan.defect {
            Some(Defect::FutureStampBelieved) => ClockQuality::Synced,
            _ if wall < OLDEST_WALL => ClockQuality::Unknown,
            _ => self.plan.quality,
        };
        Arrival { wall, monotonic: process.monotonic(self.now), quality }
    }

    /// Something has arrived for the process.
    pub(crate) fn nudge(&mut self) {
        let now = self.now;
        if let Some(process) = &mut self.process
            && process.phase == Phase::Stepping
            && process.wake.is_none_or(|wake| wake > now)
        {
            process.wake = Some(now);
            let life = process.life;
            self.later(0, Happening::Wake(life));
        }
    }

    /// One turn of the loop.
    pub(crate) fn wake(&mut self, life: u64) -> Check {
        let now = self.now;
        let Some(process) = self.process.as_mut().filter(|p| p.life == life) else { return Ok(()) };
        if process.phase != Phase::Stepping || process.wake != Some(now) {
            return Ok(());
        }
        process.wake = None;
        self.step_ready()?;
        if let Some(process) = &mut self.process
            && now >= process.next_tick
        {
            process.next_tick = now + SECOND;
            self.step(Event::Tick)?;
        }
        while self.step_ready()? {
            if self.process.as_ref().is_none_or(|p| p.core.commit_due(p.monotonic(now))) {
                break;
            }
        }
        self.commit_if_due();
        Ok(())
    }

    /// Begins a commit, or waits for what comes first.
    fn commit_if_due(&mut self) {
        let now = self.now;
        let Some(process) = &mut self.process else { return };
        let life = process.life;
        if process.core.commit_due(process.monotonic(now)) {
            (process.phase, process.pause) = (Phase::Committing, RETRY.0);
            let takes = if self.disk_random.hit(5) { 300 * MS } else { self.disk_random.between(1, 20) * MS };
            return self.later(takes, Happening::Commit(life));
        }
        let ready = !process.broker.is_empty() || !process.kafka.is_empty();
        let commit = process.core.next_commit().map(|at| at.saturating_sub(process.floor) + process.started);
        let at = if ready { now } else { commit.unwrap_or(u64::MAX).min(process.next_tick).max(now) };
        process.wake = Some(at);
        self.later(at - now, Happening::Wake(life));
    }

    /// Steps one more event if one is ready; Kafka's reports first.
    fn step_ready(&mut self) -> Result<bool, Violation> {
        let Some(process) = &mut self.process else { return Ok(false) };
        if let Some(report) = process.kafka.pop_front() {
            let event = match report {
                FromKafka::Delivered { lane, sequence } => Event::Delivered(lane, sequence),
                FromKafka::Failed { lane, sequence, fatal: true, .. } => Event::Refused(lane, sequence),
                FromKafka::Failed { lane, sequence, .. } => Event::Failed(lane, sequence),
                FromKafka::Command { partition, offset, payload } => Event::Command { partition, offset, payload },
                FromKafka::Progress { partition, offset } => Event::Command { partition, offset, payload: Vec::new() },
                FromKafka::Connected(reachable) => Event::Reachable(reachable),
                FromKafka::Rollout { payload } => Event::Rollout(payload),
                FromKafka::Release { outcome: Ok(bytes), .. } => Event::Release(bytes),
                FromKafka::Release { hash, outcome: Err((reason, _)) } => Event::ReleaseRefused(hash, reason),
            };
            self.step(event)?;
            return Ok(true);
        }
        match process.broker.pop_front() {
            Some(Input::Messages(messages)) => self.step(Event::Messages(messages))?,
            Some(Input::SessionLost | Input::Connected) => {
                // Both void the tickets: what was not acknowledged comes again with new ones.
                if self.plan.defect == Some(Defect::PendingClearedOnLostSession) {
                    self.disk.void_until = Some(process.monotonic(self.now));
                }
                self.step(Event::SessionLost)?;
            }
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Steps the core and carries its effects out.
    pub(crate) fn step(&mut self, event: Event) -> Check {
        let Some(process) = &self.process else { return Ok(()) };
        let arrival = self.arrival(process);
        let (what, number) = shown(&event);
        self.trace.note(self.now, what, &[arrival.wall as u64, arrival.monotonic, number]);
        let early: Vec<u64> = match &event {
            Event::Messages(messages) => messages.iter().map(|m| m.ticket).collect(),
            _ => Vec::new(),
        };
        let Some(process) = &mut self.process else { return Ok(()) };
        process.core.step(arrival, event, &mut process.effects);
        if !early.is_empty() {
            match self.plan.defect {
                Some(Defect::AcknowledgeBeforeCommit) => process.effects.push(Effect::Acknowledge(early)),
                Some(Defect::ConfirmBeforeCommit) => {
                    let confirmations = process.core.accounts().filter(|(_, door, _)| door.has_nodes());
                    let told: Vec<_> = confirmations
                        .map(|(asset, door, _)| Effect::Confirm {
                            topic: fettle_wire::topic::durable(crate::plan::SITE, asset),
                            payload: door.durable().encode().expect("a confirmation has a CBOR form"),
                        })
                        .collect();
                    process.effects.extend(told);
                }
                _ => {}
            }
        }
        self.carry_out()
    }

    /// The disk answers.
    pub(crate) fn commit(&mut self, life: u64) -> Check {
        let fate = self.fate();
        let Some(process) = self.process.as_mut().filter(|p| p.life == life) else { return Ok(()) };
        let writes = process.core.prepare();
        self.trace.note(self.now, "commit", &[life, writes.len() as u64, fate as u64]);
        if let Some(written) = self.crash_in_commit.take() {
            if written {
                self.disk.commit(writes, Fate::Commits).expect("the model commits");
                self.witness.read(&self.disk.model, &self.kafka.delivered)?;
            }
            self.crash();
            self.committed = None;
            return Ok(());
        }
        let outcome = self.disk.commit(writes, fate);
        self.witness.read(&self.disk.model, &self.kafka.delivered)?;
        match outcome {
            Ok(()) => self.committed_well(),
            Err(error) => {
                self.seen.failed_commits += 1;
                process.core.commit_failed(&mut process.effects);
                if matches!(error, StoreError::Full(_))
                    && let Some(room) = process.core.make_room()
                {
                    self.disk.commit(&[room], Fate::Commits).expect("the model commits");
                }
                let pause = process.pause;
                process.pause = (pause * 2).min(RETRY.1);
                self.later(pause, Happening::Commit(life));
                self.carry_out()
            }
        }
    }

    fn fate(&mut self) -> Fate {
        match self.disk_fault {
            Some(fate) if self.disk_random.hit(70) => fate,
            _ => Fate::Commits,
        }
    }

    fn committed_well(&mut self) -> Check {
        let Some(process) = &mut self.process else { return Ok(()) };
        self.witness.check_core(&process.core)?;
        if self.watch.below(WATCH) == 0 {
            let store = self.disk.as_recovered();
            let recovered = Core::recover(&store, self.plan.birth(), self.plan.generation(self.generation));
            let (beside, _) = recovered.map_err(|e| Violation::new("C3", format!("the agent would not start: {e}")))?;
            check::check_pictures(&check::picture(&process.core), &check::picture(&beside))?;
            self.seen.watched += 1;
        }
        process.core.committed(&mut process.effects);
        let status = Lane::ALL.map(|lane| process.core.outbox().status(lane));
        let bytes: u64 = status.iter().map(|s| s.bytes).sum();
        if bytes > self.plan.outbox_bytes {
            let (waiting, flying) = (process.core.outbox().len(), process.core.outbox().in_flight() as u64);
            check::hold!(
                waiting == flying,
                "O4",
                "the outbox holds {bytes} bytes, {waiting} records, {flying} in flight"
            );
        }
        self.witness.check_shed(self.shed_before + shed(&process.core))?;
        process.phase = Phase::Stepping;
        let effects = process.effects.len() as u64;
        if let Some(count) = self.crash_in_effects.take() {
            process.effects.truncate(count as usize);
            self.carry_out()?;
            self.trace.note(self.now, "crash in effects", &[count.min(effects)]);
            self.crash();
            return Ok(());
        }
        self.carry_out()?;
        self.commit_if_due();
        Ok(())
    }

    fn carry_out(&mut self) -> Check {
        let Some(process) = &mut self.process else { return Ok(()) };
        let mut room = true;
        for effect in std::mem::take(&mut process.effects) {
            match effect {
                Effect::Acknowledge(tickets) => self.acknowledge(&tickets)?,
                Effect::Confirm { topic, payload } => {
                    self.witness.check_confirmed(&topic, &payload)?;
                    self.trace.note(self.now, "confirm", &[content(&topic, &payload)]);
                    self.confirm(topic, payload);
                }
                // No pointer is ever published in this world.
                Effect::Fetch(_) => {}
                Effect::Produce(lane, sequence) => {
                    room = room && self.produce(lane, sequence)?;
                    if !room {
                        self.seen.not_sent += 1;
                        self.step_quietly(Event::NotSent(lane));
                    }
                }
                Effect::ProduceEarly { sequence, key, payload } => {
                    self.seen.early += 1;
                    self.trace.note(self.now, "produce early", &[sequence]);
                    let _ = self.send(Flying { lane: Lane::Alerts, sequence, key, payload: payload.into_bytes() });
                }
            }
        }
        Ok(())
    }

    /// Steps without carrying out: the effects wait for the next turn, as in the daemon.
    fn step_quietly(&mut self, event: Event) {
        let Some(process) = &self.process else { return };
        let arrival = self.arrival(process);
        if let Some(process) = &mut self.process {
            process.core.step(arrival, event, &mut process.effects);
        }
    }

    fn acknowledge(&mut self, tickets: &[u64]) -> Check {
        self.trace.note(self.now, "acknowledge", tickets);
        let Some(process) = &mut self.process else { return Ok(()) };
        let mut ids = Vec::new();
        for ticket in tickets {
            let Some((connection, id, content)) = process.tickets.remove(ticket) else {
                return Err(Violation::new("C1", format!("ticket {ticket} is acknowledged twice or was never given")));
            };
            self.witness.check_acknowledged(*ticket, content)?;
            if process.connection == Some(connection) {
                ids.push(id);
            }
        }
        if let Some(connection) = process.connection {
            let delay = self.network.between(1, 50) * MS;
            self.later(delay, Happening::Acknowledged { connection, ids });
        }
        Ok(())
    }

    fn confirm(&mut self, topic: String, payload: Vec<u8>) {
        let Some(process) = &mut self.process else { return };
        let Some(connection) = process.connection else {
            process.unsent.insert(topic, payload);
            return;
        };
        let delay = self.network.between(1, 50) * MS;
        self.later(delay, Happening::Confirmed { connection, topic, payload });
    }

    /// Reads a record back from the store and hands it to Kafka's client. False when that has no room.
    fn produce(&mut self, lane: Lane, sequence: u64) -> Result<bool, Violation> {
        let value = self.disk.model.get(&record::key(lane, sequence)).expect("the model can be read");
        let Some(value) = value else {
            let what = format!("record {sequence} of {} is to be sent and not in the store", lane.as_str());
            return Err(Violation::new("O1", what));
        };
        let (key, payload) = Core::opened(lane, sequence, &value).expect("the core has sealed it");
        let flying = Flying { lane, sequence, key, payload };
        let sent = self.send(flying);
        self.trace.note(self.now, "produce", &[index(lane) as u64, sequence, u64::from(sent)]);
        if sent && self.plan.defect == Some(Defect::DeletedOnProduce) {
            self.step_quietly(Event::Delivered(lane, sequence));
        }
        Ok(sent)
    }

    /// Whether the process takes events now.
    pub(crate) fn stepping(&self) -> bool {
        self.process.as_ref().is_some_and(|p| p.phase == Phase::Stepping)
    }

    /// Records counted as shed since the store's beginning.
    pub(crate) fn shed(&self) -> u64 {
        self.shed_before + self.process.as_ref().map_or(0, |p| shed(&p.core))
    }
}

fn shed(core: &Core) -> u64 {
    Lane::ALL.iter().map(|lane| core.outbox().status(*lane).shed).sum()
}

fn shown(event: &Event) -> (&'static str, u64) {
    let place = |lane: &Lane, sequence: &u64| (index(*lane) as u64) << 56 | sequence;
    match event {
        Event::Messages(messages) => {
            let contents = messages.iter().map(|m| content(&m.topic, &m.payload) ^ u64::from(m.redelivered));
            ("messages", contents.fold(messages.len() as u64, |a, b| crate::random::mix(&[a, b])))
        }
        Event::SessionLost => ("session lost", 0),
        Event::Tick => ("tick", 0),
        Event::Command { offset, .. } => ("command", *offset as u64),
        Event::Reload(..) => ("reload", 0),
        Event::Rollout(payload) => ("rollout", payload.len() as u64),
        Event::Release(bytes) => ("release", bytes.len() as u64),
        Event::ReleaseRefused(..) => ("release refused", 0),
        Event::RollBack(..) => ("roll back", 0),
        Event::Delivered(lane, sequence) => ("delivered", place(lane, sequence)),
        Event::Failed(lane, sequence) => ("failed", place(lane, sequence)),
        Event::Refused(lane, sequence) => ("refused", place(lane, sequence)),
        Event::NotSent(lane) => ("not sent", index(*lane) as u64),
        Event::Reachable(reachable) => ("reachable", u64::from(*reachable)),
    }
}
