//! Whoever may not ask is refused, each in its own way, and each refusal is recorded with who it was.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::json;
use test_support::part;

use crate::support::{Client, NOISE, Place, Sql, TOKEN, open_to_all, twitch};

const POLICY_OF_TOKENS: &str = "\
[[allow]]
token = \"billing\"
do = [\"get\", \"put\", \"secret\"]
tables = [\"users\"]
secrets = [\"CRM_*\", \"kms-master-key\", \"DATABASE_URL\"]
";

fn uid() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid()
}

fn me() -> String {
    format!("uid={}", uid())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_the_header_is_refused() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    for header in [None, Some("0"), Some("1, 1")] {
        let client = agent.client().header("X-Tokenseal", header);
        assert_eq!(client.post("/v1/tokens/get", &json!({ "row": twitch("me") })).class(401), "unauthorized");
    }
    let event =
        agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "header"), ("operation", "get")]);
    assert!(event["actor"].as_str().unwrap().contains(&me()), "{event}");
    for path in ["/healthz", "/readyz", "/metrics", "/v1/openapi.json"] {
        let answer = agent.client().header("X-Tokenseal", None).get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    assert_eq!(agent.client().post("/v1/none", &json!({})).class(404), "no_route");
    let answer = agent.client().get("/v1/tokens/get");
    assert_eq!((answer.class(405), answer.header("allow")), ("method".into(), Some("POST")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_long_or_breaks_off_is_refused() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    let long = json!({ "row": twitch("me"), "tokens": { "access_token": "x".repeat(3 << 20) } });
    assert_eq!(agent.post("/v1/tokens/put", &long).class(413), "body_too_long");
    agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "body_too_long")]);
    let fits = json!({ "row": twitch("me"), "tokens": { "access_token": "x".repeat(60_000) } });
    agent.post("/v1/tokens/put", &fits).expect(200);

    let mut chunked = agent.client().connect();
    let head =
        chunked.head("POST", "/v1/tokens/put", 0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    chunked.send(&head);
    let chunk = format!("10000\r\n{}\r\n", "y".repeat(0x10000));
    (0..48).for_each(|_| chunked.send(&chunk));
    chunked.send("0\r\n\r\n");
    assert_eq!(chunked.answer().unwrap().class(413), "body_too_long");

    let mut half = agent.client().connect();
    half.send(&half.head("POST", "/v1/tokens/put", 100));
    half.send("{\"row\": ");
    let answer = half.answer().unwrap();
    assert_eq!(answer.class(408), "body_too_slow");
    assert!(half.answer().is_none(), "the connection ends: what follows could be taken for a request");
    agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "body_too_slow")]);

    let mut gone = agent.client().connect();
    gone.send(&gone.head("POST", "/v1/tokens/put", 100));
    drop(gone);
    agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "broken_off"), ("operation", "put")]);
    let mut gone = agent.client().connect();
    gone.send("POST /v1/tokens/put HT");
    drop(gone);
    agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "broken_off"), ("operation", "connect")]);
    let mut other = agent.client().connect();
    other.send("\u{16}\u{3}\u{1} not http\r\n\r\n");
    assert_eq!(other.answer().map(|answer| answer.status), Some(400));
    agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "not_http")]);
    assert_eq!(db.table("oauth_tokens", &["channel"]).await, [[Some("me".to_owned())]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_shows_no_token_of_the_file_is_refused_on_the_socket_too() {
    let db = Sql::sqlite().await;
    let mut place = Place::on(&db).await;
    let without = place.start();
    let body = json!({ "row": twitch("me") });
    let status = |client: &Client| client.post("/v1/tokens/get", &body).status;
    let shown = |client: Client, value: &str| status(&client.header("Authorization", Some(value)));
    assert_eq!((status(&without.client()), shown(without.client(), &format!("Bearer {TOKEN}"))), (404, 401));
    drop(without);
    let tokens = place.write("tokens", &format!("billing:{TOKEN}\n"));
    place.set("AGENT_TOKEN_FILE", tokens.to_str().unwrap());
    let agent = place.start();
    assert_eq!(status(&agent.client()), 404);
    assert_eq!(shown(agent.client(), &format!("bearer {TOKEN}")), 404);
    for value in ["", "Bearer", "Bearer ", "Basic YTpi", TOKEN, "Bearer wrong"] {
        assert_eq!(shown(agent.client(), value), 401, "{value}");
    }
    let mut twice = agent.client().header("Authorization", Some(&format!("Bearer {TOKEN}")));
    twice.headers.push(("Authorization".into(), "Basic YTpi".into()));
    assert_eq!(twice.post("/v1/tokens/get", &body).class(401), "unauthorized");
    agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "token"), ("operation", "get")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tcp_a_token_of_the_file_is_needed_and_a_loopback_host() {
    let db = Sql::sqlite().await;
    let mut place = Place::on(&db).await;
    let tokens = place.write("tokens", &format!("billing:{TOKEN}\n"));
    place
        .policy(POLICY_OF_TOKENS)
        .set("AGENT_TOKEN_FILE", tokens.to_str().unwrap())
        .set("AGENT_LISTEN", "127.0.0.1:0");
    place.set("CRM_SMTP", "canary-smtp").set("OTHER", "canary-other");
    let agent = place.start();
    let body = json!({ "table": "users", "row": { "id": 1 } });
    let with = |token: Option<&str>| Client::tcp(&agent.address, token);
    let (other, longer) = (TOKEN.replace('c', "d"), format!("{TOKEN}x"));
    for token in [None, Some(""), Some(&TOKEN[1..]), Some(other.as_str()), Some(longer.as_str())] {
        let answer = with(token).post("/v1/tokens/get", &body);
        assert_eq!(answer.class(401), "unauthorized", "{token:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "token"), ("actor", "tcp")]);
    assert_eq!(with(Some(TOKEN)).post("/v1/tokens/get", &body).class(404), "not_found");
    for path in ["/v1/tokens/get", "/healthz", "/metrics"] {
        for host in ["example.org", "127.0.0.1.example.org"] {
            let client = with(Some(TOKEN)).header("Host", Some(host));
            let mut kept = client.connect();
            let answer = kept.request(if path == "/v1/tokens/get" { "POST" } else { "GET" }, path, "");
            assert_eq!(answer.class(401), "unauthorized", "{path} {host}");
        }
    }
    agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "host")]);

    let secret = |name: &str| with(Some(TOKEN)).post("/v1/secrets/get", &json!({ "name": name }));
    assert_eq!(secret("CRM_SMTP").expect(200)["value"], "canary-smtp");
    let event = agent.wait_for_event(&[("event", "agent_secret_read"), ("secret", "CRM_SMTP")]);
    assert_eq!(event["actor"], "tcp token=billing");
    assert_eq!(secret("OTHER").class(403), "policy");
    assert_eq!(secret("CRM_ABSENT").class(404), "not_found");
    for own in ["kms-master-key", "DATABASE_URL"] {
        assert_eq!(secret(own).class(403), "policy", "{own} is the agent's own under every policy");
    }
    let table = json!({ "table": "oauth_tokens", "row": twitch("me") });
    assert_eq!(with(Some(TOKEN)).post("/v1/tokens/get", &table).class(403), "policy");
    let event =
        agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "policy"), ("operation", "get")]);
    assert_eq!(event["actor"], "tcp token=billing", "a table that the policy withholds");
    let delete = json!({ "table": "users", "row": { "id": 1 } });
    assert_eq!(with(Some(TOKEN)).post("/v1/tokens/delete", &delete).class(403), "policy");
    let event =
        agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "policy"), ("operation", "delete")]);
    assert_eq!(event["actor"], "tcp token=billing");
    let log = std::fs::read_to_string(place.path("audit.log")).unwrap();
    assert!(!log.contains(TOKEN) && !log.contains("canary"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_requests_leave_memory_flat() {
    let db = Sql::sqlite().await;
    let mut place = Place::on(&db).await;
    let tokens = place.write("tokens", &format!("billing:{TOKEN}\n"));
    place.policy(POLICY_OF_TOKENS).set("AGENT_TOKEN_FILE", tokens.to_str().unwrap());
    let agent = place.set("AGENT_LISTEN", "127.0.0.1:0").start();
    let (client, other) = (Client::tcp(&agent.address, Some(TOKEN)), TOKEN.replace('c', "d"));
    let (body, long) = (json!({ "row": twitch("me") }), "x".repeat(3 << 20));
    let be_refused = || {
        client.clone().header("X-Tokenseal", None).post("/v1/tokens/get", &body).class(401);
        Client::tcp(&agent.address, Some(&other)).post("/v1/tokens/get", &body).class(401);
        client.post("/v1/tokens/get", &body).class(403);
        client.connect().request("POST", "/v1/tokens/put", &long).class(413);
        let mut half = client.connect();
        half.send(&half.head("POST", "/v1/tokens/put", 100));
        half.send("{\"row\": ");
    };
    (0..5).for_each(|_| be_refused());
    let before = agent.resident();
    (0..50).for_each(|_| be_refused());
    assert!(agent.resident() < before + NOISE, "{} after {before}", agent.resident());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_read_again_on_sighup_and_a_refused_file_changes_nothing() {
    let db = Sql::sqlite().await;
    let mut place = Place::on(&db).await;
    let other = TOKEN.replace('c', "d");
    let tokens = place.write("tokens", &format!("billing:{TOKEN}\n"));
    place
        .policy(POLICY_OF_TOKENS)
        .set("AGENT_TOKEN_FILE", tokens.to_str().unwrap())
        .set("AGENT_LISTEN", "127.0.0.1:0");
    let agent = place.start();
    let body = json!({ "table": "users", "row": { "id": 1 } });
    let status = |token: &str| Client::tcp(&agent.address, Some(token)).post("/v1/tokens/get", &body).status;
    let wait_for = |token: &str, expected: u16| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while status(token) != expected {
            assert!(std::time::Instant::now() < deadline, "the file was not read again");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    assert_eq!((status(TOKEN), status(&other)), (404, 401));
    place.write("tokens", &format!("billing:{other}\n"));
    agent.signal("HUP");
    wait_for(&other, 404);
    assert_eq!(status(TOKEN), 401, "a token that is no longer in the file is not valid");
    place.write("tokens", "billing:short\n");
    agent.signal("HUP");
    place.write("tokens", &format!("billing:{other}\nsales:{TOKEN}\n"));
    agent.signal("HUP");
    wait_for(TOKEN, 403);
    assert_eq!(status(&other), 404);
}

/// Sends a request as another user, and returns the status that it prints.
fn as_nobody(socket: &std::path::Path) -> std::process::Output {
    let script = "\
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
body = b'{\"row\": {\"provider\": \"twitch\", \"channel\": \"me\"}}'
s.sendall(b'POST /v1/tokens/get HTTP/1.1\\r\\nHost: localhost\\r\\nX-Tokenseal: 1\\r\\nContent-Length: %d\\r\\n\\r\\n' % len(body) + body)
print(s.recv(4096).split()[1].decode())
";
    let mut command = Command::new("python3");
    command.arg("-c").arg(script).arg(socket).uid(65_534).gid(65_534);
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_is_kept_out_by_the_socket_and_refused_where_a_group_may_connect() {
    part!(root);
    let db = Sql::sqlite().await;
    let mut place = Place::on(&db).await;
    open_to_all(place.path("agent.sock").parent().unwrap());
    let agent = place.start();
    let output = as_nobody(&agent.socket);
    assert!(String::from_utf8_lossy(&output.stderr).contains("PermissionError"), "{output:?}");
    drop(agent);

    place.set("AGENT_SOCKET_GROUP", "65534");
    let agent = place.start();
    let output = as_nobody(&agent.socket);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "403", "{output:?}");
    let event = agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "policy")]);
    let actor = event["actor"].as_str().unwrap();
    assert!(actor.starts_with("uid=65534 gid=65534 pid="), "{event}");
    drop(agent);

    let rule = "[[allow]]\nuid = 65534\ndo = [\"get\"]\ntables = [\"oauth_tokens\"]\n";
    place.policy(rule);
    let agent = place.start();
    let output = as_nobody(&agent.socket);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "404", "{output:?}");
    assert_eq!(
        agent.post("/v1/tokens/get", &json!({ "row": twitch("me") })).class(403),
        "policy",
        "the agent's own user has no rule"
    );
    let event = agent.wait_for_event(&[("event", "token_read"), ("outcome", "not_found")]);
    assert!(event["actor"].as_str().unwrap().starts_with("uid=65534 gid=65534 pid="), "{event}");
}
