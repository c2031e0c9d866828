//! `migrate-tokens`: moves a table of tokens under envelope encryption, and looks after it there.

#[tokio::main]
async fn main() {
    let exit = migrate_cli::migrate_tokens::run(std::env::args_os()).await;
    // The end of the runtime would wait for a thread that still reads standard input.
    std::process::exit(exit as i32)
}
