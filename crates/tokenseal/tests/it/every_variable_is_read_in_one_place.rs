//! The settings: every problem at once, secrets also from files, and nothing secret in a message.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use tokenseal::envelope_core::DataKey;
use tokenseal::secrecy::ExposeSecret as _;
use tokenseal::settings::{MAX_SECRET_FILE_LEN, VARIABLES};
use tokenseal::{Settings, SettingsError};

const KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let variables: BTreeMap<&str, OsString> =
        variables.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
    Settings::from_variables(&|name| variables.get(name).cloned())
}

fn problems(variables: &[(&str, &str)]) -> Vec<String> {
    let error = read(variables).expect_err("the settings are wrong");
    error.problems.into_iter().map(|problem| problem.message).collect()
}

fn file(directory: &TempDir, content: &[u8]) -> String {
    let path = directory.path().join("secret");
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_problem_is_reported_at_once() {
    let problems = problems(&[
        ("ENCRYPTION_KEY", "not base64"),
        ("KMS_KEY_ID", "gopher:key"),
        ("DEK_CACHE_TTL", "soon"),
        ("DEK_CACHE_MAX", "many"),
        ("BINDING", "maybe"),
        ("ENVIRONMENT", "moon"),
        ("TOKEN_PROFILE", "unheard-of"),
        ("EMF_METRICS", "often"),
        ("EMF_DIMENSIONS", "Application"),
        ("DATA_KEY_REUSE", "always"),
    ]);
    for name in [
        "ENCRYPTION_KEY",
        "KMS_KEY_ID",
        "DEK_CACHE_TTL",
        "DEK_CACHE_MAX",
        "BINDING",
        "ENVIRONMENT",
        "TOKEN_PROFILE",
        "EMF_METRICS",
        "EMF_DIMENSIONS",
        "DATA_KEY_REUSE",
    ] {
        let about = problems.iter().filter(|problem| problem.starts_with(name)).count();
        assert_eq!(about, 1, "{name}: {problems:?}");
    }
    assert_eq!(problems.len(), 10, "{problems:?}");
}

#[test]
fn durations_have_one_grammar() {
    for (text, seconds) in [("90", 90), ("90s", 90), ("5m", 300), ("1h 30m", 5_400), ("1d", 86_400)] {
        assert_eq!(read(&[("DEK_CACHE_TTL", text)]).unwrap().cache_ttl, Duration::from_secs(seconds));
        let emf = read(&[("EMF_METRICS", text)]).unwrap().emf_every;
        assert_eq!(emf, Some(Duration::from_secs(seconds)));
        let reuse = format!("messages=10,age={text}");
        let reuse = read(&[("ENVELOPE_FORMAT", "v3"), ("DATA_KEY_REUSE", &reuse)]).unwrap().reuse;
        assert_eq!(reuse.age(), Duration::from_secs(seconds));
    }
}

#[test]
fn a_secret_is_read_from_the_file_that_its_variable_names_without_the_last_line_break() {
    let directory = tempfile::tempdir().unwrap();
    let url = "postgres://app:pass word@db/crm";
    for end in ["", "\n", "\r\n"] {
        let path = file(&directory, format!("{url}{end}").as_bytes());
        let settings = read(&[("DATABASE_URL_FILE", &path)]).unwrap();
        assert_eq!(settings.database_url.unwrap().expose_secret(), url);
        let path = file(&directory, format!("{KEY}{end}").as_bytes());
        for name in ["ENCRYPTION_KEY_FILE", "KMS_MASTER_KEY_FILE"] {
            let settings = read(&[(name, &path)]).unwrap();
            let key = settings.direct_key.or(settings.master_key).unwrap();
            assert_eq!(key.expose_secret(), KEY.parse::<DataKey>().unwrap().expose_secret());
        }
    }
    // Mounted secrets are links.
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path().join("secret"), &link).unwrap();
    assert!(read(&[("ENCRYPTION_KEY_FILE", link.to_str().unwrap())]).unwrap().direct_key.is_some());
}

#[test]
fn a_keyring_finds_its_master_key_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, KEY.as_bytes());
    let settings = read(&[("KMS_KEY_ID", "keyring:keys.json"), ("KMS_MASTER_KEY_FILE", &path)]);
    assert!(settings.unwrap().master_key.is_some());
}

#[test]
fn a_secret_that_is_set_twice_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, KEY.as_bytes());
    for name in VARIABLES.iter().filter(|variable| variable.secret).map(|variable| variable.name) {
        let file_name = format!("{name}_FILE");
        let problems = problems(&[(name, KEY), (&file_name, &path)]);
        assert_eq!(problems, [format!("{name} and {file_name} are both set: unset one of them")]);
        // An empty variable counts as not set, so only the file counts.
        let only_file = read(&[(name, " "), (&file_name, &path)]);
        let is_refused_twice = only_file.is_err_and(|error| error.to_string().contains("both set"));
        assert!(!is_refused_twice, "{name}");
    }
}

#[test]
fn only_a_short_regular_file_of_text_is_read_and_its_path_is_not_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &str| {
        let problems = problems(&[("ENCRYPTION_KEY_FILE", path)]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("ENCRYPTION_KEY_FILE: "), "{problems:?}");
        assert!(!problems[0].contains(path), "{problems:?}");
    };
    refused(directory.path().to_str().unwrap());
    refused(directory.path().join("absent").to_str().unwrap());
    refused("/dev/zero");
    refused(KEY);
    refused(&file(&directory, b""));
    refused(&file(&directory, b"\n"));
    refused(&file(&directory, &[0xff, 0xfe]));
    refused(&file(&directory, &[b'A'; MAX_SECRET_FILE_LEN + 1]));
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    refused(pipe.to_str().unwrap());
}

#[test]
fn text_that_is_not_utf8_is_never_taken_for_unset() {
    for variable in VARIABLES {
        let error = Settings::from_variables(&|name| {
            (name == variable.name).then(|| OsString::from_vec(vec![b'a', 0xff]))
        });
        let error = error.expect_err(variable.name);
        assert!(error.to_string().contains(&format!("{} is not UTF-8 text", variable.name)), "{error}");
    }
}

#[test]
fn settings_that_contradict_one_another_are_refused() {
    for (variables, named) in [
        (vec![("ENVELOPE_FORMAT", "v3"), ("BINDING", "off")], "BINDING"),
        (vec![("KMS_FALLBACK", "local")], "ENCRYPTION_KEY"),
        (vec![("DATA_KEY_REUSE", "messages=10")], "DATA_KEY_REUSE"),
        (vec![("USE_KMS", "true")], "USE_KMS"),
        (vec![("KMS_KEY_ID", "keyring:keys.json")], "KMS_MASTER_KEY"),
        (vec![("KMS_FALLBACK", "local"), ("TOKEN_PROFILE", "pulseplan")], "TOKEN_ENCRYPTION_KEY"),
        (vec![("USE_KMS", "no"), ("TOKEN_PROFILE", "pulseplan")], "USE_KMS"),
        (vec![("USE_KMS", "maybe")], "USE_KMS"),
        (vec![("USE_KMS", "1"), ("TOKEN_PROFILE", "autonomous")], "USE_KMS"),
        (vec![("USE_KMS", "false"), ("TOKEN_PROFILE", "pulseplan"), ("READ_FLOOR", "bound")], "USE_KMS"),
        (vec![("AWS_USE_FIPS_ENDPOINT", "1")], "AWS_USE_FIPS_ENDPOINT"),
        (vec![("AWS_USE_DUALSTACK_ENDPOINT", "yes")], "AWS_USE_DUALSTACK_ENDPOINT"),
        (vec![("AWS_CA_BUNDLE", "/etc/ca.pem")], "AWS_CA_BUNDLE"),
    ] {
        let problems = problems(&variables);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(named), "{problems:?}");
    }
}

#[test]
fn dimensions_of_metrics_are_pairs_as_the_encryption_context_has_them() {
    let one = read(&[("EMF_DIMENSIONS", "Application=crm, Environment=qa-eu ,table=tokens,")]).unwrap();
    let other = read(&[("EMF_DIMENSIONS", "table=tokens,Environment=qa-eu,Application=crm")]).unwrap();
    assert!(one.emf_dimensions.is_some());
    assert_eq!(one.emf_dimensions, other.emf_dimensions);
    assert_eq!(read(&[("EMF_DIMENSIONS", " ")]).unwrap().emf_dimensions, None);
    for wrong in [",", "Application", "Application=", "=crm", "A=1,A=2", "Heartbeat=1", "Application=größe"]
    {
        let problems = problems(&[("EMF_DIMENSIONS", wrong)]);
        assert_eq!(problems.len(), 1, "{wrong}: {problems:?}");
        assert!(problems[0].starts_with("EMF_DIMENSIONS: "), "{problems:?}");
    }
    for own in ["table=tokens", "column=access_token"] {
        let problems = problems(&[("ENCRYPTION_CONTEXT", own)]);
        assert!(problems[0].contains("is added for each value and cannot be set"), "{problems:?}");
    }
}

#[test]
fn the_example_file_has_every_variable_and_no_value_of_a_secret() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.env.example");
    let example = std::fs::read_to_string(path).unwrap();
    let settings = example.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let settings: Vec<(&str, &str)> = settings.filter(is_setting).collect();
    let names: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
    let expected: Vec<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    assert_eq!(names, expected, "in the order of the documentation");
    for variable in VARIABLES.iter().filter(|variable| variable.secret) {
        assert!(settings.contains(&(variable.name, "")), "{}", variable.name);
    }
    // With every line in force, it says what holds without it.
    let filled: Vec<(&str, &str)> = settings.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let (filled, bare) = (read(&filled).unwrap(), read(&[]).unwrap());
    assert_eq!(format!("{filled:?}"), format!("{bare:?}"));
    let numbers = |settings: &Settings| (settings.cache_ttl, settings.cache_max, settings.reuse.is_off());
    assert_eq!(numbers(&filled), numbers(&bare));
    let policies =
        |settings: &Settings| (settings.binding, settings.plaintext, settings.fallback, settings.floor());
    assert_eq!(policies(&filled), policies(&bare));
}

/// Whether a commented line is a setting, and not a sentence.
fn is_setting((name, _): &(&str, &str)) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

#[test]
fn what_the_aws_sdk_honours_is_left_to_it() {
    for variables in [
        vec![("AWS_USE_FIPS_ENDPOINT", "true"), ("AWS_USE_DUALSTACK_ENDPOINT", "False")],
        vec![("AWS_CA_BUNDLE", "/etc/ca.pem"), ("SSL_CERT_FILE", "/etc/ca.pem")],
        vec![("AWS_CA_BUNDLE", "/etc/ca.pem"), ("KMS_KEY_ID", "keyring:k"), ("KMS_MASTER_KEY", KEY)],
    ] {
        read(&variables).unwrap();
    }
}

#[test]
fn kms_is_switched_off_for_writing_in_pulseplans_profile_alone() {
    assert!(read(&[("USE_KMS", "false")]).unwrap().seals);
    assert!(!read(&[("USE_KMS", " FALSE "), ("TOKEN_PROFILE", "pulseplan")]).unwrap().seals);
}

#[test]
fn every_variable_is_documented_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, table) = text.split_once("<!-- variables:begin").unwrap();
    let (table, _) = table.split_once("<!-- variables:end").unwrap();
    let documented: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let read: Vec<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    assert_eq!(documented, read);
}

proptest! {
    #[test]
    fn no_value_of_a_secret_is_repeated(value in "[a-zA-Z0-9+/ :@]{12,80}", name in 0..VARIABLES.len()) {
        let variable = VARIABLES[name];
        if variable.secret {
            let shown = match read(&[(variable.name, &value)]) {
                Ok(settings) => format!("{settings:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains(value.trim()), "{}", variable.name);
        }
    }
}
