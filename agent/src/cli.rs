//! The command line: what can be asked of fettle-agent, in words for the person who asks.
//!
//! Only shapes and help live here; what a command does is in `main` and the rooms it calls.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use fettle_wire::Micros;
use fettle_wire::time::{DAY, HOUR, MINUTE, SECOND};

use crate::log::LogFormat;

/// What `--version` says: a test holds it to the constants.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (wire schema 1, store version 2)");

const AFTER: &str = "\
First steps:
  fettle-agent check --config agent.toml     says everything that is wrong with the configuration, or what it will do
  fettle-agent run --config agent.toml       runs until SIGTERM or ctrl-c
  fettle-agent status --config agent.toml    shows connections, store, lag and the account of every reading

Exit codes: 0 done; 1 failed; 2 the command line or the configuration is wrong; 3 no agent answers";

/// Watches the machines of a site: reads sensors over MQTT, keeps them on disk, judges them, and reports through Kafka.
#[derive(Debug, Parser)]
#[command(name = "fettle-agent", version, long_version = VERSION, after_help = AFTER, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// How to log.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// What to log: a level (error, warn, info, debug, trace), or levels by module: "info,fettle_agent::uplink=debug"
    #[arg(long = "log", global = true, value_name = "FILTER", default_value = "info")]
    pub filter: String,
    /// How log lines look on stderr
    #[arg(long = "log-format", global = true, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: LogFormat,
}

/// The configuration file.
#[derive(Debug, Args)]
pub struct ConfigArg {
    /// The agent's configuration (TOML); paths inside it are taken from its folder
    #[arg(long, value_name = "FILE", default_value = "/etc/fettle/agent.toml")]
    pub config: PathBuf,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent until SIGTERM or SIGINT; SIGHUP reloads the configuration
    Run(ConfigArg),
    /// Say everything that is wrong with the configuration, or what it will do: bytes a day, what the broker must be told
    Check(ConfigArg),
    /// Show the running agent: connections, store, lag, the account of every reading, quarantined assets
    Status(StatusArgs),
    /// Run the recorded journal through this or another configuration and show what would have been different
    Replay(ReplayArgs),
    /// Make the running agent read its configuration again; a file that breaks a rule is refused and changes nothing
    Reload(ConfigArg),
    /// Show the agent's key id and public key; makes the key if there is none yet, so run it as the agent's user
    Identity(ConfigArg),
    /// Copy the store to FILE while the agent runs
    Backup(FileArgs),
    /// Put a backup in the place of the store, also while the agent runs; what it replaces is kept beside it
    Restore(FileArgs),
    /// List the messages that could not be used, with topic and reason
    DeadLetters(DeadLetterArgs),
    /// List the raw waveform samples kept around alarms, or save them as CSV files
    Evidence(EvidenceArgs),
    /// List the lives of machines recorded for learning, or write them to a file for training
    Lives(LivesArgs),
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which agent.
    #[command(flatten)]
    pub config: ConfigArg,
    /// List every asset, not only the first with trouble
    #[arg(long)]
    pub all: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The folder of the store whose journal is replayed; without it the configuration's own, even while the agent runs
    #[arg(long, value_name = "FOLDER")]
    pub store: Option<PathBuf>,
    /// Begin with entries that arrived at this time (UTC): 2026-11-21, or 2026-11-21T09:45:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub from: Option<Micros>,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
}

/// `backup` and `restore`.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which agent.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// `dead-letters`.
#[derive(Debug, Args)]
pub struct DeadLetterArgs {
    /// Which agent.
    #[command(flatten)]
    pub config: ConfigArg,
    /// At most so many, newest first
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub last: usize,
    /// Print one JSON object a line, with the payload in hexadecimal
    #[arg(long)]
    pub json: bool,
}

/// `evidence`.
#[derive(Debug, Args)]
pub struct EvidenceArgs {
    /// Which agent.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Only of this asset
    #[arg(long, value_name = "ASSET")]
    pub asset: Option<String>,
    /// Print one JSON object a line
    #[arg(long, conflicts_with = "save")]
    pub json: bool,
    /// Write each as a CSV file (seconds, values) into this folder, with an index.csv that says what they are
    #[arg(long, value_name = "FOLDER")]
    pub save: Option<PathBuf>,
}

/// `lives`.
#[derive(Debug, Args)]
pub struct LivesArgs {
    /// Which agent.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// What to do with them; without it they are listed.
    #[command(subcommand)]
    pub act: Option<LivesAct>,
}

/// What can be done with recorded lives.
#[derive(Debug, Subcommand)]
pub enum LivesAct {
    /// Write every life with steps to FILE (docs/lives.md); an existing file is replaced
    Export {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Reads an RFC 3339 date or time in UTC.
fn parse_time(text: &str) -> Result<Micros, String> {
    let wrong = || "a UTC date or time is written 2026-11-21 or 2026-11-21T09:45:00Z".to_owned();
    let parsed: toml::value::Datetime = text.parse().map_err(|_| wrong())?;
    if !matches!(parsed.offset, None | Some(toml::value::Offset::Z)) {
        return Err(wrong());
    }
    let date = parsed.date.ok_or_else(wrong)?;
    let in_day = parsed.time.map_or(0, |time| {
        let (second, nanosecond) = (time.second.unwrap_or(0), time.nanosecond.unwrap_or(0));
        i64::from(time.hour) * HOUR
            + i64::from(time.minute) * MINUTE
            + i64::from(second) * SECOND
            + i64::from(nanosecond) / 1_000
    });
    Ok(days(i64::from(date.year), i64::from(date.month), i64::from(date.day)) * DAY + in_day)
}

/// Days since 1970-01-01 of a civil date, after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use fettle_wire::time::Rfc3339;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_names_schema_and_store() {
        let (schema, store) = (fettle_wire::SCHEMA_VERSION, crate::journal::STORE_VERSION);
        assert!(VERSION.ends_with(&format!("(wire schema {schema}, store version {store})")), "{VERSION}");
    }

    #[test]
    fn times_are_read_as_they_are_shown() {
        for text in ["1970-01-01T00:00:00.000000Z", "2024-02-29T23:59:59.000001Z", "2026-11-21T09:45:14.500000Z"] {
            assert_eq!(Rfc3339(parse_time(text).unwrap()).to_string(), text);
        }
        assert_eq!(parse_time("1970-01-02").unwrap(), DAY);
        assert!(parse_time("2026-11-21T09:45:00+01:00").is_err() && parse_time("yesterday").is_err());
    }

    #[test]
    fn options_may_stand_before_or_after_the_command() {
        let cli = Cli::try_parse_from(["fettle-agent", "run", "--config", "a.toml", "--log-format", "json"]).unwrap();
        assert_eq!(cli.log.format, LogFormat::Json);
        assert!(matches!(cli.command, Command::Run(arg) if arg.config.as_os_str() == "a.toml"));
        assert!(Cli::try_parse_from(["fettle-agent", "runs"]).is_err());
    }
}
