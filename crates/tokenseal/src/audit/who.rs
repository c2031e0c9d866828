//! The operator, where no one says who it is: the user of the process and the host.

use std::fs;

/// `user@host`: the name of the process's real user, or its number where it has none, and the name of the host.
#[must_use]
pub fn user_and_host() -> String {
    let id = rustix::process::getuid().as_raw();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = users.lines().find_map(|line| name_of(line, id));
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    format!("{}@{host}", user.map_or_else(|| format!("uid {id}"), ToOwned::to_owned))
}

/// The name in a line of passwd(5), if it is the line of this user.
fn name_of(line: &str, id: u32) -> Option<&str> {
    let mut parts = line.split(':');
    let (name, _, number) = (parts.next()?, parts.next()?, parts.next()?);
    (number.parse() == Ok(id) && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn a_user_is_found_by_its_number() {
        assert_eq!(name_of("root:x:0:0:root:/root:/bin/sh", 0), Some("root"));
        assert_eq!(name_of("root:x:0:0:root:/root:/bin/sh", 1), None);
        assert_eq!(name_of("", 0), None);
        assert_eq!(name_of(":x:0", 0), None);
    }
}
