//! Alarm conditions of an asset: `anomaly`, and `limit.<channel>` for each channel with a limit.
//!
//! Place in the flow: after the first evaluation of each slide; revisions of the past do not act on alarms. Without a
//! verdict, or without readings of the channel, the signal is unknown: it neither raises nor returns an alarm.
//! A condition whose limit or channel the configuration has taken away counts as gone and returns.
//!
//! Priorities: a limit is high; an anomaly is medium, and high where it is a hundred times less likely than what raises
//! an alarm.

use fettle_wire::command::MAX_SHELF;
use fettle_wire::{Alert, Change, Contribution, Label, Micros, Priority, Unit, Verdict};
use serde::{Deserialize, Serialize};

use super::asset::Asset;
use super::{Output, Rules};
use crate::alarm::{Act, Alarm, Signal, Transition};
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
    /// The last alert: what a person's request refers to. It carries the shelf and the occurrence's label.
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
        self.end_shelves(end, out);
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
        let last = kept.last.as_deref();
        let before = last.filter(|a| a.occurrence == change.occurrence);
        let alert = Alert {
            asset: self.name.clone(),
            condition: condition.into(),
            occurrence: change.occurrence,
            change: change.change,
            state: change.state,
            priority: before.map_or(evidence.priority, |a| a.priority),
            raised_at: change.raised_at,
            at: change.at,
            score: evidence.score,
            p_value: evidence.p_value,
            message: evidence.message,
            contributions: evidence.contributions,
            flags: evidence.flags,
            shelved_until: last.and_then(|a| a.shelved_until),
            comment: None,
            label: before.and_then(|a| a.label),
            by: None,
            command: None,
        };
        if let (Change::Raised, Some(waveforms)) = (alert.change, &mut self.waveforms) {
            waveforms.note_raise(&alert);
        }
        kept.say(alert, out);
    }

    /// Alarms that are raised and have not returned.
    pub(super) fn alarms_open(&self) -> u64 {
        self.conditions.values().filter(|c| c.alarm.is_active()).count() as u64
    }

    /// The machine is another one now: alarms that stand return.
    pub(super) fn withdraw_alarms(&mut self, at: Micros, out: &mut Vec<Output>) {
        for kept in self.conditions.values_mut() {
            let (Some(transition), Some(last)) = (kept.alarm.withdraw(at), kept.last.as_deref()) else { continue };
            let message = format!("a new life of {} has begun, which ends {}", last.asset, plain(last));
            let (change, state) = (transition.change, transition.state);
            kept.say(Alert { change, state, ..again(last, transition.at, message) }, out);
        }
    }

    /// Ends each shelf whose time has come.
    fn end_shelves(&mut self, end: Micros, out: &mut Vec<Output>) {
        for kept in self.conditions.values_mut() {
            let Some(last) = kept.last.as_deref().filter(|a| a.shelved_until.is_some_and(|until| until <= end)) else {
                continue;
            };
            let message = format!("the shelf's time is over: {}", plain(last));
            kept.say(Alert { change: Change::Unshelved, shelved_until: None, ..again(last, end, message) }, out);
        }
    }

    /// See [`super::Engine::act`]. Event time of the change is that of the last evaluation.
    pub(super) fn act(
        &mut self,
        condition: &str,
        act: &Act,
        by: &str,
        command: &str,
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        let now = self.alarmed;
        let kept = self.conditions.get_mut(condition).ok_or("unknown_condition")?;
        if let Some(alert) = kept.acted(act, now, by)? {
            kept.say(Alert { by: Some(by.into()), command: Some(command.into()), ..alert }, out);
        }
        Ok(())
    }
}

impl Condition {
    /// What is to be said of `act`; `None` where it changes nothing.
    fn acted(&mut self, act: &Act, now: Micros, by: &str) -> Result<Option<Alert>, &'static str> {
        // A condition that was never raised has said nothing.
        let last = self.last.as_deref().ok_or("unknown_occurrence")?;
        let told = plain(last);
        let alert = match act {
            Act::Acknowledge { occurrence } => {
                let Some(change) = self.alarm.acknowledge(*occurrence, now)? else { return Ok(None) };
                let message = format!("{by} has seen: {told}");
                Alert { change: change.change, state: change.state, ..again(last, change.at, message) }
            }
            Act::Shelve { until } => {
                match until.checked_sub(now) {
                    Some(ahead) if ahead > MAX_SHELF => return Err("shelf_too_long"),
                    Some(ahead) if ahead > 0 => {}
                    _ => return Err("shelf_in_the_past"),
                }
                let message = format!("{by} has shelved: {told}");
                Alert { change: Change::Shelved, shelved_until: Some(*until), ..again(last, now, message) }
            }
            Act::Unshelve => {
                if last.shelved_until.is_none() {
                    return Ok(None);
                }
                let message = format!("{by} has ended the shelf: {told}");
                Alert { change: Change::Unshelved, shelved_until: None, ..again(last, now, message) }
            }
            Act::Comment { occurrence, text } => {
                let message = format!("{by} says: {text}");
                let comment = Some(text.clone());
                Alert { change: Change::Commented, comment, ..self.of(*occurrence, last, now, message)? }
            }
            Act::Label { occurrence, label } => {
                let word = match label {
                    Label::Confirmed => "confirmed",
                    Label::FalseAlarm => "a false alarm",
                    Label::MaintenanceDone => "maintenance done",
                };
                let message = format!("{by} says that this is {word}: {told}");
                Alert { change: Change::Labelled, label: Some(*label), ..self.of(*occurrence, last, now, message)? }
            }
        };
        Ok(Some(alert))
    }

    /// An alert about `occurrence`. Of an ended one, nothing but its number is known any more.
    fn of(&self, occurrence: u64, last: &Alert, now: Micros, message: String) -> Result<Alert, &'static str> {
        if occurrence == 0 || occurrence > self.alarm.occurrence() {
            return Err("unknown_occurrence");
        }
        if occurrence == last.occurrence { Ok(again(last, now, message)) } else { Err("occurrence_over") }
    }

    fn say(&mut self, alert: Alert, out: &mut Vec<Output>) {
        self.last = Some(Box::new(alert.clone()));
        out.push(Output::Alert(alert));
    }
}

/// The last alert with another message, at `at`; a comment is said once.
fn again(last: &Alert, at: Micros, message: String) -> Alert {
    Alert { at, message, comment: None, by: None, command: None, ..last.clone() }
}

/// What the condition itself says, without what people did to it.
fn plain(last: &Alert) -> String {
    match last.contributions.first() {
        Some(most) => format!("{} on {} ({})", last.condition, last.asset, most.channel),
        None => format!("{} on {}", last.condition, last.asset),
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
