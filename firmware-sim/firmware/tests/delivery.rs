//! Claims about delivery, under a transport and an agent that lose, double, delay and reorder by chance.

use std::collections::{BTreeMap, BTreeSet};

use fettle_firmware::{Action, Clock, Event, LinkSettings, Node, NodeSettings};
use fettle_wire::{Durable, Frame, Quality};
use proptest::prelude::*;

const STEP: u64 = 250_000;
const BOOT: u64 = 0xfeed;

/// What can go wrong, per mille.
#[derive(Debug, Clone)]
struct Weather {
    lose: u32,
    double: u32,
    delay: u32,
    unacknowledged: u32,
    break_link: u32,
    lose_confirmation: u32,
    refuse: u32,
}

fn weather() -> impl Strategy<Value = Weather> {
    (0u32..500, 0u32..300, 0u32..500, 0u32..50, 0u32..100, 0u32..700, 0u32..100).prop_map(
        |(lose, double, delay, unacknowledged, break_link, lose_confirmation, refuse)| Weather {
            lose,
            double,
            delay,
            unacknowledged,
            break_link,
            lose_confirmation,
            refuse,
        },
    )
}

/// A small generator, so that one seed is one run.
struct Dice(u64);
impl Dice {
    fn permille(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as u32 % 1000
    }
    fn hit(&mut self, permille: u32) -> bool {
        self.permille() < permille
    }
}

/// The agent's side, as the contract says: a sequence is settled when received, or when the node said it is gone.
#[derive(Default)]
struct Agent {
    received: BTreeMap<u64, Vec<f64>>,
    gone_below: u64,
    next: u64,
}
impl Agent {
    fn take(&mut self, bytes: &[u8]) {
        let frame = Frame::decode(bytes).expect("the node sends valid frames");
        assert_eq!(frame.boot, BOOT);
        self.gone_below = self.gone_below.max(frame.oldest);
        let values: Vec<f64> = frame.readings.iter().map(|r| r.2).collect();
        let before = self.received.insert(frame.sequence, values.clone());
        assert!(before.is_none_or(|b| b == values), "a frame's readings never change");
        while self.next < self.gone_below || self.received.contains_key(&self.next) {
            self.next += 1;
        }
    }
    fn confirmation(&self) -> Durable {
        Durable { version: 1, confirmed: vec![(1, 99), (BOOT, self.next)] }
    }
}

struct World {
    node: Node,
    agent: Agent,
    dice: Dice,
    now: u64,
    made: u64,
    connected: bool,
    /// Acknowledgements under way, of this connection.
    acks: Vec<u64>,
    /// Frames and confirmations under way, with the step they arrive at.
    air: Vec<(u64, Vec<u8>)>,
    confirmations: Vec<(u64, Durable)>,
    /// Frames that a confirmation handed to the node has covered.
    covered: u64,
    overflowed_before: BTreeSet<u64>,
}

impl World {
    fn new(seed: u64, ring_bytes: usize) -> Self {
        let settings = NodeSettings {
            channels: vec!["a".into()],
            frame_readings: 2,
            frame_age: None,
            ring_bytes,
            ring_frames: None,
            link: LinkSettings { resend_after: 1_000_000, resend_max: 4_000_000, ack_timeout: 6_000_000 },
        };
        Self {
            node: Node::new(settings, BOOT, 0, Clock::Absent),
            agent: Agent::default(),
            dice: Dice(seed | 1),
            now: 0,
            made: 0,
            connected: false,
            acks: Vec::new(),
            air: Vec::new(),
            confirmations: Vec::new(),
            covered: 0,
            overflowed_before: BTreeSet::new(),
        }
    }

    fn step(&mut self, weather: &Weather, generate: bool) {
        self.now += STEP;
        if generate {
            let before = self.node.ring().oldest();
            for _ in 0..3 {
                self.node.reading(self.now, 0, self.made as f64, Quality::Good);
                self.made += 1;
            }
            // Generating frees only by overflow.
            self.overflowed_before.extend(before..self.node.ring().oldest());
        }
        if self.connected && self.dice.hit(weather.break_link) {
            self.connected = false;
            self.acks.clear();
            self.without_freeing(Event::Disconnected);
        } else if !self.connected {
            self.connected = true;
            self.without_freeing(Event::Connected);
        }
        self.publish(weather);
        self.deliver(weather);
        self.check();
    }

    /// No event but a confirmation may free anything (F1, F3).
    fn without_freeing(&mut self, event: Event<'_>) {
        let before = self.node.ring().oldest();
        self.node.step(self.now, event, &mut Vec::new());
        assert_eq!(self.node.ring().oldest(), before);
    }

    fn publish(&mut self, weather: &Weather) {
        let mut actions = Vec::new();
        let room = self.dice.permille() as usize % 8;
        self.node.step(self.now, Event::Room(room), &mut actions);
        assert!(actions.len() <= room && (self.connected || actions.is_empty()));
        for Action::Publish { sequence, bytes, .. } in actions {
            if self.dice.hit(weather.refuse) {
                self.without_freeing(Event::Refused(sequence));
                continue;
            }
            if !self.dice.hit(weather.unacknowledged) {
                self.acks.push(sequence);
            }
            let copies = if self.dice.hit(weather.lose) { 0 } else { 1 + u32::from(self.dice.hit(weather.double)) };
            for _ in 0..copies {
                let late = if self.dice.hit(weather.delay) { u64::from(self.dice.permille() % 20) } else { 0 };
                self.air.push((self.now + late * STEP, bytes.clone()));
            }
        }
    }

    fn deliver(&mut self, weather: &Weather) {
        let acks: Vec<u64> = self.acks.drain(..).collect();
        for sequence in acks {
            self.without_freeing(Event::Acknowledged(sequence));
        }
        let now = self.now;
        for (_, bytes) in self.air.extract_if(.., |a| a.0 <= now) {
            self.agent.take(&bytes);
        }
        if !self.dice.hit(weather.lose_confirmation) {
            let late = if self.dice.hit(weather.delay) { u64::from(self.dice.permille() % 20) } else { 0 };
            self.confirmations.push((now + late * STEP, self.agent.confirmation()));
        }
        let arrived: Vec<_> = self.confirmations.extract_if(.., |c| c.0 <= now).collect();
        for (_, durable) in arrived {
            self.covered = self.covered.max(durable.next_of(BOOT).unwrap_or(0));
            self.node.step(now, Event::Confirmed(&durable), &mut Vec::new());
        }
    }

    fn check(&self) {
        let account = self.node.account();
        assert!(account.balances(), "{account:?}");
        assert!(self.node.ring().bytes() <= self.node.ring().capacity());
        // Whatever is gone was covered by a confirmation that reached the node, or overflowed.
        let oldest = self.node.ring().oldest();
        assert!((self.covered..oldest).all(|s| self.overflowed_before.contains(&s)), "an unconfirmed frame was freed");
    }
}

fn run(seed: u64, ring_bytes: usize, weather: &Weather) -> World {
    let mut world = World::new(seed, ring_bytes);
    for _ in 0..200 {
        world.step(weather, true);
    }
    world.node.flush();
    // It rains on, but only so hard that something gets through now and then.
    for _ in 0..20_000 {
        if world.node.ring().is_empty() {
            break;
        }
        world.step(weather, false);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_does_not_overflow_is_finally_delivered(seed in any::<u64>(), weather in weather()) {
        let world = run(seed, 1_000_000, &weather);
        prop_assert!(world.node.ring().is_empty(), "unconfirmed frames remain: {:?}", world.node.account());
        let delivered: Vec<f64> = world.agent.received.values().flatten().copied().collect();
        let made: Vec<f64> = (0..world.made).map(|i| i as f64).collect();
        prop_assert_eq!(delivered, made);
        prop_assert_eq!(world.node.account().overflowed.frames, 0);
    }

    #[test]
    fn a_small_ring_loses_only_what_it_counts_and_the_agent_is_not_left_waiting(seed in any::<u64>(), weather in weather()) {
        let world = run(seed, 2_000, &weather);
        prop_assert!(world.node.ring().is_empty());
        let account = world.node.account();
        prop_assert_eq!(account.generated.frames, account.confirmed.frames + account.overflowed.frames);
        let missing = world.node.sequence() - world.agent.received.len() as u64;
        prop_assert!(missing <= account.overflowed.frames, "{} missing, {:?}", missing, account);
        for sequence in 0..world.node.sequence() {
            prop_assert!(world.agent.received.contains_key(&sequence) || world.overflowed_before.contains(&sequence));
        }
    }
}

fn quiet() -> Weather {
    Weather { lose: 0, double: 0, delay: 0, unacknowledged: 0, break_link: 0, lose_confirmation: 0, refuse: 0 }
}

#[test]
fn nothing_is_sent_twice_while_confirmations_make_progress() {
    let world = run(7, 1_000_000, &quiet());
    assert_eq!(world.node.account().link.resent, 0);
}

#[test]
fn a_silent_agent_is_asked_ever_more_rarely() {
    let mut world = World::new(3, 1_000_000);
    let mut actions = Vec::new();
    world.node.step(0, Event::Connected, &mut actions);
    world.node.reading(0, 0, 1.0, Quality::Good);
    world.node.flush();
    let mut times = Vec::new();
    for now in (0..20_000_000).step_by(10_000) {
        world.node.step(now, Event::Room(10), &mut actions);
        for Action::Publish { sequence, .. } in actions.drain(..) {
            times.push(now);
            world.node.step(now, Event::Acknowledged(sequence), &mut Vec::new());
        }
    }
    let waits: Vec<u64> = times.windows(2).map(|w| (w[1] - w[0]) / 1_000_000).collect();
    // 1 s is prolonged by up to a quarter by the boot id.
    assert_eq!(waits, [1, 2, 4, 4, 4, 4], "{times:?}");
}

#[test]
fn what_a_broken_connection_left_open_goes_first_on_the_next() {
    let mut world = World::new(3, 1_000_000);
    let mut actions = Vec::new();
    world.node.step(0, Event::Connected, &mut actions);
    for i in 0..8 {
        world.node.reading(0, 0, f64::from(i), Quality::Good);
    }
    world.node.step(0, Event::Room(3), &mut actions);
    world.node.step(0, Event::Acknowledged(1), &mut actions);
    world.node.step(0, Event::Disconnected, &mut actions);
    assert_eq!(actions.drain(..).count(), 3);
    world.node.step(1, Event::Room(10), &mut actions);
    assert!(actions.is_empty(), "nothing goes out without a connection");
    world.node.step(1, Event::Connected, &mut actions);
    world.node.step(1, Event::Room(10), &mut actions);
    let order: Vec<(u64, u32)> =
        actions.iter().map(|Action::Publish { sequence, attempt, .. }| (*sequence, *attempt)).collect();
    assert_eq!(order, [(0, 2), (2, 2), (3, 1)]);
}

#[test]
fn a_frame_that_no_transport_carries_does_not_hold_the_others_up() {
    let mut world = World::new(3, 1_000_000);
    let mut actions = Vec::new();
    world.node.step(0, Event::Connected, &mut actions);
    for i in 0..6 {
        world.node.reading(0, 0, f64::from(i), Quality::Good);
    }
    world.node.step(0, Event::Room(3), &mut actions);
    world.node.step(0, Event::Undeliverable(1), &mut Vec::new());
    for Action::Publish { sequence, bytes, .. } in
        actions.drain(..).filter(|a| !matches!(a, Action::Publish { sequence: 1, .. }))
    {
        world.agent.take(&bytes);
        world.node.step(0, Event::Acknowledged(sequence), &mut Vec::new());
    }
    for now in (0..10_000_000).step_by(100_000) {
        world.node.step(now, Event::Confirmed(&world.agent.confirmation()), &mut Vec::new());
        world.node.step(now, Event::Room(10), &mut actions);
        actions.drain(..).for_each(|Action::Publish { bytes, .. }| world.agent.take(&bytes));
    }
    assert!(world.node.ring().is_empty());
    let account = world.node.account();
    assert_eq!((account.confirmed.frames, account.discarded.frames), (2, 1));
}
