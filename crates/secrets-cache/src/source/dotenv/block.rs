//! Text of several lines without quotes, such as a private key in PEM (RFC 7468): its lines can look like settings.

const BEGINS: &str = "-----BEGIN ";
const ENDS: &str = "-----END ";
/// Headers of an encrypted key (RFC 1421).
const HEADERS: [&str; 2] = ["Proc-Type:", "DEK-Info:"];

/// Whether a line begins such a text.
pub(super) fn begins(line: &str) -> bool {
    line.rfind(BEGINS).is_some_and(|at| !line[at..].contains(ENDS))
}

/// Where the lines end that belong to the text which the line that ends here begins.
pub(super) fn end(text: &str, line_end: usize) -> usize {
    let mut end = line_end;
    for line in text[line_end..].split_inclusive(['\r', '\n']) {
        if line.contains(ENDS) {
            return end + line.len();
        }
        if !is_base64(line.trim()) && !HEADERS.iter().any(|header| line.trim_start().starts_with(header)) {
            break;
        }
        end += line.len();
    }
    end
}

/// Whether a line that reads as NAME and `=` is rather the end of base64 text.
pub(super) fn is_padding(name: &str, from_equals: &str) -> bool {
    is_base64(name.trim()) && from_equals.trim_end() == "=="
}

fn is_base64(line: &str) -> bool {
    line.trim_end_matches('=').bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}
