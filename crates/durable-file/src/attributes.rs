//! Owner, permissions and extended attributes, carried from the old file to the new one.

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

/// Gives the new file the attributes of the old one, or fails.
pub(crate) fn keep(new: &File, path: &Path, before: &Metadata, widest: u32) -> Result<(), FileError> {
    let refused = |what| move |cause| FileError::Attributes { path: path.into(), what, cause };
    let now = new.metadata().map_err(refused("owner"))?;
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        fchown(new, Some(before.uid()), Some(before.gid())).map_err(refused("owner"))?;
    }
    // A new file inherits the access control list that its directory has for new files. The old one need not have it.
    remove_inherited_list(new).map_err(refused("access control list"))?;
    // Before the mode, which may forbid the owner to write: then no user attribute can be set any more.
    copy_attributes(new, path, |name| name.starts_with("user.")).map_err(refused("extended attributes"))?;
    // After the owner: a change of owner clears the set-user-id bits.
    let mode = before.mode() & 0o7777 & widest;
    new.set_permissions(Permissions::from_mode(mode)).map_err(refused("mode"))?;
    // Only where all permissions are kept: the list could give more than the widest mode.
    let keeps_list = widest & 0o777 == 0o777;
    copy_attributes(new, path, |name| name == ACL && keeps_list).map_err(refused("access control list"))
}

fn remove_inherited_list(new: &File) -> io::Result<()> {
    match new.remove_xattr(ACL) {
        Err(error) if matches!(error.raw_os_error(), Some(NOT_SUPPORTED | NOT_THERE)) => Ok(()),
        other => other,
    }
}

/// Copies some attributes. Labels of security modules are never among them: they come from their policy.
fn copy_attributes(new: &File, path: &Path, is_kept: impl Fn(&str) -> bool) -> io::Result<()> {
    let names = match xattr::list(path) {
        Ok(names) => names,
        Err(error) if error.raw_os_error() == Some(NOT_SUPPORTED) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names.filter(|name| is_kept(&name.to_string_lossy())) {
        if let Some(value) = xattr::get(path, &name)? {
            new.set_xattr(&name, &value)?;
        }
    }
    Ok(())
}
