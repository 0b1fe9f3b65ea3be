//! `fettle-eval`: the command line. Only this file prints and exits.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use fettle_eval::cmapss::evaluate::{Options, evaluate};
use fettle_eval::fit::Recipe;
use fettle_eval::progress::Progress;
use fettle_eval::report::{html, text};

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
    let Command::Cmapss(args) = Cli::parse().command;
    match cmapss(&args) {
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
    let recipe = match &args.recipe {
        None => Recipe::default(),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?
        }
    };
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

fn write(path: &Path, content: &str) -> Result<(), String> {
    fs::write(path, content).map_err(|e| format!("cannot write {}: {e}", path.display()))
}
