//! Health records: what went out, and whether a revision says anything new.
//!
//! H1: (asset, window end, revision) is said once; revisions of one window end count from 0 without a gap.
//! H2: a revision goes out only if its content differs from the last one's: told by a digest, so that nothing as large
//! as a record is kept.

use fettle_wire::{Contribution, Health, Micros, Rul, cbor};

use super::asset::{Asset, Published};
use super::{Output, Rules};
use crate::assess::Assessment;
use crate::indicate::moment;
use crate::window::Summary;

/// A 64-bit digest of a record's bytes. Deterministic for one build; not against an adversary.
fn digest(health: &Health) -> u64 {
    // A health record always has a CBOR form (wire C1); were it not so, every revision would look alike and none go out.
    let bytes = cbor::encode(health).unwrap_or_default();
    let mut state = 0x9E37_79B9_7F4A_7C15 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = (state.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517C_C1B7_2722_0A95);
    }
    state ^ (state >> 32)
}

/// Remaining life counts from the record's window end; the assessment's own end may lie before it.
fn shifted(rul: &Rul, seconds: f64) -> Rul {
    match rul {
        Rul::Interval { p10, p50, p90, method, channel } if seconds > 0.0 => Rul::Interval {
            p10: (p10 - seconds).max(0.0),
            p50: (p50 - seconds).max(0.0),
            p90: p90.map(|p| (p - seconds).max(0.0)),
            method: method.clone(),
            channel: channel.clone(),
        },
        other => other.clone(),
    }
}

impl Asset {
    /// Sends the record of the window that ends at `end`: the first time, or when it differs from what went out.
    /// `place` says where in `published` it stands or belongs.
    pub(super) fn emit(&mut self, rules: &Rules, end: Micros, place: Result<usize, usize>, out: &mut Vec<Output>) {
        let mut health = self.health(rules, end);
        let digest = digest(&health);
        match place {
            Err(place) => self.published.insert(place, Published { end, revision: 0, digest }),
            Ok(place) => {
                let known = &mut self.published[place];
                if known.digest == digest {
                    return;
                }
                known.revision += 1;
                known.digest = digest;
                health.revision = known.revision;
            }
        }
        out.push(Output::Health(health));
    }

    /// The record of the window that ends at `end`, as revision 0, resting on the last evaluation.
    fn health(&mut self, rules: &Rules, end: Micros) -> Health {
        let mut indicators = Vec::with_capacity(self.channels.len());
        let mut restamped = Vec::new();
        for (channel, (name, _, unit, _)) in self.channels.iter_mut().zip(&self.layout.channels) {
            let summary = channel.queue.window(&rules.grid, end);
            indicators.extend(moment::indicator(name, *unit, &summary));
            if summary.flags & Summary::RESTAMPED != 0 {
                restamped.push(format!("restamped:{name}"));
            }
        }
        let (life, age) = self.life_at(end);
        let Some((at, found)) = self.head() else { return self.unknown(rules, end, indicators) };
        let mut flags = self.quality_flags(found);
        flags.extend(restamped);
        let told = self.learned.as_ref().and_then(|learned| learned.told(end));
        let (rul, release, rul_contributions) = match told {
            Some(Ok(told)) => (told.rul, Some(told.release), told.contributions),
            Some(Err(reason)) => {
                // The trend speaks, and the record says why the release does not.
                flags.push(format!("release:{reason}"));
                (shifted(&found.rul, (end - at) as f64 * 1e-6), None, Vec::new())
            }
            None => (shifted(&found.rul, (end - at) as f64 * 1e-6), None, Vec::new()),
        };
        Health {
            asset: self.name.clone(),
            window_start: end - rules.grid.window,
            window_end: end,
            revision: 0,
            verdict: found.verdict,
            reason: found.reason,
            health_index: found.health_index,
            score: found.score,
            p_value: found.p_value,
            contributions: self.contributions(found),
            baseline: found.baseline,
            rul,
            indicators,
            flags,
            release,
            rul_contributions,
            life: Some(life),
            age,
        }
    }

    /// A record without an evaluation to rest on; nothing publishes before the first evaluation, so this is not reached.
    fn unknown(&self, rules: &Rules, end: Micros, indicators: Vec<fettle_wire::Indicator>) -> Health {
        Health {
            asset: self.name.clone(),
            window_start: end - rules.grid.window,
            window_end: end,
            revision: 0,
            verdict: fettle_wire::Verdict::None,
            reason: Some(fettle_wire::NoVerdict::InputsMissing),
            health_index: None,
            score: None,
            p_value: None,
            contributions: Vec::new(),
            baseline: 0.0,
            rul: Rul::None { reason: "inputs_missing".into() },
            indicators,
            flags: Vec::new(),
            release: None,
            rul_contributions: Vec::new(),
            life: None,
            age: None,
        }
    }

    /// `imputed:<channel>` for inputs that were guessed, `not_learned:<channel>` for those the baseline left out,
    /// `speed_assumed:<channel>` for waveforms whose lines were looked for at the rated speed.
    pub(super) fn quality_flags(&self, found: &Assessment) -> Vec<String> {
        let flag = |kind: &str, at: &usize| self.layout.channels.get(*at).map(|c| format!("{kind}:{}", c.0));
        let imputed = found.imputed.iter().filter_map(|at| flag("imputed", at));
        let dropped = found.dropped.iter().filter_map(|at| flag("not_learned", at));
        let assumed = self.waveforms.iter().flat_map(|w| w.assumed()).map(|channel| format!("speed_assumed:{channel}"));
        imputed.chain(dropped).chain(assumed).collect()
    }

    /// The shares of a score with names and units, largest first.
    pub(super) fn contributions(&self, found: &Assessment) -> Vec<Contribution> {
        let named = |share: &crate::assess::Share| {
            let (name, _, unit, _) = self.layout.channels.get(share.channel)?;
            Some(Contribution {
                channel: name.clone(),
                share: share.share,
                value: share.value,
                expected: share.expected,
                unit: unit.si_code().into(),
            })
        };
        found.contributions.iter().filter_map(named).collect()
    }
}
