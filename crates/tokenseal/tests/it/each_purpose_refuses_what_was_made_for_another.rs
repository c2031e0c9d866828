//! Each purpose refuses values that were made for another: every pair of purposes, in the form of today and
//! in the earlier one.
//!
//! A value is taken apart, and its parts are put into the form that the reader expects, under one ring key, so that a reader
//! refuses it for its cryptography and not for its spelling. Read for the purpose that it was made for, it opens.

mod forms;

use tokenseal::envelope_core::index::Scope;
use tokenseal::envelope_core::{EncryptionContext, KeyProvider, Purpose};
use tokenseal::secrets_cache::sealed_stream::StreamKind;

use self::forms::{Form, Ring};

/// The form that a purpose's values have today. A purpose without a stored text of its own has the one that can name it.
fn form(purpose: Purpose) -> Form {
    match purpose {
        Purpose::Token | Purpose::Field | Purpose::Secret | Purpose::Audit | Purpose::DataKeyCommitment => {
            Form::Json
        }
        Purpose::SecretMetadata => Form::Metadata,
        Purpose::DataKey => Form::Wrapped,
        Purpose::Backup => Form::Stream(StreamKind::Backup),
        Purpose::SealedFile => Form::Stream(StreamKind::File),
        Purpose::Index => Form::Index,
        other => panic!("{other:?} is missing in this table"),
    }
}

/// The form that a purpose's values had before values carried their purpose; none for those that are newer.
fn earlier_form(purpose: Purpose) -> Option<Form> {
    match purpose {
        Purpose::Token | Purpose::Field | Purpose::Secret => Some(Form::EarlierJson),
        Purpose::DataKey => Some(Form::EarlierWrapped),
        Purpose::Backup => Some(Form::EarlierStream(StreamKind::Backup)),
        Purpose::SealedFile => Some(Form::EarlierStream(StreamKind::File)),
        Purpose::Audit | Purpose::DataKeyCommitment | Purpose::SecretMetadata | Purpose::Index => None,
        other => panic!("{other:?} is missing in this table"),
    }
}

/// The earlier values that open for another purpose, listed in `docs/formats.md`: a secret in a row that has the secret's name as
/// its key or owner, and streams, which did not say their kind. Readers refuse them once `reseal` is complete.
const CONFUSED: [(Purpose, Purpose); 4] = [
    (Purpose::Secret, Purpose::Token),
    (Purpose::Token, Purpose::Secret),
    (Purpose::Backup, Purpose::SealedFile),
    (Purpose::SealedFile, Purpose::Backup),
];

/// Every purpose in every form that it has or had.
fn every_form() -> Vec<(Purpose, Form)> {
    let today = Purpose::ALL.into_iter().map(|purpose| (purpose, form(purpose)));
    let earlier = Purpose::ALL.into_iter().filter_map(|purpose| Some((purpose, earlier_form(purpose)?)));
    today.chain(earlier).collect()
}

#[tokio::test]
async fn a_value_of_each_purpose_and_age_opens_for_that_purpose_and_age_alone() {
    let ring = Ring::new().await;
    let forms = every_form();
    let mut pairs = 0;
    for (made_for, made_in) in &forms {
        let parts = ring.make(*made_in, *made_for).await;
        for (read_for, read_in) in &forms {
            let are_alike = made_for == read_for && made_in == read_in;
            let are_confused =
                made_in.is_earlier() && read_in.is_earlier() && CONFUSED.contains(&(*made_for, *read_for));
            let pair = format!("{made_for:?} in {made_in:?} read as {read_for:?} in {read_in:?}");
            let [lenient, strict] = ring.reads(*read_in, *read_for, &parts).await;
            assert_eq!(lenient, are_alike || are_confused, "{pair}");
            // After a complete `reseal` no value is read that does not carry its purpose.
            let strictly = are_alike && !read_in.says_no_purpose();
            assert_eq!(strict, strictly, "{pair}, where values must carry their purpose");
            pairs += 1;
        }
    }
    assert_eq!(pairs, (10 + 6) * (10 + 6));
}

/// The contexts that a key service wraps data keys under, for each use. A field that a key service seals is a column of
/// its table as a token is: its cell is its purpose.
fn contexts() -> Vec<(&'static str, EncryptionContext)> {
    let base: Vec<(String, String)> = vec![("Application".into(), "crm".into())];
    let with = |pairs: &[(&str, &str)]| {
        let own = base.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        EncryptionContext::new(own.chain(pairs.iter().copied())).unwrap()
    };
    let scope = Scope { profile: "crm", table: "users", column: "email" };
    vec![
        ("rows of the application", with(&[])),
        ("a cell", with(&[("table", "users"), ("column", "email"), ("id", "7")])),
        ("an index key", scope.context(&base, 1).unwrap()),
        ("a backup", StreamKind::Backup.context(&base).unwrap()),
        ("a sealed file", StreamKind::File.context(&base).unwrap()),
        ("an audit trail", with(&[("table", "tokenseal audit"), ("column", "b64f")])),
    ]
}

#[tokio::test]
async fn a_data_key_that_was_wrapped_for_one_use_is_not_unwrapped_for_another() {
    let ring = Ring::new().await;
    for (made_for, made_under) in contexts() {
        let made = ring.keyring.generate(&made_under).await.unwrap();
        for (used_for, used_under) in contexts() {
            let unwrapped = ring.keyring.unwrap(&made.wrapped, &used_under).await;
            assert_eq!(unwrapped.is_ok(), made_for == used_for, "{made_for} as {used_for}");
        }
    }
}
