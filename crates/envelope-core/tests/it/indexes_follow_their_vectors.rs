//! Blind indexes are those of the vectors, which another implementation made, and nothing else makes the same ones.

use std::collections::BTreeSet;

use envelope_core::DataKey;
use envelope_core::index::{IndexError, IndexKey, Normalization, Scope};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    data_key: String,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    profile: String,
    table: String,
    column: String,
    number: u32,
    normalize: Normalization,
    bits: u16,
    value: String,
    normalized: String,
    index: Option<String>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/index.json")).unwrap()
}

fn key(data_key: &DataKey, scope: Scope<'_>, normalization: Normalization, bits: u16) -> IndexKey {
    IndexKey::new(data_key, scope, 1, normalization, bits).unwrap()
}

const SCOPE: Scope<'_> = Scope { profile: "crm", table: "users", column: "email" };

#[test]
fn every_vector_has_its_index() {
    let Vectors { data_key, vectors } = vectors();
    let data_key = DataKey::from_slice(&hex::decode(data_key).unwrap()).unwrap();
    assert!(vectors.len() > 30);
    for vector in &vectors {
        let Vector { profile, table, column, number, normalize, bits, value, normalized, index } = vector;
        let key =
            IndexKey::new(&data_key, Scope { profile, table, column }, *number, *normalize, *bits).unwrap();
        assert_eq!(*normalize.apply(value), *normalized, "{normalize} of {value:?}");
        assert_eq!(key.value(value), *index, "{normalize} of {value:?}");
    }
}

#[test]
fn every_normalisation_has_vectors() {
    let found: BTreeSet<&str> = vectors().vectors.iter().map(|vector| vector.normalize.label()).collect();
    assert_eq!(found, Normalization::ALL.map(Normalization::label).into());
    for normalization in Normalization::ALL {
        assert_eq!(Normalization::from_label(normalization.label()), Some(normalization));
    }
    assert_eq!(Normalization::from_label("email"), None);
}

#[test]
fn columns_tables_profiles_and_normalisations_never_agree() {
    let data_key = DataKey::generate();
    let scopes = [
        SCOPE,
        Scope { column: "mail", ..SCOPE },
        Scope { table: "leads", ..SCOPE },
        Scope { profile: "shop", ..SCOPE },
        // The same letters, divided otherwise.
        Scope { profile: "crmusers", table: "", column: "email" },
        Scope { profile: "crm", table: "usersemail", column: "" },
    ];
    let mut found = BTreeSet::new();
    for scope in scopes {
        for normalization in Normalization::ALL {
            found.insert(key(&data_key, scope, normalization, 256).value("12345").unwrap());
        }
    }
    assert_eq!(found.len(), scopes.len() * Normalization::ALL.len());
}

#[test]
fn contexts_of_two_scopes_or_numbers_are_never_the_same() {
    let base = vec![("Application".to_owned(), "crm".to_owned())];
    let scopes = [
        SCOPE,
        Scope { profile: "crm/users", table: "email", column: "x" },
        Scope { profile: "crm", table: "users/email", column: "x" },
        Scope { profile: "crm\\", table: "users", column: "email" },
    ];
    let contexts: BTreeSet<Vec<u8>> = scopes
        .iter()
        .flat_map(|scope| [1, 2].map(|number| scope.context(&base, number).unwrap().canonical().to_vec()))
        .collect();
    assert_eq!(contexts.len(), 2 * scopes.len());
    let names: Vec<String> =
        SCOPE.context(&base, 1).unwrap().pairs().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["Application", "column", "table"], "no name that a policy does not know");
}

#[test]
fn bits_outside_the_limits_are_refused() {
    let data_key = DataKey::generate();
    for bits in [0, 7, 257, u16::MAX] {
        let made = IndexKey::new(&data_key, SCOPE, 1, Normalization::None, bits);
        assert_eq!(made.err(), Some(IndexError::Bits { actual: bits }));
    }
}

#[test]
fn a_key_does_not_print_itself() {
    let data_key = DataKey::from_slice(&[7; 32]).unwrap();
    let printed = format!("{:?}", key(&data_key, SCOPE, Normalization::Email, 256));
    assert!(!printed.contains("7, 7") && printed.contains("Email"), "{printed}");
}

proptest! {
    #[test]
    fn case_and_blanks_around_an_address_do_not_matter(text in "[a-zA-Z0-9.+]{1,12}@[a-z][a-zA-Z]{0,8}\\.org") {
        for normalization in [Normalization::LowercaseTrim, Normalization::Email] {
            let plain = normalization.apply(&text);
            for spelling in [text.to_uppercase(), text.to_lowercase(), format!(" {text}\t")] {
                prop_assert_eq!(&*normalization.apply(&spelling), &*plain, "{}", normalization);
            }
        }
    }

    #[test]
    fn every_text_is_normalised(text in any::<String>()) {
        for normalization in Normalization::ALL {
            let normalized = normalization.apply(&text);
            prop_assert!(normalization != Normalization::Digits || normalized.bytes().all(|b| b.is_ascii_digit()));
            prop_assert_eq!(&*normalized, &*normalization.apply(&text));
        }
    }

    #[test]
    fn fewer_bits_are_the_beginning_of_more(text in ".{1,40}", bits in 8_u16..=256) {
        let data_key = DataKey::from_slice(&[3; 32]).unwrap();
        let all = key(&data_key, SCOPE, Normalization::None, 256).value(&text).unwrap();
        let few = key(&data_key, SCOPE, Normalization::None, bits).value(&text).unwrap();
        let (all, few) = (all.trim_start_matches("k1:"), few.trim_start_matches("k1:"));
        prop_assert_eq!(few.len(), 2 * usize::from(bits.div_ceil(8)));
        prop_assert_eq!(&few[..usize::from(bits / 4)], &all[..usize::from(bits / 4)]);
    }
}
