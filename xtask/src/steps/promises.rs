//! The promises of docs/promises.md, and whether the tests that it names exist.

use std::fs;
use std::path::Path;

use anyhow::Context;

const PAGE: &str = "docs/promises.md";

/// A promise: its heading, and the tests that are listed under it.
struct Promise<'a> {
    line: usize,
    heading: &'a str,
    tests: Vec<Named<'a>>,
}

/// A test as the page names it: a list item that is a link to the test's file.
struct Named<'a> {
    line: usize,
    /// `module::name`, as `cargo test` takes it.
    test: &'a str,
    file: &'a str,
}

/// Each promise without a test, and each named test that does not exist or is ignored, as `file:line: problem`.
pub(super) fn broken_promises(root: &Path) -> anyhow::Result<Vec<String>> {
    let page = root.join(PAGE);
    let text = fs::read_to_string(&page).with_context(|| format!("cannot read {PAGE}"))?;
    let promises = promises(&text);
    let mut broken = Vec::new();
    if promises.is_empty() {
        broken.push(format!("{PAGE}:1: the page holds no promise"));
    }
    for Promise { line, heading, tests } in promises {
        if tests.is_empty() {
            broken.push(format!("{PAGE}:{line}: no test keeps the promise: {heading}"));
        }
        for Named { line, test, file } in tests {
            let path = page.with_file_name(file);
            let code =
                fs::read_to_string(&path).with_context(|| format!("{PAGE}:{line}: cannot read {file}"))?;
            if !has_test(&code, test.rsplit("::").next().unwrap_or(test)) {
                broken.push(format!("{PAGE}:{line}: no test that runs is called {test} in {file}"));
            }
        }
    }
    Ok(broken)
}

fn promises(text: &str) -> Vec<Promise<'_>> {
    let mut promises: Vec<Promise<'_>> = Vec::new();
    for (index, text) in text.lines().enumerate() {
        let line = index + 1;
        if let Some(heading) = text.strip_prefix("### ") {
            promises.push(Promise { line, heading, tests: Vec::new() });
        } else if let (Some((test, file)), Some(promise)) = (named_test(text), promises.last_mut()) {
            promise.tests.push(Named { line, test, file });
        }
    }
    promises
}

fn named_test(line: &str) -> Option<(&str, &str)> {
    let (test, rest) = line.strip_prefix("- [`")?.split_once("`](")?;
    Some((test, rest.strip_suffix(')')?))
}

/// Whether a file has a test of this name, of its own or in a macro that runs one body on each database.
fn has_test(code: &str, name: &str) -> bool {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(index, line)| {
        let Some(arguments) = arguments_of(line, name) else {
            return false;
        };
        // The parameters of a macro's body are names without types.
        let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
        let is_body = arguments.split(", ").all(is_name);
        let attributes: Vec<&str> =
            lines[..index].iter().rev().take_while(|line| is_attached(line)).copied().collect();
        let is_test = attributes.iter().any(|line| line.starts_with("#[test]") || line.contains("::test"));
        let is_ignored = attributes.iter().any(|line| line.starts_with("#[ignore"));
        (is_body || is_test) && !is_ignored
    })
}

/// The text between the parentheses of a function of this name, if the line begins one.
fn arguments_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let rest = line.strip_prefix("fn ")?.strip_prefix(name)?.strip_prefix('(')?;
    rest.split(')').next()
}

/// An attribute or a comment, which belongs to the item after it.
fn is_attached(line: &str) -> bool {
    line.starts_with("#[") || line.starts_with("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "\
fn helper() {}
#[test]
fn plain() {}
#[tokio::test(flavor = \"multi_thread\")]
/// Why.
async fn on_a_runtime() {}
#[test]
#[ignore = \"needs an account\"]
fn ignored() {}
on_each_database! {
    async fn on_all(db) {
    }
}
async fn with_a_type(db: Sql) {}
";

    #[test]
    fn a_test_is_found_by_its_attribute_or_in_a_macro_and_a_helper_is_none() {
        for name in ["plain", "on_a_runtime", "on_all"] {
            assert!(has_test(CODE, name), "{name}");
        }
        for name in ["helper", "ignored", "with_a_type", "plai", "gone"] {
            assert!(!has_test(CODE, name), "{name}");
        }
    }

    #[test]
    fn tests_belong_to_the_promise_above_them() {
        let text =
            "# P\n- [`a::early`](x.rs)\n### One\n\n- [`a::b`](../x.rs)\n- [`a::c`](../y.rs)\n### Two\ntext\n";
        let promises = promises(text);
        let tests: Vec<(&str, &str)> =
            promises[0].tests.iter().map(|named| (named.test, named.file)).collect();
        assert_eq!(tests, [("a::b", "../x.rs"), ("a::c", "../y.rs")]);
        assert_eq!((promises[1].line, promises[1].heading, promises[1].tests.len()), (7, "Two", 0));
    }

    #[test]
    fn the_page_itself_is_kept() -> anyhow::Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no root")?;
        assert_eq!(broken_promises(root)?, Vec::<String>::new());
        Ok(())
    }
}
