//! Words in double quotes in the profile's filter, which this database takes for texts.

use std::iter::Peekable;
use std::str::Chars;

use super::{Connections, text};
use crate::database::layout::Layout;
use crate::error::DatabaseError;
use crate::findings::{Finding, Kind, Severity};

/// A word in double quotes is a text for this database, and a condition about a text in place of a column is one about no row
/// or about every row. A session whose mode has ANSI_QUOTES takes it for a name.
pub(in crate::database) async fn of_filter(
    connections: &Connections,
    layout: &Layout,
    filter: &str,
) -> Result<Option<Finding>, DatabaseError> {
    let rows = connections.rows("SELECT CAST(@@SESSION.sql_mode AS CHAR)", &[]).await?;
    let mode = rows.first().and_then(|row| text(row, 0)).unwrap_or_default();
    let has = |word: &str| mode.split(',').any(|part| part == word);
    if has("ANSI_QUOTES") {
        return Ok(None);
    }
    let hint = "the profile's `filter` has a word in double quotes, which MariaDB and MySQL take for a text: write the name of a \
                column in backquotes, and a text in single quotes";
    let found = double_quoted(filter, !has("NO_BACKSLASH_ESCAPES"));
    Ok(found.map(|word| Finding::new(layout, Kind::Filter, Severity::Refuse, hint).of(word)))
}

/// The first part of a condition that is in double quotes, outside texts, names and comments.
fn double_quoted(condition: &str, escapes: bool) -> Option<String> {
    let mut rest = condition.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            '"' => return Some(rest.take_while(|next| *next != '"').collect()),
            '\'' => skip_text(&mut rest, escapes),
            '`' => drop(rest.by_ref().find(|next| *next == '`')),
            '#' => drop(rest.by_ref().find(|next| *next == '\n')),
            '-' if begins_comment(&rest) => drop(rest.by_ref().find(|next| *next == '\n')),
            '/' if rest.peek() == Some(&'*') => skip_comment(&mut rest),
            _ => {}
        }
    }
    None
}

/// Two quotes in a text are one of it; the second begins the next text here, which does not matter.
fn skip_text(rest: &mut Peekable<Chars<'_>>, escapes: bool) {
    while let Some(next) = rest.next() {
        match next {
            '\\' if escapes => drop(rest.next()),
            '\'' => return,
            _ => {}
        }
    }
}

/// After a minus sign: a second one, and then a blank or nothing.
fn begins_comment(rest: &Peekable<Chars<'_>>) -> bool {
    let mut ahead = rest.clone();
    ahead.next() == Some('-') && ahead.next().is_none_or(char::is_whitespace)
}

/// The server executes a comment with an exclamation mark.
fn skip_comment(rest: &mut Peekable<Chars<'_>>) {
    rest.next();
    // The server executes what is in `/*!` and `/*M!`.
    let mut ahead = rest.clone();
    match ahead.next() {
        Some('!') => return,
        Some('M') if ahead.next() == Some('!') => return,
        _ => {}
    }
    let mut before = ' ';
    for next in rest {
        if before == '*' && next == '/' {
            return;
        }
        before = next;
    }
}

#[cfg(test)]
mod tests {
    use super::double_quoted;

    #[test]
    fn only_words_in_double_quotes_outside_texts_names_and_comments_are_found() {
        for (condition, found) in [
            ("\"deleted_at\" IS NULL", Some("deleted_at")),
            ("tenant = \"acme\"", Some("acme")),
            ("/*Mail \"c\" */ a = 1", None),
            ("/*M! \"c\" */ = 1", Some("c")),
            ("a = 'it''s' AND b = \"x\"", Some("x")),
            ("a = 'it\\'s' AND b = \"x\"", Some("x")),
            ("a --1 AND b = \"x\"", Some("x")),
            ("/*! a = \"x\" */", Some("x")),
            ("/* \"c\" */ b = \"x\"", Some("x")),
            ("a = '\"' AND `b\"` = 1 /* \"c\" */ -- \"d\"", None),
            ("a = 1 # \"x\"", None),
            ("a = '\\'\"'", None),
        ] {
            assert_eq!(double_quoted(condition, true).as_deref(), found, "{condition}");
        }
        assert_eq!(double_quoted("a = '\\' AND b = \"x\" AND c = '\\'", false).as_deref(), Some("x"));
    }
}
