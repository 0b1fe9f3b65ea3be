//! `local-kafka`: the testbed's Apache Kafka on 127.0.0.1:9092 for trying fettle out, until Ctrl-C. One broker, no
//! replication, no authentication: not for production. Its data stays below `target/fettle-testbed/local-kafka`.
#![forbid(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::Parser;
use testbed::{Folder, Tool, kafka};

/// Runs a single Apache Kafka broker on loopback until Ctrl-C.
#[derive(Parser)]
struct Arguments {
    /// The port to listen on; the controller takes the next one.
    #[arg(long, default_value_t = 9092, value_parser = clap::value_parser!(u16).range(1..65_535))]
    port: u16,
}

fn main() -> ExitCode {
    let port = Arguments::parse().port;
    if let Err(missing) = Tool::Kafka.find() {
        eprintln!("{missing}; remedy: {}", Tool::Kafka.remedy());
        return ExitCode::FAILURE;
    }
    let folder = Folder::kept("local-kafka");
    let arguments = kafka::prepare(&folder, (port, port + 1), false);
    println!("Kafka will answer on 127.0.0.1:{port} within seconds; Ctrl-C ends it");
    // This process becomes Kafka, so that whoever ends it ends Kafka.
    let error = Command::new("java").args(arguments).exec();
    eprintln!("cannot start java: {error}");
    ExitCode::FAILURE
}
