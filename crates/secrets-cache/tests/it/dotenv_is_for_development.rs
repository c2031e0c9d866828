//! A `.env` file is read by the usual grammar, and refused in production.

use secrecy::ExposeSecret;
use secrets_cache::source::dotenv::{self, Dotenv};
use secrets_cache::source::{ListRequest, list_all};
use secrets_cache::{Environment, SecretSource, SourceError, Stage};

use crate::support::{name, text, whole};

const FILE: &str = "\u{feff}# comment\nexport A=1\nB = two words \nC='single $HOME #1'\nD=\"line\\nbreak \\\"q\\\"\"\n\
                    E=p$word${HOME}\nF=\nG=\"-----BEGIN X-----\nabc\n-----END X-----\"\nH=x # comment\nI=a#b\nA=again\r\n";

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test]
async fn by_the_usual_grammar_and_without_expansion() {
    let file = file(FILE);
    let source = Dotenv::open(file.path(), Environment::Development).unwrap();
    for (setting, expected) in [
        ("A", "again"),
        ("B", "two words"),
        ("C", "single $HOME #1"),
        ("D", "line\nbreak \"q\""),
        ("E", "p$word${HOME}"),
        ("F", ""),
        ("G", "-----BEGIN X-----\nabc\n-----END X-----"),
        ("H", "x"),
        ("I", "a"),
    ] {
        let secret = source.get(&name(setting), &Stage::Current).await.unwrap();
        assert_eq!(text(&secret), expected, "{setting}");
    }
    assert_eq!(list_all(&source, &ListRequest::default()).await.unwrap().len(), 9);
    let entries = dotenv::read(file.path()).unwrap();
    let cut: Vec<&str> =
        entries.iter().filter(|entry| entry.cut_at_hash).map(|entry| entry.name.as_str()).collect();
    assert_eq!(cut, ["I"], "a value that may have been meant longer is told");
    assert_eq!(entries[0].value.expose_secret(), "again");
}

#[test]
fn every_setting_of_a_name_is_told_with_its_line() {
    let file = file("\u{feff}A=1\n\nB=\"x\nA=inner\n\"\r\nA=2\rA=2\n# end\n");
    let settings = dotenv::read_every_setting(file.path()).unwrap();
    let told: Vec<(&str, &str, u32)> =
        settings.iter().map(|entry| (entry.name.as_str(), entry.value.expose_secret(), entry.line)).collect();
    assert_eq!(told, [("A", "1", 1), ("B", "x\nA=inner\n", 3), ("A", "2", 6), ("A", "2", 7)]);
    assert_eq!(dotenv::read(file.path()).unwrap().len(), 2);
}

#[tokio::test]
async fn never_in_production() {
    let file = file(FILE);
    let refused = Dotenv::open(file.path(), Environment::Production).err().unwrap();
    assert!(matches!(refused, SourceError::DevelopmentOnly { .. }));
    assert!(refused.hint().unwrap().contains("import"));
    Dotenv::open(file.path(), Environment::Staging).unwrap();
}

#[test]
fn errors_tell_the_line_and_not_its_text() {
    for (text, line) in
        [("A=1\ncanary\n", "line 2"), ("A='canary\n", "line 1"), ("A=1\n\nB\"canary\"=1", "line 3")]
    {
        let error = dotenv::read(file(text).path()).unwrap_err();
        let told = whole(&error);
        assert!(told.contains(line) && !told.contains("canary"), "{told}");
    }
    assert!(matches!(dotenv::read("/no/such/file".as_ref()), Err(SourceError::Storage { .. })));
}
