//! `fettle-gateway`: the command line. Only this file prints and exits.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use fettle_gateway::access::{Role, tokens};
use fettle_gateway::{Config, config, run, topics};
use tracing_subscriber::EnvFilter;

const EXAMPLE: &str = r#"A complete configuration, with its defaults:

  listen = "127.0.0.1:8080"      # API, page and metrics; another address: with [tls] and [access]
  store = "/var/lib/fettle-gateway"  # required; a copy of the fleet's state, rebuilt from Kafka if lost
  instance = "gw-a"              # default: made at random at the first start and kept in the store

  # [tls]                        # of the API, in builds with TLS; needed to listen on another address than loopback
  # cert_file = "cert.pem"       # certificate chain, PEM, own certificate first
  # key_file = "key.pem"         # PKCS#8, PEM, not encrypted

  # [access]                     # needed to listen on another address than loopback
  # token_file = "tokens"        # lines that `fettle-gateway token NAME viewer|operator` prints; read again on change
  # hosts = ["fleet.example.org"]  # host names under which people reach it, beside its own address

  [kafka]
  brokers = "127.0.0.1:9092"     # required
  prefix = "fettle"              # topics are <prefix>.alerts, .health, .ledger, .evidence, .commands, .fleet
  group = "fettle-gateway"       # default <prefix>-gateway; the same for all instances of one fleet
  # username = "..."             # SASL, with password_file and mechanism
  # password_file = "..."
  # mechanism = "PLAIN"          # or SCRAM-SHA-256, SCRAM-SHA-512
  # [kafka.tls]                  # in builds with TLS
  # ca_file = "..."              # cert_file, key_file: a client certificate

  [intake]
  batch = 1000                   # at most this many records in one transaction
  interval = "200ms"             # a transaction begins at the latest this long after its first record

  [history]                      # of every asset, in <store>/history; each instance keeps its own
  raw = "7d"                     # records
  minutes = "90d"                # points of a minute
  hours = "1826d"                # points of an hour, and the log of requests
  alerts = "90d"                 # every change of an alarm, and waveforms with their spectra
  max_bytes = 17179869184        # beyond it the finest and oldest is given up first, and counted
  evidence_bytes = 536870912     # of that at most for waveforms; those that no alarm is about go first

  # [webhook]                    # told of alarms as Alertmanager tells it; the same in every instance
  # url = "http://127.0.0.1:9095/hook"  # https in builds with TLS
  # token_file = "hook-token"    # sent as a bearer token
  # priority = "low"             # the least priority that is told
  # page = "https://fleet.example.org"  # for links

  [topics]
  partitions = 6                 # of every topic; cannot be changed later
  replication = 1                # 3 for a cluster of three brokers or more

  [signatures]
  required = false               # true: reject records without a good signature by a listed key
  # keys = [{ site = "plant-a", agent = "gw-1", public_key = "64 hexadecimal digits" }]

First steps:
  fettle-gateway check --config gateway.toml
  fettle-gateway topics apply --config gateway.toml
  fettle-gateway run --config gateway.toml"#;

/// The fleet gateway: takes in what the agents of all sites send through Kafka, keeps the fleet's state in Kafka, and
/// shows it (page, REST API, Prometheus metrics).
#[derive(Parser)]
#[command(name = "fettle-gateway", version, after_long_help = EXAMPLE, after_help = "--help shows a complete configuration")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Which log lines are written to stderr, like `info` or `fettle_gateway=debug,warn`
    #[arg(long, global = true, default_value = "info", value_name = "FILTER")]
    log: String,
    /// How log lines are written
    #[arg(long, global = true, default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Run until SIGTERM or SIGINT; waits for Kafka as long as it takes
    #[command(after_long_help = EXAMPLE)]
    Run(File),
    /// Check a configuration and say everything that is wrong with it; exits with 1 if anything is
    #[command(after_long_help = EXAMPLE)]
    Check(File),
    /// Make a token: prints it once, and the line for the token file that knows it by its hash alone
    Token {
        /// The person's name, which requests made with the token will carry
        name: String,
        /// What it may do
        role: RoleName,
    },
    /// The Kafka topics of the fleet
    #[command(subcommand)]
    Topics(Topics),
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleName {
    /// Read
    Viewer,
    /// Read, and ask agents for something
    Operator,
}

#[derive(Subcommand)]
enum Topics {
    /// Create absent topics and set retention and clean-up where they deviate; then check
    Apply(File),
    /// Print every deviation from what must be; exits with 1 if there is any
    Check(File),
}

#[derive(clap::Args)]
struct File {
    /// The configuration, TOML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = start_log(&arguments.log, arguments.log_format) {
        eprintln!("--log {}: {error}; write a level (error, warn, info, debug, trace) or target=level", arguments.log);
        return ExitCode::from(2);
    }
    let outcome = match arguments.command {
        Command::Run(file) => load(&file.config).and_then(|config| run::run(&config).map_err(|e| e.to_string())),
        Command::Check(file) => load(&file.config).map(|config| say_good(&file.config, &config)),
        Command::Token { name, role } => make_token(&name, role),
        Command::Topics(Topics::Apply(file)) => load(&file.config).and_then(|config| apply(&config)),
        Command::Topics(Topics::Check(file)) => load(&file.config).and_then(|config| check(&config)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fettle-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start_log(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|e| e.to_string())?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn load(path: &Path) -> Result<Config, String> {
    config::load(path).map_err(|e| e.to_string())
}

fn make_token(name: &str, role: RoleName) -> Result<(), String> {
    let role = match role {
        RoleName::Viewer => Role::Viewer,
        RoleName::Operator => Role::Operator,
    };
    let (token, line) = tokens::make(name, role)?;
    println!("The token, which is shown this once and kept nowhere:\n\n  {token}\n");
    println!("The line for [access] token_file:\n\n  {line}");
    Ok(())
}

fn say_good(path: &Path, config: &Config) {
    println!("{} is good.", path.display());
    let (listen, store, kafka) = (config.listen, config.store.display(), &config.kafka);
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    println!("  page and API   {scheme}://{listen}/");
    println!("  store          {store}");
    println!("  Kafka          {} topics {}.*, group {}", kafka.brokers, kafka.prefix, kafka.group);
    println!("Whether the topics are as they must be: fettle-gateway topics check --config {}", path.display());
}

fn apply(config: &Config) -> Result<(), String> {
    for line in topics::apply(config).map_err(|e| e.to_string())? {
        println!("{line}");
    }
    check(config)
}

fn check(config: &Config) -> Result<(), String> {
    let deviations = topics::check(config).map_err(|e| e.to_string())?;
    if deviations.is_empty() {
        println!("All topics are as they must be.");
        return Ok(());
    }
    for deviation in &deviations {
        println!("{deviation}");
    }
    Err(format!("{} deviation(s)", deviations.len()))
}
