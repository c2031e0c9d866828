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
        assert_eq!((&first["status"], &opened["items"][5]["error"]["status"]), (&json!(422), &json!(400)));
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

fn user(text: &Value, version: Option<i64>) -> Value {
    let mut item = json!({ "table": "users", "column": "email", "row": { "id": 1 }, "owner": { "tenant_id": "a" }, "text": text });
    if let Some(version) = version {
        item["version"] = version.into();
    }
    item
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_contradicts_the_text_opens_nothing_in_a_table_without_version_columns() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    let value = json!({ "table": "users", "column": "email", "row": { "id": 1 }, "owner": { "tenant_id": "a" }, "value": "canary" });
    let sealed = agent.post("/v1/seal", &json!({ "items": [value] })).expect(200)["items"][0]["text"].clone();
    let plain = json!("canary-plain");
    let marked = json!("v9|canary-without-its-mark");
    let opens = |text: &Value, version| {
        let answer = agent.post("/v1/open", &json!({ "items": [user(text, version)] })).expect(200);
        let item = &answer["items"][0];
        match item["value"].as_str() {
            Some(value) => Some(value.to_owned()),
            None => {
                assert_eq!(item["error"]["class"], "context_mismatch_or_corrupt", "{version:?} {item}");
                None
            }
        }
    };
    for version in [None, Some(2)] {
        assert_eq!(opens(&sealed, version).as_deref(), Some("canary"));
    }
    for version in [None, Some(0)] {
        assert_eq!(opens(&plain, version).as_deref(), Some("canary-plain"));
    }
    for version in [0, 1, 3, 7, 2_147_483_647] {
        assert_eq!(opens(&sealed, Some(version)), None);
    }
    for version in [1, 2, 3, 2_147_483_647] {
        for text in [&plain, &marked, &json!("kms:hello"), &json!("kms:"), &json!("KMS:hello there")] {
            assert_eq!(opens(text, Some(version)), None);
        }
    }
    for version in [None, Some(0)] {
        assert_eq!(opens(&json!("kms:hello"), version).as_deref(), Some("kms:hello"));
    }
    for version in [0, 1, 2] {
        assert_eq!(opens(&json!(""), Some(version)).as_deref(), Some(""));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_does_not_exist_opens_nothing_in_any_table() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    for version in [3, 7, 2_147_483_647] {
        for text in ["", "plain"] {
            let row = json!({ "table": "oauth_tokens", "column": "access_token", "row": twitch("me"), "text": text, "version": version });
            let items = json!({ "items": [user(&json!(text), Some(version)), row] });
            let opened = agent.post("/v1/open", &items).expect(200);
            for at in [0, 1] {
                assert_eq!(opened["items"][at]["error"]["status"], 422, "{version} {text:?} {opened}");
            }
        }
    }
}

/// The table that the clients' tests read, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_is_taken_by_its_mark_and_its_row_as_in_the_clients() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../clients/shared/forms.json");
    let forms: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let texts = forms["texts"].as_array().unwrap();
    assert!(texts.len() > 40);
    for form in texts {
        let text = &form["text"];
        let row = json!({ "table": "oauth_tokens", "column": "access_token", "row": twitch("me"), "text": text, "version": 0 });
        let items = json!({ "items": [user(text, None), user(text, Some(0)), row] });
        let opened = agent.post("/v1/open", &items).expect(200);
        let is_plaintext = |form: &Value| form == "plaintext";
        let expected = [&form["unmarked"], &form["unmarked"], &form["version_0"]].map(is_plaintext);
        let found = [0, 1, 2].map(|at| opened["items"][at]["value"] == *text);
        assert_eq!(found, expected, "{text}: {opened}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misshapen_item_spoils_no_other() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    let misshapen = [
        ("text", json!(null)),
        ("text", json!(["canary-text"])),
        ("version", json!("2")),
        ("version", json!(-1)),
        ("owner", json!({ "tenant_id": 1.5 })),
        ("owner", json!(["a"])),
        ("row", json!({ "id": 1.5 })),
        ("row", json!({ "id": null })),
        ("row", json!({ "id": { "$ne": 1 } })),
        ("row", json!(null)),
        ("table", json!(7)),
        ("unknown", json!("canary-member")),
    ];
    for (route, content, answer) in [("/v1/open", "text", "value"), ("/v1/seal", "value", "text")] {
        let good = || {
            let mut item = user(&json!("canary-good"), None);
            item[content] = item["text"].take();
            if content != "text" {
                item.as_object_mut().unwrap().remove("text");
            }
            item
        };
        let bad: Vec<Value> = misshapen
            .iter()
            .map(|(member, value)| {
                let mut item = good();
                item[if *member == "text" { content } else { *member }] = value.clone();
                item
            })
            .chain([json!(null), json!("canary-item"), json!([]), json!({})])
            .collect();
        let items: Vec<Value> = [good()].into_iter().chain(bad.clone()).chain([good()]).collect();
        let reply = agent.post(route, &json!({ "items": items }));
        let answered = reply.expect(200);
        assert_eq!(answered["items"].as_array().unwrap().len(), items.len());
        for at in [0, items.len() - 1] {
            assert!(answered["items"][at][answer].is_string(), "{route} {at}: {answered}");
        }
        for (at, item) in bad.iter().enumerate() {
            let error = &answered["items"][at + 1]["error"];
            assert_eq!(error["class"], "malformed", "{route} {item}: {answered}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
        assert_eq!(agent.post(route, &json!({ "items": { "0": good() } })).class(400), "malformed");
    }
    let surrogate = r#"{"items":[{"table":"users","column":"email","row":{"id":1},"text":"\ud800"},{"table":"users","column":"email","row":{"id":1},"text":"x"}]}"#;
    let answered = agent.client().connect().request("POST", "/v1/open", surrogate).expect(200);
    assert_eq!(
        (&answered["items"][0]["error"]["class"], &answered["items"][1]["value"]),
        (&json!("malformed"), &json!("x"))
    );
}

on_each_database! {
    async fn a_null_owner_is_the_owner_of_its_cell(db) {
        let agent = Place::on(&db).await.start();
        let with = |owner: Value, member: &str, value: &Value| {
            let mut item = json!({ "table": "users", "column": "email", "row": { "id": 1 }, "owner": owner });
            item[member] = value.clone();
            json!({ "items": [item] })
        };
        let null = json!({ "tenant_id": null });
        let sealed = agent.post("/v1/seal", &with(null.clone(), "value", &json!("canary"))).expect(200)["items"][0]["text"].clone();
        for owner in [null.clone(), json!({})] {
            assert_eq!(agent.post("/v1/open", &with(owner, "text", &sealed)).expect(200)["items"][0], json!({ "value": "canary" }));
        }
        let other = agent.post("/v1/open", &with(json!({ "tenant_id": "a" }), "text", &sealed)).expect(200);
        assert_eq!(other["items"][0]["error"]["class"], "context_mismatch_or_corrupt");
        let both = json!({ "table": "users", "column": "email", "row": { "id": 1, "tenant_id": null }, "owner": { "tenant_id": "a" }, "text": "x" });
        assert_eq!(agent.post("/v1/open", &json!({ "items": [both] })).expect(200)["items"][0]["error"]["class"], "malformed");
        let row = json!({ "table": "users", "row": { "id": 1 }, "owner": null });
        assert_eq!(agent.post("/v1/tokens/get", &row).class(400), "malformed", "left out, it would be any owner");
    }
}
