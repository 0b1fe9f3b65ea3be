//! `cargo verify`: everything that must hold before a change lands, in one command, on a fresh machine too.
//!
//! Steps in order, the first failure ends it with its remedy: tools, format, lints, dependencies, build, tests. What was
//! not checked is said aloud at the end. `.ci/run` calls this and nothing else.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use testbed::folder::{remove_leftovers, repository};
use testbed::tools::{Tool, program_path};
use testbed::{Deadline, kafka_install, licences};

/// Checks formatting, lints, licences and every test, with real brokers. Installs what is missing when run as root.
#[derive(Parser)]
struct Arguments {
    /// Full counts in the scenarios (hours), instead of the quick ones.
    #[arg(long)]
    long: bool,
}

/// Threads of one test executable; the machine that must suffice has two cores.
const TEST_THREADS: &str = "2";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut run = Run::default();
    let result = run.steps(&arguments);
    run.summary(&result);
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Run {
    durations: Vec<(&'static str, Duration)>,
    /// What was not checked, each with its reason.
    skipped: Vec<String>,
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Why a step failed, and what to do about it.
struct Failure {
    step: &'static str,
    reason: String,
    remedy: &'static str,
}

impl Run {
    fn steps(&mut self, arguments: &Arguments) -> Result<(), Failure> {
        remove_leftovers();
        self.step("tools", "install what is named above, or run as root once", |_| find_tools())?;
        self.step("format", "cargo fmt", |_| cargo(&["fmt", "--all", "--check"]))?;
        self.step("lints", "mend what clippy names; `cargo clippy --fix` does some of it", |_| {
            cargo(&["clippy", "--workspace", "--all-targets", "--features", "tls", "--locked", "--", "-D", "warnings"])
        })?;
        self.step("dependencies", "replace the dependency, or argue for it in deny.toml", Self::dependencies)?;
        self.step("build", "mend what the compiler names", |_| {
            cargo(&["build", "--workspace", "--bins", "--tests", "--features", "tls", "--locked"])
        })?;
        self.step(
            "tests",
            "run the named test alone: cargo test -p <crate> <name>; kept folders hold the logs",
            |run| run.tests(arguments.long),
        )
    }

    fn step(
        &mut self,
        name: &'static str,
        remedy: &'static str,
        action: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), Failure> {
        println!("=== {name}");
        let _ = std::io::stdout().flush();
        let clock = Deadline::new(Duration::MAX);
        let result = action(self);
        self.durations.push((name, clock.elapsed()));
        println!(
            "=== {name}: {} in {:.1} s",
            if result.is_ok() { "ok" } else { "FAILED" },
            clock.elapsed().as_secs_f64()
        );
        result.map_err(|reason| Failure { step: name, reason, remedy })
    }

    fn dependencies(&mut self) -> Result<(), String> {
        let packages = licences::check(&repository()).map_err(|broken| broken.join("\n"))?;
        println!("licences, bans and sources of {packages} packages are as deny.toml asks");
        if program_path("cargo-deny").is_none() {
            self.skipped.push("advisories: cargo-deny is not installed (cargo install cargo-deny --locked)".to_owned());
            return Ok(());
        }
        cargo(&["deny", "check", "licenses", "bans", "sources"])?;
        // The data base of advisories is fetched over the network, which may not be there.
        if let Err(reason) = cargo(&["deny", "fetch"]) {
            self.skipped.push(format!("advisories: their data base cannot be reached ({reason})"));
            return Ok(());
        }
        cargo(&["deny", "check", "advisories"])
    }

    fn tests(&mut self, long: bool) -> Result<(), String> {
        let arguments = ["test", "--workspace", "--features", "tls", "--locked", "--no-fail-fast"];
        // One stream, so that the order of lines is the order in which they were written.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 2>&1"])
            .arg(cargo_program())
            .args(arguments)
            .current_dir(repository())
            .env("FETTLE_VERIFY", "1")
            .env("FETTLE_TESTBED_LONG", if long { "1" } else { "0" })
            .env("RUST_TEST_THREADS", TEST_THREADS)
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start cargo: {e}"))?;
        let output = child.stdout.take().ok_or("cargo's output was asked for and is not there")?;
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(|e| format!("cargo's output: {e}"))? == 0 {
                break;
            }
            // Only the display is lost if it fails; the verdict is cargo's exit status.
            let _ = std::io::stdout().write_all(&line);
            self.note(String::from_utf8_lossy(&line).trim_end());
        }
        let status = child.wait().map_err(|e| format!("cargo test: {e}"))?;
        if !status.success() {
            return Err(format!("cargo test ended with {status}; {} tests failed", self.failed));
        }
        if self.passed == 0 { Err("no test was run".to_owned()) } else { Ok(()) }
    }

    /// Keeps what the summary needs of one line of output.
    fn note(&mut self, line: &str) {
        if let Some(at) = line.find("SKIPPED: ") {
            self.skipped.push(line[at + "SKIPPED: ".len()..].to_owned());
        }
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, " passed");
            self.failed += count(counts, " failed");
            self.ignored += count(counts, " ignored");
        }
    }

    fn summary(&self, result: &Result<(), Failure>) {
        println!("\n=== summary");
        for (name, duration) in &self.durations {
            println!("{name:<14}{:>8.1} s", duration.as_secs_f64());
        }
        let total: Duration = self.durations.iter().map(|(_, duration)| *duration).sum();
        println!("{:<14}{:>8.1} s", "together", total.as_secs_f64());
        for skipped in &self.skipped {
            println!("NOT CHECKED: {skipped}");
        }
        if self.passed + self.failed > 0 {
            println!("tests: {} passed, {} failed, {} skipped", self.passed, self.failed, self.ignored);
        }
        match result {
            Ok(()) => println!("verify: everything holds"),
            Err(failure) => println!("verify: {} FAILED: {}\nremedy: {}", failure.step, failure.reason, failure.remedy),
        }
    }
}

/// The number before `what` in `12 passed; 0 failed; ..`.
fn count(text: &str, what: &str) -> u64 {
    let before = text.find(what).map(|at| &text[..at]).unwrap_or_default();
    before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    println!("$ cargo {}", arguments.join(" "));
    let status = Command::new(cargo_program())
        .args(arguments)
        .current_dir(repository())
        .stdin(Stdio::null())
        .status()
        .map_err(|e| format!("cannot start cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} ended with {status}", arguments[0])) }
}

/// A thing that must be on the machine: how it is looked for, and the Debian package that has it.
struct Needed {
    name: &'static str,
    package: &'static str,
    there: fn() -> bool,
}

const NEEDED: [Needed; 12] = [
    Needed { name: "a C compiler", package: "gcc", there: || program_path("cc").is_some() },
    Needed { name: "make", package: "make", there: || program_path("make").is_some() },
    Needed { name: "pkg-config", package: "pkg-config", there: || program_path("pkg-config").is_some() },
    Needed { name: "OpenSSL's headers", package: "libssl-dev", there: has_openssl },
    Needed { name: "mosquitto", package: "mosquitto", there: || Tool::Mosquitto.find().is_ok() },
    Needed { name: "mosquitto_pub", package: "mosquitto-clients", there: || Tool::MosquittoClients.find().is_ok() },
    Needed { name: "kcat", package: "kcat", there: || Tool::Kcat.find().is_ok() },
    Needed { name: "Chromium", package: "chromium", there: || Tool::Chromium.find().is_ok() },
    Needed { name: "openssl", package: "openssl", there: || Tool::Openssl.find().is_ok() },
    Needed { name: "curl", package: "curl", there: || Tool::Curl.find().is_ok() },
    Needed { name: "java", package: "default-jre-headless", there: || program_path("java").is_some() },
    Needed { name: "mvn", package: "maven", there: || program_path("mvn").is_some() },
];

fn has_openssl() -> bool {
    let answer = Command::new("pkg-config").args(["--exists", "openssl"]).stdin(Stdio::null()).status();
    answer.is_ok_and(|status| status.success())
}

fn find_tools() -> Result<(), String> {
    let missing = || NEEDED.iter().filter(|needed| !(needed.there)()).collect::<Vec<_>>();
    let absent = missing();
    if !absent.is_empty() {
        let packages: Vec<_> = absent.iter().map(|needed| needed.package).collect();
        if !rustix::process::getuid().is_root() || program_path("apt-get").is_none() {
            let names: Vec<_> = absent.iter().map(|needed| needed.name).collect();
            return Err(format!("missing: {}; sudo apt-get install {}", names.join(", "), packages.join(" ")));
        }
        apt_get(&["update", "--quiet"])?;
        let options = ["install", "--yes", "--quiet", "--no-install-recommends"];
        apt_get(&[&options[..], &packages[..]].concat())?;
        if let Some(needed) = missing().first() {
            return Err(format!("{} is still missing after installing {}", needed.name, needed.package));
        }
    }
    for component in ["fmt", "clippy"] {
        cargo(&[component, "--version"]).map_err(|e| format!("{e}; rustup component add rustfmt clippy"))?;
    }
    let libraries = kafka_install::libraries()?;
    println!("Kafka {}: {}", kafka_install::VERSION, libraries.display());
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    println!("$ apt-get {}", arguments.join(" "));
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .map_err(|e| format!("cannot start apt-get: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("apt-get {} ended with {status}", arguments[0])) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_skips_are_read_from_the_output() {
        let mut run = Run::default();
        run.note("test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        run.note("test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        run.note("test a ... SKIPPED: a needs the data folder");
        assert_eq!((run.passed, run.failed, run.ignored), (19, 2, 3));
        assert_eq!(run.skipped, ["a needs the data folder"]);
    }
}
