//! Models and photos that are not in the repository: they are found, or the test says that it was
//! skipped.

#![allow(clippy::print_stderr, reason = "skips are for people")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are configured by environment variables"
)]

use std::path::PathBuf;

use super::repo;

/// A fetched or built model. If it must exist and does not, the test fails.
pub(crate) fn cached_model(name: &str) -> Option<PathBuf> {
    let folder =
        std::env::var_os("DERMAL_MODEL_CACHE").map_or_else(|| repo(".cache/models"), PathBuf::from);
    let path = folder.join(name);
    if path.is_file() {
        return Some(path);
    }
    let required = std::env::var_os("DERMAL_REQUIRE_REAL_MODELS").is_some_and(|v| v == "1");
    assert!(
        !required,
        "{} is absent, and DERMAL_REQUIRE_REAL_MODELS=1",
        path.display()
    );
    eprintln!(
        "\n*** SKIPPED: {} is absent; scripts/check.sh fetches it ***\n",
        path.display()
    );
    None
}

/// A file or folder of data that may not be committed, so no run can require it.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("DERMAL_SHARED_DATA")
        .map_or_else(|| repo("../shared/data"), PathBuf::from);
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!(
        "\n*** SKIPPED: {} is absent; set DERMAL_SHARED_DATA ***\n",
        path.display()
    );
    None
}
