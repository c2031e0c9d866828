//! The database gives a key the text in the vectors; the clients in other languages compute the same text.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::support::Sql;

#[derive(Deserialize)]
struct File {
    profile: Profile,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Profile {
    tables: Vec<Table>,
}

#[derive(Deserialize)]
struct Table {
    name: String,
    #[serde(default)]
    types: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    table: String,
    row: BTreeMap<String, Value>,
    owner: BTreeMap<String, Value>,
    #[serde(default)]
    canonical_row: BTreeMap<String, Option<String>>,
    #[serde(default)]
    canonical_owner: BTreeMap<String, Option<String>>,
}

/// The caller's value, as a driver sends it.
fn text(given: &Value) -> Option<String> {
    match given {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Object(mark) => Some(mark["from_database"].as_str().unwrap().to_owned()),
        other => Some(other.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_stores_the_text_that_a_client_binds_to() {
    let database = Sql::postgres(test_support::part!(postgres)).await;
    let file: File =
        serde_json::from_str(include_str!("../../../envelope-core/tests/vectors/canonical.json")).unwrap();
    let mut seen = 0;
    for vector in file.vectors.iter().filter(|vector| !vector.name.starts_with("fail_")) {
        let table = file.profile.tables.iter().find(|table| table.name == vector.table).unwrap();
        let given = vector.row.iter().chain(&vector.owner);
        for (column, given) in given.filter(|(column, _)| table.types.contains_key(*column)) {
            // A timestamp's text depends on the session; so a client takes only a text that was read back.
            let sql_type = &table.types[column];
            if sql_type.starts_with("timestamp") {
                continue;
            }
            let canonical = vector.canonical_row.get(column).or_else(|| vector.canonical_owner.get(column));
            database.execute("DROP TABLE IF EXISTS keys").await;
            database.execute(&format!("CREATE TABLE keys (k {sql_type})")).await;
            let sql = format!("INSERT INTO keys VALUES (CAST($1 AS text)::{sql_type})");
            database.run(&sql, &[text(given).as_deref()]).await;
            let stored = database.rows("SELECT CAST(k AS text) FROM keys").await;
            assert_eq!(Some(&stored[0][0]), canonical, "{}: {column}", vector.name);
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}
