//! Profiles: the built-in ones load, those in TOML are read in full, and contradictions are refused by name.

use token_store::Profile;
use token_store::profile::ProfileError;

const TABLE: &str = "name = \"p\"\n[context]\nApplication = \"a\"\n[[tables]]\nname = \"t\"\n";

#[test]
fn the_built_in_profiles_load_and_survive_a_round_trip() {
    for (name, _) in Profile::BUILT_IN {
        let profile = Profile::load(name).unwrap();
        assert_eq!(profile.name, name);
        assert_eq!(Profile::from_toml(&toml::to_string(&profile).unwrap()).unwrap(), profile);
    }
}

#[test]
fn the_example_profile_for_personal_data_loads() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/examples/customers.toml");
    let profile = Profile::load(path).unwrap();
    assert_eq!(profile.tables[0].tokens, ["email", "phone"]);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let refused = [
        (format!("{TABLE}key = []\ntokens = [\"x\"]"), "no key"),
        (format!("{TABLE}key = [\"id\"]\ntokens = []"), "no token column"),
        (format!("{TABLE}key = [\"id\"]\ntokens = [\"id\"]"), "a column in two roles"),
        (format!("{TABLE}key = [\"id\"]\ntokens = [\"x\"]\nowner = [\"x\"]"), "an owner that is a token"),
        (format!("{TABLE}key = [\"table\"]\ntokens = [\"x\"]"), "a key named like a pair of every context"),
        (
            format!("{TABLE}key = [\"Application\"]\ntokens = [\"x\"]"),
            "a key named like a pair of the context",
        ),
        (
            format!(
                "{TABLE}key = [\"id\"]\ntokens = [\"x\"]\n[[tables]]\nname = \"t\"\nkey = [\"id\"]\ntokens = [\"x\"]"
            ),
            "a table twice",
        ),
        (
            format!("unmarked = \"direct-aes\"\n{TABLE}key = [\"id\"]\ntokens = [\"x\"]"),
            "a legacy format that is not written",
        ),
        (
            format!("metrics_prefix = \"No!\"\n{TABLE}key = [\"id\"]\ntokens = [\"x\"]"),
            "a prefix that is no name",
        ),
        ("name = \"p\"\ntables = []\n[context]".to_owned(), "no table"),
    ];
    for (toml, what) in refused {
        let refused = Profile::from_toml(&toml);
        assert!(matches!(refused, Err(ProfileError::Invalid { .. })), "{what}: {refused:?}");
    }
    for toml in [
        "",
        "name = 1",
        "nonsense = true",
        &format!("{TABLE}key = [\"id\"]\ntokens = [\"x\"]\ncolour = \"red\""),
    ] {
        assert!(matches!(Profile::from_toml(toml), Err(ProfileError::Toml { .. })), "{toml}");
    }
    assert!(matches!(Profile::load("vod-tenderr"), Err(ProfileError::Unknown { .. })));
    assert!(matches!(Profile::load("/nowhere/at/all.toml"), Err(ProfileError::Read { .. })));
}

#[test]
fn a_refresh_names_columns_that_fit_and_providers_that_are_there() {
    const TABLE: &str = "name = \"p\"\n[context]\nApplication = \"x\"\n[[tables]]\nname = \"t\"\nkey = [\"id\"]\n\
                         tokens = [\"a\", \"r\"]\n[tables.refresh]\n";
    const COLUMNS: &str = "access = \"a\"\nrefresh = \"r\"\nexpires_at = \"ends\"\n";
    const PROVIDER: &str =
        "[providers.here]\ntoken_url = \"https://id.example.org/token\"\nclient_id = \"c\"\n";
    for (more, plain) in [
        ("", vec!["ends"]),
        ("provider = \"at\"\n", vec!["ends", "at"]),
        ("provider = \"id\"\n", vec!["ends"]),
        (&format!("fixed = \"here\"\n{PROVIDER}client_secret = \"s\"\nauth = \"post\"\n"), vec!["ends"]),
    ] {
        let profile = Profile::from_toml(&format!("{TABLE}{COLUMNS}{more}")).unwrap();
        assert_eq!(profile.tables[0].plain, plain, "{more}");
        let again = Profile::from_toml(&toml::to_string(&profile).unwrap()).unwrap();
        assert_eq!(again, profile, "as `profile show` prints it");
    }
    for wrong in [
        "access = \"x\"\nrefresh = \"r\"\nexpires_at = \"ends\"\n",
        "access = \"a\"\nrefresh = \"a\"\nexpires_at = \"ends\"\n",
        "access = \"a\"\nrefresh = \"r\"\nexpires_at = \"a\"\n",
        "access = \"a\"\nrefresh = \"r\"\nexpires_at = \"id\"\n",
        &format!("{COLUMNS}fixed = \"here\"\n"),
        &format!("{COLUMNS}provider = \"r\"\n"),
        &format!("{COLUMNS}fixed = \"here\"\nprovider = \"at\"\n{PROVIDER}"),
        &format!("{COLUMNS}{}", PROVIDER.replace("https", "http")),
        &format!("{COLUMNS}{}", PROVIDER.replace("\"c\"", "\"\"")),
    ] {
        let refused = Profile::from_toml(&format!("{TABLE}{wrong}"));
        assert!(matches!(refused, Err(ProfileError::Invalid { .. })), "{wrong}: {refused:?}");
    }
    let missing = Profile::from_toml(&format!("{TABLE}access = \"a\"\nrefresh = \"r\"\n"));
    assert!(matches!(missing, Err(ProfileError::Toml { .. })), "{missing:?}");
}
