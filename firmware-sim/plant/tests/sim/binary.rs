//! Claims about the program: exit codes, signals, what it prints.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::Broker;
use fettle_sim::ledger::Ledger;

fn sim(arguments: &[&str], config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fettle-sim"));
    command.args(arguments).arg("--config").arg(config);
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn check_says_everything_wrong_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sim.toml");
    std::fs::write(&config, "machines = 0\nspeed = -1\n[mqtt]\nprot = 1883\n").unwrap();
    let output = sim(&["check"], &config).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    for key in ["site:", "machines:", "speed:", "mqtt.prot:"] {
        assert!(text(&output).contains(key), "{key} in {}", text(&output));
    }
    std::fs::write(&config, "site = \"a\"\n").unwrap();
    assert_eq!(sim(&["check"], &config).output().unwrap().status.code(), Some(0));
}

#[test]
fn registry_and_truth_are_printed_for_other_programs_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sim.toml");
    std::fs::write(&config, "site = \"a\"\nmachines = 3\nname_prefix = \"fan.1\"\n[fault]\nshare = 1.0\n").unwrap();
    let registry: toml::Table = text(&sim(&["registry"], &config).output().unwrap()).parse().unwrap();
    assert!(registry["assets"]["fan.1-0003"]["channels"]["speed"]["role"].as_str() == Some("operating"));
    let truth = text(&sim(&["truth"], &config).output().unwrap());
    for line in truth.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["fault"]["failure_us"].as_i64() > line["fault"]["onset_us"].as_i64());
    }
    assert_eq!(truth.lines().count(), 3);
}

#[test]
fn frames_nobody_confirms_end_the_run_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), "") else { return };
    let config = folder.path().join("sim.toml");
    let port = broker.port;
    std::fs::write(&config, format!("site = \"a\"\nframes = 20\ndrain = \"300ms\"\n[mqtt]\nport = {port}\n")).unwrap();
    let output = sim(&["run"], &config).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("20 frames remain unconfirmed"), "{}", text(&output));
}

#[test]
fn sigterm_ends_a_run_with_its_ledger_written() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), "") else { return };
    let (config, ledger) = (folder.path().join("sim.toml"), folder.path().join("ledger.json"));
    let text = format!(
        "site = \"a\"\ninterval = \"20ms\"\nledger = \"ledger.json\"\nledger_interval = \"100ms\"\n[mqtt]\nport = {}\n",
        broker.port
    );
    std::fs::write(&config, text).unwrap();
    let mut child = sim(&["run"], &config).stderr(Stdio::null()).spawn().unwrap();
    let read = || -> Option<Ledger> { serde_json::from_slice(&std::fs::read(&ledger).ok()?).ok() };
    let acknowledged = (0..2_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        read().is_some_and(|l| l.traffic.acknowledged > 0)
    });
    assert!(acknowledged, "the ledger is written while the sim runs");
    assert!(Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let last = read().unwrap();
    assert!(last.phase == "finished" && last.balances() && last.frames.held > 0);
}
