//! A test without its part is recorded by name, or fails where the part is required.

use std::path::Path;
use std::process::{Command, Output};

use test_support::parts::{settle, test_name};
use test_support::{Unavailable, part};

/// Set in a process that has to behave like a test whose part is missing.
const SUBJECT: &str = "TOKENSEAL_TEST_SUBJECT";

/// Runs this module's subject in a process of its own, because the rule reads the environment.
fn run_subject(environment: &[(&str, &Path)]) -> Output {
    let this = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(this);
    command.args(["--exact", "--nocapture"]).arg(format!("{}::subject", module()));
    command.env_remove("TOKENSEAL_NOT_RUN").env_remove("TOKENSEAL_REQUIRE").envs(environment.iter().copied());
    command.env(SUBJECT, "1").env("TOKENSEAL_TEST_MOTO_URL", "unavailable:a test\nsaid so");
    command.output().expect("the test program runs")
}

fn module() -> &'static str {
    module_path!().split_once("::").expect("a module inside the crate").1
}

#[tokio::test]
async fn subject() {
    if std::env::var_os(SUBJECT).is_some() {
        let moto = part!(moto);
        unreachable!("continued without its part, with {moto:?}");
    }
}

#[test]
fn a_missing_part_ends_the_test_and_records_its_name_and_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    let record = directory.path().join("not-run");
    let outcome = run_subject(&[("TOKENSEAL_NOT_RUN", &record), ("TOKENSEAL_REQUIRE", Path::new("docker"))]);
    assert!(outcome.status.success(), "{outcome:?}");
    let recorded = std::fs::read_to_string(record).expect("the record");
    assert_eq!(recorded, format!("moto\ttest-support/it::{}::subject\ta test said so\n", module()));
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("not run: "), "{outcome:?}");
}

#[test]
fn a_missing_part_that_is_required_fails_the_test() {
    let outcome = run_subject(&[("TOKENSEAL_REQUIRE", Path::new("postgres, moto"))]);
    assert!(!outcome.status.success(), "{outcome:?}");
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("the required part `moto` is missing"));
}

#[test]
fn a_part_that_is_there_passes_through() {
    assert_eq!(settle::<u8>("postgres", "any", Ok(7)), Some(7));
    fn here() {}
    assert!(test_name("any", &here).ends_with("a_part_that_is_there_passes_through"));
    assert_eq!(Unavailable::new("two\tlines\nof reason").to_string(), "two lines of reason");
}
