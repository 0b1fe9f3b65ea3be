//! `local-kafka`: the testbed's Apache Kafka on 127.0.0.1:9092 for trying fettle out, until Ctrl-C. One broker, no
//! replication, no authentication: not for production. Its data stays below `target/fettle-testbed/local-kafka`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use testbed::kafka::KafkaOptions;
use testbed::{Folder, Kafka, Tool};

/// Runs a single Apache Kafka broker on loopback until Ctrl-C.
#[derive(Parser)]
struct Arguments {
    /// The port to listen on; the controller takes the next one.
    #[arg(long, default_value_t = 9092)]
    port: u16,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    for tool in [Tool::Kafka, Tool::Kcat] {
        if let Err(missing) = tool.find() {
            eprintln!("{missing}; remedy: {}", tool.remedy());
            return ExitCode::FAILURE;
        }
    }
    let folder = Folder::kept("local-kafka");
    let mut kafka = Kafka::start(&folder, KafkaOptions { auto_create: false, port: Some(arguments.port) });
    println!("Kafka answers on {}; Ctrl-C ends it", kafka.brokers());
    let status = kafka.process().wait(std::time::Duration::MAX);
    println!("Kafka has ended ({status})");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
