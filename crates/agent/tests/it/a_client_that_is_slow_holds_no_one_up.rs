//! Slow connections, many requests, and the memory that they take.

use serde_json::json;

use crate::support::{NOISE, Place, Sql, twitch};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_slow_connections_hold_no_one_up() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    let body = json!({ "row": twitch("me"), "tokens": { "access_token": "a" } });
    agent.post("/v1/tokens/put", &body).expect(200);
    let mut slow: Vec<_> = (0..200).map(|_| agent.client().connect()).collect();
    for (number, connection) in slow.iter_mut().enumerate() {
        let head = connection.head("POST", "/v1/tokens/get", 2 << 20);
        // Half of them in the head, half in a body that was announced as long.
        connection.send(if number % 2 == 0 { &head[..head.len() / 2] } else { &head });
    }
    let before = agent.resident();
    for _ in 0..200 {
        let row = agent.post("/v1/tokens/get", &json!({ "row": twitch("me") })).expect(200);
        assert_eq!(row["tokens"]["access_token"], "a");
    }
    assert!(agent.resident() < before + NOISE, "{} after {before}", agent.resident());
    let metrics = agent.client().get("/metrics").text;
    assert!(metrics.contains("agent_connections 20"), "they are still there: {metrics}");
    for connection in slow.iter_mut().skip(1).step_by(2) {
        assert_eq!(connection.answer().unwrap().class(408), "body_too_slow");
    }
    let events = agent.events();
    assert_eq!(events.iter().filter(|event| event["outcome"] == "body_too_slow").count(), 100, "{events:?}");
    // Half a head has no request that could be answered.
    slow.truncate(1);
    assert!(slow[0].answer().is_none());
    agent.wait_for_event(&[
        ("event", "agent_refused"),
        ("outcome", "header_too_slow"),
        ("operation", "connect"),
    ]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_leave_memory_flat() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    let body =
        json!({ "row": twitch("me"), "tokens": { "access_token": "a".repeat(2000), "refresh_token": "r" } });
    agent.post("/v1/tokens/put", &body).expect(200);
    let mut kept = agent.client().connect();
    let mut ask = |times: usize| {
        for number in 0..times {
            if number % 100 == 0 {
                kept = agent.client().connect();
                kept.request("POST", "/v1/tokens/get", "{").class(400);
            }
            kept.post("/v1/tokens/get", &json!({ "row": twitch("me") })).expect(200);
        }
    };
    ask(1000);
    let before = agent.resident();
    ask(10_000);
    assert!(agent.resident() < before + NOISE, "{} after {before}", agent.resident());
}
