//! Why a release is not taken. One reason each, in the words of metrics and records.

use super::Hash;
use crate::predict::learned::ModelError;
use crate::predict::onnx::OnnxError;
use crate::predict::onnx::survey::Excess;

/// Why a release is not taken. None of them goes away by trying the same bytes again.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// More bytes than any release has.
    #[error("the file has {found} bytes, at most {most} are read")]
    TooLarge {
        /// What came.
        found: usize,
        /// The bound.
        most: usize,
    },
    /// Not a release, or one that breaks off.
    #[error("this is no release file: {0}")]
    Malformed(String),
    /// Nobody signed it.
    #[error("the release is not signed; sign it with fettle-models sign")]
    Unsigned,
    /// Signed by a key that is not trusted here.
    #[error(
        "the release is signed by key {0}, which is not among the trusted ones; add its public key if it should be"
    )]
    UnknownKey(String),
    /// The signature does not belong to the content.
    #[error("the signature by key {0} does not fit; the file was changed after it was signed")]
    WrongSignature(String),
    /// A part is not the one that the manifest names.
    #[error("part {0} is missing or not the one that was signed")]
    PartHash(String),
    /// Older than allowed.
    #[error("version {found} is below the floor of {floor}")]
    BelowFloor {
        /// Its version.
        found: u64,
        /// The least that is taken.
        floor: u64,
    },
    /// Its features are not those that are made here.
    #[error("its features do not fit: {0}")]
    Schema(String),
    /// An operator that we do not run.
    #[error("{0}")]
    Operator(Excess),
    /// Too many nodes.
    #[error("{0}")]
    TooManyNodes(Excess),
    /// A tensor too large.
    #[error("{0}")]
    TensorTooLarge(Excess),
    /// Weights in another file.
    #[error("{0}")]
    ExternalData(Excess),
    /// A weight that is no number.
    #[error("{0}")]
    NotFinite(Excess),
    /// A graph that means something else to a runtime than to us.
    #[error("network.onnx: {0}")]
    Graph(OnnxError),
    /// Parts that contradict one another.
    #[error("the parts do not fit together: {0}")]
    Parts(ModelError),
    /// The manifest describes something else than the parts.
    #[error("the manifest says {what} is {said}, the parts say {found}")]
    Manifest {
        /// Which field.
        what: &'static str,
        /// What it says.
        said: String,
        /// What is there.
        found: String,
    },
    /// The runtime does not take it.
    #[error("the runtime does not take the network: {0}")]
    Runtime(String),
    /// It does not say here what it said where it was made.
    #[error("golden step {step}: {found} here, {expected} where it was made")]
    Golden {
        /// Which step, from 0.
        step: usize,
        /// What is said here.
        found: String,
        /// What should be said.
        expected: String,
    },
    /// The process that tried it died or did not come back.
    #[error("the process that tried the release {0}; it is not taken")]
    Trial(String),
    /// Another file under the same name and version is known.
    #[error("release {name} version {version} is known with another content, {known}")]
    Conflict {
        /// Name.
        name: String,
        /// Version.
        version: u64,
        /// Hash of the known one.
        known: Hash,
    },
    /// There is no room for it.
    #[error("the release has {found} bytes, {most} may be kept; raise [releases] max_bytes or retire another")]
    NoRoom {
        /// Its bytes.
        found: u64,
        /// The bound.
        most: u64,
    },
}

impl Refusal {
    /// The reason in metrics and records.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) => "malformed",
            Self::Unsigned => "unsigned",
            Self::UnknownKey(_) => "unknown_key",
            Self::WrongSignature(_) => "wrong_signature",
            Self::PartHash(_) => "part_hash",
            Self::BelowFloor { .. } => "below_floor",
            Self::Schema(_) => "schema",
            Self::Operator(_) => "operator",
            Self::TooManyNodes(_) => "too_many_nodes",
            Self::TensorTooLarge(_) => "tensor_too_large",
            Self::ExternalData(_) => "external_data",
            Self::NotFinite(_) => "not_finite",
            Self::Graph(_) => "graph",
            Self::Parts(_) => "parts",
            Self::Manifest { .. } => "manifest",
            Self::Runtime(_) => "runtime",
            Self::Golden { .. } => "golden",
            Self::Trial(_) => "trial",
            Self::Conflict { .. } => "conflict",
            Self::NoRoom { .. } => "no_room",
        }
    }
}

impl From<Excess> for Refusal {
    fn from(excess: Excess) -> Self {
        match excess {
            Excess::Broken(error) => Self::Graph(error),
            Excess::Operator(_) => Self::Operator(excess),
            Excess::Nodes(_) => Self::TooManyNodes(excess),
            Excess::Tensor { .. } => Self::TensorTooLarge(excess),
            Excess::External(_) => Self::ExternalData(excess),
            Excess::NotFinite(_) => Self::NotFinite(excess),
        }
    }
}
