//! `open` and `seal` for a service's own statements.

use serde_json::{Value, json};

use crate::support::{Place, Running, Sql, on_each_database, twitch};

fn seal(agent: &Running, channel: &str, value: &str) -> Value {
    let item =
        json!({ "table": "oauth_tokens", "column": "access_token", "row": twitch(channel), "value": value });
    agent.post("/v1/seal", &json!({ "items": [item] })).expect(200)["items"][0].clone()
}

fn item(channel: &str, column: &str, text: &Value) -> Value {
    json!({ "table": "oauth_tokens", "column": column, "row": twitch(channel), "text": text, "version": 2 })
}

on_each_database! {
    async fn a_sealed_cell_opens_where_it_belongs_and_one_bad_item_spoils_no_other(db) {
        let agent = Place::on(&db).await.start();
        let sealed = seal(&agent, "me", "canary");
        assert_eq!((&sealed["encryption_version"], &sealed["encryption_method"]), (&json!(2), &json!("kms-envelope")));
        let text = &sealed["text"];
        let mut flipped = text.as_str().unwrap().to_owned();
        let end = flipped.pop().unwrap();
        flipped.push(if end == 'A' { 'B' } else { 'A' });
        let unknown = json!({ "table": "other", "column": "a", "row": {}, "text": "x" });
        let items = json!({ "items": [
            item("me", "access_token", text),
            item("you", "access_token", text),
            item("me", "refresh_token", text),
            item("me", "access_token", &json!(flipped)),
            item("me", "access_token", &json!("kms:v2:")),
            item("me", "scope", text),
            unknown,
            { "table": "oauth_tokens", "column": "access_token", "row": twitch("me"), "text": text },
            { "table": "oauth_tokens", "column": "access_token", "row": twitch("me"), "text": "old", "version": 0 },
        ] });
        let opened = agent.post("/v1/open", &items).expect(200);
        assert_eq!(opened["items"][0], json!({ "value": "canary" }));
        let first = &opened["items"][1]["error"];
        for at in 1..5 {
            let error = &opened["items"][at]["error"];
            assert_eq!(error["class"], "context_mismatch_or_corrupt", "{at}: {opened}");
            assert_eq!(error["message"], first["message"], "a wrong row, a wrong column and damage are one answer");
        }
        assert_eq!(opened["items"][5]["error"]["class"], "malformed");
        assert_eq!(opened["items"][6]["error"]["class"], "malformed");
        assert_eq!(opened["items"][7], json!({ "value": "canary" }), "an envelope is known by its mark");
        assert_eq!(opened["items"][8], json!({ "value": "old" }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_keeps_its_order() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    let values: Vec<Value> = (0..100)
        .map(|n| json!({ "table": "users", "column": "email", "row": { "id": n }, "owner": { "tenant_id": "a" }, "value": format!("v{n}") }))
        .collect();
    let sealed = agent.post("/v1/seal", &json!({ "items": values })).expect(200);
    let texts: Vec<Value> = (0..100)
        .map(|n| json!({ "table": "users", "column": "email", "row": { "id": n }, "owner": { "tenant_id": "a" }, "text": sealed["items"][n]["text"] }))
        .collect();
    let opened = agent.post("/v1/open", &json!({ "items": texts })).expect(200);
    for n in 0..100 {
        assert_eq!(opened["items"][n], json!({ "value": format!("v{n}") }));
    }
    assert_eq!(agent.post("/v1/open", &json!({ "items": [] })).expect(200), json!({ "items": [] }));
    let many: Vec<Value> =
        (0..5001).map(|_| json!({ "table": "t", "column": "c", "row": {}, "text": "" })).collect();
    assert_eq!(agent.post("/v1/open", &json!({ "items": many })).class(400), "malformed");
}
