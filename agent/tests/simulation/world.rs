//! The world: virtual time, the agenda of what happens next, the network between nodes, broker, agent and Kafka, and the
//! faults. Everything is decided by the plan's seed; nothing here reads a clock or iterates in an order of hashes.

use std::collections::BTreeMap;

use bytes::Bytes;
use fettle_agent::core::Event;
use fettle_agent::core::lives::stored;
use fettle_agent::journal::model::Fate;
use fettle_agent::uplink::FromKafka;
use fettle_models::life::file::RecordedLife;
use fettle_wire::{Evidence, Lane};

use crate::broker::{Broker, Delivery, Publication};
use crate::check::{Check, Violation, Witness, hold};
use crate::disk::Disk;
use crate::driver::{Input, Process};
use crate::gateway::Gateway;
use crate::node::{Blocks, Node};
use crate::plan::{END, FOREIGN, Fault, LONE, MILL, MS, NODES, OLD, Plan, SECOND, STOP, STRAY, WILD, events};
use crate::random::{Purpose, Random, mix};
use crate::trace::Trace;
use crate::uplink::{Kafka, commands};

/// Between two frames of a node.
const PERIOD: u64 = SECOND;
/// Between two writes of the broker's session to its disk.
const SAVE: u64 = 3 * SECOND;

/// What happens at a moment.
#[derive(Debug)]
pub(crate) enum Happening {
    Sample(usize),
    /// A frame reaches the broker.
    Frame {
        node: usize,
        link: u64,
        topic: String,
        payload: Bytes,
    },
    /// A publisher without our firmware speaks.
    Foreign(u64),
    /// Messages reach the agent.
    Messages {
        connection: u64,
        deliveries: Vec<Delivery>,
    },
    /// A PUBACK reaches the broker.
    Acknowledged {
        connection: u64,
        ids: Vec<u64>,
    },
    /// A confirmation reaches the broker.
    Confirmed {
        connection: u64,
        topic: String,
        payload: Vec<u8>,
    },
    /// A confirmation reaches a node.
    AtNode {
        node: usize,
        link: u64,
        payload: Vec<u8>,
    },
    Save,
    Start,
    Connect(u64),
    Wake(u64),
    Commit(u64),
    Serve(Lane, u32),
    Report(u64, FromKafka),
    Inbox(u64),
    Command(usize),
    /// Somebody tells what happened to a machine.
    Event(usize),
    Reboot(usize),
    Begin(usize),
    Finish(usize),
}

/// How often things happened, to see that a hundred seeds reach them all.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) crashes: u64,
    pub(crate) sessions_lost: u64,
    pub(crate) failed_commits: u64,
    pub(crate) early: u64,
    pub(crate) not_sent: u64,
    pub(crate) producer_resets: u64,
    pub(crate) watched: u64,
    pub(crate) alerts: u64,
    pub(crate) duplicates: u64,
    pub(crate) shed: u64,
    pub(crate) records: u64,
    pub(crate) events: u64,
    /// Waveform blocks in the journal, and those of them that were over budget.
    pub(crate) blocks: u64,
    pub(crate) over_budget: u64,
    /// Records of evidence at the gateway, and those of them that rest on joined blocks.
    pub(crate) evidence: u64,
    pub(crate) joined: u64,
    /// Stretches of raw samples that were kept, and those of them that were given up.
    pub(crate) kept: u64,
    pub(crate) given_up: u64,
    /// Lives recorded at the end, and those that were given up.
    pub(crate) lives: u64,
    pub(crate) given_up_lives: u64,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<Violation>,
    pub(crate) at: u64,
    pub(crate) hash: u64,
    pub(crate) seen: Seen,
    pub(crate) health: BTreeMap<(String, i64), (u32, String)>,
    /// What is recorded of machines' lives.
    pub(crate) lives: Vec<RecordedLife>,
}

/// See the module's header.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: u64,
    agenda: BTreeMap<(u64, u64), Happening>,
    order: u64,
    pub(crate) trace: Trace,
    pub(crate) network: Random,
    pub(crate) disk_random: Random,
    pub(crate) kafka_random: Random,
    pub(crate) chance: Random,
    pub(crate) watch: Random,
    pub(crate) nodes: Vec<Node>,
    pub(crate) broker: Broker,
    /// No message reaches the agent before one sent earlier.
    last_arrival: u64,
    agent_cut: bool,
    pub(crate) disk: Disk,
    pub(crate) disk_fault: Option<Fate>,
    pub(crate) crash_in_commit: Option<bool>,
    pub(crate) crash_in_effects: Option<u64>,
    pub(crate) wall: i64,
    pub(crate) generation: u64,
    pub(crate) process: Option<Process>,
    pub(crate) lives: u64,
    /// What was committed when the process ended, if nothing else was stepped.
    pub(crate) committed: Option<BTreeMap<String, u64>>,
    pub(crate) shed_before: u64,
    pub(crate) lives_given_up: u64,
    pub(crate) kafka: Kafka,
    pub(crate) gateway: Gateway,
    pub(crate) witness: Witness,
    pub(crate) seen: Seen,
}

/// Runs a plan to its end or to the first violation.
pub(crate) fn run(plan: &Plan, print: bool) -> Outcome {
    let mut world = World::new(plan.clone(), print);
    let violation = world.live().err();
    if let (Some(violation), true) = (&violation, print) {
        println!("{:>12.6} VIOLATION {}: {}", world.now as f64 / 1e6, violation.code, violation.what);
    }
    world.seen.alerts = world.gateway.alerts.len() as u64;
    world.seen.duplicates = world.gateway.duplicates;
    world.seen.shed = world.shed();
    world.seen.records = world.witness.records.len() as u64;
    world.seen.events = world.trace.lines();
    world.seen.blocks = world.witness.waveforms.blocks.len() as u64;
    world.seen.over_budget = world.witness.waveforms.over_budget();
    world.seen.evidence = world.gateway.evidence.len() as u64;
    let joined = |e: &&Evidence| e.joined > e.samples.len() as u64 / 2;
    world.seen.joined = world.gateway.evidence.iter().filter(joined).count() as u64;
    (world.seen.kept, world.seen.given_up) = world.witness.waveforms.kept();
    let (lives, damaged) = stored::all(&world.disk.model).expect("the model can be read");
    assert_eq!(damaged, 0);
    world.seen.lives = lives.len() as u64;
    world.seen.given_up_lives = world.lives_given_up;
    let lives = lives.into_iter().map(|listed| listed.life).collect();
    let (hash, health) = (world.trace.hash(), world.gateway.health);
    Outcome { violation, at: world.now, hash, seen: world.seen, health, lives }
}

impl World {
    fn new(plan: Plan, print: bool) -> Self {
        let random = |purpose| Random::new(plan.seed, purpose);
        let mut nodes: Vec<Node> = NODES.iter().enumerate().map(|(at, name)| Node::new(plan.seed, at, name)).collect();
        nodes[STRAY].third = 240 * SECOND;
        nodes[OLD].epoch = true;
        nodes[3].capacity = plan.small_ring.unwrap_or(usize::MAX);
        nodes[LONE].blocks = Some(Blocks { samples: 512, every: 4, gap: u64::MAX });
        let consecutive = Blocks { samples: plan.waveform.samples, every: 1, gap: plan.waveform.gap };
        nodes[MILL].blocks = Some(consecutive).filter(|blocks| blocks.samples > 0);
        nodes[MILL].channels = ["speed", "temperature"];
        nodes[MILL].capacity = plan.small_ring.map_or(usize::MAX, |frames| 2 * frames);
        Self {
            now: 0,
            agenda: BTreeMap::new(),
            order: 0,
            trace: Trace::new(print),
            network: random(Purpose::Network),
            disk_random: random(Purpose::Disk),
            kafka_random: random(Purpose::Kafka),
            chance: random(Purpose::Crash),
            watch: random(Purpose::Watch),
            nodes,
            broker: Broker::new(plan.window),
            last_arrival: 0,
            agent_cut: false,
            disk: Disk { defect: plan.defect, ..Disk::default() },
            disk_fault: None,
            crash_in_commit: None,
            crash_in_effects: None,
            wall: 0,
            generation: 1,
            process: None,
            lives: 0,
            committed: None,
            shed_before: 0,
            lives_given_up: 0,
            kafka: Kafka::default(),
            gateway: Gateway::default(),
            witness: Witness::new(plan.waveform.budget, plan.waveform.kept_bytes),
            seen: Seen::default(),
            plan,
        }
    }

    /// Puts something on the agenda.
    pub(crate) fn later(&mut self, delay: u64, what: Happening) {
        self.order += 1;
        self.agenda.insert((self.now + delay, self.order), what);
    }

    fn live(&mut self) -> Check {
        self.later(0, Happening::Start);
        for node in 0..self.nodes.len() {
            self.later(SECOND + node as u64 * 130 * MS, Happening::Sample(node));
        }
        self.later(2 * SECOND, Happening::Foreign(0));
        self.later(SAVE, Happening::Save);
        for (at, (when, _)) in commands().iter().enumerate() {
            self.later(*when, Happening::Command(at));
        }
        for (at, (when, ..)) in events().iter().enumerate() {
            self.later(*when, Happening::Event(at));
        }
        for (node, at) in [(2, self.plan.reboot), (MILL, self.plan.waveform.reboot)] {
            if let Some(at) = at {
                self.later(at, Happening::Reboot(node));
            }
        }
        for (at, episode) in self.plan.episodes.clone().iter().enumerate() {
            self.later(episode.at, Happening::Begin(at));
            self.later(episode.until, Happening::Finish(at));
        }
        while let Some(((at, _), what)) = self.agenda.pop_first() {
            if at > END {
                break;
            }
            self.now = at;
            self.happen(what)?;
        }
        self.finish()
    }

    fn happen(&mut self, what: Happening) -> Check {
        match what {
            Happening::Sample(node) => self.sample(node),
            Happening::Frame { node, link, topic, payload } => {
                if self.nodes[node].linked && self.nodes[node].link == link {
                    self.publish(topic, payload);
                }
            }
            Happening::Foreign(count) => self.foreign(count),
            Happening::Messages { connection, deliveries } => self.arrive(connection, deliveries),
            Happening::Acknowledged { connection, ids } => {
                self.broker.acknowledged(connection, &ids);
                self.pump();
            }
            Happening::Confirmed { connection, topic, payload } => self.confirmed(connection, topic, payload),
            Happening::AtNode { node, link, payload } => {
                if self.nodes[node].linked && self.nodes[node].link == link {
                    return self.nodes[node].confirmed(&payload);
                }
            }
            Happening::Save => {
                self.broker.save();
                self.later(SAVE, Happening::Save);
            }
            Happening::Start => return self.start(),
            Happening::Connect(life) => self.connect(life),
            Happening::Wake(life) => return self.wake(life),
            Happening::Commit(life) => return self.commit(life),
            Happening::Serve(lane, partition) => return self.serve(lane, partition),
            Happening::Report(life, report) => {
                if let Some(process) = self.process.as_mut().filter(|p| p.life == life) {
                    process.kafka.push_back(report);
                    self.nudge();
                }
            }
            Happening::Inbox(life) => self.inbox(life),
            Happening::Command(at) => self.kafka.commands.push(commands()[at].1.clone()),
            Happening::Event(at) => {
                let (_, asset, event) = &events()[at];
                let payload = event.encode().expect("an event has a CBOR form");
                self.publish(fettle_wire::topic::event(crate::plan::SITE, asset), Bytes::from(payload));
            }
            Happening::Reboot(node) => self.nodes[node].reboot(self.now),
            Happening::Begin(at) => return self.begin(self.plan.episodes[at].fault),
            Happening::Finish(at) => self.end(self.plan.episodes[at].fault),
        }
        Ok(())
    }

    fn sample(&mut self, at: usize) {
        let now = self.now;
        let wild = at == WILD && self.plan.wild.is_some_and(|wild| wild <= now && now < wild + PERIOD);
        if now < STOP {
            self.nodes[at].sample(now, wild);
        }
        for (topic, payload) in self.nodes[at].send(now) {
            let payload = Bytes::from(payload);
            let link = self.nodes[at].link;
            let delay = MS + self.network.below(self.plan.latency);
            let arrival = (now + delay).max(self.nodes[at].last_arrival + 1);
            self.nodes[at].last_arrival = arrival;
            if self.network.hit(self.plan.duplicates) {
                let delay = self.network.between(1, 8_000) * MS;
                self.later(delay, Happening::Frame { node: at, link, topic: topic.clone(), payload: payload.clone() });
            }
            self.later(arrival - now, Happening::Frame { node: at, link, topic, payload });
        }
        self.later(PERIOD, Happening::Sample(at));
    }

    /// Publishers that never send again: their words may be lost, but must be counted right.
    fn foreign(&mut self, count: u64) {
        let text = format!("{}", 20 + mix(&[self.plan.seed, count]) % 3);
        let (topic, payload) = match count % 10 {
            3 => ("somewhere/else".to_owned(), text),
            7 => (format!("sensors/{FOREIGN}/temperature"), "{\"value\": ".to_owned()),
            8 => (format!("fettle/1/{}/bad name", crate::plan::SITE), text),
            _ => (format!("sensors/{FOREIGN}/temperature"), text),
        };
        self.publish(topic, Bytes::from(payload.into_bytes()));
        if self.now < STOP {
            self.later(3 * SECOND, Happening::Foreign(count + 1));
        }
    }

    fn publish(&mut self, topic: String, payload: Bytes) {
        if self.broker.up {
            self.broker.publish(Publication { topic, payload });
            self.pump();
        }
    }

    /// What the broker's window lets out is on its way.
    fn pump(&mut self) {
        let Some(connection) = self.broker.connection else { return };
        let deliveries = self.broker.pump();
        self.hand_out(connection, deliveries);
    }

    fn hand_out(&mut self, connection: u64, deliveries: Vec<Delivery>) {
        if !deliveries.is_empty() {
            let delay = self.network.between(1, 40) * MS;
            self.last_arrival = (self.now + delay).max(self.last_arrival + 1);
            self.later(self.last_arrival - self.now, Happening::Messages { connection, deliveries });
        }
    }

    fn arrive(&mut self, connection: u64, deliveries: Vec<Delivery>) {
        let Some(process) = self.process.as_mut().filter(|p| p.connection == Some(connection)) else { return };
        let messages = deliveries
            .into_iter()
            .map(|d| process.inbound(connection, d.id, d.publication.topic, d.publication.payload, d.again))
            .collect();
        process.broker.push_back(Input::Messages(messages));
        self.nudge();
    }

    fn connect(&mut self, life: u64) {
        let Some(process) = self.process.as_mut().filter(|p| p.life == life && p.connection.is_none()) else { return };
        if !self.broker.up || self.agent_cut {
            return self.later(500 * MS, Happening::Connect(life));
        }
        let (connection, present) = self.broker.connect();
        self.trace.note(self.now, "connected", &[connection, u64::from(present)]);
        if !present && process.connected_before {
            self.seen.sessions_lost += 1;
            process.broker.push_back(Input::SessionLost);
        }
        process.broker.push_back(Input::Connected);
        (process.connection, process.connected_before) = (Some(connection), true);
        for (topic, payload) in std::mem::take(&mut process.unsent) {
            self.later(10 * MS, Happening::Confirmed { connection, topic, payload });
        }
        let again = self.broker.again();
        self.hand_out(connection, again);
        self.pump();
        self.nudge();
    }

    /// The agent's connection ends.
    fn disconnect(&mut self) {
        self.broker.connection = None;
        let Some(process) = &mut self.process else { return };
        if process.connection.take().is_some() {
            let life = process.life;
            self.later(300 * MS, Happening::Connect(life));
        }
    }

    fn confirmed(&mut self, connection: u64, topic: String, payload: Vec<u8>) {
        if self.broker.connection != Some(connection) {
            // No PUBACK for it: it goes again on the next connection, unless something newer waits.
            if let Some(process) = &mut self.process {
                process.unsent.entry(topic).or_insert(payload);
            }
            return;
        }
        let node = self.nodes.iter().position(|n| fettle_wire::topic::durable(crate::plan::SITE, n.name) == topic);
        self.broker.retain(topic, payload.clone());
        if let Some(node) = node {
            self.tell(node, payload);
        }
    }

    fn tell(&mut self, node: usize, payload: Vec<u8>) {
        let (delay, link) = (self.network.between(1, 100) * MS, self.nodes[node].link);
        self.later(delay, Happening::AtNode { node, link, payload });
    }

    fn cut(&mut self, node: usize) {
        self.nodes[node].linked = false;
        self.nodes[node].link += 1;
    }

    /// The node connects and gets the retained confirmation.
    fn join(&mut self, node: usize) {
        self.nodes[node].linked = self.broker.up;
        let topic = fettle_wire::topic::durable(crate::plan::SITE, self.nodes[node].name);
        if let Some(payload) = self.broker.retained(&topic) {
            self.tell(node, payload);
        }
    }

    fn begin(&mut self, fault: Fault) -> Check {
        self.trace.note(self.now, &format!("begin {fault:?}"), &[]);
        match fault {
            Fault::NodeLink(node) => self.cut(node),
            Fault::AgentLink => {
                self.agent_cut = true;
                self.disconnect();
            }
            Fault::Broker { session } => {
                self.broker.kill(session);
                self.disconnect();
                (0..self.nodes.len()).for_each(|node| self.cut(node));
            }
            Fault::Crash => self.crash(),
            Fault::CrashInCommit { written } => self.crash_in_commit = Some(written),
            Fault::CrashInEffects(count) => self.crash_in_effects = Some(count),
            Fault::Disk(fate) => self.disk_fault = Some(fate),
            Fault::KafkaAway => self.kafka.away = true,
            Fault::ProducerReset => return self.producer_reset(),
            Fault::Wall(seconds) => self.wall = seconds,
            Fault::Reload => return self.reload(),
        }
        Ok(())
    }

    fn end(&mut self, fault: Fault) {
        self.trace.note(self.now, &format!("end {fault:?}"), &[]);
        match fault {
            Fault::NodeLink(node) => self.join(node),
            Fault::AgentLink => self.agent_cut = false,
            Fault::Broker { .. } => {
                self.broker.up = true;
                (0..self.nodes.len()).for_each(|node| self.join(node));
            }
            Fault::Disk(_) => self.disk_fault = None,
            Fault::KafkaAway => self.kafka.away = false,
            Fault::Wall(_) => self.wall = 0,
            _ => {}
        }
    }

    /// A signal asks for a reload; the process takes it between two events, so only when it steps.
    fn reload(&mut self) -> Check {
        if self.stepping() {
            self.generation += 1;
            let generation = Box::new(self.plan.generation(self.generation));
            self.step(Event::Reload(generation, self.plan.limits()))?;
            self.nudge();
        }
        Ok(())
    }

    /// F: faults have stopped and everything had time to drain.
    fn finish(&mut self) -> Check {
        hold!(self.broker.held() == 0, "F", "the broker still holds {} messages", self.broker.held());
        hold!(self.witness.waiting() == 0, "F", "{} records still lie in the store", self.witness.waiting());
        let logged = &self.kafka.delivered.logged;
        let absent = |r: &&(usize, u64, u64)| !logged.contains(*r) && !self.witness.replaced(r.0, r.1);
        let absent = self.witness.records.iter().filter(absent).count() as u64;
        hold!(absent <= self.shed(), "F", "{absent} records never reached Kafka, {} are counted as shed", self.shed());
        for evidence in &self.gateway.evidence {
            self.witness.waveforms.check_shown(evidence)?;
        }
        for node in &self.nodes {
            self.finish_node(node)?;
        }
        Ok(())
    }

    fn finish_node(&self, node: &Node) -> Check {
        let name = node.name;
        hold!(node.ring.is_empty(), "F", "{name} holds {} unconfirmed frames", node.ring.len());
        let graves = node.graves.iter().map(|g| (g.boot, g.durable, &g.overflowed));
        for (boot, durable, overflowed) in graves.chain([(node.boot, node.next, &node.overflowed)]) {
            let heard = self.witness.boots.get(&boot);
            let known = |s: &u64| heard.is_some_and(|h| h.sequences.contains(s)) || overflowed.contains(s);
            let missing = (0..durable).find(|s| !known(s));
            hold!(missing.is_none(), "F", "{name} was told that frame {missing:?} of {boot:x} is durable; it is not");
        }
        let Some(entry) = self.gateway.ledger.get(name) else {
            return Err(Violation::new("F", format!("the gateway has no account of {name}")));
        };
        let account = self.witness.accounts.get(name).copied().unwrap_or_default();
        let told = (entry.frames, entry.readings.received, entry.readings.duplicate);
        let counted = (account.messages, account.received, account.duplicate);
        // The account waits for its round like everything else; a shed one is made good by the next.
        hold!(told == counted || self.shed() > 0, "F", "{name}: gateway {told:?}, journal {counted:?}");
        for told in &entry.nodes {
            let boot = u64::from_str_radix(&told.boot, 16).unwrap_or(0);
            let heard = self.witness.boots.get(&boot).map_or(0, |h| h.sequences.len() as u64);
            hold!(
                told.received == heard || self.shed() > 0,
                "F",
                "{name}: {} frames of {boot:x}, journal {heard}",
                told.received
            );
        }
        Ok(())
    }
}

/// F: the last revision of every window equals the undisturbed run's.
pub(crate) fn compare(plan: &Plan, disturbed: &Outcome, undisturbed: &Outcome) -> Check {
    for asset in plan.compared() {
        let of = |outcome: &Outcome| -> BTreeMap<i64, String> {
            let own = outcome.health.iter().filter(|((name, _), _)| name == asset);
            own.map(|((_, end), (_, text))| (*end, text.clone())).collect()
        };
        let (rough, smooth) = (of(disturbed), of(undisturbed));
        hold!(smooth.len() > 60, "F", "{asset} has {} windows only", smooth.len());
        hold!(rough.len() == smooth.len(), "F", "{asset} has {} windows, undisturbed {}", rough.len(), smooth.len());
        let lives = |outcome: &Outcome| -> Vec<RecordedLife> {
            outcome.lives.iter().filter(|life| *life.asset == *asset).cloned().collect()
        };
        let (rough_lives, smooth_lives) = (lives(disturbed), lives(undisturbed));
        let expected = match asset {
            _ if asset == NODES[WILD] => 3,
            _ if asset == NODES[2] || asset == NODES[3] => 2,
            _ => 1,
        };
        hold!(smooth_lives.len() == expected, "F", "{asset} has {} lives", smooth_lives.len());
        hold!(
            rough_lives == smooth_lives,
            "F",
            "{asset}:\n  disturbed   {rough_lives:?}\n  undisturbed {smooth_lives:?}"
        );
        for (end, text) in &smooth {
            let other = rough.get(end).map_or("", String::as_str);
            hold!(other == text, "F", "{asset} at {end}:\n  disturbed   {other}\n  undisturbed {text}");
        }
    }
    Ok(())
}
