//! What sites send for learning together, in packed CBOR ([`fettle_wire::cbor`]): fields may only be appended.
//!
//! A message is sealed by [`super::seal`]: what is signed are these bytes as they stand, and nothing is encoded again.

use fettle_wire::cbor::{self, CborError};
use fettle_wire::id::Name;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::census::Statistics;
use super::codec::Tensor;
use super::octets::Fixed;
use super::refusal::Refusal;
use crate::predict::network::Network;

/// The schema of these messages.
pub const VERSION: u8 = 1;
/// Tensors a message may hold at most: networks of up to 32 layers.
const TENSORS: usize = 64;
/// Bytes of a message beside its weights: names, numbers, a head for each tensor.
const AROUND: usize = 512 + 16 * TENSORS;
/// Bytes of statistics at most: 27 for each cell.
pub const MAX_STATISTICS: usize = 1 << 18;
/// Digits of a schema's hash in a cohort's name.
const DIGITS: usize = 16;

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Who {
    /// The site.
    pub site: Name,
    /// Its agent.
    pub agent: Name,
}

/// A site's change of a release's weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// [`VERSION`].
    pub version: u8,
    /// Which cohort ([`cohort_name`]).
    pub cohort: Name,
    /// Who learned.
    pub who: Who,
    /// Hash of the release that was begun with.
    pub base: Fixed<32>,
    /// Its version within the cohort.
    pub base_version: u64,
    /// Counts the site's updates; of two the greater is the newer.
    pub sequence: u64,
    /// Rows learned from.
    pub samples: u32,
    /// Mean square error on the site's own validation rows before.
    pub loss_before: f32,
    /// The same after.
    pub loss_after: f32,
    /// The change, tensor by tensor in the order of [`Network::tensors`].
    #[serde(deserialize_with = "cbor::sequence_up_to::<TENSORS, _, _>")]
    pub tensors: Vec<Tensor>,
}

/// A site's part of the input statistics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    /// [`VERSION`].
    pub version: u8,
    /// Which cohort.
    pub cohort: Name,
    /// Whose statistics.
    pub who: Who,
    /// Which of the cohort's questions, from 0 ([`super::Census`]).
    pub question: u8,
    /// The answer.
    pub statistics: Statistics,
}

/// How far a site's rows reach under the shared normaliser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reach {
    /// [`VERSION`].
    pub version: u8,
    /// Which cohort.
    pub cohort: Name,
    /// Whose rows.
    pub who: Who,
    /// Greatest mean square of a row's scaled features.
    pub farthest: f64,
}

/// What a site finds about a candidate, where the centre has no root set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// [`VERSION`].
    pub version: u8,
    /// Which cohort.
    pub cohort: Name,
    /// Who judged.
    pub who: Who,
    /// The candidate's [`fingerprint`].
    pub candidate: Fixed<32>,
    /// Rows judged by.
    pub samples: u32,
    /// Mean square error of the active model.
    pub loss_active: f32,
    /// That of the candidate.
    pub loss_candidate: f32,
}

/// The name of a cohort: machine class, a dot, the first digits of the feature schema's hash. A class's name is cut to
/// make room.
pub fn cohort_name(class: &Name, schema_hash: &str) -> Option<Name> {
    let digits = schema_hash.get(..DIGITS)?;
    let class = class.get(..class.len().min(fettle_wire::id::MAX_NAME - DIGITS - 1))?;
    Name::new(&format!("{class}.{digits}")).ok()
}

/// Hash of a network's shape and every bit of its weights: by it a candidate is named.
pub fn fingerprint(network: &Network) -> Fixed<32> {
    let mut digest = Sha256::new();
    digest.update(b"fettle network 1");
    for layer in &network.layers {
        digest.update((layer.inputs as u64).to_le_bytes());
        digest.update((layer.outputs as u64).to_le_bytes());
        layer.weights.iter().chain(&layer.biases).for_each(|w| digest.update(w.to_le_bytes()));
    }
    Fixed(digest.finalize().into())
}

/// Bytes of an update's body at most, for a network of this size.
pub fn update_limit(network: &Network) -> usize {
    network.parameters() + AROUND
}

/// Bytes of a verdict's or reach's body at most.
pub const MAX_SMALL: usize = 512;

/// The bytes to be signed.
///
/// # Errors
/// None of the messages here has one.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, CborError> {
    cbor::encode(message)
}

/// Reads what was signed.
///
/// # Errors
/// [`Refusal::Malformed`], or [`Refusal::Version`] for another schema.
pub fn decode<T: DeserializeOwned + Versioned>(body: &[u8], limit: usize) -> Result<T, Refusal> {
    let message: T = cbor::decode(body, limit).map_err(|_| Refusal::Malformed)?;
    if message.version() == VERSION { Ok(message) } else { Err(Refusal::Version) }
}

/// What all messages say about themselves.
pub trait Versioned {
    /// Schema version.
    fn version(&self) -> u8;
    /// Which cohort.
    fn cohort(&self) -> &Name;
    /// Who speaks.
    fn who(&self) -> &Who;
}

macro_rules! versioned {
    ($($kind:ty),*) => {$(
        impl Versioned for $kind {
            fn version(&self) -> u8 {
                self.version
            }
            fn cohort(&self) -> &Name {
                &self.cohort
            }
            fn who(&self) -> &Who {
                &self.who
            }
        }
    )*};
}
versioned!(Update, Survey, Reach, Verdict);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::random_network;

    #[test]
    fn a_cohort_is_named_after_class_and_schema_and_the_name_always_fits() {
        let name = |text: &str| Name::new(text).unwrap();
        let hash = "0123456789abcdef0123456789abcdef";
        assert_eq!(&*cohort_name(&name("pump-20kW"), hash).unwrap(), "pump-20kW.0123456789abcdef");
        assert_eq!(cohort_name(&name(&"x".repeat(64)), hash).unwrap().len(), 64);
        assert_eq!(cohort_name(&name("pump"), "short"), None);
    }

    #[test]
    fn a_fingerprint_tells_networks_apart_to_the_bit() {
        let network = random_network(3, &[4], 1);
        let mut other = network.clone();
        assert_eq!(fingerprint(&network), fingerprint(&other));
        other.layers[1].biases[0] = -0.0;
        assert_ne!(fingerprint(&network), fingerprint(&other));
    }
}
