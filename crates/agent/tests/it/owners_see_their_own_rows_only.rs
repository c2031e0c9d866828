//! A rule with owners: rows of others are not there, and only bound values open.

use serde_json::{Value, json};

use crate::support::{Place, Running, Sql, on_each_database};

fn policy() -> String {
    use std::os::unix::fs::MetadataExt as _;
    let uid = std::fs::metadata("/proc/self").unwrap().uid();
    format!(
        "[[allow]]\nuid = {uid}\ndo = [\"get\", \"put\", \"delete\", \"open\", \"seal\"]\ntables = [\"users\"]\n\
         owner = {{ tenant_id = [\"acme\", \"globex\"] }}\n"
    )
}

fn of(id: u32, tenant: &str) -> Value {
    json!({ "table": "users", "row": { "id": id }, "owner": { "tenant_id": tenant } })
}

fn put(id: u32, tenant: &str, email: &str) -> Value {
    let mut body = of(id, tenant);
    body["tokens"] = json!({ "email": email });
    body
}

/// Rows of three tenants, written by an agent without owner rules; and the agent with them.
async fn narrowed(db: &Sql) -> (Place, Running) {
    let mut place = Place::on(db).await;
    let everything = place.start();
    for (id, tenant) in [(1, "acme"), (2, "globex"), (3, "initech")] {
        everything.post("/v1/tokens/put", &put(id, tenant, &format!("canary-{tenant}"))).expect(200);
    }
    drop(everything);
    place.policy(&policy());
    let agent = place.start();
    (place, agent)
}

on_each_database! {
    async fn rows_of_others_are_as_if_they_were_not_there(db) {
        let (_place, agent) = narrowed(&db).await;
        assert_eq!(agent.post("/v1/tokens/get", &of(1, "acme")).expect(200)["tokens"]["email"], "canary-acme");
        let absent = agent.post("/v1/tokens/get", &of(9, "acme"));
        for (id, tenant) in [(3, "initech"), (3, "acme"), (1, "globex"), (9, "initech")] {
            let answer = agent.post("/v1/tokens/get", &of(id, tenant));
            assert_eq!((answer.status, &answer.text), (404, &absent.text), "{id} {tenant}");
        }
        for body in [json!({ "table": "users", "row": { "id": 1 } }), json!({ "table": "users", "row": { "id": 3 } })] {
            assert_eq!(agent.post("/v1/tokens/get", &body).class(403), "policy", "the owner must be given");
        }
        for (id, tenant) in [(3, "initech"), (3, "acme"), (1, "globex")] {
            assert_eq!(agent.post("/v1/tokens/put", &put(id, tenant, "theirs")).class(404), "not_found");
            assert_eq!(agent.post("/v1/tokens/delete", &of(id, tenant)).class(404), "not_found");
        }
        agent.post("/v1/tokens/put", &put(1, "acme", "new")).expect(200);
        agent.post("/v1/tokens/delete", &of(2, "globex")).expect(200);
        let left = db.table("users", &["id", "tenant_id"]).await;
        let expected = [[Some("1".to_owned()), Some("acme".to_owned())], [Some("3".to_owned()), Some("initech".to_owned())]];
        assert_eq!(left, expected);
    }

    async fn no_plain_value_gives_a_row_another_key_or_owner(db) {
        let (_place, agent) = narrowed(&db).await;
        let before = db.table("users", &["id", "tenant_id", "email"]).await;
        for id in [1, 30] {
            for plain in [
                json!({ "tenant_id": "initech" }),
                json!({ "tenant_id": null }),
                json!({ "tenant_id": "acme" }),
                json!({ "id": 31 }),
                json!({ "id": id }),
            ] {
                let mut body = put(id, "acme", "canary");
                body["plain"] = plain.clone();
                assert_eq!(agent.post("/v1/tokens/put", &body).class(400), "malformed", "{id} {plain}");
            }
        }
        assert_eq!(db.table("users", &["id", "tenant_id", "email"]).await, before);
    }

    async fn only_bound_values_open(db) {
        let (_place, agent) = narrowed(&db).await;
        db.insert("users", &[("id::bigint", Some("4")), ("tenant_id", Some("acme")), ("email", Some("canary-plain"))]).await;
        let answer = agent.post("/v1/tokens/get", &of(4, "acme"));
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(!answer.text.contains("canary"), "{answer:?}");
        // The value of another tenant, copied into a row of one's own.
        db.execute("UPDATE users SET email = (SELECT email FROM users WHERE id = 3) WHERE id = 1").await;
        assert_eq!(agent.post("/v1/tokens/get", &of(1, "acme")).class(422), "context_mismatch_or_corrupt");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_cells_follow_the_same_rule() {
    let db = Sql::sqlite().await;
    let (_place, agent) = narrowed(&db).await;
    let stored = db.table("users", &["email", "id"]).await;
    let text =
        |id: &str| stored.iter().find(|row| row[1].as_deref() == Some(id)).unwrap()[0].clone().unwrap();
    let item = |id: &str, owner: Value| {
        let mut item = json!({ "table": "users", "column": "email", "row": { "id": id }, "text": text(id) });
        if !owner.is_null() {
            item["owner"] = owner;
        }
        item
    };
    let items = json!({ "items": [
        item("1", json!({ "tenant_id": "acme" })),
        item("3", json!({ "tenant_id": "initech" })),
        item("3", json!({ "tenant_id": "acme" })),
        item("1", Value::Null),
    ] });
    let opened = agent.post("/v1/open", &items).expect(200);
    assert_eq!(opened["items"][0], json!({ "value": "canary-acme" }));
    let classes: Vec<&str> =
        (1..4).map(|at| opened["items"][at]["error"]["class"].as_str().unwrap()).collect();
    assert_eq!(classes, ["not_found", "context_mismatch_or_corrupt", "policy"]);
    let statuses: Vec<&Value> = (1..4).map(|at| &opened["items"][at]["error"]["status"]).collect();
    assert_eq!(statuses, [404, 422, 403], "each item has the status of a request about it alone");
    let seal = json!({ "items": [
        { "table": "users", "column": "email", "row": { "id": 5 }, "owner": { "tenant_id": "acme" }, "value": "x" },
        { "table": "users", "column": "email", "row": { "id": 5 }, "owner": { "tenant_id": "initech" }, "value": "x" },
    ] });
    let sealed = agent.post("/v1/seal", &seal).expect(200);
    assert!(sealed["items"][0]["text"].as_str().unwrap().starts_with("kms:v2:"), "{sealed}");
    assert_eq!(sealed["items"][1]["error"]["class"], "not_found");
}
