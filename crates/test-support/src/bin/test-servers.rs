//! Holds the servers that tests need up until its standard input closes: `test-servers postgres mariadb moto`.
#![expect(clippy::print_stderr, reason = "a program says on standard error what went wrong")]

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let code = match test_support::servers::run(&parts).await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("test-servers: {error}");
            2
        }
    };
    // Not a return: the runtime would wait for the thread that reads standard input.
    std::process::exit(code)
}
