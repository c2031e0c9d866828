//! Errors of the command line, without what could be a secret: one that was given by mistake must not reach a log.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// In place of an argument.
const HIDDEN: &str = "***";
/// Letters of the longest name of an option or a command, `only-visible-writers`, and a few more.
const LONGEST_NAME: usize = 24;
/// Letters of a word that is repeated in the place of a value.
const LONGEST_WORD: usize = 6;
/// Shortest part of an argument that is hidden by itself.
const SHORTEST_PART: usize = 4;

/// The parser's text, in which no argument is repeated but names of options and commands.
pub(crate) fn text(error: &clap::Error) -> String {
    let given = given(error);
    // The parser's text leaves control characters out and has paragraphs of its own: such an argument is not found in it.
    if given.iter().any(|argument| argument.chars().any(char::is_control)) {
        return format!("error: {}\n\nFor more information, try '--help'.\n", error.kind());
    }
    let rendered = error.render().to_string();
    let hidden = rendered.split("\n\n").map(|paragraph| match paragraph.trim_start().starts_with("Usage:") {
        // Made of definitions alone.
        true => paragraph.to_owned(),
        false => hide(paragraph, &given),
    });
    hidden.collect::<Vec<_>>().join("\n\n")
}

/// The arguments that the parser quotes, without misspelt names.
fn given(error: &clap::Error) -> Vec<String> {
    let kinds = [ContextKind::InvalidValue, ContextKind::InvalidSubcommand, ContextKind::InvalidArg];
    // In other errors this is the name of an argument that is defined.
    let is_given =
        |kind: &ContextKind| *kind != ContextKind::InvalidArg || error.kind() == ErrorKind::UnknownArgument;
    let quoted = kinds.into_iter().filter(is_given).filter_map(|kind| error.get(kind));
    let texts = quoted.flat_map(texts).filter(|text| !text.is_empty() && !is_misspelt(error.kind(), text));
    texts.cloned().collect()
}

/// A name of an option or a command, or a short word for a number, is repeated: it shows what to correct, and
/// is no secret that was made by a generator.
fn is_misspelt(kind: ErrorKind, text: &str) -> bool {
    let (word, longest) = match kind {
        ErrorKind::UnknownArgument => match text.strip_prefix("--") {
            Some(option) => (option, LONGEST_NAME),
            None => return false,
        },
        ErrorKind::InvalidSubcommand => (text, LONGEST_NAME),
        _ => (text, LONGEST_WORD),
    };
    word.len() <= longest && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
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
    fn names_are_repeated_and_what_could_be_a_secret_is_not() {
        for (kind, text, expected) in [
            (ErrorKind::UnknownArgument, "--no-such-option", true),
            (ErrorKind::UnknownArgument, "--S3cr3t", false),
            (ErrorKind::UnknownArgument, "secret", false),
            (ErrorKind::InvalidSubcommand, "statsu", true),
            (ErrorKind::InvalidSubcommand, "S3cr3t", false),
            (ErrorKind::ValueValidation, "many", true),
            (ErrorKind::ValueValidation, "hunter2", false),
            (ErrorKind::ValueValidation, "correcthorse", false),
            (ErrorKind::InvalidValue, "12345678", false),
        ] {
            assert_eq!(is_misspelt(kind, text), expected, "{text}");
        }
    }

    #[test]
    fn an_argument_of_several_lines_or_with_escapes_is_not_shown() {
        let command =
            clap::Command::new("test").arg(clap::Arg::new("name")).arg(clap::Arg::new("n").long("n"));
        for secret in [
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEcanary12345\n",
            "canary\u{1b}[31mcanary",
            "canary\r\n",
        ] {
            for arguments in [["test", "name", secret], ["test", "--n", "1"]] {
                let arguments =
                    if arguments[1] == "--n" { vec!["test", "--no", secret] } else { arguments.to_vec() };
                let shown = command.clone().try_get_matches_from(arguments).err().map(|error| text(&error));
                assert!(
                    shown.as_ref().is_some_and(|text| !text.contains("canary") && text.contains("--help")),
                    "{shown:?}"
                );
            }
        }
    }

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
