//! From a stranger's bytes to a model that may speak. The order is that of cost: nothing of a file is run before its
//! signature, its fit and its cost are known.

use std::sync::Arc;

use fettle_wire::cbor;

use super::package::{GOLDEN, NETWORK, PROGNOSIS, Prognosis};
use super::{Golden, Hash, Key, MAX_BYTES, Manifest, Package, Refusal};
use crate::predict::feature::Schema;
use crate::predict::learned::RulModel;
use crate::predict::onnx;
use crate::predict::onnx::survey::survey;
use crate::predict::score::{Runtime, ScoreError, Scorer};

/// What is asked of a release.
#[derive(Clone, Copy)]
pub struct Policy<'a> {
    /// Keys that may sign.
    pub keys: &'a [Key],
    /// Least version that is taken of a class.
    pub floor: &'a dyn Fn(&str) -> u64,
    /// Whether machines of a class give what a schema asks for; else why not.
    pub fits: &'a dyn Fn(&str, &Schema) -> Result<(), String>,
}

/// A release that was found good.
pub struct Release {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What it is known by.
    pub hash: Hash,
    /// What speaks.
    pub model: Arc<RulModel>,
    scorer: Box<dyn Scorer + Send>,
}

impl Release {
    /// The model and what scores for it.
    pub fn parts(&mut self) -> (&RulModel, &mut dyn Scorer) {
        (&self.model, &mut *self.scorer)
    }

    /// The same with another scorer around its own: one that takes the time, say.
    #[must_use]
    pub fn scored_by(mut self, wrap: impl FnOnce(Box<dyn Scorer + Send>) -> Box<dyn Scorer + Send>) -> Self {
        self.scorer = wrap(self.scorer);
        self
    }
}

impl std::fmt::Debug for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Release({} {} {})", self.manifest.name, self.manifest.version, self.hash)
    }
}

/// Opens a release file.
///
/// # Errors
/// The first reason not to take it.
pub fn open(bytes: &[u8], policy: &Policy<'_>) -> Result<Release, Refusal> {
    let package = Package::read(bytes)?;
    package.check_signature(policy.keys)?;
    let floor = (policy.floor)(&package.manifest.class);
    if package.manifest.version < floor {
        return Err(Refusal::BelowFloor { found: package.manifest.version, floor });
    }
    let network = package.part(NETWORK)?;
    let prognosis = package.part(PROGNOSIS)?;
    let golden = package.part(GOLDEN)?;
    let broken = |part: &str, e: cbor::CborError| Refusal::Malformed(format!("{part}: {e}"));
    let prognosis: Prognosis = cbor::decode(prognosis, MAX_BYTES).map_err(|e| broken(PROGNOSIS, e))?;
    let schema = &prognosis.frozen.schema;
    schema.check().map_err(|rule| Refusal::Schema(rule.to_owned()))?;
    same("the schema", &package.manifest.schema, &schema.hash())?;
    (policy.fits)(&package.manifest.class, schema).map_err(Refusal::Schema)?;
    survey(network)?;
    let networks = onnx::read(network).map_err(Refusal::Graph)?;
    let Prognosis { frozen, trees, tree_weight, filter, conformal, healthy } = prognosis;
    let model = RulModel { frozen, networks, trees, tree_weight, filter, conformal, healthy };
    model.check().map_err(Refusal::Parts)?;
    agree(&package.manifest, &model)?;
    let mut runtime = Runtime::load(network).map_err(|e: ScoreError| Refusal::Runtime(e.to_string()))?;
    let golden: Golden = cbor::decode(golden, MAX_BYTES).map_err(|e| broken(GOLDEN, e))?;
    golden.check(&model, &mut runtime)?;
    Ok(Release { manifest: package.manifest, hash: package.hash, model: Arc::new(model), scorer: Box::new(runtime) })
}

/// What the manifest says to people must be what speaks.
fn agree(manifest: &Manifest, model: &RulModel) -> Result<(), Refusal> {
    let parameters: u64 = model.networks.iter().map(|n| n.parameters() as u64).sum();
    same("the number of inputs", &manifest.inputs, &(model.frozen.schema.width() as u64))?;
    same("the number of networks", &manifest.members, &(model.networks.len() as u64))?;
    same("the number of parameters", &manifest.parameters, &parameters)?;
    same("the trees' weight", &manifest.tree_weight, &model.tree_weight)
}

fn same<T: PartialEq + ToString>(what: &'static str, said: &T, found: &T) -> Result<(), Refusal> {
    match said == found {
        true => Ok(()),
        false => Err(Refusal::Manifest { what, said: said.to_string(), found: found.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ed25519_dalek::SigningKey;

    use super::super::testing::{draft, model};
    use super::super::{Draft, sign};
    use super::*;

    fn keys() -> (SigningKey, Vec<Key>) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = Key::from(&key);
        (key, vec![public])
    }

    fn opened(bytes: &[u8]) -> Result<Release, Refusal> {
        let (_, keys) = keys();
        open(bytes, &Policy { keys: &keys, floor: &|_| 3, fits: &|_, _| Ok(()) })
    }

    fn signed(draft: &Draft<'_>) -> Vec<u8> {
        sign(&draft.build().unwrap(), &keys().0).unwrap()
    }

    #[test]
    fn the_same_content_gives_the_same_bytes_and_says_the_same() {
        let model = model();
        let bytes = signed(&draft(&model));
        assert_eq!(bytes, signed(&draft(&model)));
        let mut release = opened(&bytes).unwrap();
        assert_eq!(*release.model, model);
        let row = vec![0.3f32; model.frozen.schema.width()];
        let (spoken, scorer) = release.parts();
        let said = spoken.raw(scorer, &row).unwrap();
        let meant = model.raw(&mut crate::predict::score::Reference(&model.networks), &row).unwrap();
        assert!((said - meant).abs() < 1e-3, "{said} {meant}");
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_refused() {
        let bytes = signed(&draft(&model()));
        for at in (0..bytes.len()).step_by(7).chain(bytes.len() - 80..bytes.len()) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(opened(&changed).is_err(), "byte {at}");
            assert!(opened(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn who_did_not_sign_or_is_not_known_or_signed_something_else_is_told_apart() {
        let model = model();
        let plain = draft(&model).build().unwrap();
        assert_eq!(opened(&plain).unwrap_err().reason(), "unsigned");
        let stranger = sign(&plain, &SigningKey::from_bytes(&[8; 32])).unwrap();
        assert_eq!(opened(&stranger).unwrap_err().reason(), "unknown_key");
        let mut forged = signed(&draft(&model));
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert_eq!(opened(&forged).unwrap_err().reason(), "wrong_signature");
        assert_eq!(opened(b"fettle, a release").unwrap_err().reason(), "malformed");
        let old = Draft { version: 2, ..draft(&model) };
        assert_eq!(opened(&signed(&old)).unwrap_err(), Refusal::BelowFloor { found: 2, floor: 3 });
    }

    #[test]
    fn a_schema_that_no_machine_here_serves_is_refused_with_what_is_missing() {
        let bytes = signed(&draft(&model()));
        let (_, keys) = keys();
        let fits = |class: &str, _: &Schema| Err(format!("no {class} has a channel wear"));
        let refused = open(&bytes, &Policy { keys: &keys, floor: &|_| 0, fits: &fits }).unwrap_err();
        assert_eq!(refused, Refusal::Schema("no pump has a channel wear".into()));
    }

    #[test]
    fn a_manifest_that_does_not_describe_its_parts_is_refused() {
        let model = model();
        let bytes = draft(&model).build().unwrap();
        let package = Package::read(&bytes).unwrap();
        let lie = |change: &dyn Fn(&mut Manifest)| {
            let mut manifest = package.manifest.clone();
            change(&mut manifest);
            let head = cbor::encode(&manifest).unwrap();
            let length = u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
            let lied = [&bytes[..8], &(head.len() as u32).to_be_bytes(), &head, &bytes[12 + length..]].concat();
            sign(&lied, &keys().0).and_then(|bytes| opened(&bytes)).unwrap_err().reason()
        };
        assert_eq!(lie(&|m| m.inputs += 1), "manifest");
        assert_eq!(lie(&|m| m.schema = "0".repeat(64)), "manifest");
        assert_eq!(lie(&|m| m.parts[0].sha256 = Hash([0; 32])), "part_hash");
        assert_eq!(lie(&|m| m.parts[1].bytes = u64::MAX), "part_hash");
        assert_eq!(lie(&|m| m.parts[2].name = "run.sh".into()), "part_hash");
        assert_eq!(lie(&|m| m.format = 9), "malformed");
        let none: BTreeMap<String, f64> = BTreeMap::new();
        assert_eq!(package.manifest.figures, none);
    }

    #[test]
    fn a_release_that_speaks_otherwise_than_where_it_was_made_is_refused() {
        let mut other = model();
        other.networks[0].layers[2].biases[0] += 0.01;
        let (one, two) = (draft(&model()).build().unwrap(), draft(&other).build().unwrap());
        let (one, mut two) = (Package::read(&one).unwrap(), Package::read(&two).unwrap());
        // The golden life of one under the networks of the other, honestly signed.
        let golden = one.part(GOLDEN).unwrap();
        two.manifest.parts[2] = one.manifest.parts[2].clone();
        let head = cbor::encode(&two.manifest).unwrap();
        let (network, prognosis) = (two.part(NETWORK).unwrap(), two.part(PROGNOSIS).unwrap());
        let length = (head.len() as u32).to_be_bytes();
        let mixed = [b"fettle\0R", &length[..], &head, network, prognosis, golden].concat();
        let refused = opened(&sign(&mixed, &keys().0).unwrap()).unwrap_err();
        assert_eq!(refused.reason(), "golden", "{refused}");
    }
}
