//! Members are changed, and every other byte stays.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Object, RecordError};

fn set(text: &str, name: &str, value: &str) -> Result<String, RecordError> {
    let mut object = Object::parse(text)?;
    object.set(name, value)?;
    Ok(object.into_text())
}

fn removed(text: &str, name: &str) -> Result<String, RecordError> {
    let mut object = Object::parse(text)?;
    object.remove(name)?;
    Ok(object.into_text())
}

#[test]
fn a_member_is_set_and_every_other_byte_stays() {
    for (before, after) in [
        ("{}", r#"{"m":"kms"}"#),
        ("  { }\n", "  { \"m\":\"kms\"}\n"),
        (r#"{"a": 1}"#, r#"{"a": 1,"m":"kms"}"#),
        (r#"{"m": "old" , "a":[1,{"m":"x"}]}"#, r#"{"m": "kms" , "a":[1,{"m":"x"}]}"#),
        (r#"{"a":"}\"{,","m":null,"é":1e400}"#, r#"{"a":"}\"{,","m":"kms","é":1e400}"#),
        (r#"{"\u006d":"old"}"#, r#"{"\u006d":"kms"}"#),
        (r#"{"m":"k\u006ds"}"#, r#"{"m":"k\u006ds"}"#),
        (r#"{"m":{"deep":[true]}}"#, r#"{"m":"kms"}"#),
        ("{\"n\":12\n,\"m\":-1}", "{\"n\":12\n,\"m\":\"kms\"}"),
    ] {
        assert_eq!(set(before, "m", "kms").as_deref(), Ok(after), "{before}");
    }
}

#[test]
fn a_member_is_removed_with_its_comma() {
    for (before, after) in [
        ("{}", "{}"),
        (r#"{"m":1}"#, "{}"),
        (r#"{"m":1, "a":2}"#, r#"{"a":2}"#),
        (r#"{"a":2 , "m":1 }"#, r#"{"a":2 }"#),
        (r#"{"a":2,"m":{"m":1},"b":3}"#, r#"{"a":2,"b":3}"#),
    ] {
        assert_eq!(removed(before, "m").as_deref(), Ok(after), "{before}");
    }
}

#[test]
fn what_is_no_object_or_repeats_a_member_is_refused() {
    for text in ["", "null", "[]", "\"m\"", "1", "{", "{\"m\":1,}", "{'m':1}", "{} {}"] {
        assert_eq!(set(text, "m", "kms"), Err(RecordError::NotAnObject), "{text}");
    }
    for text in [r#"{"m":1,"m":1}"#, r#"{"a":1,"\u0061":2}"#] {
        assert_eq!(set(text, "m", "kms"), Err(RecordError::Repeated), "{text}");
    }
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z\"\\\\]{0,3}", inner, 0..4)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_set_and_removed_is_what_a_parser_reads(
        members in prop::collection::hash_map("[a-z\"\\\\é]{0,3}", anything(), 0..5),
        name in "[a-z]{1,3}",
        value in ".*",
        pretty in any::<bool>(),
    ) {
        let before: Map<String, Value> = members.into_iter().collect();
        let text = if pretty { serde_json::to_string_pretty(&before) } else { serde_json::to_string(&before) };
        let text = text.unwrap_or_default();
        let mut expected = before.clone();
        expected.insert(name.clone(), json!(value));
        let set = set(&text, &name, &value).unwrap_or_default();
        prop_assert_eq!(serde_json::from_str::<Map<_, _>>(&set).ok(), Some(expected.clone()));
        expected.remove(&name);
        let removed = removed(&set, &name).unwrap_or_default();
        prop_assert_eq!(serde_json::from_str::<Map<_, _>>(&removed).ok(), Some(expected));
    }
}
