//! The pages for operators, rehearsed: every block of commands in them is run unchanged.

use test_support::emulator::AwsFailure;
use test_support::faults::Fault;
use test_support::moto::Moto;
use test_support::part;
use test_support::proxy::Proxy;

use crate::support::pages::{commands, headings_with_commands, statements};
use crate::support::{
    DIRECT_KEY, MASTER_KEY, Program, Run, Sql, create_vod_tender, fill, insert_vod, stored,
};

const ROTATION: &str = "operations/key-rotation.md";
const RECOVERY: &str = "operations/disaster-recovery.md";
const INCIDENT: &str = "operations/incident-response.md";
const ROLLBACK: &str = "runbooks/emergency-rollback.md";
const SECRETS: &str = "runbooks/secret-rotation.md";

/// Rows that `fill` makes, of two values each.
const ROWS: usize = 12;

#[test]
fn no_block_of_commands_is_left_out() {
    let rehearsals = include_str!("operations_are_rehearsed.rs");
    let pages = [
        ("ROTATION", ROTATION),
        ("RECOVERY", RECOVERY),
        ("INCIDENT", INCIDENT),
        ("ROLLBACK", ROLLBACK),
        ("SECRETS", SECRETS),
    ];
    for (name, page) in pages {
        for heading in headings_with_commands(page) {
            let taken = format!("({name}, {heading:?})");
            assert!(rehearsals.contains(&taken), "{page}: {heading} is not rehearsed");
        }
    }
}

/// Runs one body with an independent emulator of AWS, on each database.
macro_rules! on_aws {
    ($(async fn $name:ident($db:ident, $moto:ident) $body:block)+) => {
        $(mod $name {
            use super::*;

            async fn holds($db: Sql, $moto: Moto) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                holds(Sql::sqlite().await, part!(moto)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgresql() {
                let db = Sql::postgres(part!(postgres)).await;
                holds(db, part!(moto)).await;
            }
        })+
    };
}

async fn new_key(moto: &Moto) -> String {
    let kms = aws_sdk_kms::Client::new(&moto.sdk_config("us-east-1"));
    kms.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap()
}

/// Which keys `status --keys` says are needed, by how many values.
fn keys(program: &Program) -> Vec<(String, u64)> {
    let status = program.json(0, &["status", "--keys"]);
    assert_eq!(status["unreadable"], 0, "{status}");
    let keys = status["keys"].as_array().unwrap().iter();
    keys.map(|key| (key["key_id"].as_str().unwrap().to_owned(), key["values"].as_u64().unwrap())).collect()
}

/// The sealed part of every access token, after the wrapped data key.
async fn payloads(db: &Sql) -> Vec<String> {
    let texts = stored(db).await.into_iter().map(|row| row[2].clone().unwrap());
    texts.map(|text| text.rsplit(':').next().unwrap().to_owned()).collect()
}

/// Has the program open an access token.
#[track_caller]
fn assert_reveals(program: &Program, channel: &str, token: &str) {
    let read = program.run(&["get", "--row", &format!("provider=twitch,channel={channel}"), "--reveal"]);
    assert_eq!(read.expect(0).stdout.trim_end(), token);
}

/// Has the program write an access token into a row.
fn put(program: &Program, channel: &str, token: &str) -> Run {
    program.feed(&["put", "--row", &format!("provider=twitch,channel={channel}")], token)
}

/// Has a rewrap stop in the middle, as an eviction of its pod would.
async fn interrupt_a_rewrap(program: &Program, new: &str) {
    let child = program.spawn(&["rewrap", "--to", new, "--batch-size", "1", "--rate", "10"]);
    let rewrapped = || keys(program).iter().any(|(key, values)| key == new && *values > 1);
    while !rewrapped() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let sent =
        std::process::Command::new("sh").args(["-c", &format!("kill -s TERM {}", child.id())]).status();
    assert!(sent.unwrap().success());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
}

on_aws! {
    async fn another_kms_key(db, moto) {
        let (old, new) = (new_key(&moto).await, new_key(&moto).await);
        let mut program = Program::on_aws(&db, moto.endpoint(), &old);
        program.set("OLD_KEY", &old).set("NEW_KEY", &new);
        fill(&db, ROWS).await;
        program.run(&["migrate"]).expect(0);
        let before = payloads(&db).await;
        let [both, rewrap, proof, back] = commands(ROTATION, "To another KMS key");

        program.script(&both).expect(0);
        program.set("KMS_KEY_ID", &new).set("KMS_ALLOWED_KEYS", &old);
        put(&program, "new", "fresh").expect(0);
        program.script(&proof).expect(4).says(&["wrong_key", &old]);
        interrupt_a_rewrap(&program, &new).await;
        program.set("AWS_ENDPOINT_URL", "http://127.0.0.1:9").run(&["rewrap", "--to", &new]).expect(5);
        program.set("AWS_ENDPOINT_URL", moto.endpoint()).run(&["verify"]).expect(0);
        program.script(&rewrap).expect(0);
        assert_eq!(keys(&program), [(new.clone(), 2 * ROWS as u64 + 1)]);
        program.script(&proof).expect(0);
        program.unset("KMS_ALLOWED_KEYS");
        assert_reveals(&program, "channel-003", "access 3");
        assert_eq!(payloads(&db).await[..ROWS], before, "no sealed byte is touched");

        program.script(&back).expect(0);
        assert_eq!(keys(&program), [(old.clone(), 2 * ROWS as u64 + 1)]);
        program.set("KMS_KEY_ID", &old).run(&["verify"]).expect(0);
    }

    async fn the_key_service_is_down(db, moto) {
        let (key, proxy) = (new_key(&moto).await, Proxy::start(moto.endpoint()));
        let mut program = Program::on_aws(&db, proxy.endpoint(), &key);
        fill(&db, ROWS).await;
        program.run(&["migrate"]).expect(0);
        let [doctor, status] = commands(RECOVERY, "The first minutes");
        let before = db.fingerprint("oauth_tokens").await;

        proxy.faults().always(Fault::Fail(AwsFailure::Refused));
        proxy.settled().await;
        program.script(&doctor).expect(5).says(&["could not be reached", "VPC endpoint"]);
        program.script(&status).expect(0).says(&[&key]);
        program.run(&["rollback"]).expect(5);
        put(&program, "new", "fresh").expect(5);
        assert_eq!(db.fingerprint("oauth_tokens").await, before, "an outage writes nothing");
        program.set("KMS_FALLBACK", "local");
        put(&program, "new", "fresh").expect(0).says(&["direct-aes-fallback"]);
        put(&program, "channel-003", "fresh").expect(5);
        assert_reveals(&program, "new", "fresh");
        program.unset("KMS_FALLBACK");

        proxy.faults().heal();
        proxy.settled().await;
        let [heal] = commands(RECOVERY, "The key service is down");
        let run = program.script(&heal).expect(0);
        assert!(!run.stdout.contains("fallback"), "{}", run.stdout);
        assert_reveals(&program, "new", "fresh");
    }

    async fn the_key_is_disabled_or_will_be_deleted(db, moto) {
        let (key, proxy) = (new_key(&moto).await, Proxy::start(moto.endpoint()));
        let program = Program::on_aws(&db, proxy.endpoint(), &key);
        fill(&db, ROWS).await;
        program.run(&["migrate"]).expect(0);
        let [doctor, _] = commands(RECOVERY, "The first minutes");
        let [content] = commands(RECOVERY, "The key is disabled, or will be deleted");
        for (failure, words) in [
            (AwsFailure::DISABLED, "is disabled"),
            (AwsFailure::INVALID_STATE, "pending deletion"),
            (AwsFailure::NOT_FOUND, "in this Region and account"),
        ] {
            proxy.faults().always(Fault::Fail(failure));
            program.script(&doctor).expect(5).says(&[words]);
            program.run(&["rollback"]).expect(5);
            proxy.faults().heal();
            program.script(&content).expect(0);
        }
    }

    async fn the_key_is_gone(db, moto) {
        let (lost, new) = (new_key(&moto).await, new_key(&moto).await);
        let mut program = Program::on_aws(&db, moto.endpoint(), &lost);
        fill(&db, ROWS).await;
        program.run(&["migrate"]).expect(0);
        program.set("COPY", db.url()).set("KMS_KEY_ID", &new).unset("ENCRYPTION_KEY").set("PLAINTEXT_POLICY", "forbid");
        put(&program, "new", "fresh").expect(0);
        let [ask, done] = commands(RECOVERY, "The key is gone");
        program.script(&ask).expect(0).says(&[&lost, &new]);
        let sql = statements(RECOVERY, "The key is gone", &lost);
        assert_eq!(db.rows(&sql[0]).await.len(), ROWS);
        db.execute(&sql[1]).await;
        program.script(&done).expect(0);
        assert_eq!(keys(&program), [(new, 1)]);
        assert_reveals(&program, "new", "fresh");
    }

    async fn a_restored_database(db, moto) {
        let (old, new) = (new_key(&moto).await, new_key(&moto).await);
        let mut program = Program::on_aws(&db, moto.endpoint(), &old);
        program.set("COPY", db.url()).set("OLD_KEY", &old).set("NEW_KEY", &new);
        create_vod_tender(&db).await;
        for (number, version) in [(0, 0), (1, 1), (2, 1)] {
            insert_vod(&db, &format!("channel-{number:03}"), version, &format!("access {number}"), "").await;
        }
        let [schema, ask, open, heal] = commands(RECOVERY, "The database was restored");
        program.script(&schema).expect(4).says(&["encryption_method"]);
        program.run(&["schema"]).expect(0);
        program.script(&schema).expect(0);
        put(&program, "channel-003", "access 3").expect(0);
        program.unset("DATABASE_URL").set("KMS_KEY_ID", &new);
        program.script(&ask).expect(0).says(&[&old, "ENCRYPTION_KEY", "plaintext"]);

        program.set("PLAINTEXT_POLICY", "allow-read");
        program.script(&open).expect(4).says(&["1 plaintext", " 0 fail"]);
        program.script(&heal).expect(0);
        program.set("DATABASE_URL", db.url()).unset("ENCRYPTION_KEY").set("PLAINTEXT_POLICY", "forbid");
        program.run(&["verify"]).expect(0);
        assert_reveals(&program, "channel-003", "access 3");
        assert_eq!(keys(&program), [(new, 4)]);
    }
}

/// Sets the other key service of `key-rotation.md`, and follows it there.
async fn to_another_key_service(db: &Sql, program: &mut Program, new: &str, init: bool) {
    let [rollback, make, migrate] = commands(ROTATION, "Another kind of key service");
    let before = keys(program);
    program.set("NEW_KEY", new).set("NEW_MASTER_KEY", DIRECT_KEY);
    program.script(&rollback).expect(0);
    put(program, "new", "by a service of before").expect(0);
    if init {
        program.script(&make).expect(0);
    }
    program.script(&rollback).expect(0);
    program.script(&migrate).expect(0);
    let after = keys(program);
    assert!(after.len() == 1 && after[0].0 != before[0].0, "{before:?} {after:?}");
    program.set("KMS_KEY_ID", new).set("KMS_MASTER_KEY", DIRECT_KEY).unset("ENCRYPTION_KEY");
    std::fs::remove_file(program.path().join("keyring.json")).unwrap();
    assert_reveals(program, "new", "by a service of before");
    assert_eq!(stored(db).await.len(), ROWS + 1);
}

fn with_aws(program: &mut Program, moto: &Moto) {
    program.set("AWS_ENDPOINT_URL", moto.endpoint()).set("AWS_REGION", "us-east-1");
    program.set("AWS_ACCESS_KEY_ID", "testing").set("AWS_SECRET_ACCESS_KEY", "testing");
}

on_aws! {
    async fn from_the_keyring_to_aws(db, moto) {
        let new = new_key(&moto).await;
        let mut program = Program::on(&db);
        with_aws(&mut program, &moto);
        fill(&db, ROWS).await;
        program.run(&["migrate"]).expect(0);
        to_another_key_service(&db, &mut program, &new, false).await;
    }
}

on_each_database! {
    async fn another_keyring(db) {
        let mut program = Program::on(&db);
        fill(&db, ROWS).await;
        program.run(&["migrate"]).expect(0);
        to_another_key_service(&db, &mut program, "keyring:new-keyring.json", true).await;
    }

    async fn another_master_key(db) {
        let mut program = Program::on(&db);
        fill(&db, ROWS).await;
        program.run(&["migrate"]).expect(0);
        let [copy, prove] = commands(ROTATION, "Another master key");
        program.set("NEW_MASTER_KEY", DIRECT_KEY).script(&copy).expect(0);
        put(&program, "new", "by a service of before").expect(0);
        let before = db.fingerprint("oauth_tokens").await;
        program.script(&prove).expect(0);
        std::fs::remove_file(program.path().join("keyring.json")).unwrap();
        program.set("KMS_KEY_ID", "keyring:keyring-2.json").run(&["verify"]).expect(2).says(&["master key does not open"]);
        program.set("KMS_MASTER_KEY", DIRECT_KEY);
        assert_reveals(&program, "new", "by a service of before");
        assert_eq!(db.fingerprint("oauth_tokens").await, before, "no value changes");
    }

    async fn a_leaked_keyring(db) {
        let mut program = Program::on(&db);
        fill(&db, ROWS).await;
        program.run(&["migrate"]).expect(0);
        let (leaked, sealed, old) = (keys(&program), payloads(&db).await, program.path().join("leaked"));
        std::fs::copy(program.path().join("keyring.json"), &old).unwrap();
        let [order] = commands(INCIDENT, "The local keyring");
        program.set("NEW_MASTER_KEY", DIRECT_KEY).script(&order).expect(0);
        program.run(&["keyring", "list"]).expect(2).says(&["master key does not open"]);
        program.set("KMS_KEY_ID", "keyring:leaked").run(&["verify"]).expect(4).says(&["wrong_key"]);
        program.set("KMS_KEY_ID", "keyring:keyring.json").set("KMS_MASTER_KEY", DIRECT_KEY);
        let after = keys(&program);
        assert!(after.len() == 1 && after[0].0 != leaked[0].0 && after[0].1 == leaked[0].1, "{leaked:?} {after:?}");
        assert_eq!(payloads(&db).await, sealed);
        assert_reveals(&program, "channel-003", "access 3");
    }

    async fn the_keyrings_key(db) {
        let program = Program::on(&db);
        fill(&db, ROWS).await;
        program.run(&["migrate"]).expect(0);
        let (before, sealed) = (keys(&program), payloads(&db).await);
        let [rotate, rewrap] = commands(ROTATION, "The local keyring");
        program.script(&rotate).expect(0);
        program.run(&["verify"]).expect(0);
        program.script(&rewrap).expect(0);
        let after = keys(&program);
        assert!(after.len() == 1 && after[0].0 != before[0].0 && after[0].1 == before[0].1, "{before:?} {after:?}");
        assert_eq!(payloads(&db).await, sealed);

        let file = program.path().join("keyring.json");
        std::fs::copy(&file, program.path().join("saved")).unwrap();
        std::fs::copy(program.path().join("keyring.json.before"), &file).unwrap();
        program.run(&["verify"]).expect(4).says(&["wrong_key", &after[0].0]);
        std::fs::copy(program.path().join("saved"), &file).unwrap();
        program.run(&["verify"]).expect(0);
    }

    async fn the_local_keyring_is_lost(db) {
        let mut program = Program::on(&db);
        fill(&db, ROWS).await;
        program.run(&["migrate"]).expect(0);
        let [doctor, _] = commands(RECOVERY, "The first minutes");
        let (file, saved) = (program.path().join("keyring.json"), program.path().join("saved"));
        std::fs::rename(&file, &saved).unwrap();
        program.script(&doctor).expect(2).says(&["keyring.json does not exist"]);
        std::fs::rename(&saved, &file).unwrap();
        let [back] = commands(RECOVERY, "The local keyring is lost");
        program.script(&back).expect(0);
        program.set("KMS_MASTER_KEY", DIRECT_KEY).script(&doctor).expect(2).says(&["master key does not open"]);
    }

    async fn a_token_leaked(db) {
        let mut program = Program::on(&db);
        fill(&db, 1).await;
        insert_vod(&db, "my-channel", 1, "leaked access", "leaked refresh").await;
        program.run(&["migrate"]).expect(0);
        let [revoke, replace] = commands(INCIDENT, "A token");
        let provider = "curl() { printf '%s ' \"$@\" >arguments; cat >input; }\n";
        program.set("CLIENT_ID", "client").set("ACCESS_TOKEN", "issued anew").set("REFRESH_TOKEN", "this too");
        program.script(&format!("{provider}{revoke}")).expect(0);
        let given = |name: &str| std::fs::read_to_string(program.path().join(name)).unwrap();
        assert_eq!(given("input"), "leaked refresh");
        assert!(!given("arguments").contains("leaked"), "{}", given("arguments"));
        program.script(&replace).expect(0);
        assert_reveals(&program, "my-channel", "issued anew");
    }

    async fn a_leaked_database_and_a_leaked_key(db) {
        let mut program = Program::on(&db);
        fill(&db, ROWS).await;
        program.set("COPY", db.url());
        let [ask] = commands(INCIDENT, "The database, or a backup");
        program.script(&ask).expect(0).says(&["plaintext", "ENCRYPTION_KEY"]);
        let [leave] = commands(INCIDENT, "`ENCRYPTION_KEY`");
        let run = program.script(&leave).expect(0);
        assert!(!run.stdout.contains("ENCRYPTION_KEY"), "{}", run.stdout);
        let [foreign] = commands(INCIDENT, "IAM credentials");
        program.script(&foreign).expect(0).says(&["keyring:dk-"]);
        let sql = statements(INCIDENT, "Which tokens were opened", "");
        assert_eq!(db.rows(&sql[0]).await.len(), ROWS);
    }

    async fn an_emergency_rollback(db) {
        let mut program = Program::on(&db);
        fill(&db, ROWS).await;
        program.run(&["migrate"]).expect(0);
        let [rollback] = commands(ROLLBACK, "Steps");
        program.script(&rollback).expect(0);
        put(&program, "new", "in between").expect(0);
        program.unset("KMS_KEY_ID").unset("KMS_MASTER_KEY");
        assert_reveals(&program, "channel-003", "access 3");
        program.run(&["get", "--row", "provider=twitch,channel=new"]).expect(2).says(&["KMS_KEY_ID"]);
        program.set("KMS_KEY_ID", "keyring:keyring.json").set("KMS_MASTER_KEY", MASTER_KEY);
        program.run(&["rollback"]).expect(0);
        program.run(&["verify"]).expect(0);
        program.unset("KMS_KEY_ID").unset("KMS_MASTER_KEY");
        assert_reveals(&program, "new", "in between");
        assert_eq!(keys(&program), [("ENCRYPTION_KEY".to_owned(), 2 * ROWS as u64 + 1)]);
    }
}

#[test]
fn the_store_of_secrets_is_lost() {
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", MASTER_KEY).set("KMS_KEY_ID", "keyring:keyring.json");
    program.run(&["keyring", "init"]).expect(0);
    let secrets = "manage-secrets --source local:secrets.db";
    program.script(&format!("printf %s 'the password' | {secrets} set db/password")).expect(0);
    program.script(&format!("{secrets} backup secrets.backup")).expect(0);
    program.script("rm secrets.db* keyring.json*").expect(0);
    program.run(&["keyring", "init"]).expect(0);
    let [restore] = commands(RECOVERY, "The store of secrets is lost");
    program.script(&restore).expect(0);
    program.script(&format!("{secrets} get db/password --reveal")).expect(0).says(&["the password"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_rotated() {
    let mut program = Program::bare();
    with_aws(&mut program, &part!(moto));
    program.set("KMS_MASTER_KEY", MASTER_KEY).set("NEW", DIRECT_KEY);
    program.script("printf %s 'the first' | manage-secrets set jwt/secret").expect(0);
    let [rotate] = commands(SECRETS, "A secret that only we check (JWT signing keys, webhook secrets)");
    program.script(&rotate).expect(0);
    let [due] = commands(SECRETS, "Which secrets are due");
    program.script(&due).expect(0).says(&["jwt/secret"]);
    let previous = "manage-secrets get jwt/secret --version-stage AWSPREVIOUS --reveal";
    program.script(previous).expect(0).says(&["the first"]);
    program.script(&format!("{previous} | manage-secrets set jwt/secret")).expect(0);
    program.script("manage-secrets get jwt/secret --reveal").expect(0).says(&["the first"]);

    program
        .script("printf %s 'the password' | manage-secrets --source local:old.db set db/password")
        .expect(0);
    let [carry] = commands(SECRETS, "The keys that encrypt secrets");
    program.script(&carry).expect(0);
    program.set("KMS_MASTER_KEY", DIRECT_KEY);
    program
        .script("manage-secrets --source local:new.db get db/password --reveal")
        .expect(0)
        .says(&["the password"]);
}
