//! SIGTERM: what has begun is finished, nothing else begins, and the socket is gone.

use std::time::{Duration, Instant};

use serde_json::json;
use test_support::emulator::AwsFailure;
use test_support::faults::Fault;
use test_support::part;
use test_support::proxy::Proxy;

use crate::support::{Place, Sql, create_tables, key_in, twitch};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_hand_is_finished_and_written() {
    let moto = part!(moto);
    let (proxy, db) = (Proxy::start(moto.endpoint()), Sql::sqlite().await);
    create_tables(&db).await;
    let mut agent = Place::on_aws(&db, proxy.endpoint(), &key_in(&moto).await).start();
    let mut idle = agent.client().connect();
    assert_eq!(idle.request("GET", "/healthz", "").status, 200);
    let (before, fault): (_, Fault<AwsFailure>) =
        (proxy.faults().calls("GenerateDataKey"), Fault::Delay(Duration::from_secs(2)));
    proxy.faults().always_for("GenerateDataKey", fault);
    let client = agent.client();
    let writing = std::thread::spawn(move || {
        let body = json!({ "row": twitch("me"), "tokens": { "access_token": "a" } });
        client.post("/v1/tokens/put", &body)
    });
    proxy.faults().wait_for_calls("GenerateDataKey", before + 1).await;
    agent.signal("TERM");
    assert!(idle.answer().is_none(), "an idle connection is closed");
    assert_eq!(writing.join().unwrap().expect(200)["written"], "kms-envelope");
    assert_eq!(agent.wait(), Some(0));
    assert!(!agent.socket.exists());
    assert_eq!(db.table("oauth_tokens", &["channel"]).await.len(), 1);
    agent.wait_for_event(&[("event", "agent_stopped"), ("outcome", "ok")]);
    agent.wait_for_event(&[("event", "audit_chain_finished")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_more_do_not_hold_up_the_end() {
    let db = Sql::sqlite().await;
    let mut agent = Place::on(&db).await.start();
    let mut half: Vec<_> = (0..20).map(|_| agent.client().connect()).collect();
    for (number, connection) in half.iter_mut().enumerate() {
        let head = connection.head("POST", "/v1/tokens/get", 100);
        connection.send(if number % 2 == 0 { &head[..20] } else { &head });
    }
    assert_eq!(agent.client().get("/healthz").status, 200);
    let began = Instant::now();
    agent.signal("TERM");
    assert_eq!(agent.wait(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(30), "the deadline of 25 s");
}

/// A write is done although its client disconnected: a refresh token that was spent must be stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_finished_although_its_client_went_away() {
    let moto = part!(moto);
    let (proxy, db) = (Proxy::start(moto.endpoint()), Sql::sqlite().await);
    create_tables(&db).await;
    let agent = Place::on_aws(&db, proxy.endpoint(), &key_in(&moto).await).start();
    let before = proxy.faults().calls("GenerateDataKey");
    proxy.faults().always_for("GenerateDataKey", Fault::Delay(Duration::from_secs(1)));
    let mut gone = agent.client().connect();
    let body = json!({ "row": twitch("me"), "tokens": { "access_token": "a" } }).to_string();
    gone.send(&gone.head("POST", "/v1/tokens/put", body.len()));
    gone.send(&body);
    proxy.faults().wait_for_calls("GenerateDataKey", before + 1).await;
    drop(gone);
    agent.wait_for_event(&[("event", "token_written")]);
    assert_eq!(db.table("oauth_tokens", &["channel"]).await.len(), 1);
}
