//! Owner, permissions and extended attributes, carried from the old file to the new one.

use std::ffi::OsStr;
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use xattr::FileExt as _;

use crate::FileError;

/// The access control list, as Linux stores it.
const ACL: &str = "system.posix_acl_access";
/// The answer of a file system without extended attributes.
const NOT_SUPPORTED: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();
/// The answer where a file does not have an attribute.
const NOT_THERE: i32 = rustix::io::Errno::NODATA.raw_os_error();

/// Gives the new file what the old one has, or fails.
pub(crate) fn keep(new: &File, path: &Path, before: &Metadata, widest: u32) -> Result<(), FileError> {
    let refused = |what| move |cause| FileError::Attributes { path: path.into(), what, cause };
    let now = new.metadata().map_err(refused("owner"))?;
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        fchown(new, Some(before.uid()), Some(before.gid())).map_err(refused("owner"))?;
    }
    // A new file inherits the access control list that its directory has for new files. The old one need not have it.
    remove_inherited_list(new).map_err(refused("access control list"))?;
    // After the owner: a change of owner clears the set-user-id bits.
    let mode = before.mode() & 0o7777 & widest;
    new.set_permissions(Permissions::from_mode(mode)).map_err(refused("mode"))?;
    copy_attributes(new, path, widest).map_err(refused("extended attributes"))
}

fn remove_inherited_list(new: &File) -> io::Result<()> {
    match new.remove_xattr(ACL) {
        Err(error) if matches!(error.raw_os_error(), Some(NOT_SUPPORTED | NOT_THERE)) => Ok(()),
        other => other,
    }
}

fn copy_attributes(new: &File, path: &Path, widest: u32) -> io::Result<()> {
    let names = match xattr::list(path) {
        Ok(names) => names,
        Err(error) if error.raw_os_error() == Some(NOT_SUPPORTED) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names.filter(|name| is_kept(name, widest)) {
        if let Some(value) = xattr::get(path, &name)? {
            new.set_xattr(&name, &value)?;
        }
    }
    Ok(())
}

/// User attributes and the access control list. The latter only where all permissions are kept: it could give more
/// than the widest mode. Labels of security modules come from their policy.
fn is_kept(name: &OsStr, widest: u32) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("user.") || (name == ACL && widest & 0o777 == 0o777)
}
