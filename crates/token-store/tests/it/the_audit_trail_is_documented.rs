//! docs/audit.md names every audit event and every field of both crates that have any, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names<'a>(found: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    found.map(ToOwned::to_owned).collect()
}

/// The values of a module's constants, except for the target.
fn events(source: &str) -> BTreeSet<String> {
    let constants =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = \""));
    names(constants.filter(|(name, _)| *name != "TARGET").map(|(_, value)| value.trim_end_matches("\";")))
}

/// The fields of an event's record, and the counts in the event at the end of a run.
fn fields(source: &str) -> BTreeSet<String> {
    let heads = ["struct Record<'a> {", "struct RunCounts {", "struct VerificationCounts {"];
    let structs = heads.iter().filter_map(|head| source.split_once(head)?.1.split_once("\n}"));
    let fields = structs.flat_map(|(body, _)| body.lines()).filter_map(|line| line.trim().split_once(": "));
    names(fields.map(|(name, _)| name.trim_start_matches("pub(crate) ")))
}

/// The names in the first column of a section's tables whose heads begin like this.
fn documented(section: &str, head: &str) -> BTreeSet<String> {
    let rows = section.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let cells = rows.take_while(|line| line.starts_with('|')).filter_map(|line| line.split('|').nth(1));
    names(cells.flat_map(|cell| cell.split(',')).map(|name| name.trim().trim_matches('`')))
}

#[test]
fn with_all_its_events_and_fields() {
    let page = file("docs/audit.md");
    let (tokens, secrets) = page.split_once("\n## Tokens\n").unwrap().1.split_once("\n## Secrets\n").unwrap();
    let of_secrets = file("crates/secrets-cache/src/audit.rs");
    let crates = [
        (tokens, file("crates/token-store/src/audit.rs"), file("crates/token-store/src/audit/trail.rs")),
        (secrets, of_secrets.clone(), of_secrets),
    ];
    for (section, constants, record) in crates {
        assert!(events(&constants).len() > 10 && fields(&record).len() > 5, "the sources are read right");
        assert_eq!(documented(section, "| event "), events(&constants));
        assert_eq!(documented(section, "| field "), fields(&record));
    }
}
