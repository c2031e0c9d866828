//! `manage-secrets`: moves secrets out of `.env` files, and looks after them where they are then.

#[tokio::main]
async fn main() {
    let exit = migrate_cli::manage_secrets::run(std::env::args_os()).await;
    // The end of the runtime would wait for a thread that still reads standard input.
    std::process::exit(exit as i32)
}
