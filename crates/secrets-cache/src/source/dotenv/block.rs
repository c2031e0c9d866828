//! Text of several lines without quotes, such as a private key in PEM: its lines can look like settings.

use crate::pem;

/// Whether a line begins such a text.
pub(super) fn begins(line: &str) -> bool {
    pem::beginning(line).is_some()
}

/// Where the lines end that belong to the text which the line that ends here begins.
pub(super) fn end(text: &str, line_end: usize) -> usize {
    let mut end = line_end;
    for line in text[line_end..].split_inclusive(['\r', '\n']) {
        if pem::is_end(line) {
            return end + line.len();
        }
        if !pem::is_inside(line) {
            break;
        }
        end += line.len();
    }
    end
}

/// Whether a line that reads as NAME and `=` is rather the end of base64 text.
pub(super) fn is_padding(name: &str, from_equals: &str) -> bool {
    pem::is_base64(name.trim()) && from_equals.trim_end() == "=="
}
