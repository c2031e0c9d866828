//! Of any number of callers one refreshes a token, also if others, the key service or the holder fail.

use std::time::Duration;

use envelope_core::ErrorClass;
use futures_util::future::join_all;
use test_support::faults::Fault;
use test_support::oauth::Provider;
use token_store::refresh::{FreshError, GrantError, Granted, LeaseError};
use token_store::{Database, ErrorKind, NewToken, StoreError, Token, TokenKey, TokenStore, schema};
use tokio::sync::oneshot;

use crate::support::{
    Keys, Refused, both, counter, create_vod_tender, eventually, exchange, expired, grant, refreshed_profile,
    refreshed_table, replica, shown, slow_grant,
};

const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

async fn state(db: &crate::support::Sql) -> String {
    let rows = db.table("tokenseal_leases", &["state", "attempts"]).await;
    rows.iter().map(|row| row.iter().flatten().cloned().collect::<Vec<_>>().join(" ")).collect()
}

async fn fence(db: &crate::support::Sql) -> String {
    db.table("tokenseal_leases", &["fence"]).await.into_iter().flatten().flatten().collect()
}

on_each_database! {
    async fn one_of_many_callers_runs_the_grant_and_all_get_its_tokens(db) {
        let keys = refreshed_table(&db).await;
        let (provider, first) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&first, &provider, "one").await;
        let stores = [first, replica(&keys, &db).await, replica(&keys, &db).await];
        let calls = (0..45).map(|n| stores[n % 3].fresh(&key, MINUTE, slow_grant(&provider)));
        for token in join_all(calls).await {
            assert_eq!(both(&token.unwrap()), (Some("access-0-1"), Some("refresh-0-1")));
        }
        let family = &provider.families()[0];
        assert_eq!((family.grants, family.reused), (1, 0));
        let token = stores[0].get(&key).await.unwrap();
        assert_eq!(both(&token), (Some("access-0-1"), Some("refresh-0-1")));
        let fresh = stores[0].fresh(&key, MINUTE, grant(&provider)).await.unwrap();
        assert_eq!((fresh.revision(), fresh.plain("expires_at")), (token.revision(), token.plain("expires_at")));
        assert_eq!(provider.families()[0].grants, 1, "a valid token costs no grant");
        let ok: u64 = stores.iter().map(|store| counter(store, "vod_token_refreshes_total{outcome=\"ok\"}")).sum();
        assert_eq!(ok, 1);
        assert_eq!(state(&db).await, "idle 0");
    }

    async fn a_provider_whose_tokens_live_shorter_than_is_wanted_is_asked_once_for_each_caller_at_most(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        let day = Duration::from_secs(24 * 3600);
        let calls = (0..10).map(|_| store.fresh(&key, day, grant(&provider)));
        for token in join_all(calls).await {
            assert!(shown(token.unwrap().access_token()).unwrap().starts_with("access-0-"));
        }
        let family = &provider.families()[0];
        assert!((1..=10).contains(&family.grants) && !family.is_revoked, "{family:?}");
    }

    async fn a_refused_refresh_token_needs_consent_until_the_user_signs_in_again(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        let never = async |_: Token| Err::<Granted, _>(GrantError::Rejected(Refused));
        let error = store.fresh(&key, MINUTE, never).await.unwrap_err();
        assert!(error.needs_consent() && error.kind() == ErrorKind::Conflict, "{error}");
        assert_eq!(state(&db).await, "needs_consent 1");
        let error = replica(&keys, &db).await.fresh(&key, MINUTE, grant(&provider)).await.unwrap_err();
        assert!(error.needs_consent() && provider.families()[0].grants == 0, "the provider is not asked again");
        assert!(matches!(store.lease(&key, SHORT).await, Err(LeaseError::NeedsConsent { .. })));
        assert_eq!(counter(&store, "vod_token_refreshes_needing_consent_total"), 1);

        store.put(&key, NewToken::new().refresh_token(provider.sign_in())).await.unwrap();
        let token = store.fresh(&key, MINUTE, grant(&provider)).await.unwrap();
        assert_eq!(shown(token.access_token()), Some("access-1-1"));
        store.put(&key, NewToken::new().column("refresh_token", None).access_token("")).await.unwrap();
        assert!(store.fresh(&key, MINUTE, grant(&provider)).await.unwrap_err().needs_consent());
    }

    async fn the_loser_of_a_race_believes_the_row_and_not_the_refusal(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        let (other, its_key) = (replica(&keys, &db).await, key.clone());
        let lost = async move |_: Token| {
            let theirs = NewToken::new().access_token("theirs").refresh_token("their refresh");
            other.put(&its_key, theirs.plain("expires_at", "2100-01-01T00:00:00Z")).await.unwrap();
            Err::<Granted, _>(GrantError::Rejected(Refused))
        };
        let token = store.fresh(&key, MINUTE, lost).await.unwrap();
        assert_eq!(both(&token), (Some("theirs"), Some("their refresh")));
        assert_eq!(state(&db).await, "idle 0");
    }

    async fn an_outage_of_the_key_service_throws_no_grant_away(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        // Away for new keys before the grant: nothing is spent, and nothing has to be waited for afterwards.
        keys.faults().always_for("generate", Fault::Fail(ErrorClass::Unavailable));
        let refused = join_all((0..20).map(|_| store.fresh(&key, MINUTE, grant(&provider)))).await;
        for error in refused {
            let error = error.unwrap_err();
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true), "{error}");
        }
        assert_eq!((provider.families()[0].grants, state(&db).await), (0, "idle 0".to_owned()));
        keys.faults().heal();
        // It becomes unavailable during the grant: the provider's tokens are written.
        let faults = keys.faults().clone();
        let its_provider = provider.clone();
        let meanwhile = async move |tokens: Token| {
            faults.always(Fault::Fail(ErrorClass::Unavailable));
            exchange(&its_provider, &tokens)
        };
        let token = store.fresh(&key, MINUTE, meanwhile).await.unwrap();
        assert_eq!(both(&token), (Some("access-0-1"), Some("refresh-0-1")));
        keys.faults().heal();
        assert_eq!(both(&store.get(&key).await.unwrap()), (Some("access-0-1"), Some("refresh-0-1")));
        assert_eq!(provider.families()[0].grants, 1);
    }

    async fn a_caller_that_goes_away_does_not_take_the_grant_with_it(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        let (spent, is_spent) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let its_provider = provider.clone();
        let slow = async move |tokens: Token| {
            let granted = exchange(&its_provider, &tokens);
            spent.send(()).unwrap();
            may_go_on.await.unwrap();
            granted
        };
        let call = tokio::spawn({
            let (store, key) = (store.clone(), key.clone());
            async move { store.fresh(&key, MINUTE, slow).await.map(drop) }
        });
        is_spent.await.unwrap();
        assert_eq!(state(&db).await, "spending 0", "before the provider is asked");
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        go_on.send(()).unwrap();
        eventually("the grant is written", async || {
            shown(store.get(&key).await.unwrap().access_token()) == Some("access-0-1")
        })
        .await;
        let token = store.fresh(&key, MINUTE, grant(&provider)).await.unwrap();
        assert_eq!(shown(token.access_token()), Some("access-0-1"));
    }

    async fn after_a_failure_the_provider_is_left_alone_for_a_while(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let policy = crate::support::short().pauses(Duration::from_secs(60), Duration::from_secs(60));
        let store = store.with_refresh_policy(policy);
        let key = expired(&store, &provider, "one").await;
        let busy = async |_: Token| Err::<Granted, _>(GrantError::NotSpent(Refused));
        assert!(matches!(store.fresh(&key, MINUTE, busy).await, Err(FreshError::Grant(Refused))));
        let error = store.fresh(&key, MINUTE, grant(&provider)).await.unwrap_err();
        assert!(matches!(error, FreshError::Paused { attempts: 1, .. }) && error.retry_in().is_some(), "{error}");
        assert_eq!((provider.families()[0].grants, state(&db).await), (0, "idle 1".to_owned()));
        // Another refresh token has no such past.
        store.put(&key, NewToken::new().refresh_token(provider.sign_in())).await.unwrap();
        assert!(store.fresh(&key, MINUTE, grant(&provider)).await.is_ok());
    }

    async fn an_answer_that_never_comes_is_given_up_before_the_lease_ends(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        let hangs = async |_: Token| std::future::pending::<Result<Granted, GrantError<Refused>>>().await;
        let error = store.fresh(&key, MINUTE, hangs).await.unwrap_err();
        assert!(matches!(error, FreshError::Timeout { .. }), "{error}");
        assert_eq!(state(&db).await, "spending 1");
        // The next one waits for a late answer, and then spends the token once more.
        let token = replica(&keys, &db).await.fresh(&key, MINUTE, grant(&provider)).await.unwrap();
        assert_eq!(shown(token.access_token()), Some("access-0-1"));
    }

    async fn a_late_answer_is_written_while_its_successor_waits_for_it(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        let lease = store.lease(&key, SHORT * 3).await.unwrap();
        let pair = provider.exchange("refresh-0-0").unwrap();
        let patient = crate::support::short().grace(Duration::from_secs(5));
        let successor = replica(&keys, &db).await.with_refresh_policy(patient);
        let (its_key, its_provider) = (key.clone(), provider.clone());
        let waiting = tokio::spawn(async move { successor.fresh(&its_key, MINUTE, slow_grant(&its_provider)).await });
        eventually("the successor has the lease", async || fence(&db).await == "2").await;
        let given = db.table("tokenseal_leases", &["expires_at"]).await[0][0].as_ref().unwrap().parse::<i64>().unwrap();
        assert!(given - 1500 >= lease.expires_at(), "it is given only after its holder's time: {given}, {lease:?}");
        let answer = NewToken::new().access_token(pair.access).refresh_token(pair.refresh);
        let answer = answer.plain("expires_at", "2100-01-01T00:00:00Z");
        store.put_leased(&key, lease.as_str(), answer).await.unwrap();
        assert_eq!(shown(waiting.await.unwrap().unwrap().access_token()), Some("access-0-1"));
        let family = &provider.families()[0];
        assert_eq!((family.grants, family.reused, family.is_revoked), (1, 0, false));
    }

    async fn the_successor_of_a_holder_that_vanished_spends_after_the_grace_and_counts_it(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        let vanished = store.lease(&key, SHORT).await.unwrap();
        let successor = replica(&keys, &db).await;
        let token = successor.fresh(&key, MINUTE, grant(&provider)).await.unwrap();
        assert_eq!(shown(token.access_token()), Some("access-0-1"));
        assert_eq!(counter(&successor, "vod_token_refreshes_uncertain_total"), 1);
        // The one that vanished comes back with its old token, and overwrites nothing.
        let late = NewToken::new().access_token("late").refresh_token("late");
        let lost = store.put_leased(&key, vanished.as_str(), late).await;
        assert!(matches!(lost, Err(LeaseError::Lost { .. })), "{lost:?}");
        assert_eq!(shown(store.get(&key).await.unwrap().access_token()), Some("access-0-1"));
    }

    async fn a_lease_is_one_holders_until_it_is_released_or_used(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        let lease = store.lease(&key, MINUTE).await.unwrap();
        let Err(LeaseError::Held { expires_in, expires_at, .. }) = store.lease(&key, MINUTE).await else {
            panic!("it is given twice")
        };
        assert!(expires_in <= MINUTE + SHORT && expires_at > lease.expires_at() - 1);
        for text in ["", "1.2.3.4", &lease.as_str()[1..], &format!("{}0", lease.as_str())] {
            let done = store.put_leased(&key, text, NewToken::new().access_token("x")).await;
            assert!(matches!(done, Err(LeaseError::Malformed)), "{text}: {done:?}");
        }
        assert!(store.release(&key, lease.as_str()).await.unwrap());
        assert!(!store.release(&key, lease.as_str()).await.unwrap(), "it is released once");
        let lease = store.lease(&key, MINUTE).await.unwrap();
        let pair = provider.exchange("refresh-0-0").unwrap();
        let answer = || NewToken::new().access_token(&*pair.access).refresh_token(&*pair.refresh);
        store.put_leased(&key, lease.as_str(), answer()).await.unwrap();
        store.put_leased(&key, lease.as_str(), answer()).await.unwrap();
        assert!(!store.release(&key, lease.as_str()).await.unwrap());
        assert_eq!(state(&db).await, "idle 0");
        // A lease says which refresh token it is for.
        let lease = store.lease(&key, MINUTE).await.unwrap();
        store.put(&key, NewToken::new().refresh_token(provider.sign_in())).await.unwrap();
        let lost = store.put_leased(&key, lease.as_str(), answer()).await;
        assert_eq!(lost.map_err(|error| error.kind()), Err(ErrorKind::Conflict));
        let missing = store.lease(&TokenKey::new("twitch", "nobody"), MINUTE).await;
        assert!(matches!(missing, Err(LeaseError::Store(StoreError::NotFound { .. }))), "{missing:?}");
    }

    async fn the_schema_makes_the_table_of_leases_once_and_a_store_asks_for_it(db) {
        create_vod_tender(&db).await;
        let mut keys = Keys::new("vod-tender");
        keys.profile = refreshed_profile();
        let database = Database::connect(db.url()).await.unwrap();
        let opened = TokenStore::open(database.clone(), keys.profile.clone(), keys.cipher()).await;
        assert!(matches!(opened.err(), Some(StoreError::NoColumns { addable: true, .. })));
        let pending = schema::check(&database, &keys.profile).await.unwrap().pending;
        assert_eq!(pending.len(), 1, "{pending:?}");
        assert!(pending[0].starts_with("CREATE TABLE IF NOT EXISTS") && pending[0].contains("tokenseal_leases"));
        let runs = join_all((0..8).map(|_| schema::migrate(&database, &keys.profile))).await;
        assert!(runs.iter().all(Result::is_ok), "{runs:?}");
        assert_eq!(schema::migrate(&database, &keys.profile).await.unwrap().applied, Vec::<String>::new());
        assert!(TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.is_ok());
        let plain = Keys::new("vod-tender").store(&db).await;
        let key = TokenKey::new("twitch", "one");
        assert!(matches!(plain.lease(&key, MINUTE).await, Err(LeaseError::Store(StoreError::NotRefreshed { .. }))));
    }

    async fn an_expiry_is_understood_and_written_in_the_type_that_its_column_has(db) {
        let types: &[(&str, &str)] = match () {
            () if db.is_postgres() => &[
                ("timestamptz", "2020-01-01 00:00:00+00"), ("timestamp", "2020-01-01 00:00:00"), ("bigint", "1577836800"),
                ("text", "2020-01-01T00:00:00Z"), ("timestamptz", "-infinity"), ("double precision", "1577836800.5"),
            ],
            () if db.is_mariadb() => &[
                ("datetime", "2020-01-01 00:00:00"), ("timestamp NULL", "2020-01-01 00:00:00"), ("bigint", "1577836800000"),
                ("varchar(40)", "2020-01-01 00:00:00+00:00"),
            ],
            () => &[("TEXT", "2020-01-01 00:00:00"), ("INTEGER", "1577836800"), ("", "1577836800000")],
        };
        for (number, (kind, before)) in types.iter().enumerate() {
            let table = format!("refreshed_{number}");
            db.execute(&format!(
                "CREATE TABLE {table} (id VARCHAR(40) PRIMARY KEY, access_token TEXT, refresh_token TEXT, ends {kind})"
            ))
            .await;
            db.execute(&format!("INSERT INTO {table} VALUES ('1', 'old', 'refresh-0-0', '{before}')")).await;
            let keys = Keys::toml(&crate::support::profile_of(
                &table,
                &["id"],
                &["access_token", "refresh_token"],
                "[tables.refresh]\naccess = \"access_token\"\nrefresh = \"refresh_token\"\nexpires_at = \"ends\"",
            ));
            let database = Database::connect(db.url()).await.unwrap();
            schema::migrate(&database, &keys.profile).await.unwrap();
            let (store, provider) = (replica(&keys, &db).await, Provider::default());
            provider.sign_in();
            let key = TokenKey::from_values(["1"]);
            for _ in 0..2 {
                let token = store.fresh(&key, Duration::from_secs(3500), grant(&provider)).await.unwrap();
                assert_eq!(shown(token.access_token()), Some("access-0-1"), "{kind}");
            }
            let more = store.fresh(&key, Duration::from_secs(3700), grant(&provider)).await.unwrap();
            assert_eq!(shown(more.access_token()), Some("access-0-2"), "{kind}: it lives for an hour");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_is_none_is_an_error_of_its_row() {
    let db = crate::support::Sql::sqlite().await;
    let keys = refreshed_table(&db).await;
    let (provider, store) = (Provider::default(), replica(&keys, &db).await);
    let key = expired(&store, &provider, "one").await;
    db.execute("UPDATE oauth_tokens SET expires_at = 'soon'").await;
    let error = store.fresh(&key, MINUTE, grant(&provider)).await.unwrap_err();
    assert!(matches!(error, FreshError::Store(StoreError::Unreadable { .. })), "{error}");
    assert_eq!(provider.families()[0].grants, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_does_not_rotate_keeps_its_refresh_token() {
    let db = crate::support::Sql::sqlite().await;
    let keys = refreshed_table(&db).await;
    let (provider, store) = (Provider::default(), replica(&keys, &db).await);
    let key = expired(&store, &provider, "one").await;
    let same = async |_: Token| Ok::<_, GrantError<Refused>>(Granted::new("new").plain("scope", "all"));
    let token = store.fresh(&key, MINUTE, same).await.unwrap();
    assert_eq!(both(&token), (Some("new"), Some("refresh-0-0")));
    let token = store.get(&key).await.unwrap();
    assert_eq!((both(&token), token.plain("scope")), ((Some("new"), Some("refresh-0-0")), Some("all")));
    // Without `expires_in` it is taken to live for an hour.
    let valid = store.fresh(&key, Duration::from_secs(3500), grant(&provider)).await.unwrap();
    assert_eq!(shown(valid.access_token()), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_work_through_a_pooler_in_transaction_mode() {
    let db = crate::support::Sql::postgres(test_support::part!(postgres)).await;
    let keys = refreshed_table(&db).await;
    let pooler = crate::poolers_and_schemas_change_nothing::Pooler::start(db.url(), "");
    let pooler = pooler.ok_or_else(|| test_support::Unavailable::new("pgbouncer is not installed"));
    let test = "token-store leases_work_through_a_pooler_in_transaction_mode";
    let Some(pooler) = test_support::parts::settle("pgbouncer", test, pooler) else { return };
    let provider = Provider::default();
    let mut stores = Vec::new();
    for _ in 0..3 {
        let database = Database::connect(pooler.url()).await.unwrap();
        let store = TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap();
        stores.push(store.with_refresh_policy(crate::support::short()));
    }
    let mut rows = Vec::new();
    for channel in ["a", "b", "c", "d"] {
        rows.push(expired(&stores[0], &provider, channel).await);
    }
    let calls = (0..60).map(|n| stores[n % 3].fresh(&rows[n % 4], MINUTE, grant(&provider)));
    for token in join_all(calls).await {
        token.unwrap();
    }
    assert!(provider.families().iter().all(|family| family.grants == 1 && !family.is_revoked));
    for store in stores {
        store.database().close().await;
    }
}
