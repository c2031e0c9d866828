//! Stored texts that were moved, exchanged or damaged in the database do not open, and no answer repeats anything of them.

use serde_json::{Value, json};

use crate::support::{Answer, Place, Running, Sql, on_each_database, twitch};

/// The answer of `get` for a cell that does not open.
fn refused(agent: &Running, body: &Value, secrets: &[&str]) -> Answer {
    let answer = agent.post("/v1/tokens/get", body);
    assert_eq!(answer.class(422), "context_mismatch_or_corrupt", "{body}");
    for secret in secrets {
        assert!(!answer.text.contains(secret), "{answer:?}");
    }
    answer
}

fn cell(channel: &str, column: &str) -> Value {
    json!({ "row": twitch(channel), "columns": [column] })
}

fn user(id: u32, tenant: &str) -> Value {
    json!({ "table": "users", "row": { "id": id }, "owner": { "tenant_id": tenant } })
}

async fn stored(db: &Sql, channel: &str) -> String {
    let rows = db.table("oauth_tokens", &["channel", "access_token"]).await;
    rows.into_iter().find(|row| row[0].as_deref() == Some(channel)).unwrap()[1].clone().unwrap()
}

on_each_database! {
    async fn a_moved_value_opens_in_no_other_cell(db) {
        let agent = Place::on(&db).await.start();
        for channel in ["me", "you"] {
            let tokens = json!({ "access_token": format!("canary-access-{channel}"), "refresh_token": "canary-refresh" });
            agent.post("/v1/tokens/put", &json!({ "row": twitch(channel), "tokens": tokens })).expect(200);
        }
        for tenant in ["acme", "globex"] {
            let mut body = user(if tenant == "acme" { 1 } else { 2 }, tenant);
            body["tokens"] = json!({ "email": format!("canary-{tenant}") });
            agent.post("/v1/tokens/put", &body).expect(200);
        }
        let text = stored(&db, "me").await;
        let secrets = ["canary", &text[..40], &text[text.len() - 24..]];
        db.execute("UPDATE oauth_tokens SET access_token = (SELECT t.access_token FROM oauth_tokens t WHERE t.channel = 'me') \
                    WHERE channel = 'you'").await;
        refused(&agent, &cell("you", "access_token"), &secrets);
        db.execute("UPDATE oauth_tokens SET refresh_token = access_token WHERE channel = 'me'").await;
        refused(&agent, &cell("me", "refresh_token"), &secrets);
        let kept = agent.post("/v1/tokens/get", &cell("me", "access_token")).expect(200);
        assert_eq!(kept["tokens"], json!({ "access_token": "canary-access-me" }), "the value that stayed opens");

        db.execute("UPDATE users SET tenant_id = 'globex' WHERE id = 1").await;
        refused(&agent, &user(1, "globex"), &["canary"]);
        db.execute("UPDATE users SET tenant_id = 'acme', email = (SELECT u.email FROM users u WHERE u.id = 2) WHERE id = 1").await;
        refused(&agent, &user(1, "acme"), &["canary"]);
    }

    async fn a_damaged_value_does_not_open_wherever_the_damage_is(db) {
        let agent = Place::on(&db).await.start();
        let tokens = json!({ "access_token": "canary-access" });
        agent.post("/v1/tokens/put", &json!({ "row": twitch("me"), "tokens": tokens })).expect(200);
        let text = stored(&db, "me").await;
        for at in (0..text.len()).step_by(7).chain([text.len() - 1]) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let damaged = String::from_utf8(bytes).unwrap();
            db.run("UPDATE oauth_tokens SET access_token = $1", &[Some(&damaged)]).await;
            refused(&agent, &cell("me", "access_token"), &["canary", &text[..40], &damaged]);
        }
        db.run("UPDATE oauth_tokens SET access_token = $1", &[Some(&text)]).await;
        agent.post("/v1/tokens/get", &cell("me", "access_token")).expect(200);
    }
}
