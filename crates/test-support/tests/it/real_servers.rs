//! Real servers start, answer, and give each test its own data.

use aws_sdk_kms::types::DataKeySpec;
use serde_json::json;
use sqlx::{Connection, MySqlConnection, PgConnection};
use test_support::part;
use test_support::postgres::TestDatabase;

async fn table_count(database: &TestDatabase) -> i64 {
    let mut connection = PgConnection::connect(database.url()).await.expect("the server answers");
    sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        .fetch_one(&mut connection)
        .await
        .expect("a count")
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    let one = part!(postgres);
    let two = part!(postgres);
    let mut connection = PgConnection::connect(one.url()).await.expect("the server answers");
    sqlx::raw_sql("CREATE TABLE oauth_tokens (id int)").execute(&mut connection).await.expect("a table");
    assert_eq!((table_count(&one).await, table_count(&two).await), (1, 0));
}

#[tokio::test]
async fn a_database_goes_away_with_its_test() {
    let keeper = part!(postgres);
    let dropped = part!(postgres);
    let name = dropped.name().to_owned();
    let open = PgConnection::connect(dropped.url()).await.expect("the server answers");
    drop(dropped);
    let mut connection = PgConnection::connect(keeper.url()).await.expect("the server answers");
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_one(&mut connection)
        .await
        .expect("a count");
    assert_eq!(left, 0);
    drop(open);
}

async fn mariadb_tables(database: &test_support::mariadb::TestDatabase) -> i64 {
    let mut connection = MySqlConnection::connect(database.url()).await.expect("the server answers");
    sqlx::query_scalar("SELECT count(*) FROM information_schema.tables WHERE table_schema = ?")
        .bind(database.name())
        .fetch_one(&mut connection)
        .await
        .expect("a count")
}

#[tokio::test]
async fn each_test_has_a_mariadb_database_of_its_own_that_goes_away_with_it() {
    let (one, two) = (part!(mariadb), part!(mariadb));
    let mut connection = MySqlConnection::connect(one.url()).await.expect("the server answers");
    sqlx::raw_sql("CREATE TABLE oauth_tokens (id int)").execute(&mut connection).await.expect("a table");
    assert_eq!((mariadb_tables(&one).await, mariadb_tables(&two).await), (1, 0));
    let name = one.name().to_owned();
    drop(one);
    let mut connection = MySqlConnection::connect(two.url()).await.expect("the server answers");
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM information_schema.schemata WHERE schema_name = ?")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .expect("a count");
    assert_eq!(left, 0);
}

#[tokio::test]
async fn openbao_makes_data_keys() {
    let bao = part!(openbao);
    let mount = bao.transit().await;
    let path = format!("{mount}/datakey/plaintext/tokens");
    let made = bao.call("POST", &path, json!({ "context": "Y29udGV4dA==" })).await;
    assert!(made["ciphertext"].as_str().is_some_and(|text| text.starts_with("vault:v1:")), "{mount}");
}

#[tokio::test]
async fn a_private_openbao_can_be_sealed_and_unsealed() {
    // Whether OpenBao is there at all is the part's question.
    let _bao = part!(openbao);
    let server = test_support::openbao::Server::private(None).await.expect("another server starts");
    let bao = server.bao();
    bao.call("POST", "sys/seal", json!({})).await;
    assert!(bao.try_call("GET", "sys/mounts", json!(null)).await.is_err());
    bao.call("POST", "sys/unseal", json!({ "key": server.unseal_key() })).await;
    assert!(bao.try_call("GET", "sys/mounts", json!(null)).await.is_ok());
}

#[tokio::test]
async fn a_container_runs_postgresql() {
    let engine = part!(docker);
    let container = engine.postgres().await.expect("the container starts");
    let database = container.database("in a container").await;
    assert_eq!(table_count(&database).await, 0);
}

#[tokio::test]
async fn the_independent_emulator_makes_data_keys() {
    let moto = part!(moto);
    let kms = aws_sdk_kms::Client::new(&moto.sdk_config("us-east-1"));
    let key = kms.create_key().send().await.expect("a key").key_metadata.expect("its metadata");
    let request = kms.generate_data_key().key_id(key.key_id()).key_spec(DataKeySpec::Aes256);
    let answer = request.send().await.expect("a data key");
    assert_eq!(answer.plaintext.expect("its plaintext").as_ref().len(), 32);
}
