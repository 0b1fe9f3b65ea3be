//! Releases: a learned prognosis as one signed file that an agent may trust.
//!
//! Place in the flow: training -> [`Draft::build`] -> [`sign`] -> a file, `fettle.releases`, an agent's store -> [`open`]
//! -> the engine. What a stranger's bytes can do ends in [`open`]: signature, floor, schema, cost and golden life are
//! checked in this order, and nothing of a file is run before its cost is known.
//!
//! # Format
//! | bytes | what |
//! |---|---|
//! | 8 | `fettle\0R` |
//! | 4 | length of the manifest, big-endian |
//! | n | [`Manifest`], packed CBOR |
//! | m | the parts, one after the other, in the manifest's order |
//! | 0 or 72 | key id (8 bytes), ed25519 signature (64 bytes, RFC 8032) over `fettle release 1` and the release's hash |
//!
//! A release's *hash* is SHA-256 over magic, length and manifest; the manifest holds the hash of each part. So it names
//! the content and not who signed it.
//!
//! R1 (releases): the same content gives the same bytes.
//! R2: a file that is refused has changed nothing, and the refusal has one reason.

mod golden;
mod manifest;
mod open;
mod package;
mod refusal;
#[cfg(test)]
pub(crate) mod testing;

pub use golden::Golden;
pub use manifest::{Hash, Manifest, Part};
pub use open::{Policy, Release, open};
pub use package::{Draft, Key, MAX_BYTES, Package, sign};
pub use refusal::Refusal;
