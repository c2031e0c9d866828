//! While the pause file exists, the loop refreshes nothing, and it continues without a restart.

use crate::support::{Place, put, within};

const REFRESHED: &str = "vod_token_refreshes_total{outcome=\"ok\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loop_stops_and_continues_with_the_file_and_requests_are_served_meanwhile() {
    let mut place = Place::on_keyring().await;
    put(&place.other_program(place.keyring()).await, "mine").await;
    let pause = place.path().join("paused");
    std::fs::write(&pause, "").unwrap();
    place.set("OAUTH_LIFETIME_SECONDS", "1");
    let service = place.set("REFRESH_EVERY_SECONDS", "1").set("REFRESH_PAUSE_FILE", pause.to_str().unwrap());
    let service = service.start().await;

    let paused = "REFRESH_PAUSE_FILE exists";
    within("the loop has come to two rounds", async || {
        (service.log().matches(paused).count() >= 2).then_some(())
    })
    .await;
    assert!(service.value(REFRESHED).await.abs() < f64::EPSILON, "nothing was refreshed");
    assert_eq!(service.refresh("mine").await.status, 200, "a request is no background refresh");

    std::fs::remove_file(&pause).unwrap();
    within("the loop continues", async || (service.value(REFRESHED).await > 1.5).then_some(())).await;
}
