//! Where test servers are installed and run.

use std::fs::{self, File};
use std::path::PathBuf;

use crate::availability::Unavailable;

/// The directory below the build directory that holds a tool, kept between runs.
pub(crate) fn tool_dir(name: &str) -> PathBuf {
    target_dir().join("test-parts").join(name)
}

/// A lock on a tool's installation, held until dropped, so that two processes do not install it at once.
pub(crate) fn installation_lock(name: &str) -> Result<File, Unavailable> {
    let directory = target_dir().join("test-parts");
    let path = directory.join(format!("{name}.lock"));
    fs::create_dir_all(&directory)
        .and_then(|()| File::create(&path))
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| Unavailable::while_doing(&format!("cannot lock {}", path.display()), error))
}

fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")), PathBuf::from)
}
