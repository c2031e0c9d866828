//! A lease is one holder's until it ends, and one that lost it changes nothing of its successor's.

use std::time::Duration;

use futures_util::future::join;
use test_support::faults::Fault;
use test_support::oauth::Provider;
use token_store::NewToken;
use token_store::refresh::LeaseError;

use crate::support::{
    Sql, counter, eventually, expired, grant, refreshed_table, replica, short, shown, slow_grant,
};

const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

async fn lease_row(db: &Sql) -> Vec<Option<String>> {
    let columns = ["holder", "fence", "state", "revision", "expires_at", "attempts"];
    db.table("tokenseal_leases", &columns).await.remove(0)
}

on_each_database! {
    async fn what_a_holder_does_after_its_time_leaves_its_successors_lease_as_it_is(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        let late = store.lease(&key, SHORT).await.unwrap();
        let pair = provider.exchange("refresh-0-0").unwrap();
        eventually("the successor has the lease", async || store.lease(&key, MINUTE).await.is_ok()).await;
        let successors = lease_row(&db).await;
        assert_eq!((successors[1].as_deref(), successors[2].as_deref()), (Some("2"), Some("spending")));

        assert!(!store.release(&key, late.as_str()).await.unwrap());
        assert_eq!(lease_row(&db).await, successors, "by a release");
        let answer = NewToken::new().access_token(pair.access).refresh_token(pair.refresh);
        store.put_leased(&key, late.as_str(), answer).await.unwrap();
        assert_eq!(lease_row(&db).await, successors, "by a late answer");
        assert_eq!(shown(store.get(&key).await.unwrap().access_token()), Some("access-0-1"));
    }

    async fn an_answer_of_the_successor_is_not_overwritten_by_one_that_comes_later(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        let late = store.lease(&key, SHORT).await.unwrap();
        let token = replica(&keys, &db).await.fresh(&key, MINUTE, grant(&provider)).await.unwrap();
        assert_eq!(shown(token.access_token()), Some("access-0-1"));
        let before = lease_row(&db).await;
        let theirs = NewToken::new().access_token("late").refresh_token("late");
        let lost = store.put_leased(&key, late.as_str(), theirs).await;
        assert!(matches!(lost, Err(LeaseError::Lost { .. })), "{lost:?}");
        assert_eq!(lease_row(&db).await, before);
        assert_eq!(shown(store.get(&key).await.unwrap().access_token()), Some("access-0-1"));
    }

    async fn a_holder_that_is_slow_before_its_request_keeps_its_lease(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        let stores = [store, replica(&keys, &db).await];
        keys.faults().always_for("generate", Fault::Delay(short().deadline() * 5 / 2));
        let calls = stores.each_ref().map(|store| store.fresh(&key, MINUTE, slow_grant(&provider)));
        let [one, other] = calls;
        let (one, other) = join(one, other).await;
        assert_eq!(shown(one.unwrap().access_token()), Some("access-0-1"));
        assert_eq!(shown(other.unwrap().access_token()), Some("access-0-1"));
        let family = &provider.families()[0];
        assert_eq!((family.grants, family.reused), (1, 0));
        assert_eq!(lease_row(&db).await[1].as_deref(), Some("1"), "no other has had the lease");
        let uncertain = stores.iter().map(|store| counter(store, "vod_token_refreshes_uncertain_total"));
        assert_eq!(uncertain.sum::<u64>(), 0);
    }

    async fn a_refresh_opens_the_row_when_it_looks_and_when_it_has_the_lease_and_for_the_keys(db) {
        let keys = refreshed_table(&db).await;
        let (provider, store) = (Provider::default(), replica(&keys, &db).await);
        let key = expired(&store, &provider, "one").await;
        keys.faults().reset_calls();
        store.fresh(&key, MINUTE, grant(&provider)).await.unwrap();
        assert_eq!((keys.faults().calls("unwrap"), keys.faults().calls("generate")), (3 * 2, 2));
    }
}
