//! `cargo demo`: a whole plant in one process, worn out before your eyes.
//!
//! ```text
//!  plant-a: 6 machines, firmware on simulated chips --relay--\                       /--> agent gw-a --\
//!                                                             >-- embedded MQTT ----<                   >-- embedded Kafka --> fleet gateway --> page
//!  plant-b: 6 machines, firmware on simulated chips ---------/                       \--> agent gw-b --/
//! ```
//! Agents, gateway and plants are the very code of the daemons; only the brokers are embedded ([`broker`], [`kafka`]) and
//! time runs fast. [`relay`] is a link that can be cut, [`stage`] starts and ends everybody, [`look`] asks them what they
//! know, [`story`] says it in plain lines and knows whether it was told to its end.
//!
//! The embedded Kafka is librdkafka's mock cluster: it keeps nothing on disk, compacts nothing, and does not keep offsets
//! that were committed in a transaction. Nothing told here needs that; what does is tested against a real Kafka.
#![forbid(unsafe_code)]

mod broker;
mod clock;
mod kafka;
mod look;
mod relay;
mod scene;
mod stage;
mod story;

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;

use clock::Clock;
use scene::Scene;
use stage::Stage;
use story::Story;

/// Between two looks at everybody.
const LOOK: Duration = Duration::from_millis(500);

/// Runs a whole plant in this one process, on embedded brokers and at many times the speed of time: twelve pumps, one of
/// which wears out. Open the page it names and watch.
#[derive(Debug, Parser)]
#[command(name = "demo", after_help = "Exit codes: 0 the story happened; 1 something failed; 3 it was cut short")]
struct Arguments {
    /// End after this long, e.g. 60s or 2min; the story is then fitted into it. Without it the plant runs on until ctrl-c
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    length: Option<Duration>,
    /// Keep configurations, stores, the ground truth and the log in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Where the page listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: std::net::SocketAddr,
    /// Another seed, another plant
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("{text} is no time; write 60s or 2min"))?;
    let seconds = match &text[digits.len()..] {
        "s" => number,
        "min" => number.saturating_mul(60),
        _ => return Err(format!("{text} has no unit; write 60s or 2min")),
    };
    if (45..=3600).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(format!("{text} is not between 45s and 60min: shorter leaves no time to learn what healthy is"))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text += &format!(": {error}");
                cause = error.source();
            }
            eprintln!("demo: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let clock = Clock::start();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second one ends at once.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let scene = Scene::new(arguments.seed, arguments.length);
    let page = stage::page(arguments.listen)?;
    say(clock.elapsed(), &format!("The page: http://{page}/"));
    for line in scene.opening() {
        say(clock.elapsed(), &line);
    }
    let mut stage = Stage::build(&scene, arguments.keep.as_deref(), page)?;
    stage.start(&scene)?;
    let mut story = Story::new(stage.truth()?);
    let told = loop {
        std::thread::park_timeout(LOOK);
        let now = clock.elapsed();
        stage.relay(&scene, now);
        let seen = stage.look()?;
        for line in story.step(&seen) {
            say(now, &line);
        }
        let over = arguments.length.is_some_and(|length| now >= length) || stop.load(Ordering::Relaxed);
        if over || (story.is_told() && arguments.length.is_some()) {
            break story.is_told();
        }
    };
    for line in story.closing() {
        say(clock.elapsed(), &line);
    }
    let kept = stage.end()?;
    match kept {
        Some(folder) => say(clock.elapsed(), &format!("Ended cleanly. Kept: {}", folder.display())),
        None => say(clock.elapsed(), "Ended cleanly, nothing is left behind."),
    }
    Ok(told)
}

/// A line of the story with the time since the start. Whoever reads may stop reading.
fn say(since: Duration, line: &str) {
    let seconds = since.as_secs();
    let _ = writeln!(std::io::stdout().lock(), "{:>2}:{:02}  {}", seconds / 60, seconds % 60, line);
}
