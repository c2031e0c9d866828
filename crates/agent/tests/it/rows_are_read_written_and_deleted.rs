//! Rows in every stored form, by their key.

use serde_json::json;

use crate::support::{Place, on_each_database, twitch};

on_each_database! {
    async fn what_is_put_is_sealed_and_read_back(db) {
        let place = Place::on(&db).await;
        let agent = place.start();
        let body = json!({ "row": twitch("me"), "tokens": { "access_token": "canary-a", "refresh_token": null },
                           "plain": { "scope": "chat" } });
        assert_eq!(agent.post("/v1/tokens/put", &body).expect(200)["written"], "kms-envelope");
        let stored = db.table("oauth_tokens", &["access_token", "refresh_token", "scope", "encryption_version"]).await;
        assert!(stored[0][0].as_ref().unwrap().starts_with("kms:v2:"), "{stored:?}");
        assert_eq!(stored[0][1..], [None, Some("chat".into()), Some("2".into())]);
        let row = agent.post("/v1/tokens/get", &json!({ "row": twitch("me") })).expect(200);
        assert_eq!(row["tokens"], json!({ "access_token": "canary-a", "refresh_token": null }));
        assert_eq!(row["plain"], json!({ "scope": "chat" }));
        assert_eq!((&row["encryption_version"], &row["encryption_method"]), (&json!(2), &json!("kms-envelope")));
        assert!(row["encryption_key_id"].as_str().unwrap().starts_with("keyring:"), "{row}");
        let some = json!({ "table": "oauth_tokens", "row": twitch("me"), "columns": ["refresh_token"] });
        assert_eq!(agent.post("/v1/tokens/get", &some).expect(200)["tokens"], json!({ "refresh_token": null }));
        assert_eq!(agent.post("/v1/tokens/delete", &json!({ "row": twitch("me") })).expect(200), json!({ "deleted": true }));
        assert_eq!(agent.post("/v1/tokens/delete", &json!({ "row": twitch("me") })).class(404), "not_found");
        assert_eq!(agent.post("/v1/tokens/get", &json!({ "row": twitch("me") })).class(404), "not_found");
    }

    async fn rows_of_before_the_migration_are_read_and_a_write_seals_them(db) {
        let place = Place::on(&db).await;
        let cells = [("provider", Some("twitch")), ("channel", Some("old")), ("access_token", Some("plain-a")),
                     ("refresh_token", Some("plain-r")), ("encryption_version::integer", Some("0"))];
        db.insert("oauth_tokens", &cells).await;
        let agent = place.start();
        let row = agent.post("/v1/tokens/get", &json!({ "row": twitch("old") })).expect(200);
        assert_eq!(row["tokens"], json!({ "access_token": "plain-a", "refresh_token": "plain-r" }));
        let body = json!({ "row": twitch("old"), "tokens": { "access_token": "new" } });
        agent.post("/v1/tokens/put", &body).expect(200);
        let stored = db.table("oauth_tokens", &["access_token", "refresh_token"]).await;
        assert!(stored[0].iter().flatten().all(|text| text.starts_with("kms:v2:")), "{stored:?}");
        let row = agent.post("/v1/tokens/get", &json!({ "row": twitch("old") })).expect(200);
        assert_eq!(row["tokens"], json!({ "access_token": "new", "refresh_token": "plain-r" }));
    }

    async fn a_write_with_a_revision_applies_to_the_row_that_was_read(db) {
        let agent = Place::on(&db).await.start();
        let put = |value: &str, revision: Option<&serde_json::Value>| {
            let mut body = json!({ "row": twitch("me"), "tokens": { "access_token": value } });
            if let Some(revision) = revision {
                body["if_revision"] = revision.clone();
            }
            agent.post("/v1/tokens/put", &body)
        };
        let read = || agent.post("/v1/tokens/get", &json!({ "row": twitch("me") })).expect(200);
        assert_eq!(put("none", Some(&json!("0000"))).class(409), "conflict", "a row that is not there is at no revision");
        let first = put("first", None).expect(200)["revision"].clone();
        assert_eq!(read()["revision"], first);
        let second = put("second", Some(&first)).expect(200)["revision"].clone();
        assert_ne!(first, second);
        assert_eq!(put("late", Some(&first)).class(409), "conflict");
        assert_eq!(read()["tokens"]["access_token"], "second");
        let delete = |revision: &serde_json::Value| {
            agent.post("/v1/tokens/delete", &json!({ "row": twitch("me"), "if_revision": revision }))
        };
        assert_eq!(delete(&first).class(409), "conflict");
        delete(&second).expect(200);
        assert_eq!(delete(&second).class(404), "not_found");
    }

    async fn a_key_may_be_a_number_and_an_owner_is_given_to_a_new_row(db) {
        let place = Place::on(&db).await;
        let agent = place.start();
        let body = json!({ "table": "users", "row": { "id": 7, "tenant_id": "acme" }, "tokens": { "email": "a@b" } });
        agent.post("/v1/tokens/put", &body).expect(200);
        for row in [json!({ "id": 7 }), json!({ "id": "7" }), json!({ "id": 7, "tenant_id": "acme" })] {
            let body = json!({ "table": "users", "row": row });
            assert_eq!(agent.post("/v1/tokens/get", &body).expect(200)["tokens"]["email"], "a@b");
        }
        let other = json!({ "table": "users", "row": { "id": 7 }, "owner": { "tenant_id": "globex" } });
        assert_eq!(agent.post("/v1/tokens/get", &other).class(404), "not_found");
        let mut put = other.clone();
        put["tokens"] = json!({ "email": "c@d" });
        assert_eq!(agent.post("/v1/tokens/put", &put).class(404), "not_found", "the row is another owner's");
        // SQLite stores any key in any column.
        if db.is_postgres() {
            put["row"] = json!({ "id": "no number" });
            assert_eq!(agent.post("/v1/tokens/put", &put).class(400), "malformed", "no row can have this key");
        }
        assert_eq!(db.table("users", &["tenant_id"]).await, [[Some("acme".to_owned())]]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_names_what_is_not_there_is_malformed_and_its_values_are_not_repeated() {
    let db = crate::support::Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    let secret = "canary-secret";
    for (path, body) in [
        ("get", json!({ "row": { "provider": "twitch" } })),
        ("get", json!({ "row": { "provider": "twitch", "channel": "me", "other": "x" } })),
        ("get", json!({ "row": { "provider": "twitch", "channel": 1.5 } })),
        ("get", json!({ "row": { "provider": "twitch", "channel": null } })),
        ("get", json!({ "row": { "provider": "twitch", "channel": "nul\u{0}" } })),
        ("get", json!({ "table": "other", "row": twitch("me") })),
        ("get", json!({ "row": twitch("me"), "columns": ["scope"] })),
        ("get", json!({ "row": twitch("me"), "owner": { "tenant_id": "acme" } })),
        ("get", json!({ "row": twitch("me"), "value": secret })),
        ("put", json!({ "row": twitch("me"), "tokens": { "scope": secret } })),
        ("put", json!({ "row": twitch("me"), "tokens": { "access_token": 7 } })),
        ("put", json!({ "row": twitch("me"), "tokens": { "access_token": [secret] } })),
        (
            "put",
            json!({ "row": twitch("me"), "tokens": { "access_token": secret }, "plain": { "provider": secret } }),
        ),
        (
            "put",
            json!({ "row": twitch("me"), "tokens": { "access_token": secret }, "plain": { "absent": secret } }),
        ),
        (
            "put",
            json!({ "row": twitch("me"), "tokens": { "access_token": secret }, "plain": { "scope": 0.1 } }),
        ),
        ("put", json!([secret])),
    ] {
        let answer = agent.post(&format!("/v1/tokens/{path}"), &body);
        assert!(!answer.class(400).is_empty(), "{body}");
        assert!(!answer.text.contains(secret), "{body}: {answer:?}");
    }
    let mut kept = agent.client().connect();
    let answer = kept.request("POST", "/v1/tokens/put", &format!("{{\"row\": \"{secret}"));
    assert_eq!(answer.class(400), "malformed");
    assert!(!answer.text.contains(secret));
    assert_eq!(db.table("oauth_tokens", &["access_token"]).await.len(), 0);
}
