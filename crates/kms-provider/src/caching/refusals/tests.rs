//! Tests that need to look into the answers that are remembered.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use envelope_core::{EncryptionContext, WrappedDataKey};

use super::*;

fn remembered(ttl: Duration) -> Refusals {
    let refusals = Refusals::new(ttl);
    let wrapped = WrappedDataKey::new(*b"a", None).unwrap();
    let entry = Wanted { wrapped: &wrapped, context: &EncryptionContext::empty() }.to_entry();
    assert!(refusals.remember(&entry, &KeyError::new(ErrorClass::Disabled, "disabled")));
    refusals
}

#[test]
fn an_answer_that_is_too_old_is_dropped_without_any_read_and_another_one_stays() {
    for (ttl, left) in [(Duration::from_nanos(1), 0), (Duration::MAX, 1)] {
        let refusals = remembered(ttl);
        std::thread::sleep(Duration::from_millis(1));
        refusals.sweep()();
        assert_eq!(refusals.answers.len(), left, "{ttl:?}");
    }
}

#[test]
fn nothing_is_remembered_where_that_is_off_or_where_the_answer_may_change() {
    let wrapped = WrappedDataKey::new(*b"a", None).unwrap();
    let entry = Wanted { wrapped: &wrapped, context: &EncryptionContext::empty() }.to_entry();
    let (off, on) = (Refusals::new(Duration::ZERO), Refusals::new(Duration::MAX));
    assert!(!off.remember(&entry, &KeyError::new(ErrorClass::Disabled, "disabled")));
    assert!(!on.remember(&entry, &KeyError::new(ErrorClass::Denied, "denied")));
    assert_eq!((off.answers.len(), on.answers.len()), (0, 0));
}
