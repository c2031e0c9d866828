//! Relative links in Markdown files, and whether their targets exist.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Directories that hold nothing of ours.
const SKIPPED: [&str; 4] = ["target", ".git", ".terraform", "node_modules"];

/// Every relative link below a directory that names no file, as `file:line: link`.
pub(super) fn broken_links(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    for file in markdown_files(root)? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let directory = file.parent().unwrap_or(root);
        for (line, link) in links(&text) {
            if !exists(root, directory, &link) {
                let shown = file.strip_prefix(root).unwrap_or(&file).display();
                broken.push(format!("{shown}:{line}: no such file: {link}"));
            }
        }
    }
    Ok(broken)
}

fn markdown_files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", directory.display()))?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && !SKIPPED.iter().any(|skipped| name == *skipped) {
            files.extend(markdown_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn exists(root: &Path, directory: &Path, link: &str) -> bool {
    let path = link.split(['#', '?']).next().unwrap_or_default().replace("%20", " ");
    match path.strip_prefix('/') {
        Some(from_root) => root.join(from_root).exists(),
        None => directory.join(path).exists(),
    }
}

/// The relative links of a text with their line numbers, code left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let marker = ["```", "~~~"].into_iter().find(|marker| start.starts_with(marker));
        match (fence, marker) {
            (None, Some(marker)) => fence = Some(marker),
            (Some(open), Some(marker)) if open == marker => fence = None,
            (Some(_), _) => {}
            (None, None) => found.extend(links_of_line(line).into_iter().map(|link| (index + 1, link))),
        }
    }
    found
}

fn links_of_line(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let definition = prose
        .trim_start()
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]: "))
        .filter(|(label, _)| !label.starts_with('^') && !label.contains(']'))
        .map(|(_, target)| target);
    inline.chain(definition).filter_map(target).filter(|target| is_relative(target)).collect()
}

/// The target of a link without its title and brackets.
fn target(link: &str) -> Option<String> {
    let link = link.trim();
    match link.strip_prefix('<') {
        Some(rest) => rest.split('>').next().map(str::to_owned),
        None => link.split_whitespace().next().map(str::to_owned),
    }
}

fn is_relative(target: &str) -> bool {
    let scheme_end = target.find(':').unwrap_or(target.len());
    let has_scheme =
        scheme_end < target.len() && target[..scheme_end].chars().all(|c| c.is_ascii_alphanumeric());
    // A name in brackets that rustdoc resolves, such as `crate::Type`, is no path.
    !has_scheme && !target.starts_with('#') && !target.contains("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_links_are_found_and_others_are_not() {
        let text = "\
[a](docs/a.md#part) ![b](<b c.png>) [web](https://example.com) [top](#top) [mail](mailto:a@b.c)
`[code](not/a/link)` [t](x.md \"title\")
```text
[code](not/a/link)
```
[ref]: ref.md
[Type]: crate::Type
[^1]: a footnote
";
        let found: Vec<(usize, String)> = links(text);
        let expected = [(1, "docs/a.md#part"), (1, "b c.png"), (2, "x.md"), (6, "ref.md")]
            .map(|(line, link)| (line, link.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn the_target_of_a_link_is_looked_for_next_to_its_file_or_from_the_root() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(exists(here, &here.join("src"), "main.rs#L1"));
        assert!(exists(here, &here.join("src"), "/Cargo.toml"));
        assert!(!exists(here, here, "main.rs"));
    }
}
