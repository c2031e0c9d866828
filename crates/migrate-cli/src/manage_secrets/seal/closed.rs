//! Whether a program has a file open for writing, as `/proc` shows it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The bits of the flags in `/proc/<pid>/fdinfo/<fd>` that say how a file is open; 0 is for reading only (open(2)).
const ACCESS_MODE: u32 = 0o3;

/// A file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// The files that programs have open for writing, as far as this user may see: the programs of the same user, or all
/// for root.
///
/// # Errors
/// `/proc` cannot be read: then no file counts as closed.
pub(super) fn written_to() -> io::Result<Vec<FileId>> {
    let mut open = Vec::new();
    for process in fs::read_dir("/proc")? {
        let process = process?.path();
        let is_process = process.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit());
        if is_process {
            add_of_process(&process, &mut open);
        }
    }
    Ok(open)
}

/// A process that has ended meanwhile has nothing open, and one of another user cannot be asked.
fn add_of_process(process: &Path, open: &mut Vec<FileId>) {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return;
    };
    for descriptor in descriptors.flatten() {
        let info = process.join("fdinfo").join(descriptor.file_name());
        let Ok(file) = fs::metadata(descriptor.path()) else {
            continue;
        };
        if file.is_file() && fs::read_to_string(info).is_ok_and(|info| is_for_writing(&info)) {
            open.push(FileId::of(&file));
        }
    }
}

fn is_for_writing(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    // What cannot be read counts as open.
    flags.is_none_or(|flags| flags & ACCESS_MODE != 0)
}
