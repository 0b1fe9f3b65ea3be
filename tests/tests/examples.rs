//! The configurations in `deploy/examples/local` are right as they stand, and fit each other.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use testbed::Binary;
use testbed::folder::repository;

fn example(name: &str) -> PathBuf {
    repository().join("deploy/examples/local").join(name)
}

/// Standard output of one of our commands, which must succeed.
fn run(binary: Binary, command: &str, configuration: &str) -> String {
    let output = Command::new(binary.path())
        .args([command, "--config"])
        .arg(example(configuration))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}", binary.name()));
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} {command} {configuration}: {out}{errors}", binary.name());
    out.into_owned()
}

#[test]
fn the_local_examples_are_right_as_they_stand() {
    for (binary, configuration) in
        [(Binary::Agent, "agent.toml"), (Binary::Gateway, "gateway.toml"), (Binary::Sim, "sim.toml")]
    {
        run(binary, "check", configuration);
    }
}

#[test]
fn the_local_registry_describes_the_simulated_plant() {
    let path = example("registry.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    let registry: toml::Table = text.parse().unwrap();
    let simulated: toml::Table = run(Binary::Sim, "registry", "sim.toml").parse().unwrap();
    let assets = simulated["assets"].as_table().unwrap();
    assert_eq!(registry["assets"].as_table().unwrap().keys().collect::<Vec<_>>(), assets.keys().collect::<Vec<_>>());
    for (asset, spec) in assets {
        for (channel, simulated) in spec["channels"].as_table().unwrap() {
            let described = &registry["assets"][asset]["channels"][channel];
            for key in ["kind", "unit", "role"] {
                assert_eq!(described.get(key), simulated.get(key), "{asset} {channel} {key}");
            }
        }
    }
}

#[test]
fn every_program_has_help_and_a_version() {
    for binary in [Binary::Agent, Binary::Gateway, Binary::Sim] {
        for flag in ["--help", "--version"] {
            let output = Command::new(binary.path()).arg(flag).stdin(Stdio::null()).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains(if flag == "--help" { "Usage" } else { "0." }), "{text}");
        }
    }
}
