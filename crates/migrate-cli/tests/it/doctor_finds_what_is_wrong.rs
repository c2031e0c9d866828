//! `doctor` reports each missing prerequisite before any change, with a command that fixes it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use test_support::emulator::AwsFailure;
use test_support::faults::Fault;
use test_support::proxy::Proxy;

use crate::support::{Program, Run, Sql, fill, key_in};

/// The check of this name.
#[track_caller]
fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no check {name:?} in {report:#}"))
}

#[track_caller]
fn assert_fails(report: &Value, name: &str, hint: &str) {
    let check = check(report, name);
    assert_eq!(check["ok"], false, "{check}");
    assert!(check["hint"].as_str().unwrap().contains(hint), "{check}");
}

on_each_database! {
    async fn nothing_where_nothing_is_wrong(db) {
        fill(&db, 2).await;
        let content = || (!db.is_postgres()).then(|| fs::read(db.file()).unwrap());
        let before = content();
        let report = Program::on(&db).json(0, &["doctor"]);
        for name in ["configuration", "database", "schema", "database: permissions", "key service: wrong context"] {
            assert_eq!(check(&report, name)["ok"], true);
        }
        assert!(content() == before, "trying to write leaves no trace");
    }
}

on_each_database! {
    async fn a_profile_that_does_not_describe_the_table(db) {
        fill(&db, 2).await;
        let mut program = Program::on(&db);
        program.set("TOKEN_PROFILE", "pulseplan");
        let report = program.json(6, &["doctor"]);
        assert_fails(&report, "schema", "TOKEN_PROFILE does not describe this table");
        for command in [&["schema"][..], &["schema", "--check"], &["status"], &["verify"], &["profile", "check"]] {
            let run = program.run(command).expect(6);
            run.says(&["id, user_id", "TOKEN_PROFILE", "your-own-table.md"]);
            assert!(!run.stderr.contains("run `migrate-tokens schema`"), "{}", run.stderr);
        }
    }
}

#[tokio::test]
async fn a_role_that_lacks_a_privilege() {
    let database = test_support::part!(postgres);
    let role = format!("{}_app", database.name());
    let url = with_user(database.url(), &role);
    let db = Sql::postgres(database).await;
    fill(&db, 2).await;
    db.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'tokens'")).await;
    let mut program = Program::on(&db);
    program.set("DATABASE_URL", &url);
    let name = "database: permissions";
    let doctor = |code| program.json(code, &["doctor"]);

    db.execute(&format!("GRANT SELECT ON oauth_tokens TO {role}")).await;
    assert_fails(&doctor(6), name, &format!("GRANT UPDATE ON \"oauth_tokens\" TO \"{role}\""));
    db.execute(&format!("GRANT UPDATE (access_token) ON oauth_tokens TO {role}")).await;
    assert_fails(&doctor(6), name, "GRANT UPDATE");
    db.execute(&format!("GRANT UPDATE ON oauth_tokens TO {role}")).await;
    let report = doctor(0);
    assert!(check(&report, name)["detail"].as_str().unwrap().contains("not INSERT"), "{report}");
    program.run(&["migrate"]).expect(0);

    db.execute("ALTER TABLE oauth_tokens ENABLE ROW LEVEL SECURITY").await;
    db.execute(&format!("CREATE POLICY all_rows ON oauth_tokens TO {role} USING (true)")).await;
    let report = doctor(0);
    assert!(check(&report, name)["detail"].as_str().unwrap().contains("row-level security"), "{report}");

    db.execute("ALTER TABLE oauth_tokens DROP COLUMN encryption_method").await;
    let report = doctor(6);
    assert_fails(&report, "schema", "migrate-tokens schema");
    assert_fails(&report, name, "owner of the table");

    db.execute(&format!("ALTER ROLE {role} SET default_transaction_read_only = on")).await;
    assert_fails(&doctor(6), name, "default_transaction_read_only");
    db.execute(&format!("DROP OWNED BY {role}")).await;
    db.execute(&format!("DROP ROLE {role}")).await;
}

const REFRESHED: &str = r#"
    name = "vod-tender"
    [context]
    Application = "vod-tender"
    [[tables]]
    name = "oauth_tokens"
    key = ["provider", "channel"]
    tokens = ["access_token", "refresh_token"]
    plain = ["expires_at"]
    [tables.version]
    version = "encryption_version"
    method = "encryption_method"
    key_id = "encryption_key_id"
    [tables.refresh]
    access = "access_token"
    refresh = "refresh_token"
    expires_at = "expires_at"
"#;

/// Demands that `doctor` names what a user lacks on the table of leases, and nothing else once it is granted.
async fn assert_leases_are_checked(db: &Sql, url: &str, user: &str) {
    fill(db, 2).await;
    let mut program = Program::on(db);
    let profile = program.path().join("refreshed.toml");
    fs::write(&profile, REFRESHED).unwrap();
    program.set("TOKEN_PROFILE", profile.to_str().unwrap());
    program.run(&["schema"]).expect(0);
    program.set("DATABASE_URL", url);
    db.execute(&format!("GRANT SELECT, UPDATE ON oauth_tokens TO {user}")).await;
    for (lacks, grants) in
        [("SELECT, INSERT, UPDATE", "SELECT"), ("INSERT, UPDATE", "UPDATE"), ("INSERT", "INSERT")]
    {
        let report = program.json(6, &["doctor"]);
        let found = check(&report, "database: permissions");
        assert!(
            found["detail"].as_str().unwrap().contains(&format!("may not {lacks} on tokenseal_leases")),
            "{found}"
        );
        assert_fails(&report, "database: permissions", &format!("GRANT {lacks} ON \"tokenseal_leases\""));
        db.execute(&format!("GRANT {grants} ON tokenseal_leases TO {user}")).await;
    }
    program.json(0, &["doctor"]);
}

#[tokio::test]
async fn a_role_that_lacks_a_privilege_on_the_table_of_leases() {
    let database = test_support::part!(postgres);
    let role = format!("{}_refresh", database.name());
    let url = with_user(database.url(), &role);
    let db = Sql::postgres(database).await;
    db.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'tokens'")).await;
    assert_leases_are_checked(&db, &url, &role).await;
    db.execute(&format!("DROP OWNED BY {role}")).await;
    db.execute(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_user_of_mariadb_who_lacks_a_privilege_on_the_table_of_leases() {
    let database = test_support::part!(mariadb);
    let user = format!("refresh_{}", std::process::id());
    let db = Sql::mariadb(database).await;
    db.execute(&format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'tokens'")).await;
    assert_leases_are_checked(&db, &with_user(db.url(), &user), &format!("'{user}'@'%'")).await;
    db.execute(&format!("DROP USER '{user}'@'%'")).await;
}

/// The same address for another user.
fn with_user(url: &str, user: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{user}:tokens@{host}")
}

#[tokio::test]
async fn a_file_that_cannot_be_written() {
    let db = Sql::sqlite().await;
    fill(&db, 2).await;
    let program = Program::on(&db);
    let file = db.file();
    for (path, mode) in [(file.parent().unwrap(), 0o555), (&*file, 0o444)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let mut command = program.command(&["doctor", "--format", "json"]);
    if fs::OpenOptions::new().write(true).open(&file).is_ok() {
        // Nothing is read-only for root, unless it gives up that right.
        command = program.under("setpriv --bounding-set=-dac_override", &["doctor", "--format", "json"]);
    }
    let report = Run::of(&["doctor"], command.output().unwrap()).expect(6).document();
    assert_eq!(check(&report, "schema")["ok"], true);
    assert_fails(&report, "database: permissions", "directory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_with_the_key_that_is_denied_and_not_only_the_first() {
    let moto = test_support::part!(moto);
    let (region, db) = ("eu-central-1", Sql::sqlite().await);
    let proxy = Proxy::start_for_region(moto.endpoint(), region);
    fill(&db, 1).await;
    let mut program = Program::on_aws(&db, proxy.endpoint(), &key_in(&moto, region).await);
    program.set("AWS_REGION", region);
    proxy.faults().always(Fault::Fail(AwsFailure::ACCESS_DENIED));

    let report = program.json(5, &["doctor"]);

    assert_fails(&report, "key service: describe", "kms:DescribeKey");
    assert_fails(&report, "key service: generate", "kms:GenerateDataKey");
    assert_fails(&report, "key service: unwrap", "verify --sample 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_the_calls_to_the_key_service_come_from() {
    let moto = test_support::part!(moto);
    let (region, db) = ("eu-central-1", Sql::sqlite().await);
    fill(&db, 1).await;
    let mut program = Program::on_aws(&db, moto.endpoint(), &key_in(&moto, region).await);
    program.set("AWS_REGION", region);
    let known = program.json(0, &["doctor"]);
    let caller = check(&known, "key service: caller")["detail"].as_str().unwrap();
    assert!(caller.starts_with("arn:aws:sts::") && caller.contains("/moto"), "{caller}");

    // AWS STS that does not answer is no reason to fail: private networks have no way to it.
    program.set("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9");
    let unknown = program.json(0, &["doctor"]);
    let caller = check(&unknown, "key service: caller")["detail"].as_str().unwrap();
    assert!(caller.starts_with("not known: "), "{caller}");

    // With an address for AWS KMS alone, AWS STS itself is not asked.
    program
        .unset("AWS_ENDPOINT_URL_STS")
        .unset("AWS_ENDPOINT_URL")
        .set("AWS_ENDPOINT_URL_KMS", moto.endpoint());
    let report = program.json(0, &["doctor"]);
    let names = report["checks"].as_array().unwrap().iter().map(|check| check["name"].clone());
    assert!(!names.into_iter().any(|name| name == "key service: caller"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_down_and_everything_goes_on_in_the_next() {
    let moto = test_support::part!(moto);
    let (near, far) = ("eu-central-1", "eu-west-1");
    let proxy = Proxy::start_for_region(moto.endpoint(), near);
    let keys = [key_in(&moto, near).await, key_in(&moto, far).await];
    let db = Sql::sqlite().await;
    fill(&db, 4).await;
    let mut program = Program::on_aws(&db, proxy.endpoint(), &keys.join(","));
    // The Region that a machine happens to be set to is of no account.
    program.set("AWS_REGION", "us-east-1");
    let all = program.json(0, &["doctor"]);
    for region in [near, far] {
        assert_eq!(check(&all, &format!("key service in {region}: wrong context"))["ok"], true);
    }
    assert_eq!(program.json(0, &["migrate", "--limit", "2"])["migrated"], 2);

    proxy.faults().always(Fault::Fail(AwsFailure::Status(503)));
    let report = program.json(5, &["doctor"]);
    assert_fails(&report, &format!("key service in {near}: describe"), "AWS Health");
    assert_eq!(check(&report, &format!("key service in {far}: wrong context"))["ok"], true);
    assert_eq!(program.json(0, &["migrate"])["migrated"], 2, "the next Region wraps");
    // Two keys that are no replicas of each other: data keys that the nearest wrapped open only there.
    assert_eq!(program.json(5, &["verify"])["error"]["class"], "unavailable");

    proxy.faults().heal();
    assert_eq!(program.json(0, &["verify"])["ok"], 8);
    let used = program.json(0, &["status", "--keys"]);
    let count = |key: &str| {
        used["keys"].as_array().unwrap().iter().find(|entry| entry["key_id"] == key).unwrap()["values"]
            .clone()
    };
    assert_eq!((count(&keys[0]), count(&keys[1])), (4.into(), 4.into()));

    program.run(&["rewrap", "--to", &keys[0]]).expect(2).says(&["--to ARN,ARN"]);
    let new = [key_in(&moto, near).await, key_in(&moto, far).await].join(",");
    assert_eq!(program.json(0, &["rewrap", "--to", &new])["rewrapped"], 4);
    program.set("KMS_KEY_ID", &new);
    assert_eq!(program.json(0, &["verify"])["ok"], 8);
    program.set("KMS_KEY_ID", &format!("{new},alias/tokens"));
    program.run(&["doctor"]).expect(2).says(&["KMS_KEY_ID", "ARN"]);
}

#[test]
fn the_obstacles_are_a_list_also_where_no_table_is_seen() {
    let mut program = Program::bare();
    program.set("TOKEN_PROFILE", "nope");
    assert_eq!(program.json(2, &["doctor"])["findings"], serde_json::json!([]));
    program.unset("TOKEN_PROFILE").set("DATABASE_URL", "sqlite://nope.db");
    assert_eq!(program.json(6, &["doctor"])["findings"], serde_json::json!([]));
}
