//! A wrong configuration ends the start with its code and a hint; the socket is created with its final mode.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Client, Place, Sql, TOKEN, twitch};

/// Expects this exit code, and a message about this variable with a hint.
#[track_caller]
fn refused(place: &Place, code: i32, named: &str) {
    let (ended, said) = place.refused();
    assert_eq!(ended, Some(code), "{said}");
    assert!(said.contains(&format!("error: {named}")) && said.contains("hint: "), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_named() {
    let db = Sql::sqlite().await;
    let mut place = Place::on(&db).await;
    place.set("AGENT_LISTEN", "0.0.0.0:8080");
    refused(&place, 2, "AGENT_LISTEN");
    place.set("AGENT_LISTEN", "127.0.0.1:0");
    refused(&place, 2, "AGENT_TOKEN_FILE");
    let tokens = place.write("tokens", &format!("billing:{TOKEN}\n"));
    place.set("AGENT_TOKEN_FILE", tokens.to_str().unwrap());
    refused(&place, 2, "AGENT_POLICY");
    place.policy("[[allow]]\ntoken = \"billing\"\ndo = [\"get\"]\ntables = [\"absent\"]\n");
    refused(&place, 2, "AGENT_POLICY");
    place.policy("[[allow]]\ntoken = \"billing\"\ndo = [\"get\"]\ntables = [\"oauth_tokens\"]\nowner = { tenant_id = \"a\" }\n");
    refused(&place, 2, "AGENT_POLICY");
    place.policy("[[allow]]\ntoken = \"billing\"\ndo = [\"get\"]\ntables = [\"users\"]\nowner = { tenant_id = \"a\" }\n");
    for mode in [0o640, 0o604, 0o620] {
        std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(mode)).unwrap();
        refused(&place, 2, "AGENT_TOKEN_FILE");
    }
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o600)).unwrap();
    place.set("BINDING", "off");
    refused(&place, 2, "BINDING");
    place.set("BINDING", "accept-unbound").set("KMS_KEY_ID", "").set("PLAINTEXT_POLICY", "allow");
    refused(&place, 2, "KMS_KEY_ID");
    place.set("KMS_KEY_ID", "keyring:absent.json");
    assert_eq!(place.refused().0, Some(2));
    place.set("KMS_KEY_ID", "keyring:keyring.json").set("DATABASE_URL", "sqlite:///nowhere/tokens.db");
    let (code, said) = place.refused();
    assert!(code == Some(6) && said.contains("hint: ") && said.contains("DATABASE_URL"), "{said}");
    place.set("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none?sslmode=disable");
    let (code, said) = place.refused();
    assert!(code == Some(6) && said.contains("hint: check DATABASE_URL"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_serves_nothing() {
    let db = Sql::sqlite().await;
    let place = Place::on(&db).await;
    let output = place.command().arg("--check").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!place.path("agent.sock").exists());
    let mut wrong = place.command();
    let output = wrong.arg("--check").env("AGENT_SOCKET_GROUP", "no-such-group").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("error: AGENT_SOCKET_GROUP") && said.contains("hint: "), "{said}");
    for (argument, code) in [("--version", 0), ("--help", 0), ("--unknown", 2)] {
        assert_eq!(place.command().arg(argument).output().unwrap().status.code(), Some(code));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_is_for_its_owner_alone_and_replaces_nothing_that_is_in_use() {
    let db = Sql::sqlite().await;
    let place = Place::on(&db).await;
    let mut agent = place.start();
    let found = std::fs::symlink_metadata(&agent.socket).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o600);
    let left: Vec<_> =
        std::fs::read_dir(place.path("")).unwrap().flatten().map(|one| one.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".a")), "{left:?}");
    refused(&place, 2, "AGENT_LISTEN");
    assert_eq!(agent.client().get("/healthz").status, 200, "the first one still runs");
    agent.child.kill().unwrap();
    agent.wait();
    assert!(agent.socket.exists(), "a killed agent leaves its socket");
    let mut agent = place.start();
    // The socket of another that took its place is left alone.
    std::fs::remove_file(&agent.socket).unwrap();
    let _other = UnixListener::bind(&agent.socket).unwrap();
    agent.signal("TERM");
    assert_eq!(agent.wait(), Some(0));
    assert!(agent.socket.exists());
    std::fs::remove_file(&agent.socket).unwrap();
    std::fs::write(&agent.socket, "a file").unwrap();
    refused(&place, 2, "AGENT_LISTEN");
    assert_eq!(std::fs::read_to_string(&agent.socket).unwrap(), "a file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_of_systemd_is_taken() {
    let db = Sql::sqlite().await;
    let place = Place::on(&db).await;
    let path = place.path("passed.sock");
    // As systemd does: the socket is file 3, and the variables name the process that it is for.
    let script = "\
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
if s.fileno() != 3: os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')
os.execv(sys.argv[2], [sys.argv[2]])
";
    let agent = place.command();
    let mut command = Command::new("python3");
    command.arg("-c").arg(script).arg(&path).arg(agent.get_program()).env_clear();
    command
        .envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(place.path(""));
    command.env("PATH", std::env::var_os("PATH").unwrap());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !path.exists() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let answer = Client::unix(&path).post("/v1/tokens/get", &json!({ "row": twitch("me") }));
    assert_eq!(answer.class(404), "not_found");
    assert!(!place.path("agent.sock").exists());
    child.kill().unwrap();
    child.wait().unwrap();
}
