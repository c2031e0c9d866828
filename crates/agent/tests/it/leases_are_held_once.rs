//! Leases, for a service that runs the refresh grant itself.

use serde_json::{Value, json};

use crate::support::{Place, Running, lease_profile, on_each_database, twitch};

fn lease(agent: &Running) -> crate::support::Answer {
    agent.post("/v1/tokens/lease", &json!({ "row": twitch("me"), "seconds": 60 }))
}

fn grant(agent: &Running, lease: &Value) -> crate::support::Answer {
    let tokens = json!({ "access_token": "new", "refresh_token": "second" });
    agent.post("/v1/tokens/put", &json!({ "row": twitch("me"), "tokens": tokens, "lease": lease }))
}

on_each_database! {
    async fn one_holder_has_the_lease_and_its_write_ends_it(db) {
        let place = Place::on(&db).await;
        place.describe(&db, &lease_profile("")).await;
        let agent = place.start();
        assert_eq!(lease(&agent).class(404), "not_found");
        let tokens = json!({ "access_token": "old", "refresh_token": "first" });
        agent.post("/v1/tokens/put", &json!({ "row": twitch("me"), "tokens": tokens })).expect(200);
        let held = lease(&agent).expect(200);
        assert!(held["expires"].as_str().unwrap().ends_with('Z'), "{held}");
        let other = lease(&agent);
        assert_eq!(other.class(423), "leased");
        assert_eq!(other.json()["expires"], held["expires"], "the lease's own end, without the grace for a late answer");
        let wait: u64 = other.header("retry-after").unwrap().parse().unwrap();
        assert!(wait > 60, "a late answer is waited for: {wait}");
        assert_eq!(grant(&agent, &json!("1.x.y")).class(400), "malformed");
        assert_eq!(grant(&agent, &held["lease"]).expect(200)["written"], "kms-envelope");
        let row = agent.post("/v1/tokens/get", &json!({ "row": twitch("me") })).expect(200);
        assert_eq!(row["tokens"], json!({ "access_token": "new", "refresh_token": "second" }));

        let again = lease(&agent).expect(200);
        let release = json!({ "row": twitch("me"), "lease": again["lease"] });
        assert_eq!(agent.post("/v1/tokens/release", &release).expect(200), json!({ "released": true }));
        assert_eq!(agent.post("/v1/tokens/release", &release).expect(200), json!({ "released": false }));
        lease(&agent).expect(200);
        let tokens = json!({ "access_token": "a", "refresh_token": null });
        agent.post("/v1/tokens/put", &json!({ "row": twitch("me"), "tokens": tokens })).expect(200);
        let answer = lease(&agent);
        assert_eq!((answer.class(409), &answer.json()["needs_consent"]), ("needs_consent".into(), &json!(true)));
        let users = json!({ "table": "users", "row": { "id": 1 }, "seconds": 60 });
        assert_eq!(agent.post("/v1/tokens/lease", &users).class(404), "not_refreshed");
    }
}
