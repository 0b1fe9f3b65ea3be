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
use fettle_agent::cli::{Cli, Command, ConfigArg, DeadLetterArgs, EvidenceArgs, FileArgs, LivesAct, LivesArgs};
use fettle_agent::cli::{ReplayArgs, StatusArgs};
use fettle_agent::config::quantity::show_size;
use fettle_agent::config::{self, Checked, ConfigError};
use fettle_agent::journal::lmdb::{self, Access, Lmdb};
use fettle_agent::journal::replace;
use fettle_agent::release::trial;
use fettle_agent::run::Ask;
use fettle_agent::status::{self, StatusError, evidence, letters, lives, table};
use fettle_agent::{check, clock, identity, lock, log, replay};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    if let Some(code) = trial::answer_if_asked() {
        return code;
    }
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
        Command::Run(arg) => fettle_agent::run::run(load(&arg)?).map_err(Into::into),
        Command::Check(arg) => print(&check::describe(&load(&arg)?)),
        Command::Status(args) => show_status(&args),
        Command::Replay(args) => run_again(&args),
        Command::Reload(arg) => reload(&load(&arg)?.store),
        Command::Identity(arg) => print(&identity::describe(&identity::load_or_create(&load(&arg)?.store)?)),
        Command::Backup(args) => backup(&args),
        Command::Restore(args) => restore(&args),
        Command::DeadLetters(args) => list_letters(&args),
        Command::Evidence(args) => show_evidence(&args),
        Command::Lives(args) => show_lives(&args),
    }
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
    let pid = lock::ask(store, Ask::Reload)?;
    print(&format!(
        "process {pid} was asked to reload; its log (config.reloaded, config.refused) says what came of it\n"
    ))
}

fn run_again(args: &ReplayArgs) -> Outcome {
    let config = load(&args.config)?;
    let store = Lmdb::open(args.store.as_ref().unwrap_or(&config.store), config.journal.max_bytes, Access::Read)?;
    let begun = clock::process_micros();
    let comparison = replay::compare(&store, &config, args.from)?;
    if args.json {
        return print(&(serde_json::to_string(&comparison)? + "\n"));
    }
    print(&comparison.describe((clock::process_micros() - begun) as f64 / 1e6))
}

fn backup(args: &FileArgs) -> Outcome {
    let config = load(&args.config)?;
    let bytes = Lmdb::open(&config.store, config.journal.max_bytes, Access::Read)?.backup(&args.file)?;
    print(&format!("{}: {}\n", args.file.display(), show_size(bytes)))
}

fn restore(args: &FileArgs) -> Outcome {
    let config = load(&args.config)?;
    let incarnation = lmdb::random(&config.store)?;
    replace::stage_backup(&args.file, &config.store, config.journal.max_bytes, incarnation)?;
    let (file, store) = (args.file.display(), config.store.display());
    if lock::holder(&config.store)?.is_none() {
        // Opening it puts it in place.
        drop(Lmdb::open(&config.store, config.journal.max_bytes, Access::Write)?);
        return print(&format!("{file} stands in {store} as incarnation {incarnation:016x}\n"));
    }
    let pid = lock::ask(&config.store, Ask::Replace)?;
    print(&format!(
        "process {pid} was asked to take {file} for its store, as incarnation {incarnation:016x}; its log (store.replaced, \
         store.opened) says when it did\n"
    ))
}

fn list_letters(args: &DeadLetterArgs) -> Outcome {
    let config = load(&args.config)?;
    let store = Lmdb::open(&config.store, config.journal.max_bytes, Access::Read)?;
    print(&letters::list(&store, args.last, args.json)?)
}

fn show_evidence(args: &EvidenceArgs) -> Outcome {
    let config = load(&args.config)?;
    let store = Lmdb::open(&config.store, config.journal.max_bytes, Access::Read)?;
    let asset = args.asset.as_deref();
    match &args.save {
        Some(folder) => {
            let count = evidence::save(&store, asset, folder)?;
            print(&format!("{count} files and index.csv in {}\n", folder.display()))
        }
        None => print(&evidence::list(&store, asset, args.json)?),
    }
}

fn show_lives(args: &LivesArgs) -> Outcome {
    let config = load(&args.config)?;
    let store = Lmdb::open(&config.store, config.journal.max_bytes, Access::Read)?;
    match &args.act {
        Some(LivesAct::Export { file }) => {
            let exported = lives::export(&store, &config.site, &config.agent, file)?;
            print(&format!("{exported} in {}\n", file.display()))
        }
        None => print(&lives::list(&store, args.json)?),
    }
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
