//! The run: the fleet is dealt to connections, each on a task of its own; ledger and truth are written beside.
//!
//! A broker that is absent is normal: each task connects again for ever, waiting 0.1 s and then twice as long up to 5 s.
//! Generation goes on meanwhile, as a plant does. The run ends when every task is done: generation is over and all is
//! confirmed, or the drain has taken too long, or someone asked the sim to stop.

mod carrier;
pub mod client;
pub mod clock;
mod living;
mod station;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fettle_wire::Micros;
use fettle_wire::time::Rfc3339;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use crate::config::Config;
use crate::fleet::Fleet;
use crate::ledger::{Ledger, MachineLedger};
use crate::record::Record;
use crate::truth;
use carrier::{Carrier, Plan};
use client::{ClientSettings, Polled};
pub use clock::Clock;
use station::Common;

/// Why a run could not go on. None of these is the broker's doing.
#[derive(Debug, Error)]
pub enum PublishError {
    /// A file could not be written.
    #[error("cannot write {0}; check the folder and its rights")]
    Write(PathBuf, #[source] std::io::Error),
    /// The record could not be written.
    #[error("cannot write the record; check the space on its disk")]
    Record(#[source] std::io::Error),
    /// A password could not be read.
    #[error("cannot read the password file {0}; check mqtt.password_file")]
    Password(PathBuf, #[source] std::io::Error),
    /// The operating system gives no random numbers.
    #[error("cannot draw a boot id")]
    Random(#[from] getrandom::Error),
    /// A task ended by a panic, which is a defect of the sim.
    #[error("a connection's task failed")]
    Task(#[from] tokio::task::JoinError),
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The last ledger.
    pub ledger: Ledger,
    /// Whether the run was stopped from outside.
    pub stopped: bool,
}

struct Report {
    carrier: usize,
    ledgers: Vec<MachineLedger>,
    connects: u64,
    event_time: Micros,
    generating: bool,
}

/// How far a run has come, as values; see [`Running::progress`].
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The account so far.
    pub ledger: Arc<Ledger>,
    /// Event time reached by the foremost machine.
    pub event_time: Micros,
    /// Wall time of this account.
    pub wall: Micros,
    /// Event time per wall time asked for; what is reached shows in two accounts.
    pub speed: f64,
}

/// A plant that runs on its own in a tokio runtime: for whoever wants one beside other things in one process. Several may
/// run at once; nothing is global. Dropped, it goes on: end it with [`Self::stop`] and [`Self::join`].
#[derive(Debug)]
pub struct Running {
    fleet: Fleet,
    stop: Arc<AtomicBool>,
    progress: watch::Receiver<Progress>,
    task: JoinHandle<Result<Outcome, PublishError>>,
}

impl Running {
    /// Starts the plant of `config` on `runtime`, which needs its timer and I/O enabled.
    pub fn start(config: Config, clock: Clock, runtime: &Handle) -> Self {
        let begin = config.start.resolve(clock.wall());
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, progress) =
            watch::channel(Progress { event_time: begin, speed: config.speed, ..Progress::default() });
        let fleet = config.fleet(begin);
        let task = {
            let (fleet, stop) = (fleet.clone(), Arc::clone(&stop));
            runtime.spawn(async move { run_fleet(&config, fleet, begin, clock, stop, Some(sender)).await })
        };
        Self { fleet, stop, progress, task }
    }

    /// The machines, their faults and the truth: `truth::of(running.fleet())`, `registry::toml(running.fleet(), ..)`.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The account as it grows, anew every `ledger_interval`; closed when the plant has ended.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Asks it to end. Nothing is drained; what is unconfirmed is held in the last account.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for its end, by itself or after [`Self::stop`].
    pub async fn join(self) -> Result<Outcome, PublishError> {
        self.task.await?
    }
}

/// Runs a fleet until its end or until `stop` becomes true.
pub async fn run(config: &Config, clock: Clock, stop: Arc<AtomicBool>) -> Result<Outcome, PublishError> {
    let start = config.start.resolve(clock.wall());
    run_fleet(config, config.fleet(start), start, clock, stop, None).await
}

async fn run_fleet(
    config: &Config,
    fleet: Fleet,
    start: Micros,
    clock: Clock,
    stop: Arc<AtomicBool>,
    progress: Option<watch::Sender<Progress>>,
) -> Result<Outcome, PublishError> {
    if let Some(path) = &config.truth {
        let text = truth::json_lines(&fleet).map_err(std::io::Error::other);
        let written = text.and_then(|text| std::fs::write(path, text));
        written.map_err(|e| PublishError::Write(path.clone(), e))?;
    }
    let record = match &config.record {
        Some(path) => Some(Record::create(path).map_err(|e| PublishError::Write(path.clone(), e))?),
        None => None,
    };
    let common = Common::new(config, record.clone());
    let settings = client_settings(config)?;
    let connections = config.mqtt.connections;
    let mut dealt: Vec<Vec<_>> = (0..connections).map(|_| Vec::new()).collect();
    for member in fleet.members {
        let place = member.index as usize % connections;
        dealt[place].push(member);
    }
    let (reports, mut inbox) = mpsc::channel(connections * 2);
    let mut tasks = Vec::with_capacity(connections);
    for (index, members) in dealt.into_iter().enumerate() {
        let plan = Plan::new(config, start);
        let carrier = Carrier::new(config, common.clone(), plan, clock, members, index)?;
        let mut settings = settings.clone();
        settings.client_id = format!("{}-{index}", settings.client_id);
        settings.confirmations = carrier.confirmations();
        let every = config.ledger_interval.unsigned_abs();
        let reporter = Reporter { index, every, at: every, reports: reports.clone(), connects: 0 };
        tasks.push(tokio::spawn(serve(carrier, settings, clock, Arc::clone(&stop), reporter)));
    }
    drop(reports);
    let ledger = keep_ledger(config, &clock, &mut inbox, connections, progress).await?;
    for task in tasks {
        task.await??;
    }
    if let Some(record) = record {
        record.flush().map_err(PublishError::Record)?;
    }
    Ok(Outcome { ledger, stopped: stop.load(Ordering::Relaxed) })
}

fn client_settings(config: &Config) -> Result<ClientSettings, PublishError> {
    let credentials = match &config.mqtt.credentials {
        None => None,
        Some((user, file)) => {
            let password = std::fs::read_to_string(file).map_err(|e| PublishError::Password(file.clone(), e))?;
            Some((user.clone(), password.trim_end_matches(['\r', '\n']).to_owned()))
        }
    };
    Ok(ClientSettings {
        host: config.mqtt.host.clone(),
        port: config.mqtt.port,
        client_id: format!("fettle-sim-{}-{:08x}", config.site, crate::random::boot_id()? as u32),
        credentials,
        inflight: config.mqtt.inflight,
        tcp_nodelay: config.mqtt.tcp_nodelay,
        confirmations: Vec::new(),
    })
}

/// Gathers the carriers' reports into one ledger and writes it, until the last carrier has ended.
async fn keep_ledger(
    config: &Config,
    clock: &Clock,
    inbox: &mut mpsc::Receiver<Report>,
    connections: usize,
    progress: Option<watch::Sender<Progress>>,
) -> Result<Ledger, PublishError> {
    let show = |ledger: &Ledger, latest: &[Option<Report>]| {
        let Some(progress) = &progress else { return };
        let event_time = latest.iter().flatten().map(|r| r.event_time).max().unwrap_or_default();
        let (ledger, wall) = (Arc::new(ledger.clone()), clock.wall());
        progress.send_replace(Progress { ledger, event_time, wall, speed: config.speed });
    };
    let mut latest: Vec<Option<Report>> = (0..connections).map(|_| None).collect();
    let mut next = 0;
    while let Some(report) = inbox.recv().await {
        let place = report.carrier;
        latest[place] = Some(report);
        if clock.monotonic() >= next {
            next = clock.monotonic() + config.ledger_interval.unsigned_abs();
            let ledger = assemble(config, clock, &latest, false);
            write(&ledger, config.ledger.as_deref())?;
            show(&ledger, &latest);
        }
    }
    let ledger = assemble(config, clock, &latest, true);
    write(&ledger, config.ledger.as_deref())?;
    show(&ledger, &latest);
    Ok(ledger)
}

fn assemble(config: &Config, clock: &Clock, latest: &[Option<Report>], finished: bool) -> Ledger {
    let reports = || latest.iter().flatten();
    let generating = reports().any(|r| r.generating);
    let mut ledger = Ledger {
        site: config.site.to_string(),
        at: Rfc3339(clock.wall()).to_string(),
        event_time: Rfc3339(reports().map(|r| r.event_time).max().unwrap_or_default()).to_string(),
        phase: if finished {
            "finished"
        } else if generating {
            "generating"
        } else {
            "draining"
        }
        .to_owned(),
        connects: reports().map(|r| r.connects).sum(),
        ..Ledger::default()
    };
    reports().for_each(|r| ledger.add(&r.ledgers));
    ledger.machines.sort_by(|a, b| a.asset.cmp(&b.asset));
    ledger
}

fn write(ledger: &Ledger, path: Option<&Path>) -> Result<(), PublishError> {
    path.map_or(Ok(()), |path| ledger.write(path).map_err(|e| PublishError::Write(path.to_owned(), e)))
}

struct Reporter {
    index: usize,
    every: u64,
    at: u64,
    reports: mpsc::Sender<Report>,
    connects: u64,
}

impl Reporter {
    fn report(&self, carrier: &Carrier) -> Report {
        Report {
            carrier: self.index,
            ledgers: carrier.ledgers(),
            connects: self.connects,
            event_time: carrier.event_time(),
            generating: carrier.generating(),
        }
    }

    /// Reports now and then; a report nobody has room for is left out, the next one says more.
    fn now_and_then(&mut self, now: u64, carrier: &Carrier) {
        if now >= self.at {
            self.at = now + self.every;
            let _ = self.reports.try_send(self.report(carrier));
        }
    }
}

const FIRST_WAIT: u64 = 100_000;
const LONGEST_WAIT: u64 = 5_000_000;
const GOODBYE: Duration = Duration::from_millis(500);

/// Why a session ended.
enum End {
    Finished,
    Cut(u64),
    Broken(String),
}

/// One carrier from its first connection to its end.
async fn serve(
    mut carrier: Carrier,
    settings: ClientSettings,
    clock: Clock,
    stop: Arc<AtomicBool>,
    mut reporter: Reporter,
) -> Result<(), PublishError> {
    let mut wait = FIRST_WAIT;
    loop {
        let before = reporter.connects;
        let end = session(&mut carrier, &settings, &clock, &stop, &mut reporter).await?;
        let now = clock.monotonic();
        carrier.disconnected(now);
        let until = match end {
            End::Finished => break,
            End::Cut(until) => until,
            End::Broken(why) => {
                wait = if reporter.connects > before { FIRST_WAIT } else { (wait * 2).min(LONGEST_WAIT) };
                let (host, port) = (&settings.host, settings.port);
                tracing::warn!("connection {} to {host}:{port}: {why}; next attempt in {wait} us", reporter.index);
                now + wait
            }
        };
        if alone(&mut carrier, &clock, &stop, &mut reporter, until).await? {
            break;
        }
    }
    // The last report must arrive; the receiver lives as long as any sender.
    let _ = reporter.reports.send(reporter.report(&carrier)).await;
    if carrier.held() > 0 {
        tracing::warn!("connection {}: {} frames are not confirmed", reporter.index, carrier.held());
    }
    Ok(())
}

/// Without a connection until `until`; time goes on for the stations. True when the run is over.
async fn alone(
    carrier: &mut Carrier,
    clock: &Clock,
    stop: &AtomicBool,
    reporter: &mut Reporter,
    until: u64,
) -> Result<bool, PublishError> {
    loop {
        let now = clock.monotonic();
        if now >= until {
            return Ok(false);
        }
        if is_over(carrier, stop, now) {
            return Ok(true);
        }
        let again = carrier.tick(now, None)?;
        reporter.now_and_then(now, carrier);
        sleep_until(clock.instant(again.min(until))).await;
    }
}

/// One connection, from the attempt to its end.
async fn session(
    carrier: &mut Carrier,
    settings: &ClientSettings,
    clock: &Clock,
    stop: &AtomicBool,
    reporter: &mut Reporter,
) -> Result<End, PublishError> {
    let (mut desk, mut events) = client::open(settings);
    loop {
        let polled: Option<Polled> = {
            // Polled to its end, across as many ticks as that takes (C3).
            let mut poll = pin!(events.poll());
            loop {
                let now = clock.monotonic();
                if is_over(carrier, stop, now) {
                    break None;
                }
                if let Some(until) = carrier.cut(now) {
                    return Ok(End::Cut(until));
                }
                let again = carrier.tick(now, Some(&mut desk))?;
                reporter.now_and_then(now, carrier);
                tokio::select! {
                    biased;
                    polled = &mut poll => break Some(polled),
                    () = sleep_until(clock.instant(again)) => {}
                }
            }
        };
        match polled {
            None => {
                desk.disconnect();
                // Half a second for the goodbye, whatever becomes of it.
                let _ = timeout(GOODBYE, async { while events.poll().await.is_ok() {} }).await;
                return Ok(End::Finished);
            }
            Some(Ok(event)) => {
                let happened = desk.interpret(event);
                if matches!(happened, client::Happened::Connected) {
                    reporter.connects += 1;
                    tracing::info!("connection {} stands", reporter.index);
                }
                carrier.happened(clock.monotonic(), happened, &mut desk);
            }
            Some(Err(e)) => return Ok(End::Broken(e.to_string())),
        }
    }
}

/// Whether the run is over for this carrier; asked to stop, it stops generating first.
fn is_over(carrier: &mut Carrier, stop: &AtomicBool, now: u64) -> bool {
    if stop.load(Ordering::Relaxed) {
        carrier.stop_generating(now);
        return true;
    }
    carrier.finished(now)
}
