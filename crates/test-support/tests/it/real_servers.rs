//! Real servers start, answer, and give each test what is its own.

use aws_sdk_kms::types::DataKeySpec;
use sqlx::{Connection, PgConnection};
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
