//! Claims about learning together, on the site's and the centre's own code: what is refused changes nothing (G1), the
//! order of arrival does not show (G2), a state saved and loaded goes on to the same bits (G4), a gate holds, learning
//! converges.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod federate {
    pub(crate) mod fleet;
    mod gate;
    mod order;
    mod refusals;
}
