//! Releases on the agent: from a pointer on Kafka to a model that speaks, and back.
//!
//! Place in the flow: `fettle.rollouts` says what a class of machines is to run -> [`fetch`] brings the file's parts from
//! `fettle.releases` -> [`trial`] opens it in a process of its own -> the core opens it again, keeps it on disk and
//! journals what changes ([`change`]) -> the engine runs it between two frames. After that no broker is needed.
//!
//! K1: nothing of a release is run before its signature, its fit and its cost were checked, and the first time not in the
//! agent's own process: a crash, a hang or a flood of memory ends that process and is a refusal with a reason.
//! K2: what runs is what the journal says; a kill at any point leaves one of the two, whole, and a replay runs the same.
//! K3: a roll-back needs nothing but what is on the disk.

pub mod change;
pub mod fetch;
pub mod latency;
pub mod policy;
pub mod trial;

pub use change::Change;
pub use policy::ReleasePolicy;
