//! The seal around a message: which bytes were signed, by whose key, and whether that key may speak for that site.
//!
//! Signed is `fettle/federate/1|<kind>|` followed by the body's bytes as they stand; ed25519 (RFC 8032), verified
//! strictly, so that no weak key fits many texts. The kind is in the signed text so that a signature for one kind of
//! message never fits another.
//!
//! Order of checks: envelope, signature present, key known, signature, body, whose key it is, cohort.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use fettle_wire::cbor::{self, CborError};
use fettle_wire::id::Name;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::message::{self, Versioned, Who};
use super::octets::{Fixed, Octets};
use super::refusal::Refusal;

/// Bytes of an envelope around its body at most.
const AROUND: usize = 128;

/// What kind of message is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`super::Update`].
    Update,
    /// [`super::Survey`].
    Survey,
    /// [`super::Reach`].
    Reach,
    /// [`super::Verdict`].
    Verdict,
}

impl Kind {
    /// Its name in the signed text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Survey => "survey",
            Self::Reach => "reach",
            Self::Verdict => "verdict",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    body: Octets,
    key: Option<Fixed<8>>,
    signature: Option<Fixed<64>>,
}

/// The keys that may speak, and for whom.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: BTreeMap<Fixed<8>, (VerifyingKey, Who)>,
}

impl Keyring {
    /// Registers an agent's public key.
    pub fn add(&mut self, key: VerifyingKey, who: Who) {
        self.keys.insert(key_id(&key), (key, who));
    }
}

/// The first eight bytes of the SHA-256 of the public key, as in the records' envelopes.
fn key_id(key: &VerifyingKey) -> Fixed<8> {
    let digest = Sha256::digest(key.as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    Fixed(id)
}

/// The text that is signed.
fn signed_text(kind: Kind, body: &[u8]) -> Vec<u8> {
    [b"fettle/federate/1|", kind.as_str().as_bytes(), b"|", body].concat()
}

/// Encodes and signs a message.
///
/// # Errors
/// None of the messages here has one.
pub fn seal<T: Serialize>(kind: Kind, message: &T, key: &SigningKey) -> Result<Vec<u8>, CborError> {
    let body = message::encode(message)?;
    let signature = Some(Fixed(key.sign(&signed_text(kind, &body)).to_bytes()));
    cbor::encode(&Envelope { body: Octets(body), key: Some(key_id(&key.verifying_key())), signature })
}

/// The first half of the SHA-256 of a message's bytes: by it a replay is known, however the envelope was written.
pub type MessageDigest = Fixed<16>;

/// Opens a sealed message of at most `limit` bytes of body and checks it as far as it can be without knowing the round.
///
/// # Errors
/// The first check that fails, in the order stated above.
pub fn open<T: DeserializeOwned + Versioned>(
    kind: Kind,
    bytes: &[u8],
    limit: usize,
    keys: &Keyring,
    cohort: &Name,
) -> Result<(T, MessageDigest), Refusal> {
    let envelope: Envelope = cbor::decode(bytes, limit + AROUND).map_err(|_| Refusal::Malformed)?;
    let (Some(id), Some(signature)) = (envelope.key, envelope.signature) else { return Err(Refusal::Unsigned) };
    let (key, owner) = keys.keys.get(&id).ok_or(Refusal::UnknownKey)?;
    let text = signed_text(kind, &envelope.body.0);
    key.verify_strict(&text, &Signature::from_bytes(&signature.0)).map_err(|_| Refusal::BadSignature)?;
    let message: T = message::decode(&envelope.body.0, limit)?;
    if message.who() != owner {
        return Err(Refusal::WrongIdentity);
    }
    if message.cohort() != cohort {
        return Err(Refusal::WrongCohort);
    }
    let mut digest = [0; 16];
    digest.copy_from_slice(&Sha256::digest(&envelope.body.0)[..16]);
    Ok((message, Fixed(digest)))
}

#[cfg(test)]
mod tests {
    use super::super::message::{Reach, Verdict};
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn who(site: &str) -> Who {
        Who { site: name(site), agent: name("gw") }
    }

    fn reach(site: &str) -> Reach {
        Reach { version: 1, cohort: name("c"), who: who(site), farthest: 3.0 }
    }

    #[test]
    fn each_way_of_being_wrong_has_its_own_reason() {
        let (one, two) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let mut keys = Keyring::default();
        keys.add(one.verifying_key(), who("a"));
        let read = |bytes: &[u8]| open::<Reach>(Kind::Reach, bytes, 512, &keys, &name("c")).map(|(message, _)| message);
        let good = seal(Kind::Reach, &reach("a"), &one).unwrap();
        assert_eq!(read(&good), Ok(reach("a")));
        let edit = |change: fn(&mut Envelope)| {
            let mut envelope: Envelope = cbor::decode(&good, 1000).unwrap();
            change(&mut envelope);
            cbor::encode(&envelope).unwrap()
        };
        assert_eq!(read(&good[..good.len() - 1]), Err(Refusal::Malformed));
        assert_eq!(read(&[good.clone(), vec![0]].concat()), Err(Refusal::Malformed));
        assert_eq!(read(&vec![0; 10_000]), Err(Refusal::Malformed));
        assert_eq!(read(&edit(|e| e.signature = None)), Err(Refusal::Unsigned));
        assert_eq!(read(&edit(|e| e.key = None)), Err(Refusal::Unsigned));
        assert_eq!(read(&edit(|e| *e.body.0.last_mut().unwrap() ^= 1)), Err(Refusal::BadSignature));
        assert_eq!(read(&seal(Kind::Reach, &reach("a"), &two).unwrap()), Err(Refusal::UnknownKey));
        assert_eq!(read(&seal(Kind::Verdict, &reach("a"), &one).unwrap()), Err(Refusal::BadSignature));
        assert_eq!(read(&seal(Kind::Reach, &reach("b"), &one).unwrap()), Err(Refusal::WrongIdentity));
        assert_eq!(read(&seal(Kind::Reach, &7u8, &one).unwrap()), Err(Refusal::Malformed), "signed nonsense");
        let other = Reach { cohort: name("d"), ..reach("a") };
        assert_eq!(read(&seal(Kind::Reach, &other, &one).unwrap()), Err(Refusal::WrongCohort));
        let future = Reach { version: 2, ..reach("a") };
        assert_eq!(read(&seal(Kind::Reach, &future, &one).unwrap()), Err(Refusal::Version));
        let sealed = seal(Kind::Reach, &reach("a"), &one).unwrap();
        let verdict = open::<Verdict>(Kind::Verdict, &sealed, 512, &keys, &name("c"));
        assert_eq!(verdict.map(|(message, _)| message), Err(Refusal::BadSignature));
    }
}
