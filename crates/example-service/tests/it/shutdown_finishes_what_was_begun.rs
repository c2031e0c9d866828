//! SIGTERM lets the current requests finish, accepts no new ones, and ends the service in order.

use test_support::http;

use crate::support::{Place, put, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_ends_with_0() {
    let mut place = Place::on_keyring().await;
    put(&place.other_program(place.keyring()).await, "mine").await;
    let service = place.set("OAUTH_LATENCY_MS", "1000").start().await;
    let (refresh, health) = (service.url("/tokens/twitch/mine/refresh"), service.url("/healthz"));
    let refreshing = tokio::spawn(async move { http::post(&refresh).await });
    // The service asks the provider now, for a second.
    within("the refresh has read its token", async || {
        (service.value("vod_kms_requests_total{operation=\"unwrap\"}").await >= 2.0).then_some(())
    })
    .await;
    service.terminate();
    within("no new requests are taken", async || http::get(&health).await.err()).await;
    let stopped = service.ended().await;
    assert_eq!(refreshing.await.unwrap().unwrap().status, 200, "the current one was finished");
    assert_eq!(stopped.code, Some(0), "{}", stopped.log);
    assert!(stopped.log.contains("stopped"), "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loop_refreshes_every_row() {
    let mut place = Place::on_keyring().await;
    let writer = place.other_program(place.keyring()).await;
    for channel in ["one", "two", "three"] {
        put(&writer, channel).await;
    }
    let service = place.set("REFRESH_EVERY_SECONDS", "1").start().await;
    within("every row was refreshed", async || {
        (service.value("vod_kms_requests_total{operation=\"generate\"}").await >= 6.0).then_some(())
    })
    .await;
    assert!(!service.log().contains("not refreshed"), "{}", service.log());
}
