//! What is known of the fleet: the records of the compacted topic ([`asset`]), the local copy of it ([`store`]), the
//! thread that keeps the copy current ([`changelog`]) and what people are shown of it ([`overview`]).

pub mod asset;
pub mod changelog;
pub mod overview;
pub mod store;

pub use store::{Store, StoreError};
