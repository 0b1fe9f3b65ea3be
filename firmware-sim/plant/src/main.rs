//! `fettle-sim`: a simulated plant, from the command line.
#![forbid(unsafe_code)]

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand, ValueEnum};
use fettle_sim::ledger::{Fate, Traffic};
use fettle_sim::publish::{self, Clock, Outcome};
use fettle_sim::{Config, registry, truth};
use tracing_subscriber::EnvFilter;

/// A simulated plant: rotating machines that publish their readings over MQTT like real sensor nodes, with faults of
/// machines, links and clocks on demand, and an account of everything sent.
#[derive(Parser)]
#[command(version, about, long_about = None)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What to log to standard error: a level, or levels by module such as `warn,fettle_sim=debug`.
    #[arg(long, global = true, default_value = "info")]
    log: String,
    /// How to log.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(clap::Args)]
struct File {
    /// The configuration, TOML. docs/sim.md explains every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the plant. Exit code 0: all is confirmed durable, or the run was stopped by a signal; 2: the configuration
    /// is wrong; 3: frames remain unconfirmed after the drain; 1: anything else.
    Run(File),
    /// Says everything that is wrong with a configuration.
    Check(File),
    /// Prints the registry of the fleet, as an agent reads it.
    Registry(File),
    /// Prints the ground truth of the fleet, one JSON line per machine.
    Truth(File),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(message) = start_log(&arguments) {
        eprintln!("fettle-sim: {message}");
        return ExitCode::from(2);
    }
    let (Command::Run(file) | Command::Check(file) | Command::Registry(file) | Command::Truth(file)) =
        &arguments.command;
    let config = match read(&file.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match arguments.command {
        Command::Run(_) => run(&config),
        Command::Check(_) => {
            println!("{}: right", file.config.display());
            ExitCode::SUCCESS
        }
        Command::Registry(_) => print(registry::toml(&config.fleet(0), &config.channels, config.interval_seconds())),
        Command::Truth(_) => print(truth::json_lines(&config.fleet(config.start.resolve(Clock::start().wall())))),
    }
}

fn start_log(arguments: &Arguments) -> Result<(), String> {
    let filter = EnvFilter::try_new(&arguments.log).map_err(|e| format!("--log {:?}: {e}", arguments.log))?;
    // Colour for a person at a terminal; in a file it is dirt.
    let colour = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colour).with_env_filter(filter);
    match arguments.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn read(path: &Path) -> Result<Config, ExitCode> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        eprintln!("fettle-sim: cannot read {}: {e}", path.display());
        ExitCode::from(2)
    })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    Config::parse(&text, folder).map_err(|problems| {
        eprintln!("{}: {} problems", path.display(), problems.len());
        problems.iter().for_each(|problem| eprintln!("  {problem}"));
        ExitCode::from(2)
    })
}

fn print<E: std::error::Error>(text: Result<String, E>) -> ExitCode {
    match text {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(e) => failed(&e),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("fettle-sim: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}

fn run(config: &Config) -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        if let Err(e) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            return failed(&e);
        }
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return failed(&e),
    };
    match runtime.block_on(publish::run(config, Clock::start(), stop)) {
        Ok(outcome) => conclude(&outcome),
        Err(e) => failed(&e),
    }
}

fn conclude(outcome: &Outcome) -> ExitCode {
    let ledger = &outcome.ledger;
    let Traffic { sent, resent, acknowledged, published, .. } = ledger.traffic;
    let Fate { generated, confirmed, overflowed, discarded, lost_by_reboot, held } = ledger.frames;
    let (readings, site) = (ledger.readings.generated, &ledger.site);
    eprintln!(
        "fettle-sim: {generated} frames with {readings} readings; {sent} sent, {resent} sent again, {published} publishes, \
         {acknowledged} acknowledged, {confirmed} confirmed durable, {overflowed} lost in full rings, {lost_by_reboot} by \
         reboots, {discarded} too large, {held} unconfirmed"
    );
    if held > 0 && !outcome.stopped {
        eprintln!("fettle-sim: {held} frames remain unconfirmed; is an agent of site {site} running?");
        return ExitCode::from(3);
    }
    ExitCode::SUCCESS
}
