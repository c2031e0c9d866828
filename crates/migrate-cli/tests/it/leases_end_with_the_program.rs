//! Dynamic credentials of a real OpenBao on a real PostgreSQL: fetched, renewed, replaced, and revoked at the end.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use test_support::openbao::{OpenBao, ROOT_TOKEN};
use test_support::part;
use test_support::postgres::TestDatabase;
use tokio::task::block_in_place;

use crate::support::{Program, signal};

/// A mount that makes users of this database, with a time to live of each lease and a maximum.
async fn mount(bao: &OpenBao, database: &TestDatabase, ttl: &str, longest: &str) -> String {
    let mount = bao.mount("database", json!({})).await;
    let url = database.url();
    let (host, _) = url.split_once("://").unwrap().1.split_once('@').unwrap().1.split_once('/').unwrap();
    let config = json!({
        "plugin_name": "postgresql-database-plugin",
        "allowed_roles": "*",
        "connection_url": format!("postgresql://{{{{username}}}}:{{{{password}}}}@{host}/{}?sslmode=disable", database.name()),
        "username": "tokenseal",
        "password": "unused",
    });
    bao.call("POST", &format!("{mount}/config/pg"), config).await;
    let role = json!({
        "db_name": "pg",
        "creation_statements": ["CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}'"],
        "revocation_statements": ["DROP ROLE IF EXISTS \"{{name}}\""],
        "default_ttl": ttl,
        "max_ttl": longest,
    });
    bao.call("POST", &format!("{mount}/roles/app"), role).await;
    mount
}

async fn exists(database: &TestDatabase, user: &str) -> bool {
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let query = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{user}'");
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut connection).await.unwrap();
    count == 1
}

/// The users that the program was started with, one a line.
fn users(program: &Program) -> Vec<String> {
    let text = fs::read_to_string(program.path().join("users")).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

async fn wait_for_users(program: &Program, count: usize) -> Vec<String> {
    let limit = Instant::now() + Duration::from_secs(90);
    while users(program).len() < count {
        assert!(Instant::now() < limit, "{:?}", users(program));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    users(program)
}

fn program(bao: &OpenBao) -> Program {
    let mut program = Program::bare();
    program.set("VAULT_ADDR", bao.address()).set("VAULT_TOKEN", ROOT_TOKEN).set("PATH", "/usr/bin:/bin");
    program
}

const SCRIPT: &str = "echo $DB_USER >> users; trap 'exit 0' TERM; while :; do sleep 0.05; done";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_program_keeps_its_user_while_the_lease_is_renewed_gets_another_and_leaves_none() {
    let (bao, database) = (part!(openbao), part!(postgres));
    let mount = mount(&bao, &database, "6s", "12s").await;
    let program = program(&bao);
    let source = format!("vault-lease:{mount}/creds");
    let names = "DB_USER=app#username,DB_PASSWORD=app#password";
    let arguments = ["--source", &source, "exec", "--watch-interval", "200ms", "--names", names];
    let arguments = [&arguments[..], &["--watch", "--", "sh", "-c", SCRIPT]].concat();
    let mut child = program.secrets_command(&arguments).spawn().unwrap();
    let first = wait_for_users(&program, 1).await[0].clone();
    assert!(exists(&database, &first).await);
    // Beyond the first lease, renewed.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(users(&program), [first.as_str()]);
    assert!(exists(&database, &first).await, "the lease was renewed");
    // Beyond the longest time: another user, and the program was started again with it.
    let both = wait_for_users(&program, 2).await;
    assert_ne!(both[0], both[1]);
    assert!(exists(&database, &both[1]).await);
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for user in both {
        assert!(!exists(&database, &user).await, "{user} was revoked at the end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_watch_it_stays_as_well_and_a_role_that_is_not_there_is_named() {
    let (bao, database) = (part!(openbao), part!(postgres));
    let mount = mount(&bao, &database, "1h", "2h").await;
    let program = program(&bao);
    let source = format!("vault-lease:{mount}/creds");
    block_in_place(|| {
        let names = "DB_USER=app#username,DB_PASSWORD=app#password";
        let arguments = ["--source", &source, "exec", "--names", names, "--", "sh", "-c"];
        let script = "test -n \"$DB_PASSWORD\" && test -z \"$VAULT_TOKEN\" && echo $DB_USER";
        let run = program.secrets(&[&arguments[..], &[script]].concat(), "").expect(0);
        let user = run.stdout.trim().to_owned();
        assert!(user.starts_with("v-"), "{user}");
        let gone = tokio::runtime::Handle::current().block_on(exists(&database, &user));
        assert!(!gone, "{user} was revoked at the end");
        let listed = program.secrets(&["--source", &source, "list", "--format", "json"], "").expect(0);
        assert_eq!(listed.document()["secrets"][0]["name"], "app");
        let missing =
            program.secrets(&["--source", &source, "get", "other", "--format", "json"], "").expect(3);
        assert_eq!(missing.document()["error"]["class"], "not_found");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_without_roles_is_an_empty_list_and_no_mount_is_a_failure() {
    let bao = part!(openbao);
    let mount = bao.mount("database", json!({})).await;
    let program = program(&bao);
    let list = |mount: &str| {
        let source = format!("vault-lease:{mount}/creds");
        program.secrets_command(&["--source", &source, "list", "--format", "json"]).output().unwrap()
    };
    let empty = block_in_place(|| list(&mount));
    assert_eq!(empty.status.code(), Some(0), "{empty:?}");
    let absent = block_in_place(|| list("no-such-mount"));
    assert_eq!(absent.status.code(), Some(5), "{absent:?}");
    assert!(String::from_utf8_lossy(&absent.stdout).contains("VAULT_NAMESPACE"), "{absent:?}");
}
