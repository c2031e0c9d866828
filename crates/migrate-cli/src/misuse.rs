//! Errors of the command line, without the arguments: a secret that was given by mistake must not reach a log.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// In place of an argument.
const HIDDEN: &str = "***";
/// Shortest part of an argument that is hidden by itself.
const SHORTEST_PART: usize = 4;

/// The parser's text, in which no argument is repeated.
pub(crate) fn text(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let given = given(error);
    let hidden = rendered.split("\n\n").map(|paragraph| match paragraph.trim_start().starts_with("Usage:") {
        // Made of definitions alone.
        true => paragraph.to_owned(),
        false => hide(paragraph, &given),
    });
    hidden.collect::<Vec<_>>().join("\n\n")
}

/// The arguments that the parser quotes.
fn given(error: &clap::Error) -> Vec<String> {
    let kinds = [ContextKind::InvalidValue, ContextKind::InvalidSubcommand, ContextKind::InvalidArg];
    // In other errors this is the name of an argument that is defined.
    let is_given =
        |kind: &ContextKind| *kind != ContextKind::InvalidArg || error.kind() == ErrorKind::UnknownArgument;
    let quoted = kinds.into_iter().filter(is_given).filter_map(|kind| error.get(kind));
    quoted.flat_map(texts).filter(|text| !text.is_empty()).cloned().collect()
}

fn texts(value: &ContextValue) -> &[String] {
    match value {
        ContextValue::String(text) => std::slice::from_ref(text),
        ContextValue::Strings(texts) => texts,
        _ => &[],
    }
}

/// Hides arguments; in the reason, which a rule for values gives, their parts as well.
fn hide(paragraph: &str, given: &[String]) -> String {
    let whole = given.iter().fold(paragraph.to_owned(), |text, argument| without(&text, argument));
    let Some((problem, reason)) = whole.split_once("': ") else {
        return whole;
    };
    let parts = given.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
    let parts = parts.filter(|part| part.len() >= SHORTEST_PART);
    let reason = parts.fold(reason.to_owned(), |text, part| without(&text, part));
    format!("{problem}': {reason}")
}

/// A text without an argument, which is not a part of a longer word.
fn without(text: &str, argument: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_edge = |inner: Option<char>, outer: Option<char>| {
        !(inner.is_some_and(is_word) && outer.is_some_and(is_word))
    };
    let (mut left, mut from) = (String::with_capacity(text.len()), 0);
    for (at, found) in text.match_indices(argument) {
        let end = at + found.len();
        let starts = is_edge(found.chars().next(), text[..at].chars().next_back());
        let ends = is_edge(found.chars().next_back(), text[end..].chars().next());
        if at >= from && starts && ends {
            left.push_str(&text[from..at]);
            left.push_str(HIDDEN);
            from = end;
        }
    }
    left.push_str(&text[from..]);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_hidden_wherever_it_is_a_whole_word() {
        for (text, argument, expected) in [
            (
                "invalid value '7' for '--n <N>': 7 is not in 17..=70",
                "7",
                "invalid value '***' for '--n <N>': *** is not in 17..=70",
            ),
            ("use '-- S3cr3t'", "S3cr3t", "use '-- ***'"),
            ("a-b a-b-c ab", "a-b", "*** ***-c ab"),
            ("--x=-y", "-y", "--x=***"),
        ] {
            assert_eq!(without(text, argument), expected);
        }
    }
}
