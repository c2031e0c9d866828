//! Settings whose name and value are two members of a list's entry: `name: DB_PASSWORD` and `value: …` of Kubernetes, task
//! definitions of ECS, and their like.

use std::sync::LazyLock;

use regex::Regex;

use super::settings::{Hit, Kind, hit_of, unquoted};

// The patterns are constants; a test checks that they compile.
static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i:^|[\s{,"'-])(?i:name|key)["']?\s*[:=]\s*["']?(?P<name>[A-Za-z_][\w.-]*)"#).ok()
});
static VALUE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i:^|[\s{,"'-])(?i:value)["']?\s*[:=]\s*(?P<value>"[^"]*"|'[^']*'|[^\s,}"']+)"#).ok()
});

/// The setting whose value is in a line, and whose name is in the same line, the one before it or the one after it.
pub(super) fn find<'a>(lines: &[&'a str], at: usize, kind: Kind) -> Option<Hit<'a>> {
    let value = VALUE.as_ref()?.captures(lines[at])?.name("value")?.as_str();
    if kind == Kind::Code && !value.starts_with(['"', '\'']) {
        return None;
    }
    let name_in = |line: &&'a str| Some(NAME.as_ref()?.captures(line)?.name("name")?.as_str());
    let around = [Some(at), at.checked_sub(1), at.checked_add(1)].into_iter().flatten();
    let name = around.filter_map(|line| lines.get(line)).find_map(name_in)?;
    hit_of(name, unquoted(value), kind.strictness())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert!(NAME.is_some() && VALUE.is_some());
    }
}
