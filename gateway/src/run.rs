//! The running daemon: which threads there are, what they share, how they end.
//!
//! ```text
//!  intake (Kafka -> Kafka)     copy fleet (Kafka -> store)     copy commands (Kafka -> store)     lag (Kafka -> status)
//!  history (Kafka -> history)  watch (store -> events)  webhook (store -> receiver -> intake)
//!  API: one async thread, with blocking threads for reading the stores
//! ```
//! Ends on SIGTERM or SIGINT: the API stops accepting, each thread ends after the call it is in. Nothing needs saving:
//! what is not committed is read again.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fettle_wire::Name;
use fettle_wire::record::Hex;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::access::{Access, AccessError};
use crate::api::listen::{self, PATIENCE as TAKES_NOTHING, Serving};
use crate::api::{self, Api};
use crate::clock;
use crate::commands::Commands;
use crate::config::Config;
use crate::events::Metrics;
use crate::fleet::changelog::{Changelog, Feed};
use crate::fleet::overview::Cache;
use crate::fleet::{Store, StoreError};
use crate::history::reader::Reader;
use crate::history::{History, HistoryError};
use crate::intake::consumer::Intake;
use crate::kafka::LinkError;
use crate::lag::Monitor;
use crate::live::Hub;
use crate::live::watch::Watch;
use crate::pace::Stop;
use crate::status::Status;
use crate::webhook::sender::{Marks, Sender};

/// How long open requests and threads may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why the daemon could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The history.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A client could not be made.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Tokens or keys.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The API's certificate or key.
    #[error("tls: {0}; `fettle-gateway check` says more")]
    Tls(String),
    /// The address.
    #[error("cannot listen on {address}: {source}; free the port or change `listen`")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The operating system.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A thread died.
    #[error("the thread {0} ended by itself, which is a defect; what is committed is safe, restart")]
    ThreadDied(&'static str),
}

/// The configured name, or the one made at the first start.
fn instance(config: &Config, store: &Store) -> Result<Name, RunError> {
    if let Some(name) = &config.instance {
        return Ok(name.clone());
    }
    if let Some(name) = store.meta("instance")?.and_then(|text| Name::new(&text).ok()) {
        return Ok(name);
    }
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|e| RunError::System {
        what: "get random bytes for this instance's name (set `instance` instead)",
        source: std::io::Error::other(e.to_string()),
    })?;
    let text = format!("gw-{}", Hex(&random));
    store.set_meta("instance", &text)?;
    Name::new(&text).map_err(|e| RunError::System { what: "make a name", source: std::io::Error::other(e) })
}

fn spawn(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<(&'static str, JoinHandle<()>), RunError> {
    let handle = std::thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|source| RunError::System { what: "start a thread", source })?;
    Ok((name, handle))
}

/// Runs until SIGTERM or SIGINT.
pub fn run(config: &Config) -> Result<(), RunError> {
    run_until(config, asked_by_the_system())
}

/// Runs until `asked` is ready. It is polled inside this function's runtime.
pub fn run_until(config: &Config, asked: impl Future<Output = Result<(), RunError>>) -> Result<(), RunError> {
    let access = Access::new(config)?;
    let store = Arc::new(Store::open(&config.store)?);
    let instance = instance(config, &store)?;
    let (metrics, status, stop) = (Arc::new(Metrics::default()), Arc::new(Status::default()), Stop::default());
    let history = History::open(&config.store.join("history"), config.history, &config.kafka.prefix)?;
    let shared = Rooms {
        history: Arc::new(history),
        hub: Arc::new(Hub::new(Arc::clone(&metrics))),
        cache: Arc::default(),
        store,
        metrics,
        status,
        stop: stop.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|source| RunError::System { what: "start the runtime", source })?;
    let threads = start(config, &instance, &shared)?;
    let commands = {
        let _inside = runtime.enter();
        Commands::new(&config.kafka)?
    };
    let Rooms { store, history, hub, cache, metrics, status, .. } = shared;
    let api = Arc::new(Api { store, history, hub, status, metrics, commands, cache, access, places: api::places() });
    tracing::info!(%instance, listen = %config.listen, group = config.kafka.group, "fettle-gateway runs");
    let served = runtime.block_on(serve(config, api, &threads, asked));
    stop.set();
    // A handler that still reads the store is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let until = clock::monotonic() + PATIENCE;
    for (name, handle) in threads {
        while !handle.is_finished() && clock::monotonic() < until {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        if !handle.is_finished() {
            tracing::warn!(name, "a thread is still in a call to Kafka; ending without it, which loses nothing");
        } else if handle.join().is_err() && served.is_ok() {
            return Err(RunError::ThreadDied(name));
        }
    }
    tracing::info!("fettle-gateway has ended");
    served
}

type Threads = Vec<(&'static str, JoinHandle<()>)>;

/// What the threads and the API share.
struct Rooms {
    store: Arc<Store>,
    history: Arc<History>,
    hub: Arc<Hub>,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    stop: Stop,
}

fn start(config: &Config, instance: &Name, shared: &Rooms) -> Result<Threads, RunError> {
    let Rooms { store, history, hub, cache, metrics, status, stop } = shared;
    let changelog = |feed| Changelog {
        feed,
        kafka: config.kafka.clone(),
        instance: instance.clone(),
        store: Arc::clone(store),
        metrics: Arc::clone(metrics),
        status: Arc::clone(status),
        stop: stop.clone(),
    };
    let (fleet, commands) = (changelog(Feed::Fleet), changelog(Feed::Commands));
    let marks = Arc::<Marks>::default();
    let intake = Intake {
        kafka: config.kafka.clone(),
        pace: config.intake,
        announce: config.webhook.as_ref().map(|webhook| webhook.least),
        sent: Arc::clone(&marks),
        signatures: config.signatures.clone(),
        instance: instance.clone(),
        store: Arc::clone(store),
        metrics: Arc::clone(metrics),
        status: Arc::clone(status),
        stop: stop.clone(),
    };
    let monitor = Monitor { kafka: config.kafka.clone(), status: Arc::clone(status), stop: stop.clone() };
    let reader = Reader {
        kafka: config.kafka.clone(),
        signatures: config.signatures.clone(),
        instance: instance.clone(),
        history: Arc::clone(history),
        hub: Arc::clone(hub),
        metrics: Arc::clone(metrics),
        status: Arc::clone(status),
        stop: stop.clone(),
    };
    let watch = Watch {
        store: Arc::clone(store),
        cache: Arc::clone(cache),
        status: Arc::clone(status),
        hub: Arc::clone(hub),
        stop: stop.clone(),
    };
    let sender = config.webhook.clone().map(|webhook| Sender {
        webhook,
        store: Arc::clone(store),
        status: Arc::clone(status),
        marks,
        metrics: Arc::clone(metrics),
        stop: stop.clone(),
    });
    let mut threads = vec![
        spawn("history", move || reader.run())?,
        spawn("watch", move || watch.run())?,
        spawn("copy-fleet", move || fleet.run())?,
        spawn("copy-commands", move || commands.run())?,
        spawn("intake", move || intake.run())?,
        spawn("lag", move || monitor.run())?,
    ];
    if let Some(sender) = sender {
        threads.push(spawn("webhook", move || sender.run())?);
    }
    Ok(threads)
}

async fn asked_by_the_system() -> Result<(), RunError> {
    let watch = |kind| signal(kind).map_err(|source| RunError::System { what: "watch for signals", source });
    let (mut terminate, mut interrupt) = (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

async fn serve(
    config: &Config,
    api: Arc<Api>,
    threads: &Threads,
    asked: impl Future<Output = Result<(), RunError>>,
) -> Result<(), RunError> {
    let address = config.listen;
    let listen = |source| RunError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let ended = async {
        tokio::select! {
            asked = asked => asked,
            name = died(threads) => Err(RunError::ThreadDied(name)),
        }
    };
    let mut serving = Serving::plain(TAKES_NOTHING, Arc::clone(&api.metrics));
    if let Some(tls) = &config.tls {
        serving = serving.with(tls).map_err(RunError::Tls)?;
    }
    // A request that hangs on a slow client is cut off with the runtime.
    tokio::select! {
        never = listen::serve(listener, api::router(api), serving) => match never {},
        ended = ended => ended,
    }
}

/// The first thread that ends while it should run. A half-dead daemon would only look alive.
async fn died(threads: &Threads) -> &'static str {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        if let Some((name, _)) = threads.iter().find(|(_, handle)| handle.is_finished()) {
            return name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_keeps_the_name_it_was_given_at_its_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let text = "store = \"gw\"\n[kafka]\nbrokers = \"h:1\"\n";
        let config = crate::config::parse(text, folder.path()).unwrap();
        let first = instance(&config, &Store::open(&config.store).unwrap()).unwrap();
        let second = instance(&config, &Store::open(&config.store).unwrap()).unwrap();
        assert_eq!(first, second);
        assert!(first.starts_with("gw-"));
    }
}
