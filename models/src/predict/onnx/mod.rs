//! Networks as ONNX: the form in which they travel and in which a runtime takes them.
//!
//! Place in the flow: trainer -> [`write`] -> a release's part -> runtime ([`super::tract`]); and back, [`read`], when a
//! site goes on training what it was given. One graph holds all members of an ensemble:
//! `features` [1, n] -> per member Gemm, Relu, ..., Gemm -> Concat -> `remaining` [1, members]. Operators: Gemm, Relu, Concat.
//!
//! X1: bytes are deterministic, and [`read`] accepts exactly what [`write`] writes: it takes the initialisers, writes them
//! again and compares. So nothing in a file can mean more to the runtime than to us.
//! Format: onnx.proto (IR version 8, operator set 13) in the protobuf wire format.

mod protobuf;
pub mod survey;

use std::collections::BTreeMap;

use thiserror::Error;

use super::network::{Layer, Network, NetworkError};
use protobuf::{Field, Fields, Message};

/// Name of the graph's input.
pub const INPUT: &str = "features";
/// Name of its output.
pub const OUTPUT: &str = "remaining";
const IR_VERSION: u64 = 8;
const OPERATOR_SET: u64 = 13;
const FLOAT: u64 = 1;
/// Bytes of a file beyond which it is not looked at.
pub const MAX_BYTES: usize = 4 << 20;

/// Why bytes are not a network of ours.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum OnnxError {
    /// Longer than any of ours.
    #[error("the ONNX file has {0} bytes, at most {MAX_BYTES} are read")]
    TooLong(usize),
    /// Not protobuf.
    #[error("the ONNX file breaks off or is no protobuf message at byte {0}")]
    Broken(usize),
    /// A tensor's bytes and its shape contradict one another, or its name is none of ours.
    #[error("initializer {0:?} is not a tensor of a dense network of ours")]
    Tensor(String),
    /// The tensors are no network.
    #[error("the initializers of member {member}: {error}")]
    Network {
        /// Which member, from 0.
        member: usize,
        /// What is wrong.
        error: NetworkError,
    },
    /// The graph around the tensors differs from what we write.
    #[error("the graph is not the one that belongs to its initializers")]
    Graph,
}

/// The members of an ensemble as one ONNX model. They must be checked and take inputs of one width.
pub fn write(members: &[Network]) -> Vec<u8> {
    let mut model = Message::default();
    model.number(1, IR_VERSION);
    model.text(2, "fettle");
    model.message(7, &graph(members));
    let mut operators = Message::default();
    operators.text(1, "");
    operators.number(2, OPERATOR_SET);
    model.message(8, &operators);
    model.into_bytes()
}

fn graph(members: &[Network]) -> Message {
    let mut graph = Message::default();
    let single = members.len() == 1;
    let end = |m: usize| if single { OUTPUT.to_owned() } else { format!("m{m}") };
    for (m, network) in members.iter().enumerate() {
        let mut now = INPUT.to_owned();
        for l in 0..network.layers.len() {
            let last = l + 1 == network.layers.len();
            let (weight, bias) = (format!("m{m}.l{l}.weight"), format!("m{m}.l{l}.bias"));
            let sum = if last { end(m) } else { format!("m{m}.l{l}.sum") };
            graph.message(1, &node("Gemm", &[&now, &weight, &bias], &sum, &[("transB", 1)]));
            now = sum;
            if !last {
                let next = format!("m{m}.l{l}.out");
                graph.message(1, &node("Relu", &[&now], &next, &[]));
                now = next;
            }
        }
    }
    if !single {
        let ends: Vec<String> = (0..members.len()).map(end).collect();
        let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
        graph.message(1, &node("Concat", &ends, OUTPUT, &[("axis", 1)]));
    }
    graph.text(2, "remaining_useful_life");
    for (m, network) in members.iter().enumerate() {
        for (l, layer) in network.layers.iter().enumerate() {
            let (outputs, inputs) = (layer.outputs as u64, layer.inputs as u64);
            graph.message(5, &tensor(&format!("m{m}.l{l}.weight"), &[outputs, inputs], &layer.weights));
            graph.message(5, &tensor(&format!("m{m}.l{l}.bias"), &[outputs], &layer.biases));
        }
    }
    let inputs = members.first().map_or(0, Network::inputs);
    graph.message(11, &value(INPUT, inputs as u64));
    graph.message(12, &value(OUTPUT, members.len() as u64));
    graph
}

fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, u64)]) -> Message {
    let mut node = Message::default();
    inputs.iter().for_each(|input| node.text(1, input));
    node.text(2, output);
    node.text(3, output);
    node.text(4, operator);
    for (name, value) in attributes {
        let mut attribute = Message::default();
        attribute.text(1, name);
        attribute.number(3, *value);
        attribute.number(20, 2); // AttributeType::INT
        node.message(5, &attribute);
    }
    node
}

fn tensor(name: &str, shape: &[u64], numbers: &[f32]) -> Message {
    let mut tensor = Message::default();
    tensor.packed(1, shape);
    tensor.number(2, FLOAT);
    tensor.text(8, name);
    tensor.bytes(9, &numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    tensor
}

/// ValueInfoProto of a [1, n] tensor of f32.
fn value(name: &str, n: u64) -> Message {
    let mut shape = Message::default();
    for size in [1, n] {
        let mut dimension = Message::default();
        dimension.number(1, size);
        shape.message(1, &dimension);
    }
    let (mut tensor, mut kind, mut value) = (Message::default(), Message::default(), Message::default());
    tensor.number(1, FLOAT);
    tensor.message(2, &shape);
    kind.message(1, &tensor);
    value.text(1, name);
    value.message(2, &kind);
    value
}

/// The members from what [`write`] wrote. Memory and time are bounded by the bytes' length.
///
/// # Errors
/// What distinguishes the bytes from those we write.
pub fn read(bytes: &[u8]) -> Result<Vec<Network>, OnnxError> {
    if bytes.len() > MAX_BYTES {
        return Err(OnnxError::TooLong(bytes.len()));
    }
    let graph = field(bytes, 7)?.ok_or(OnnxError::Graph)?;
    let mut tensors = BTreeMap::new();
    for found in Fields::new(graph) {
        if let (5, Field::Bytes(tensor)) = found.map_err(OnnxError::Broken)? {
            let (place, tensor) = read_tensor(tensor)?;
            tensors.insert(place, tensor);
        }
    }
    let members = assemble(tensors)?;
    for (member, network) in members.iter().enumerate() {
        network.check().map_err(|error| OnnxError::Network { member, error })?;
    }
    if write(&members) == bytes { Ok(members) } else { Err(OnnxError::Graph) }
}

fn field(bytes: &[u8], wanted: u32) -> Result<Option<&[u8]>, OnnxError> {
    for found in Fields::new(bytes) {
        if let (number, Field::Bytes(inner)) = found.map_err(OnnxError::Broken)?
            && number == wanted
        {
            return Ok(Some(inner));
        }
    }
    Ok(None)
}

/// Member, layer, and 0 for weights or 1 for biases.
type Place = (usize, usize, u8);
/// Shape and numbers.
type Tensor = (Vec<u64>, Vec<f32>);

fn read_tensor(bytes: &[u8]) -> Result<(Place, Tensor), OnnxError> {
    let (mut name, mut shape, mut raw) = (String::new(), Vec::new(), &[][..]);
    for found in Fields::new(bytes) {
        match found.map_err(OnnxError::Broken)? {
            (1, Field::Bytes(packed)) => shape = protobuf::unpack(packed).map_err(OnnxError::Broken)?,
            (8, Field::Bytes(text)) => name = String::from_utf8_lossy(text).into_owned(),
            (9, Field::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let bad = || OnnxError::Tensor(name.chars().take(64).collect());
    let size = shape.iter().try_fold(4u64, |size, n| size.checked_mul(*n)).ok_or_else(bad)?;
    if size != raw.len() as u64 {
        return Err(bad());
    }
    let place = place(&name).ok_or_else(bad)?;
    let numbers = raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok((place, (shape, numbers)))
}

/// `m3.l0.weight` -> (3, 0, 0).
fn place(name: &str) -> Option<Place> {
    let mut parts = name.split('.');
    let member = parts.next()?.strip_prefix('m')?.parse().ok()?;
    let layer = parts.next()?.strip_prefix('l')?.parse().ok()?;
    let kind = match parts.next()? {
        "weight" => 0,
        "bias" => 1,
        _ => return None,
    };
    parts.next().is_none().then_some((member, layer, kind))
}

fn assemble(tensors: BTreeMap<Place, Tensor>) -> Result<Vec<Network>, OnnxError> {
    let mut members: Vec<Network> = Vec::new();
    let mut tensors = tensors.into_iter();
    // In order of member, layer, kind: weights and biases follow one another, none is left out.
    while let Some(((member, layer, 0), (shape, weights))) = tensors.next() {
        let Some((place, (_, biases))) = tensors.next() else { return Err(OnnxError::Graph) };
        if layer == 0 && member == members.len() {
            members.push(Network { layers: Vec::new() });
        }
        let count = members.len();
        let known = members
            .last_mut()
            .filter(|m| place == (member, layer, 1) && member + 1 == count && m.layers.len() == layer);
        let ([outputs, inputs], Some(network)) = (&shape[..], known) else { return Err(OnnxError::Graph) };
        network.layers.push(Layer { inputs: *inputs as usize, outputs: *outputs as usize, weights, biases });
    }
    if members.is_empty() { Err(OnnxError::Graph) } else { Ok(members) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::random_network;

    fn members(n: u64) -> Vec<Network> {
        (0..n).map(|seed| random_network(9, &[6, 4], seed)).collect()
    }

    #[test]
    fn what_is_written_is_read_to_the_bit_and_written_again_to_the_byte() {
        for n in [1, 3, 12] {
            let bytes = write(&members(n));
            assert_eq!(read(&bytes).as_ref(), Ok(&members(n)));
            assert_eq!(write(&read(&bytes).unwrap()), bytes);
        }
    }

    #[test]
    fn every_changed_byte_that_is_not_a_weight_and_every_cut_is_refused() {
        let bytes = write(&members(2));
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut same_graph = 0;
        for i in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[i] ^= 1;
            same_graph += u32::from(read(&changed).is_ok());
        }
        // Only the weights' own bytes may differ: 4 for each.
        let weights: usize = members(2).iter().map(Network::parameters).sum();
        assert_eq!(same_graph as usize, 4 * weights);
        assert_eq!(read(&vec![0; MAX_BYTES + 1]), Err(OnnxError::TooLong(MAX_BYTES + 1)));
    }

    #[test]
    fn a_shape_that_promises_more_than_is_there_is_refused_before_memory_is_taken() {
        let mut hostile = Message::default();
        let mut graph = Message::default();
        graph.message(5, &tensor("m0.l0.weight", &[u64::MAX, 8], &[]));
        hostile.message(7, &graph);
        assert_eq!(read(&hostile.into_bytes()), Err(OnnxError::Tensor("m0.l0.weight".into())));
    }
}
