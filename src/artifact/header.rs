//! The header of an artifact: its JSON, its order, its alignment. `docs/artifact-format.md` is the
//! specification.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::error::{ArtifactError, ByteCount};
use super::model::{Manifest, Model};
use crate::graph::{Graph, Node, NodeId};
use crate::tensor::{ALIGNMENT, DType, Shape, Tensor};

/// Value of `dermal.format`.
pub const FORMAT_VERSION: &str = "1";

/// Largest header that is read. DenseNet201's (700 nodes) has half a megabyte; a hostile header of
/// this size costs about 150 MB while it is parsed.
pub const MAX_HEADER_BYTES: u64 = 8 << 20;

/// Most nodes in a stored graph: some ten times as many as the largest Keras application has.
/// Adding nodes to a graph is quadratic.
pub const MAX_NODES: usize = 16_384;

pub(super) const KEY_FORMAT: &str = "dermal.format";
pub(super) const KEY_GRAPH: &str = "dermal.graph";
pub(super) const KEY_MANIFEST: &str = "dermal.manifest";
/// Tensors that only fill the space up to the next boundary: safetensors allows no holes.
const FILLER: &str = "dermal.filler.";
const METADATA: &str = "__metadata__";
/// Bytes of the length that precedes the header.
pub(super) const LENGTH_BYTES: usize = 8;

/// Tags of the ops, as serialised. They distinguish an unknown op from a malformed one.
const OPS: [&str; 25] = [
    "input",
    "conv2d",
    "depthwise_conv2d",
    "dense",
    "scale_shift",
    "activation",
    "p_relu",
    "softmax",
    "binary",
    "concat",
    "pool2d",
    "global_pool",
    "pad",
    "crop",
    "reshape",
    "transpose",
    "resize",
    "mat_mul",
    "layer_normalization",
    "reduce",
    "slice",
    "gather",
    "constant",
    "quantize",
    "dequantize",
];

/// The graph without its tensors.
#[derive(Serialize)]
struct StoredGraph<'a> {
    name: &'a str,
    output: NodeId,
    nodes: &'a [Node],
}

#[derive(Deserialize)]
struct LoadedGraph {
    name: String,
    output: NodeId,
    nodes: Vec<Node>,
}

/// A piece of the data section, in file order.
pub(super) enum Piece<'a> {
    Tensor(&'a Tensor),
    Filler(usize),
}

/// Header bytes (including the length, padded to the alignment) and the pieces that follow.
pub(super) fn encode(model: &Model) -> Result<(Vec<u8>, Vec<Piece<'_>>), ArtifactError> {
    let graph = encode_graph(&model.graph)?;
    let manifest = to_json(KEY_MANIFEST, &model.manifest)?;
    let mut json = format!(
        "{{{}:{{{}:{},{}:{},{}:{}}}",
        quote(METADATA),
        quote(KEY_FORMAT),
        quote(FORMAT_VERSION),
        quote(KEY_GRAPH),
        quote(&graph),
        quote(KEY_MANIFEST),
        quote(&manifest),
    );
    let mut pieces = Vec::new();
    let mut offset = 0;
    let mut fillers = 0;
    let mut entry = |name: &str, dtype: &str, dims: &[usize], bytes: usize| {
        let end = offset + bytes;
        json.push(',');
        json.push_str(&quote(name));
        let tensor = format!(
            ":{{\"dtype\":\"{dtype}\",\"shape\":{dims:?},\"data_offsets\":[{offset},{end}]}}"
        );
        json.push_str(&tensor);
        offset = end;
        end % ALIGNMENT
    };
    let tensors = ordered_tensors(&model.graph)?;
    let last = tensors.len().saturating_sub(1);
    for (i, (name, tensor)) in tensors.into_iter().enumerate() {
        let rest = entry(
            name,
            dtype_name(tensor.dtype()),
            tensor.shape().dims(),
            tensor.bytes().len(),
        );
        pieces.push(Piece::Tensor(tensor));
        if rest != 0 && i != last {
            let bytes = ALIGNMENT - rest;
            entry(&format!("{FILLER}{fillers}"), "U8", &[bytes], bytes);
            pieces.push(Piece::Filler(bytes));
            fillers += 1;
        }
    }
    json.push('}');
    let mut header = json.into_bytes();
    let padded = (LENGTH_BYTES + header.len()).next_multiple_of(ALIGNMENT) - LENGTH_BYTES;
    header.resize(padded, b' ');
    if padded as u64 > MAX_HEADER_BYTES {
        return Err(ArtifactError::HeaderTooLarge { got: padded as u64 });
    }
    let mut bytes = (padded as u64).to_le_bytes().to_vec();
    bytes.append(&mut header);
    Ok((bytes, pieces))
}

/// The tensors that nodes read: whole multiples of the alignment first, then the rest, each in
/// the order in which the graph reads them, so that a first run reads the file from front to back.
fn ordered_tensors(graph: &Graph) -> Result<Vec<(&str, &Tensor)>, ArtifactError> {
    let mut seen = HashSet::new();
    let mut tensors = Vec::new();
    for name in graph.nodes().iter().flat_map(Node::tensors) {
        if !seen.insert(name) {
            continue;
        }
        if name == METADATA || name.starts_with(FILLER) {
            return Err(ArtifactError::ReservedName(name.to_owned()));
        }
        // A graph has every tensor that its nodes read, unless a caller removed it.
        if let Some(tensor) = graph.tensors.get(name) {
            tensors.push((name, tensor));
        }
    }
    tensors.sort_by_key(|(_, tensor)| !tensor.bytes().len().is_multiple_of(ALIGNMENT));
    Ok(tensors)
}

/// The graph's JSON. It is checked to read back as the same graph, because JSON has no infinity and
/// no NaN.
fn encode_graph(graph: &Graph) -> Result<String, ArtifactError> {
    let json = to_json(
        KEY_GRAPH,
        &StoredGraph {
            name: &graph.name,
            output: graph.output(),
            nodes: graph.nodes(),
        },
    )?;
    for node in graph.nodes() {
        let text = to_json(KEY_GRAPH, node)?;
        let same = serde_json::from_str::<Node>(&text).is_ok_and(|back| back == *node);
        if !same {
            return Err(ArtifactError::NotFinite {
                node: node.name.clone(),
            });
        }
    }
    Ok(json)
}

fn to_json<T: Serialize>(key: &'static str, value: &T) -> Result<String, ArtifactError> {
    serde_json::to_string(value).map_err(|source| ArtifactError::Metadata { key, source })
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::I32 => "I32",
        DType::I8 => "I8",
    }
}

fn dtype_of(name: &str) -> Option<DType> {
    [DType::F32, DType::F16, DType::BF16, DType::I32, DType::I8]
        .into_iter()
        .find(|&dtype| dtype_name(dtype) == name)
}

/// A parsed and checked header: the tensors and their places in the file.
pub(super) struct Header {
    pub(super) graph: DecodedGraph,
    pub(super) manifest: Manifest,
    pub(super) tensors: Vec<Entry>,
}

/// A graph without its tensors yet.
pub(super) struct DecodedGraph(LoadedGraph);

/// A tensor of the file; fillers are left out.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Shape,
    /// Bytes in the file.
    pub(super) range: std::ops::Range<usize>,
}

impl DecodedGraph {
    pub(super) fn with_tensors(
        self,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Graph, ArtifactError> {
        let LoadedGraph {
            name,
            output,
            nodes,
        } = self.0;
        Ok(Graph::from_parts(name, nodes, output, tensors)?)
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.0.nodes
    }
}

/// Parses the header of `file`, the whole file's bytes. No claimed size decides how much is
/// allocated.
pub(super) fn decode(file: &[u8]) -> Result<Header, ArtifactError> {
    let file_bytes = file.len() as u64;
    let Some(length) = file.first_chunk::<LENGTH_BYTES>() else {
        return Err(ArtifactError::TooShort { got: file_bytes });
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return Err(ArtifactError::HeaderTooLarge { got: length });
    }
    let data_start = LENGTH_BYTES as u64 + length;
    let header = usize::try_from(data_start)
        .ok()
        .and_then(|end| file.get(LENGTH_BYTES..end))
        .ok_or(ArtifactError::HeaderTruncated {
            expected: data_start,
            got: file_bytes,
        })?;
    let raw: RawHeader = serde_json::from_slice(header).map_err(ArtifactError::HeaderSyntax)?;
    let metadata = raw.metadata.unwrap_or_default().0;
    let version = metadata
        .get(KEY_FORMAT)
        .ok_or(ArtifactError::NotAnArtifact {
            tensors: raw.tensors.len(),
        })?;
    if version != FORMAT_VERSION {
        return Err(ArtifactError::Version {
            got: version.clone(),
        });
    }
    let text = |key: &'static str| metadata.get(key).ok_or(ArtifactError::MissingMetadata(key));
    let graph = decode_graph(text(KEY_GRAPH)?)?;
    let manifest =
        serde_json::from_str(text(KEY_MANIFEST)?).map_err(|source| ArtifactError::Metadata {
            key: KEY_MANIFEST,
            source,
        })?;
    let tensors = check_tensors(raw.tensors, data_start, file_bytes)?;
    Ok(Header {
        graph,
        manifest,
        tensors,
    })
}

fn decode_graph(json: &str) -> Result<DecodedGraph, ArtifactError> {
    #[derive(Deserialize)]
    struct Outline {
        nodes: Vec<OutlineNode>,
    }
    #[derive(Deserialize)]
    struct OutlineNode {
        name: String,
        op: String,
    }
    let malformed = |source| ArtifactError::Metadata {
        key: KEY_GRAPH,
        source,
    };
    let outline: Outline = serde_json::from_str(json).map_err(malformed)?;
    if outline.nodes.len() > MAX_NODES {
        return Err(ArtifactError::TooManyNodes {
            got: outline.nodes.len(),
        });
    }
    if let Some(node) = outline
        .nodes
        .into_iter()
        .find(|node| !OPS.contains(&node.op.as_str()))
    {
        return Err(ArtifactError::UnknownOp {
            node: node.name,
            op: node.op,
        });
    }
    serde_json::from_str(json)
        .map(DecodedGraph)
        .map_err(malformed)
}

/// Checks that the tensors fill the data section without holes, and that each starts on its
/// boundary and has the bytes that its shape needs.
fn check_tensors(
    mut raw: Vec<(String, RawTensor)>,
    data_start: u64,
    file_bytes: u64,
) -> Result<Vec<Entry>, ArtifactError> {
    raw.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let data_bytes = file_bytes - data_start;
    let mut tensors = Vec::with_capacity(raw.len());
    let mut expected = 0;
    for (name, tensor) in raw {
        let [start, end] = tensor.data_offsets;
        if start != expected || end < start {
            return Err(ArtifactError::Offsets {
                tensor: name,
                expected,
                start,
                end,
            });
        }
        let filler = name.starts_with(FILLER);
        let dtype = dtype_of(&tensor.dtype);
        let element = match dtype {
            Some(dtype) if !filler => dtype.bytes() as u64,
            None if filler && tensor.dtype == "U8" => 1,
            _ => {
                return Err(ArtifactError::DType {
                    tensor: name,
                    dtype: tensor.dtype,
                });
            }
        };
        let wanted = tensor
            .shape
            .iter()
            .try_fold(element, |bytes, &extent| bytes.checked_mul(extent));
        // If the product of a shape fits, its extents fit, or one of them is zero.
        let dims: Vec<_> = tensor
            .shape
            .iter()
            .map(|&extent| usize::try_from(extent).unwrap_or(usize::MAX))
            .collect();
        let shape = Shape::new(&dims);
        if wanted != Some(end - start) {
            return Err(ArtifactError::ByteCount {
                tensor: name,
                dtype: tensor.dtype,
                shape,
                expected: ByteCount(wanted),
                got: end - start,
            });
        }
        expected = end;
        if end > data_bytes {
            // Reported with the sum over all tensors below.
            continue;
        }
        let Some(dtype) = dtype.filter(|_| !filler) else {
            continue;
        };
        let offset = data_start + start;
        if !offset.is_multiple_of(ALIGNMENT as u64) {
            return Err(ArtifactError::Misaligned {
                tensor: name,
                offset,
            });
        }
        let (Ok(first), Ok(last)) = (usize::try_from(offset), usize::try_from(data_start + end))
        else {
            continue;
        };
        tensors.push(Entry {
            name,
            dtype,
            shape,
            range: first..last,
        });
    }
    if expected != data_bytes {
        return Err(ArtifactError::DataLength {
            expected,
            got: data_bytes,
        });
    }
    Ok(tensors)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The header's JSON. A map would hide repeated keys, and a file with repeated keys can show
/// different tensors to different readers.
struct RawHeader {
    metadata: Option<Metadata>,
    tensors: Vec<(String, RawTensor)>,
}

#[derive(Default)]
struct Metadata(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader {
                    metadata: None,
                    tensors: Vec::new(),
                };
                let mut seen = HashSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("key `{key}` is given twice")));
                    }
                    if key == METADATA {
                        header.metadata = Some(map.next_value()?);
                    } else {
                        header.tensors.push((key, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if entries.contains_key(&key) {
                        return Err(A::Error::custom(format!("key `{key}` is given twice")));
                    }
                    entries.insert(key, value);
                }
                Ok(Metadata(entries))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
