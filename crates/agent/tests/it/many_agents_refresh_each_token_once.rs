//! The agent runs the refresh grant, at a provider that revokes every token of a sign-in when one is used twice.

use std::time::Duration;

use serde_json::{Value, json};
use test_support::oauth::{Behaviour, Family, Provider, Server};

use crate::support::{Answer, Client, Place, Running, Sql, TOKEN, on_each_database, refresh_profile, twitch};

const POLICY: &str = "\
[[allow]]
token = \"billing\"
do = [\"get\", \"fresh\"]
tables = [\"*\"]
[[allow]]
token = \"reports\"
do = [\"get\", \"put\", \"lease\"]
tables = [\"*\"]
";
const CHANNELS: [&str; 3] = ["ada", "bob", "eve"];

/// Agents on one database, with expired tokens in it of users that have signed in.
struct Fleet {
    agents: Vec<Running>,
    provider: Provider,
    server: Server,
    place: Place,
}

impl Fleet {
    async fn on(db: &Sql, size: usize) -> Self {
        let provider = Provider::default();
        let latency = Duration::from_millis(300);
        let server = Server::start(provider.clone(), Behaviour { latency, ..Behaviour::default() }).await;
        let mut place = Place::on(db).await;
        let profile = refresh_profile(&server.token_url());
        place.describe(db, &profile).await;
        let other = TOKEN.replace('c', "d");
        let tokens = place.write("tokens", &format!("billing:{TOKEN}\nreports:{other}\n"));
        place.policy(POLICY).set("PROVIDER_SECRET", "canary-secret");
        place.set("AGENT_TOKEN_FILE", tokens.to_str().unwrap()).set("AGENT_LISTEN", "127.0.0.1:0");
        let agents = (0..size).map(|_| place.start()).collect();
        let fleet = Self { agents, provider, server, place };
        for channel in CHANNELS {
            fleet.sign_in(channel);
        }
        fleet
    }

    /// The row of a user whose access token has expired.
    fn sign_in(&self, channel: &str) {
        let tokens = json!({ "access_token": "expired", "refresh_token": self.provider.sign_in() });
        let plain = json!({ "scope": "2020-01-01T00:00:00Z" });
        let body = json!({ "row": twitch(channel), "tokens": tokens, "plain": plain });
        self.reports().post("/v1/tokens/put", &body).expect(200);
    }

    /// A caller that may not refresh.
    fn reports(&self) -> Client {
        Client::tcp(&self.agents[0].address, Some(&TOKEN.replace('c', "d")))
    }

    fn client(&self, agent: usize) -> Client {
        Client::tcp(&self.agents[agent].address, Some(TOKEN))
    }

    fn fresh(&self, agent: usize, channel: &str, valid_for: u32) -> Answer {
        let body = json!({ "row": twitch(channel), "valid_for": valid_for });
        self.client(agent).post("/v1/tokens/fresh", &body)
    }
}

fn family(grants: u64) -> Family {
    Family { grants, reused: 0, is_revoked: false }
}

on_each_database! {
    async fn callers_of_several_agents_at_once_cost_one_grant_for_each_token(db) {
        let fleet = Fleet::on(&db, 3).await;
        let fleet = &fleet;
        let answers: Vec<(usize, Answer)> = std::thread::scope(|scope| {
            let asked = (0..36).map(|number| {
                let (agent, user) = (number % 3, (number / 3) % 3);
                scope.spawn(move || (user, fleet.fresh(agent, CHANNELS[user], 60)))
            });
            let asked: Vec<_> = asked.collect();
            asked.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for (user, answer) in answers {
            let row = answer.expect(200);
            let expected = json!({ "access_token": format!("access-{user}-1"), "refresh_token": format!("refresh-{user}-1") });
            assert_eq!(row["tokens"], expected, "{row}");
            assert_eq!(row["encryption_method"], "kms-envelope");
        }
        assert_eq!(fleet.provider.families(), [family(1), family(1), family(1)]);
        assert_eq!(fleet.server.requests(), 3);
        let (authorization, body) = fleet.server.last_request();
        assert!(authorization.unwrap().starts_with("Basic ") && !body.contains("canary"), "{body}");

        let again = fleet.fresh(1, "ada", 60).expect(200);
        let read = fleet.client(2).post("/v1/tokens/get", &json!({ "row": twitch("ada") })).expect(200);
        assert_eq!(again, read, "fresh answers as get");
        assert_eq!(fleet.server.requests(), 3, "a valid token costs no request");
        assert_eq!(fleet.fresh(2, "ada", 7200).expect(200)["tokens"]["access_token"], "access-0-2");
        assert_eq!(fleet.provider.families()[0], family(2));
        // The user signed in through another caller.
        fleet.agents[0].wait_for_event(&[("event", "token_written"), ("actor", "tcp token=billing")]);
        let log = std::fs::read_to_string(fleet.place.path("audit.log")).unwrap();
        assert!(!log.contains("canary") && !log.contains("access-0"), "{log}");
    }

    async fn each_failure_says_who_can_help(db) {
        let fleet = Fleet::on(&db, 1).await;
        let requests = || fleet.server.requests();
        assert_eq!(fleet.fresh(0, "absent", 60).class(404), "not_found");
        let users = json!({ "table": "users", "row": { "id": 1 }, "valid_for": 60 });
        assert_eq!(fleet.client(0).post("/v1/tokens/fresh", &users).class(404), "not_refreshed");
        for valid_for in [json!(-1), json!(1.5), json!("60"), json!(null), json!(4_000_000_000_u32)] {
            let body = json!({ "row": twitch("ada"), "valid_for": valid_for });
            assert_eq!(fleet.client(0).post("/v1/tokens/fresh", &body).class(400), "malformed", "{body}");
        }
        let ada = json!({ "row": twitch("ada") });
        assert_eq!(fleet.client(0).post("/v1/tokens/fresh", &ada).class(400), "malformed");
        let body = json!({ "row": twitch("ada"), "valid_for": 60 });
        assert_eq!(fleet.reports().post("/v1/tokens/fresh", &body).class(403), "policy");
        assert_eq!(requests(), 0);

        // Another program spends the refresh token of ada.
        fleet.provider.exchange("refresh-0-0").unwrap();
        for _ in 0..2 {
            let answer = fleet.fresh(0, "ada", 60);
            assert_eq!((answer.class(409), &answer.json()["needs_consent"]), ("needs_consent".into(), &json!(true)));
            assert_eq!(requests(), 1, "the provider is not asked again");
        }
        fleet.sign_in("ada");
        fleet.fresh(0, "ada", 60).expect(200);

        let instead = Some((400, json!({ "error": "invalid_client", "error_description": "canary" }).to_string()));
        fleet.server.behave(Behaviour { instead, ..Behaviour::default() });
        let answer = fleet.fresh(0, "bob", 60);
        assert_eq!(answer.class(503), "provider");
        assert!(answer.header("retry-after").is_some() && answer.json()["needs_consent"] == Value::Null, "{answer:?}");
        assert!(answer.text.contains("invalid_client") && !answer.text.contains("canary"), "{answer:?}");
        let next = json!({ "access_token": "", "refresh_token": "next", "expires_in": 3600 }).to_string();
        fleet.server.behave(Behaviour { instead: Some((200, next)), ..Behaviour::default() });
        assert_eq!(fleet.fresh(0, "eve", 60).class(503), "provider");
        let row = fleet.reports().post("/v1/tokens/get", &json!({ "row": twitch("eve") })).expect(200);
        assert_eq!(row["tokens"], json!({ "access_token": "expired", "refresh_token": "next" }));
        fleet.server.behave(Behaviour::default());
        assert_eq!(fleet.fresh(0, "bob", 60).expect(200)["tokens"]["access_token"], "access-1-1");
    }
}
