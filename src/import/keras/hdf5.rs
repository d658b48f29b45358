//! Reads an untrusted HDF5 file. Only this module knows the reader crate.
//!
//! All datasets are listed once when the file is opened (bounded in count and depth), so the rest
//! of the importer looks weights up by path. Backslashes in names become slashes: Keras on Windows
//! wrote whole paths as one name (`layers\\conv2d`), so that the group `layers` itself is not in
//! the file. Source: keras-team/keras issue 18528.

use std::collections::{BTreeMap, BTreeSet};

use hdf5_reader::{Dataset, Datatype, Hdf5File, OpenOptions};

use crate::import::bytes::SourceBytes;
use crate::import::error::ImportError;
use crate::import::options::Limits;
use crate::import::weights::{Element, WeightSource};

/// Most groups and datasets of a file; EfficientNetV2L has about 5000.
const MAX_OBJECTS: usize = 200_000;
/// Deepest nesting of groups.
const MAX_DEPTH: usize = 64;
/// Most bytes of declared data for each byte of file, above a floor of 32 MiB. Keras does not
/// compress; this leaves room for files that were repacked with gzip.
const MAX_EXPANSION: u64 = 50;

struct Entry {
    dataset: Dataset,
    shape: Vec<usize>,
    element: Element,
}

/// An open HDF5 file.
pub(super) struct Hdf5Weights {
    file: Hdf5File,
    entries: BTreeMap<String, Entry>,
    /// Paths, and the names as stored; `None` for the parent of a name that contains a slash.
    groups: BTreeMap<String, Option<String>>,
}

impl Hdf5Weights {
    pub(super) fn open(bytes: SourceBytes, limits: &Limits) -> Result<Self, ImportError> {
        let file_bytes = bytes.as_ref().len() as u64;
        let options = OpenOptions::default()
            // Weights are read once, so a cache of decoded chunks would only take memory.
            .with_chunk_cache_bytes(0)
            .with_max_chunk_bytes(64 << 20)
            .with_max_object_header_bytes(8 << 20)
            .with_max_read_bytes(usize::try_from(limits.max_weight_bytes).unwrap_or(usize::MAX));
        let file = Hdf5File::from_owner(bytes, options).map_err(|e| error("the HDF5 file", &e))?;
        let mut opened = Self {
            file,
            entries: BTreeMap::new(),
            groups: BTreeMap::new(),
        };
        opened.list()?;
        opened.check_declared(file_bytes, limits)?;
        Ok(opened)
    }

    fn list(&mut self) -> Result<(), ImportError> {
        let root = self
            .file
            .root_group()
            .map_err(|e| error("the HDF5 root group", &e))?;
        let mut open = vec![(String::new(), String::new(), root, 0)];
        // Hard links can make a group its own ancestor; the walk would then never end.
        let mut seen = BTreeSet::new();
        while let Some((path, stored, group, depth)) = open.pop() {
            let place = match path.as_str() {
                "" => "the HDF5 root group".to_owned(),
                path => format!("HDF5 group `{path}`"),
            };
            if depth > MAX_DEPTH {
                return Err(refuse(
                    &place,
                    format!("groups are nested deeper than {MAX_DEPTH}"),
                ));
            }
            if !seen.insert(group.address()) {
                return Err(refuse(&place, "the same group is linked twice".into()));
            }
            let (groups, datasets) = group.members().map_err(|e| error(&place, &e))?;
            for (slash, _) in path.match_indices('/') {
                let parent = path[..slash].to_owned();
                self.groups.entry(parent).or_insert(None);
            }
            self.groups.insert(path.clone(), Some(stored.clone()));
            for dataset in datasets {
                let path = join(&path, &dataset.name().replace('\\', "/"));
                let place = format!("HDF5 dataset `{path}`");
                let shape = dataset
                    .shape()
                    .iter()
                    .map(|&d| usize::try_from(d).ok())
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(|| refuse(&place, "an extent is too large".into()))?;
                let element = element(&dataset);
                let entry = Entry {
                    dataset,
                    shape,
                    element,
                };
                if self.entries.insert(path, entry).is_some() {
                    return Err(refuse(&place, "two datasets have this name".into()));
                }
            }
            for child in groups {
                let name = child.name().to_owned();
                let path = join(&path, &name.replace('\\', "/"));
                open.push((path, join(&stored, &name), child, depth + 1));
            }
            if self.groups.len() + open.len() + self.entries.len() > MAX_OBJECTS {
                return Err(refuse(
                    "the HDF5 file",
                    format!("it has more than {MAX_OBJECTS} objects"),
                ));
            }
        }
        Ok(())
    }

    /// A dataset's extents are a claim. Together they must be in proportion to the file.
    fn check_declared(&self, file_bytes: u64, limits: &Limits) -> Result<(), ImportError> {
        let limit = limits
            .max_weight_bytes
            .saturating_mul(4)
            .min((32 << 20) + file_bytes.saturating_mul(MAX_EXPANSION));
        let mut total = 0u64;
        for (path, entry) in &self.entries {
            let elements = entry
                .shape
                .iter()
                .try_fold(1u64, |n, &d| n.checked_mul(d as u64))
                .unwrap_or(u64::MAX);
            total = total.saturating_add(elements.saturating_mul(4));
            if total > limit {
                return Err(ImportError::TooLarge {
                    what: format!("datasets up to `{path}`"),
                    got: total,
                    limit,
                });
            }
        }
        Ok(())
    }

    fn group_attribute(
        &self,
        group: &str,
        attribute: &str,
    ) -> Result<Option<Vec<String>>, ImportError> {
        let Some(Some(stored)) = self.groups.get(group) else {
            return Ok(None);
        };
        let place = format!("HDF5 attribute `{attribute}` of group `{group}`");
        let found = match stored.as_str() {
            "" => self.file.root_group(),
            name => self.file.group(name),
        }
        .and_then(|g| g.attributes())
        .map_err(|e| error(&place, &e))?
        .into_iter()
        .find(|a| a.name == attribute);
        let Some(found) = found else { return Ok(None) };
        if found.num_elements().map_err(|e| error(&place, &e))? == 0 {
            // Keras writes an empty list as an empty array of floats.
            return Ok(Some(Vec::new()));
        }
        let scalar = found.num_elements().is_ok_and(|n| n == 1);
        match found.read_strings() {
            Ok(strings) => Ok(Some(strings)),
            Err(_) if scalar => found
                .read_string()
                .map(|s| Some(vec![s]))
                .map_err(|e| error(&place, &e)),
            Err(e) => Err(error(&place, &e)),
        }
    }
}

impl Hdf5Weights {
    /// Paths of all arrays, in order.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Paths of the arrays below a group, in order.
    pub(super) fn paths_below(&self, group: &str) -> impl Iterator<Item = &str> {
        let from = format!("{group}/");
        let until = format!("{group}0"); // `0` comes after `/`.
        self.entries
            .range(from..until)
            .map(|(path, _)| path.as_str())
    }

    /// Whether the array has integers (counters, states of random generators).
    pub(super) fn is_integer(&self, path: &str) -> bool {
        self.entries
            .get(path)
            .is_some_and(|e| e.element == Element::Integer)
    }

    /// Whether there is a group with this name.
    pub(super) fn has_group(&self, path: &str) -> bool {
        self.groups.contains_key(path)
    }

    /// The strings of a text attribute of a group (`""` is the root); `None` if absent.
    pub(super) fn strings(
        &self,
        group: &str,
        attribute: &str,
    ) -> Result<Option<Vec<String>>, ImportError> {
        if let Some(strings) = self.group_attribute(group, attribute)? {
            return Ok(Some(strings));
        }
        // Above 64 KiB, Keras splits a list of names into `layer_names0`, `layer_names1`, ...
        let mut joined = Vec::new();
        let mut parts = 0;
        while let Some(part) = self.group_attribute(group, &format!("{attribute}{parts}"))? {
            joined.extend(part);
            parts += 1;
        }
        Ok((parts > 0).then_some(joined))
    }
}

impl WeightSource for Hdf5Weights {
    fn shape(&self, path: &str) -> Option<&[usize]> {
        self.entries.get(path).map(|e| e.shape.as_slice())
    }

    fn element(&self, path: &str) -> Option<Element> {
        self.entries.get(path).map(|e| e.element)
    }

    fn read(&self, path: &str, into: &mut [f32]) -> Result<(), ImportError> {
        let place = format!("HDF5 dataset `{path}`");
        let entry = self
            .entries
            .get(path)
            .ok_or_else(|| refuse(&place, "there is no such dataset".into()))?;
        let dataset = &entry.dataset;
        let fail = |e| error(&place, &e);
        match entry.element {
            Element::F32 => dataset.read_into::<f32>(into).map_err(fail),
            Element::F64 => {
                let values = dataset.read_array::<f64>().map_err(fail)?;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "weights are f32 from here on"
                )]
                fill(into, values.iter().map(|&v| v as f32), &place)
            }
            Element::F16 | Element::BF16 => {
                let bytes = dataset.read_native_bytes().map_err(fail)?;
                let (pairs, rest) = bytes.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err(refuse(&place, "half a number at the end".into()));
                }
                let half = entry.element == Element::F16;
                let decode = |b: &[u8; 2]| {
                    if half {
                        half::f16::from_ne_bytes(*b).to_f32()
                    } else {
                        half::bf16::from_ne_bytes(*b).to_f32()
                    }
                };
                fill(into, pairs.iter().map(decode), &place)
            }
            Element::Integer | Element::Other => Err(refuse(
                &place,
                "expected floating-point numbers of 16, 32 or 64 bits".into(),
            )),
        }
    }
}

fn fill(
    into: &mut [f32],
    values: impl ExactSizeIterator<Item = f32>,
    place: &str,
) -> Result<(), ImportError> {
    if values.len() != into.len() {
        return Err(refuse(
            place,
            format!("expected {} numbers, got {}", into.len(), values.len()),
        ));
    }
    for (to, value) in into.iter_mut().zip(values) {
        *to = value;
    }
    Ok(())
}

fn element(dataset: &Dataset) -> Element {
    match dataset.dtype() {
        Datatype::FloatingPoint { size: 2, .. } => Element::F16,
        Datatype::FloatingPoint { size: 4, .. } => Element::F32,
        Datatype::FloatingPoint { size: 8, .. } => Element::F64,
        Datatype::FixedPoint { .. } | Datatype::Bitfield { .. } | Datatype::Enum { .. } => {
            Element::Integer
        }
        // Keras stores bfloat16 as two opaque bytes, with an attribute that says so.
        Datatype::Opaque { size: 2, .. } if is_bfloat16(dataset) => Element::BF16,
        _ => Element::Other,
    }
}

fn is_bfloat16(dataset: &Dataset) -> bool {
    dataset
        .attribute("dtype")
        .and_then(|a| a.read_string())
        .is_ok_and(|text| text == "bfloat16")
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}/{name}")
    }
}

fn error(place: &str, source: &hdf5_reader::error::Error) -> ImportError {
    refuse(place, source.to_string())
}

fn refuse(place: &str, message: String) -> ImportError {
    ImportError::Hdf5 {
        place: place.to_owned(),
        message,
    }
}
