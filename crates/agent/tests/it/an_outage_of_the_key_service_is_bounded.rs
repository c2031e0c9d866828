//! While the key service is away, values with cached keys are read, the rest is 503, and nothing weaker is
//! written.

use serde_json::json;
use test_support::emulator::AwsFailure;
use test_support::faults::Fault;
use test_support::part;
use test_support::proxy::Proxy;

use crate::support::{Place, Sql, create_tables, key_in, twitch};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cached_reads_are_served_and_the_rest_is_told_to_come_back() {
    let moto = part!(moto);
    let (proxy, db) = (Proxy::start(moto.endpoint()), Sql::sqlite().await);
    create_tables(&db).await;
    let place = Place::on_aws(&db, proxy.endpoint(), &key_in(&moto).await);
    let writer = place.start();
    for channel in ["cached", "other"] {
        let body = json!({ "row": twitch(channel), "tokens": { "access_token": channel } });
        writer.post("/v1/tokens/put", &body).expect(200);
    }
    drop(writer);
    let agent = place.start();
    let read = |channel: &str| agent.post("/v1/tokens/get", &json!({ "row": twitch(channel) }));
    assert_eq!(read("cached").expect(200)["tokens"]["access_token"], "cached");
    proxy.faults().always(Fault::Fail(AwsFailure::Refused));
    proxy.settled().await;
    assert_eq!(read("cached").expect(200)["tokens"]["access_token"], "cached");
    let before = db.fingerprint("oauth_tokens").await;
    let item =
        json!({ "table": "oauth_tokens", "column": "access_token", "row": twitch("new"), "value": "canary" });
    for answer in [
        read("other"),
        agent.post(
            "/v1/tokens/put",
            &json!({ "row": twitch("other"), "tokens": { "access_token": "canary" } }),
        ),
        agent
            .post("/v1/tokens/put", &json!({ "row": twitch("new"), "tokens": { "access_token": "canary" } })),
        agent.post("/v1/seal", &json!({ "items": [item] })),
    ] {
        assert!(["unavailable", "timeout"].contains(&answer.class(503).as_str()), "{answer:?}");
        assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert!(!answer.text.contains("canary"));
    }
    assert_eq!(db.fingerprint("oauth_tokens").await, before, "nothing was written");
    proxy.faults().heal();
    proxy.settled().await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while read("other").status != 200 {
        assert!(std::time::Instant::now() < deadline, "the agent does not recover");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_fails_otherwise_does_not_answer_for_those_that_meet_the_outage() {
    use std::os::unix::fs::MetadataExt as _;
    let moto = part!(moto);
    let (proxy, db) = (Proxy::start(moto.endpoint()), Sql::sqlite().await);
    create_tables(&db).await;
    let mut place = Place::on_aws(&db, proxy.endpoint(), &key_in(&moto).await);
    let uid = std::fs::metadata("/proc/self").unwrap().uid();
    place.policy(&format!(
        "[[allow]]\nuid = {uid}\ndo = [\"seal\"]\ntables = [\"users\"]\nowner = {{ tenant_id = [\"acme\"] }}\n"
    ));
    let agent = place.start();
    proxy.faults().always(Fault::Fail(AwsFailure::Refused));
    proxy.settled().await;
    let unnamed = json!({ "table": "users", "column": "email", "row": { "id": 1 }, "value": "canary" });
    let mut good = unnamed.clone();
    good["owner"] = json!({ "tenant_id": "acme" });
    let mut malformed = good.clone();
    malformed["table"] = json!(7);
    let seal = |items: &[&serde_json::Value]| agent.post("/v1/seal", &json!({ "items": items }));
    for (items, statuses) in
        [([&unnamed, &good], [403, 503]), ([&good, &unnamed], [503, 403]), ([&malformed, &good], [400, 503])]
    {
        let sealed = seal(&items).expect(200);
        let found = [0, 1].map(|at| sealed["items"][at]["error"]["status"].clone());
        assert_eq!(found, statuses.map(|status| json!(status)), "{sealed}");
    }
    assert_eq!(seal(&[&good, &good]).status, 503);
    assert_eq!(seal(&[&unnamed, &unnamed]).class(403), "policy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_is_kept_and_not_asked_for() {
    let moto = part!(moto);
    let (proxy, db) = (Proxy::start(moto.endpoint()), Sql::sqlite().await);
    create_tables(&db).await;
    let agent = Place::on_aws(&db, proxy.endpoint(), &key_in(&moto).await).start();
    assert_eq!(agent.client().get("/readyz").text, "ready\n");
    let asked = proxy.faults().calls("DescribeKey");
    for _ in 0..100 {
        assert_eq!(agent.client().get("/readyz").status, 200);
    }
    assert!(proxy.faults().calls("DescribeKey") < asked + 20, "a probe asks nothing");
    proxy.faults().always(Fault::Fail(AwsFailure::Refused));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while agent.client().get("/readyz").status != 503 {
        assert!(std::time::Instant::now() < deadline, "the state stays as it was");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(agent.client().get("/readyz").text, "key service does not answer\n");
    assert_eq!(agent.client().get("/healthz").status, 200);
}
