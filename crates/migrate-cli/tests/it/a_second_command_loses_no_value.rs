//! A value that is newer, or another program's, survives the command that comes after it.

use std::process::Stdio;

use serde_json::{Value, json};
use test_support::part;

use crate::support::place::{MASTER_KEY, Place, STRIP, count, read, stored, write};

/// A local store, Secrets Manager and KV of OpenBao.
async fn places() -> Option<Vec<Place>> {
    let (moto, bao) = (part!(moto, None), part!(openbao, None));
    Some(vec![Place::new(None), Place::new(Some(moto)), Place::on_openbao(&bao).await])
}

fn set(place: &Place, arguments: &[&str], value: &str) -> Value {
    let output = place.run(&[&["set"], arguments, &["--format", "json"]].concat(), value);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn rotate(place: &Place, name: &str, value: &str) {
    let output = place.run(&["rotate", name], value);
    assert!(output.status.success(), "{output:?}");
}

fn previous(place: &Place, name: &str) -> Value {
    place.json(&["get", name, "--reveal", "--version-stage", "AWSPREVIOUS"], 0)["value"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_rotations_of_a_field_at_once_each_is_there_or_has_failed_and_changed_nothing() {
    let Some(places) = places().await else { return };
    tokio::task::block_in_place(|| places.iter().for_each(rotate_fields_at_once));
}

fn rotate_fields_at_once(place: &Place) {
    const AT_ONCE: usize = 5;
    let field = |n: usize| format!("f{n}");
    let fields =
        |value: &str| (0..AT_ONCE).map(|n| (field(n), value.into())).collect::<serde_json::Map<_, _>>();
    let mut expected = Value::from(fields("old"));
    set(place, &["db"], &expected.to_string());
    let mut succeeded = 0;
    for round in 0..3 {
        let children: Vec<_> = (0..AT_ONCE)
            .map(|n| {
                let mut command = place.command(&["rotate", "db", "--field", &field(n)]);
                let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
                let new = format!("new {round} {n}");
                std::io::Write::write_all(&mut child.stdin.take().unwrap(), new.as_bytes()).unwrap();
                (n, new, child)
            })
            .collect();
        for (n, new, child) in children {
            let output = child.wait_with_output().unwrap();
            match output.status.code() {
                Some(0) => {
                    expected[field(n)] = new.into();
                    succeeded += 1;
                }
                Some(3) => {
                    assert!(String::from_utf8_lossy(&output.stderr).contains("another writer"), "{output:?}")
                }
                _ => panic!("{:?}: {output:?}", place.source()),
            }
        }
        let there: Value = serde_json::from_str(&stored(place, "db").unwrap()).unwrap();
        assert_eq!(there, expected, "{:?}", place.source());
    }
    assert!(succeeded >= 3, "one of each round is the first");
    let listed = place.json(&["list"], 0);
    assert!(!listed.to_string().contains("tokenseal-"), "no label is left: {listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_value_again_makes_no_version_and_leaves_the_previous_one() {
    let Some(places) = places().await else { return };
    tokio::task::block_in_place(|| {
        for place in &places {
            assert_eq!(set(place, &["a"], "one")["unchanged"], false);
            rotate(place, "a", "two");
            let before = place.json(&["get", "a"], 0)["version"].clone();
            for arguments in [&["a"][..], &["a", "--tag", "team=red"]] {
                let again = set(place, arguments, "two");
                assert_eq!((&again["unchanged"], &again["version"]), (&true.into(), &before), "{again}");
            }
            assert_eq!(previous(place, "a"), "one", "{:?}", place.source());
            let listed = place.json(&["list", "--tag", "team=red"], 0);
            assert_eq!(count(&listed, "secrets"), 1, "{listed}");
        }
        let expiring = set(&places[0], &["a", "--ttl-days", "3"], "two");
        assert_eq!(expiring["unchanged"], true);
        assert!(places[0].json(&["get", "a"], 0)["expires"].is_string());
        assert_eq!(previous(&places[0], "a"), "one");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_over_a_newer_value_leaves_it_as_the_previous_one() {
    let Some(places) = places().await else { return };
    tokio::task::block_in_place(|| {
        for place in &places {
            set(place, &["k"], "A");
            rotate(place, "k", "B");
            place.json(&["backup", "saved"], 0);
            rotate(place, "k", "C");
            let report = place.json(&["restore", "saved"], 0);
            assert_eq!((&report["changed"], &report["versions"]), (&json!(["k"]), &1.into()), "{report}");
            assert_eq!((stored(place, "k").as_deref(), previous(place, "k")), (Some("B"), "C".into()));
            let again = place.json(&["restore", "saved"], 0);
            assert_eq!((&again["versions"], &again["unchanged"]), (&0.into(), &1.into()), "{again}");
            assert_eq!(previous(place, "k"), "C");
        }
    });
}

/// A store whose keyring has the keys of the old service, and two values that it sealed.
fn from_node(place: &Place) -> [(Value, String); 2] {
    let vectors = test_support::vectors::of(test_support::vectors::StoredFormat::NodeJson);
    let vectors: Vec<_> = vectors.into_iter().filter(|vector| !vector.plaintext.is_empty()).collect();
    let keys: Vec<Value> = vectors
        .iter()
        .enumerate()
        .map(|(n, v)| json!({ "id": v.data_key_id, "key": v.data_key, "isActive": n == 0 }))
        .collect();
    std::fs::write(place.path().join("keys.json"), json!({ "keys": keys }).to_string()).unwrap();
    set(place, &["first"], "makes store and keyring");
    let imported = std::process::Command::new(env!("CARGO_BIN_EXE_migrate-tokens"))
        .current_dir(place.path())
        .env("KMS_MASTER_KEY", MASTER_KEY)
        .env("KMS_KEY_ID", "keyring:store.db.keyring")
        .args(["keyring", "import", "keys.json"])
        .output()
        .unwrap();
    assert!(imported.status.success(), "{imported:?}");
    let other = vectors.iter().find(|vector| vector.plaintext != vectors[0].plaintext).unwrap();
    [&vectors[0], other].map(|vector| {
        (json!({ "name": "wallet", "envelope": vector.stored, "aad": vector.aad }), vector.plaintext.clone())
    })
}

#[test]
fn an_import_of_node_values_that_is_repeated_undoes_no_rotation() {
    let place = Place::new(None);
    let [(one, plaintext), (other, _)] = from_node(&place);
    let import = |entries: &[&Value], more: &[&str], code: i32| {
        std::fs::write(place.path().join("secrets.json"), json!(entries).to_string()).unwrap();
        place.json(&[&["import-node", "secrets.json"], more].concat(), code)
    };
    assert_eq!(import(&[&one], &[], 0)["imported"], json!(["wallet"]));
    let again = import(&[&one], &[], 0);
    assert_eq!((count(&again, "imported"), &again["unchanged"]), (0, &json!(["wallet"])));
    rotate(&place, "wallet", "rotated");
    for _ in 0..2 {
        let refused = import(&[&one], &[], 3);
        let failure = &refused["failures"][0];
        assert_eq!(
            (&failure["name"], &failure["class"]),
            (&"wallet".into(), &"conflict".into()),
            "{refused}"
        );
        assert!(failure["error"].as_str().unwrap().contains("--overwrite"), "{refused}");
    }
    assert_eq!(stored(&place, "wallet").as_deref(), Some("rotated"));
    assert_eq!(previous(&place, "wallet"), plaintext.as_str());
    import(&[&one], &["--overwrite"], 0);
    assert_eq!(
        (stored(&place, "wallet"), previous(&place, "wallet")),
        (Some(plaintext.clone()), "rotated".into())
    );
    for more in [&[][..], &["--overwrite"]] {
        let twice = import(&[&one, &one, &other], more, 3);
        assert_eq!((count(&twice, "unchanged"), count(&twice, "failures")), (2, 1), "{twice}");
        assert!(twice["failures"][0]["error"].as_str().unwrap().contains("twice"), "{twice}");
        assert_eq!(stored(&place, "wallet"), Some(plaintext.clone()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_other_programs_read_stay_fields() {
    let bao = part!(openbao);
    let place = Place::on_openbao(&bao).await;
    let path = format!("{}/db", place.source()[1].trim_start_matches("vault:").replacen('/', "/data/", 1));
    let fields = |password: &str| json!({ "user": "u1", "password": password, "n": 5 });
    bao.call("POST", &path, json!({ "data": fields("p1") })).await;
    let run = |arguments: &[&str], input: &str| {
        let output = tokio::task::block_in_place(|| place.run(arguments, input));
        assert!(output.status.success(), "{output:?}");
    };
    run(&["rotate", "db", "--field", "password"], "p2");
    assert_eq!(bao.call("GET", &path, Value::Null).await["data"], fields("p2"));
    run(&["rotate", "db"], &fields("p3").to_string());
    assert_eq!(bao.call("GET", &path, Value::Null).await["data"], fields("p3"));
    // In another order than the server's, and with blanks: the same members.
    write(&place, "db='{\"user\": \"u1\", \"password\": \"p4\", \"n\": 5}'\n");
    let overwritten = tokio::task::block_in_place(|| place.json(&[&STRIP[..], &["--overwrite"]].concat(), 0));
    assert_eq!(
        (count(&overwritten, "updated"), &overwritten["stripped"]),
        (1, &true.into()),
        "{overwritten}"
    );
    assert_eq!(bao.call("GET", &path, Value::Null).await["data"], fields("p4"));
    // The server also rewrites blanks and escapes inside members.
    let nested = "{\"user\": \"u1\", \"opts\": {\"url\": \"x?a=1&b=<2>\", \"list\": [1, 2]}}";
    write(&place, &format!("db='{nested}'\n"));
    let overwritten = tokio::task::block_in_place(|| place.json(&[&STRIP[..], &["--overwrite"]].concat(), 0));
    assert_eq!(
        (count(&overwritten, "updated"), &overwritten["stripped"]),
        (1, &true.into()),
        "{overwritten}"
    );
    let stored: Value = serde_json::from_str(nested).unwrap();
    let read = bao.call("GET", &path, Value::Null).await;
    assert_eq!(read["data"], stored);
    run(&["set", "db"], "{\"opts\": {\"list\": [1,2], \"url\": \"x?a=1&b=<2>\"}, \"user\": \"u1\"}");
    let again = bao.call("GET", &path, Value::Null).await;
    assert_eq!(
        again["metadata"]["version"], read["metadata"]["version"],
        "the same members make no new version"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_value_does_not_flatten_a_json_secret_by_an_import() {
    let Some(places) = places().await else { return };
    tokio::task::block_in_place(|| {
        for place in &places {
            let value = "{\"password\":\"p1\",\"user\":\"u1\"}";
            set(place, &["db"], value);
            write(place, "db=plain1234\n");
            let report = place.json(&[&STRIP[..], &["--overwrite"]].concat(), 3);
            assert_eq!(
                (&report["conflicts"], &report["stripped"]),
                (&json!(["db"]), &false.into()),
                "{report}"
            );
            assert!(report["warnings"][0].as_str().unwrap().contains("JSON"), "{report}");
            assert_eq!(
                (read(place).as_str(), stored(place, "db").as_deref()),
                ("db=plain1234\n", Some(value))
            );
        }
    });
}
