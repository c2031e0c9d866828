//! Answers of a provider that are less than was asked for: a token that lives shorter, or none at all.

use std::time::Duration;

use futures_util::future::join_all;
use test_support::oauth::Provider;
use token_store::refresh::{FreshError, GrantError, Granted};
use token_store::{ErrorKind, NewToken, Token};

use crate::support::{
    Refused, Sql, both, eventually, exchange, expired, grant, refreshed_table, replica, short, shown,
};

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than any token of these tests is valid.
const AGES: Duration = Duration::from_secs(200 * 366 * 24 * 3600);
const LATE: &str = "2100-01-01T00:00:00Z";

async fn state(db: &Sql) -> String {
    let rows = db.table("tokenseal_leases", &["state", "attempts"]).await;
    rows.iter().map(|row| row.iter().flatten().cloned().collect::<Vec<_>>().join(" ")).collect()
}

/// A grant of a provider that takes the refresh token and gives no access token.
fn nothing(
    provider: &Provider,
) -> impl FnOnce(Token) -> std::future::Ready<Result<Granted, GrantError<Refused>>> + Send + 'static {
    let provider = provider.clone();
    move |tokens| {
        exchange(&provider, &tokens).unwrap();
        let next = Granted::new(" ").refresh_token("refresh-0-1").expires_in(Duration::from_secs(3600));
        std::future::ready(Ok(next))
    }
}

on_each_database! {
    async fn a_caller_takes_what_another_grant_gave_meanwhile_even_with_the_same_expiry(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        store.put(&key, NewToken::new().access_token("first").plain("expires_at", LATE)).await.unwrap();
        let lease = store.lease(&key, Duration::from_millis(900)).await.unwrap();
        let waiting = replica(&keys, &db).await.with_refresh_policy(short().grace(Duration::from_secs(10)));
        let (its_key, its_grant) = (key.clone(), grant(&provider));
        let waiting = tokio::spawn(async move { waiting.fresh(&its_key, AGES, its_grant).await });
        eventually("the second caller has looked, and waits for a late answer", async || {
            db.table("tokenseal_leases", &["fence"]).await[0][0].as_deref() == Some("2")
        })
        .await;
        // The same access token in another envelope is no new one.
        store.put(&key, NewToken::new().access_token("first").plain("expires_at", LATE)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        let pair = provider.exchange("refresh-0-0").unwrap();
        let answer = NewToken::new().access_token(pair.access).refresh_token(pair.refresh);
        store.put_leased(&key, lease.as_str(), answer.plain("expires_at", LATE)).await.unwrap();
        assert_eq!(both(&waiting.await.unwrap().unwrap()), (Some("access-0-1"), Some("refresh-0-1")));
        assert_eq!(provider.families()[0].grants, 1);
        // A caller that begins now has a grant of its own.
        let token = store.fresh(&key, AGES, grant(&provider)).await.unwrap();
        assert_eq!(shown(token.access_token()), Some("access-0-2"));
    }

    async fn a_grant_without_an_access_token_fails_and_its_refresh_token_is_kept(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let policy = short().pauses(MINUTE, MINUTE);
        let strict = replica(&keys, &db).await.with_refresh_policy(policy);
        let key = expired(&store, &provider, "one").await;
        let before = store.get(&key).await.unwrap();
        let error = strict.fresh(&key, MINUTE, nothing(&provider)).await.unwrap_err();
        assert!(matches!(error, FreshError::NoAccessToken { .. }), "{error}");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
        assert_eq!(state(&db).await, "idle 1");
        let token = store.get(&key).await.unwrap();
        assert_eq!(both(&token), (Some("expired"), Some("refresh-0-1")));
        assert_eq!(token.plain("expires_at"), before.plain("expires_at"));
        // The pause is about the refresh token that is stored now.
        for error in join_all((0..5).map(|_| strict.fresh(&key, MINUTE, grant(&provider)))).await {
            assert!(matches!(error, Err(FreshError::Paused { attempts: 1, .. })), "{error:?}");
        }
        db.execute("UPDATE tokenseal_leases SET retry_at = 0").await;
        let token = store.fresh(&key, MINUTE, grant(&provider)).await.unwrap();
        assert_eq!(both(&token), (Some("access-0-2"), Some("refresh-0-2")));
        let family = &provider.families()[0];
        assert_eq!((family.grants, family.reused, family.is_revoked), (2, 0, false));
    }

    async fn a_damaged_access_token_does_not_keep_a_refresh_token_from_being_written(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        db.execute("UPDATE oauth_tokens SET access_token = REPLACE(access_token, 'kms:v2:', 'kms:v2:AAAA')").await;
        let error = store.fresh(&key, MINUTE, nothing(&provider)).await.unwrap_err();
        assert!(matches!(error, FreshError::NoAccessToken { .. }), "{error}");
        let token = store.get(&key).await.unwrap();
        assert_eq!(both(&token), (Some(""), Some("refresh-0-1")));
    }

    async fn a_grant_without_any_token_may_have_spent_the_refresh_token(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        let empty = async |_: Token| Ok::<_, GrantError<Refused>>(Granted::new("").expires_in(MINUTE));
        let error = store.fresh(&key, MINUTE, empty).await.unwrap_err();
        assert!(matches!(error, FreshError::NoAccessToken { .. }), "{error}");
        assert_eq!(state(&db).await, "spending 1");
        assert_eq!(both(&store.get(&key).await.unwrap()), (Some("expired"), Some("refresh-0-0")));
    }
}
