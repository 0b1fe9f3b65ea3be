//! Kafka and its client: partitions in order, reports that come late or twice, a client of bounded room that is built
//! anew at times, a Kafka that is away for a while; and the commands topic.
//!
//! As the producer's header has it: the client retries in order for as long as Kafka is away; a failure concerns all that
//! is under way, part of which may have been written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fettle_agent::outbox::index;
use fettle_agent::uplink::FromKafka;
use fettle_wire::{Command, EventKind, Lane, Name, Request, SCHEMA_VERSION};

use crate::check::{Check, Delivered};
use crate::plan::{EPOCH, MS, NODES, SECOND, SITE, STRAY};
use crate::random::mix_bytes;
use crate::world::{Happening, World};

/// Partitions of each topic.
const PARTITIONS: u64 = 3;
/// The most records of a lane under way.
const MOST: usize = 40;

/// A record under way.
#[derive(Debug, Clone)]
pub(crate) struct Flying {
    pub(crate) lane: Lane,
    pub(crate) sequence: u64,
    pub(crate) key: String,
    pub(crate) payload: Vec<u8>,
}

/// See the module's header.
#[derive(Debug, Default)]
pub(crate) struct Kafka {
    pub(crate) away: bool,
    queues: BTreeMap<(Lane, u32), VecDeque<Flying>>,
    serving: BTreeSet<(Lane, u32)>,
    pub(crate) delivered: Delivered,
    held_until: u64,
    last_report: u64,
    /// The commands topic, one partition; without a payload it is a command for another agent.
    pub(crate) commands: Vec<Option<Vec<u8>>>,
}

impl World {
    /// Takes a record over, or not.
    pub(crate) fn send(&mut self, flying: Flying) -> bool {
        let under_way: usize =
            self.kafka.queues.iter().filter(|((lane, _), _)| *lane == flying.lane).map(|(_, queue)| queue.len()).sum();
        if under_way >= MOST || self.now < self.kafka.held_until {
            return false;
        }
        let partition = (mix_bytes(flying.key.as_bytes()) % PARTITIONS) as u32;
        let place = (flying.lane, partition);
        self.kafka.queues.entry(place).or_default().push_back(flying);
        if self.kafka.serving.insert(place) {
            let delay = self.kafka_random.between(1, 60) * MS;
            self.later(delay, Happening::Serve(place.0, place.1));
        }
        true
    }

    /// The partition's leader takes what waits.
    pub(crate) fn serve(&mut self, lane: Lane, partition: u32) -> Check {
        let place = (lane, partition);
        if self.kafka.away {
            self.later(200 * MS, Happening::Serve(lane, partition));
            return Ok(());
        }
        let count = self.kafka_random.between(1, 8);
        for _ in 0..count {
            let Some(flying) = self.kafka.queues.get_mut(&place).and_then(VecDeque::pop_front) else { break };
            self.append(partition, &flying)?;
            let report = FromKafka::Delivered { lane, sequence: flying.sequence };
            if self.kafka_random.hit(2) {
                self.report(report.clone());
            }
            self.report(report);
        }
        if self.kafka.queues.get(&place).is_some_and(|queue| !queue.is_empty()) {
            let delay = self.kafka_random.between(1, 60) * MS;
            self.later(delay, Happening::Serve(lane, partition));
        } else {
            self.kafka.serving.remove(&place);
        }
        Ok(())
    }

    fn append(&mut self, partition: u32, flying: &Flying) -> Check {
        let content = mix_bytes(&flying.payload);
        self.trace.note(
            self.now,
            "append",
            &[index(flying.lane) as u64, u64::from(partition), flying.sequence, content],
        );
        self.kafka.delivered.logged.insert((index(flying.lane), flying.sequence, content));
        self.gateway.take(flying.lane, partition, &flying.payload)
    }

    fn report(&mut self, report: FromKafka) {
        let Some(life) = self.process.as_ref().map(|p| p.life) else { return };
        let delay = if self.kafka_random.hit(3) { 2 * SECOND } else { self.kafka_random.between(1, 60) * MS };
        // Reports come in order.
        self.kafka.last_report = (self.now + delay).max(self.kafka.last_report + 1);
        self.later(self.kafka.last_report - self.now, Happening::Report(life, report));
    }

    /// The client is built anew: of each partition a beginning is written, all of it is reported failed.
    pub(crate) fn producer_reset(&mut self) -> Check {
        self.seen.producer_resets += 1;
        for ((lane, partition), queue) in std::mem::take(&mut self.kafka.queues) {
            let written = if self.kafka.away { 0 } else { self.kafka_random.below(queue.len() as u64 + 1) };
            for (at, flying) in queue.iter().enumerate() {
                if (at as u64) < written {
                    self.append(partition, flying)?;
                }
                let reason = "the producer was built anew".to_owned();
                self.report(FromKafka::Failed { lane, sequence: flying.sequence, reason, fatal: false });
            }
        }
        self.kafka.held_until = self.kafka.last_report.max(self.now) + 250 * MS;
        Ok(())
    }

    /// The process and its client are gone; a beginning of what was under way may be on the wire.
    pub(crate) fn producer_lost(&mut self) {
        for queue in self.kafka.queues.values_mut() {
            let keep = if self.kafka.away { 0 } else { self.kafka_random.below(queue.len() as u64 + 1) };
            queue.truncate(keep as usize);
        }
        self.kafka.held_until = 0;
    }

    /// The inbox reads on.
    pub(crate) fn inbox(&mut self, life: u64) {
        let Some(process) = self.process.as_mut().filter(|p| p.life == life) else { return };
        let reachable = !self.kafka.away;
        if process.reachable.replace(reachable) != Some(reachable) {
            process.kafka.push_back(FromKafka::Connected(reachable));
        }
        if reachable {
            let next = process.inbox.entry(0).or_insert(0);
            while let Some(command) = self.kafka.commands.get(usize::try_from(*next).unwrap_or(0)) {
                let (partition, offset) = (0, *next);
                process.kafka.push_back(match command {
                    Some(payload) => FromKafka::Command { partition, offset, payload: payload.clone() },
                    None => FromKafka::Progress { partition, offset },
                });
                *next += 1;
            }
        }
        self.nudge();
        self.later(SECOND, Happening::Inbox(life));
    }
}

/// The operators' commands: when, and which.
pub(crate) fn commands() -> Vec<(u64, Option<Vec<u8>>)> {
    let name = |text: &str| Name::new(text).expect("it is a name");
    let command = |id: &str, expires: i64, request: Request| {
        let command = Command {
            version: SCHEMA_VERSION,
            id: id.to_owned(),
            site: name(SITE),
            agent: name("gw"),
            issuer: "ada".to_owned(),
            issued: 0,
            expires,
            request,
        };
        Some(command.encode().expect("a command has a JSON form").into_bytes())
    };
    let acknowledge = |asset: &str| Request::Acknowledge {
        asset: name(asset),
        condition: "limit.temperature".to_owned(),
        occurrence: 1,
    };
    let happened = |event, at: u64| Request::Event {
        asset: name(NODES[2]),
        event,
        at: Some(EPOCH + (at * SECOND) as i64),
        components: Vec::new(),
        note: None,
    };
    let adopt = || Request::Adopt { asset: name(NODES[STRAY]) };
    vec![
        (30 * SECOND, None),
        (60 * SECOND, command("early", i64::MAX, acknowledge(NODES[0]))),
        (90 * SECOND, command("expired", 1, acknowledge(NODES[0]))),
        (150 * SECOND, command("adopt", i64::MAX, adopt())),
        (160 * SECOND, command("adopt", i64::MAX, adopt())),
        (180 * SECOND, Some(b"{\"version\":1,".to_vec())),
        (230 * SECOND, command("seen", i64::MAX, acknowledge(NODES[0]))),
        (231 * SECOND, None),
        (232 * SECOND, command("seen", i64::MAX, acknowledge(NODES[0]))),
        (120 * SECOND, command("greased", i64::MAX, happened(EventKind::MaintenanceDone, 119))),
        (165 * SECOND, command("failed", i64::MAX, happened(EventKind::Failed, 164))),
        (167 * SECOND, command("failed", i64::MAX, happened(EventKind::Failed, 164))),
        (300 * SECOND, command("nobody", i64::MAX, acknowledge("nobody"))),
    ]
}
