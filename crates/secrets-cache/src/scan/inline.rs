//! Settings anywhere in a line: members of maps, arguments of functions and programs, elements of lists, and assignments of a
//! shell.

use std::sync::LazyLock;

use regex::Regex;

use super::kind::Kind;
use super::literal::{self, has_reference, quoted};
use super::settings::{Hit, hit_of};
use super::values::{Strictness, is_telling};

/// Bare values that may begin inside of one another, as in `--env=NAME=value`.
const MAX_NESTED: usize = 8;
/// Bytes before a name in which its word is searched for.
const WORD_LEN: usize = 512;
/// Options that a setting follows.
const OPTIONS: [&str; 8] =
    ["-e", "--env", "--build-arg", "--set", "--set-string", "--from-literal", "-var", "-D"];

/// What a literal can be wrapped in.
const WRAPPERS: [&str; 8] =
    ["[", "(", "Some(", "String::from(", "SecretString::from(", "SecretString::new(", "str(", "bytes("];

// The pattern is constant; a test checks that it compiles.
/// A name, and the sign before its value. A type may be between them.
static OPENER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?P<name>[A-Za-z_][\w.-]*)(?:\[\w*\]|\\?["'`]?\s*\]?)\s*(?::\s*(?:&'static\s+|&\s*)?[\w<>\[\].?]{1,40}\s+=|:=|=>|\?\??=|\|\|=|[:=])\s*"#,
    )
    .ok()
});

/// A name in a line, and where its value begins.
struct Opener<'a> {
    line: &'a str,
    name: &'a str,
    name_at: usize,
    value_at: usize,
    /// The quote that the name is inside of.
    within: Option<char>,
    /// Whether the name is in a `{…}` or `[…]` of the same line.
    is_in_map: bool,
}

/// Finds the settings of a line that look like secrets, wherever they are in it.
pub(super) fn find(line: &str, kind: Kind) -> Vec<Hit<'_>> {
    let (Some(pattern), false) = (OPENER.as_ref(), matches!(kind, Kind::Netrc | Kind::Pgpass)) else {
        return Vec::new();
    };
    let is_comment = line.trim_start().starts_with('#');
    let (mut place, mut nested) = (Place::default(), Nested::default());
    let mut hits: Vec<Hit<'_>> = Vec::new();
    let mut from = 0;
    while let Some(captures) = pattern.captures_at(line, from) {
        let (Some(whole), Some(name)) = (captures.get(0), captures.name("name")) else { break };
        // What is a type after one name can be the name after that: `$env:NAME = "value"`.
        from = name.end();
        place.advance(line, name.start());
        let opener = Opener {
            line,
            name: name.as_str(),
            name_at: name.start(),
            value_at: whole.end(),
            within: place.quote,
            is_in_map: place.open > 0,
        };
        let strictness = opener.strictness(kind);
        if strictness != Strictness::Settings && !is_telling(opener.name) {
            continue;
        }
        let value = match quoted(line, opener.value_at + wrapping(&line[opener.value_at..])) {
            Some(quoted) if opener.is_end_of_text(&quoted) => None,
            Some(quoted) => Some(quoted.inner),
            None if is_comment && kind == Kind::Env => None,
            None => {
                let bare = nested.allows(opener.value_at).then(|| opener.bare(kind)).flatten();
                nested.passed(opener.value_at, bare);
                bare
            }
        };
        let value = value.filter(|value| !has_reference(value));
        let hit = value.and_then(|value| hit_of(opener.name_alone(), value, strictness));
        if hit.as_ref().is_some_and(|hit| hits.last().is_some_and(|last| is_part(last, hit))) {
            hits.pop();
        }
        hits.extend(hit);
    }
    hits
}

/// The length of what a literal is wrapped in: `["…"]`, `Some("…")`.
fn wrapping(value: &str) -> usize {
    WRAPPERS.iter().find(|wrapper| value.starts_with(*wrapper)).map_or(0, |wrapper| wrapper.len())
}

/// Whether a random value is only so because a setting with a telling name is at its end: `--env=NAME=value`.
fn is_part(outer: &Hit<'_>, inner: &Hit<'_>) -> bool {
    outer.rule != inner.rule && outer.value.as_bytes().as_ptr_range().contains(&inner.value.as_ptr())
}

impl<'a> Opener<'a> {
    /// `NAME=` of a shell.
    fn is_tight(&self) -> bool {
        self.value_at == self.name_at + self.name.len() + 1 && self.line.as_bytes()[self.value_at - 1] == b'='
    }

    /// In a `.env` file, members of a map in a value are configuration.
    fn strictness(&self, kind: Kind) -> Strictness {
        match kind.strictness() {
            Strictness::Settings if !self.is_tight() => Strictness::Configuration,
            strictness => strictness,
        }
    }

    /// The name without the letter of an option or an escape that it follows at once, as in `-Dname=value` and `\nname=value`.
    fn name_alone(&self) -> &'a str {
        if self.line[..self.name_at].ends_with('\\') {
            let rest = self.name.strip_prefix(['n', 'r', 't']).filter(|rest| !rest.is_empty());
            return rest.unwrap_or(self.name);
        }
        let is_option = self.line[..self.name_at].ends_with('-');
        let rest = self.name.strip_prefix(['D', 'e']).filter(|_| is_option);
        let is_rest = |rest: &&str| {
            self.name.starts_with('D') || rest.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        };
        rest.filter(|rest| !rest.is_empty()).filter(is_rest).unwrap_or(self.name)
    }

    /// `"…name=" + value`: the quote ends the text that the name is in.
    fn is_end_of_text(&self, quoted: &literal::Quoted<'_>) -> bool {
        quoted.quote.is_some()
            && quoted.quote == self.within
            && quoted.inner.starts_with([' ', '+', ',', ')', '.', ';', ':', '&', '}', ']'])
    }

    /// A value without quotes of its own, where the file has such values.
    fn bare(&self, kind: Kind) -> Option<&'a str> {
        if self.is_tight() && self.is_after_space() {
            let value = self.of_shell(kind)?;
            let is_one = kind != Kind::Code || self.is_argument() || self.is_whole_text(value);
            return Some(value).filter(|_| is_one);
        }
        (kind == Kind::Configuration && self.is_member()).then(|| self.of_map()).flatten()
    }

    /// What is before the name, without the dashes of an option.
    fn before(&self) -> &'a str {
        self.line[..self.name_at].trim_end_matches('-')
    }

    fn is_after_space(&self) -> bool {
        let before = self.before();
        let is_border = |c: char| c.is_whitespace() || c.is_control() || ";(|=,\"'`[{\\".contains(c);
        before.chars().next_back().is_none_or(is_border) || before.ends_with("&&")
    }

    fn of_shell(&self, kind: Kind) -> Option<&'a str> {
        let rest = &self.line[self.value_at..];
        if rest.starts_with(['`', '"', '\'']) {
            return None;
        }
        // In a text between quotes, the value ends where the text does.
        let around = self.before().chars().next_back().filter(|c| Some(*c) == self.within);
        if let Some(end) = around.and_then(|quote| literal::closing(self.line, self.value_at, quote)) {
            // Only so far does a value go.
            let longest = self.line.floor_char_boundary(end.min(self.value_at + literal::MAX_BARE));
            let value = self.line[self.value_at..longest].split("\\n").next()?;
            return value.split(char::is_whitespace).next().filter(|value| !value.is_empty());
        }
        let is_in_map = kind == Kind::Configuration && self.is_in_map && self.within.is_none();
        let is_end = |c: char| {
            let is_border = c.is_whitespace() || c.is_control() || ";&|)'\"`\\".contains(c);
            is_border || is_in_map && ",]}".contains(c)
        };
        let value = literal::bare(self.line, self.value_at, is_end)?;
        Some(before_next_setting(value))
    }

    fn is_member(&self) -> bool {
        let before = self.line[..self.name_at].trim_end_matches(['"', '\'']).trim_end();
        self.is_in_map && before.ends_with(['{', ',', '[']) && !before.ends_with("${")
    }

    fn of_map(&self) -> Option<&'a str> {
        literal::bare(self.line, self.value_at, |c| ",}]\"'".contains(c))
    }

    /// Whether an option for settings is before the name: `-e NAME=value`, `--set a=b,name=value`.
    fn is_argument(&self) -> bool {
        let from = self.name_at.saturating_sub(WORD_LEN);
        let before = &self.line.as_bytes()[from..self.name_at];
        let length = before.iter().rev().take_while(|byte| !byte.is_ascii_whitespace()).count();
        let (earlier, word) = before.split_at(before.len() - length);
        let is_option = |option: &&str| earlier.trim_ascii_end().ends_with(option.as_bytes());
        let word = word.strip_prefix(b"\"").or(word.strip_prefix(b"'")).unwrap_or(word);
        let begins = |option: &&str| {
            let rest = word.strip_prefix(option.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"="))
        };
        OPTIONS.iter().any(|option| is_option(option) || begins(option))
            || self.name_alone().len() < self.name.len()
    }

    /// A text between quotes that begins with a setting, and has no other text in its line: `"NAME=value"`.
    fn is_whole_text(&self, value: &str) -> bool {
        let around = self.before().chars().next_back().filter(|c| Some(*c) == self.within);
        let is_filled = value.contains(['{', '}', '%', '<', '>']);
        let rest = &self.line[self.value_at + value.len()..];
        let is_whole = |quote: char| rest.starts_with(quote) || rest.starts_with("\\n");
        around.is_some_and(is_whole) && !is_filled
    }
}

/// `a` of `a,name=b`.
fn before_next_setting(value: &str) -> &str {
    let is_name = |c: char| c.is_alphanumeric() || "_.-[]".contains(c);
    let begins_setting = |at: &usize| {
        let rest = &value[at + 1..];
        let name = rest.trim_start_matches(is_name);
        name.len() < rest.len() && name.starts_with('=')
    };
    let comma = value.match_indices(',').map(|(at, _)| at).find(begins_setting);
    &value[..comma.unwrap_or(value.len())]
}

/// The quote and the brackets that a place of a line is in.
#[derive(Default)]
struct Place {
    at: usize,
    quote: Option<char>,
    open: usize,
    /// The character before.
    last: Option<char>,
}

impl Place {
    fn advance(&mut self, line: &str, to: usize) {
        for c in line[self.at..to].chars() {
            let is_escaped = self.last == Some('\\');
            let is_of_word = self.last.is_some_and(char::is_alphanumeric);
            match (c, self.quote) {
                _ if is_escaped => {}
                (_, Some(quote)) if c == quote => self.quote = None,
                ('"', None) => self.quote = Some(c),
                // Elsewhere an apostrophe is a part of a word.
                ('\'' | '`', None) if !is_of_word => self.quote = Some(c),
                ('{' | '[', _) => self.open += 1,
                ('}' | ']', _) => self.open = self.open.saturating_sub(1),
                _ => {}
            }
            self.last = (!is_escaped || c != '\\').then_some(c);
        }
        self.at = to;
    }
}

/// Bounds how many values are read that begin inside of a value without quotes.
#[derive(Default)]
struct Nested {
    end: usize,
    count: usize,
}

impl Nested {
    fn allows(&mut self, at: usize) -> bool {
        self.count = if at < self.end { self.count + 1 } else { 0 };
        self.count < MAX_NESTED
    }

    fn passed(&mut self, at: usize, value: Option<&str>) {
        self.end = self.end.max(at + value.map_or(0, str::len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_compiles() {
        assert!(OPENER.is_some());
    }

    #[test]
    fn a_value_ends_before_the_next_setting() {
        for (value, expected) in
            [("a", "a"), ("a,b=c", "a"), ("a,b", "a,b"), ("a,=b", "a,=b"), ("a,b,c=d", "a,b")]
        {
            assert_eq!(before_next_setting(value), expected);
        }
    }
}
