//! However many tokens a row has, its read and its write wait for the key service once: all calls are made at once.

use std::sync::Arc;
use std::time::Duration;

use envelope_core::ErrorClass;
use kms_provider::{Resilience, ResilienceOptions};
use test_support::faults::Fault;
use token_store::{NewToken, TokenKey, TokenStore};

use crate::support::{Keys, Sql, create_vod_tender};

/// Does something while the key service holds its answers back, until it has been asked for both tokens.
async fn asked_for_both<T>(keys: &Keys, operation: &str, work: impl Future<Output = T>) -> T {
    keys.faults().reset_calls();
    keys.faults().always(Fault::Hold);
    let release = async {
        keys.faults().wait_for_calls(operation, 2).await;
        keys.faults().heal();
    };
    let done = tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(work, release).0 }).await;
    assert_eq!(keys.faults().total_calls(), 2);
    done.expect("both answers are requested before either is awaited")
}

fn both() -> NewToken {
    NewToken::new().access_token("an access token").refresh_token("a refresh token")
}

async fn cold_store(db: &Sql) -> (Keys, TokenStore) {
    create_vod_tender(db).await;
    let keys = Keys::new("vod-tender").decorated(|without_cache| without_cache);
    let store = keys.store(db).await;
    (keys, store)
}

#[tokio::test]
async fn when_it_is_written_and_when_it_is_read() {
    let db = Sql::sqlite().await;
    let (keys, store) = cold_store(&db).await;
    let one = TokenKey::new("twitch", "one");
    asked_for_both(&keys, "generate", store.put(&one, both())).await.unwrap();
    asked_for_both(&keys, "generate", store.put(&one, both())).await.unwrap();
    asked_for_both(&keys, "unwrap", store.get(&one)).await.unwrap();
}

/// Of two calls at once, an open circuit lets one through to see whether the key service is back, and turns the other
/// away at once.
#[tokio::test]
async fn and_a_circuit_closes_again_although_one_of_two_is_turned_away() {
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    let options =
        ResilienceOptions::default().with_max_attempts(1).with_circuit(1, Duration::from_millis(10));
    let keys = Keys::new("vod-tender").decorated(|inner| Arc::new(Resilience::with_options(inner, options)));
    let (store, one) = (keys.store(&db).await, TokenKey::new("twitch", "one"));
    keys.faults().always(Fault::Fail(ErrorClass::Unavailable));
    store.put(&one, both()).await.unwrap_err();
    keys.faults().heal();
    keys.faults().always(Fault::Delay(Duration::from_millis(20)));
    for _ in 0..50 {
        if store.put(&one, both()).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the key service is back, and the circuit does not notice");
}
