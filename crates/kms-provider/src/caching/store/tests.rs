//! Tests that need private functions: the name of an entry, and its times to the nanosecond.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn entry(wrapped: &[u8], key_id: Option<&str>, row: &str) -> Entry {
    let context = EncryptionContext::new([("Application", "test"), ("row", row)]).unwrap();
    Entry { wrapped: WrappedDataKey::new(wrapped, key_id).unwrap(), context, generated: false }
}

fn store(options: CacheOptions) -> Store {
    Store::new(&options, Arc::default())
}

#[test]
fn an_entry_is_found_by_its_bytes_its_key_id_and_its_context_and_by_no_two_of_them() {
    let entries = [
        entry(b"a", Some("k"), "1"),
        entry(b"b", Some("k"), "1"),
        entry(b"a", Some("l"), "1"),
        entry(b"a", None, "1"),
        entry(b"a", Some("k"), "2"),
    ];
    let store = store(CacheOptions::default());
    let keys: Vec<_> = entries.iter().map(|_| Arc::new(DataKey::generate())).collect();
    for (entry, key) in entries.iter().zip(&keys) {
        store.keep(entry.clone(), key.clone(), None, store.generation());
    }
    for (at, wanted) in entries.iter().enumerate() {
        let same: Vec<_> = entries.iter().map(|entry| wanted.wanted().equivalent(entry)).collect();
        assert!(same.iter().enumerate().all(|(other, same)| *same == (other == at)), "{at}: {same:?}");
        assert!(Arc::ptr_eq(&store.find(&wanted.wanted()).unwrap().key, &keys[at]));
        assert!(store.contains_fresh(&wanted.wanted()));
        assert!(wanted.wanted().to_entry() == *wanted);
    }
    let missing = entry(b"c", Some("k"), "1");
    assert!(store.find(&missing.wanted()).is_none() && !store.contains_fresh(&missing.wanted()));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_fresh_and_then_usable_up_to_its_times_and_not_at_them() {
    let options = CacheOptions::default().with_ttl(10 * MINUTE).with_stale_for(5 * MINUTE);
    let store = store(options.with_refresh_ahead(MINUTE));
    for _ in 0..100 {
        let kept = store.kept(Arc::new(DataKey::generate()), None);
        let fresh_for = kept.fresh_until - kept.loaded;
        // Up to a tenth of the time is taken off.
        assert!(fresh_for > 9 * MINUTE && fresh_for <= 10 * MINUTE, "{fresh_for:?}");
        assert_eq!(kept.stale_until, kept.fresh_until + 5 * MINUTE);
        let moment = Duration::from_nanos(1);
        assert!(kept.is_fresh(kept.fresh_until - moment) && !kept.is_fresh(kept.fresh_until));
        assert!(kept.is_usable(kept.stale_until - moment) && !kept.is_usable(kept.stale_until));
        let due = kept.fresh_until - MINUTE;
        assert!(!kept.is_due(due - moment) && !kept.claim_refresh(due - moment));
        assert!(kept.is_due(due) && kept.claim_refresh(due));
        // One caller fetches it again; another one may after a second.
        assert!(!kept.claim_refresh(due) && !kept.claim_refresh(due + REFRESH_AGAIN - moment));
        assert!(kept.is_due(due + REFRESH_AGAIN) && kept.claim_refresh(due + REFRESH_AGAIN));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_without_refreshing_ahead_is_never_due_and_an_endless_time_is_a_year() {
    let endless = CacheOptions::default().with_ttl(Duration::MAX).with_stale_for(Duration::MAX);
    let store = store(endless.with_refresh_ahead(Duration::ZERO));
    let kept = store.kept(Arc::new(DataKey::generate()), None);
    let year = Duration::from_secs(31_536_000);
    assert!(!kept.is_due(kept.loaded + year) && !kept.claim_refresh(kept.loaded + year));
    let lifetime = kept.stale_until - kept.loaded;
    assert!(lifetime > year + year * 9 / 10 && lifetime <= 2 * year, "{lifetime:?}");
    // However long before its end a key should be fetched again, half of its time is left to it.
    let store = Store::new(&CacheOptions::default().with_refresh_ahead(Duration::MAX), Arc::default());
    let kept = store.kept(Arc::new(DataKey::generate()), None);
    assert!(!kept.is_due(kept.loaded + Duration::from_secs(119)));
    assert!(kept.is_due(kept.loaded + Duration::from_secs(150)));
}

#[test]
fn a_key_that_was_asked_for_before_an_invalidation_is_not_kept() {
    let store = store(CacheOptions::default());
    let (one, key) = (entry(b"a", Some("k"), "1"), Arc::new(DataKey::generate()));
    let before = store.generation();
    store.invalidate_all();
    store.keep(one.clone(), key.clone(), Some("k"), before);
    assert!(store.find(&one.wanted()).is_none());
    let before = store.generation();
    store.invalidate_key("another");
    store.keep(one.clone(), key.clone(), Some("k"), before);
    assert!(store.find(&one.wanted()).is_none());
    store.keep(one.clone(), key, Some("k"), store.generation());
    assert!(store.find(&one.wanted()).is_some());
}

#[test]
fn the_keys_of_one_key_of_the_service_are_forgotten_and_those_whose_key_is_not_known() {
    let store = store(CacheOptions::default());
    let kept = [(entry(b"a", None, "1"), Some("k")), (entry(b"b", None, "1"), None)];
    let other = entry(b"c", None, "1");
    for (entry, key_id) in kept.iter().map(|(entry, id)| (entry, *id)).chain([(&other, Some("l"))]) {
        store.keep(entry.clone(), Arc::new(DataKey::generate()), key_id, store.generation());
    }
    store.invalidate_key("k");
    assert!(kept.iter().all(|(entry, _)| store.find(&entry.wanted()).is_none()));
    assert!(store.find(&other.wanted()).is_some());
    store.remove(&other);
    assert!(store.find(&other.wanted()).is_none());
}

#[test]
fn an_entry_weighs_its_texts_and_the_rest() {
    let store = store(CacheOptions::default());
    let entry = entry(&[7; 184], Some("arn"), "1");
    let texts = u64::try_from(184 + 3 + entry.context.canonical().len()).unwrap();
    let weighs = |key_id| weight(&entry, &store.kept(Arc::new(DataKey::generate()), key_id));
    assert_eq!((weighs(None), weighs(Some("arn:2"))), (1_024 + texts, 1_024 + texts + 5));
    assert_eq!(HEAVIEST, 16_384);
}

#[test]
fn a_generated_key_is_found_by_its_key_id_and_without_one_and_by_no_other() {
    let store = store(CacheOptions::default());
    let (named, unnamed) = (entry(b"a", Some("k"), "1"), entry(b"a", None, "1"));
    store.keep_generated(&named.wanted(), Arc::new(DataKey::generate()), store.generation());
    assert_eq!(store.len(), 1);
    for found in [&named, &unnamed] {
        assert!(store.find(&found.wanted()).is_some());
    }
    for missing in [entry(b"a", Some("l"), "1"), entry(b"a", None, "2"), entry(b"b", None, "1")] {
        assert!(store.find(&missing.wanted()).is_none());
    }
}

#[test]
fn a_key_that_is_unwrapped_again_takes_the_place_and_both_names_of_the_generated_one() {
    let names = [Some("k"), None].map(|key_id| entry(b"a", key_id, "1"));
    for again in &names {
        let store = store(CacheOptions::default());
        store.keep_generated(&names[0].wanted(), Arc::new(DataKey::generate()), store.generation());
        let key = Arc::new(DataKey::generate());
        store.keep(again.clone(), key.clone(), again.wrapped.key_id(), store.generation());
        assert_eq!(store.len(), 1);
        for name in &names {
            let kept = store.find(&name.wanted()).unwrap();
            assert!(Arc::ptr_eq(&kept.key, &key));
            // The one that it was made with, also where it was unwrapped without a name.
            assert_eq!(kept.key_id.as_deref(), Some("k"));
        }
        store.invalidate_key("another");
        assert_eq!(store.len(), 1);
        store.remove(again);
        assert!(names.iter().all(|name| store.find(&name.wanted()).is_none()));
    }
}

#[test]
fn a_key_that_was_only_unwrapped_keeps_its_one_name() {
    let (store, [named, unnamed]) =
        (store(CacheOptions::default()), [Some("k"), None].map(|key_id| entry(b"a", key_id, "1")));
    for _ in 0..2 {
        store.keep(named.clone(), Arc::new(DataKey::generate()), Some("k"), store.generation());
        assert!(store.find(&named.wanted()).is_some() && store.find(&unnamed.wanted()).is_none());
    }
}

#[test]
fn a_generated_key_takes_the_place_of_an_expired_one_and_counts_no_eviction() {
    let store = store(CacheOptions::default().with_ttl(Duration::ZERO).with_stale_for(MINUTE));
    let one = entry(b"a", Some("k"), "1");
    for _ in 0..2 {
        store.keep_generated(&one.wanted(), Arc::new(DataKey::generate()), store.generation());
        assert!(store.find(&one.wanted()).is_some(), "it is there");
        assert!(!store.contains_fresh(&one.wanted()), "and is not fresh");
    }
    assert_eq!((store.len(), store.counters.snapshot().evictions), (1, 0));
}

#[test]
fn as_many_keys_are_kept_as_may_be_on_any_number_of_processors() {
    // All of them in one shard, and nearly all where several share the room.
    for (most, least) in [(2, 2), (10, 10), (64, 64), (99, 99), (100, 100), (900, 900), (10_000, 9_700)] {
        let store = store(CacheOptions::default().with_max_entries(most));
        let key = Arc::new(DataKey::generate());
        for number in 0..most {
            store.keep(entry(&number.to_be_bytes(), Some("k"), "1"), key.clone(), None, store.generation());
        }
        assert!(store.len() >= least && store.len() <= most, "{} of {most}", store.len());
    }
}

#[test]
fn a_key_that_is_needed_again_after_its_eviction_outlasts_keys_that_are_needed_once() {
    let store = store(CacheOptions::default().with_max_entries(100));
    let numbered = |number: u32| entry(&number.to_be_bytes(), Some("k"), "1");
    let keep = |number| {
        store.keep(numbered(number), Arc::new(DataKey::generate()), None, store.generation());
    };
    (0..110).for_each(keep);
    let evicted = (0..110).rev().find(|number| store.find(&numbered(*number).wanted()).is_none()).unwrap();
    keep(evicted);
    (200..220).for_each(keep);
    assert!(store.find(&numbered(evicted).wanted()).is_some());
    assert!(store.find(&numbered(200).wanted()).is_none());
}

#[test]
fn the_number_of_shards_follows_the_number_of_entries_up_to_64() {
    for (planned, number) in [(0, 1), (1_023, 1), (1_024, 2), (10_000, 16), (32_768, 64), (u64::MAX, 64)] {
        assert_eq!(shards(planned), number, "{planned}");
    }
}

#[test]
fn a_single_entry_is_kept_where_one_is_the_most_and_none_where_none_is() {
    for (most, bytes, stays) in
        [(1, 64 << 20, true), (0, 64 << 20, false), (1, 0, false), (u64::MAX, u64::MAX, true)]
    {
        let store = store(CacheOptions::default().with_max_entries(most).with_max_bytes(bytes));
        let one = entry(&[7; 184], Some("k"), "1");
        store.keep(one.clone(), Arc::new(DataKey::generate()), None, store.generation());
        assert_eq!(store.find(&one.wanted()).is_some(), stays, "{most}, {bytes}");
        assert_eq!(store.counters.snapshot().evictions, u64::from(!stays));
    }
}

#[test]
fn what_is_past_its_time_is_dropped_and_counted_and_the_rest_stays() {
    let past = store(CacheOptions::default().with_ttl(Duration::ZERO));
    let stays = store(CacheOptions::default().with_ttl(Duration::ZERO).with_stale_for(MINUTE));
    let one = entry(b"a", None, "1");
    for (store, left) in [(&past, 0), (&stays, 1)] {
        store.keep(one.clone(), Arc::new(DataKey::generate()), None, store.generation());
        store.sweep()();
        assert_eq!((store.len(), store.counters.snapshot().evictions), (left, 1 - left));
    }
}
