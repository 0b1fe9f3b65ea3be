//! fettle-agent: the table of contents. Each command is one arm; what it does is in the library.
//!
//! Only this file prints errors and exits. An error is printed once, with everything that led to it. Exit codes: 0 done,
//! 1 failed, 2 wrong command line or configuration, 3 no agent answers.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use fettle_agent::cli::{Cli, Command, ConfigArg, StatusArgs};
use fettle_agent::config::{self, Checked, ConfigError};
use fettle_agent::status::{self, StatusError, table};
use fettle_agent::{check, identity, lock, log};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = log::start(&cli.log.filter, cli.log.format).map_err(Into::into).and_then(|()| run(cli.command));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fettle-agent: {}", chain(&*error));
            ExitCode::from(code(&*error))
        }
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Run(arg) => room("run", load(&arg)?),
        Command::Check(arg) => print(&check::describe(&load(&arg)?)),
        Command::Status(args) => show_status(&args),
        Command::Replay(args) => room("replay", load(&args.config)?),
        Command::Reload(arg) => reload(&load(&arg)?.store),
        Command::Identity(arg) => print(&identity::describe(&identity::load_or_create(&load(&arg)?.store)?)),
        Command::Backup(args) => room("backup", load(&args.config)?),
        Command::Restore(args) => room("restore", load(&args.config)?),
        Command::DeadLetters(args) => room("dead-letters", load(&args.config)?),
    }
}

/// The one place that answers for rooms which the library does not have yet.
fn room(name: &str, _config: Checked) -> Outcome {
    Err(format!("the command {name} is not part of this build").into())
}

fn load(arg: &ConfigArg) -> Result<Checked, ConfigError> {
    config::load(&arg.config)
}

fn show_status(args: &StatusArgs) -> Outcome {
    let report = status::fetch(load(&args.config)?.http_listen)?;
    if args.json {
        return print(&(serde_json::to_string_pretty(&report)? + "\n"));
    }
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    print(&table::render(&report, table::Layout { colour, all: args.all }))
}

/// The file was checked before this: the agent checks it again, and it is better to learn of a mistake here.
fn reload(store: &Path) -> Outcome {
    let pid = lock::signal_reload(store)?;
    print(&format!(
        "process {pid} was asked to reload; its log (config.reloaded, config.refused) says what came of it\n"
    ))
}

/// Writes to stdout; whoever reads may stop reading.
fn print(text: &str) -> Outcome {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

/// The error and what led to it, each once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn code(error: &(dyn Error + 'static)) -> u8 {
    if error.is::<ConfigError>() || error.is::<log::LogError>() {
        return 2;
    }
    let no_agent = error.is::<StatusError>() || matches!(error.downcast_ref(), Some(lock::LockError::NotHeld { .. }));
    if no_agent { 3 } else { 1 }
}
