//! The testbed: starts a whole plant of real processes on this machine and takes it down again.
//!
//! A scenario in `tests/` reads like the sentence it proves; everything it needs is here: the brokers ([`broker`],
//! [`kafka`]), our own daemons ([`plant`]), who watches them ([`browser`], [`listener`]), what was published
//! ([`records`]), and an independent computation to compare
//! with ([`naive`]). Every process is real, listens on a free loopback port, keeps its files in a folder of its own below
//! `target/fettle-testbed/run`, and is ended when its handle is dropped. A failing test shows the end of every log and
//! keeps its folder.
//!
//! Must never: sleep for synchronisation (the one pause is inside [`clock::eventually`]), leave a process behind, touch
//! a network other than loopback, or hide that something was not run: see [`tools::require`].
#![forbid(unsafe_code)]

pub mod account;
pub mod binaries;
pub mod broker;
pub mod browser;
pub mod clock;
pub mod folder;
pub mod http;
pub mod kafka;
pub mod kafka_install;
pub mod licences;
pub mod listener;
pub mod naive;
pub mod plant;
pub mod ports;
pub mod process;
pub mod records;
pub mod sim_ledger;
pub mod sims;
pub mod tools;

pub use binaries::Binary;
pub use broker::{Broker, Policy};
pub use browser::Browser;
pub use clock::{Deadline, eventually};
pub use folder::Folder;
pub use kafka::Kafka;
pub use listener::Listener;
pub use plant::{Plant, PlantOptions};
pub use process::Process;
pub use sims::{Sim, SimOptions};
pub use tools::{Tool, long, require};
