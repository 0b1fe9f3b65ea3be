//! The lives of one asset in the flow: final slides are folded into steps, and what is finished is handed on; what
//! somebody says ends a life or begins one.
//!
//! Steps are folded where nothing can change a slide any more, after the detector's step was committed and before the
//! readings are given up (`advance`), so everything that follows from a step is as final as the step (N1, E3).

use fettle_wire::{AlarmState, Alert, Arrival, Change, EventKind, Micros, Priority, RecordId};

use super::asset::Asset;
use super::door::admit_time;
use super::{Output, Rules};
use crate::life::{Happened, LifeEvent, LifeStep, Noted, Passed};

/// The condition under which what happened is told.
const LIFE: &str = "life";

impl Asset {
    /// Folds the slides that end in `(closed, close]` and finishes the steps that end there.
    pub(super) fn live(&mut self, rules: &Rules, close: Micros, out: &mut Vec<Output>) {
        let (slide, length) = (rules.grid.slide, rules.settings.rul_step);
        let mut passed = Vec::new();
        let mut end = None;
        while let Some(start) = self.start_after(end).filter(|start| start + slide <= close) {
            self.gather(rules, start + slide);
            self.lives.fold(length, start, &self.scratch, &mut |p| passed.push(p));
            end = Some(start + slide);
        }
        self.lives.reach(close, &mut |p| passed.push(p));
        for Passed { life, index, end, age, slides, values } in passed {
            let channels = self.layout.channels.iter().map(|c| (c.0.clone(), c.2)).collect();
            let asset = self.name.clone();
            let step = LifeStep { asset, life, index, length, end, age, slides, channels, values };
            self.on_life_step(step, out);
        }
    }

    /// The one place to which every finished step of the asset's lives comes, in order of time. A step with another
    /// `life` than the last one is the first of a new life.
    fn on_life_step(&mut self, step: LifeStep, out: &mut Vec<Output>) {
        out.push(Output::LifeStep(Box::new(step)));
    }

    /// Number of the life in which the slide that ends at `end` lies, and its age then, s.
    pub(super) fn life_at(&self, end: Micros) -> (u64, Option<f64>) {
        self.lives.at(end, &|from| self.start_after(Some(from)))
    }

    /// See [`super::Engine::happened`].
    pub(super) fn happened(
        &mut self,
        rules: &Rules,
        now: &Arrival,
        event: &Happened<'_>,
        out: &mut Vec<Output>,
    ) -> Result<bool, &'static str> {
        let time = event.at.unwrap_or(now.wall);
        admit_time(&rules.settings, now, time)?;
        let id = RecordId::of(&[event.id.as_bytes()]).0.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b));
        let (channels, closed) = (&self.channels, self.closed);
        let first_after = |from: Micros| channels.iter().filter_map(|c| c.queue.next_start(from.max(closed))).min();
        let what = (event.kind, !event.components.is_empty());
        let noted = self.lives.note(what, id, time, (rules.grid.slide, closed), &first_after)?;
        out.push(Output::Alert(self.told(event, time, &noted)));
        let Noted { life, ends, begins, at, late } = noted;
        out.push(Output::LifeEvent(Box::new(LifeEvent {
            asset: self.name.clone(),
            kind: event.kind,
            at: time,
            life,
            ends,
            begins,
            late,
            components: event.components.to_vec(),
            note: event.note.map(str::to_owned),
            by: event.by.map(str::to_owned),
        })));
        if let Some(at) = at {
            self.part(rules, at, out);
        }
        Ok(late)
    }

    /// What was evaluated behind `at` was judged by the baseline of another life: it is judged again.
    fn part(&mut self, rules: &Rules, at: Micros, out: &mut Vec<Output>) {
        if at < self.alarmed {
            self.withdraw_alarms(self.alarmed, out);
        }
        if at < self.evaluated {
            let end = at + rules.grid.slide;
            self.dirty = Some(self.dirty.map_or(end, |dirty| dirty.min(end)));
            self.advance(rules, true, out);
        }
    }

    /// The alert that confirms an event.
    fn told(&self, event: &Happened<'_>, time: Micros, noted: &Noted) -> Alert {
        let name = &self.name;
        let mut message = match event.kind {
            EventKind::Failed => format!("{name} has failed"),
            EventKind::Replaced => format!("{name} was replaced"),
            EventKind::MaintenanceDone => format!("maintenance was done on {name}"),
        };
        if let Some(by) = event.by {
            message = format!("{by} says that {message}");
        }
        if !event.components.is_empty() {
            message += &format!(" ({})", event.components.join(", "));
        }
        Alert {
            asset: name.clone(),
            condition: LIFE.into(),
            occurrence: noted.life,
            change: Change::Labelled,
            state: AlarmState::Normal,
            priority: Priority::Low,
            raised_at: time,
            at: time,
            score: 0.0,
            p_value: None,
            message,
            contributions: Vec::new(),
            flags: if noted.late { vec!["late".into()] } else { Vec::new() },
            shelved_until: None,
            comment: event.note.map(str::to_owned),
            label: None,
            by: event.by.map(str::to_owned),
            command: Some(event.id.into()),
        }
    }
}
