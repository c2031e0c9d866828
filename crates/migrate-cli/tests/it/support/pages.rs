//! The commands in the documentation, so that a test can run them.

use std::collections::BTreeSet;
use std::path::Path;

/// A fenced block of a page.
struct Block {
    heading: String,
    language: String,
    text: String,
}

impl Block {
    fn runs_our_programs(&self) -> bool {
        self.language == "sh"
            && ["migrate-tokens", "manage-secrets"].iter().any(|name| self.text.contains(name))
    }
}

/// Every fenced block of a page below docs/, with the heading above it.
fn blocks(page: &str) -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let (mut heading, mut found, mut open) = (String::new(), Vec::new(), None::<Block>);
    for line in std::fs::read_to_string(path).unwrap().lines() {
        match (open.take(), line.trim_start().strip_prefix("```")) {
            (Some(block), Some(_)) => found.push(block),
            (Some(mut block), None) => {
                block.text.extend([line.trim_start(), "\n"]);
                open = Some(block);
            }
            (None, Some(language)) => {
                open =
                    Some(Block { heading: heading.clone(), language: language.into(), text: String::new() });
            }
            (None, None) => heading = line.strip_prefix("## ").map_or(heading, Into::into),
        }
    }
    found
}

/// The headings of a page that have commands under them, and never none.
pub(crate) fn headings_with_commands(page: &str) -> BTreeSet<String> {
    let found = blocks(page).into_iter().filter(Block::runs_our_programs);
    let headings: BTreeSet<String> = found.map(|block| block.heading).collect();
    assert!(!headings.is_empty(), "{page} has no commands");
    headings
}

/// The blocks under a heading that run our programs: as many as the rehearsal expects.
#[track_caller]
pub(crate) fn commands<const N: usize>(page: &str, heading: &str) -> [String; N] {
    let found =
        blocks(page).into_iter().filter(|block| block.heading == heading && block.runs_our_programs());
    let texts: Vec<String> = found.map(|block| block.text).collect();
    texts
        .try_into()
        .unwrap_or_else(|texts| panic!("{page}, {heading}: {N} blocks expected, found {texts:#?}"))
}

/// The statements of SQL under a heading, about this key.
pub(crate) fn statements(page: &str, heading: &str, key: &str) -> Vec<String> {
    let found = blocks(page).into_iter().filter(|block| block.heading == heading && block.language == "sql");
    found.map(|block| block.text.replace("ARN OF THE LOST KEY", key)).collect()
}
