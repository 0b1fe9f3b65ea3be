//! The link: what to send next, and when to send it again.
//!
//! Between the ring and the MQTT client. Frames go out in order, as many as the transport says it has room for. The
//! broker's acknowledgement is noted and frees nothing (F3). When no confirmation has made progress for
//! [`LinkSettings::resend_after`], what is unconfirmed is sent again from the oldest on; each further round without
//! progress waits twice as long, up to [`LinkSettings::resend_max`].
//!
//! Two cursors over the ring, both only ever moving forward between two events that reset them:
//! ```text
//!   oldest ... resend ... send ... next
//!   |-- handed over once --|-- never handed over, or handed over to a connection that broke --|
//! ```
//! - L1: on one connection a frame is not handed over again within `resend_after` of the last progress; a slow agent
//!   that keeps confirming is not buried in copies.
//! - L2: while a connection stands, each unconfirmed frame is handed over again and again for ever.
//! - L3: within a connection a frame without the broker's acknowledgement is not repeated before
//!   [`LinkSettings::ack_timeout`]: MQTT 5, 4.4, allows that only on a new connection, and the time-out is for a client
//!   that forgot the frame.
//!
//! It must never free a frame itself nor count on order or uniqueness of anything it is told.

use alloc::vec::Vec;

use fettle_wire::Durable;

use crate::ring::Ring;

/// How the link waits. All in microseconds of the node's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSettings {
    /// Without progress for this long, unconfirmed frames are sent again. Prolonged by up to a quarter, by the boot id,
    /// so that a fleet does not send again in one beat.
    pub resend_after: u64,
    /// The longest wait that back-off reaches.
    pub resend_max: u64,
    /// How long the transport may keep a frame without the broker's acknowledgement.
    pub ack_timeout: u64,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self { resend_after: 5_000_000, resend_max: 60_000_000, ack_timeout: 30_000_000 }
    }
}

/// What happened outside.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection to the broker stands. It takes frames when [`Event::Room`] says so.
    Connected,
    /// The connection broke: what it had not acknowledged is unknown, and is sent again first.
    Disconnected,
    /// The transport takes up to this many frames now.
    Room(usize),
    /// The broker acknowledged this sequence.
    Acknowledged(u64),
    /// The broker refused this sequence for now (a PUBACK with an error): it is sent again later.
    Refused(u64),
    /// No transport can ever carry this sequence (larger than the broker allows).
    Undeliverable(u64),
    /// The agent confirmed what is on its disk.
    Confirmed(&'a Durable),
}

/// The kind of topic a frame goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// The asset's readings: `fettle_wire::topic::readings`.
    Readings,
    /// The waveforms of the channel with this index in [`crate::NodeSettings::channels`]: `fettle_wire::topic::waveform`.
    Waveform(u16),
}

/// What the embedder must do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish at QoS 1.
    Publish {
        /// The frame's sequence.
        sequence: u64,
        /// Which topic it goes to.
        to: Destination,
        /// 1 for the first hand-over of the frame.
        attempt: u32,
        /// The encoded frame, as of now.
        bytes: Vec<u8>,
    },
}

/// What the link did, counted in frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCount {
    /// Frames handed over for the first time.
    pub sent: u64,
    /// Further hand-overs.
    pub resent: u64,
    /// Broker acknowledgements of frames still held.
    pub acknowledged: u64,
    /// Frames the broker refused for now.
    pub refused: u64,
    /// Confirmations that covered sequences never sent.
    pub impossible: u64,
}

/// The state of sending.
#[derive(Debug)]
pub(crate) struct Link {
    settings: LinkSettings,
    boot: u64,
    connected: bool,
    send: u64,
    resend: u64,
    rounds: u32,
    progress: u64,
    confirmed: u64,
    pub(crate) count: LinkCount,
}

impl Link {
    pub(crate) fn new(mut settings: LinkSettings, boot: u64) -> Self {
        settings.resend_after = settings.resend_after.saturating_add(settings.resend_after / 1024 * (boot % 256));
        settings.resend_max = settings.resend_max.max(settings.resend_after);
        let count = LinkCount::default();
        Self { settings, boot, connected: false, send: 0, resend: 0, rounds: 0, progress: 0, confirmed: 0, count }
    }

    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    pub(crate) fn step(&mut self, now: u64, ring: &mut Ring, event: Event<'_>, actions: &mut Vec<Action>) {
        match event {
            Event::Connected => self.connected = true,
            Event::Disconnected => self.disconnected(ring),
            Event::Room(room) => self.fill(now, ring, room, actions),
            Event::Acknowledged(sequence) => self.acknowledged(now, ring, sequence),
            Event::Refused(sequence) => self.refused(now, ring, sequence),
            Event::Undeliverable(sequence) => ring.discard(sequence),
            Event::Confirmed(durable) => self.confirm(now, ring, durable),
        }
    }

    /// Whether a hand-over is due now.
    pub(crate) fn ready(&mut self, now: u64, ring: &Ring) -> bool {
        self.connected && (self.next_send(ring).is_some() || self.next_resend(ring).is_some_and(|due| due <= now))
    }

    /// When [`Self::ready`] may become true without an event.
    pub(crate) fn wake(&mut self, ring: &Ring) -> Option<u64> {
        if self.connected { self.next_resend(ring) } else { None }
    }

    fn disconnected(&mut self, ring: &mut Ring) {
        self.connected = false;
        // Everything without the broker's word goes first on the next connection, in order.
        let oldest = ring.oldest();
        if let Some(unknown) = ring.iter_mut().position(|h| !h.acked && !h.discarded) {
            self.send = self.send.min(oldest + unknown as u64);
        }
        self.resend = oldest;
    }

    fn acknowledged(&mut self, now: u64, ring: &mut Ring, sequence: u64) {
        if let Some(held) = ring.get_mut(sequence).filter(|h| h.sends > 0 && !h.acked) {
            held.acked = true;
            held.at = now;
            self.count.acknowledged += 1;
        }
    }

    fn refused(&mut self, now: u64, ring: &mut Ring, sequence: u64) {
        if let Some(held) = ring.get_mut(sequence).filter(|h| h.sends > 0 && !h.acked) {
            // From here on it waits like an acknowledged frame that nobody confirms.
            held.acked = true;
            held.at = now;
            self.count.refused += 1;
        }
    }

    fn confirm(&mut self, now: u64, ring: &mut Ring, durable: &Durable) {
        let Some(next) = durable.next_of(self.boot) else { return };
        if next > ring.next() {
            self.count.impossible += 1;
        }
        self.confirmed = self.confirmed.max(next.min(ring.next()));
        if ring.confirm(next) {
            self.progress = now;
            self.rounds = 0;
            self.resend = ring.oldest();
        }
    }

    fn fill(&mut self, now: u64, ring: &mut Ring, mut room: usize, actions: &mut Vec<Action>) {
        while self.connected && room > 0 {
            // Copies first: they hold the front of the ring, which is what a full ring would drop.
            let again = self.next_resend(ring).is_some_and(|due| due <= now);
            if !again && self.next_send(ring).is_none() {
                return;
            }
            let cursor = if again { &mut self.resend } else { &mut self.send };
            let sequence = *cursor;
            *cursor += 1;
            let Some(bytes) = ring.encoded(sequence) else { continue };
            let Some(held) = ring.get_mut(sequence) else { continue };
            held.sends = held.sends.saturating_add(1);
            held.acked = false;
            held.at = now;
            let (attempt, to) = (held.sends, held.to);
            *(if attempt == 1 { &mut self.count.sent } else { &mut self.count.resent }) += 1;
            actions.push(Action::Publish { sequence, to, attempt, bytes });
            room -= 1;
        }
    }

    /// Moves the send cursor to the next frame that must go out on this connection.
    fn next_send(&mut self, ring: &Ring) -> Option<u64> {
        self.send = self.send.max(ring.oldest());
        while ring.get(self.send)?.acked || ring.get(self.send)?.discarded {
            self.send += 1;
        }
        Some(self.send)
    }

    /// Moves the resend cursor to a frame below the send cursor and tells when that one is due.
    fn next_resend(&mut self, ring: &Ring) -> Option<u64> {
        let oldest = ring.oldest();
        self.resend = self.resend.max(oldest);
        loop {
            if self.resend >= self.send {
                if oldest >= self.send {
                    return None;
                }
                self.resend = oldest;
                self.rounds = (self.rounds + 1).min(31);
            }
            let held = ring.get(self.resend)?;
            if !held.discarded {
                let since = if held.acked { held.at } else { held.at.saturating_add(self.settings.ack_timeout) };
                let doubled = self.settings.resend_after.saturating_mul(1 << self.rounds);
                return Some(since.max(self.progress).saturating_add(doubled.min(self.settings.resend_max)));
            }
            self.resend += 1;
        }
    }
}
