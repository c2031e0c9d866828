//! Eight writers through the agent while the table is migrated: no update is lost.

use serde_json::{Value, json};
use tokenseal::token_store::migration::{self, MigrationOptions, StopFlag};
use tokenseal::token_store::{WriteFormat, verify};
use tokenseal::{Settings, Tokenseal};

use crate::support::{Client, Place, on_each_database, twitch};

const WRITERS: usize = 8;
const ROWS: usize = 12;
/// Rounds of each writer, in each of which it adds 1 to every row.
const ROUNDS: usize = 2;

/// Adds 1 to the number in a row, as a service does that reads, decides and writes.
fn add_one(client: &Client, channel: &str) {
    loop {
        let row = client.post("/v1/tokens/get", &json!({ "row": twitch(channel) })).expect(200);
        let count: u64 = row["tokens"]["access_token"].as_str().unwrap().parse().unwrap();
        let tokens = json!({ "access_token": (count + 1).to_string() });
        let body = json!({ "row": twitch(channel), "tokens": tokens, "if_revision": row["revision"] });
        let answer = client.post("/v1/tokens/put", &body);
        match answer.status {
            200 => return,
            409 => {}
            _ => panic!("{answer:?}"),
        }
    }
}

on_each_database! {
    async fn no_update_of_eight_writers_is_lost(db) {
        let place = Place::on(&db).await;
        for number in 0..ROWS {
            let channel = format!("c{number}");
            let cells = [("provider", Some("twitch")), ("channel", Some(channel.as_str())), ("access_token", Some("0")),
                         ("refresh_token", Some("kept")), ("encryption_version::integer", Some("0"))];
            db.insert("oauth_tokens", &cells).await;
        }
        let agent = place.start();
        let writers: Vec<_> = (0..WRITERS).map(|_| {
            let client = agent.client();
            std::thread::spawn(move || {
                for number in (0..ROUNDS).flat_map(|_| 0..ROWS) {
                    add_one(&client, &format!("c{number}"));
                }
            })
        }).collect();
        let variables = place.variables();
        let settings = Settings::from_variables(&|name| variables.get(name).map(Into::into)).unwrap();
        let connected = Tokenseal::builder(settings).without_secrets().connect().await.unwrap();
        let options = MigrationOptions::to(WriteFormat::KmsEnvelope);
        for _ in 0..3 {
            let outcome = migration::run(connected.store(), &options, &StopFlag::default(), |_| {}).await;
            assert!(outcome.ended_by.is_none() && outcome.report.failed == 0, "{outcome:?}");
        }
        tokio::task::spawn_blocking(|| writers.into_iter().for_each(|writer| writer.join().unwrap())).await.unwrap();
        let outcome = migration::run(connected.store(), &options, &StopFlag::default(), |_| {}).await;
        assert_eq!(outcome.report.failed + outcome.report.conflicts, 0, "{outcome:?}");
        let expected = json!({ "access_token": (WRITERS * ROUNDS).to_string(), "refresh_token": "kept" });
        for number in 0..ROWS {
            let row: Value = agent.post("/v1/tokens/get", &json!({ "row": twitch(&format!("c{number}")) })).expect(200);
            assert_eq!(row["tokens"], expected, "c{number}");
        }
        let checked = verify::verify(connected.store(), None, &StopFlag::default(), |_| {}).await.unwrap();
        assert_eq!((checked.failed, checked.unbound, checked.plaintext), (0, 0, 0));
    }
}
