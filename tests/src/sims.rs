//! Further simulators on a plant's broker, beside the plant's own: other seeds, other nodes, other weather, one agent.
//!
//! Each has a configuration, a ledger and a truth of its own, named after it. Machines of all simulators stand in one
//! registry, so their names must differ (`name_prefix`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::binaries::Binary;
use crate::process::{Process, Spec};
use crate::sim_ledger::SimLedger;

/// What is particular about one simulator.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// Names its files.
    pub name: String,
    /// Top-level lines of its configuration.
    pub sim: String,
    /// Tables of its configuration; the first lines belong to `[mqtt]`.
    pub tables: String,
}

/// One simulator.
#[derive(Debug)]
pub struct Sim {
    name: String,
    folder: PathBuf,
    process: Option<Process>,
}

impl Sim {
    /// One whose configuration lies in `folder` as `<name>.toml`; it does not run yet.
    pub(crate) fn new(name: &str, folder: &Path) -> Self {
        Self { name: name.to_owned(), folder: folder.to_owned(), process: None }
    }

    /// Starts it.
    pub fn start(&mut self) {
        let configuration = self.folder.join(format!("{}.toml", self.name));
        let sim = Spec::new(&format!("fettle-sim-{}", self.name), Binary::Sim.path(), &self.folder);
        self.process = Some(sim.args(["run", "--config"]).arg(configuration).start());
    }

    /// Panics, with the log's end, if it has ended.
    pub fn assert_running(&mut self) {
        self.process.as_mut().expect("start comes first").assert_running();
    }

    /// Waits until it has generated everything, got everything confirmed, and ended; its ledger.
    pub fn await_end(&mut self, within: Duration) -> SimLedger {
        let process = self.process.as_mut().expect("start comes first");
        let status = process.wait(within);
        assert!(status.success(), "{} ended with {status}:\n{}", process.name(), process.log_end());
        self.ledger().unwrap_or_else(|e| panic!("{e}"))
    }

    /// Its ledger as last written.
    pub fn ledger(&self) -> Result<SimLedger, String> {
        SimLedger::load(&self.folder.join(format!("{}-ledger.json", self.name)))
    }

    /// The ground truth, one JSON value per machine.
    pub fn truth(&self) -> Vec<Value> {
        truth(&self.folder.join(format!("{}-truth.jsonl", self.name)))
    }
}

/// A file of ground truth, one JSON value per machine.
pub(crate) fn truth(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// Adds the assets of one registry to another.
pub(crate) fn merge(into: &mut toml::Table, from: toml::Table) {
    let Some(toml::Value::Table(assets)) = into.get_mut("assets") else { panic!("a registry has assets") };
    let Some(toml::Value::Table(more)) = from.into_iter().find(|(key, _)| key == "assets").map(|(_, value)| value)
    else {
        panic!("a registry has assets")
    };
    for (name, asset) in more {
        assert!(assets.insert(name.clone(), asset).is_none(), "two simulators have a machine {name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_of_all_simulators_stand_in_one_registry() {
        let table = |text: &str| text.parse::<toml::Table>().unwrap();
        let mut registry = table("generation = 1\n[assets.a]\nclass = \"pump\"");
        merge(&mut registry, table("generation = 1\n[assets.b]\nclass = \"fan\""));
        assert_eq!(registry["assets"].as_table().map(toml::Table::len), Some(2));
        assert_eq!(registry["assets"]["b"]["class"].as_str(), Some("fan"));
    }

    #[test]
    #[should_panic(expected = "two simulators have a machine a")]
    fn two_machines_of_one_name_are_a_mistake() {
        let mut registry: toml::Table = "[assets.a]".parse().unwrap();
        merge(&mut registry, "[assets.a]".parse().unwrap());
    }
}
