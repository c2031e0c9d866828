//! The lines of a text, whichever way they end.

/// Lines that end with a line feed, a carriage return, or both. A carriage return alone ends the lines of some old systems,
/// and hides the text before it on a terminal.
pub(super) struct Lines<'a> {
    pub(super) texts: Vec<&'a str>,
    /// Where each begins, in bytes.
    pub(super) starts: Vec<usize>,
    /// Their numbers from 1 as editors count: a carriage return counts only in a text without line feeds.
    numbers: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let counts_returns = !text.contains('\n');
        let mut lines = Self { texts: Vec::new(), starts: Vec::new(), numbers: Vec::new() };
        let (mut rest, mut start, mut number) = (text, 0, 1);
        loop {
            let end = rest.find(['\n', '\r']);
            lines.texts.push(&rest[..end.unwrap_or(rest.len())]);
            lines.starts.push(start);
            lines.numbers.push(number);
            let Some(end) = end else { return lines };
            let is_feed = rest[end..].starts_with('\n');
            let length = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
            number += usize::from(is_feed || length == 2 || counts_returns);
            start += end + length;
            rest = &rest[end + length..];
        }
    }

    /// The line that a byte of the text is in, from 0.
    pub(super) fn at(&self, byte: usize) -> usize {
        self.starts.partition_point(|start| *start <= byte).saturating_sub(1)
    }

    pub(super) fn number(&self, line: usize) -> usize {
        self.numbers[line]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_three_ways_and_are_numbered_as_editors_do() {
        let numbered = |text| {
            let lines = Lines::of(text);
            let of = |(at, line): (usize, &&str)| (lines.number(at), (*line).to_owned());
            lines.texts.iter().enumerate().map(of).collect::<Vec<_>>()
        };
        let line = |number: usize, text: &str| (number, text.to_owned());
        assert_eq!(numbered("a\nb\r\nc"), [line(1, "a"), line(2, "b"), line(3, "c")]);
        assert_eq!(numbered("a\rb\n\nc"), [line(1, "a"), line(1, "b"), line(2, ""), line(3, "c")]);
        assert_eq!(numbered("a\rb\r"), [line(1, "a"), line(2, "b"), line(3, "")]);
        assert_eq!(numbered(""), [line(1, "")]);
        assert_eq!((Lines::of("a\r\nbc").at(3), Lines::of("a\r\nbc").at(0)), (1, 0));
    }
}
