//! Text of a value is not taken for a name, no argument is repeated, and what opens the store stays in the file.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::place::{MASTER_KEY, Place, STRIP, count, read, stored, write};

const BEGIN: &str = concat!("-----BEGIN ", "PRIVATE KEY-----");
const BODY: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n";

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

fn names(report: &Value) -> Vec<(Option<&str>, u64)> {
    let listed = report["doubtful"].as_array().unwrap().iter();
    listed.map(|line| (line["name"].as_str(), line["line"].as_u64().unwrap())).collect()
}

#[test]
fn lines_of_a_private_key_are_no_names() {
    for end in
        ["TAILOFPRIVATEKEYabcdef0123456789w==", "TAILOFPRIVATEKEYabcdef0123456789w=", "TAILOFw=", "TAILOF"]
    {
        let key = format!("KEY={BEGIN}\n{BODY}{end}\n-----END PRIVATE KEY-----\nZZQ=abc12345\n");
        let encrypted = key.replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1);
        let unclosed = key.replacen("KEY=-", "KEY=\"-", 1);
        for (text_of_file, expected) in [
            (&key, vec![(Some("KEY"), 1), (None, 2), (None, 3), (None, 4)]),
            (&encrypted, vec![(Some("KEY"), 1), (None, 2), (None, 3), (None, 5), (None, 6), (None, 7)]),
            (&key.replace('\n', "\r\n"), vec![(Some("KEY"), 1), (None, 2), (None, 3), (None, 4)]),
        ] {
            let place = Place::new(None);
            write(&place, text_of_file);
            let report = place.json(&["import", ".env"], 3);
            assert_eq!((&report["created"], names(&report)), (&json!(["ZZQ"]), expected), "{report}");
            let output = place.run(&["import", ".env", "--strip", "--log-level", "trace"], "");
            let shown = format!("{report}{}{}", text(&output), place.json(&["list"], 0));
            assert!(!shown.contains("TAILOF") && !shown.contains("MIIEv"), "{shown}");
            assert_eq!(read(&place), *text_of_file, "nothing is taken out while a line is in doubt");
        }
        let place = Place::new(None);
        write(&place, &unclosed);
        let output = place.run(&["import", ".env", "--log-level", "trace"], "");
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(!text(&output).contains("TAILOF") && !text(&output).contains("ZZQ"), "{output:?}");
        std::fs::write(
            place.path().join("server.key"),
            key.trim_start_matches("KEY=").replace("ZZQ=abc12345\n", ""),
        )
        .unwrap();
        let output = place.run(&["import", "server.key", "--strip"], "");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!text(&output).contains("TAILOF"), "{output:?}");
    }
}

#[test]
fn the_end_of_base64_text_is_no_name() {
    let place = Place::new(None);
    let end = "TAILOFcertificate0123w";
    for text_of_file in [
        format!("A=canary12\n{BODY}{end}=\n"),
        format!("A=canary12\n{BODY}{end}==\n"),
        format!("A=canary12\n{end}=\n"),
        format!("A=canary12\n{end}==\n"),
        format!("A=canary12\n{BODY}TAILOF=\n"),
    ] {
        write(&place, &text_of_file);
        let output = place.run(&["import", ".env", "--log-level", "trace"], "");
        assert!(!text(&output).contains("TAILOF") && text(&output).contains('A'), "{output:?}");
        assert!(!place.json(&["list"], 0).to_string().contains("TAILOF"));
    }
    // A name of several words is shown.
    write(&place, "googleOauth2_Key=\nEMPTY=\n");
    assert_eq!(place.json(&["import", ".env"], 0)["empty"], json!(["googleOauth2_Key", "EMPTY"]));
}

#[test]
fn only_the_line_that_was_moved_is_emptied() {
    let place = Place::new(None);
    write(&place, &format!("MYKEY={MASTER_KEY}\nMYKEY=hunter2222\nB=canary12\n"));
    let report = place.json(&STRIP, 0);
    assert_eq!((count(&report, "kept"), &report["stripped"]), (1, &true.into()), "{report}");
    assert_eq!(read(&place), format!("MYKEY={MASTER_KEY}\nMYKEY=\nB=\n"));
    assert_eq!(stored(&place, "MYKEY").as_deref(), Some("hunter2222"));

    let reversed = format!("MYKEY=hunter3333\nMYKEY={MASTER_KEY}\n");
    write(&place, &reversed);
    place.json(&STRIP, 3);
    assert_eq!(read(&place), reversed);
}

#[test]
fn the_master_key_stays_in_the_file_in_whatever_notation() {
    let bare = MASTER_KEY.trim_end_matches('=');
    let hex = "07".repeat(32);
    for line in [
        format!("MK={MASTER_KEY}"),
        format!("MK='{MASTER_KEY}'"),
        format!("MK={bare}"),
        format!("MK={hex}"),
        format!("CFG='{{\"key\":\"{MASTER_KEY}\",\"other\":1}}'"),
        format!("CFG='{{\"key\":\"{bare}\"}}'"),
        format!("CFG=key:{bare},x:1"),
    ] {
        let place = Place::new(None);
        write(&place, &format!("{line}\nOTHER=canary12\n"));
        let report = place.json(&STRIP, 0);
        assert_eq!((count(&report, "kept"), &report["created"]), (1, &json!(["OTHER"])), "{line}: {report}");
        assert_eq!(read(&place), format!("{line}\nOTHER=\n"));
        assert!(!report.to_string().contains(bare), "{report}");
    }
}

#[test]
fn a_value_in_doubt_is_not_given_to_a_program() {
    let place = Place::new(None);
    for (line, value) in
        [("A=iH4>hb_d0#_GN8d]6", "iH4"), ("A={\"a\": \"x # y\"}", "x #"), ("A=\"abcqz\"#x", "abcqz")]
    {
        write(&place, &format!("OK=fine\n{line}\n"));
        for command in [&["exec", "--", "env"][..], &["get", "OK"], &["backup", "saved"]] {
            let output = place.run(&[&["--source", "dotenv:.env"], command].concat(), "");
            assert_eq!(output.status.code(), Some(5), "{line}: {output:?}");
            assert!(text(&output).contains("line 2") && !text(&output).contains(value), "{output:?}");
        }
    }
    write(&place, "OK=fine\nA='iH4>hb_d0#_GN8d]6'\n");
    let output = place.run(&["--source", "dotenv:.env", "exec", "--", "env"], "");
    assert!(text(&output).contains("A=iH4>hb_d0#_GN8d]6\n"), "{output:?}");
}

#[test]
fn an_argument_that_could_be_a_secret_is_never_repeated() {
    const SECRET: &str = "S3cr3tPassw0rd-XYZ";
    let place = Place::new(None);
    let value = format!("--value={SECRET}");
    let both = format!("every={SECRET}");
    let cases: [&[&str]; 11] = [
        &["set", "db", SECRET],
        &["set", "db", &value],
        &["rotate", "db", SECRET],
        &["rotate", "db", "--length", SECRET],
        &["rotate", "db", "--length", "731731731"],
        &["set", "db", "--ttl-days", "731731731"],
        &["set", "db", "--tag", SECRET],
        &["set", "db", "--rotation-policy", &both],
        &[SECRET],
        &["list", "--source", SECRET],
        &["list", "--log-level", SECRET],
    ];
    for arguments in cases {
        for more in [&[][..], &["--format", "json"]] {
            let mut all: Vec<Output> = vec![place.run(&[arguments, more].concat(), "")];
            let mut migrate = Command::new(env!("CARGO_BIN_EXE_migrate-tokens"));
            all.push(migrate.args([&["status"], arguments, more].concat()).output().unwrap());
            for output in all {
                let shown = text(&output);
                assert_eq!(output.status.code(), Some(2), "{arguments:?}: {shown}");
                for hidden in [SECRET, "S3cr3tPassw0rd", "731731731"] {
                    assert!(!shown.contains(hidden), "{arguments:?}: {shown}");
                }
            }
        }
    }
    let unknown = text(&place.run(&["list", "--fromat", "json"], ""));
    assert!(unknown.contains("'--fromat'"), "a misspelt name is: {unknown}");
}

#[test]
fn a_value_is_printed_to_its_last_byte() {
    let place = Place::new(None);
    for value in ["abc", "abc\n", "abc\n\n\n", "\n\nabc", " \n", "abc\r\n\n"] {
        assert!(place.run(&["set", "n"], &format!("{value}\n")).status.success());
        let output = place.run(&["get", "n", "--reveal"], "");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{value}\n"));
        assert_eq!(place.json(&["get", "n", "--reveal"], 0)["value"], value);
    }
}
