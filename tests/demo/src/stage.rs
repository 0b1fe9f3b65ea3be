//! Who plays: everybody's configuration in one folder, the embedded brokers, agents, gateway and plants, each on threads
//! of its own, started in the order in which they need each other and ended in the opposite one.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use fettle_agent::run::Ask;
use fettle_sim::publish::{self, Running};
use fettle_sim::{registry, truth};
use fettle_wire::Name;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tracing_subscriber::EnvFilter;

use crate::broker;
use crate::kafka::Embedded;
use crate::look::{Gateway, Nodes, Seen};
use crate::relay::Relay;
use crate::scene::{SITES, Scene};
use crate::story::Doomed;

type Failure = Box<dyn Error + Send + Sync>;
type Player = (&'static str, JoinHandle<Result<(), Failure>>);

/// Where everything lies.
enum Place {
    Kept(PathBuf),
    Passing(TempDir),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Passing(folder) => folder.path(),
        }
    }
}

/// Everybody.
pub(crate) struct Stage {
    place: Place,
    page: SocketAddr,
    runtime: Runtime,
    kafka: Embedded,
    mqtt: u16,
    relay: Relay,
    cut: bool,
    plants: Vec<Running>,
    agents: Vec<mpsc::UnboundedSender<Ask>>,
    gateway: Option<oneshot::Sender<()>>,
    players: Vec<Player>,
    spectator: Gateway,
    doomed: Option<Doomed>,
}

/// A loopback port on which nobody listens.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Where the page will be: the usual address, or another one if somebody is there.
pub(crate) fn page(listen: SocketAddr) -> std::io::Result<SocketAddr> {
    match TcpListener::bind(listen).and_then(|listener| listener.local_addr()) {
        Ok(address) => Ok(address),
        Err(_) => Ok(SocketAddr::new(listen.ip(), free_port()?)),
    }
}

impl Stage {
    /// Starts the brokers and writes the configurations.
    pub(crate) fn build(scene: &Scene, keep: Option<&Path>, page: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let place = match keep {
            Some(folder) => {
                std::fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
                if std::fs::read_dir(folder)?.next().is_some() {
                    return Err(format!("{} is not empty; name a folder that is, or none yet", folder.display()).into());
                }
                Place::Kept(folder.canonicalize()?)
            }
            None => Place::Passing(tempfile::Builder::new().prefix("fettle-demo-").tempdir()?),
        };
        log_to(&place.path().join("demo.log"))?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("plant").enable_all().build()?;
        let mqtt = free_port()?;
        broker::start(mqtt)?;
        let kafka = Embedded::start(Name::new("fettle")?)?;
        let relay = Relay::start(runtime.handle(), mqtt)?;
        let mut stage = Self {
            spectator: Gateway::new(page),
            place,
            page,
            runtime,
            kafka,
            mqtt,
            relay,
            cut: false,
            plants: Vec::new(),
            agents: Vec::new(),
            gateway: None,
            players: Vec::new(),
            doomed: None,
        };
        stage.write(scene)?;
        Ok(stage)
    }

    fn write(&mut self, scene: &Scene) -> Result<(), Box<dyn Error>> {
        let folder = self.place.path();
        let brokers = self.kafka.brokers();
        for (site, (name, agent)) in SITES.into_iter().enumerate() {
            let port = if site == 0 { self.relay.port() } else { self.mqtt };
            std::fs::write(folder.join(format!("{name}.toml")), scene.plant(site, port))?;
            let text = scene.agent(site, self.mqtt, &brokers, free_port()?);
            std::fs::write(folder.join(format!("{agent}.toml")), text)?;
        }
        std::fs::write(folder.join("gateway.toml"), Scene::gateway(&brokers, self.page))?;
        Ok(())
    }

    /// Starts gateway, agents and plants.
    pub(crate) fn start(&mut self, scene: &Scene) -> Result<(), Box<dyn Error>> {
        let folder = self.place.path().to_owned();
        self.start_gateway(&folder)?;
        for (name, agent) in SITES {
            let text = std::fs::read_to_string(folder.join(format!("{name}.toml")))?;
            let config = fettle_sim::Config::parse(&text, &folder)
                .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
            let fleet = config.fleet(scene.start);
            let registry = registry::toml(&fleet, &config.channels, config.interval_seconds())?;
            std::fs::write(folder.join(format!("{name}-registry.toml")), registry)?;
            self.start_agent(&folder.join(format!("{agent}.toml")))?;
            for truth in truth::of(&fleet) {
                if let Some(fault) = truth.fault {
                    let site = name.to_owned();
                    let doomed = Doomed { site, asset: truth.asset, onset: fault.onset_us, failure: fault.failure_us };
                    self.doomed.get_or_insert(doomed);
                }
            }
            let plant = Running::start(config, publish::Clock::start(), self.runtime.handle());
            self.plants.push(plant);
        }
        Ok(())
    }

    fn start_gateway(&mut self, folder: &Path) -> Result<(), Box<dyn Error>> {
        let config = fettle_gateway::config::load(&folder.join("gateway.toml"))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("gateway".to_owned()).spawn(move || {
            let asked = async {
                let _ = stopped.await;
                Ok(())
            };
            fettle_gateway::run::run_until(&config, asked).map_err(Failure::from)
        })?;
        self.gateway = Some(stop);
        self.players.push(("the fleet gateway", thread));
        Ok(())
    }

    fn start_agent(&mut self, file: &Path) -> Result<(), Box<dyn Error>> {
        let config = fettle_agent::config::load(file)?;
        let (sender, mut asks) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("agent".to_owned())
            .spawn(move || fettle_agent::run::run_until(config, &mut asks).map_err(Failure::from))?;
        self.agents.push(sender);
        self.players.push(("an agent", thread));
        Ok(())
    }

    /// The machine that wears out.
    pub(crate) fn truth(&self) -> Result<Doomed, Box<dyn Error>> {
        self.doomed.clone().ok_or_else(|| "with this seed no machine wears out; try another".into())
    }

    /// Cuts and mends the link when its time has come.
    pub(crate) fn relay(&mut self, scene: &Scene, now: Duration) {
        let cut = (scene.cut_at..scene.mend_at).contains(&now);
        if cut != self.cut {
            self.cut = cut;
            if cut { self.relay.cut() } else { self.relay.mend() }
        }
    }

    /// What everybody knows. An error: somebody ended who should not have.
    pub(crate) fn look(&mut self) -> Result<Seen, Box<dyn Error>> {
        if let Some(at) = self.players.iter().position(|(_, thread)| thread.is_finished()) {
            let (who, thread) = self.players.swap_remove(at);
            return Err(match thread.join() {
                Ok(Ok(())) => format!("{who} ended by itself").into(),
                Ok(Err(error)) => format!("{who} ended: {error}").into(),
                Err(_) => format!("{who} panicked, which is a defect").into(),
            });
        }
        let nodes = self.plants.iter().map(|plant| {
            let progress = plant.progress().borrow().clone();
            let frames = progress.ledger.frames;
            Nodes {
                time: progress.event_time,
                generated: frames.generated,
                confirmed: frames.confirmed,
                held: frames.held,
                lost: frames.overflowed + frames.discarded + frames.lost_by_reboot,
            }
        });
        let mut seen = Seen { nodes: nodes.collect(), cut: self.cut, ..Seen::default() };
        self.spectator.ask(&mut seen);
        Ok(seen)
    }

    /// Ends everybody, plants first; where the folder is, if it was to be kept.
    pub(crate) fn end(self) -> Result<Option<PathBuf>, Box<dyn Error>> {
        for plant in &self.plants {
            plant.stop();
        }
        for plant in self.plants {
            self.runtime.block_on(plant.join())?;
        }
        for agent in &self.agents {
            let _ = agent.send(Ask::Stop);
        }
        if let Some(gateway) = self.gateway {
            let _ = gateway.send(());
        }
        for (who, thread) in self.players {
            match thread.join() {
                Ok(outcome) => outcome.map_err(|e| format!("{who} did not end well: {e}"))?,
                Err(_) => return Err(format!("{who} panicked at its end, which is a defect").into()),
            }
        }
        self.runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(match self.place {
            Place::Kept(path) => Some(path),
            Place::Passing(folder) => {
                folder.close()?;
                None
            }
        })
    }
}

/// The daemons' own log lines go to a file; the terminal belongs to the story.
fn log_to(file: &Path) -> Result<(), Box<dyn Error>> {
    let file = std::fs::File::create(file)?;
    let filter = EnvFilter::new("info,rumqttd=error");
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::sync::Mutex::new(file)).init();
    Ok(())
}
