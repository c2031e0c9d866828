//! Names and values that belong to one entry: of a `{…}`, `(…)` or `<…>`, or of lines that are indented alike.

use super::lines::Lines;

/// Longest text before a bracket that can be its name, in bytes.
const LABEL_LEN: usize = 128;

/// A name or a value, and where it is in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Name(&'a str),
    Value(&'a str),
}

/// What is between two brackets, or in lines of one indentation.
#[derive(Debug, Default)]
pub(super) struct Entry<'a> {
    /// The name of the entry itself: `name: {…}`.
    pub(super) label: Option<&'a str>,
    /// In their order.
    pub(super) items: Vec<Item<'a>>,
}

/// The entries of the lines that are chosen, with the items that each line has, by their places.
pub(super) fn entries<'a>(
    lines: &Lines<'a>,
    chosen: &[usize],
    items: impl Fn(usize) -> Vec<(usize, Item<'a>)>,
) -> Vec<Entry<'a>> {
    let mut grouping = Grouping::default();
    let brackets = matched(lines, chosen);
    let mut brackets = brackets.into_iter().peekable();
    for &at in chosen {
        let line = lines.texts[at];
        grouping.begin(line);
        let mut items = items(at).into_iter().peekable();
        loop {
            let bracket = brackets.peek().filter(|bracket| bracket.line == at);
            match (bracket, items.peek()) {
                (Some(bracket), Some((item_at, _))) if bracket.at <= *item_at => {}
                (_, Some((_, item))) => {
                    grouping.add(*item);
                    items.next();
                    continue;
                }
                (Some(_), None) => {}
                (None, None) => break,
            }
            let Some(bracket) = brackets.next() else { break };
            match bracket.is_open {
                true => grouping.open(label(&line[..bracket.at])),
                false => grouping.close(),
            }
        }
    }
    grouping.entries
}

#[derive(Default)]
struct Grouping<'a> {
    entries: Vec<Entry<'a>>,
    /// The entries of the open brackets.
    open: Vec<usize>,
    /// The entries of indented lines, with their columns.
    columns: Vec<(usize, usize)>,
    /// The column of the current line.
    column: usize,
    /// The name in the line before, if its value is below it.
    parent: Option<(usize, &'a str)>,
}

impl<'a> Grouping<'a> {
    /// Goes to the next line. Indentation counts outside of brackets only.
    fn begin(&mut self, line: &'a str) {
        if !self.open.is_empty() || line.trim().is_empty() {
            return;
        }
        if line.starts_with('[') && line.trim_end().ends_with(']') {
            self.columns.clear();
        }
        let mut rest = line.trim_start();
        while let Some(after) = rest.strip_prefix("- ") {
            let dash = line.len() - rest.len();
            self.columns.retain(|(column, _)| *column <= dash);
            self.parent = None;
            rest = after.trim_start();
        }
        self.column = line.len() - rest.len();
        while self.columns.last().is_some_and(|(column, _)| *column > self.column) {
            self.columns.pop();
        }
        if self.columns.last().is_none_or(|(column, _)| *column < self.column) {
            let label = self.parent.filter(|(column, _)| *column < self.column).map(|(_, name)| name);
            self.entries.push(Entry { label, ..Entry::default() });
            self.columns.push((self.column, self.entries.len() - 1));
        }
        let name = rest.trim_end().strip_suffix(':').map(|name| name.trim_matches(['"', '\'', ' ']));
        self.parent = name.map(|name| (self.column, name));
    }

    fn add(&mut self, item: Item<'a>) {
        let at = self.open.last().copied().or(self.columns.last().map(|(_, entry)| *entry));
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            entry.items.push(item);
        }
    }

    fn open(&mut self, label: Option<&'a str>) {
        self.entries.push(Entry { label, ..Entry::default() });
        self.open.push(self.entries.len() - 1);
    }

    fn close(&mut self) {
        self.open.pop();
    }
}

/// The name before a bracket: `"name": {`, `name = {`, `variable "name" {`.
fn label(before: &str) -> Option<&str> {
    let before = before.trim_end().trim_end_matches([':', '=']).trim_end();
    let text = before.trim_end_matches(['"', '\'']);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let length = text.bytes().rev().take(LABEL_LEN).take_while(|byte| is_name(char::from(*byte))).count();
    Some(&text[text.len() - length..]).filter(|name| !name.is_empty() && length < LABEL_LEN)
}

struct Bracket {
    line: usize,
    at: usize,
    is_open: bool,
}

/// The brackets that have a partner, in their order.
fn matched(lines: &Lines<'_>, chosen: &[usize]) -> Vec<Bracket> {
    let mut all: Vec<(Bracket, bool)> = Vec::new();
    let (mut open, mut braces): (Vec<(char, usize)>, usize) = (Vec::new(), 0);
    for &line in chosen {
        for (at, c) in brackets(lines.texts[line]) {
            let is_open = matches!(c, '{' | '(' | '<');
            all.push((Bracket { line, at, is_open }, false));
            if is_open {
                braces += usize::from(c == '{');
                open.push((c, all.len() - 1));
                continue;
            }
            // A brace ends whatever is open in it, since `(` and `<` are also signs in sentences.
            while open.last().is_some_and(|(top, _)| match c {
                '}' => *top != '{' && braces > 0,
                ')' => *top == '<',
                _ => false,
            }) {
                open.pop();
            }
            let partner = match c {
                '}' => '{',
                ')' => '(',
                _ => '<',
            };
            if let Some((_, begin)) = open.pop_if(|(top, _)| *top == partner) {
                braces -= usize::from(c == '}');
                all[begin].1 = true;
                if let Some(last) = all.last_mut() {
                    last.1 = true;
                }
            }
        }
    }
    all.into_iter().filter(|(_, is_matched)| *is_matched).map(|(bracket, _)| bracket).collect()
}

/// The brackets of a line that are not in quotes.
fn brackets(line: &str) -> Vec<(usize, char)> {
    let (mut found, mut quote, mut before) = (Vec::new(), None, ' ');
    let mut characters = line.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        match (c, quote) {
            ('\\', Some(_)) => drop(characters.next()),
            (_, Some(other)) if c == other => quote = None,
            (_, Some(_)) => {}
            // Elsewhere an apostrophe is a part of a word.
            ('"' | '\'', None) if !before.is_alphanumeric() => quote = Some(c),
            ('<', None) if next.is_none_or(|next| !next.is_ascii_alphabetic()) => {}
            ('>', None) if matches!(before, '-' | '=') => {}
            ('{' | '}' | '(' | ')' | '<' | '>', None) => found.push((at, c)),
            _ => {}
        }
        before = c;
    }
    found
}
