//! From a trained model to a release file and back to words: what `fettle-models` does between training and Kafka.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ed25519_dalek::SigningKey;
use fettle_models::predict::learned::RulModel;
use fettle_models::release::{Hash, Key, Package, Policy, open};
use fettle_wire::record::{Hex, unhex};
use fettle_wire::time::Rfc3339;
use fettle_wire::{Name, cbor};
use serde::{Deserialize, Serialize};

/// The largest model file that is read, in bytes.
const MAX_MODEL: usize = 64 << 20;

/// What training leaves: the model and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// The class of machines.
    pub class: String,
    /// Lives it was trained on.
    pub lives: u64,
    /// Figures of merit on lives held out, in steps.
    pub figures: BTreeMap<String, f64>,
    /// The model.
    pub model: RulModel,
}

impl Trained {
    /// As a file.
    ///
    /// # Errors
    /// Never for a model that training made.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        cbor::encode(self).map_err(|e| e.to_string())
    }

    /// From a file.
    ///
    /// # Errors
    /// If it is none, or its parts do not fit together.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let trained: Self =
            cbor::decode(bytes, MAX_MODEL).map_err(|e| format!("not a model of fettle-models train: {e}"))?;
        trained.model.check().map_err(|e| e.to_string())?;
        Ok(trained)
    }

    /// The release of it, not signed.
    ///
    /// # Errors
    /// Why no agent would take it.
    pub fn release(&self, name: &Name, version: u64, created: i64, note: &str) -> Result<Vec<u8>, String> {
        let draft = fettle_models::release::Draft {
            name: name.clone(),
            version,
            class: &self.class,
            created,
            base: None,
            lives: self.lives,
            figures: self.figures.clone(),
            note,
            model: &self.model,
        };
        draft.build().map_err(|e| e.to_string())
    }
}

/// Makes a key file that only its owner can read; never overwrites one.
///
/// # Errors
/// What the system says.
pub fn create_key(path: &Path) -> io::Result<Key> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", Hex(&secret))?;
    file.sync_all()?;
    Ok(Key::from(&SigningKey::from_bytes(&secret)))
}

/// Reads a key file.
///
/// # Errors
/// If it cannot be read or is none.
pub fn read_key(path: &Path) -> Result<SigningKey, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let mut secret = [0; 32];
    unhex(text.trim_end(), &mut secret).ok_or_else(|| {
        format!("{} does not hold 64 hexadecimal digits; fettle-models key makes one", path.display())
    })?;
    Ok(SigningKey::from_bytes(&secret))
}

/// Opens a release as an agent would, but for the machines it would be for.
///
/// # Errors
/// The reason in one word and for people.
pub fn verify(bytes: &[u8], keys: &[Key], floor: u64) -> Result<Hash, String> {
    open(bytes, &Policy { keys, floor: &|_| floor, fits: &|_, _| Ok(()) })
        .map(|release| release.hash)
        .map_err(|refusal| format!("refused, {}: {refusal}", refusal.reason()))
}

/// What a release says of itself, for people.
///
/// # Errors
/// If it is no release.
pub fn describe(bytes: &[u8]) -> Result<String, String> {
    let package = Package::read(bytes).map_err(|e| e.to_string())?;
    let m = &package.manifest;
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key:<12} {value}");
    };
    line("release", &format!("{} {}", m.name, m.version));
    line("hash", &package.hash.to_string());
    line("signed by", package.signed_by().unwrap_or("nobody"));
    line("class", &m.class);
    line("schema", &m.schema);
    line("created", &Rfc3339(m.created).to_string());
    if let Some(base) = &m.base {
        line("grown from", &base.to_string());
    }
    line("trained on", &format!("{} lives", m.lives));
    line("networks", &format!("{} of {} inputs, {} parameters in all", m.members, m.inputs, m.parameters));
    line("operators", &m.operators.join(", "));
    line("trees", &format!("weight {}", m.tree_weight));
    for (name, value) in &m.figures {
        line(name, &format!("{value:.4}"));
    }
    for part in &m.parts {
        line(&part.name, &format!("{} bytes, SHA-256 {}", part.bytes, part.sha256));
    }
    if !m.note.is_empty() {
        line("note", &m.note);
    }
    Ok(text)
}
