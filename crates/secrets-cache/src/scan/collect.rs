//! Every secret of a text, each of them once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::kind::Kind;
use super::lines::Lines;
use super::settings::{self, Hit};
use super::{blocks, dotenv, forms, inline, pairs, shapes, shown};

/// A secret in a text.
pub(super) struct Secret<'a> {
    /// The number of the line, from 1.
    pub(super) number: usize,
    pub(super) rule: &'static str,
    /// The part of the value that every token of its kind has.
    pub(super) prefix: &'static str,
    pub(super) name: Option<&'a str>,
    pub(super) value: &'a str,
}

/// Finds the tokens and the settings of a file, in the order of their lines. Where two of them have the same text, or a part of it,
/// the first way to find it counts.
pub(super) fn secrets<'a>(path: &Path, text: &'a str) -> Vec<Secret<'a>> {
    let lines = Lines::of(text);
    let mut taken = Taken::default();
    let mut found: Vec<(usize, Secret<'a>)> = tokens(text, &lines, &mut taken);
    let of_keys = shown::key_lines(&lines.texts);
    for hit in hits(text, &lines, Kind::of(path)) {
        let place = place_of(text, hit.value);
        let line = lines.at(place.start);
        // The lines of a key are found as one.
        if !of_keys[line] && taken.take(first_line(text, &place)) {
            let secret = Secret {
                number: lines.number(line),
                rule: hit.rule,
                prefix: "",
                name: Some(hit.name).filter(|name| !shown::is_like_secret(name)),
                value: hit.value,
            };
            found.push((place.start, secret));
        }
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, secret)| secret).collect()
}

fn tokens<'a>(text: &'a str, lines: &Lines<'a>, taken: &mut Taken) -> Vec<(usize, Secret<'a>)> {
    let tokens = shapes::find(text);
    // A line can have many tokens, and has one name.
    let mut named: BTreeMap<usize, Option<&str>> = BTreeMap::new();
    let mut secret = |token: &shapes::Found| {
        taken.take(token.at.clone());
        let line = lines.at(token.at.start);
        let name = *named.entry(line).or_insert_with(|| {
            let (name, at) = settings::name_of(lines.texts[line])?;
            let start = lines.starts[line];
            shown::name(name, &(start + at.start..start + at.end), &tokens)
        });
        let (number, value) = (lines.number(line), &text[token.at.clone()]);
        (token.at.start, Secret { number, rule: token.rule, prefix: token.prefix, name, value })
    };
    tokens.iter().map(&mut secret).collect()
}

/// The settings that look like secrets, each of them as often as there are ways to find it.
fn hits<'a>(text: &'a str, lines: &Lines<'a>, kind: Kind) -> Vec<Hit<'a>> {
    let mut hits = match kind {
        Kind::Env => dotenv::quoted(text, lines),
        _ => Vec::new(),
    };
    for line in &lines.texts {
        let (of_line, inside) = (settings::find(line, kind), inline::find(line, kind));
        // A shell can have several assignments in a line, of which the first is not all.
        let is_of_shell = match kind {
            Kind::Script | Kind::Dockerfile => true,
            Kind::Env => inside.len() > 1,
            _ => false,
        };
        match is_of_shell {
            true => hits.extend(inside.into_iter().chain(of_line)),
            false => hits.extend(of_line.into_iter().chain(inside)),
        }
    }
    hits.extend(pairs::find(lines, kind));
    hits.extend(blocks::find(&lines.texts, kind));
    hits.extend(forms::find(text, kind));
    hits
}

/// Where a part of a text is in it.
fn place_of(text: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + part.len()
}

/// Where the first line is that is not blank.
fn first_line(text: &str, place: &Range<usize>) -> Range<usize> {
    let value = &text[place.clone()];
    let rest = value.trim_start();
    let length = rest.find(['\n', '\r']).unwrap_or(rest.len());
    let start = place.start + value.len() - rest.len();
    start..start + length
}

/// The parts of a text that were found.
#[derive(Default)]
struct Taken(BTreeMap<usize, usize>);

impl Taken {
    /// Takes a part, unless some of it is taken already.
    fn take(&mut self, part: Range<usize>) -> bool {
        let before = self.0.range(..part.end.max(part.start + 1)).next_back();
        let is_free = before.is_none_or(|(_, end)| *end <= part.start);
        if is_free {
            self.0.insert(part.start, part.end);
        }
        is_free
    }
}
