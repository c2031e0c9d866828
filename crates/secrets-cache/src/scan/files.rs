//! Which files a scan reads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::ScanError;

/// Longer files are no configuration.
const MAX_LEN: u64 = 4 << 20;

const SKIPPED_DIRECTORIES: [&str; 8] =
    [".git", ".hg", ".svn", "node_modules", "target", ".terraform", ".venv", "__pycache__"];

const CONFIGURATION: [&str; 12] =
    ["cfg", "conf", "config", "ini", "json", "properties", "sh", "tfvars", "toml", "xml", "yaml", "yml"];

/// The file itself, or the files below a directory, in a stable order.
pub(super) fn find(path: &Path) -> Result<Vec<PathBuf>, ScanError> {
    let failed = |cause| ScanError::Io { path: path.to_owned(), cause };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries: Vec<fs::DirEntry> =
        fs::read_dir(path).and_then(|entries| entries.collect::<io::Result<_>>()).map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut found = Vec::new();
    for entry in entries {
        let (kind, name) = (entry.file_type().map_err(failed)?, entry.file_name());
        if kind.is_dir() && !SKIPPED_DIRECTORIES.iter().any(|skipped| name == *skipped) {
            found.extend(find(&entry.path())?);
        } else if kind.is_file() && (is_env_like(&entry.path()) || is_configuration(&entry.path())) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// `.env`, `.env.production`, `service.env`, `.envrc`, and a copy such as `.env~`.
pub(super) fn is_env_like(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    name.starts_with(".env") || name.ends_with(".env") || name.contains(".env.") || name == "env"
}

/// The text of a file; none if it is not text, or too long to be configuration.
pub(super) fn read(path: &Path) -> Result<Option<String>, ScanError> {
    let failed = |cause| ScanError::Io { path: path.to_owned(), cause };
    if fs::metadata(path).map_err(failed)?.len() > MAX_LEN {
        return Ok(None);
    }
    let bytes = fs::read(path).map_err(failed)?;
    if bytes.contains(&0) {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn is_configuration(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    CONFIGURATION.contains(&extension.as_str())
}
