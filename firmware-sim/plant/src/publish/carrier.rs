//! A carrier: one connection to the broker and the stations that share it.
//!
//! All that happens to a station happens here, on one task: samples when their event time has come, link faults, frames
//! handed to the connection as it has room, acknowledgements and confirmations handed back. Between two polls of the
//! connection only; nothing here waits.
//!
//! Event time is `start + wall time run * speed`, and never ahead of the wall clock: a run with its start in the past
//! catches up with the present and then goes on with it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use bytes::Bytes;
use fettle_firmware::{Action, Destination, Event};
use fettle_wire::{Durable, Micros};

use super::PublishError;
use super::client::{Desk, Happened, NotPublished, Ticket};
use super::clock::Clock;
use super::station::{Common, Station};
use crate::config::{Config, Weather};
use crate::fleet::Member;
use crate::ledger::MachineLedger;

/// Samples taken before the connection is polled again.
const SAMPLES: usize = 256;
/// How often stations are asked whether something is to be sent again; microseconds.
const SWEEP: u64 = 100_000;
/// Frames of one station handed over before the next station's turn.
const TURN: usize = 16;
/// Stands for a boot in the ticket of an event: boot ids are 64 random bits, and none was ever 0.
const NEWS: u64 = 0;
/// How often retained confirmations are asked for while draining; microseconds.
const ASK_AGAIN: u64 = 5_000_000;

/// What a run is bounded by.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    start: Micros,
    speed: f64,
    interval: Micros,
    end: Option<Micros>,
    duration: Option<u64>,
    /// Frames per microsecond of this carrier.
    rate: Option<f64>,
    wait: bool,
    drain: u64,
    weather: Weather,
}

impl Plan {
    pub(super) fn new(config: &Config, start: Micros) -> Self {
        Self {
            start,
            speed: config.speed,
            interval: config.interval,
            end: config.span.map(|span| start.saturating_add(span)),
            duration: config.duration.map(Micros::unsigned_abs),
            rate: config.rate.map(|rate| rate * 1e-6 / config.mqtt.connections as f64),
            wait: config.wait,
            drain: config.drain.unsigned_abs(),
            weather: config.weather.clone(),
        }
    }

    /// The event time reached at monotonic time `now`.
    fn event_time(&self, clock: &Clock, now: u64) -> Micros {
        self.start.saturating_add((now as f64 * self.speed) as Micros).min(clock.at(now))
    }

    /// The monotonic time at which event time `event` is reached.
    fn due(&self, clock: &Clock, event: Micros) -> u64 {
        let by_speed = event.saturating_sub(self.start).max(0) as f64 / self.speed;
        let by_wall = event.saturating_sub(clock.at(0)).max(0);
        (by_speed.ceil() as u64).max(by_wall.unsigned_abs())
    }
}

struct Waiting {
    station: usize,
    to: Destination,
    bytes: Bytes,
    ticket: Ticket,
}

/// One connection's stations and what is under way between them and it.
pub(super) struct Carrier {
    common: Common,
    plan: Plan,
    clock: Clock,
    stations: Vec<Station>,
    by_topic: BTreeMap<String, usize>,
    schedule: BinaryHeap<Reverse<(Micros, usize)>>,
    blocked: Vec<usize>,
    ready: VecDeque<usize>,
    is_ready: Vec<bool>,
    outbox: VecDeque<Waiting>,
    delayed: BTreeMap<(u64, u64), Waiting>,
    delays: u64,
    generated: u64,
    /// Stations that still generate.
    active: usize,
    /// Whether every ring was empty at the last sweep of the drain.
    settled: bool,
    connected: bool,
    sweep_at: u64,
    ask_at: u64,
    drop_at: Option<u64>,
    draining_since: Option<u64>,
    event_time: Micros,
    actions: Vec<Action>,
}

impl Carrier {
    /// The carrier `index` with its machines. `drop_at` is staggered over the carriers.
    pub(super) fn new(
        config: &Config,
        common: Common,
        plan: Plan,
        clock: Clock,
        members: Vec<Member>,
        index: usize,
    ) -> Result<Self, PublishError> {
        let mut stations = Vec::with_capacity(members.len());
        for member in members {
            stations.push(Station::new(config, &common, member, plan.start)?);
        }
        let durable = |s: &Station| fettle_wire::topic::durable(&config.site, &s.name);
        let by_topic = stations.iter().enumerate().map(|(i, s)| (durable(s), i)).collect();
        let schedule = stations.iter().enumerate().map(|(i, s)| Reverse((s.next, i))).collect();
        let active = stations.iter().filter(|s| !s.done).count();
        let stagger = 1.0 + index as f64 / config.mqtt.connections as f64;
        let drop_at = plan.weather.drop_every.map(|every| (every as f64 * stagger) as u64);
        Ok(Self {
            is_ready: vec![false; stations.len()],
            event_time: plan.start,
            common,
            plan,
            clock,
            stations,
            by_topic,
            schedule,
            blocked: Vec::new(),
            ready: VecDeque::new(),
            outbox: VecDeque::new(),
            delayed: BTreeMap::new(),
            delays: 0,
            generated: 0,
            active,
            settled: false,
            connected: false,
            sweep_at: 0,
            ask_at: 0,
            drop_at,
            draining_since: None,
            actions: Vec::new(),
        })
    }

    /// The topics on which confirmations for these stations come.
    pub(super) fn confirmations(&self) -> Vec<String> {
        self.by_topic.keys().cloned().collect()
    }

    pub(super) fn ledgers(&self) -> Vec<MachineLedger> {
        self.stations.iter().map(Station::ledger).collect()
    }

    pub(super) fn event_time(&self) -> Micros {
        self.event_time
    }

    pub(super) fn generating(&self) -> bool {
        self.draining_since.is_none()
    }

    /// Frames not confirmed.
    pub(super) fn held(&self) -> u64 {
        self.stations.iter().map(|s| s.node().account().held.frames).sum()
    }

    /// Whether there is nothing left to do, or no time left to do it.
    pub(super) fn finished(&self, now: u64) -> bool {
        let Some(since) = self.draining_since else { return false };
        (self.settled && self.outbox.is_empty() && self.delayed.is_empty())
            || now >= since.saturating_add(self.plan.drain)
    }

    /// Ends generation now.
    pub(super) fn stop_generating(&mut self, now: u64) {
        if self.draining_since.is_some() {
            return;
        }
        for i in 0..self.stations.len() {
            self.stations[i].finish();
            self.mark(i);
        }
        self.schedule.clear();
        self.blocked.clear();
        self.draining_since = Some(now);
        self.ask_at = now + ASK_AGAIN;
    }

    /// Whether the link fault cuts the connection now, and until when.
    pub(super) fn cut(&mut self, now: u64) -> Option<u64> {
        let (at, every) = (self.drop_at?, self.plan.weather.drop_every?);
        // A drain must be able to end.
        if now < at || !self.generating() {
            return None;
        }
        let until = now + self.plan.weather.drop_for.unsigned_abs();
        self.drop_at = Some(until + every.unsigned_abs());
        Some(until)
    }

    /// Does all that time alone asks for. Returns when it wants to be called again at the latest.
    pub(super) fn tick(&mut self, now: u64, desk: Option<&mut Desk>) -> Result<u64, PublishError> {
        let mut again = now + SWEEP;
        if self.generating() {
            again = again.min(self.generate(now)?);
            let over = self.plan.duration.is_some_and(|d| now >= d) || self.active == 0;
            if over {
                self.stop_generating(now);
            }
        }
        if now >= self.sweep_at {
            self.sweep(now)?;
            self.sweep_at = now + SWEEP;
            if let (true, Some(desk)) = (!self.generating() && now >= self.ask_at, desk.as_deref()) {
                desk.subscribe();
                self.ask_at = now + ASK_AGAIN;
            }
        }
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                again = again.min(entry.key().0);
                break;
            }
            self.outbox.push_back(entry.remove());
        }
        if let Some(desk) = desk {
            self.pump(now, desk);
        }
        Ok(again.max(now + 1))
    }

    fn generate(&mut self, now: u64) -> Result<u64, PublishError> {
        let reached = self.plan.event_time(&self.clock, now);
        for _ in 0..SAMPLES {
            let Some(Reverse((event, i))) = self.schedule.peek().copied() else { break };
            if self.plan.end.is_some_and(|end| event >= end) {
                self.schedule.pop();
                self.finish(i);
                continue;
            }
            if event > reached {
                return Ok(self.plan.due(&self.clock, event));
            }
            if let Some(rate) = self.plan.rate.filter(|rate| self.generated as f64 >= now as f64 * rate) {
                return Ok(((self.generated + 1) as f64 / rate) as u64);
            }
            self.schedule.pop();
            let ring = self.stations[i].node().ring();
            if self.plan.wait && ring.bytes() > ring.capacity() / 2 {
                self.blocked.push(i);
                continue;
            }
            self.sample(now, i)?;
        }
        Ok(if self.schedule.is_empty() { u64::MAX } else { now })
    }

    fn sample(&mut self, now: u64, i: usize) -> Result<(), PublishError> {
        let station = &mut self.stations[i];
        self.event_time = self.event_time.max(station.next);
        let closed = station.sample(&self.common, self.plan.interval)?;
        self.generated += closed;
        if station.browns_out() {
            station.reboot(&self.common, self.connected, now)?;
        }
        if station.done {
            self.finish(i);
        } else {
            self.schedule.push(Reverse((station.next, i)));
        }
        if closed > 0 || self.stations[i].has_news() {
            self.mark(i);
        }
        Ok(())
    }

    fn finish(&mut self, i: usize) {
        self.stations[i].finish();
        self.active -= 1;
        self.mark(i);
    }

    /// Reboots whose time has come, nodes that want to send again, stations that waited for room.
    fn sweep(&mut self, now: u64) -> Result<(), PublishError> {
        for i in 0..self.stations.len() {
            let every = self.plan.weather.reboot_every.map(Micros::unsigned_abs);
            if let (Some(every), true) = (every, self.generating()) {
                let station = &mut self.stations[i];
                if station.reboot_at.is_some_and(|at| at <= now) && !station.done {
                    station.reboot(&self.common, self.connected, now)?;
                    station.reboot_at = Some(now + every);
                }
            }
            self.brown_out(now, i);
            if self.stations[i].node_mut().ready(now) || self.stations[i].has_news() {
                self.mark(i);
            }
        }
        let settled = |s: &Station| s.node().ring().is_empty() && !s.has_news();
        self.settled = !self.generating() && self.stations.iter().all(settled);
        for i in std::mem::take(&mut self.blocked) {
            self.schedule.push(Reverse((self.stations[i].next, i)));
        }
        Ok(())
    }

    /// Orders a loss of power whose time has come; it strikes in the middle of the node's next frame.
    fn brown_out(&mut self, now: u64, i: usize) {
        let station = &mut self.stations[i];
        if let (Some(every), Some(at)) = (self.plan.weather.brownout_every, station.brownout_at)
            && at <= now
        {
            station.order_brownout();
            station.brownout_at = Some(now + every.unsigned_abs());
        }
    }

    fn mark(&mut self, i: usize) {
        if !std::mem::replace(&mut self.is_ready[i], true) {
            self.ready.push_back(i);
        }
    }

    /// Hands over as much as the connection has room for: what was held back first, then the stations in turn.
    fn pump(&mut self, now: u64, desk: &mut Desk) {
        while desk.room() > 0 {
            if let Some(waiting) = self.outbox.pop_front() {
                self.hand_over(now, waiting, desk);
                continue;
            }
            let Some(i) = self.ready.pop_front() else { return };
            self.is_ready[i] = false;
            self.tell(i, desk);
            let mut actions = std::mem::take(&mut self.actions);
            self.stations[i].step(now, Event::Room(desk.room().min(TURN)), &mut actions);
            for Action::Publish { sequence, to, bytes, .. } in actions.drain(..) {
                self.weather(now, i, sequence, to, bytes.into(), desk);
            }
            self.actions = actions;
            if self.stations[i].node_mut().ready(now) {
                self.mark(i);
            }
        }
    }

    /// Tells what happened to the machine, before anything that its successor measures. What is not acknowledged is told
    /// again with the next connection.
    fn tell(&mut self, i: usize, desk: &mut Desk) {
        let topic = self.stations[i].event_topic().to_owned();
        let Some(living) = self.stations[i].living() else { return };
        while desk.room() > 0 {
            let Some((number, payload)) = living.next_to_tell() else { return };
            if desk.publish(&topic, payload.into(), Some((i, NEWS, number))).is_err() {
                return living.not_told(number);
            }
        }
    }

    /// The link's faults: what a node sends is swallowed, held back, doubled, or just sent.
    fn weather(&mut self, now: u64, i: usize, sequence: u64, to: Destination, bytes: Bytes, desk: &mut Desk) {
        let weather = &self.plan.weather;
        let station = &mut self.stations[i];
        let ticket = Some((i, station.node().boot(), sequence));
        if station.weather.hit(weather.lost_share) {
            station.traffic.swallowed += 1;
            station.step(now, Event::Acknowledged(sequence), &mut Vec::new());
            return;
        }
        let waiting = Waiting { station: i, to, bytes, ticket };
        if station.weather.hit(weather.late_share) {
            station.traffic.delayed += 1;
            self.delays += 1;
            self.delayed.insert((now + weather.late_by.unsigned_abs(), self.delays), waiting);
            return;
        }
        if station.weather.hit(weather.duplicate_share) {
            station.traffic.duplicated += 1;
            self.outbox.push_back(Waiting { station: i, to, bytes: waiting.bytes.clone(), ticket: None });
        }
        self.hand_over(now, waiting, desk);
    }

    fn hand_over(&mut self, now: u64, waiting: Waiting, desk: &mut Desk) {
        let station = &mut self.stations[waiting.station];
        let result = desk.publish(station.topic(waiting.to), waiting.bytes, waiting.ticket);
        match result {
            Ok(()) => station.traffic.published += 1,
            Err(problem) => {
                let Some((_, boot, sequence)) = waiting.ticket.filter(|t| t.1 == station.node().boot()) else { return };
                let event = match problem {
                    NotPublished::TooLarge(size, limit) => {
                        let name = &station.name;
                        tracing::error!(
                            "frame {sequence} of {name} has {size} bytes, the broker takes {limit}: given up"
                        );
                        Event::Undeliverable(sequence)
                    }
                    NotPublished::NotTaken => Event::Refused(sequence),
                };
                debug_assert_eq!(boot, station.node().boot());
                station.step(now, event, &mut Vec::new());
            }
        }
    }

    /// What the connection reports.
    pub(super) fn happened(&mut self, now: u64, happened: Happened, desk: &mut Desk) {
        match happened {
            Happened::Connected => {
                self.connected = true;
                for i in 0..self.stations.len() {
                    self.stations[i].step(now, Event::Connected, &mut Vec::new());
                    if let Some(living) = self.stations[i].living() {
                        living.tell_again();
                    }
                    self.mark(i);
                }
            }
            Happened::Acknowledged(Some((i, NEWS, number))) => {
                if let Some(living) = self.stations[i].living() {
                    living.told(number);
                }
            }
            Happened::Acknowledged(ticket) => self.answered(now, ticket, Event::Acknowledged),
            Happened::Refused(Some((i, NEWS, number)), reason) => {
                tracing::warn!("the broker refused an event of {}: {reason:?}", self.stations[i].name);
                if let Some(living) = self.stations[i].living() {
                    living.not_told(number);
                }
            }
            Happened::Refused(ticket, reason) => {
                tracing::warn!("the broker refused a frame: {reason:?}");
                self.answered(now, ticket, Event::Refused);
            }
            Happened::Confirmation(topic, payload) => self.confirmation(now, &topic, &payload),
            Happened::NotSubscribed(reason) => {
                tracing::error!(
                    "the broker refuses the subscription to confirmations: {reason:?}; allow it in its ACL"
                );
            }
            Happened::Nothing => return,
        }
        self.pump(now, desk);
    }

    fn answered(&mut self, now: u64, ticket: Ticket, event: fn(u64) -> Event<'static>) {
        let Some((i, boot, sequence)) = ticket else { return };
        if self.stations[i].node().boot() == boot {
            self.stations[i].step(now, event(sequence), &mut Vec::new());
        }
    }

    fn confirmation(&mut self, now: u64, topic: &[u8], payload: &[u8]) {
        let Some(i) = std::str::from_utf8(topic).ok().and_then(|t| self.by_topic.get(t)).copied() else { return };
        match Durable::decode(payload) {
            Ok(durable) => self.stations[i].confirmed(now, &durable),
            Err(e) => tracing::warn!("a confirmation for {} cannot be read: {e}", self.stations[i].name),
        }
        if let Some(at) = self.blocked.iter().position(|b| *b == i) {
            self.blocked.swap_remove(at);
            self.schedule.push(Reverse((self.stations[i].next, i)));
        }
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self, now: u64) {
        self.connected = false;
        for station in &mut self.stations {
            station.step(now, Event::Disconnected, &mut Vec::new());
        }
    }
}
