//! Values move from the keyring to AWS KMS, to OpenBao and back in one command each, whenever a run is killed; none is lost.

use std::time::Duration;

use envelope_core::format::direct_aes;
use rand::RngExt as _;
use serde_json::{Value, json};
use test_support::moto::Moto;
use test_support::openbao::{OpenBao, ROOT_TOKEN};
use test_support::part;

use crate::support::{DIRECT_KEY, MASTER_KEY, Program, Sql, create_vod_tender, direct_key, key_in, stored};

/// Values that are moved, unless `TOKENSEAL_TEST_MOVED_VALUES` says so. Each costs two calls to an emulator.
const VALUES: usize = 400;

pub(crate) fn everywhere(db: &Sql, moto: &Moto, bao: &OpenBao) -> Program {
    let mut program = Program::bare();
    program
        .set("DATABASE_URL", db.url())
        .set("ENCRYPTION_KEY", DIRECT_KEY)
        .set("KMS_MASTER_KEY", MASTER_KEY)
        .set("KMS_KEY_ID", "keyring:keyring.json")
        .set("VAULT_ADDR", bao.address())
        .set("VAULT_TOKEN", ROOT_TOKEN)
        .set("AWS_ENDPOINT_URL", moto.endpoint())
        .set("AWS_REGION", "eu-west-1")
        .set("AWS_ACCESS_KEY_ID", "testing")
        .set("AWS_SECRET_ACCESS_KEY", "testing");
    program.run(&["keyring", "init"]).expect(0);
    program
}

async fn insert(db: &Sql, rows: usize) {
    create_vod_tender(db).await;
    db.execute("ALTER TABLE oauth_tokens ADD COLUMN encryption_method TEXT").await;
    for chunk in (0..rows).collect::<Vec<_>>().chunks(500) {
        let row = |n: &usize| format!("('twitch', 'channel-{n:05}', 'access {n}', 'refresh {n}', 0)");
        let rows: Vec<String> = chunk.iter().map(row).collect();
        db.execute(&format!(
            "INSERT INTO oauth_tokens (provider, channel, access_token, refresh_token, encryption_version) VALUES {}",
            rows.join(", ")
        ))
        .await;
    }
}

/// Moves everything under a key; every so often the run is killed and begun again.
fn move_to(program: &mut Program, key: &str, rows: usize) -> Value {
    let args = ["rewrap", "--to", key, "--batch-size", "50", "--no-progress"];
    for _ in 0..3 {
        let mut child = program.spawn(&args);
        std::thread::sleep(Duration::from_millis(rand::rng().random_range(20..1_500)));
        let _ = child.kill();
        let _ = child.wait();
        // Whatever was moved by then, every value opens while both services are named.
        program.set("KMS_ALLOWED_KEYS", key);
        assert_eq!(program.json(0, &["verify", "--sample", "20"])["failed"], 0);
        program.unset("KMS_ALLOWED_KEYS");
    }
    let report = program.json(0, &args);
    assert_eq!((&report["failed"], &report["left"]), (&json!(0), &json!(0)));
    // The runs that were killed may have moved everything.
    assert_eq!(report["opened"], report["rewrapped"] != 0, "{report}");
    let moved = report["rewrapped"].as_u64().unwrap() + report["already"].as_u64().unwrap();
    assert_eq!(moved, rows as u64, "{report}");
    program.set("KMS_KEY_ID", key);
    let again = program.json(0, &["rewrap", "--to", key]);
    assert_eq!((&again["rewrapped"], &again["opened"]), (&json!(0), &json!(false)));
    report
}

/// Every token that the table held at first, in direct AES again.
async fn assert_nothing_is_lost(db: &Sql, program: &Program, rows: usize) {
    assert_eq!(program.json(0, &["rollback"])["migrated"], rows);
    let found = stored(db).await;
    assert_eq!(found.len(), rows);
    for (n, row) in found.iter().enumerate() {
        let open = |text: &Option<String>| {
            let opened = direct_aes::open(&direct_key(), text.as_deref().unwrap()).unwrap();
            secrecy::ExposeSecret::expose_secret(&opened).to_owned()
        };
        assert_eq!((open(&row[2]), open(&row[3])), (format!("access {n}"), format!("refresh {n}")));
    }
}

async fn there_and_back(db: Sql, moto: Moto, bao: OpenBao, values: usize) {
    let rows = values / 2;
    insert(&db, rows).await;
    let mut program = everywhere(&db, &moto, &bao);
    program.run(&["migrate", "--no-progress"]).expect(0);
    let aws = key_in(&moto, "eu-west-1").await;
    let vault = format!("vault:{}/tokens", bao.transit().await);
    for key in [aws.as_str(), &vault, "keyring:keyring.json"] {
        move_to(&mut program, key, rows);
        let status = program.json(0, &["status", "--keys"]);
        assert_eq!(status["keys"].as_array().unwrap().len(), 1, "{status}");
        assert_eq!(program.json(0, &["verify"])["ok"], values);
    }
    // The other three directions.
    for key in [vault.as_str(), &aws, "keyring:keyring.json"] {
        move_to(&mut program, key, rows);
    }
    assert_nothing_is_lost(&db, &program, rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_no_value_is_lost_between_keyring_aws_and_openbao() {
    let values = std::env::var("TOKENSEAL_TEST_MOVED_VALUES").map_or(VALUES, |text| text.parse().unwrap());
    let (moto, bao) = (part!(moto), part!(openbao));
    there_and_back(Sql::postgres(part!(postgres)).await, moto, bao, values).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_move_between_two_keyrings_and_are_read_from_both_meanwhile() {
    let db = Sql::sqlite().await;
    insert(&db, 10).await;
    let mut program = Program::on(&db);
    program.run(&["migrate"]).expect(0);
    program.set("KMS_KEY_ID", "keyring:second.json").run(&["keyring", "init"]).expect(0);
    program.set("KMS_KEY_ID", "keyring:keyring.json");
    let rewrap = ["rewrap", "--to", "keyring:second.json"];
    let dry = program.json(0, &[&rewrap[..], &["--dry-run"]].concat());
    assert_eq!((&dry["rewrapped"], &dry["opened"]), (&json!(10), &json!(true)));
    let some = program.json(0, &[&rewrap[..], &["--limit", "4"]].concat());
    assert_eq!((&some["rewrapped"], &some["left"]), (&json!(4), &json!(6)));
    program.run(&["verify"]).expect(4);
    program.set("KMS_ALLOWED_KEYS", "keyring:second.json").run(&["verify"]).expect(0);
    program.run(&[&rewrap[..], &["--format", "human"]].concat()).expect(0).says(&["opened and sealed again"]);
    program.unset("KMS_ALLOWED_KEYS").set("KMS_KEY_ID", "keyring:second.json").run(&["verify"]).expect(0);
    assert_nothing_is_lost(&db, &program, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrap_that_leaves_rows_under_other_keys_exits_3() {
    let db = Sql::sqlite().await;
    insert(&db, 3).await;
    let program = Program::on(&db);
    program.run(&["migrate"]).expect(0);
    program.run(&["keyring", "rotate"]).expect(0);
    // A row that says it is sealed under another key and holds nothing that could be wrapped.
    db.execute(
        "UPDATE oauth_tokens SET access_token = 'x', refresh_token = 'y', encryption_key_id = 'keyring:gone' \
         WHERE channel = 'channel-00001'",
    )
    .await;
    let rewrap = ["rewrap", "--to", "keyring:keyring.json"];
    let limited = program.json(0, &[&rewrap[..], &["--limit", "1"]].concat());
    assert_eq!(limited["left"], 2);
    let report = program.json(3, &rewrap);
    assert_eq!((&report["failed"], &report["left"]), (&json!(1), &json!(1)), "{report}");
    assert!(report["failures"][0]["row"].as_str().unwrap().contains("channel-00001"), "{report}");
}

/// `--from` in every way to spell a key: each moves what is under it, and a text that names no key moves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_former_key_is_found_by_every_name_that_it_has() {
    let moto = part!(moto);
    let (old, new) = (key_in(&moto, "us-east-1").await, key_in(&moto, "us-east-1").await);
    let id = old.rsplit('/').next().unwrap().to_owned();
    let alias = format!("alias/former-{id}");
    let kms = aws_sdk_kms::Client::new(&moto.sdk_config("us-east-1"));
    kms.create_alias().alias_name(&alias).target_key_id(&old).send().await.unwrap();
    for from in [&old, &id, &alias] {
        let db = Sql::sqlite().await;
        insert(&db, 3).await;
        let mut program = Program::on_aws(&db, moto.endpoint(), &old);
        program.run(&["migrate"]).expect(0);
        program.set("KMS_KEY_ID", &new).set("KMS_ALLOWED_KEYS", &old);
        let rewrap = ["rewrap", "--to", new.as_str(), "--from", from];
        let dry = program.json(0, &[&rewrap[..], &["--dry-run"]].concat());
        assert_eq!((&dry["rewrapped"], &dry["opened"]), (&json!(3), &json!(false)), "{from}");
        assert_eq!(program.json(0, &rewrap)["rewrapped"], 3, "{from}");
        assert_eq!(program.json(0, &rewrap)["rewrapped"], 0, "{from}");
        let unknown = program.run(&["rewrap", "--to", &new, "--from", "alias/never-made"]);
        assert_ne!(unknown.code, Some(0), "{unknown:?}");
    }
    // An alias that was given the new key already, and a key that no row names.
    kms.update_alias().alias_name(&alias).target_key_id(&new).send().await.unwrap();
    let db = Sql::sqlite().await;
    insert(&db, 3).await;
    let mut program = Program::on_aws(&db, moto.endpoint(), &old);
    program.run(&["migrate"]).expect(0);
    program.set("KMS_KEY_ID", &new).set("KMS_ALLOWED_KEYS", &old);
    let rewrap = |from| ["rewrap", "--to", new.as_str(), "--from", from];
    program.run(&rewrap(&alias)).expect(2).says(&["--from and --to name one key"]);
    let stranger = old.replace("key/", "key/0");
    program.run(&rewrap(&stranger)).expect(0).says(&["no row names the key of --from"]);

    let db = Sql::sqlite().await;
    insert(&db, 3).await;
    let mut program = Program::on(&db);
    program.run(&["migrate"]).expect(0);
    program.run(&["keyring", "rotate"]).expect(0);
    program.set("KMS_KEY_ID", "keyring:second.json").run(&["keyring", "init"]).expect(0);
    let rewrap = |from| ["rewrap", "--to", "keyring:second.json", "--from", from];
    program.run(&rewrap("keyring:typo")).expect(2).says(&["--from"]);
    let dry = program.json(0, &[&rewrap("keyring:keyring.json")[..], &["--dry-run"]].concat());
    assert_eq!((&dry["rewrapped"], &dry["opened"]), (&json!(3), &json!(true)), "{dry}");
    let report = program.json(0, &rewrap("keyring:keyring.json"));
    assert_eq!(
        (&report["rewrapped"], &report["opened"], &report["left"]),
        (&json!(3), &json!(true), &json!(0))
    );
    program.run(&["verify"]).expect(0);
    assert_eq!(program.json(0, &rewrap("keyring:keyring.json"))["rewrapped"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyring_that_is_spelt_in_another_way_is_the_same_one() {
    let db = Sql::sqlite().await;
    insert(&db, 3).await;
    let program = Program::on(&db);
    program.run(&["migrate"]).expect(0);
    program.run(&["keyring", "rotate"]).expect(0);
    std::os::unix::fs::symlink("keyring.json", program.path().join("link.json")).unwrap();
    let absolute = format!("keyring:{}", program.path().join("keyring.json").display());
    for key in ["keyring:./keyring.json", "keyring:link.json", &absolute, "keyring:keyring.json"] {
        let report = program.json(0, &["rewrap", "--to", key, "--dry-run"]);
        assert_eq!((&report["rewrapped"], &report["opened"]), (&json!(3), &json!(false)), "{key}: {report}");
    }
    let report = program.json(0, &["rewrap", "--to", "keyring:./keyring.json"]);
    assert_eq!(
        (&report["rewrapped"], &report["opened"], &report["left"]),
        (&json!(3), &json!(false), &json!(0))
    );
    let again = program.json(0, &["rewrap", "--to", &absolute]);
    assert_eq!((&again["rewrapped"], &again["already"]), (&json!(0), &json!(3)), "{again}");
    assert_nothing_is_lost(&db, &program, 3).await;
}
