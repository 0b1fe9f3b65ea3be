//! The fleet: names, machines and who has a fault, all from one seed.

use fettle_wire::{Micros, Name};

use crate::chip::fault::SensorFault;
use crate::fault::{Fault, Growth};
use crate::life::{LifePlan, Lives};
use crate::machine::Machine;
use crate::machine::bearing::Component;
use crate::random::{Purpose, Random};

/// Which machines get a fault, and how it grows.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultPlan {
    /// Share of the machines, rounded to whole machines.
    pub share: f64,
    /// From the start of the run to the onset.
    pub onset: Micros,
    /// The onset is later by a uniform random part of this.
    pub spread: Micros,
    /// From onset to failure.
    pub time_to_failure: Micros,
    /// How it grows.
    pub growth: Growth,
    /// The part of the bearing that spalls, on machines under chips; drawn for each where none is named.
    pub component: Option<Component>,
}

/// One machine with its name.
#[derive(Debug, Clone)]
pub struct Member {
    /// The asset's name.
    pub name: Name,
    /// Its index in the fleet.
    pub index: u64,
    /// The machine.
    pub machine: Machine,
    /// Faults of the sensors on it, where it stands under chips.
    pub sensor_faults: Vec<SensorFault>,
    /// Its lives, where they end.
    pub lives: Option<Lives>,
}

/// All machines of a site.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// By index.
    pub members: Vec<Member>,
    /// Event time between bursts of waveforms, where its nodes run the firmware on chips.
    pub waveform: Option<Micros>,
}

impl Fleet {
    /// `machines` machines named `<prefix>-0001` and so on, whose faults count from `start`. The prefix must leave the
    /// names valid; names that are not are left out.
    pub fn new(seed: u64, prefix: &str, machines: u64, start: Micros, plan: Option<&FaultPlan>) -> Self {
        let mut faults = plan.map_or_else(Vec::new, |plan| draw(seed, machines, start, plan));
        faults.resize(machines as usize, None);
        let members = faults.into_iter().enumerate().filter_map(|(index, fault)| {
            let index = index as u64;
            let name = Name::new(&asset_name(prefix, index)).ok()?;
            Some(Member {
                name,
                index,
                machine: Machine::new(seed, index, fault),
                sensor_faults: Vec::new(),
                lives: None,
            })
        });
        Self { members: members.collect(), waveform: None }
    }

    /// `machines` machines of one class that wear out, fail and are replaced.
    pub fn of_lives(seed: u64, prefix: &str, machines: u64, start: Micros, plan: LifePlan) -> Self {
        let mut fleet = Self::new(seed, prefix, machines, start, None);
        for member in &mut fleet.members {
            let lives = Lives::new(plan, seed, member.index, start);
            member.machine = lives.machine();
            member.lives = Some(lives);
        }
        fleet
    }

    /// The same fleet under simulated chips, which send a burst of waveforms every `waveform`; `component` spalls where
    /// a bearing fails, or what is drawn.
    pub fn on_chips(
        self,
        component: Option<Component>,
        waveform: Micros,
        faults: impl Fn(u64, &Name) -> Vec<SensorFault>,
    ) -> Self {
        let members = self.members.into_iter().map(|member| Member {
            sensor_faults: faults(member.index, &member.name),
            machine: member.machine.with_physics(component),
            ..member
        });
        Self { members: members.collect(), waveform: Some(waveform) }
    }

    /// A fleet without faults, for calibration.
    pub fn healthy(seed: u64, machines: u64) -> Self {
        Self::new(seed, "pump", machines, 0, None)
    }
}

/// The name of machine `index`.
pub fn asset_name(prefix: &str, index: u64) -> String {
    format!("{prefix}-{:04}", index + 1)
}

fn draw(seed: u64, machines: u64, start: Micros, plan: &FaultPlan) -> Vec<Option<Fault>> {
    let mut lots: Vec<(f64, u64, Random)> = (0..machines)
        .map(|index| {
            let mut random = Random::new(seed, index, Purpose::Fault);
            (random.uniform(), index, random)
        })
        .collect();
    lots.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let count = (plan.share * machines as f64).round() as usize;
    let mut faults = vec![None; machines as usize];
    for (_, index, mut random) in lots.into_iter().take(count) {
        let late = (plan.spread as f64 * random.uniform()) as Micros;
        let onset = start.saturating_add(plan.onset).saturating_add(late);
        let failure = onset.saturating_add(plan.time_to_failure);
        faults[index as usize] = Some(Fault { onset, failure, growth: plan.growth });
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use fettle_wire::time::HOUR;

    #[test]
    fn the_share_asked_for_gets_a_fault_and_the_same_seed_the_same_machines() {
        let plan = FaultPlan {
            share: 0.25,
            onset: HOUR,
            spread: HOUR,
            time_to_failure: HOUR,
            growth: Growth::Linear,
            component: None,
        };
        let sick = |seed| -> Vec<u64> {
            let fleet = Fleet::new(seed, "pump", 40, 5, Some(&plan));
            fleet.members.iter().filter(|m| m.machine.fault().is_some()).map(|m| m.index).collect()
        };
        assert_eq!(sick(1).len(), 10);
        assert_eq!(sick(1), sick(1));
        assert_ne!(sick(1), sick(2));
        for member in Fleet::new(1, "pump", 40, 5, Some(&plan)).members {
            if let Some(fault) = member.machine.fault() {
                assert!((5 + HOUR..5 + 2 * HOUR).contains(&fault.onset) && fault.failure == fault.onset + HOUR);
            }
        }
    }
}
