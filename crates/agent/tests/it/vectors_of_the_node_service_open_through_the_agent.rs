//! The vectors of the Node service's envelopes, through an agent whose keyring holds the service's keys.

use serde_json::{Value, json};
use test_support::vectors::{self, StoredFormat, Vector};
use tokenseal::envelope_core::DataKey;
use tokenseal::kms_provider::Keyring;

use crate::support::{MASTER_KEY, Place, Running, Sql};

const PROFILE: &str = r#"
name = "node-secrets"
sources = ["node-json"]
context = { Application = "node-secrets" }
[[tables]]
name = "secrets"
key = ["name"]
tokens = ["value"]
types = { name = "text" }
"#;

/// An agent on a table of the Node service, with the keys of all vectors.
async fn start(db: &Sql) -> Running {
    db.execute("CREATE TABLE secrets (name TEXT PRIMARY KEY, value TEXT)").await;
    let place = Place::on(db).await;
    place.write("profile.toml", PROFILE);
    let keyring = Keyring::open(place.path("keyring.json"), &MASTER_KEY.parse::<DataKey>().unwrap()).unwrap();
    let keys: Vec<Value> = vectors::of(StoredFormat::NodeJson)
        .iter()
        .map(|vector| json!({ "id": vector.data_key_id, "key": vector.data_key, "isActive": false }))
        .collect();
    let mut export = json!({ "keys": keys });
    export["keys"][0]["isActive"] = true.into();
    keyring.import(export.to_string().as_bytes()).unwrap();
    keyring.rotate().unwrap();
    place.start()
}

/// Opens a text for a secret of this name by both routes.
async fn open(agent: &Running, db: &Sql, name: &str, text: &str) -> [Value; 2] {
    let item = json!({ "table": "secrets", "column": "value", "row": { "name": name }, "text": text });
    let opened = agent.post("/v1/open", &json!({ "items": [item] })).expect(200)["items"][0].clone();
    db.execute("DELETE FROM secrets").await;
    db.insert("secrets", &[("name", Some(name)), ("value", Some(text))]).await;
    let read = agent.post("/v1/tokens/get", &json!({ "row": { "name": name } }));
    let read = match read.status {
        200 => json!({ "value": read.json()["tokens"]["value"] }),
        _ => json!({ "error": read.expect(422)["error"] }),
    };
    [opened, read]
}

fn name(vector: &Vector) -> &str {
    vector.aad.as_deref().unwrap_or("any-name")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_vector_opens_for_its_own_name_alone() {
    let db = Sql::sqlite().await;
    let agent = start(&db).await;
    for vector in vectors::of(StoredFormat::NodeJson) {
        for opened in open(&agent, &db, name(&vector), &vector.stored).await {
            assert_eq!(opened, json!({ "value": vector.plaintext }), "{}", vector.stored);
        }
        // Without associated data, an envelope of the Node service is bound to nothing.
        for opened in open(&agent, &db, "another-name", &vector.stored).await {
            match vector.aad {
                Some(_) => refused(&opened, &vector),
                None => assert_eq!(opened, json!({ "value": vector.plaintext })),
            }
        }
        let unknown = vector.stored.replace("default-17613", "default-99999");
        for opened in open(&agent, &db, name(&vector), &unknown).await {
            assert!(opened["error"]["class"].is_string() && opened.get("value").is_none(), "{opened}");
        }
    }
}

#[track_caller]
fn refused(opened: &Value, vector: &Vector) {
    assert!(opened["error"]["class"].is_string() && opened.get("value").is_none(), "{opened}");
    assert!(vector.plaintext.len() < 12 || !opened.to_string().contains(&vector.plaintext), "{opened}");
    assert!(!opened.to_string().contains(&vector.stored), "{opened}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_byte_never_opens_as_something_else() {
    let db = Sql::sqlite().await;
    let agent = start(&db).await;
    for vector in vectors::of(StoredFormat::NodeJson).iter().take(2) {
        // The time is not authenticated in this format, and is read by nothing.
        let time = vector.stored.find("timestamp").unwrap()..vector.stored.len();
        let items: Vec<Value> = (0..vector.stored.len())
            .filter_map(|at| {
                let mut bytes = vector.stored.clone().into_bytes();
                bytes[at] ^= 1;
                let text = String::from_utf8(bytes).ok()?;
                Some(json!({ "table": "secrets", "column": "value", "row": { "name": name(vector) }, "text": text }))
            })
            .collect();
        let opened = agent.post("/v1/open", &json!({ "items": items })).expect(200);
        for (at, opened) in opened["items"].as_array().unwrap().iter().enumerate() {
            match time.contains(&at) && opened.get("value").is_some() {
                true => assert_eq!(opened["value"], vector.plaintext, "byte {at}"),
                false => refused(opened, vector),
            }
        }
    }
}
