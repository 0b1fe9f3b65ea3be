//! Alarm conditions of an asset: `anomaly`, and `limit.<channel>` for each channel with a limit.
//!
//! Place in the flow: after the first evaluation of each slide; revisions of the past do not act on alarms. Without a
//! verdict, or without readings of the channel, the signal is unknown: it neither raises nor returns an alarm.
//! A condition whose limit or channel the configuration has taken away counts as gone and returns.
//!
//! Priorities: a limit is high; an anomaly is medium, and high where it is a hundred times less likely than what raises
//! an alarm.

use fettle_wire::{Alert, Change, Contribution, Micros, Priority, Unit, Verdict};
use serde::{Deserialize, Serialize};

use super::asset::Asset;
use super::{Output, Rules};
use crate::alarm::{Alarm, Signal, Transition};
use crate::detect::tail;
use crate::registry::Role;
use crate::window::Summary;

/// Name of the condition that the asset behaves unusually.
const ANOMALY: &str = "anomaly";
/// What precedes the channel in the name of a limit's condition.
const LIMIT: &str = "limit.";

/// One alarm and what it last said.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Condition {
    pub(super) alarm: Alarm,
    /// The last alert, while the alarm is not normal: what an acknowledgement refers to.
    last: Option<Box<Alert>>,
}

/// What a condition rests on at one instant.
struct Evidence {
    priority: Priority,
    score: f64,
    p_value: Option<f64>,
    message: String,
    contributions: Vec<Contribution>,
    flags: Vec<String>,
}

impl Asset {
    /// Steps every condition with the last evaluation, of the slide that ends at `end`.
    pub(super) fn judge(&mut self, rules: &Rules, end: Micros, out: &mut Vec<Output>) {
        self.judge_anomaly(rules, end, out);
        for at in 0..self.layout.channels.len() {
            self.judge_limit(rules, end, at, out);
        }
        self.judge_orphans(rules, end, out);
    }

    fn judge_anomaly(&mut self, rules: &Rules, end: Micros, out: &mut Vec<Output>) {
        let Some((_, found)) = self.head() else { return };
        let judged = found.score.zip(found.threshold).filter(|_| found.verdict != Verdict::None);
        let signal = judged.map(|(score, threshold)| Signal::scored(score, threshold, rules.settings.deadband));
        let Some(transition) = self.step_condition(rules, ANOMALY, end, signal) else { return };
        let Some((score, threshold)) = judged else { return };
        let evidence = self.anomaly_evidence(rules, end, score, threshold, transition.change);
        self.alert(ANOMALY, transition, evidence, out);
    }

    fn anomaly_evidence(
        &mut self,
        rules: &Rules,
        end: Micros,
        score: f64,
        threshold: f64,
        change: Change,
    ) -> Option<Evidence> {
        let flags = self.slide_flags(rules, end);
        let (_, found) = self.head()?;
        let monitored = self.layout.channels.iter().filter(|c| c.1 == Role::Monitored).count();
        let judged = monitored.saturating_sub(found.dropped.len());
        let rare = tail::chi_squared_survival(threshold, judged) / 100.0;
        let priority = if found.p_value.is_some_and(|p| p < rare) { Priority::High } else { Priority::Medium };
        let contributions = self.contributions(found);
        let mut message = match change {
            Change::Raised => format!("{} behaves unusually", self.name),
            _ => format!("{} behaves as its baseline again", self.name),
        };
        if let (Change::Raised, Some(most)) = (change, contributions.first()) {
            let Contribution { channel, share, value, expected, unit } = most;
            let percent = share * 100.0;
            message += &format!(
                ", mostly {channel} ({percent:.0} %): {} where {} is expected",
                quantity(*value, unit),
                quantity(*expected, unit)
            );
        }
        let mut all = self.quality_flags(found);
        all.extend(flags);
        Some(Evidence { priority, score, p_value: found.p_value, message, contributions, flags: all })
    }

    fn judge_limit(&mut self, rules: &Rules, end: Micros, at: usize, out: &mut Vec<Output>) {
        let (name, _, unit, limit) = &self.layout.channels[at];
        let (name, unit, Some(limit)) = (name.clone(), *unit, *limit) else { return };
        let slide = self.channels[at].queue.slide(&rules.grid, end - rules.grid.slide);
        if self.conditions.is_empty() && slide.is_none_or(|s| s.mean <= limit) {
            return;
        }
        let level = self.latest().level(at).map(|l| l.0);
        // A temperature has no natural zero: the deadband is a part of the way from the limit to the healthy level, and
        // before that is known a part of the limit as the registry writes it.
        let release = match level.filter(|level| *level < limit) {
            Some(level) => limit - rules.settings.deadband * (limit - level),
            None => {
                let written = unit.from_si(limit);
                unit.to_si(written - rules.settings.deadband * written.abs())
            }
        };
        let signal = slide.map(|s| Signal { value: s.mean, threshold: limit, release });
        let condition = format!("{LIMIT}{name}");
        let Some(transition) = self.step_condition(rules, &condition, end, signal) else { return };
        let Some(slide) = slide else { return };
        let (value, written) =
            (quantity(unit.from_si(slide.mean), unit.code()), quantity(unit.from_si(limit), unit.code()));
        let message = match transition.change {
            Change::Raised => format!("{name} is at {value}, above its limit of {written}"),
            _ => format!("{name} is at {value}, back below its limit of {written}"),
        };
        let contribution = Contribution {
            channel: name,
            share: 1.0,
            value: slide.mean,
            expected: level.unwrap_or(limit),
            unit: unit.si_code().into(),
        };
        let flags = self.slide_flags(rules, end);
        let (score, contributions) = (slide.mean, vec![contribution]);
        let evidence = Evidence { priority: Priority::High, score, p_value: None, message, contributions, flags };
        self.alert(&condition, transition, Some(evidence), out);
    }

    /// Returns alarms of limits that exist no more.
    fn judge_orphans(&mut self, rules: &Rules, end: Micros, out: &mut Vec<Output>) {
        let limited = |channel: &str| self.layout.channels.iter().any(|c| &*c.0 == channel && c.3.is_some());
        let orphaned = |c: &&String| c.strip_prefix(LIMIT).is_some_and(|channel| !limited(channel));
        let orphans: Vec<String> = self.conditions.keys().filter(orphaned).cloned().collect();
        for condition in orphans {
            let gone = Signal { value: 0.0, threshold: 1.0, release: 0.0 };
            if let Some(transition) = self.step_condition(rules, &condition, end, Some(gone)) {
                let evidence = Evidence {
                    priority: Priority::High,
                    score: 0.0,
                    p_value: None,
                    message: format!("{condition} has no limit any more"),
                    contributions: Vec::new(),
                    flags: Vec::new(),
                };
                self.alert(&condition, transition, Some(evidence), out);
            }
        }
    }

    /// Steps one alarm; one that was never raised takes no memory until its signal is above the threshold.
    fn step_condition(&mut self, rules: &Rules, name: &str, end: Micros, signal: Option<Signal>) -> Option<Transition> {
        match self.conditions.get_mut(name) {
            Some(condition) => condition.alarm.step(end, signal, &rules.alarm),
            None if signal.is_some_and(|s| s.value > s.threshold) => {
                self.conditions.entry(name.into()).or_default().alarm.step(end, signal, &rules.alarm)
            }
            None => None,
        }
    }

    /// `restamped:<channel>` for the slide that ends at `end`.
    fn slide_flags(&mut self, rules: &Rules, end: Micros) -> Vec<String> {
        let mut flags = Vec::new();
        for (channel, (name, ..)) in self.channels.iter_mut().zip(&self.layout.channels) {
            let slide = channel.queue.slide(&rules.grid, end - rules.grid.slide);
            if slide.is_some_and(|s| s.flags & Summary::RESTAMPED != 0) {
                flags.push(format!("restamped:{name}"));
            }
        }
        flags
    }

    fn alert(&mut self, condition: &str, change: Transition, evidence: Option<Evidence>, out: &mut Vec<Output>) {
        let (Some(evidence), Some(kept)) = (evidence, self.conditions.get_mut(condition)) else { return };
        // The priority of an occurrence is that of its raise.
        let before = kept.last.as_ref().filter(|a| a.occurrence == change.occurrence).map(|a| a.priority);
        let alert = Alert {
            asset: self.name.clone(),
            condition: condition.into(),
            occurrence: change.occurrence,
            change: change.change,
            state: change.state,
            priority: before.unwrap_or(evidence.priority),
            raised_at: change.raised_at,
            at: change.at,
            score: evidence.score,
            p_value: evidence.p_value,
            message: evidence.message,
            contributions: evidence.contributions,
            flags: evidence.flags,
            by: None,
            command: None,
        };
        kept.remember(&alert);
        if let (Change::Raised, Some(waveforms)) = (alert.change, &mut self.waveforms) {
            waveforms.note_raise(&alert);
        }
        out.push(Output::Alert(alert));
    }

    /// Alarms that are raised and have not returned.
    pub(super) fn alarms_open(&self) -> u64 {
        self.conditions.values().filter(|c| c.alarm.is_active()).count() as u64
    }

    /// See [`super::Engine::acknowledge`]. Event time of the change is that of the last evaluation.
    pub(super) fn acknowledge(
        &mut self,
        condition: &str,
        occurrence: u64,
        by: &str,
        command: &str,
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        let kept = self.conditions.get_mut(condition).ok_or("unknown_condition")?;
        let Some(change) = kept.alarm.acknowledge(occurrence, self.alarmed)? else { return Ok(()) };
        // An alarm that can be acknowledged was raised, and its alert is kept until it is normal again.
        let Some(last) = kept.last.as_deref() else { return Ok(()) };
        let alert = Alert {
            change: change.change,
            state: change.state,
            at: change.at,
            by: Some(by.into()),
            command: Some(command.into()),
            message: format!("{by} has seen: {}", last.message),
            ..last.clone()
        };
        kept.remember(&alert);
        out.push(Output::Alert(alert));
        Ok(())
    }
}

impl Condition {
    fn remember(&mut self, alert: &Alert) {
        let open = alert.state != fettle_wire::AlarmState::Normal;
        self.last = open.then(|| Box::new(alert.clone()));
    }
}

/// A value with its unit, four digits, as a person reads it.
fn quantity(value: f64, code: &str) -> String {
    let unit = if code == Unit::ONE.code() { String::new() } else { format!(" {code}") };
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-3..1e6).contains(&magnitude) {
        return format!("{value:.3e}{unit}");
    }
    let decimals = if magnitude >= 1000.0 {
        0
    } else if magnitude >= 10.0 {
        1
    } else {
        4
    };
    format!("{value:.decimals$}{unit}")
}
