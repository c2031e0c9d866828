//! `manage-secrets`: moves secrets out of `.env` files, and looks after them where they are then.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    migrate_cli::manage_secrets::run(std::env::args_os()).await.into()
}
