//! The file: written, taken apart, signed. What its content is worth is [`super::open`]'s business.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use fettle_wire::record::{Hex, key_id, unhex};
use fettle_wire::{Micros, Name, cbor};
use serde::{Deserialize, Serialize};

use super::{Golden, Hash, Manifest, Part, Refusal};
use crate::predict::conformal::Conformal;
use crate::predict::feature::Frozen;
use crate::predict::filter::FilterParams;
use crate::predict::learned::RulModel;
use crate::predict::onnx;
use crate::predict::onnx::survey::OPERATORS;
use crate::predict::score::Reference;
use crate::predict::trees::Trees;

const MAGIC: &[u8; 8] = b"fettle\0R";
const DOMAIN: &[u8] = b"fettle release 1";
const KEY_ID: usize = 8;
const SIGNATURE: usize = 64;
/// Version of the manifest's form.
pub(super) const FORMAT: u32 = 1;
/// Bytes of a release at most.
pub const MAX_BYTES: usize = 8 << 20;
/// Bytes of a manifest at most.
const MAX_MANIFEST: usize = 64 << 10;
/// The parts' names.
pub(super) const NETWORK: &str = "network.onnx";
pub(super) const PROGNOSIS: &str = "prognosis.cbor";
pub(super) const GOLDEN: &str = "golden.cbor";

/// A public key that signs releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(VerifyingKey);

impl Key {
    /// From 64 hexadecimal digits; `None` if they are no ed25519 public key.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        unhex(text, &mut bytes)?;
        VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak()).map(Self)
    }

    /// As 64 hexadecimal digits.
    pub fn text(&self) -> String {
        Hex(self.0.as_bytes()).to_string()
    }

    /// The short name that a signature carries: 16 hexadecimal digits.
    pub fn id(&self) -> String {
        key_id(&self.0)
    }
}

impl From<&SigningKey> for Key {
    fn from(key: &SigningKey) -> Self {
        Self(key.verifying_key())
    }
}

/// All of a prognosis but its networks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Prognosis {
    pub(super) frozen: Frozen,
    pub(super) trees: Option<Trees>,
    pub(super) tree_weight: f64,
    pub(super) filter: FilterParams,
    pub(super) conformal: Conformal,
    pub(super) healthy: Vec<f32>,
}

/// What a release is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft<'a> {
    /// See [`Manifest`].
    pub name: Name,
    /// See [`Manifest`].
    pub version: u64,
    /// See [`Manifest`].
    pub class: &'a str,
    /// See [`Manifest`].
    pub created: Micros,
    /// See [`Manifest`].
    pub base: Option<Hash>,
    /// See [`Manifest`].
    pub lives: u64,
    /// See [`Manifest`].
    pub figures: std::collections::BTreeMap<String, f64>,
    /// See [`Manifest`].
    pub note: &'a str,
    /// What speaks.
    pub model: &'a RulModel,
}

impl Draft<'_> {
    /// The release, not yet signed.
    ///
    /// # Errors
    /// [`Refusal::Parts`] if the model's parts do not fit together, [`Refusal::TooLarge`] if it is larger than any agent
    /// would take.
    pub fn build(&self) -> Result<Vec<u8>, Refusal> {
        let RulModel { frozen, networks, trees, tree_weight, filter, conformal, healthy } = self.model;
        self.model.check().map_err(Refusal::Parts)?;
        let prognosis = Prognosis {
            frozen: frozen.clone(),
            trees: trees.clone(),
            tree_weight: *tree_weight,
            filter: *filter,
            conformal: conformal.clone(),
            healthy: healthy.clone(),
        };
        let golden = Golden::of(self.model, &mut Reference(networks));
        let encoded = |e: cbor::CborError| Refusal::Malformed(e.to_string());
        let parts = [
            (NETWORK, onnx::write(networks)),
            (PROGNOSIS, cbor::encode(&prognosis).map_err(encoded)?),
            (GOLDEN, cbor::encode(&golden).map_err(encoded)?),
        ];
        let part = |(name, bytes): &(&str, Vec<u8>)| Part {
            name: (*name).to_owned(),
            bytes: bytes.len() as u64,
            sha256: Hash::of(bytes),
        };
        let manifest = Manifest {
            format: FORMAT,
            name: self.name.clone(),
            version: self.version,
            class: self.class.to_owned(),
            schema: frozen.schema.hash(),
            created: self.created,
            base: self.base,
            inputs: frozen.schema.width() as u64,
            members: networks.len() as u64,
            parameters: networks.iter().map(|n| n.parameters() as u64).sum(),
            operators: OPERATORS.map(str::to_owned).to_vec(),
            tree_weight: *tree_weight,
            lives: self.lives,
            figures: self.figures.clone(),
            note: self.note.to_owned(),
            parts: parts.iter().map(part).collect(),
        };
        let head = cbor::encode(&manifest).map_err(encoded)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(head.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&head);
        parts.iter().for_each(|(_, part)| bytes.extend_from_slice(part));
        let most = MAX_BYTES - KEY_ID - SIGNATURE;
        if bytes.len() > most || head.len() > MAX_MANIFEST {
            return Err(Refusal::TooLarge { found: bytes.len(), most });
        }
        Ok(bytes)
    }
}

/// A file taken apart; nothing of it is believed yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Package<'a> {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What it is known by.
    pub hash: Hash,
    /// Key id and signature, where it is signed.
    signature: Option<(String, [u8; SIGNATURE])>,
    parts: Vec<(&'a str, &'a [u8])>,
    /// Everything but the signature.
    unsigned: &'a [u8],
}

impl<'a> Package<'a> {
    /// Takes a file apart.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`], [`Refusal::Malformed`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_BYTES {
            return Err(Refusal::TooLarge { found: bytes.len(), most: MAX_BYTES });
        }
        let bad = |what: &str| Refusal::Malformed(what.to_owned());
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| bad("it does not begin as one"))?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| bad("it breaks off"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let head = rest.get(..length).ok_or_else(|| bad("its manifest breaks off"))?;
        let manifest: Manifest =
            cbor::decode(head, MAX_MANIFEST).map_err(|e| Refusal::Malformed(format!("its manifest: {e}")))?;
        if manifest.format != FORMAT {
            return Err(Refusal::Malformed(format!("it has format {}, format {FORMAT} is read", manifest.format)));
        }
        let begin = MAGIC.len() + 4 + length;
        Self::take_parts(bytes, begin, manifest)
    }

    fn take_parts(bytes: &'a [u8], begin: usize, manifest: Manifest) -> Result<Self, Refusal> {
        let (mut parts, mut at) = (Vec::new(), begin);
        for part in &manifest.parts {
            let name = [NETWORK, PROGNOSIS, GOLDEN].into_iter().find(|known| **known == part.name);
            let end = usize::try_from(part.bytes).ok().and_then(|n| at.checked_add(n)).filter(|e| *e <= bytes.len());
            let (Some(name), Some(end)) = (name, end) else { return Err(Refusal::PartHash(short(&part.name))) };
            parts.push((name, &bytes[at..end]));
            at = end;
        }
        let signature = match &bytes[at..] {
            [] => None,
            tail if tail.len() == KEY_ID + SIGNATURE => {
                let mut signature = [0; SIGNATURE];
                signature.copy_from_slice(&tail[KEY_ID..]);
                Some((Hex(&tail[..KEY_ID]).to_string(), signature))
            }
            tail => return Err(Refusal::Malformed(format!("{} bytes follow its parts", tail.len()))),
        };
        Ok(Self { manifest, hash: Hash::of(&bytes[..begin]), signature, parts, unsigned: &bytes[..at] })
    }

    /// Who signed it.
    ///
    /// # Errors
    /// [`Refusal::Unsigned`], [`Refusal::UnknownKey`], [`Refusal::WrongSignature`].
    pub fn check_signature(&self, keys: &[Key]) -> Result<&str, Refusal> {
        let (id, signature) = self.signature.as_ref().ok_or(Refusal::Unsigned)?;
        let key = keys.iter().find(|key| key.id() == *id).ok_or_else(|| Refusal::UnknownKey(id.clone()))?;
        let text = [DOMAIN, &self.hash.0].concat();
        match key.0.verify_strict(&text, &Signature::from_bytes(signature)) {
            Ok(()) => Ok(id),
            Err(_) => Err(Refusal::WrongSignature(id.clone())),
        }
    }

    /// The part of this name, once its hash is the one in the manifest.
    ///
    /// # Errors
    /// [`Refusal::PartHash`].
    pub(super) fn part(&self, name: &str) -> Result<&'a [u8], Refusal> {
        let missing = || Refusal::PartHash(name.to_owned());
        let (at, (_, bytes)) = self.parts.iter().enumerate().find(|(_, (n, _))| *n == name).ok_or_else(missing)?;
        if Hash::of(bytes) == self.manifest.parts[at].sha256 { Ok(bytes) } else { Err(missing()) }
    }

    /// Id of the key that claims to have signed it.
    pub fn signed_by(&self) -> Option<&str> {
        self.signature.as_ref().map(|(id, _)| id.as_str())
    }
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The file with a signature; one that was there before is replaced.
///
/// # Errors
/// If it is no release file.
pub fn sign(bytes: &[u8], key: &SigningKey) -> Result<Vec<u8>, Refusal> {
    let package = Package::read(bytes)?;
    let mut id = [0; KEY_ID];
    // An id is 16 hexadecimal digits.
    let read = unhex(&key_id(&key.verifying_key()), &mut id);
    debug_assert!(read.is_some());
    let signature = key.sign(&[DOMAIN, &package.hash.0].concat());
    Ok([package.unsigned, &id, &signature.to_bytes()].concat())
}
