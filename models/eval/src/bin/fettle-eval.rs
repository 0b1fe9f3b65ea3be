//! `fettle-eval`: the command line. Only this file prints and exits.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use fettle_eval::cmapss::evaluate::{Options, evaluate};
use fettle_eval::federated::{self, Attack, Split, Tuning};
use fettle_eval::fit::Recipe;
use fettle_eval::progress::Progress;
use fettle_eval::report::{html, text};
use serde::de::DeserializeOwned;

/// Evaluates fettle's models on public data sets, with the code that runs on an agent.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Remaining useful life of NASA's C-MAPSS turbofans: trains on train_*.txt, judges on test_*.txt and RUL_*.txt
    Cmapss(Cmapss),
    /// Sites that learn together from the same files, against one training on all and each site alone
    Federated(Federated),
}

#[derive(Args)]
struct Federated {
    /// The folder with the files, plain or gzipped
    dir: PathBuf,
    /// Only this set, e.g. FD001; may be given several times
    #[arg(long)]
    set: Vec<String>,
    /// Sites the train file's units are spread over
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    sites: u16,
    /// Share of the sites that is online at a time: 0.3, or 30 for per cent
    #[arg(long, default_value = "0.3", value_parser = share)]
    online: f64,
    /// How units come to sites
    #[arg(long, value_enum, default_value_t = Split::Iid)]
    split: Split,
    /// Share of the sites that attacks: 0.2, or 20 for per cent
    #[arg(long, default_value = "0", value_parser = share)]
    attackers: f64,
    /// What they do
    #[arg(long, value_enum, default_value_t = Attack::Sign)]
    attack: Attack,
    /// Versions to publish
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rounds: u64,
    /// Everything random follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of the train file's units that the centre keeps to judge candidates by; 0: the sites judge them
    #[arg(long, default_value = "0.1", value_parser = share)]
    root: f64,
    /// Judge on a fifth of the train file's units, which nothing learns from, and leave the test file alone
    #[arg(long)]
    held_out: bool,
    /// Other rules and another plan of the sites, as JSON; what it leaves out keeps its default
    #[arg(long, value_name = "FILE")]
    tuning: Option<PathBuf>,
    /// Write all figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A share, or per cent.
fn share(text: &str) -> Result<f64, String> {
    let wrong = || "a share between 0 and 1, or per cent up to 100".to_owned();
    let value: f64 = text.trim_end_matches('%').trim().parse().map_err(|_| wrong())?;
    let value = if value > 1.0 || text.ends_with('%') { value / 100.0 } else { value };
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(wrong()) }
}

#[derive(Args)]
struct Cmapss {
    /// The folder with the files, plain or gzipped
    dir: PathBuf,
    /// Only this set, e.g. FD001; may be given several times
    #[arg(long)]
    set: Vec<String>,
    /// Write all figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Trainings per set, each with its own seed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// Leave out the second pass, without age as a feature
    #[arg(long)]
    skip_without_age: bool,
    /// Also train on part of the train file's units and judge on the others, in so many folds
    #[arg(long, value_name = "FOLDS", default_value_t = 0, value_parser = folds)]
    cross_validate: usize,
    /// Another way of training, as JSON; what it leaves out keeps its default
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Trainings at a time; default: one for each processor
    #[arg(long)]
    jobs: Option<usize>,
}

fn folds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(1) | Err(_) => Err("0 for none, or at least 2".into()),
        Ok(folds) => Ok(folds),
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Cmapss(args) => cmapss(&args),
        Command::Federated(args) => together(&args),
    };
    match done {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fettle-eval: {error}");
            ExitCode::FAILURE
        }
    }
}

fn cmapss(args: &Cmapss) -> Result<String, String> {
    let recipe: Recipe = read(args.recipe.as_deref())?;
    recipe.check()?;
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    let options = Options {
        sets: args.set.clone(),
        seeds: args.seeds,
        without_age: recipe.age && !args.skip_without_age,
        recipe,
        cross_validate: args.cross_validate,
        jobs: args.jobs.unwrap_or(processors).max(1),
    };
    let report = evaluate(&args.dir, &options, &Progress::default()).map_err(|e| e.to_string())?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
        write(path, &json)?;
    }
    if let Some(path) = &args.html {
        write(path, &html::html(&report))?;
    }
    Ok(text::text(&report))
}

fn together(args: &Federated) -> Result<String, String> {
    let tuning: Tuning = read(args.tuning.as_deref())?;
    tuning.rules.check().map_err(|rule| format!("rules: {rule}"))?;
    let options = federated::Options {
        sets: args.set.clone(),
        sites: usize::from(args.sites),
        online: args.online,
        split: args.split,
        attackers: args.attackers,
        attack: args.attack,
        rounds: args.rounds,
        seed: args.seed,
        root: args.root,
        held_out: args.held_out,
        tuning,
    };
    let report = federated::evaluate(&args.dir, &options, &Progress::default()).map_err(|e| e.to_string())?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
        write(path, &json)?;
    }
    Ok(federated::text::text(&report))
}

/// What a JSON file says, or the default.
fn read<T: DeserializeOwned + Default>(path: Option<&Path>) -> Result<T, String> {
    let Some(path) = path else { return Ok(T::default()) };
    let text = fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

fn write(path: &Path, content: &str) -> Result<(), String> {
    fs::write(path, content).map_err(|e| format!("cannot write {}: {e}", path.display()))
}
