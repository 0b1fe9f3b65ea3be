//! fettle-agent: durability and protocols around the engine, on the factory gateway.
//!
//! The flow, one direction: acquire -> journal -> engine -> outbox -> uplink. Decisions live in [`core`], a state machine
//! without I/O or clock; the shells (MQTT, LMDB, Kafka, HTTP) carry its effects out.
#![deny(unsafe_code)]

pub mod acquire;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
pub mod events;
pub mod http;
pub mod identity;
pub mod journal;
pub mod ledger;
pub mod lock;
pub mod log;
pub mod outbox;
pub mod release;
pub mod replay;
pub mod run;
pub mod status;
pub mod uplink;
