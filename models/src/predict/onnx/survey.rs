//! What an ONNX file asks of a runtime, read off its bytes before any runtime sees them.
//!
//! Place in the flow: a stranger's bytes -> [`survey`] -> a refusal that names what is wrong, or [`super::read`]. A file of
//! 146 bytes can ask for 32 GB (ConstantOfShape), one of 458 KB for a chain of 20,000 nodes; nothing here allocates by
//! what a number promises, and all of it costs time in proportion to the bytes.

use super::protobuf::{self, Field, Fields};
use super::{MAX_BYTES, OnnxError};

/// Operators a network of ours consists of.
pub const OPERATORS: [&str; 3] = ["Concat", "Gemm", "Relu"];
/// Nodes of a graph at most.
pub const MAX_NODES: usize = 256;
/// Bytes a tensor may take at most.
pub const MAX_TENSOR: u64 = 1 << 20;
/// TensorProto.DataLocation: in another file.
const EXTERNAL: u64 = 1;

/// Why a file is not handed on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Excess {
    /// The bytes are no graph at all.
    #[error(transparent)]
    Broken(#[from] OnnxError),
    /// An operator outside [`OPERATORS`].
    #[error("operator {0:?} is not one of Concat, Gemm, Relu")]
    Operator(String),
    /// Too many nodes.
    #[error("the graph has {0} nodes or more, at most {MAX_NODES} are run")]
    Nodes(usize),
    /// A tensor, input or output that is too large.
    #[error("{name:?} would take {bytes} bytes, at most {MAX_TENSOR} are given")]
    Tensor {
        /// Its name.
        name: String,
        /// What its shape asks for; saturated.
        bytes: u64,
    },
    /// Weights that lie in another file.
    #[error("initializer {0:?} lies in another file; a release carries its weights itself")]
    External(String),
    /// A weight that is no finite number.
    #[error("initializer {0:?} holds a number that is not finite")]
    NotFinite(String),
}

/// Looks through a file without running or keeping anything of it.
///
/// # Errors
/// The first thing that speaks against it.
pub fn survey(bytes: &[u8]) -> Result<(), Excess> {
    if bytes.len() > MAX_BYTES {
        return Err(OnnxError::TooLong(bytes.len()).into());
    }
    let graph = super::field(bytes, 7)?.ok_or(OnnxError::Graph)?;
    let mut nodes = 0;
    for found in Fields::new(graph) {
        match found.map_err(OnnxError::Broken)? {
            (1, Field::Bytes(node)) => {
                nodes += 1;
                if nodes > MAX_NODES {
                    return Err(Excess::Nodes(nodes));
                }
                operator(node)?;
            }
            (5, Field::Bytes(tensor)) => initializer(tensor)?,
            // Inputs, outputs, values in between.
            (11..=13, Field::Bytes(value)) => declared(value)?,
            // Sparse initializers: dense ones in disguise.
            (15, _) => return Err(OnnxError::Graph.into()),
            _ => {}
        }
    }
    Ok(())
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(64).collect()
}

fn operator(node: &[u8]) -> Result<(), Excess> {
    for found in Fields::new(node) {
        if let (4, Field::Bytes(name)) = found.map_err(OnnxError::Broken)?
            && !OPERATORS.iter().any(|known| known.as_bytes() == name)
        {
            return Err(Excess::Operator(shown(name)));
        }
    }
    Ok(())
}

fn initializer(tensor: &[u8]) -> Result<(), Excess> {
    let (mut name, mut elements, mut external, mut raw) = (String::new(), 1u64, false, &[][..]);
    for found in Fields::new(tensor) {
        match found.map_err(OnnxError::Broken)? {
            (1, Field::Bytes(packed)) => {
                let shape = protobuf::unpack(packed).map_err(OnnxError::Broken)?;
                elements = shape.iter().fold(elements, |size, n| size.saturating_mul(*n));
            }
            (1, Field::Number(n)) => elements = elements.saturating_mul(n),
            (8, Field::Bytes(text)) => name = shown(text),
            (9, Field::Bytes(bytes)) => raw = bytes,
            (13, _) | (14, Field::Number(EXTERNAL)) => external = true,
            _ => {}
        }
    }
    if external {
        return Err(Excess::External(name));
    }
    bounded(&name, elements)?;
    let finite = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite();
    if raw.chunks_exact(4).all(finite) { Ok(()) } else { Err(Excess::NotFinite(name)) }
}

/// A ValueInfoProto: name 1, type 2 -> tensor_type 1 -> shape 2 -> dim 1 -> dim_value 1.
fn declared(value: &[u8]) -> Result<(), Excess> {
    let name = super::field(value, 1)?.map_or_else(String::new, shown);
    let mut elements = 1u64;
    let inner = |bytes, number| super::field(bytes, number);
    let shape = match inner(value, 2)? {
        None => None,
        Some(kind) => match inner(kind, 1)? {
            None => None,
            Some(tensor) => inner(tensor, 2)?,
        },
    };
    for found in Fields::new(shape.unwrap_or_default()) {
        if let (1, Field::Bytes(dimension)) = found.map_err(OnnxError::Broken)? {
            for found in Fields::new(dimension) {
                if let (1, Field::Number(n)) = found.map_err(OnnxError::Broken)? {
                    elements = elements.saturating_mul(n);
                }
            }
        }
    }
    bounded(&name, elements)
}

fn bounded(name: &str, elements: u64) -> Result<(), Excess> {
    match elements.saturating_mul(4) {
        bytes if bytes > MAX_TENSOR => Err(Excess::Tensor { name: name.to_owned(), bytes }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::Message;
    use super::super::{node, tensor, value, write};
    use super::*;
    use crate::train::random_network;

    fn model(build: impl FnOnce(&mut Message)) -> Vec<u8> {
        let (mut model, mut graph) = (Message::default(), Message::default());
        build(&mut graph);
        model.message(7, &graph);
        model.into_bytes()
    }

    #[test]
    fn what_we_write_passes() {
        let members: Vec<_> = (0..5).map(|seed| random_network(85, &[64, 32], seed)).collect();
        assert_eq!(survey(&write(&members)), Ok(()));
    }

    #[test]
    fn each_excess_is_named_before_anything_is_allocated() {
        let huge = model(|g| g.message(1, &node("ConstantOfShape", &["shape"], "out", &[])));
        assert!(huge.len() < 146);
        assert_eq!(survey(&huge), Err(Excess::Operator("ConstantOfShape".into())));
        let chain = model(|g| (0..20_000).for_each(|_| g.message(1, &node("Relu", &["a"], "b", &[]))));
        assert_eq!(survey(&chain), Err(Excess::Nodes(MAX_NODES + 1)));
        let wide = model(|g| g.message(5, &tensor("w", &[1 << 20, 1 << 20], &[])));
        assert_eq!(survey(&wide), Err(Excess::Tensor { name: "w".into(), bytes: 1 << 42 }));
        let input = model(|g| g.message(11, &value("features", u64::MAX)));
        assert!(matches!(survey(&input), Err(Excess::Tensor { .. })));
        let nan = model(|g| g.message(5, &tensor("w", &[1], &[f32::NAN])));
        assert_eq!(survey(&nan), Err(Excess::NotFinite("w".into())));
        let external = model(|g| {
            let mut t = tensor("w", &[1], &[]);
            t.number(14, EXTERNAL);
            g.message(5, &t);
        });
        assert_eq!(survey(&external), Err(Excess::External("w".into())));
        assert!(matches!(survey(&[7; 9]), Err(Excess::Broken(_))));
    }
}
