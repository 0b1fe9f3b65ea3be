//! The lives of one asset in the flow: final slides are folded into steps, and what is finished is handed on.
//!
//! It runs where nothing can change a slide any more, after the detector's step was committed and before the readings
//! are given up (`advance`), so everything that follows from a step is as final as the step (N1, E3).

use fettle_wire::Micros;

use super::asset::Asset;
use super::{Output, Rules};
use crate::life::{LifeStep, Passed};

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
        for Passed::Step { life, index, end, age, slides, values } in passed {
            let channels = self.layout.channels.iter().map(|c| (c.0.clone(), c.2)).collect();
            let asset = self.name.clone();
            let step = LifeStep { asset, life, index, length, end, age, slides, channels, values };
            self.on_life_step(step, out);
        }
    }

    /// The one place to which every finished step of the asset's life comes, in order of time.
    fn on_life_step(&mut self, step: LifeStep, out: &mut Vec<Output>) {
        out.push(Output::LifeStep(Box::new(step)));
    }
}
