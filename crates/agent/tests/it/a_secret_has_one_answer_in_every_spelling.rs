//! A secret that the policy refuses by one spelling is refused by every other; no setting of the agent is
//! served.

use serde_json::{Value, json};

use crate::support::{MASTER_KEY, Place, Running, Sql, twitch};

const OPENERS: [&str; 6] =
    ["KMS_MASTER_KEY", "DATABASE_URL", "PGPASSWORD", "MYSQL_PWD", "AWS_SECRET_ACCESS_KEY", "VAULT_TOKEN"];

fn policy(secrets: &str) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let uid = std::fs::metadata("/proc/self").unwrap().uid();
    format!(
        "[[allow]]\nuid = {uid}\ndo = [\"get\", \"put\", \"secret\"]\ntables = [\"*\"]\nsecrets = {secrets}\n"
    )
}

fn status(agent: &Running, name: &str) -> u16 {
    agent.post("/v1/secrets/get", &json!({ "name": name })).status
}

fn every_spelling_has_one_answer(place: &mut Place) {
    let agent = place.policy(&policy("[\"CRM_*\", \"smtp/password\"]")).start();
    for (names, expected) in [
        (["CRM_KEY", "crm/key", "crm-KEY", "crm.key"], 200),
        (["SMTP_PASSWORD", "smtp/password", "smtp-password", "Smtp/Password"], 200),
        (["BILLING_ADMIN_KEY", "billing/admin_key", "billing/ADMIN/key", "billing-admin-key"], 403),
    ] {
        for name in names {
            assert_eq!(status(&agent, name), expected, "{name}");
        }
    }
    drop(agent);
    let agent = place.policy(&policy("[\"*\"]")).start();
    for name in OPENERS {
        for spelling in [name.to_owned(), name.to_lowercase(), name.replace('_', "/"), format!("{name}#x")] {
            assert_eq!(status(&agent, &spelling), 403, "{spelling}");
        }
    }
    drop(agent);
    let (code, said) = place.policy(&policy("[\"CRM_KEY\", \"billing/*\"]")).refused();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("AGENT_POLICY") && said.contains("billing/*") && said.contains("CRM_*"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_agents_environment() {
    let db = Sql::sqlite().await;
    let mut place = Place::on(&db).await;
    for name in ["CRM_KEY", "SMTP_PASSWORD", "BILLING_ADMIN_KEY", "PGPASSWORD", "MYSQL_PWD"] {
        place.set(name, "canary");
    }
    tokio::task::block_in_place(|| every_spelling_has_one_answer(&mut place));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_dotenv_file() {
    let db = Sql::sqlite().await;
    let mut place = Place::on(&db).await;
    let openers: String = OPENERS.iter().map(|name| format!("{name}=canary\n")).collect();
    let text =
        format!("KMS_MASTER_KEY={MASTER_KEY}\nCRM_KEY=a\nsmtp-password=b\nBILLING_ADMIN_KEY=c\n{openers}");
    let file = place.write("secrets.env", &text);
    place.set("SECRETS_SOURCE", &format!("dotenv:{}", file.display()));
    tokio::task::block_in_place(|| every_spelling_has_one_answer(&mut place));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_is_named_twice_is_opened_all_the_same() {
    let db = Sql::sqlite().await;
    let agent = Place::on(&db).await.start();
    let put =
        json!({ "row": twitch("me"), "tokens": { "access_token": "canary-a", "refresh_token": "canary-r" } });
    agent.post("/v1/tokens/put", &put).expect(200);
    let columns = ["access_token", "refresh_token", "access_token", "access_token"];
    let row: Value =
        agent.post("/v1/tokens/get", &json!({ "row": twitch("me"), "columns": columns })).expect(200);
    assert_eq!(row["tokens"], json!({ "access_token": "canary-a", "refresh_token": "canary-r" }));
}
