//! After any import, each value is in the file or comes back from the source, exactly.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use test_support::part;
use tokio::task::block_in_place;

use crate::support::place::{MASTER_KEY, Place, STRIP, count, read, stored, write};

fn names(report: &Value, list: &str) -> Vec<String> {
    report[list]
        .as_array()
        .unwrap()
        .iter()
        .map(|listed| listed["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_opens_the_store_is_neither_moved_nor_stripped() {
    let place = Place::new(None);
    let kept = format!(
        "KMS_MASTER_KEY={MASTER_KEY}\nKMS_KEY_ID=keyring:store.db.keyring\nKMS_MASTER_KEY_FILE=/run/key\nOTHER_NAME='{MASTER_KEY}'\n"
    );
    write(&place, &format!("{kept}DB_PASSWORD=canary-1\nAWS_SECRET_ACCESS_KEY=canary-2\n"));
    let report = place.json(&STRIP, 0);
    assert_eq!(names(&report, "kept"), ["KMS_MASTER_KEY", "KMS_KEY_ID", "KMS_MASTER_KEY_FILE", "OTHER_NAME"]);
    assert!(report["kept"][0]["reason"].as_str().unwrap().contains("opens local:store.db"), "{report}");
    assert!(!report.to_string().contains(MASTER_KEY));
    assert_eq!(read(&place), format!("{kept}DB_PASSWORD=\nAWS_SECRET_ACCESS_KEY=\n"));
    assert_eq!(stored(&place, "KMS_MASTER_KEY"), None);
    assert_eq!(stored(&place, "OTHER_NAME"), None);
    assert_eq!(stored(&place, "DB_PASSWORD").unwrap(), "canary-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opens_secrets_manager_is_neither_moved_nor_stripped() {
    let moto = test_support::part!(moto);
    block_in_place(|| {
        let place = Place::new(Some(moto));
        let kept = "AWS_ACCESS_KEY_ID=canary-1\nAWS_SECRET_ACCESS_KEY=canary-2\nAWS_REGION=eu-west-1\n";
        write(&place, &format!("{kept}DB_PASSWORD=canary-3\n"));
        let report = place.json(&STRIP, 0);
        assert_eq!(count(&report, "kept"), 3);
        assert_eq!(read(&place), format!("{kept}DB_PASSWORD=\n"));
        assert_eq!(stored(&place, "AWS_SECRET_ACCESS_KEY"), None);
    });
}

#[test]
fn a_doubtful_value_keeps_the_file_and_is_named_with_its_line() {
    let lines = [
        "iH4>hb_d0#_GN8d]6",
        "{\"a\": \"x # y\"}",
        "a # b",
        "#abc",
        "it's",
        "a\"b",
        "{\"a\": 1",
        "f(x",
        "${HOME}/x",
        "\"${HOME}/x\"",
        "$(cat /run/secret)",
        "a\\$b",
        "\"a\\$b\"",
        "'it\\'s'",
        "\"open",
        "'open",
        "\"closed\" more",
        "\"closed\"#more",
        "\"a\\x41\"",
        "ends\\",
        "\u{a0}space",
        "bell\u{7}",
    ];
    for value in lines {
        let place = Place::new(None);
        let text = format!("# keep\nFIRST=canary-1\nDOUBT={value}\n");
        write(&place, &text);
        let report = place.json(&STRIP, 3);
        assert_eq!(read(&place), text, "{value}");
        let listed = &report["doubtful"][0];
        assert_eq!((&listed["name"], &listed["line"]), (&"DOUBT".into(), &3.into()), "{value}: {report}");
        assert!(!listed["reason"].as_str().unwrap().is_empty());
        assert_eq!(stored(&place, "DOUBT"), None, "{value}");
        assert_eq!(stored(&place, "FIRST").unwrap(), "canary-1");
        assert_eq!(
            place.json(&["import", ".env", "--dry-run"], 3)["doubtful"],
            report["doubtful"],
            "{value}"
        );
    }
}

#[test]
fn everything_but_the_values_is_kept_to_the_byte() {
    let place = Place::new(None);
    let before = "\u{feff}# first\r\n\r\nexport A = 'canary one'  # why\r\nB=\"canary\ntwo\"\r\n  C=canary three \r\n#D=old\r\nE=\n\
                  F=`canary four` # x\rG='canary five'\nH=pa$$w0rd=\tend";
    let after =
        "\u{feff}# first\r\n\r\nexport A = ''  # why\r\nB=\"\"\r\n  C= \r\n#D=old\r\nE=\nF=`` # x\rG=''\nH=";
    write(&place, before);
    let report = place.json(&STRIP, 0);
    assert_eq!((report["stripped"].as_bool(), read(&place).as_str()), (Some(true), after));
    for (name, value) in [
        ("A", "canary one"),
        ("B", "canary\ntwo"),
        ("C", "canary three"),
        ("F", "canary four"),
        ("G", "canary five"),
        ("H", "pa$$w0rd=\tend"),
    ] {
        assert_eq!(stored(&place, name).unwrap(), value, "{name}");
    }
    assert_eq!(place.json(&STRIP, 0)["stripped"], false, "nothing is left to take out");
    assert_eq!(read(&place), after);
}

#[test]
fn names_and_except_choose_what_moves() {
    let place = Place::new(None);
    let text = "A=canary-1\nB=canary-2\nC=x#y\n";
    write(&place, text);
    assert_eq!(place.json(&[&STRIP[..], &["--names", "A"]].concat(), 0)["stripped"], true);
    assert_eq!(read(&place), "A=\nB=canary-2\nC=x#y\n");
    assert_eq!(place.json(&[&STRIP[..], &["--except", "A,C"]].concat(), 0)["stripped"], true);
    assert_eq!(read(&place), "A=\nB=\nC=x#y\n");
    for unknown in [["--names", "NOTHING"], ["--except", "b"]] {
        place.json(&[&STRIP[..], &unknown].concat(), 2);
    }
    assert_eq!(stored(&place, "C"), None);
}

#[test]
fn links_are_followed_and_the_real_file_keeps_its_permissions() {
    let place = Place::new(None);
    fs::create_dir(place.path().join("real")).unwrap();
    let real = place.path().join("real/settings");
    fs::write(&real, "A=canary-1 \n# note\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real/settings", place.path().join(".env")).unwrap();
    // A link that an attacker planted where a temporary file could be.
    let victim = place.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, place.path().join(".env.part")).unwrap();
    symlink(&victim, place.path().join("real/settings.part")).unwrap();
    assert_eq!(place.json(&STRIP, 0)["stripped"], true);
    assert!(place.path().join(".env").symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), "A= \n# note\n");
    assert_eq!(real.metadata().unwrap().mode() & 0o777, 0o640);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn hard_links_are_warned_of() {
    let place = Place::new(None);
    write(&place, "A=canary-1\n");
    fs::hard_link(place.path().join(".env"), place.path().join("other")).unwrap();
    let report = place.json(&STRIP, 0);
    assert!(report["warnings"][0].as_str().unwrap().contains("2 hard links"), "{report}");
    assert_eq!(stored(&place, "A").unwrap(), "canary-1");
}

#[test]
fn what_is_not_a_regular_file_is_refused_before_anything_is_stored() {
    let place = Place::new(None);
    let fifo = place.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fs::create_dir(place.path().join("directory")).unwrap();
    symlink("nothing", place.path().join("dangling")).unwrap();
    for path in ["fifo", "/dev/null", "directory", "dangling", "missing"] {
        place.json(&["import", path, "--strip"], 2);
        assert!(!place.path().join("store.db").exists() || count(&place.json(&["list"], 0), "secrets") == 0);
    }
    assert!(fifo.metadata().unwrap().file_type() != fs::metadata(place.path()).unwrap().file_type());
    assert!(Path::new("/dev/null").metadata().unwrap().rdev() != 0, "the device is still a device");
}

#[test]
fn a_spelling_that_is_in_the_source_is_the_same_secret() {
    let place = Place::new(None);
    for (name, value) in [("database-url", "canary-1"), ("db/password", "canary-2"), ("api-key", "canary-3")]
    {
        assert!(place.run(&["set", name], value).status.success());
    }
    write(&place, "DATABASE_URL=canary-1\nDB_PASSWORD=canary-2\nAPI_KEY=another\n");
    let report = place.json(&STRIP, 3);
    assert_eq!(report["conflicts"], serde_json::json!(["API_KEY"]));
    assert_eq!(report["unchanged"], serde_json::json!(["DATABASE_URL", "DB_PASSWORD"]));
    assert_eq!(report["matched"]["DATABASE_URL"], "database-url");
    assert_eq!(count(&place.json(&["list"], 0), "secrets"), 3, "no second secret was made");
    let child = place.run(&["exec", "--", "sh", "-c", "echo $DATABASE_URL $DB_PASSWORD $API_KEY"], "");
    assert_eq!(String::from_utf8(child.stdout).unwrap(), "canary-1 canary-2 canary-3\n");
    assert_eq!(place.json(&["import", ".env", "--overwrite", "--strip"], 0)["stripped"], true);
    assert_eq!(stored(&place, "api-key").unwrap(), "another");
}

#[test]
fn of_variables_that_differ_in_case_one_is_the_secret_with_another_spelling() {
    let place = Place::new(None);
    assert!(place.run(&["set", "http-proxy"], "canary-1").status.success());
    write(&place, "http_proxy=canary-1\nHTTP_PROXY=canary-1\nNo_Proxy=canary-2\n");
    assert_eq!(place.json(&STRIP, 0)["matched"], json!({ "HTTP_PROXY": "http-proxy" }));
    let script = "echo $http_proxy $HTTP_PROXY $No_Proxy";
    let child = place.run(&["exec", "--", "sh", "-c", script], "");
    assert_eq!(String::from_utf8(child.stdout).unwrap(), "canary-1 canary-1 canary-2\n");
}

#[test]
fn two_spellings_in_one_file_never_overwrite_each_other() {
    let place = Place::new(None);
    let text = "db-url=canary-1\nDB_URL=canary-2\n";
    write(&place, text);
    assert_eq!(
        place.json(&["import", ".env", "--strip", "--overwrite"], 3)["conflicts"],
        serde_json::json!(["DB_URL"])
    );
    assert_eq!(read(&place), text);
    assert_eq!(stored(&place, "db-url").unwrap(), "canary-1");
}

#[test]
fn ten_thousand_lines_take_a_time_that_grows_with_their_number() {
    let place = Place::new(None);
    write(&place, &(0..10_000).map(|n| format!("A{n}=canary-{n}\n")).collect::<String>());
    assert_eq!(count(&place.json(&STRIP, 0), "created"), 10_000);
    assert_eq!(stored(&place, "A9999").unwrap(), "canary-9999");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_of_another_text_counts_as_moved_only_where_the_source_keeps_its_members() {
    let bao = part!(openbao);
    let places = [Place::new(None), Place::on_openbao(&bao).await];
    let text = "DB='{\"a\": 2, \"b\":1}'\n";
    block_in_place(|| {
        for place in &places {
            assert!(place.run(&["set", "DB"], "{\"b\":1,\"a\":2}").status.success());
            write(place, text);
            let report = place.json(&STRIP, 3);
            assert_eq!(report["conflicts"], json!(["DB"]), "{report}");
            assert_eq!(read(place), text, "the text is nowhere else");
            assert_eq!(stored(place, "DB").unwrap(), "{\"b\":1,\"a\":2}");
        }
    });
    let fields = &places[1];
    let path = fields.source()[1].trim_start_matches("vault:").replacen("/app", "/data/app/DB", 1);
    bao.call("POST", &path, json!({ "data": { "b": 1, "a": 2 } })).await;
    block_in_place(|| {
        let report = fields.json(&STRIP, 0);
        assert_eq!((&report["unchanged"], &report["stripped"]), (&json!(["DB"]), &json!(true)));
    });
    let read = bao.call("GET", &path, Value::Null).await;
    assert_eq!((&read["data"], &read["metadata"]["version"]), (&json!({ "b": 1, "a": 2 }), &json!(2)));
}
