//! The keyring's file as the operating system sees it: who may read it, and writes that are whole or not at all.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::error::KeyringError;

/// Largest file that is read, in bytes: room for some ten thousand keys.
const MAX_FILE_LEN: u64 = 4 << 20;

/// Identifies a version of the file: replacing a file always makes a new one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([i128; 4]);

/// Reads the whole file.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, Stamp), KeyringError> {
    let file = File::open(path).map_err(|error| missing_or("open", path, error))?;
    let metadata = file.metadata().map_err(KeyringError::io("inspect", path))?;
    owner::refuse_exposed(path, &metadata)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes).map_err(KeyringError::io("read", path))?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        return Err(KeyringError::NotAKeyring { path: path.into(), line: 1, column: 1 });
    }
    Ok((bytes, owner::stamp(&metadata)))
}

/// Looks at the file without reading it.
pub(super) fn stamp(path: &Path) -> Result<Stamp, KeyringError> {
    fs::metadata(path)
        .map(|metadata| owner::stamp(&metadata))
        .map_err(|error| missing_or("inspect", path, error))
}

/// Waits until no other process writes, and keeps others from writing until the file handle is dropped.
///
/// The lock is on a file next to the keyring, which stays: the keyring itself is replaced, and a lock on it would be
/// a lock on the old file. Reading needs no lock, because every version that can be seen is whole. The lock
/// file belongs to the owner of the keyring, regardless of its creator, and no link is followed to it.
pub(super) fn lock(path: &Path) -> Result<File, KeyringError> {
    let beside = with_suffix(path, ".lock");
    let mut options = OpenOptions::new();
    let options = owner::refuse_links(owner::private(options.write(true).create(true)));
    let file = options.open(&beside).map_err(KeyringError::io("open the lock of", path))?;
    owner::share_lock(&file, path).map_err(KeyringError::io("keep the owner of the lock of", path))?;
    file.lock().map_err(KeyringError::io("lock", path))?;
    Ok(file)
}

/// Makes the file, or replaces it, in one step: a crash leaves the old version or the new one. Needs the lock.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<Stamp, KeyringError> {
    // One name, so that the next writer replaces the file that a killed process left.
    let temporary = with_suffix(path, ".tmp");
    let result = write_then_rename(path, &temporary, bytes);
    if result.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// The file that a path leads to, through links, so that a link stays one when its target is replaced.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, KeyringError> {
    fs::canonicalize(path).map_err(|error| missing_or("find", path, error))
}

fn write_then_rename(path: &Path, temporary: &Path, bytes: &[u8]) -> Result<Stamp, KeyringError> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(KeyringError::io("remove the leftover of", path)(error));
        }
        _ => {}
    }
    let open = owner::private(OpenOptions::new().write(true).create_new(true)).open(temporary);
    let mut file = open.map_err(KeyringError::io("create", path))?;
    if let Ok(before) = fs::metadata(path) {
        owner::keep(&file, &before).map_err(KeyringError::io("keep the owner of", path))?;
    }
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(KeyringError::io("write", path))?;
    let stamp =
        file.metadata().map(|metadata| owner::stamp(&metadata)).map_err(KeyringError::io("inspect", path))?;
    fs::rename(temporary, path).map_err(KeyringError::io("replace", path))?;
    sync_directory(path).map_err(KeyringError::io("sync the directory of", path))?;
    Ok(stamp)
}

/// Makes the new name last: without it, a power cut may bring the old file back.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if cfg!(unix) { File::open(parent.unwrap_or(Path::new(".")))?.sync_all() } else { Ok(()) }
}

fn missing_or(action: &'static str, path: &Path, error: io::Error) -> KeyringError {
    match error.kind() {
        io::ErrorKind::NotFound => KeyringError::Missing { path: path.into() },
        _ => KeyringError::io(action, path)(error),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(unix)]
mod owner {
    //! Owner and permissions on Unix.

    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};

    use rustix::fs::OFlags;

    use super::*;

    /// The owner may do everything, the group may read: more is more than a key file needs.
    const WIDEST: u32 = 0o640;

    pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
        options.mode(0o600)
    }

    /// Neither follows a link nor waits at a pipe.
    pub(super) fn refuse_links(options: &mut OpenOptions) -> &mut OpenOptions {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
    }

    /// Gives the lock to the owner of the keyring, or of its directory while there is none: a lock that root has made
    /// would lock a service out.
    pub(super) fn share_lock(lock: &File, keyring: &Path) -> io::Result<()> {
        let parent = keyring.parent().filter(|parent| !parent.as_os_str().is_empty());
        let wanted = fs::metadata(keyring).or_else(|_| fs::metadata(parent.unwrap_or(Path::new("."))))?;
        let now = lock.metadata()?;
        if now.uid() == wanted.uid() || now.uid() != rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        match fchown(lock, Some(wanted.uid()), Some(wanted.gid())) {
            // Only root can change a file's owner; for any other user the lock stays as it was.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            outcome => outcome,
        }
    }

    pub(super) fn refuse_exposed(path: &Path, metadata: &Metadata) -> Result<(), KeyringError> {
        let mode = metadata.mode() & 0o777;
        if mode & 0o027 != 0 {
            return Err(KeyringError::Exposed { path: path.into(), mode });
        }
        Ok(())
    }

    /// Gives the new file the old one's owner, so that an operator who rotates as root does not make the file
    /// unreadable for a service.
    pub(super) fn keep(file: &File, before: &Metadata) -> io::Result<()> {
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            fchown(file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(0o600 | (before.mode() & WIDEST)))
    }

    pub(super) fn stamp(metadata: &Metadata) -> Stamp {
        let modified = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Stamp([metadata.dev().into(), metadata.ino().into(), modified, metadata.len().into()])
    }
}

#[cfg(not(unix))]
mod owner {
    //! Elsewhere the directory's own permissions have to do.

    use std::time::UNIX_EPOCH;

    use super::*;

    pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
        options
    }

    pub(super) fn refuse_links(options: &mut OpenOptions) -> &mut OpenOptions {
        options
    }

    pub(super) fn share_lock(_: &File, _: &Path) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn refuse_exposed(_: &Path, _: &Metadata) -> Result<(), KeyringError> {
        Ok(())
    }

    pub(super) fn keep(_: &File, _: &Metadata) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn stamp(metadata: &Metadata) -> Stamp {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified = modified.and_then(|age| i128::try_from(age.as_nanos()).ok()).unwrap_or(0);
        Stamp([0, 0, modified, metadata.len().into()])
    }
}
