//! The versions of the peers, from the lock file that they were built with.

const LOCK: &str = include_str!("../Cargo.lock");

/// The libraries that do the work, ours first.
const SHOWN: [&str; 8] =
    ["envelope-core", "kms-provider", "aes-gcm", "asherah", "ring", "tink-core", "tink-aead", "aes"];

/// All of them with their versions, as a list for a sentence.
pub(crate) fn sentence() -> String {
    let versions: Vec<String> =
        SHOWN.iter().map(|name| format!("{name} {}", of(name).join(" and "))).collect();
    versions.join(", ")
}

/// Several where dependencies disagree: Tink has an older `aes-gcm` than ours.
fn of(name: &str) -> Vec<&'static str> {
    LOCK.split("[[package]]")
        .filter(|package| field(package, "name") == Some(name))
        .filter_map(|package| field(package, "version"))
        .collect()
}

fn field<'a>(package: &'a str, name: &str) -> Option<&'a str> {
    let value = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
    Some(value.trim_matches('"'))
}
