//! Random tables (types of keys, collations, owners, defaults, triggers that rewrite or refuse, unique indexes), random rows,
//! and a writer meanwhile: after a migration and after a rollback every value is unchanged, or its row is
//! named and untouched, and no key reads another's row.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use token_store::{NewToken, StoreError, TokenKey, TokenStore, WriteFormat};
use tokio::runtime::Handle;

use crate::support::{Keys, Sql, migrate, shown, verified};

/// The change that a database makes to the rows that are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meddles {
    Not,
    Rewrites,
    KeepsBack,
    Refuses,
    Afterwards,
}

#[derive(Clone, Debug)]
struct Case {
    key: KeyType,
    owner: Option<bool>,
    marks: bool,
    meddles: Meddles,
    two_columns: bool,
    /// The collations of the key and of the token, of those that the database has.
    collations: (usize, usize),
    rows: BTreeMap<u16, (String, bool)>,
}

/// The type of a key on PostgreSQL and SQLite, and how a number becomes a key of it.
type KeyType = (&'static str, &'static str, fn(u16) -> String);

const KEYS: [KeyType; 6] = [
    ("text", "TEXT", |n| format!("Kéy,{n}\\")),
    ("varchar(8)", "VARCHAR(8)", |n| format!("k{n}")),
    ("bigint", "INTEGER", |n| n.to_string()),
    ("numeric(9,2)", "INT", |n| n.to_string()),
    ("uuid", "TEXT COLLATE NOCASE", |n| format!("6f9619ff-8b86-d011-b42d-00cf4fc9{n:04x}")),
    ("char(6)", "", |n| format!("c{n}")),
];

/// Collations of text by database, the first being none: with and without regard to case, to accents, to trailing spaces.
const COLLATIONS: [[&str; 5]; 3] = [
    ["", "COLLATE \"C\"", "COLLATE \"POSIX\"", "COLLATE nocase_icu", "COLLATE \"und-x-icu\""],
    ["", "COLLATE NOCASE", "COLLATE RTRIM", "COLLATE BINARY", "COLLATE NOCASE"],
    [
        "",
        "COLLATE utf8mb4_bin",
        "COLLATE utf8mb4_general_ci",
        "COLLATE utf8mb4_unicode_ci",
        "CHARACTER SET latin1 COLLATE latin1_swedish_ci",
    ],
];

fn case() -> impl Strategy<Value = Case> {
    let meddles = select(vec![
        Meddles::Not,
        Meddles::Rewrites,
        Meddles::KeepsBack,
        Meddles::Refuses,
        Meddles::Afterwards,
    ]);
    let rows = proptest::collection::btree_map(0u16..500, ("[A-Za-z0-9é ]{1,40}", any::<bool>()), 1..25);
    let layout =
        (select(KEYS.to_vec()), any::<Option<bool>>(), any::<bool>(), any::<bool>(), (0..5usize, 0..5usize));
    (layout, meddles, rows).prop_map(|((key, owner, marks, two_columns, collations), meddles, rows)| Case {
        key,
        owner,
        marks,
        meddles,
        two_columns,
        collations,
        rows,
    })
}

impl Case {
    fn profile(&self) -> String {
        let key = if self.two_columns { "[\"id\", \"part\"]" } else { "[\"id\"]" };
        let owner = if self.owner.is_some() { "owner = [\"tenant\"]\n" } else { "" };
        let version = "[tables.version]\nversion = \"v\"\nmethod = \"m\"\nkey_id = \"k\"\n";
        format!(
            "name = \"random\"\nlegacy = \"direct-aes\"\n{}[context]\nApplication = \"random\"\n[[tables]]\n\
             name = \"t\"\nkey = {key}\ntokens = [\"tok\"]\n{owner}{}",
            if self.marks { "" } else { "unmarked = \"direct-aes\"\n" },
            if self.marks { version } else { "" }
        )
    }

    fn key(&self, n: u16) -> TokenKey {
        TokenKey::from_values(self.key_texts(n))
    }

    fn key_texts(&self, n: u16) -> Vec<String> {
        let mut values = vec![(self.key.2)(n)];
        values.extend(self.two_columns.then(|| "p".to_owned()));
        values
    }

    async fn create(&self, db: &Sql) {
        db.execute("DROP TABLE IF EXISTS t").await;
        let key = if db.is_mariadb() { self.key.0 } else { db.either(self.key.0, self.key.1) };
        let of_database = if db.is_mariadb() { 2 } else { usize::from(!db.is_postgres()) };
        let is_text =
            ["char", "text", "varchar"].iter().any(|name| key.to_ascii_lowercase().starts_with(name));
        let collated = is_text && !key.contains("COLLATE");
        let of_key = if collated { COLLATIONS[of_database][self.collations.0] } else { "" };
        // A token is text of any kind: in a column of one byte a character it could not be stored.
        let of_token = COLLATIONS[of_database][self.collations.1];
        let of_token = if of_token.contains("latin1") { "" } else { of_token };
        if db.is_postgres() {
            db.execute(
                "CREATE COLLATION IF NOT EXISTS nocase_icu (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
            )
            .await;
        }
        let primary = if self.two_columns { "id, part" } else { "id" };
        db.execute(&format!(
            "CREATE TABLE t (id {key} {of_key} NOT NULL, part text NOT NULL DEFAULT 'p', tenant text DEFAULT 'acme', marked integer, \
             tok text {of_token}, v integer DEFAULT 0, m text, k text, PRIMARY KEY ({primary}))"
        ))
        .await;
    }

    async fn meddle(&self, db: &Sql) {
        let (marked, sqlite) = match self.meddles {
            Meddles::Not => return,
            Meddles::Rewrites => (
                "NEW.tok := lower(NEW.tok);",
                "AFTER UPDATE ON t WHEN NEW.marked = 1 BEGIN UPDATE t SET tok = lower(NEW.tok) WHERE id = NEW.id; END",
            ),
            Meddles::KeepsBack => {
                ("RETURN NULL;", "BEFORE UPDATE ON t WHEN NEW.marked = 1 BEGIN SELECT RAISE(IGNORE); END")
            }
            Meddles::Refuses => (
                "RAISE EXCEPTION '%', OLD.tok;",
                "BEFORE UPDATE ON t WHEN NEW.marked = 1 BEGIN SELECT RAISE(ABORT, 'no'); END",
            ),
            Meddles::Afterwards => (
                "UPDATE t SET tok = 'gone' WHERE id = NEW.id AND tok <> 'gone';",
                "AFTER UPDATE ON t WHEN NEW.marked = 1 BEGIN UPDATE t SET v = 7 WHERE id = NEW.id; END",
            ),
        };
        if db.is_mariadb() {
            let marked = match self.meddles {
                Meddles::Refuses => "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = OLD.tok",
                Meddles::KeepsBack => "SET NEW.tok = OLD.tok",
                Meddles::Afterwards => "SET NEW.v = 7",
                Meddles::Rewrites | Meddles::Not => "SET NEW.tok = LOWER(NEW.tok)",
            };
            let body = format!("BEGIN IF NEW.marked = 1 THEN {marked}; END IF; END");
            db.execute(&format!("CREATE TRIGGER meddles BEFORE UPDATE ON t FOR EACH ROW {body}")).await;
            return;
        }
        if !db.is_postgres() {
            db.execute(&format!("CREATE TRIGGER meddles {sqlite}")).await;
            return;
        }
        let when = if self.meddles == Meddles::Afterwards { "AFTER" } else { "BEFORE" };
        db.execute(&format!(
            "CREATE OR REPLACE FUNCTION meddles() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.marked = 1 AND pg_trigger_depth() = 1 THEN {marked} END IF; RETURN NEW; END $$; \
             CREATE TRIGGER meddles {when} UPDATE ON t FOR EACH ROW EXECUTE FUNCTION meddles()"
        ))
        .await;
    }
}

async fn read(store: &TokenStore, key: &TokenKey) -> Option<String> {
    match store.get(key).await {
        Ok(token) => shown(token.column("tok")).map(ToOwned::to_owned),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => panic!("{key:?}: {error:?}"),
    }
}

async fn survives(db: &Sql, case: &Case) -> Result<(), TestCaseError> {
    case.create(db).await;
    let keys = Keys::toml(&case.profile());
    let store = keys.store(db).await;
    let mut truth = BTreeMap::new();
    for (n, (token, _)) in &case.rows {
        let mut key = case.key(*n);
        if case.owner == Some(true) {
            key = key.owned_by("tenant", "other");
        }
        store.put(&key, NewToken::new().column("tok", Some(token.as_str().into()))).await.unwrap();
        truth.insert(*n, token.clone());
    }
    // Back to the form of the time before the key service, so that everything has to be moved.
    let back = migrate(&store, WriteFormat::DirectAes).await;
    prop_assert_eq!((back.failed, back.left.unwrap()), (0, 0));
    for (n, (_, marked)) in &case.rows {
        let id = (case.key.2)(*n).replace('\'', "''");
        db.execute(&format!("UPDATE t SET marked = {} WHERE id = '{id}'", i32::from(*marked))).await;
    }
    case.meddle(db).await;
    let store = keys.store(db).await;
    let writer = async {
        for (n, token) in truth.iter().take(5) {
            let written = format!("{token} again");
            let new = NewToken::new().column("tok", Some(written.as_str().into()));
            // A row that the database keeps back is refused, and stays.
            let _ = store.put(&case.key(*n), new).await;
        }
    };
    // The writer's values are read back afterwards: both the old and the new value are valid.
    let (report, ()) = tokio::join!(migrate(&store, WriteFormat::KmsEnvelope), writer);
    let failed: BTreeSet<&str> = report.failures.iter().map(|failure| failure.row.as_str()).collect();
    prop_assert_eq!(report.left.unwrap(), report.failed + report.conflicts, "{:?}", report);
    let marked = case.rows.iter().filter(|(_, (_, marked))| *marked && case.meddles != Meddles::Not).count();
    prop_assert!(failed.len() <= marked, "{:?}", report.failures);
    for (n, token) in &truth {
        let now = read(&store, &case.key(*n)).await;
        let again = format!("{token} again");
        prop_assert!(now.as_ref() == Some(token) || now == Some(again), "{}: {:?}", n, now);
        // A neighbour of the key is no row, or another one.
        let other = TokenKey::from_values(case.key_texts(*n).into_iter().map(|text| format!("{text}x")));
        prop_assert!(!store.get(&other).await.is_ok_and(|token| shown(token.column("tok")).is_some()));
    }
    prop_assert_eq!(verified(&store).await.failed, 0);
    let mut before = BTreeMap::new();
    for n in truth.keys() {
        before.insert(*n, read(&store, &case.key(*n)).await);
    }
    let back = migrate(&store, WriteFormat::DirectAes).await;
    prop_assert_eq!(back.left.unwrap(), back.failed + back.conflicts, "{:?}", back);
    prop_assert!(back.failed <= marked as u64, "{:?}", back.failures);
    for (n, value) in before {
        prop_assert_eq!(read(&store, &case.key(n)).await, value, "{}", n);
    }
    prop_assert_eq!(verified(&store).await.failed, 0);
    Ok(())
}

on_each_database! {
    async fn migrate_meanwhile_and_read(db) {
        let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new(config);
        let outcome = tokio::task::block_in_place(|| {
            runner.run(&case(), |case| Handle::current().block_on(survives(&db, &case)))
        });
        outcome.unwrap();
    }
}
