//! `cargo xtask help`.

use std::process::ExitCode;

use crate::options::KNOWN_PARTS;
use crate::steps::STEPS;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    println!("usage: cargo xtask <command> [options]\n\ncommands:");
    let others = [
        ("ci", "every step from `fmt` to `docs`, and what ran and what did not"),
        ("api", "the public interface of the published crates, written into docs/api.md"),
        ("bench", "the benches, written into docs/performance.md; --quick for a rough idea"),
        ("chaos", "a key service that fails in every way, scenario by scenario"),
        ("demo", "an end-to-end demo on SQLite and a local keyring; arguments go to `migrate-tokens demo`"),
        ("man", "man pages of the programs, written to target/man or to the directory that is named"),
        ("peers", "sealing and opening next to other libraries, in one run; a table for docs/performance.md"),
        ("aws-live", "the tests against a real AWS account; needs credentials and KMS_TEST_KEY_ID"),
        ("conformance", "the suite for key services against another emulator of AWS KMS; --endpoint URL"),
        ("mutants", "changes of `core`, `cache` or `floor` that no test notices; hours for all of `core`"),
        ("help", "this list"),
    ];
    let steps = STEPS.iter().map(|step| (step.name, step.summary));
    for (name, summary) in steps.chain(others) {
        println!("  {name:<12} {summary}");
    }
    println!("\noptions of `ci` and of its steps:");
    println!("  --require A,B   fail if one of these parts did not run: {}", KNOWN_PARTS.join(", "));
    println!("  --fail-fast     stop at the first step that fails");
    println!("  --renew         for `instructions`: store the new counts");
    println!("  -- ARGS         for `test` and `doctest`: arguments for `cargo test`");
    Ok(ExitCode::SUCCESS)
}
