//! Tests that need private functions: each limit of a data key, to the message, the byte and the nanosecond.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use super::*;

fn context(row: usize) -> EncryptionContext {
    EncryptionContext::new([("row", row.to_string().as_str())]).unwrap()
}

fn generated() -> GeneratedDataKey {
    let wrapped = WrappedDataKey::new(*b"wrapped", Some("k")).unwrap();
    GeneratedDataKey::new(Arc::new(DataKey::generate()), wrapped)
}

fn limits(messages: u64, bytes: u64) -> ReuseLimits {
    ReuseLimits::new(messages, Duration::from_secs(60), bytes).unwrap()
}

/// A board that holds one key, for the context of row 0.
fn board() -> Board {
    let mut board = Board::default();
    board.hold(context(0), generated());
    board
}

#[tokio::test(start_paused = true)]
async fn a_key_serves_as_many_messages_as_it_may_and_is_dropped_with_the_last() {
    let (mut board, limits) = (board(), limits(3, 1_000));
    for _ in 0..2 {
        assert!(board.take(&context(0), 1, &limits).is_some() && !board.keys.is_empty());
    }
    assert!(board.has_room(&context(0), 1, &limits));
    assert!(board.take(&context(0), 1, &limits).is_some() && board.keys.is_empty());
    assert!(board.take(&context(0), 1, &limits).is_none() && !board.has_room(&context(0), 1, &limits));
}

#[tokio::test(start_paused = true)]
async fn a_key_serves_as_many_bytes_as_it_may_and_not_one_more() {
    let (mut board, limits) = (board(), limits(100, 10));
    assert!(!board.has_room(&context(0), 11, &limits) && board.take(&context(0), 11, &limits).is_none());
    assert!(board.take(&context(0), 4, &limits).is_some());
    assert!(!board.has_room(&context(0), 7, &limits) && board.take(&context(0), 7, &limits).is_none());
    assert!(board.has_room(&context(0), 6, &limits) && board.take(&context(0), 6, &limits).is_some());
    assert!(board.take(&context(0), 1, &limits).is_none());
    assert!(board.take(&context(0), u64::MAX, &limits).is_none(), "a sum that does not fit");
    assert!(board.take(&context(0), 0, &limits).is_some(), "an empty message still has room");
}

#[tokio::test(start_paused = true)]
async fn a_key_serves_until_its_age_and_is_then_swept_away() {
    let (board, limits) = (Arc::new(Mutex::new(board())), limits(100, 1_000));
    let mut sweep = sweep(&board, limits.age());
    tokio::time::advance(Duration::from_secs(60) - Duration::from_millis(1)).await;
    sweep();
    assert!(lock(&board).take(&context(0), 1, &limits).is_some());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!lock(&board).has_room(&context(0), 1, &limits));
    assert!(lock(&board).take(&context(0), 1, &limits).is_none());
    assert_eq!(lock(&board).keys.len(), 1);
    sweep();
    assert!(lock(&board).keys.is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_context_has_a_key_of_its_own_and_the_oldest_makes_room() {
    let (mut board, limits) = (Board::default(), limits(100, 1_000));
    for row in 0..MAX_CONTEXTS {
        board.hold(context(row), generated());
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert_eq!(board.keys.len(), MAX_CONTEXTS);
    // A new key for a context that has one takes the place of that one.
    let first = board.take(&context(1), 1, &limits).unwrap();
    board.hold(context(1), generated());
    assert!(!Arc::ptr_eq(&board.take(&context(1), 1, &limits).unwrap().key.0, &first.key.0));
    assert!(board.has_room(&context(0), 1, &limits) && board.keys.len() == MAX_CONTEXTS);
    board.hold(context(MAX_CONTEXTS), generated());
    assert!(!board.has_room(&context(0), 1, &limits), "the oldest");
    assert!((1..=MAX_CONTEXTS).all(|row| board.has_room(&context(row), 1, &limits)));
}

#[tokio::test]
async fn forgetting_drops_every_key_and_counts_each_time() {
    let reuse = Reuse::new(Arc::new(crate::Memory::new()), limits(100, 1_000));
    assert_eq!(reuse.limits(), limits(100, 1_000));
    for times in 1..=3 {
        reuse.generate_shared(&context(0), 1).await.unwrap();
        assert_eq!(lock(&reuse.board).keys.len(), 1);
        reuse.forget();
        assert!(lock(&reuse.board).keys.is_empty() && lock(&reuse.board).forgotten == times);
    }
    assert_eq!((reuse.counts().messages, reuse.counts().keys), (3, 3));
}

#[tokio::test]
async fn a_message_up_to_the_limit_of_bytes_shares_a_key_and_a_longer_one_has_its_own() {
    let reuse = Reuse::new(Arc::new(crate::Memory::new()), limits(100, 10));
    // The messages and the keys of those that share: each number is of everything so far.
    for (length, messages, keys) in
        [(9, 1, 1), (10, 2, 2), (11, 2, 2), (usize::MAX, 2, 2), (0, 3, 2), (1, 4, 3)]
    {
        reuse.generate_shared(&context(0), length).await.unwrap();
        assert_eq!((reuse.counts().messages, reuse.counts().keys), (messages, keys), "{length} bytes");
    }
    let off = Reuse::new(Arc::new(crate::Memory::new()), ReuseLimits::OFF);
    off.generate_shared(&context(0), 1).await.unwrap();
    assert_eq!((off.counts().messages, off.counts().keys), (0, 0));
}
