//! `tokenseal-agent`: a service's neighbour that opens, seals and keeps its tokens, for any language.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    tokenseal_agent::run(std::env::args_os()).await.into()
}
