//! Learning together: what a site sends of what it learned, and how a centre makes one model of many such updates.
//!
//! Place in the flow, at a site: active release and rows of ended lives -> [`Learner`] (local epochs by [`crate::train`])
//! -> [`codec`] (difference, clipped, one byte a weight) -> [`Update`] -> [`seal::seal`]. At the centre: [`Cohort::step`]
//! takes sealed bytes, refuses or buffers them, merges ([`merge`]), judges the candidate and says what to publish. Before
//! the first round [`Census`] merges the sites' input statistics, so that all share one normaliser.
//!
//! A cohort's release has one network, so one update is at most 8 KiB for 7,617 weights; an ensemble would cost as much
//! again for each member. docs/federation.md gives formulas, sources and measured figures.
//!
//! G1: what is refused changes the result by no bit; each refusal has its reason ([`Refusal`]).
//! G2: what is merged does not depend on the order in which the sites' updates arrived.
//! G3: memory at the centre is bounded: one update for each site, a bounded number of known digests and releases.
//! G4: a state saved and loaded goes on to the same bits, at the site and at the centre.
//! It must never: read a clock, draw a number that does not follow from a given seed, or trust a number a site reports
//! beyond a stated bound.

pub mod census;
pub mod codec;
pub mod cohort;
pub mod gate;
pub mod merge;
pub mod message;
pub mod octets;
pub mod refusal;
pub mod rules;
pub mod seal;
pub mod site;

pub use census::{Census, Moment, Statistics};
pub use codec::{Delta, Residual, Tensor};
pub use cohort::{Cohort, Effect, Event, Jury};
pub use message::{Reach, Survey, Update, Verdict, Who};
pub use octets::{Fixed, Octets};
pub use refusal::{Refusal, Void};
pub use rules::Rules;
pub use seal::{Keyring, Kind};
pub use site::{Base, Learner, SitePlan};
