//! `migrate-tokens`: moves a table of tokens under envelope encryption, and looks after it there.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    migrate_cli::migrate_tokens::run(std::env::args_os()).await.into()
}
