//! A `.env` file is read by the usual grammar, and refused in production.

use envelope_core::Environment;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use secrecy::ExposeSecret;
use secrets_cache::source::dotenv::{self, Dotenv, DotenvFile, Doubt};
use secrets_cache::source::{ListRequest, list_all};
use secrets_cache::{SecretSource, SourceError, Stage};

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
    let doubtful: Vec<_> =
        entries.iter().filter_map(|entry| Some((entry.name.as_str(), entry.doubt?))).collect();
    assert_eq!(doubtful, [("E", Doubt::Reference), ("H", Doubt::Hash), ("I", Doubt::Hash)]);
}

#[test]
fn every_setting_of_a_name_is_told_with_its_line() {
    let file = file("\u{feff}A=1\n\nB=\"x\nA=inner\n\"\r\nA=2\rA=2\n# end\n");
    let settings = dotenv::read(file.path()).unwrap();
    let told: Vec<(&str, &str, u32)> =
        settings.iter().map(|entry| (entry.name.as_str(), entry.value.expose_secret(), entry.line)).collect();
    assert_eq!(told, [("A", "1", 1), ("B", "x\nA=inner\n", 3), ("A", "2", 6), ("A", "2", 7)]);
}

#[test]
fn a_comment_with_an_open_quote_hides_no_setting() {
    let file = DotenvFile::parse("# OLD=\"x\nA=1\n  # B='\nC=2\n");
    let names: Vec<&str> = file.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!((names, file.unreadable.len()), (vec!["A", "C"], 0));
}

#[test]
fn lines_after_an_unclosed_quote_are_doubtful_and_none_is_passed_over() {
    let file = DotenvFile::parse("A=1\nB=\"open\nC=3\nD='x'\n");
    let found: Vec<_> = file.entries.iter().map(|entry| (entry.name.as_str(), entry.doubt)).collect();
    let inside = Some(Doubt::InsideQuote { line: 2 });
    assert_eq!(found, [("A", None), ("C", inside), ("D", inside)]);
    assert_eq!((file.unreadable[0].line, file.unreadable[0].doubt), (2, Doubt::UnclosedQuote));
    let file = DotenvFile::parse("B=\"open\nC=\"3\"\nD=4\n");
    let found: Vec<_> = file.entries.iter().map(|entry| (entry.name.as_str(), entry.doubt)).collect();
    assert_eq!(found, [("C", Some(Doubt::InsideQuote { line: 1 })), ("D", None)]);
}

#[test]
fn a_value_of_several_lines_that_holds_a_setting_is_doubtful_and_a_key_is_not() {
    let doubt = |text: &str| DotenvFile::parse(text).entries[0].doubt;
    assert_eq!(doubt("A='x\nB=y\nz'\n"), Some(Doubt::InnerSetting));
    assert_eq!(doubt("K=\"-----BEGIN X-----\nMIIabc\nQ==\nabc=\n-----END X-----\"\n"), None);
}

#[test]
fn no_text_makes_the_parser_panic_and_values_leave_the_rest_to_the_byte() {
    let mut runner = TestRunner::new(Config { cases: 2_000, failure_persistence: None, ..Config::default() });
    let text = "([A-C]{0,2}[ \t]?=?[ \t]?['\"`#$\\\\{}x =\u{a0}]{0,6}[\r\n]{0,2}){0,8}";
    let checked = runner.run(&text.prop_map(|text: String| text), |text| {
        let file = DotenvFile::parse(&text);
        prop_assert_eq!(&*file.without_values(&text, |_| false), &text);
        let left = file.without_values(&text, |_| true);
        let again = DotenvFile::parse(&left);
        prop_assert_eq!(again.entries.len(), file.entries.len(), "{:?} {:?}", text, &*left);
        for (before, after) in file.entries.iter().zip(&again.entries) {
            prop_assert_eq!(&before.name, &after.name);
            prop_assert!(before.doubt.is_some() || after.is_empty(), "{:?} {:?}", text, &*left);
        }
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn ten_thousand_lines_are_read_without_looking_back() {
    // Each of these made an earlier parser begin again.
    for line in ["A=1\n", "A='x\n", "A=\"x\n", "# A='\n", "A\n", "A=\\\n"] {
        let file = DotenvFile::parse(&line.repeat(10_000));
        assert!(file.entries.len() + file.unreadable.len() <= 10_000);
    }
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

#[test]
fn an_unquoted_backslash_and_a_carriage_return_in_quotes_are_doubtful() {
    let doubt = |text: &str| DotenvFile::parse(text).entries[0].doubt;
    for text in ["A=C:\\temp\n", "A=\\\\host\\share\n", "A=a\\b c\n", "A=x\\\n"] {
        assert_eq!(doubt(text), Some(Doubt::Escape), "{text:?}");
    }
    assert_eq!(doubt("A='C:\\temp'\n"), None);
    assert_eq!(doubt("A=\"x\r\ny\"\r\n"), Some(Doubt::CarriageReturn));
    assert_eq!(doubt("A='x\ry'\n"), Some(Doubt::CarriageReturn));
    assert_eq!(doubt("A=\"x\\r\\ny\"\r\n"), None);
}

#[tokio::test]
async fn a_name_is_a_variable_in_any_spelling_as_in_the_environment() {
    let file = file("CRM_KEY=1\nhttp_proxy=2\nHTTP_PROXY=3\nno_proxy=4\nDb_Url=5\n");
    let source = Dotenv::open(file.path(), Environment::Development).unwrap();
    for (asked, expected) in [
        ("CRM_KEY", Some("1")),
        ("crm/key", Some("1")),
        ("crm-key", Some("1")),
        ("crm_key", Some("1")),
        ("Crm_Key", Some("1")),
        ("http_proxy", Some("2")),
        ("HTTP_PROXY", Some("3")),
        ("Http_Proxy", Some("3")),
        ("http-proxy", Some("3")),
        ("no_proxy", Some("4")),
        ("no-proxy", Some("4")),
        ("NO_PROXY", None),
        ("db-url", Some("5")),
        ("crm", None),
    ] {
        let found = source.get(&name(asked), &Stage::Current).await.ok();
        assert_eq!(found.as_ref().map(text), expected, "{asked}");
    }
    assert_eq!(source.own_name(&name("crm_key")), name("CRM_KEY"));
    assert_eq!(list_all(&source, &ListRequest::default()).await.unwrap().len(), 5);
}
