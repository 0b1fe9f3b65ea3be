//! What leaves the state: engine outputs and ledger entries become outbox records; messages that could not be used
//! become dead letters. Nothing is emitted in replay: its records are in the store already.

use fettle_models::Output;
use fettle_wire::{Envelope, Lane, Name, topic};
use serde::Serialize;

use super::Core;
use super::dead::DeadLetter;
use crate::outbox::index;

impl Core {
    /// Turns the engine's outputs into records.
    pub(super) fn emit_outputs(&mut self) {
        if let Some(observed) = &mut self.observed {
            observed.append(&mut self.outputs);
            return;
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Alert(alert) => {
                    let change = serde_json::to_string(&alert.change).unwrap_or_default();
                    let about = [alert.asset.as_bytes(), alert.condition.as_bytes(), change.as_bytes()];
                    let (occurrence, at) = (alert.occurrence.to_be_bytes(), alert.at.to_be_bytes());
                    // People may say several things of one occurrence between two evaluations.
                    let command = alert.command.as_deref().unwrap_or_default().as_bytes();
                    let about = [about[0], about[1], about[2], &occurrence, &at, command];
                    self.emit(Lane::Alerts, &alert.asset, &about, &alert);
                    self.pending.urgent |= !self.replaying;
                }
                Output::Evidence(evidence) => {
                    let occasion = serde_json::to_string(&evidence.occasion).unwrap_or_default();
                    let (time, occurrence) =
                        (evidence.time.to_be_bytes(), evidence.occurrence.unwrap_or(0).to_be_bytes());
                    let condition = evidence.condition.as_deref().unwrap_or_default().as_bytes();
                    let (asset, channel) = (evidence.asset.as_bytes(), evidence.channel.as_bytes());
                    let about = [asset, channel, &time, occasion.as_bytes(), condition, &occurrence];
                    self.emit(Lane::Evidence, &evidence.asset, &about, &*evidence);
                }
                // What is replayed lies in the store already.
                Output::Capture(_) | Output::LifeStep(_) | Output::LifeEvent(_) if self.replaying => {}
                Output::LifeStep(step) => {
                    self.lives.step(&step, self.generation.registry.assets.get(&step.asset));
                }
                Output::LifeEvent(event) => {
                    self.lives.event(&event, self.generation.registry.assets.get(&event.asset));
                }
                Output::Capture(capture) => self.pending.captures.push((*capture).into()),
                Output::Health(health) => {
                    let (end, revision) = (health.window_end.to_be_bytes(), health.revision.to_be_bytes());
                    self.emit(Lane::Health, &health.asset, &[health.asset.as_bytes(), &end, &revision], &health);
                }
            }
        }
        self.outputs = outputs;
    }

    /// Emits the account of every asset that changed since the last round.
    pub(super) fn emit_ledger(&mut self) {
        for asset in self.slots.take_unreported(self.journal.applying()) {
            let Some(slot) = self.slots.get(&asset) else { continue };
            let entry = slot.door.entry(&asset, self.engine.is_quarantined(&asset), self.now.wall);
            let sequence = self.lanes[index(Lane::Ledger)].to_be_bytes();
            self.emit(Lane::Ledger, &asset, &[asset.as_bytes(), &sequence], &entry);
        }
    }

    fn emit<T: Serialize>(&mut self, lane: Lane, asset: &Name, about: &[&[u8]], body: &T) {
        let sequence = self.lanes[index(lane)];
        self.lanes[index(lane)] += 1;
        if self.replaying || self.observed.is_some() {
            return;
        }
        // Invariant: records are structs of texts and finite numbers with text-keyed maps; JSON holds them all.
        let Ok(body) = serde_json::value::to_raw_value(body) else { return };
        let mut envelope = Envelope::new(&self.identity, lane, sequence, about, body);
        if let Some(key) = &self.key {
            envelope.sign(key);
        }
        let Ok(payload) = envelope.encode() else { return };
        let site = &self.identity.site;
        let kafka_key = match lane {
            Lane::Ledger => topic::ledger_key(site, &self.identity.agent, asset),
            Lane::Alerts | Lane::Health | Lane::Evidence => topic::asset_key(site, asset),
        };
        self.pending.put_record(lane, sequence, asset, kafka_key, payload);
    }

    /// Keeps a message that could not be used.
    pub(super) fn bury(&mut self, reason: &str, detail: String, topic: &str, payload: &[u8]) {
        if !self.replaying {
            self.pending.dead.push(DeadLetter::new(self.now.wall, reason, detail, topic, payload));
        }
    }
}
