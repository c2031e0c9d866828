//! Settings in lines of any configuration format or language: a name, and the value that it has.

use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use super::values::{Strictness, by_name_or_randomness};

/// A setting whose value looks like a secret.
pub(super) struct Hit<'a> {
    pub(super) rule: &'static str,
    pub(super) name: &'a str,
    pub(super) value: &'a str,
}

/// How the lines of a file are read, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `.env` and the like, and histories of shells.
    Env,
    /// `.netrc`: names and values are words.
    Netrc,
    /// `.pgpass`: five fields, the last of which is the password.
    Pgpass,
    /// YAML, INI, properties and the like: a value needs no quotes.
    Configuration,
    /// The same, with the instructions of a Dockerfile.
    Dockerfile,
    /// A script of a shell.
    Script,
    /// Anything else: a value is quoted.
    Code,
}

const CONFIGURATION: [&str; 17] = [
    "cfg",
    "cnf",
    "conf",
    "config",
    "credentials",
    "ini",
    "json",
    "kubeconfig",
    "npmrc",
    "properties",
    "pypirc",
    "tfstate",
    "tfvars",
    "toml",
    "xml",
    "yaml",
    "yml",
];

/// Extensions of scripts, and the names of files that shells run as they start.
const SHELLS: [&str; 12] = [
    "bash",
    "bash_profile",
    "bashrc",
    "command",
    "fish",
    "ksh",
    "profile",
    "sh",
    "zprofile",
    "zsh",
    "zshenv",
    "zshrc",
];

// The patterns are constants; a test checks that they compile.
static ASSIGNMENT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"^\s*(?:[-*]\s+)?(?i:(?:export|set|setx|declare|typeset|readonly|local|env|arg|const|let|var|final|static|public|private|string|char|\$env:)[\s:]+|-[a-z]+\s+)*["'$@]*(?P<name>[A-Za-z_][\w.-]*)["']?\]?\s*(?::\s*(?:str|String|string)\s*=|:=|=>|[=:])\s*(?P<value>.*)$"#,
    )
    .ok()
});
/// An assignment anywhere in a line of a shell, such as `cd x && NAME=value program`.
static OF_SHELL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?:^|[\s;(|]|&&)(?P<name>[A-Za-z_]\w*)=(?P<value>"[^"]*"|'[^']*'|\$\{\{.*?\}\}|\$\{[^}]*\}|\$\([^)]*\)|`[^`]*`|[^\s;&|)'"]+)"#).ok()
});
/// The form of ENV in a Dockerfile that has no equals sign.
static OF_DOCKER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\s*(?i:ENV)\s+(?P<name>[A-Za-z_]\w*)\s+(?P<value>[^\s=].*)$").ok());
static MEMBER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"["'](?P<name>[A-Za-z_][\w.-]*)["']\s*:\s*"(?P<value>[^"\\]{4,})""#).ok());
static NETRC: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:^|\s)(?P<name>password)\s+(?P<value>\S+)").ok());
static QUOTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"^(?:[A-Za-z]{0,2})(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|`(?P<tick>[^`]*)`)"#).ok()
});

impl Kind {
    pub(super) fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let extension = name.rsplit_once('.').map(|(_, extension)| extension).unwrap_or(&name);
        match name.as_str() {
            ".netrc" | "_netrc" => Self::Netrc,
            ".pgpass" | "pgpass.conf" => Self::Pgpass,
            _ if is_env_like(&name) || name.ends_with("_history") => Self::Env,
            "dockerfile" | "containerfile" => Self::Dockerfile,
            _ if name.starts_with("dockerfile.") || extension == "dockerfile" => Self::Dockerfile,
            _ if CONFIGURATION.contains(&extension) => Self::Configuration,
            _ if SHELLS.contains(&extension) => Self::Script,
            _ => Self::Code,
        }
    }

    pub(super) fn strictness(self) -> Strictness {
        match self {
            Self::Env | Self::Netrc | Self::Pgpass => Strictness::Settings,
            Self::Configuration | Self::Dockerfile | Self::Script => Strictness::Configuration,
            Self::Code => Strictness::Code,
        }
    }
}

/// `.env`, `.env.production`, `service.env`, `env.production`, `.envrc`, and a copy such as `.env~`.
fn is_env_like(name: &str) -> bool {
    name.starts_with(".env")
        || name.ends_with(".env")
        || name.contains(".env.")
        || name == "env"
        || name.starts_with("env.")
            && !name.ends_with(".ts")
            && !name.ends_with(".js")
            && !name.ends_with(".py")
}

/// Finds the settings of a line that look like secrets.
pub(super) fn find(line: &str, kind: Kind) -> Vec<Hit<'_>> {
    match kind {
        Kind::Netrc => named(&NETRC, line, Strictness::Settings),
        Kind::Pgpass => pgpass(line).into_iter().collect(),
        Kind::Env => match assignment(line, Strictness::Settings) {
            Some(hit) => vec![hit],
            None => of_shell(line, Strictness::Settings),
        },
        Kind::Dockerfile | Kind::Script => {
            let mut hits = of_shell(line, kind.strictness());
            if kind == Kind::Dockerfile && hits.is_empty() {
                hits = named(&OF_DOCKER, line, kind.strictness());
            }
            if hits.is_empty() {
                hits.extend(assignment_of(line, kind));
            }
            hits
        }
        Kind::Configuration | Kind::Code => {
            let members = named(&MEMBER, line, kind.strictness());
            match members.is_empty() {
                true => assignment_of(line, kind).into_iter().collect(),
                false => members,
            }
        }
    }
}

/// Assignments wherever they are in a line of a shell.
fn of_shell(line: &str, strictness: Strictness) -> Vec<Hit<'_>> {
    let is_comment = line.trim_start().starts_with('#');
    let hits = if is_comment { Vec::new() } else { named(&OF_SHELL, line, strictness) };
    hits.into_iter().filter_map(|hit| hit_of(hit.name, unquoted(hit.value), strictness)).collect()
}

/// A setting, if its value looks like a secret.
pub(super) fn hit_of<'a>(name: &'a str, value: &'a str, strictness: Strictness) -> Option<Hit<'a>> {
    by_name_or_randomness(name, value, strictness).map(|rule| Hit { rule, name, value })
}

fn named<'a>(pattern: &LazyLock<Option<Regex>>, line: &'a str, strictness: Strictness) -> Vec<Hit<'a>> {
    let found = pattern.as_ref().map(|pattern| pattern.captures_iter(line));
    let hit = |captures: regex::Captures<'a>| {
        let (name, value) = (captures.name("name")?.as_str(), captures.name("value")?.as_str());
        by_name_or_randomness(name, value, strictness).map(|rule| Hit { rule, name, value })
    };
    found.into_iter().flatten().filter_map(hit).collect()
}

fn pgpass(line: &str) -> Option<Hit<'_>> {
    // `\:` is a colon inside a field.
    let is_field_end = |(at, c): &(usize, char)| *c == ':' && !line[..*at].ends_with('\\');
    let (at, _) = line.char_indices().filter(is_field_end).nth(3)?;
    let value = &line[at + 1..];
    let is_one = !line.trim_start().starts_with('#') && !value.is_empty() && value != "*";
    is_one.then_some(Hit { rule: "password-in-pgpass", name: "password", value })
}

fn assignment(line: &str, strictness: Strictness) -> Option<Hit<'_>> {
    let found = ASSIGNMENT.as_ref()?.captures(line)?;
    let (name, value) = (found.name("name")?.as_str(), unquoted(found.name("value")?.as_str()));
    by_name_or_randomness(name, value, strictness).map(|rule| Hit { rule, name, value })
}

/// The name of the setting in a line, and where it is, for a token that was found in the line.
pub(super) fn name_of(line: &str) -> Option<(&str, Range<usize>)> {
    ASSIGNMENT.as_ref()?.captures(line)?.name("name").map(|name| (name.as_str(), name.range()))
}

/// Outside of `.env` files a value is a literal: quoted, or of a format without quotes.
fn assignment_of(line: &str, kind: Kind) -> Option<Hit<'_>> {
    let found = ASSIGNMENT.as_ref()?.captures(line)?;
    let value = found.name("value")?.as_str();
    let quoted = QUOTED.as_ref()?.captures(value);
    let inner = quoted
        .and_then(|quoted| ["double", "single", "tick"].into_iter().find_map(|group| quoted.name(group)));
    let value = match (inner, kind) {
        (Some(inner), _) => inner.as_str(),
        (None, Kind::Configuration | Kind::Dockerfile | Kind::Script) => {
            unquoted(value).trim_end_matches(',')
        }
        (None, _) => return None,
    };
    let name = found.name("name")?.as_str();
    by_name_or_randomness(name, value, kind.strictness()).map(|rule| Hit { rule, name, value })
}

pub(super) fn unquoted(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\'', '`'] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.split(quote).next().unwrap_or(rest);
        }
    }
    value.split(" #").next().unwrap_or(value).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for pattern in [&ASSIGNMENT, &OF_SHELL, &OF_DOCKER, &MEMBER, &NETRC, &QUOTED] {
            assert!(pattern.is_some());
        }
    }

    #[test]
    fn a_name_that_begins_with_dockerfile_need_not_be_one() {
        for (name, expected) in [
            ("Dockerfile", Kind::Dockerfile),
            ("Dockerfile.prod", Kind::Dockerfile),
            ("prod.Dockerfile", Kind::Dockerfile),
            ("Containerfile", Kind::Dockerfile),
            ("dockerfile_test.go", Kind::Code),
            ("dockerfiles.yaml", Kind::Configuration),
            ("dockerfile-lint.sh", Kind::Script),
        ] {
            assert_eq!(Kind::of(Path::new(name)), expected, "{name}");
        }
    }
}
