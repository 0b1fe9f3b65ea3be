//! A whole plant: simulated machines, MQTT broker, agent, Kafka, fleet gateway, with configurations that fit together.
//!
//! One plant at a time on a machine, over all test processes: each scenario has the machine for itself, and two Kafkas
//! never compete. Whoever wants one waits for the lock.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use fettle_wire::Tally;
use serde::Deserialize;
use serde_json::Value;

use crate::binaries::Binary;
use crate::broker::{Broker, Policy};
use crate::clock::eventually;
use crate::folder::{Folder, testbed_folder};
use crate::http;
use crate::kafka::{Kafka, KafkaOptions};
use crate::ports::Port;
use crate::process::{Process, Spec};
use crate::sim_ledger::SimLedger;
use crate::sims::{self, Sim, SimOptions};
use crate::tools::Tool;

/// The site of every plant.
pub const SITE: &str = "plant-a";
/// The agent of every plant.
pub const AGENT: &str = "gw-1";
/// What a plant needs from outside.
pub const TOOLS: [Tool; 4] = [Tool::Mosquitto, Tool::MosquittoClients, Tool::Kafka, Tool::Kcat];
/// What a plant needs that somebody looks at through a browser.
pub const TOOLS_AND_BROWSER: [Tool; 5] =
    [Tool::Mosquitto, Tool::MosquittoClients, Tool::Kafka, Tool::Kcat, Tool::Chromium];
/// How long a daemon may take to answer or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is particular about a plant; everything else is as shipped.
#[derive(Debug, Clone)]
pub struct PlantOptions {
    /// Name of the folder.
    pub name: &'static str,
    /// Top-level lines of the simulator's configuration (machines, interval, span, ..).
    pub sim: String,
    /// Tables of the simulator's configuration (`[fault]`, `[link]`, ..).
    pub sim_tables: String,
    /// Further simulators.
    pub also: Vec<SimOptions>,
    /// Lines of the agent's `[engine]`.
    pub engine: String,
    /// Tables of the agent's configuration (`[[mqtt.foreign]]`, `[outbox]`, ..).
    pub agent_tables: String,
    /// Which broker configuration.
    pub policy: Policy,
    /// How many fleet gateways.
    pub gateways: usize,
}

impl PlantOptions {
    /// A plant as shipped.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            sim: String::new(),
            sim_tables: String::new(),
            also: Vec::new(),
            engine: String::new(),
            agent_tables: String::new(),
            policy: Policy::Shipped,
            gateways: 1,
        }
    }
}

/// One of our daemons and where it answers HTTP.
#[derive(Debug)]
pub struct Daemon {
    /// The process.
    pub process: Process,
    port: Port,
}

impl Daemon {
    /// The address of `path` on its HTTP port.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.port.address())
    }

    /// `127.0.0.1:<port>` of its HTTP port.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Waits until it serves metrics.
    pub fn await_ready(&mut self) {
        let (url, name) = (self.url("/metrics"), self.process.name().to_owned());
        eventually(&format!("{name} answers"), PATIENCE, || {
            self.process.assert_running();
            http::get(&url)
        });
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port and files, and waits until it answers.
    pub fn start_again(&mut self) {
        self.process.start_again();
        self.await_ready();
    }

    /// Stops it in good order, which must end with success.
    pub fn stop(&mut self) {
        let status = self.process.stop(PATIENCE);
        assert!(status.success(), "{} stopped with {status}:\n{}", self.process.name(), self.process.log_end());
    }

    /// The value of one of its metrics, summed over labels; 0 while it has none of that name.
    pub fn metric(&self, name: &str) -> Result<f64, String> {
        Ok(http::metric(&http::get(&self.url("/metrics"))?, name).unwrap_or(0.0))
    }

    /// The JSON at `path` of its API.
    pub fn json(&self, path: &str) -> Result<Value, String> {
        http::get_json(&self.url(path))
    }
}

/// A running plant. Fields are dropped in this order: who reads before who is read, the folder last.
#[derive(Debug)]
pub struct Plant {
    /// The simulator, once started.
    pub sim: Option<Process>,
    /// Further simulators; none of them runs yet.
    pub also: Vec<Sim>,
    /// The agent.
    pub agent: Daemon,
    /// The fleet gateways.
    pub gateways: Vec<Daemon>,
    /// The MQTT broker.
    pub broker: Broker,
    /// Kafka.
    pub kafka: Kafka,
    /// Everybody's files.
    pub folder: Folder,
    _alone: File,
}

impl Plant {
    /// Starts brokers, creates the topics, starts gateways and agent. The simulator waits for [`Plant::start_sim`].
    pub fn start(options: &PlantOptions) -> Self {
        let alone = File::create(testbed_folder().join("plant.lock")).expect("a lock file can be created");
        alone.lock().expect("a file that is open can be locked");
        let folder = Folder::new(options.name);
        let broker = Broker::start(&folder, options.policy);
        let kafka = Kafka::start(&folder, KafkaOptions::default());
        write_sim(&folder, &broker, options);
        write_registry(&folder, options);
        let also = options.also.iter().map(|one| Sim::new(&one.name, folder.path())).collect();
        let mut gateways: Vec<_> = (0..options.gateways).map(|number| start_gateway(&folder, &kafka, number)).collect();
        let mut agent = start_agent(&folder, &broker, &kafka, options);
        gateways.iter_mut().for_each(Daemon::await_ready);
        agent.await_ready();
        Self { sim: None, also, agent, gateways, broker, kafka, folder, _alone: alone }
    }

    /// Starts the simulator.
    pub fn start_sim(&mut self) {
        let configuration = self.folder.path().join("sim.toml");
        let sim = Spec::new("fettle-sim", Binary::Sim.path(), self.folder.path()).args(["run", "--config"]);
        self.sim = Some(sim.arg(configuration).start());
    }

    /// Waits until the simulator has generated everything, got everything confirmed, and ended; its ledger.
    pub fn await_sim(&mut self, within: Duration) -> SimLedger {
        let sim = self.sim.as_mut().expect("start_sim comes first");
        let status = sim.wait(within);
        assert!(status.success(), "fettle-sim ended with {status}:\n{}", sim.log_end());
        self.sim_ledger().unwrap_or_else(|e| panic!("{e}"))
    }

    /// The simulator's ledger as last written.
    pub fn sim_ledger(&self) -> Result<SimLedger, String> {
        SimLedger::load(&self.folder.path().join("sim-ledger.json"))
    }

    /// Waits until the agent has confirmed `frames` frames more than `before`; how many are confirmed then.
    pub fn await_confirmed(&mut self, before: u64, frames: u64, within: Duration) -> u64 {
        eventually(&format!("{frames} more frames are confirmed durable"), within, || {
            let ledger = self.sim_ledger()?;
            let confirmed = ledger.frames.confirmed;
            if confirmed >= before + frames {
                return Ok(confirmed);
            }
            if let Some(sim) = &mut self.sim {
                assert!(sim.running(), "fettle-sim ended after {confirmed} frames:\n{}", sim.log_end());
            }
            Err(format!("{confirmed} confirmed, {before} before"))
        })
    }

    /// Waits until the broker has acknowledged `frames` frames more than the agent has confirmed.
    pub fn await_unconfirmed(&mut self, frames: u64, within: Duration) {
        eventually(&format!("{frames} frames are with the broker alone"), within, || {
            let ledger = self.sim_ledger()?;
            // Each frame sent again may be acknowledged again.
            let known = ledger.frames.confirmed + ledger.traffic.resent;
            if ledger.traffic.acknowledged >= known + frames {
                return Ok(());
            }
            Err(format!("{} acknowledged, {known} confirmed or sent again", ledger.traffic.acknowledged))
        });
    }

    /// Waits until Kafka has everything that the agent has to say.
    pub fn await_outbox_empty(&self, within: Duration) {
        eventually("the outbox is empty", within, || match self.agent.metric("fettle_agent_kafka_lag_records")? {
            0.0 => Ok(()),
            waiting => Err(format!("{waiting} records wait")),
        });
    }

    /// What a gateway shows of the whole fleet.
    pub fn fleet(&self, gateway: usize) -> Result<Fleet, String> {
        let shown = self.gateways[gateway].json("/api/v1/ledger?limit=10000")?;
        serde_json::from_value(shown.clone()).map_err(|e| format!("/api/v1/ledger: {e} in {shown}"))
    }

    /// Waits until a gateway shows exactly `total`, balanced, without a conflict.
    pub fn await_gateway_total(&self, gateway: usize, total: &Tally, within: Duration) -> Fleet {
        eventually(&format!("gateway {gateway} shows the same sums"), within, || {
            let fleet = self.fleet(gateway)?;
            let equal = fleet.totals.readings == *total && fleet.totals.unbalanced == 0 && fleet.conflicts == 0;
            if equal {
                Ok(fleet)
            } else {
                Err(format!("{:?}, {} conflicts; Kafka {total:?}", fleet.totals, fleet.conflicts))
            }
        })
    }

    /// The record of every reading that the simulator generated.
    pub fn record(&self) -> PathBuf {
        self.folder.path().join("sim-record.csv")
    }

    /// The ground truth, one JSON value per machine.
    pub fn truth(&self) -> Vec<Value> {
        sims::truth(&self.folder.path().join("sim-truth.jsonl"))
    }

    /// The unit of an asset's channel as the registry has it.
    pub fn registry(&self) -> toml::Table {
        let path = self.folder.path().join("registry.toml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Runs one of our commands on the plant's configuration of that daemon; its standard output.
    pub fn command(&self, binary: Binary, arguments: &[&str]) -> String {
        let configuration = match binary {
            Binary::Agent => "agent.toml",
            Binary::Gateway => "gateway-0.toml",
            Binary::Sim => "sim.toml",
        };
        run(binary, &[arguments, &["--config"]].concat(), &self.folder.path().join(configuration))
    }
}

/// A gateway's ledger, `GET /api/v1/ledger`, as far as scenarios look at it.
#[derive(Debug, Clone, Deserialize)]
pub struct Fleet {
    /// Sums over all accounts.
    pub totals: Totals,
    /// Records with a known id and another content.
    pub conflicts: u64,
    /// What became of the records of each partition.
    pub records: Vec<PartitionCounts>,
}

/// Sums over all accounts.
#[derive(Debug, Clone, Deserialize)]
pub struct Totals {
    /// What became of the readings.
    pub readings: Tally,
    /// Accounts that do not balance.
    pub unbalanced: u64,
    /// Frames missing.
    pub missing: u64,
}

/// What became of one partition's records.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PartitionCounts {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Changed what is known.
    pub applied: u64,
    /// Known already.
    pub duplicates: u64,
}

impl Fleet {
    /// Records of a topic that were applied, and that were known already.
    pub fn records_of(&self, topic: &str) -> (u64, u64) {
        let of_topic = self.records.iter().filter(|counts| counts.topic == topic);
        of_topic.fold((0, 0), |sum, counts| (sum.0 + counts.applied, sum.1 + counts.duplicates))
    }
}

/// Unit of `channel` of `asset` in a registry.
pub fn unit(registry: &toml::Table, asset: &str, channel: &str) -> String {
    let channel = &registry["assets"][asset]["channels"][channel];
    channel["unit"].as_str().expect("a channel's unit is a text").to_owned()
}

fn write_sim(folder: &Folder, broker: &Broker, options: &PlantOptions) {
    let write = |name: &str, sim: &str, tables: &str, more: &str| {
        let text = format!(
            "site = \"{SITE}\"\nledger = \"{name}-ledger.json\"\ntruth = \"{name}-truth.jsonl\"\n\
             ledger_interval = \"200ms\"\n{more}{sim}\n[mqtt]\nport = {}\n{tables}\n",
            broker.port()
        );
        folder.write(&format!("{name}.toml"), text);
    };
    write("sim", &options.sim, &options.sim_tables, "record = \"sim-record.csv\"\n");
    for also in &options.also {
        write(&also.name, &also.sim, &also.tables, "");
    }
}

/// One registry of the machines of every simulator.
fn write_registry(folder: &Folder, options: &PlantOptions) {
    let of = |name: &str| -> toml::Table {
        let text = run(Binary::Sim, &["registry", "--config"], &folder.path().join(format!("{name}.toml")));
        text.parse().unwrap_or_else(|e| panic!("the registry of {name}: {e}"))
    };
    let mut registry = of("sim");
    options.also.iter().for_each(|also| sims::merge(&mut registry, of(&also.name)));
    folder.write("registry.toml", registry.to_string());
}

fn start_gateway(folder: &Folder, kafka: &Kafka, number: usize) -> Daemon {
    let port = Port::reserve();
    let text = format!(
        "listen = \"{}\"\nstore = \"gateway-{number}\"\ninstance = \"gateway-{number}\"\n\
         [kafka]\nbrokers = \"{}\"\n",
        port.address(),
        kafka.brokers()
    );
    let configuration = folder.write(&format!("gateway-{number}.toml"), text);
    if number == 0 {
        run(Binary::Gateway, &["topics", "apply", "--config"], &configuration);
    }
    let name = format!("fettle-gateway-{number}");
    let process = Spec::new(&name, Binary::Gateway.path(), folder.path()).args(["run", "--config"]).arg(configuration);
    Daemon { process: process.start(), port }
}

fn start_agent(folder: &Folder, broker: &Broker, kafka: &Kafka, options: &PlantOptions) -> Daemon {
    let port = Port::reserve();
    let text = format!(
        "site = \"{SITE}\"\nagent = \"{AGENT}\"\nstore = \"agent\"\nregistry = \"registry.toml\"\nsign = true\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\n[kafka]\nbrokers = \"{}\"\n[http]\nlisten = \"{}\"\n[ledger]\ninterval = \"1s\"\n\
         [engine]\n{}\n{}\n",
        broker.port(),
        kafka.brokers(),
        port.address(),
        options.engine,
        options.agent_tables
    );
    let configuration = folder.write("agent.toml", text);
    let process = Spec::new("fettle-agent", Binary::Agent.path(), folder.path()).args(["run", "--config"]);
    Daemon { process: process.arg(configuration).start(), port }
}

/// Runs one of our commands to its end, which must be success; its standard output.
fn run(binary: Binary, arguments: &[&str], configuration: &std::path::Path) -> String {
    let output = Command::new("timeout")
        .arg("120")
        .arg(binary.path())
        .args(arguments)
        .arg(configuration)
        .stdin(Stdio::null())
        .output()
        .expect("`timeout` is part of every Linux system");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?} ended with {}:\n{errors}", binary.name(), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
