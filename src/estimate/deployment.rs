//! The server that is estimated and proved: `dermal serve` with its default settings, raised if the
//! load needs more.

use crate::artifact::{InputKind, Model};
use crate::memory::estimate::{Facts, estimate, worst};
use crate::readiness::verdict::Demand;
use crate::serve::{DEFAULT_JOBS, ExpectedRequests, MemorySettings, least_budget};

/// Defaults of `dermal serve`. A test compares them with its options.
const MAX_UPLOAD_BYTES: u64 = 10_000_000;
const QUEUE: u64 = 16;
/// Bytes of answers that the server caches.
pub const CACHE_BYTES: u64 = 4_000_000;

/// The settings of a server that can take this load.
#[must_use]
pub fn claims(facts: &Facts) -> MemorySettings {
    let photos = facts.load.photos_at_once;
    MemorySettings {
        cache_bytes: facts.load.cache_bytes,
        max_upload_bytes: MAX_UPLOAD_BYTES.max(facts.photo.file_bytes),
        // A server whose queue is three quarters full draws no heat maps.
        queue: QUEUE.max(photos.saturating_mul(4).div_ceil(3)),
        max_jobs: DEFAULT_JOBS as u64,
    }
}

/// The memory of the worst state of a load, and the budget that the server needs to admit it.
#[must_use]
pub fn demand(facts: &Facts) -> Demand {
    Demand::of(worst(&estimate(facts)), admission_bytes(facts))
}

/// The smallest budget with which the server admits the load. The server reserves memory before it
/// knows what a photo really needs, so this may be more than the load's own memory.
fn admission_bytes(facts: &Facts) -> u64 {
    let photo = &facts.photo;
    let requests = ExpectedRequests {
        count: facts.load.photos_at_once,
        body_bytes: photo.file_bytes,
        heat_maps: facts.load.gradcam.then_some([photo.width, photo.height]),
        decode_bytes: photo.decoded_bytes().saturating_add(photo.decoder_bytes()),
    };
    least_budget(&claims(facts), &requests)
}

/// The query that every request needs: zeros for each input that has neither a default nor a
/// mapping. The values do not change the memory.
#[must_use]
pub fn query(model: &Model) -> String {
    let mapping = model.manifest.fields.as_ref();
    let mapped = |name: &str| mapping.is_some_and(|m| m.inputs.iter().any(|i| i.name == name));
    let specs = model.manifest.inputs.iter().zip(model.graph.inputs());
    let needed = specs.filter(|(spec, _)| {
        matches!(spec.kind, InputKind::Vector { default: None }) && !mapped(&spec.name)
    });
    let options = needed.map(|(spec, (_, node))| {
        let zeros = vec!["0"; node.shape.len()].join(",");
        format!("input.{}={zeros}", encoded(&spec.name))
    });
    options.collect::<Vec<_>>().join("&")
}

/// Percent-encodes everything except unreserved characters (RFC 3986, 2.3).
fn encoded(name: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    name.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_settings_are_those_of_serve() {
        use clap::CommandFactory;
        let mut command = Cli::command();
        command.build();
        let serve = command.find_subcommand("serve").unwrap();
        for (option, value) in [("max_upload", "10MB"), ("queue", "16"), ("cache", "4MB")] {
            let argument = serve
                .get_arguments()
                .find(|a| a.get_id() == option)
                .unwrap();
            assert_eq!(argument.get_default_values(), [value], "{option}");
        }
        assert_eq!((MAX_UPLOAD_BYTES, CACHE_BYTES), (10_000_000, 4_000_000));
        assert_eq!(QUEUE, 16);
    }

    #[test]
    fn names_are_safe_in_an_address() {
        assert_eq!(encoded("patient.age_1"), "patient.age_1");
        assert_eq!(encoded("a b&c/\u{e9}"), "a%20b%26c%2F%C3%A9");
    }
}
