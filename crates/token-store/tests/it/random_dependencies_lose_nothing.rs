//! Random tables whose tokens other rows refer to, whose keys and owners are computed, whose constraints replace rows, and
//! whose keys are NULL: either a migration is refused, or every value is unchanged, or its row is named and
//! untouched, and nothing else in the database has changed.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use token_store::findings::{Severity, findings};
use token_store::{TokenKey, WriteFormat};
use tokio::runtime::Handle;

use crate::support::{Keys, Sql, migrate, profile_of, shown, verified};

/// The column that the expression of a computed column depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Computed {
    No,
    OwnerOfToken,
    KeyOfToken,
    KeyOfNumber,
}

#[derive(Clone, Debug)]
struct Case {
    computed: Computed,
    /// The action of a foreign key that refers to the token, where there is one.
    referenced: Option<&'static str>,
    /// The conflict clause of a SQLite constraint on the key and another column.
    conflict: &'static str,
    /// Rows whose key is NULL: with a value, or without.
    nulls: Vec<bool>,
    /// Of each row: whether another refers to it.
    rows: Vec<bool>,
}

fn case() -> impl Strategy<Value = Case> {
    let computed = select(vec![
        Computed::No,
        Computed::No,
        Computed::OwnerOfToken,
        Computed::KeyOfToken,
        Computed::KeyOfNumber,
    ]);
    let referenced =
        select(vec![None, Some("NO ACTION"), Some("NO ACTION"), Some("CASCADE"), Some("SET NULL")]);
    let conflict = select(vec!["", "ON CONFLICT REPLACE", "ON CONFLICT IGNORE", "ON CONFLICT ROLLBACK"]);
    let nulls = proptest::collection::vec(any::<bool>(), 0..3);
    let rows = proptest::collection::vec(any::<bool>(), 1..9);
    (computed, referenced, conflict, nulls, rows).prop_map(|(computed, referenced, conflict, nulls, rows)| {
        Case { computed, referenced, conflict, nulls, rows }
    })
}

impl Case {
    fn key_is_computed(&self) -> bool {
        matches!(self.computed, Computed::KeyOfToken | Computed::KeyOfNumber)
    }

    fn has_unnamed(&self) -> bool {
        !self.key_is_computed() && self.nulls.contains(&true)
    }

    /// Whether a migration would change other rows, or none of these.
    fn is_harmful(&self) -> bool {
        matches!(self.computed, Computed::OwnerOfToken | Computed::KeyOfToken)
            || matches!(self.referenced, Some("CASCADE" | "SET NULL"))
    }

    /// Whether a migration must not start.
    fn is_refused(&self) -> bool {
        self.is_harmful() || self.has_unnamed()
    }

    fn key(&self, n: usize) -> String {
        if self.key_is_computed() { format!("k{n}") } else { n.to_string() }
    }

    async fn create(&self, db: &Sql) {
        for table in ["o", "t"] {
            db.execute(&format!("DROP TABLE IF EXISTS {table}")).await;
        }
        let text = if db.is_mariadb() { "varchar(900) CHARACTER SET ascii" } else { "varchar(900)" };
        let conflict = if db.is_mariadb() || db.is_postgres() { "" } else { self.conflict };
        let joined = match () {
            () if db.is_mariadb() => "concat('k', n)",
            () if db.is_postgres() => "'k' || n::text",
            () => "'k' || n",
        };
        let id = match self.computed {
            Computed::KeyOfToken => format!("{text} GENERATED ALWAYS AS (lower(tok)) STORED"),
            Computed::KeyOfNumber => format!("{text} GENERATED ALWAYS AS ({joined}) STORED"),
            Computed::No | Computed::OwnerOfToken => "integer".to_owned(),
        };
        let owner = match self.computed {
            Computed::OwnerOfToken => format!("{text} GENERATED ALWAYS AS (substr(tok, 1, 2)) STORED"),
            _ => text.to_owned(),
        };
        db.execute(&format!(
            "CREATE TABLE t (n integer, id {id} UNIQUE {conflict}, dom {owner}, tok {text} UNIQUE {conflict})"
        ))
        .await;
        if let Some(action) = self.referenced {
            db.execute(&format!(
                "CREATE TABLE o (tok {text}, FOREIGN KEY (tok) REFERENCES t (tok) ON UPDATE {action})"
            ))
            .await;
        }
        for (n, is_referred_to) in self.rows.iter().enumerate() {
            match self.key_is_computed() {
                true => db.execute(&format!("INSERT INTO t (n, tok) VALUES ({n}, 'K{n}')")).await,
                false => db.execute(&format!("INSERT INTO t (n, id, tok) VALUES ({n}, {n}, 'K{n}')")).await,
            }
            if *is_referred_to && self.referenced.is_some() {
                db.execute(&format!("INSERT INTO o VALUES ('K{n}')")).await;
            }
        }
        for (n, has_value) in self.nulls.iter().enumerate().filter(|_| !self.key_is_computed()) {
            let value = if *has_value { format!("'null {n}'") } else { "NULL".into() };
            db.execute(&format!("INSERT INTO t (id, tok) VALUES (NULL, {value})")).await;
        }
    }
}

async fn column(db: &Sql, sql: &str) -> Vec<Option<String>> {
    let mut texts: Vec<_> = db.rows(sql).await.into_iter().flatten().collect();
    texts.sort();
    texts
}

async fn holds_for(db: &Sql, case: &Case) -> Result<(), TestCaseError> {
    case.create(db).await;
    let keys =
        Keys::toml(&profile_of("t", &["id"], &["tok"], "owner = [\"dom\"]\nlost_indexes = \"accept\""));
    let store = keys.store(db).await;
    let found = findings(&store, WriteFormat::KmsEnvelope).await.unwrap();
    let is_refused = found.iter().any(|finding| finding.severity == Severity::Refuse);
    prop_assert_eq!(is_refused, case.is_refused(), "{:?}", found);
    // A service asks for no findings: rows without a key harm no other.
    if case.is_harmful() {
        return Ok(());
    }
    let others = match case.referenced {
        Some(_) => column(db, "SELECT tok FROM o").await,
        None => Vec::new(),
    };
    let report = migrate(&store, WriteFormat::KmsEnvelope).await;
    let unnamed = case.nulls.iter().filter(|has_value| **has_value && !case.key_is_computed()).count() as u64;
    prop_assert_eq!(report.left.unwrap(), report.failed + unnamed, "{:?}", report);
    let refused = case.rows.iter().filter(|is_referred_to| **is_referred_to && case.referenced.is_some());
    prop_assert_eq!(report.failed, refused.count() as u64, "{:?}", report);
    let named: BTreeSet<&str> = report.failures.iter().map(|failure| failure.row.as_str()).collect();
    for (n, is_referred_to) in case.rows.iter().enumerate() {
        let key = case.key(n);
        let token = store.get(&TokenKey::from_values([key.clone()])).await.unwrap();
        let expected = format!("K{n}");
        prop_assert_eq!(shown(token.column("tok")), Some(expected.as_str()));
        let is_named = named.contains(format!("id={key}").as_str());
        prop_assert_eq!(
            is_named,
            *is_referred_to && case.referenced.is_some(),
            "{}: {:?}",
            n,
            report.failures
        );
    }
    if case.referenced.is_some() {
        prop_assert_eq!(column(db, "SELECT tok FROM o").await, others);
    }
    let verified = verified(&store).await;
    prop_assert_eq!((verified.failed, verified.unnamed, verified.plaintext), (0, unnamed, report.failed));
    Ok(())
}

on_each_database! {
    async fn a_migration_is_refused_or_changes_nothing_else(db) {
        let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new(config);
        let outcome = tokio::task::block_in_place(|| {
            runner.run(&case(), |case| Handle::current().block_on(holds_for(&db, &case)))
        });
        outcome.unwrap();
    }
}
