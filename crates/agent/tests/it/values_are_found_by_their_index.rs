//! Values are looked up through the blind index over their column: by callers that may, and not too often.

use serde_json::{Value, json};

use crate::support::{Answer, Place, Running, Sql, on_each_database, profile_with, twitch};

const INDEX: &str = "[[tables.index]]\ncolumn = \"email\"\ninto = \"email_index\"\nnormalize = \"email\"";

/// A policy with one rule, for the user of the tests.
fn policy(what: &str) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let uid = std::fs::metadata("/proc/self").unwrap().uid();
    format!("[[allow]]\nuid = {uid}\ntables = [\"users\"]\n{what}\n")
}

async fn place(db: &Sql) -> Place {
    let place = Place::on(db).await;
    place.describe(db, &profile_with("types = { id = \"bigint\" }", INDEX)).await;
    place
}

/// Rows of three tenants, of which each has a user with the same address.
fn fill(agent: &Running) {
    for (id, tenant, email) in [
        (1, "acme", "Ada@Example.org"),
        (2, "globex", "ada@example.org"),
        (3, "initech", " ADA@example.org"),
        (4, "acme", "bob@example.org"),
        (5, "initech", "eve@example.org"),
    ] {
        let body = json!({ "table": "users", "row": { "id": id }, "owner": { "tenant_id": tenant }, "tokens": { "email": email } });
        agent.post("/v1/tokens/put", &body).expect(200);
    }
}

fn find(agent: &Running, value: &str) -> Answer {
    agent.post("/v1/tokens/find", &json!({ "table": "users", "column": "email", "value": value }))
}

fn keys(ids: &[&str]) -> Value {
    let rows: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
    json!({ "rows": rows })
}

on_each_database! {
    async fn every_row_with_the_value_is_found_in_every_spelling(db) {
        let agent = place(&db).await.start();
        fill(&agent);
        for value in ["ada@example.org", "ADA@EXAMPLE.ORG "] {
            assert_eq!(find(&agent, value).expect(200), keys(&["1", "2", "3"]), "{value}");
        }
        assert_eq!(find(&agent, "bob@example.org").expect(200), keys(&["4"]));
        for value in ["nobody@example.org", "", "   ", "a\u{0}b"] {
            assert_eq!(find(&agent, value).expect(200), keys(&[]), "{value:?}");
        }
        let row = agent.post("/v1/tokens/get", &json!({ "table": "users", "row": find(&agent, "bob@example.org").json()["rows"][0] }));
        assert_eq!(row.expect(200)["tokens"]["email"], "bob@example.org", "an answer is a row of a request");
        for body in [
            json!({ "column": "access_token", "value": "x" }),
            json!({ "table": "users", "column": "tenant_id", "value": "x" }),
            json!({ "table": "none", "column": "email", "value": "x" }),
            json!({ "table": "users", "column": "email" }),
            json!({ "table": "users", "column": "email", "value": 1 }),
            json!({ "table": "users", "column": "email", "value": "x", "row": {} }),
        ] {
            assert_eq!(agent.post("/v1/tokens/find", &body).class(400), "malformed", "{body}");
        }
        // The index of one row, written next to the value of another.
        db.execute("UPDATE users SET email_index = (SELECT email_index FROM users WHERE id = 4) WHERE id = 5").await;
        assert_eq!(find(&agent, "bob@example.org").expect(200), keys(&["4"]));
        db.execute("UPDATE users SET email = (SELECT email FROM users WHERE id = 4) WHERE id = 5").await;
        assert_eq!(find(&agent, "bob@example.org").class(422), "context_mismatch_or_corrupt");
        let document = agent.client().get("/v1/openapi.json").expect(200);
        let schema = &document["components"]["schemas"]["FindRequest"];
        assert_eq!(schema["properties"]["column"]["enum"], json!(["email"]), "{schema}");
        assert!(schema["required"].as_array().unwrap().contains(&json!("table")), "{schema}");
        let event = agent.wait_for_event(&[("event", "token_searched"), ("outcome", "not_found")]);
        assert!(event["actor"].as_str().unwrap().starts_with("uid="), "{event}");
        let log: String = agent.events().iter().map(Value::to_string).collect();
        assert!(!log.contains("example.org"), "{log}");
    }

    async fn rows_of_other_owners_are_not_in_the_answer(db) {
        let mut place = place(&db).await;
        fill(&place.start());
        place.policy(&policy("do = [\"find\"]\nowner = { tenant_id = [\"acme\", \"globex\"] }"));
        let agent = place.start();
        assert_eq!(find(&agent, "ada@example.org").expect(200), keys(&["1", "2"]));
        assert_eq!(find(&agent, "eve@example.org").expect(200), keys(&[]));
        // A row of another owner that does not open is not there either.
        let swapped = "UPDATE users SET email = (SELECT email FROM users WHERE id = 4) WHERE id IN (3, 5)";
        db.execute(swapped).await;
        assert_eq!(find(&agent, "ada@example.org").expect(200), keys(&["1", "2"]));
        assert_eq!(find(&agent, "eve@example.org").expect(200), keys(&[]));
        // Nor is a plaintext value, which is not bound to its row.
        let acme = [("id::bigint", Some("6")), ("tenant_id", Some("acme")), ("email", Some("eve@example.org"))];
        db.insert("users", &acme).await;
        assert_eq!(find(&agent, "eve@example.org").expect(200), keys(&[]));
        let other = json!({ "column": "access_token", "value": "x" });
        assert_eq!(agent.post("/v1/tokens/find", &other).class(403), "policy");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_looks_up_too_many_values_is_held_up_and_only_there() {
    let db = Sql::sqlite().await;
    let mut place = place(&db).await;
    place.policy(&policy("do = [\"get\", \"find\"]"));
    let agent = place.start();
    let mut kept = agent.client().connect();
    let body = json!({ "table": "users", "column": "email", "value": "ada@example.org" });
    let answers = (0..2000).map(|_| kept.post("/v1/tokens/find", &body));
    let (mut found, mut refused) = (0, None);
    for answer in answers {
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.expect(200), keys(&[]));
        found += 1;
    }
    let refused = refused.expect("a guesser is held up");
    assert_eq!(refused.class(429), "too_many");
    assert!(refused.header("retry-after").is_some() && found >= 50, "{found} {refused:?}");
    agent.wait_for_event(&[("event", "agent_refused"), ("operation", "find"), ("outcome", "too_many")]);
    let get = json!({ "table": "users", "row": { "id": 1 } });
    assert_eq!(agent.post("/v1/tokens/get", &get).class(404), "not_found");
    let other = json!({ "row": twitch("me"), "table": "oauth_tokens" });
    assert_eq!(agent.post("/v1/tokens/get", &other).class(403), "policy");
}
