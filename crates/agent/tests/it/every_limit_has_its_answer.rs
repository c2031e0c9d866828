//! More connections, requests and bytes than there may be: each limit has its answer and its event, and memory stays flat.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Kept, NOISE, Place, Running, Sql, refresh_profile, twitch};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A token endpoint that answers one request, when the test asks for it.
struct HeldProvider {
    token_url: String,
    answer: mpsc::Sender<()>,
}

impl HeldProvider {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let token_url = format!("http://{}/token", listener.local_addr().unwrap());
        let (answer, told) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut part) = (Vec::new(), [0; 4096]);
            while !String::from_utf8_lossy(&request).contains("refresh_token=") {
                let read = stream.read(&mut part).unwrap();
                assert_ne!(read, 0, "the agent closed the connection");
                request.extend_from_slice(&part[..read]);
            }
            // A test that failed has dropped the other end.
            if told.recv().is_err() {
                return;
            }
            let body =
                json!({ "access_token": "new", "refresh_token": "next", "expires_in": 3600 }).to_string();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        });
        Self { token_url, answer }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_256_at_once_are_refused_and_the_others_are_carried_out() {
    let db = Sql::sqlite().await;
    let provider = HeldProvider::start();
    let mut place = Place::on(&db).await;
    place.describe(&db, &refresh_profile(&provider.token_url)).await;
    place.set("PROVIDER_SECRET", "canary-secret");
    let agent = place.start();
    let expired = json!({ "row": twitch("me"), "tokens": { "access_token": "old", "refresh_token": "first" },
                          "plain": { "scope": "2020-01-01T00:00:00Z" } });
    agent.post("/v1/tokens/put", &expired).expect(200);
    let before = agent.resident();

    let (sender, answers) = mpsc::channel();
    for _ in 0..300 {
        let (client, sender) = (agent.client(), sender.clone());
        let body = json!({ "row": twitch("me"), "valid_for": 60 });
        std::thread::spawn(move || sender.send(client.post("/v1/tokens/fresh", &body)));
    }
    // Each of the others is worked on until the provider answers.
    for _ in 0..44 {
        let answer = answers.recv_timeout(PATIENCE).unwrap();
        assert_eq!((answer.class(429), answer.header("retry-after")), ("too_many".into(), Some("1")));
    }
    agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "too_many"), ("operation", "fresh")]);
    assert_eq!(agent.client().get("/healthz").status, 200);
    assert!(agent.resident() < before + NOISE, "{} after {before}", agent.resident());
    provider.answer.send(()).unwrap();
    for _ in 0..256 {
        let row = answers.recv_timeout(PATIENCE).unwrap().expect(200);
        assert_eq!(row["tokens"], json!({ "access_token": "new", "refresh_token": "next" }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_beyond_64_mib_together_are_refused_and_their_memory_is_given_back() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    let value = "v".repeat(5000);
    let put =
        || agent.post("/v1/tokens/put", &json!({ "row": twitch("me"), "tokens": { "access_token": value } }));
    put().expect(200);
    let before = agent.resident();
    let almost_all = "x".repeat((2 << 20) - 1);
    let held: Vec<Kept> = (0..32)
        .map(|_| {
            let mut connection = agent.client().connect();
            connection.send(&connection.head("POST", "/v1/tokens/put", 2 << 20));
            connection.send(&almost_all);
            connection
        })
        .collect();
    let answer = put();
    assert_eq!((answer.class(429), answer.header("retry-after")), ("too_many".into(), Some("1")));
    agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "too_many"), ("operation", "put")]);
    let small = agent.post("/v1/tokens/get", &json!({ "row": twitch("me") })).expect(200);
    assert_eq!(small["tokens"]["access_token"], value, "a body of a few kilobytes needs no room");
    let most = before + 64 * 1024 + NOISE;
    assert!(agent.resident() < most, "{} after {before}", agent.resident());
    drop(held);
    wait_until("there is room again", || put().status == 200);
    wait_until("the memory is given back", || agent.resident() < before + NOISE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_too_long_is_refused_on_any_request_of_a_connection() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    let many: String = (0..62).map(|number| format!("X-{number}: 1\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "x".repeat(17 * 1024));
    for (headers, status) in [(&many[..], 431), (&long, 431), ("X-Few: 1\r\n", 404)] {
        for has_asked in [false, true] {
            let mut connection = agent.client().connect();
            if has_asked {
                connection.post("/v1/tokens/get", &json!({ "row": twitch("me") })).class(404);
            }
            let body = json!({ "row": twitch("me") }).to_string();
            let head = connection.head("POST", "/v1/tokens/get", body.len());
            connection.send(&head.replace("X-Tokenseal: 1\r\n", &format!("X-Tokenseal: 1\r\n{headers}")));
            connection.send(&body);
            assert_eq!(connection.answer().unwrap().status, status, "{} bytes of headers", headers.len());
        }
    }
    let refusals = || {
        let too_long =
            |event: &Value| event["event"] == "agent_refused" && event["outcome"] == "header_too_long";
        agent.events().iter().filter(|event| too_long(event)).count()
    };
    wait_until("each of them is recorded", || refusals() == 4);
    let mut connection = agent.client().connect();
    connection.post("/v1/tokens/get", &json!({ "row": twitch("me") })).class(404);
    connection.send("no http\r\n\r\n");
    assert_eq!(connection.answer().unwrap().status, 400);
    agent.wait_for_event(&[("event", "agent_refused"), ("outcome", "not_http")]);
}

/// The number that the agent itself gives.
fn connections(agent: &mut Kept) -> usize {
    let text = agent.request("GET", "/metrics", "").text;
    let line = text.lines().find_map(|line| line.strip_prefix("agent_connections "));
    line.unwrap().parse().unwrap()
}

/// Opens connections until there are `most`, and one more, which is served when another ends.
fn fill_up(agent: &Running, most: usize) {
    let body = json!({ "row": twitch("me"), "tokens": { "access_token": "a" } });
    let mut first = agent.client().connect();
    first.post("/v1/tokens/put", &body).expect(200);
    let before = agent.resident();
    let mut held: Vec<Kept> = (1..most).map(|_| agent.client().connect()).collect();
    wait_until("all are taken", || connections(&mut first) == most);
    let mut late = agent.client().connect();
    late.send(&late.head("GET", "/healthz", 0));
    for _ in 0..50 {
        first.post("/v1/tokens/put", &body).expect(200);
    }
    assert_eq!(connections(&mut first), most, "the last one waits");
    assert!(agent.resident() < before + NOISE, "{} after {before}", agent.resident());
    held.pop();
    assert_eq!(late.answer().unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_beyond_1024_waits_until_another_ends() {
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: own.maximum, ..own };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start_with_files(1024, 4096);
    fill_up(&agent, 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_few_files_may_be_open_connections_leave_the_agent_what_it_needs() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start_with_files(300, 300);
    fill_up(&agent, 150);
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
