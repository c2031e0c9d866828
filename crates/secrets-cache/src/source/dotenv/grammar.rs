//! The grammar of `.env` files: which lines make a setting, its value, and its place in the file.

use std::ops::Range;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::block;
use super::doubt::{self, Doubt};
use crate::name::SecretName;

/// A setting in a `.env` file.
#[derive(Debug)]
#[non_exhaustive]
pub struct DotenvEntry {
    /// Its name.
    pub name: SecretName,
    /// Its value.
    pub value: SecretString,
    /// The line that it begins on, from 1.
    pub line: u32,
    /// Why the value may be another one than was read.
    pub doubt: Option<Doubt>,
    /// Where the value is in the text, without its quotes, in bytes.
    span: Range<usize>,
}

impl DotenvEntry {
    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.value.expose_secret().is_empty()
    }
}

/// A line that is not a setting, a comment or blank.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unreadable {
    /// The line, from 1.
    pub line: u32,
    /// The name of the setting, if there is one.
    pub name: Option<SecretName>,
    /// The reason.
    pub doubt: Doubt,
}

/// Every setting of a `.env` file, in the order of the lines.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DotenvFile {
    /// The settings. A name can be given several times.
    pub entries: Vec<DotenvEntry>,
    /// The lines that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

impl DotenvFile {
    /// Reads a text, in a time that grows with its length only.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Parser { text, at: 0, line: 1, doubtful_until: None, block: None, file: Self::default() }.run()
    }

    /// Settings that do not come from a file, in this order. None of them is in doubt, and the line is their position.
    #[must_use]
    pub fn of_settings(settings: impl IntoIterator<Item = (SecretName, SecretString)>) -> Self {
        let entry = |(line, (name, value))| DotenvEntry { name, value, line, doubt: None, span: 0..0 };
        let entries = (1u32..).zip(settings).map(entry).collect();
        Self { entries, unreadable: Vec::new() }
    }

    /// The text without the values of the chosen settings, and the same to the byte apart from that.
    #[must_use]
    pub fn without_values(&self, text: &str, is_chosen: impl Fn(&DotenvEntry) -> bool) -> Zeroizing<String> {
        let mut rest = Zeroizing::new(String::with_capacity(text.len()));
        let mut from = 0;
        // A doubtful value may reach further than was read.
        for entry in self.entries.iter().filter(|entry| entry.doubt.is_none() && is_chosen(entry)) {
            rest.push_str(&text[from..entry.span.start]);
            from = entry.span.end;
        }
        rest.push_str(&text[from..]);
        rest
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    /// The end of the text that an unclosed quote may have meant to include, and the line of that quote.
    doubtful_until: Option<(usize, u32)>,
    /// The end of the lines that an unquoted value continues in, and the line that it begins on.
    block: Option<(usize, u32)>,
    file: DotenvFile,
}

impl Parser<'_> {
    fn run(mut self) -> DotenvFile {
        // Some editors put a byte-order mark before UTF-8.
        self.at = if self.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        while self.at < self.text.len() {
            let end = self.statement();
            self.pass_line_break(end);
        }
        self.file
    }

    /// Reads the current line, or the several lines of a quoted value, and returns its end.
    fn statement(&mut self) -> usize {
        let end = self.line_end(self.at);
        let line = &self.text[self.at..end];
        if line.trim_start().is_empty() || line.trim_start().starts_with('#') {
            return end;
        }
        if let Some((_, begins)) = self.block.filter(|(until, _)| self.at < *until) {
            self.refuse(line, Doubt::InsideKey { line: begins });
            return end;
        }
        let goes_on = block::begins(line);
        if goes_on {
            self.block = Some((block::end(self.text, end), self.line));
        }
        let Some(equals) = line.find('=') else {
            self.refuse(line, Doubt::NoEquals);
            return end;
        };
        if block::is_padding(&line[..equals], &line[equals..]) {
            self.refuse(line, Doubt::Padding);
            return end;
        }
        let value = self.at + equals + 1;
        let opening = value
            + (self.text[value..end].len() - self.text[value..end].trim_start_matches([' ', '\t']).len());
        match self.text[opening..end].chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) {
            Some(quote) => {
                self.block = None;
                self.quoted(opening, quote, end)
            }
            None => {
                let found = doubt::of_unquoted(&self.text[value..end]);
                let found = if goes_on { Some(Doubt::Continues) } else { found };
                self.accept(end, found, |parsed| opening..opening + parsed.len());
                end
            }
        }
    }

    fn quoted(&mut self, opening: usize, quote: char, line_end: usize) -> usize {
        let line = &self.text[self.at..line_end];
        let Some(inner) = doubt::between_quotes(self.text, opening, quote) else {
            self.refuse(line, Doubt::UnclosedQuote);
            self.doubt_until(self.text.len());
            return line_end;
        };
        let end = self.line_end(inner.end);
        let tail = &self.text[inner.end + quote.len_utf8()..end];
        if !tail.trim_start().is_empty() && !tail.trim_start().starts_with('#') {
            self.refuse(line, Doubt::AfterQuote);
            self.doubt_until(end);
            return line_end;
        }
        let found = doubt::of_quoted(quote, &self.text[inner.clone()], tail);
        self.accept(end, found, |_| inner);
        end
    }

    /// Takes the setting between here and `end`.
    fn accept(&mut self, end: usize, doubt: Option<Doubt>, span: impl FnOnce(&str) -> Range<usize>) {
        let statement = &self.text[self.at..end];
        let parsed = match dotenvor::parse_str(statement) {
            Ok(parsed) => parsed,
            Err(dotenvor::Error::Parse(error)) => return self.refuse(statement, problem(&error.kind)),
            Err(_) => return self.refuse(statement, Doubt::NoEquals),
        };
        let Ok([setting]) = <[_; 1]>::try_from(parsed) else {
            return self.refuse(statement, Doubt::AfterQuote);
        };
        let Ok(name) = SecretName::new(&setting.key) else {
            return self.refuse(statement, Doubt::Name);
        };
        let inside = self.doubtful_until.filter(|(until, _)| self.at < *until);
        let doubt = doubt.or(inside.map(|(_, line)| Doubt::InsideQuote { line }));
        let span = span(&setting.value);
        let value = SecretString::from(setting.value);
        self.file.entries.push(DotenvEntry { name, value, line: self.line, doubt, span });
    }

    fn refuse(&mut self, statement: &str, doubt: Doubt) {
        let name = statement.split_once('=').map(|(name, _)| name.trim());
        let name = name.map(|name| name.strip_prefix("export ").unwrap_or(name).trim());
        let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        let is_inside = self.doubtful_until.is_some_and(|(until, _)| self.at < until);
        // Anything else may be a part of a value.
        let name = name.filter(is_name).filter(|_| !is_inside && !doubt.hides_name());
        let name = name.and_then(|name| SecretName::new(name).ok());
        self.file.unreadable.push(Unreadable { line: self.line, name, doubt });
    }

    fn doubt_until(&mut self, end: usize) {
        if self.doubtful_until.is_none_or(|(until, _)| until < end) {
            self.doubtful_until = Some((end, self.line));
        }
    }

    fn line_end(&self, from: usize) -> usize {
        self.text[from..].find(['\r', '\n']).map_or(self.text.len(), |length| from + length)
    }

    /// Goes to the line after `end`, counting those that were passed. `\r\n` is one line break.
    fn pass_line_break(&mut self, end: usize) {
        let rest = &self.text[end..];
        let length = if rest.starts_with("\r\n") { 2 } else { usize::from(!rest.is_empty()) };
        let passed = &self.text.as_bytes()[self.at..end + length];
        let pairs = passed.windows(2).filter(|pair| *pair == b"\r\n").count();
        let breaks = passed.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count() - pairs;
        self.line = self.line.saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX));
        self.at = end + length;
    }
}

fn problem(kind: &dotenvor::ParseErrorKind) -> Doubt {
    match kind {
        dotenvor::ParseErrorKind::InvalidSyntax => Doubt::AfterQuote,
        dotenvor::ParseErrorKind::MissingKey | dotenvor::ParseErrorKind::InvalidKey => Doubt::Name,
        dotenvor::ParseErrorKind::UnterminatedQuote => Doubt::UnclosedQuote,
    }
}
