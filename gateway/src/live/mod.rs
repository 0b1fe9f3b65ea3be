//! What open pages hear at once: a bounded ring of events ([`hub`]), and the thread that finds out what changed
//! ([`watch`]).
//!
//! ```text
//!  store (changed) --> watch --\
//!  history reader  -----------> hub: ring of events --cursor of each page--> server-sent events --> browser
//! ```
//! V1: a page that comes back with its last event's id gets everything since, or is told to begin again.
//! V2: a page holds a place in the ring and nothing else: however many there are and however slow, the others are not
//!     delayed and memory stays bounded.
//! Must never: wait for a page.

pub mod hub;
pub mod watch;

pub use hub::{Hub, Next, Place};
