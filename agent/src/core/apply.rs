//! What each journal entry does to the state. Live and replay run this very code; in replay a state that already holds
//! an entry (its snapshot is younger) is left alone, and nothing is emitted.

use std::collections::BTreeMap;

use fettle_models::indicate::waveform::Block;
use fettle_models::{Act, Happened, Reading, Source, WaveformBlock};
use fettle_wire::cbor::CborError;
use fettle_wire::frame::FrameError;
use fettle_wire::time::DAY;
use fettle_wire::topic::{self, Native};
use fettle_wire::{AssetEvent, ClockQuality, Command, Frame, Name, Quality, RecordId, Request, Tally, Waveform, json};

use super::Core;
use super::generation::Generation;
use super::slot::{Slot, Slots};
use crate::acquire::payload;
use crate::acquire::template::{Match, Templates};
use crate::journal::entry::{Entry, EntryError, MessageRef, Stored};
use crate::ledger::Admission;

/// The most command ids remembered, to apply each once.
const MAX_APPLIED: usize = 1024;

impl Core {
    /// Applies a journal entry to the state.
    pub(super) fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Messages { messages, .. } => {
                for message in messages {
                    self.apply_message(&message.as_ref());
                }
            }
            Entry::Tick { ledger, .. } => {
                for asset in self.engine.expire(&self.now, &mut self.outputs) {
                    self.slots.change(&asset, self.journal.applying());
                }
                self.retire_states();
                self.emit_outputs();
                if *ledger {
                    if self.shared_open() {
                        self.shared.ledger_at = self.now.monotonic;
                    }
                    self.emit_ledger();
                    self.retire();
                }
            }
            Entry::Command { partition, offset, payload, .. } => self.apply_command(*partition, *offset, payload),
            Entry::Generation { payload, .. } => self.apply_generation(payload),
            Entry::Release { payload, .. } => self.apply_release(payload),
            // Nothing in this engine version depends on these; they are kept for the one that does.
            Entry::RemoteScore { .. } | Entry::Label { .. } => {}
        }
        self.emit_outputs();
    }

    /// Applies a journal entry from where it lies.
    pub(super) fn apply_stored(&mut self, entry: &Stored<'_>) -> Result<(), EntryError> {
        match entry {
            Stored::Messages { messages, .. } => {
                messages.each(&mut |message| self.apply_message(&message))?;
                self.emit_outputs();
            }
            Stored::Other(entry) => self.apply(entry),
        }
        Ok(())
    }

    /// Whether the shared state still lacks the batch being applied; notes the change if so.
    pub(super) fn shared_open(&mut self) -> bool {
        let open = !self.replaying || self.shared_batch < self.journal.applying();
        if open {
            self.change_shared();
        }
        open
    }

    /// Notes that the shared state changes in the batch being applied. Until then its snapshot held everything (J4).
    pub(super) fn change_shared(&mut self) {
        if !std::mem::replace(&mut self.shared_dirty, true) {
            self.shared_batch = self.shared_batch.max(self.journal.applying().saturating_sub(1));
        }
    }

    /// Whether the asset's state still lacks the batch being applied.
    fn slot_open(&self, slot: &Slot) -> bool {
        !self.replaying || slot.stored.is_none_or(|stored| stored < self.journal.applying())
    }

    fn apply_message(&mut self, message: &MessageRef<'_>) {
        match topic::parse(&self.identity.site, message.topic) {
            Some(Native::Readings { asset }) => self.native(asset, None, message),
            Some(Native::Waveform { asset, channel }) => self.native(asset, Some(channel), message),
            Some(Native::Event { asset }) => self.event(asset, message),
            Some(Native::Durable { .. }) => {}
            None => self.foreign(message),
        }
    }

    /// Counts a message that names no usable asset.
    fn nameless(&mut self, reason: &str, detail: String, message: &MessageRef<'_>) {
        if self.shared_open() {
            self.shared.nameless.received += 1;
            self.shared.nameless.reject(reason, 1);
            self.bury(reason, detail, message.topic, message.payload);
        }
    }

    /// Finds or makes the asset's slot; `None` where the message was counted elsewhere or is known already.
    fn enter(&mut self, asset: &str, message: &MessageRef<'_>) -> Option<()> {
        match self.slots.get(asset) {
            Some(slot) => self.slot_open(slot).then_some(()),
            None => {
                let name = match Name::new(asset) {
                    Ok(name) => name,
                    Err(e) => {
                        self.nameless("bad_name", format!("asset {asset:?}: {e}"), message);
                        return None;
                    }
                };
                if self.slots.len() >= self.generation.settings.max_assets {
                    if self.shared_open() {
                        self.shared.nameless.received += 1;
                        *self.shared.nameless.shed.entry("too_many_assets".to_owned()).or_default() += 1;
                    }
                    return None;
                }
                self.slots.add(name, Slot::default());
                Some(())
            }
        }
    }

    /// A message on our own topics.
    fn native(&mut self, asset: &str, channel: Option<&str>, message: &MessageRef<'_>) {
        if self.enter(asset, message).is_none() {
            return;
        }
        let now = self.now;
        // Held to the end, not looked up again.
        let Some(slot) = self.slots.get_mut(asset) else { return };
        slot.door.hear_message(&now);
        if message.oversize.is_some() {
            return self.reject_message(asset, "oversized", "larger than mqtt.max_packet".to_owned(), message);
        }
        let frame = match Frame::decode(message.payload) {
            Ok(frame) => frame,
            Err(e) => return self.reject_message(asset, reason_of(&e), e.to_string(), message),
        };
        let (base, restamped) = match slot.door.admit(&now, &frame) {
            Admission::Enter { base, restamped } => (base, restamped),
            Admission::Stop(_) => return self.touch(asset),
        };
        if frame.waveform.is_some() || channel.is_some() {
            let tally = match (&frame.waveform, channel) {
                (Some(waveform), Some(channel)) if *frame.channels == [channel] => {
                    let block = WaveformBlock { channel, time: base, restamped, block: block_of(&frame, waveform) };
                    self.engine.waveform(&now, asset, &block, &mut self.outputs)
                }
                // A waveform on the topic of readings, readings on that of a waveform, or another channel than the topic's.
                _ => {
                    let mut tally = Tally { received: frame.weight(), ..Tally::default() };
                    tally.reject("waveform_topic", frame.weight());
                    tally
                }
            };
            slot.door.tally.add(&tally);
            self.touch(asset);
            return self.emit_outputs();
        }
        let flags: BTreeMap<u32, Quality> = frame.flags.iter().copied().collect();
        let readings = frame.readings.iter().enumerate().map(|(i, (channel, offset, value))| Reading {
            channel: frame.channels[usize::from(*channel)],
            time: base.saturating_add(*offset),
            value: *value,
            unit: None,
            quality: flags.get(&(i as u32)).copied().unwrap_or_default(),
            restamped,
        });
        let source = Source { boot: frame.boot, sequence: frame.sequence };
        let tally = self.engine.readings(&now, asset, source, readings, &mut self.outputs);
        slot.door.tally.add(&tally);
        if !Slots::is_touched(slot) {
            self.touch(asset);
        }
        self.emit_outputs();
    }

    /// Counts a message of a known asset that is not usable.
    fn reject_message(&mut self, asset: &str, reason: &str, detail: String, message: &MessageRef<'_>) {
        if let Some(slot) = self.slots.get_mut(asset) {
            slot.door.reject(reason, 1);
        }
        self.touch(asset);
        self.bury(reason, detail, message.topic, message.payload);
    }

    /// A message that tells what happened to a machine itself. It is no reading: accounts of readings do not count it.
    fn event(&mut self, asset: &str, message: &MessageRef<'_>) {
        let event = match event_of(message) {
            Ok(event) => event,
            Err((reason, detail)) => {
                if self.shared_open() {
                    self.shared.events.count(Err(reason));
                    self.bury(reason, detail, message.topic, message.payload);
                }
                return;
            }
        };
        let AssetEvent { id, kind, at, components, note, person, .. } = &event;
        let (note, by) = (note.as_deref(), person.as_deref());
        let outcome = self.happened(asset, &Happened { kind: *kind, at: *at, components, note, by, id });
        if let Err(reason) = outcome
            && reason != "duplicate"
        {
            self.bury(reason, format!("asset {asset:?}, event {id:?}"), message.topic, message.payload);
        }
    }

    /// Takes in what happened to a machine, and counts it.
    fn happened(&mut self, asset: &str, event: &Happened<'_>) -> Result<(), &'static str> {
        let shared_open = self.shared_open();
        // What becomes of it depends on the asset, too; with the shared snapshot in this commit no replay counts again.
        self.pending.structural = true;
        if self.slots.get(asset).is_some_and(|slot| !self.slot_open(slot)) {
            return Ok(());
        }
        let outcome = self.engine.happened(&self.now, asset, event, &mut self.outputs);
        if shared_open {
            self.shared.events.count(outcome);
        }
        if outcome.is_ok() {
            self.touch(asset);
            self.emit_outputs();
        }
        outcome.map(|_| ())
    }

    /// A message of a foreign publisher.
    fn foreign(&mut self, message: &MessageRef<'_>) {
        let templates = std::mem::take(&mut self.templates);
        match templates.matches(message.topic) {
            Some(found) => self.foreign_at(found, message),
            None => self.nameless("no_template", "no template of mqtt.foreign matches the topic".to_owned(), message),
        }
        self.templates = templates;
    }

    fn foreign_at(&mut self, found: Match<'_>, message: &MessageRef<'_>) {
        if self.enter(found.asset, message).is_none() {
            return;
        }
        let (now, asset) = (self.now, found.asset);
        let Some(slot) = self.slots.get_mut(asset) else { return };
        slot.door.hear_message(&now);
        if message.oversize.is_some() {
            return self.reject_message(asset, "oversized", "larger than mqtt.max_packet".to_owned(), message);
        }
        let decoded = match payload::decode(found, message.payload) {
            Ok(decoded) => decoded,
            Err(e) => return self.reject_message(asset, e.reason, e.detail, message),
        };
        let content = identity_of(&[message.topic.as_bytes(), message.payload]);
        let timeless = decoded.readings.iter().any(|r| r.time.is_none());
        if timeless && slot.door.repeated(content, message.redelivered) {
            let weight = decoded.readings.len() as u64;
            slot.door.tally.received += weight;
            slot.door.tally.duplicate += weight;
            return self.touch(asset);
        }
        for (reason, count) in &decoded.rejected {
            slot.door.reject(reason, *count);
        }
        let readings = decoded.readings.iter().map(|r| Reading {
            channel: &r.channel,
            time: r.time.unwrap_or(now.wall),
            value: r.value,
            unit: r.unit,
            quality: Quality::Good,
            restamped: r.time.is_none(),
        });
        let source = Source { boot: identity_of(&[message.topic.as_bytes()]), sequence: content };
        let tally = self.engine.readings(&now, asset, source, readings, &mut self.outputs);
        slot.door.tally.add(&tally);
        if !decoded.rejected.is_empty() {
            let detail = format!("{:?}", decoded.rejected);
            self.bury(decoded.rejected[0].0, detail, message.topic, message.payload);
        }
        self.touch(asset);
        self.emit_outputs();
    }

    fn touch(&mut self, asset: &str) {
        self.slots.touch(asset, self.journal.applying());
    }

    /// Drops states unseen for long, once: what is dropped is written with this commit, together with what assets share, so
    /// that no replay crosses it.
    fn retire_states(&mut self) {
        if self.replaying && self.shared_batch >= self.journal.applying() {
            return;
        }
        let gone = self.engine.retire(&self.now);
        if self.engine.take_shared_change() {
            self.change_shared();
        }
        self.pending.structural |= !gone.is_empty();
        if !self.replaying {
            gone.iter().for_each(|asset| self.lives.retire(asset));
        }
        self.pending.snapshots.extend(gone);
    }

    /// Assets unheard for long lose their account; the last ledger entry had it. Wall time alone is no proof: it may leap.
    fn retire(&mut self) {
        if self.now.quality == ClockQuality::Unknown {
            return;
        }
        let after = self.generation.settings.retire_after;
        let awake = after.clamp(0, DAY).unsigned_abs();
        let since = (self.now.wall.saturating_sub(after), self.now.monotonic.checked_sub(awake));
        let (wall, Some(monotonic)) = since else { return };
        for asset in self.slots.unheard(wall, monotonic) {
            self.slots.remove(&asset);
            self.pending.retire(&asset);
        }
    }

    fn apply_command(&mut self, partition: i32, offset: i64, payload: &[u8]) {
        let shared_open = self.shared_open();
        if shared_open {
            self.shared.offsets.insert(partition, offset.saturating_add(1));
        }
        if payload.is_empty() {
            return;
        }
        // What became of it depends on an asset, too; with the shared snapshot in this commit no replay asks again.
        self.pending.structural = true;
        let outcome = self.perform(payload, shared_open);
        if shared_open {
            match outcome {
                Ok(()) => self.shared.commands_applied += 1,
                Err(reason) => *self.shared.commands_refused.entry(reason.to_owned()).or_default() += 1,
            }
        }
    }

    /// Carries a command out, once for each id.
    fn perform(&mut self, payload: &[u8], shared_open: bool) -> Result<(), &'static str> {
        let command: Command = json::decode(payload).map_err(|_| "malformed_json")?;
        command.check()?;
        if command.site != self.identity.site || command.agent != self.identity.agent {
            return Err("other_agent");
        }
        if command.expires < self.now.wall {
            return Err("expired");
        }
        if shared_open {
            if self.shared.applied.contains(&command.id) {
                return Err("applied_before");
            }
            if self.shared.applied.len() >= MAX_APPLIED {
                self.shared.applied.pop_front();
            }
            self.shared.applied.push_back(command.id.clone());
        }
        match &command.request {
            Request::Acknowledge { asset, condition, occurrence } => {
                self.act(&command, asset, condition, Act::Acknowledge { occurrence: *occurrence })
            }
            Request::Shelve { asset, condition, until } => {
                self.act(&command, asset, condition, Act::Shelve { until: *until })
            }
            Request::Unshelve { asset, condition } => self.act(&command, asset, condition, Act::Unshelve),
            Request::Comment { asset, condition, occurrence, text } => {
                self.act(&command, asset, condition, Act::Comment { occurrence: *occurrence, text: text.clone() })
            }
            Request::Label { asset, condition, occurrence, label } => {
                self.act(&command, asset, condition, Act::Label { occurrence: *occurrence, label: *label })
            }
            Request::Event { asset, event, at, components, note } => {
                let (note, by) = (note.as_deref(), Some(command.issuer.as_str()));
                self.happened(asset, &Happened { kind: *event, at: *at, components, note, by, id: &command.id })
            }
            Request::Adopt { asset } => {
                if shared_open {
                    self.engine.adopt(asset)?;
                    self.touch(asset);
                    // With the shared snapshot: no replay of its readings crosses the adoption.
                    self.pending.snapshots.push(asset.clone());
                }
                Ok(())
            }
        }
    }

    /// Asks something of an alarm in a person's name.
    fn act(&mut self, command: &Command, asset: &Name, condition: &str, act: Act) -> Result<(), &'static str> {
        if self.slots.get(asset).is_some_and(|slot| !self.slot_open(slot)) {
            return Ok(());
        }
        self.engine.act(asset, condition, &act, &command.issuer, &command.id, &mut self.outputs)?;
        self.touch(asset);
        Ok(())
    }

    fn apply_generation(&mut self, payload: &[u8]) {
        if !self.shared_open() {
            return;
        }
        // Written by this program after a check; if it cannot be read here, the old generation stays in force, counted.
        let Ok(generation) = Generation::decode(payload) else {
            *self.shared.commands_refused.entry("generation_unreadable".to_owned()).or_default() += 1;
            return;
        };
        let Ok(templates) = Templates::new(&generation.templates()) else {
            *self.shared.commands_refused.entry("generation_unreadable".to_owned()).or_default() += 1;
            return;
        };
        self.templates = templates;
        self.engine.configure(generation.settings.clone(), generation.registry.clone());
        self.generation = generation;
        self.shared.generation.0 = payload.to_vec();
        self.shared.generations += 1;
        // Every asset may have changed: all are written with this commit, so that no replay crosses a generation.
        self.pending.everything = true;
    }
}

/// The waveform of a frame as the engine takes it.
fn block_of<'a>(frame: &Frame<'a>, waveform: &Waveform<'a>) -> Block<'a> {
    let Waveform { rate, scale, offset, samples } = *waveform;
    Block { boot: frame.boot, sequence: frame.sequence, uptime: frame.uptime, rate, scale, offset, samples }
}

/// The event in a message, or why there is none.
fn event_of(message: &MessageRef<'_>) -> Result<AssetEvent, (&'static str, String)> {
    if message.oversize.is_some() {
        return Err(("oversized", "larger than mqtt.max_packet".to_owned()));
    }
    let event = AssetEvent::decode(message.payload).map_err(|e| match e {
        CborError::TooLarge(..) => ("oversized", e.to_string()),
        CborError::Malformed(_) => ("malformed_cbor", e.to_string()),
    })?;
    event.check().map_err(|reason| (reason, format!("event {:?}", event.id)))?;
    Ok(event)
}

fn reason_of(error: &FrameError) -> &'static str {
    match error {
        FrameError::Version(_) => "schema_version",
        FrameError::Channels(_) => "too_many_channels",
        FrameError::Empty => "empty",
        FrameError::Cbor(CborError::TooLarge(..)) => "oversized",
        FrameError::Cbor(_) | FrameError::Index(..) | FrameError::Oldest | FrameError::Waveform => "malformed_cbor",
    }
}

/// 64 bits that stand for a foreign publisher or message.
fn identity_of(parts: &[&[u8]]) -> u64 {
    let id = RecordId::of(parts);
    id.0.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
}
