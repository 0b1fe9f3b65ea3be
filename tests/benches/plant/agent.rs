//! The agent under measurement: the release binary, with the configuration that a figure asks for.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use testbed::folder::profile_folder;
use testbed::http;
use testbed::ports::Port;
use testbed::process::{Process, Spec};
use testbed::{Binary, Folder, eventually};

use crate::clock::{now, pause};
use crate::proc;

/// How long the agent may take to answer or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the report, which changes once a second.
const LOOK: Duration = Duration::from_millis(250);
/// Slides after which baselines are learned: few, so that a run reaches the steady state.
pub(crate) const BASELINE_SLIDES: usize = 60;

/// The release binaries.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) agent: PathBuf,
    pub(crate) gateway: PathBuf,
    pub(crate) sim: PathBuf,
}

impl Programs {
    /// Finds them, building what is absent or, unless `as_built`, older than its sources.
    pub(crate) fn find(as_built: bool) -> Self {
        let folder = profile_folder();
        assert!(folder.ends_with("release"), "{} is not the release profile: use cargo bench", folder.display());
        let find = |binary: Binary| {
            let there = folder.join(binary.name());
            if as_built && there.exists() { there } else { binary.path() }
        };
        Self { agent: find(Binary::Agent), gateway: find(Binary::Gateway), sim: find(Binary::Sim) }
    }
}

/// What is particular about an agent.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Its site, the name of its folder too.
    pub(crate) site: String,
    /// Where its MQTT broker listens.
    pub(crate) mqtt: u16,
    /// Its Kafka; one that is not there is normal.
    pub(crate) kafka: String,
    /// Its registry, TOML.
    pub(crate) registry: String,
    /// Further tables of its configuration.
    pub(crate) tables: String,
}

impl Setup {
    /// An agent of `site` as shipped, but for the short baseline, without Kafka.
    pub(crate) fn new(site: &str, mqtt: u16, registry: String) -> Self {
        // Port 9 is "discard": nobody listens.
        let kafka = "127.0.0.1:9".to_owned();
        Self { site: site.to_owned(), mqtt, kafka, registry, tables: String::new() }
    }
}

/// A running agent.
pub(crate) struct Agent {
    pub(crate) process: Process,
    http: Port,
    configuration: PathBuf,
}

impl Agent {
    /// Starts it with files below `folder`; does not wait for it.
    pub(crate) fn start(program: &Path, folder: &Folder, setup: &Setup) -> Self {
        let http = Port::reserve();
        let Setup { site, mqtt, kafka, registry, tables } = setup;
        folder.write(&format!("{site}-registry.toml"), registry);
        let text = format!(
            "site = \"{site}\"\nagent = \"bench\"\nstore = \"{site}-store\"\nregistry = \"{site}-registry.toml\"\n\
             [mqtt]\nhost = \"127.0.0.1\"\nport = {mqtt}\n[kafka]\nbrokers = \"{kafka}\"\nprefix = \"{site}\"\n\
             [http]\nlisten = \"{}\"\n[engine]\nbaseline_slides = {BASELINE_SLIDES}\n{tables}\n",
            http.address()
        );
        let configuration = folder.write(&format!("{site}.toml"), text);
        let name = format!("{site}-agent");
        let process = Spec::new(&name, program, folder.path()).args(["run", "--log", "warn", "--config"]);
        Self { process: process.arg(&configuration).start(), http, configuration }
    }

    /// Its process id.
    pub(crate) fn pid(&mut self) -> u32 {
        self.process.assert_running();
        self.process.pid().expect("it runs, as was just seen")
    }

    /// Processor time it has spent.
    pub(crate) fn cpu(&mut self) -> Duration {
        proc::cpu(self.pid())
    }

    /// Its configuration.
    pub(crate) fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// Its report.
    pub(crate) fn status(&self) -> Result<Value, String> {
        http::get_json(&format!("http://{}/status", self.http.address()))
    }

    /// A number of its report.
    pub(crate) fn number(&self, pointer: &str) -> Result<f64, String> {
        let status = self.status()?;
        status.pointer(pointer).and_then(Value::as_f64).ok_or_else(|| format!("no number at {pointer}"))
    }

    /// Waits until it can take frames.
    pub(crate) fn await_ready(&mut self) {
        let url = format!("http://{}/readyz", self.http.address());
        eventually("the agent is ready", PATIENCE, || {
            self.process.assert_running();
            http::get(&url)
        });
    }

    /// Waits until its report says that it has acknowledged `messages` since its start.
    pub(crate) fn await_acknowledged(&mut self, messages: u64, within: Duration) {
        self.await_number("/mqtt/acknowledged", within, |number| number >= messages as f64);
    }

    /// Waits until a number of its report is as wanted. Looks seldom: each look costs the agent a report.
    pub(crate) fn await_number(&mut self, pointer: &str, within: Duration, wanted: impl Fn(f64) -> bool) {
        let began = now();
        loop {
            self.process.assert_running();
            let seen = self.number(pointer);
            if seen.as_ref().is_ok_and(|number| wanted(*number)) {
                return;
            }
            assert!(began.elapsed() < within, "waited {within:?} for {pointer}, last seen: {seen:?}");
            pause(LOOK);
        }
    }

    /// Stops it in good order.
    pub(crate) fn stop(&mut self) {
        let status = self.process.stop(PATIENCE);
        assert!(status.success(), "the agent stopped with {status}:\n{}", self.process.log_end());
    }
}

/// A listener for a benchmark that plays the broker; keep the port as long as the listener.
pub(crate) fn listener() -> (TcpListener, Port) {
    let port = Port::reserve();
    let listener = TcpListener::bind(("127.0.0.1", port.number())).expect("a reserved port is free");
    (listener, port)
}
