//! The computed columns of a table, read from the text of its definition: SQLite shows their expressions nowhere else.

use std::iter::Peekable;
use std::str::Chars;

use crate::database::generated::Generated;

/// A part of a statement.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// A word, or a name in backticks or brackets.
    Name(String),
    /// A name in double quotes, which SQLite takes for a text where no column has it.
    Quoted(String),
    /// A text in single quotes, which SQLite also takes for a name where only a name can be.
    Text(String),
    Mark(char),
}

/// The computed columns of a `CREATE TABLE`, with every name in their expressions. Names are in lower case.
pub(super) fn generated(definition: &str) -> Vec<Generated> {
    let parts = parts(definition);
    let mut all = Vec::new();
    let (mut depth, mut column, mut expression) = (0_usize, None, None::<Generated>);
    for (place, part) in parts.iter().enumerate() {
        match part {
            Part::Mark('(') => {
                let is_computed = depth == 1 && place > 0 && parts[place - 1] == Part::Name("as".into());
                if is_computed && expression.is_none() {
                    let column: Option<String> = column.clone();
                    expression = column.map(|column| Generated { column, names: Vec::new() });
                }
                depth += 1;
            }
            Part::Mark(')') => {
                depth = depth.saturating_sub(1);
                if depth == 1 {
                    all.extend(expression.take());
                }
            }
            Part::Mark(',') if depth == 1 => column = None,
            Part::Name(name) | Part::Quoted(name) | Part::Text(name) if depth == 1 && column.is_none() => {
                column = Some(name.clone())
            }
            Part::Name(name) | Part::Quoted(name) => {
                if let Some(expression) = expression.as_mut().filter(|_| depth > 1) {
                    expression.names.push(name.clone());
                }
            }
            _ => {}
        }
    }
    all
}

/// The names in double quotes in a condition, in lower case.
pub(super) fn quoted_names(condition: &str) -> Vec<String> {
    let names = parts(condition).into_iter().filter_map(|part| match part {
        Part::Quoted(name) => Some(name),
        _ => None,
    });
    names.collect()
}

fn parts(sql: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = sql.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            '-' if rest.peek() == Some(&'-') => drop(rest.by_ref().find(|c| *c == '\n')),
            '/' if rest.peek() == Some(&'*') => skip_comment(&mut rest),
            '\'' => parts.push(Part::Text(quoted(&mut rest, '\''))),
            '"' => parts.push(Part::Quoted(quoted(&mut rest, '"'))),
            '`' => parts.push(Part::Name(quoted(&mut rest, '`'))),
            '[' => parts.push(Part::Name(quoted(&mut rest, ']'))),
            _ if is_of_word(first) => {
                let mut word = String::from(first);
                while let Some(next) = rest.next_if(|next| is_of_word(*next)) {
                    word.push(next);
                }
                parts.push(Part::Name(word.to_lowercase()));
            }
            _ if first.is_whitespace() => {}
            _ => parts.push(Part::Mark(first)),
        }
    }
    parts
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$'
}

fn skip_comment(rest: &mut Peekable<Chars<'_>>) {
    rest.next();
    let mut before = ' ';
    for next in rest {
        if before == '*' && next == '/' {
            return;
        }
        before = next;
    }
}

/// The rest of a quoted text; a quote in it is written twice.
fn quoted(rest: &mut Peekable<Chars<'_>>, end: char) -> String {
    let mut text = String::new();
    while let Some(next) = rest.next() {
        if next == end && (end == ']' || rest.next_if_eq(&end).is_none()) {
            break;
        }
        text.extend(next.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{generated, quoted_names};

    fn found(definition: &str) -> Vec<(String, Vec<String>)> {
        generated(definition).into_iter().map(|one| (one.column, one.names)).collect()
    }

    #[test]
    fn the_names_in_the_expression_of_a_computed_column_are_found() {
        let definition = "CREATE TABLE t (id INTEGER PRIMARY KEY, -- AS (no)\n email TEXT DEFAULT ('a,b)'), \
             \"Low \"\"er\" TEXT GENERATED ALWAYS AS (lower(\"Email\") || 'id') STORED UNIQUE, n INT AS (CAST(id AS int)), \
             CHECK (email <> CAST(id AS text)))";
        assert_eq!(
            found(definition),
            [
                ("low \"er".to_owned(), vec!["lower".to_owned(), "email".to_owned()]),
                ("n".to_owned(), vec!["cast".to_owned(), "id".to_owned(), "as".to_owned(), "int".to_owned()]),
            ]
        );
    }

    #[test]
    fn names_in_double_quotes_are_found_and_texts_are_not() {
        assert_eq!(quoted_names("\"Delted_at\" IS NULL AND s = 'a \"b\" c' -- \"d\""), ["delted_at"]);
    }

    #[test]
    fn no_text_is_too_odd_to_be_read() {
        for odd in
            ["", "CREATE TABLE t", "((((", "))))", "t ('id' AS (", "t (/* AS (x)", "t ([a] AS (x), \"b"]
        {
            generated(odd);
        }
        assert_eq!(
            found("CREATE TABLE t ('Id' AS ([E Mail]))"),
            [("id".to_owned(), vec!["e mail".to_owned()])]
        );
    }
}
