//! `fettle-models`: from lives to a signed release on Kafka. Only this file prints and exits.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fettle_eval::clock;
use fettle_eval::fit::{self, Recipe};
use fettle_eval::package::{self, Trained};
use fettle_eval::progress::Progress;
use fettle_eval::publish::{Order, Target, publish};
use fettle_eval::{lives, report};
use fettle_models::release::{Key, Package, sign};
use fettle_wire::topic::KafkaTopics;
use fettle_wire::{Mode, Name};

const AFTER: &str = "\
From failures to predictions:
  fettle-agent lives export plant-a.lives               at every site that shares its lives
  fettle-models train *.lives --class pump --out pump.model
  fettle-models key release.key                         once; its public key goes into every agent's [releases] keys
  fettle-models export pump.model --name pump-life --version 1 --out pump-life-1.release
  fettle-models sign pump-life-1.release --key release.key
  fettle-models publish pump-life-1.release --brokers kafka:9092

Exit codes: 0 done; 1 refused or failed; 2 the command line is wrong";

/// Trains models of remaining life, packs them into signed releases and publishes them to a fleet.
#[derive(Parser)]
#[command(version, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key that signs releases, and show its public half
    Key {
        /// Where to write it; never overwritten. An existing one is only shown
        file: PathBuf,
    },
    /// Train on lives that agents exported
    Train(Train),
    /// Pack a trained model into a release, not yet signed
    Export(Export),
    /// Sign a release in place
    Sign {
        /// The release
        file: PathBuf,
        /// The key file
        #[arg(long)]
        key: PathBuf,
    },
    /// Show what a release says of itself
    Inspect {
        /// The release
        file: PathBuf,
        /// Print the manifest as JSON
        #[arg(long)]
        json: bool,
    },
    /// Open a release as an agent would: signature, cost, golden life
    Verify {
        /// The release
        file: PathBuf,
        /// A public key that may sign, 64 hexadecimal digits; may be given several times
        #[arg(long = "key", required = true, value_parser = public_key)]
        keys: Vec<Key>,
        /// Least version that is taken
        #[arg(long, default_value_t = 0)]
        floor: u64,
    },
    /// Publish a signed release and point its class to it; with an older release, a roll-back
    Publish(Publish),
}

#[derive(Args)]
struct Train {
    /// Files of fettle-agent lives export
    #[arg(required = true)]
    lives: Vec<PathBuf>,
    /// The class of machines
    #[arg(long)]
    class: String,
    /// Where to write the model
    #[arg(long)]
    out: PathBuf,
    /// Another way of training, as JSON; what it leaves out keeps its default
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
}

#[derive(Args)]
struct Export {
    /// What train wrote
    model: PathBuf,
    /// The release's name
    #[arg(long, value_parser = name)]
    name: Name,
    /// Its version: higher than that of every release of this name before it
    #[arg(long)]
    version: u64,
    /// What people should know
    #[arg(long, default_value = "")]
    note: String,
    /// Where to write it
    #[arg(long)]
    out: PathBuf,
}

#[derive(Args)]
struct Publish {
    /// The signed release
    file: PathBuf,
    /// Kafka, host:port, several separated by commas
    #[arg(long)]
    brokers: String,
    /// The fleet's prefix of every topic
    #[arg(long, default_value = "fettle", value_parser = name)]
    prefix: Name,
    /// shadow: beside the active one until it has proved itself; active: at once
    #[arg(long, value_enum, default_value_t = How::Shadow)]
    mode: How,
    /// Least version that agents take from now on
    #[arg(long, default_value_t = 0)]
    floor: u64,
    /// Who decides it
    #[arg(long, env = "USER", default_value = "unknown")]
    issuer: String,
    /// A setting of librdkafka, e.g. security.protocol=ssl; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

#[derive(Clone, Copy, ValueEnum)]
enum How {
    Shadow,
    Active,
}

fn name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|e| e.to_string())
}

fn public_key(text: &str) -> Result<Key, String> {
    Key::parse(text).ok_or_else(|| "an ed25519 public key has 64 hexadecimal digits".into())
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a setting is written key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fettle-models: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<String, String> {
    match command {
        Command::Key { file } => key(&file),
        Command::Train(args) => train(&args),
        Command::Export(args) => export(&args),
        Command::Sign { file, key } => {
            let signed = sign(&read(&file)?, &package::read_key(&key)?).map_err(|e| e.to_string())?;
            write(&file, &signed)?;
            let package = Package::read(&signed).map_err(|e| e.to_string())?;
            Ok(format!("{} is signed by {}\n", file.display(), package.signed_by().unwrap_or_default()))
        }
        Command::Inspect { file, json } => {
            let bytes = read(&file)?;
            if !json {
                return package::describe(&bytes);
            }
            let package = Package::read(&bytes).map_err(|e| e.to_string())?;
            serde_json::to_string_pretty(&package.manifest).map(|t| t + "\n").map_err(|e| e.to_string())
        }
        Command::Verify { file, keys, floor } => {
            let hash = package::verify(&read(&file)?, &keys, floor)?;
            Ok(format!("{}: good, {hash}\n", file.display()))
        }
        Command::Publish(args) => send(&args),
    }
}

fn key(file: &Path) -> Result<String, String> {
    let public = if file.exists() {
        Key::from(&package::read_key(file)?)
    } else {
        package::create_key(file).map_err(|e| format!("cannot write {}: {e}", file.display()))?
    };
    Ok(format!("key {}\npublic key, for [releases] keys of every agent:\n{}\n", public.id(), public.text()))
}

fn train(args: &Train) -> Result<String, String> {
    let recipe = recipe(args.recipe.as_deref())?;
    let found = lives::read(&args.lives, &args.class).map_err(|e| e.to_string())?;
    let progress = Progress::default();
    progress.begin("training", fit::steps(&recipe));
    let fitted = fit::train(&found.lives, &found.inputs, &recipe, &progress);
    progress.end();
    let fitted = fitted.map_err(|e| format!("{e} ({})", found.left_out))?;
    let summary = &fitted.summary;
    let figures = BTreeMap::from([
        ("held_out_rmse".to_owned(), summary.held_out_told),
        ("held_out_nasa_score".to_owned(), summary.held_out_score),
    ]);
    let lives = found.lives.len() as u64;
    let trained = Trained { class: args.class.clone(), lives, figures, model: fitted.model };
    write(&args.out, &trained.encode()?)?;
    Ok(report::text::trained(summary, &found.left_out, found.inputs.step_seconds))
}

fn recipe(file: Option<&Path>) -> Result<Recipe, String> {
    let recipe = match file {
        None => Recipe::default(),
        Some(path) => serde_json::from_slice(&read(path)?).map_err(|e| format!("{}: {e}", path.display()))?,
    };
    recipe.check()?;
    Ok(recipe)
}

fn export(args: &Export) -> Result<String, String> {
    let trained = Trained::decode(&read(&args.model)?).map_err(|e| format!("{}: {e}", args.model.display()))?;
    let release = trained.release(&args.name, args.version, clock::wall(), &args.note)?;
    write(&args.out, &release)?;
    package::describe(&release)
}

fn send(args: &Publish) -> Result<String, String> {
    let target =
        Target { brokers: &args.brokers, topics: KafkaTopics::new(args.prefix.clone()), settings: &args.settings };
    let mode = match args.mode {
        How::Shadow => Mode::Shadow,
        How::Active => Mode::Active,
    };
    let order = Order { mode, floor: args.floor, issuer: &args.issuer, issued: clock::wall() };
    let rollout = publish(&read(&args.file)?, &target, &order, &Progress::default())?;
    let release = &rollout.release;
    Ok(format!("class {} is pointed to {} {} ({})\n", rollout.class, release.name, release.version, release.hash))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

/// Beside first, then in place: nobody sees half a file.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".part");
    let failed = |e| format!("cannot write {}: {e}", path.display());
    fs::write(&draft, bytes).map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)
}
