//! Hints: the one place that adds names of variables and commands to the libraries' failures.

use envelope_core::error::Needed;
use envelope_core::hint::{Setting, naming};
use envelope_core::{ErrorClass, KeyError, OpenError, SealError};
use kms_provider::keyring::KeyringError;
use token_store::StoreError;
use token_store::error::SealFailure;
use token_store::migration::Failure;

/// The programs' name of a setting.
#[must_use]
pub fn name(setting: Setting) -> &'static str {
    match setting {
        Setting::Key => "KMS_KEY_ID",
        Setting::KeyringFile => "KMS_KEY_ID=keyring:<file>",
        Setting::AllowedKeys => "KMS_ALLOWED_KEYS",
        Setting::Context => "ENCRYPTION_CONTEXT",
        Setting::MasterKey => "KMS_MASTER_KEY",
        Setting::Rate => "--rate",
        Setting::KeyringInit => "`keyring init`",
        Setting::KeyringList => "`keyring list`",
        Setting::KeyringImport => "`keyring import`",
        Setting::KeyringRotate => "`migrate-tokens keyring rotate`",
        Setting::KeyringRekey => "`keyring rekey`",
        _ => "the configuration",
    }
}

/// The variable that configures what a form of value needs.
#[must_use]
pub fn variable(needed: Needed) -> &'static str {
    match needed {
        Needed::KeyService => "KMS_KEY_ID",
        Needed::DirectKey => "ENCRYPTION_KEY",
        Needed::UserKeys => "TOKEN_ENCRYPTION_KEY",
        Needed::Keyring => "KMS_KEY_ID=keyring:<file>",
        _ => "the configuration",
    }
}

/// Adds the variable that is missing to what a report says of rows that failed for want of it.
pub fn complete(failures: &mut [Failure]) {
    for failure in failures {
        if let Some(needed) = failure.needed.take() {
            failure.error.push_str(": set ");
            failure.error.push_str(variable(needed));
        }
    }
}

/// Adds the command that moves them to what a verification says of values that are readable or not bound.
pub fn complete_findings(findings: &mut [Failure]) {
    for finding in findings {
        finding.error.push_str(match finding.class.as_str() {
            "plaintext" => ": run migrate",
            "unbound" => ": run migrate --rebind",
            _ => "",
        });
    }
}

/// A way to fix a failure of the key service.
#[must_use]
pub fn of_key(error: &KeyError) -> Option<String> {
    error.hint_naming(name)
}

/// A way to fix a failure of the local keyring.
#[must_use]
pub fn of_keyring(error: &KeyringError) -> String {
    naming(error.hint_pattern(), name)
}

/// A way to fix a failure of the store.
#[must_use]
pub fn of_store(error: &StoreError) -> Option<String> {
    let hint = match error {
        StoreError::Database(error) if error.unreachable => {
            "check DATABASE_URL, that the database runs, and that this machine may connect to it"
        }
        StoreError::Database(error) if error.is_about_rows() => {
            "`migrate-tokens profile check` names what may refuse a row"
        }
        StoreError::Database(_) => "`migrate-tokens doctor` checks the database and what its user may do",
        StoreError::Address { .. } => {
            "set DATABASE_URL to postgres://user:password@host/database or sqlite://file.db"
        }
        StoreError::NoTable { .. } => {
            "check that DATABASE_URL names the right database, and TOKEN_PROFILE the right profile; a schema is named by \
             `schema` in the profile, not in `name`"
        }
        StoreError::NotStorable { .. } => {
            "set KMS_KEY_ID, or name in the profile what its tables hold (`unmarked`, `legacy`)"
        }
        StoreError::NoColumns { addable: true, .. } => "run `migrate-tokens schema`",
        StoreError::NoColumns { .. } => {
            "TOKEN_PROFILE does not describe this table: choose another profile or write one, see \
             docs/migrating-from/your-own-table.md"
        }
        StoreError::NotFound { .. } | StoreError::KeyLength { .. } => {
            "name the row by every column of its primary key"
        }
        StoreError::Contended { .. } => "run the command again",
        StoreError::KeyNotStorable { .. } => {
            "name the row as the database stores it: a key that is too long, or of another type, is no row's"
        }
        StoreError::Altered { .. } => {
            "a trigger, a rule or a policy changes or keeps back the row: `migrate-tokens profile check` names them"
        }
        StoreError::Ambiguous { .. } => "name the row by columns that the database guarantees to be unique",
        StoreError::NotAValue { .. } => "write the value as the database shows it",
        StoreError::Unsuitable { .. } => "`migrate-tokens profile check` names what stands in the way",
        StoreError::KeptToken { .. } => {
            "write that column first, with `migrate-tokens put --column`; if no column opens, set one to NULL in the database"
        }
        StoreError::NotUnique { .. } => "find the other row by its value: `migrate-tokens find --column …`",
        StoreError::TooManyFound { .. } => {
            "set more `bits` for this index in the profile, and run `migrate-tokens rotate-index`"
        }
        StoreError::IndexKeyLost { .. } => {
            "a key belongs to the profile's `name`, the table and the column, in the table's schema: give the profile its former \
             name, `bound_as` or `bound_columns` back, or copy the rows of tokenseal_index_keys into the schema that the table \
             is in now. Where the key is gone for good, set the index column to NULL in every row, and run `migrate-tokens \
             migrate`"
        }
        StoreError::StillPending { .. } => {
            "another object has the name: rename it, and run `migrate-tokens schema` again"
        }
        StoreError::NoIndex { .. } => "add [[tables.index]] to the profile: see docs/pii.md",
        StoreError::IndexKey { source: OpenError::Key(error), .. }
            if error.class() == ErrorClass::WrongKey =>
        {
            let of_key = of_key(error).map(|hint| format!("{hint}. ")).unwrap_or_default();
            return Some(format!(
                "{of_key}Where no row has an index any more, as after a `rollback`, `migrate-tokens rotate-index` replaces the key"
            ));
        }
        StoreError::Open { source, .. } | StoreError::IndexKey { source, .. } => return of_open(source),
        StoreError::Seal { source: SealFailure::Envelope(SealError::Key(error)), .. } => {
            return of_key(error);
        }
        StoreError::Seal { source: SealFailure::MissingKey { needed, .. }, .. } => {
            return Some(format!("set {}", variable(*needed)));
        }
        StoreError::Seal { source: SealFailure::Record(_), .. } => {
            "correct the row's record in the database: NULL, or a JSON object that names each member once"
        }
        StoreError::Seal { source: SealFailure::PlaintextForbidden, .. } => {
            "set KMS_KEY_ID or ENCRYPTION_KEY"
        }
        StoreError::Changed { .. } | StoreError::NotPrepared { .. } => "read the row again",
        _ => return None,
    };
    Some(hint.into())
}

/// The next step for a value that does not open.
#[must_use]
pub fn of_open(error: &OpenError) -> Option<String> {
    let hint = match error {
        OpenError::NotAuthentic => {
            "check ENCRYPTION_CONTEXT, the key, and whether the value was copied here from another row"
        }
        OpenError::MissingKey { needed, .. } => return Some(format!("set {}", variable(*needed))),
        OpenError::UnboundRefused => {
            "run `migrate-tokens migrate --rebind` with BINDING=accept-unbound, or with --below-floor"
        }
        OpenError::BelowFloor { .. } => {
            "if the value is where it belongs, `migrate-tokens migrate --below-floor` (with --rebind for envelopes) moves it; \
             the floor is READ_FLOOR, else `floor` in the profile"
        }
        OpenError::SourceRefused { .. } => {
            "if rows of this profile may hold such values, name the format in the profile: sources = [\"node-json\"]"
        }
        OpenError::UnlabelledRefused => {
            "`reseal` of the local store under this keyring was completed: values without a purpose are refused; write the value again"
        }
        OpenError::PlaintextRefused => "set PLAINTEXT_POLICY=allow-read and run `migrate-tokens migrate`",
        OpenError::DevelopmentToken => "replace the token; a development token has no place in production",
        OpenError::Key(error) => return of_key(error),
        _ => return None,
    };
    Some(hint.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hint_of_the_programs_is_left_with_a_place_for_a_name() {
        for setting in Setting::ALL {
            assert_ne!(name(setting), "the configuration", "{setting:?}");
        }
        let error =
            KeyError::new(ErrorClass::WrongKey, "wrapped under another key").with_hint("see {allowed keys}");
        assert_eq!(of_key(&error).as_deref(), Some("see KMS_ALLOWED_KEYS"));
        assert_eq!(error.hint(), Some("see the list of allowed keys"));
        let missing = KeyringError::Missing { path: "keys.json".into() };
        let hint = of_keyring(&missing);
        assert!(hint.contains("KMS_KEY_ID=keyring:<file>") && hint.contains("`keyring init`"), "{hint}");
        for needed in [Needed::KeyService, Needed::DirectKey, Needed::UserKeys, Needed::Keyring] {
            assert_ne!(variable(needed), "the configuration");
        }
    }
}
