//! The program `test-servers`: it keeps servers running until its standard input closes.

use std::io::Write;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::availability::{Effort, Unavailable};
use crate::{docker, mariadb, moto, openbao, postgres};

/// The parts that the program knows.
pub const PARTS: [&str; 5] = ["postgres", "mariadb", "docker", "moto", "openbao"];

/// Brings up the named parts, reports each in a line of JSON on standard output, and waits for the end.
///
/// A line is `{"part", "url", "how"}`, or `{"part", "unavailable"}` with the reason.
///
/// # Errors
/// A part is unknown, or standard output is closed.
pub async fn run(parts: &[String]) -> Result<(), String> {
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
        return Err(format!("unknown part `{unknown}`: choose among {}", PARTS.join(", ")));
    }
    let wanted = |part: &str| parts.iter().any(|wanted| wanted == part);
    let bring_up = async {
        let databases = async {
            // In this order, because the first may use the image that the second makes.
            let docker = if wanted("docker") { Some(docker().await?) } else { None };
            let postgres = if wanted("postgres") { Some(postgres().await?) } else { None };
            Ok::<_, String>((docker, postgres))
        };
        let mariadb = async { if wanted("mariadb") { mariadb().await } else { Ok(None) } };
        let emulator = async { if wanted("moto") { moto().await } else { Ok(None) } };
        let openbao = async { if wanted("openbao") { openbao().await } else { Ok(None) } };
        tokio::try_join!(databases, mariadb, emulator, openbao)
    };
    tokio::select! {
        servers = bring_up => {
            // Held until the end, because dropping a server stops it.
            let _servers = servers?;
            wait_for_the_end().await;
        }
        () = wait_for_the_end() => {}
    }
    Ok(())
}

async fn docker() -> Result<(), String> {
    let engine = docker::Engine::find(Effort::Install).await;
    report("docker", engine.as_ref().map(|engine| (engine.image(), engine.version())))
}

async fn postgres() -> Result<Option<postgres::Server>, String> {
    let server = postgres::Server::find(Effort::Install).await;
    report("postgres", server.as_ref().map(|server| (server.admin_url(), server.how())))?;
    Ok(server.ok())
}

async fn mariadb() -> Result<Option<mariadb::Server>, String> {
    let server = mariadb::Server::find(Effort::Install).await;
    report("mariadb", server.as_ref().map(|server| (server.admin_url(), server.how())))?;
    Ok(server.ok())
}

async fn openbao() -> Result<Option<openbao::Server>, String> {
    let server = openbao::Server::find(Effort::Install).await;
    report("openbao", server.as_ref().map(|server| (server.bao().address(), server.how())))?;
    Ok(server.ok())
}

async fn moto() -> Result<Option<moto::Server>, String> {
    let server = moto::Server::find(Effort::Install).await;
    report("moto", server.as_ref().map(|server| (server.moto().endpoint(), server.how())))?;
    Ok(server.ok())
}

fn report(part: &str, outcome: Result<(&str, &str), &Unavailable>) -> Result<(), String> {
    let line: Value = match outcome {
        Ok((url, how)) => json!({ "part": part, "url": url, "how": how }),
        Err(reason) => json!({ "part": part, "unavailable": reason.to_string() }),
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(|error| format!("cannot write to standard output: {error}"))
}

/// Returns when standard input closes, or when a signal asks the program to end.
async fn wait_for_the_end() {
    let input = async {
        let mut ignored = [0; 256];
        let mut stdin = tokio::io::stdin();
        while !matches!(stdin.read(&mut ignored).await, Ok(0) | Err(_)) {}
    };
    let mut terminate = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler for SIGINT");
    tokio::select! {
        () = input => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
