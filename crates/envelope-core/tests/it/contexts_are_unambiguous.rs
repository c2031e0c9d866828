//! Contexts and bindings are unambiguous: what differs encodes differently, and order does not matter.

use std::collections::BTreeMap;

use envelope_core::context::{ContextError, MAX_CONTEXT_LEN};
use envelope_core::{Binding, EncryptionContext};
use proptest::prelude::*;

fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::new(pairs.iter().copied()).unwrap()
}

#[test]
fn known_traps_make_different_contexts() {
    let all = [
        context(&[("a", "bc")]),
        context(&[("ab", "c")]),
        context(&[("a", "b"), ("c", "d")]),
        context(&[("a", "b\0c\0d")]),
        context(&[("a", "b|c=d")]),
        context(&[("a=b", "c:d")]),
        context(&[("a", "b:c"), ("d", "e")]),
        context(&[("name", "\u{e9}")]),
        context(&[("name", "e\u{301}")]),
        EncryptionContext::empty(),
    ];
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            assert_ne!(one.canonical(), other.canonical());
            assert_ne!(one, other);
        }
    }
}

#[test]
fn impossible_contexts_are_typed_errors() {
    let error = |pairs: &[(&str, &str)]| EncryptionContext::new(pairs.iter().copied()).unwrap_err();
    assert_eq!(error(&[("a", "b"), ("a", "c")]), ContextError::Repeated { name: "a".into() });
    assert_eq!(error(&[("a", "b"), ("a", "b")]), ContextError::Repeated { name: "a".into() });
    assert_eq!(error(&[("", "b")]), ContextError::EmptyName);
    assert_eq!(error(&[("a", "")]), ContextError::EmptyValue { name: "a".into() });
    let long = "x".repeat(MAX_CONTEXT_LEN);
    assert!(matches!(error(&[("a", &long)]), ContextError::TooLong { .. }));
}

#[test]
fn impossible_bindings_are_typed_errors() {
    let error = |binding: Binding<'_>| binding.canonical().unwrap_err();
    assert_eq!(error(Binding::new("", "c")), ContextError::EmptyValue { name: "table".into() });
    assert_eq!(error(Binding::new("t", "")), ContextError::EmptyValue { name: "column".into() });
    assert_eq!(error(Binding::new("t", "c").key("", "1")), ContextError::EmptyName);
    let twice = Binding::new("t", "c").owner("id", "1").owner("id", "2");
    assert_eq!(error(twice), ContextError::Repeated { name: "id".into() });
    let long = Binding::new("t", "c").key("id", "x".repeat(MAX_CONTEXT_LEN));
    assert!(matches!(error(long), ContextError::TooLong { .. }));
}

/// Contexts of more pairs than usual are sorted in another place.
#[test]
fn contexts_of_many_pairs_keep_each_of_them() {
    let names: Vec<String> = (0..40).map(|number| format!("name {number:02}")).collect();
    for count in [12, 13, 14, 25, 40] {
        let mut pairs: Vec<(&str, &str)> =
            names[..count].iter().map(|name| (name.as_str(), "same")).collect();
        let one = context(&pairs);
        assert_eq!(one.pairs().collect::<Vec<_>>(), pairs);
        pairs.reverse();
        assert_eq!(context(&pairs), one);
        pairs.reverse();
        pairs[count - 1].1 = "other";
        let other = context(&pairs);
        assert_ne!(other, one, "{count}");
        assert_eq!(other.pairs().last(), Some((names[count - 1].as_str(), "other")));
        assert_ne!(context(&pairs[..count - 1]), other, "{count}");
        pairs[count - 1].0 = pairs[count - 2].0;
        let repeated = EncryptionContext::new(pairs.iter().copied()).unwrap_err();
        assert_eq!(repeated, ContextError::Repeated { name: names[count - 2].clone() });
    }
}

/// Few letters, so that names and values run into each other as often as possible.
fn text() -> impl Strategy<Value = String> {
    "[ab\0|:=é]{0,4}"
}

fn set() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map("[ab\0|:=é]{1,3}", "[ab\0|:=é]{1,3}", 0..4)
}

/// Few pairs or many: the latter are sorted in another place.
fn large_set() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map("[abc|]{1,4}", "[ab]{1,2}", 0..40)
}

fn of(pairs: &BTreeMap<String, String>) -> EncryptionContext {
    EncryptionContext::new(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))).unwrap()
}

#[derive(Clone, Debug, PartialEq)]
struct Cell {
    table: String,
    column: String,
    key: BTreeMap<String, String>,
    owner: BTreeMap<String, String>,
}

fn cell() -> impl Strategy<Value = Cell> {
    ("[ab]{1,2}", "[ab]{1,2}", set(), set()).prop_map(|(table, column, key, owner)| Cell {
        table,
        column,
        key,
        owner,
    })
}

impl Cell {
    fn binding(&self) -> Binding<'_> {
        let binding = Binding::new(&self.table, &self.column);
        let binding = self.key.iter().fold(binding, |binding, (name, value)| binding.key(name, value));
        self.owner.iter().fold(binding, |binding, (name, value)| binding.owner(name, value))
    }
}

proptest! {
    #[test]
    fn context_encoding_is_injective(one in set(), other in set()) {
        prop_assert_eq!(of(&one).canonical() == of(&other).canonical(), one == other);
    }

    #[test]
    fn context_pairs_come_back(pairs in set()) {
        let context = of(&pairs);
        let back: BTreeMap<String, String> = context.pairs().map(|(name, value)| (name.into(), value.into())).collect();
        prop_assert_eq!(back, pairs);
    }

    #[test]
    fn many_pairs_come_back_whatever_their_order(
        (pairs, given) in large_set().prop_flat_map(|pairs| {
            let given: Vec<_> = pairs.clone().into_iter().collect();
            (Just(pairs), Just(given).prop_shuffle())
        }),
    ) {
        let context = EncryptionContext::new(given.iter().map(|(name, value)| (&**name, &**value))).unwrap();
        let back: Vec<_> = context.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        prop_assert_eq!(back, pairs.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_context_of_many_pairs_differs_where_one_pair_does(pairs in large_set(), at in any::<prop::sample::Index>()) {
        prop_assume!(!pairs.is_empty());
        let name = pairs.keys().nth(at.index(pairs.len())).unwrap().clone();
        let (mut without, mut changed) = (pairs.clone(), pairs.clone());
        without.remove(&name);
        changed.get_mut(&name).unwrap().push('c');
        prop_assert_ne!(of(&without), of(&pairs));
        prop_assert_ne!(of(&changed), of(&pairs));
    }

    #[test]
    fn order_does_not_matter(pairs in set(), seed in any::<u64>()) {
        let mut shuffled: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        shuffled.sort_by_key(|(name, _)| seed.rotate_left(name.len() as u32 * 7) ^ name.bytes().map(u64::from).sum::<u64>());
        shuffled.reverse();
        prop_assert_eq!(EncryptionContext::new(shuffled.iter().copied()).unwrap(), of(&pairs));
        let forwards = pairs.iter().fold(Binding::new("t", "c"), |binding, (name, value)| binding.key(name, value));
        let backwards = pairs.iter().rev().fold(Binding::new("t", "c"), |binding, (name, value)| binding.key(name, value));
        prop_assert_eq!(forwards.canonical().unwrap(), backwards.canonical().unwrap());
    }

    #[test]
    fn binding_encoding_is_injective(one in cell(), other in cell()) {
        prop_assert_eq!(one.binding().canonical().unwrap() == other.binding().canonical().unwrap(), one == other);
    }

    #[test]
    fn any_pairs_make_a_context_or_an_error(pairs in proptest::collection::vec((text(), text()), 0..4)) {
        let _ = EncryptionContext::new(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    }
}
