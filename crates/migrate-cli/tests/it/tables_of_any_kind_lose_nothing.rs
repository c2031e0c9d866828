//! The programs on tables that this project did not make: what would lose a value, leave one readable or show it to another
//! is refused or named, with its exit code.

use serde_json::Value;

use crate::support::{Program, Sql};

const PROFILE: &str = r#"
name = "test"
[context]
Application = "test"
[[tables]]
name = "users"
key = ["id"]
tokens = ["email"]
"#;

/// A table of these statements, and a program whose profile describes it.
async fn program(db: &Sql, statements: &[&str], more: &str) -> Program {
    for statement in statements {
        db.execute(statement).await;
    }
    let mut program = Program::on(db);
    std::fs::write(program.path().join("profile.toml"), format!("{PROFILE}{more}\n")).unwrap();
    program.set("TOKEN_PROFILE", "profile.toml");
    program
}

fn kinds(report: &Value) -> Vec<(&str, &str)> {
    let findings = report["findings"].as_array().unwrap_or_else(|| panic!("no findings: {report}"));
    findings.iter().map(|f| (f["kind"].as_str().unwrap(), f["severity"].as_str().unwrap())).collect()
}

const TABLE: &str = "CREATE TABLE users (id varchar(32) PRIMARY KEY, tenant text, email text)";

/// Demands that no command chooses rows by the profile's filter.
fn assert_filter_is_refused(program: &Program) {
    for command in [["profile", "check"].as_slice(), &["doctor"], &["migrate", "--dry-run"], &["migrate"]] {
        let report = program.json(6, command);
        assert_eq!(kinds(&report), [("filter", "refuse")], "{command:?}");
        assert!(report["left"].is_null(), "what was not counted is not 0: {report}");
    }
    for command in [
        ["status"].as_slice(),
        &["status", "--keys"],
        &["status", "--check"],
        &["verify"],
        &["estimate"],
        &["rewrap", "--to", "keyring:keyring.json"],
        &["verify", "--where", "id=1"],
    ] {
        program.run(command).expect(6).says(&["filter"]);
    }
}

async fn filter_fails_on_a_row(db: Sql) {
    // A text that is no number, a number without its opposite, and a difference below zero.
    let (table, row, filter) = match () {
        () if db.is_postgres() => ("n text", "'x'", "n::int = 5"),
        () if db.is_mariadb() => ("n int unsigned", "1", "n - 5 >= 0"),
        () => ("n integer", "-9223372036854775808", "abs(n) = 5"),
    };
    let table = format!("CREATE TABLE users (id varchar(32) PRIMARY KEY, email text, {table})");
    let rows =
        format!("INSERT INTO users (id, email, n) VALUES ('1', 'a@x.org', 5), ('2', 'b@x.org', {row})");
    let rows = if db.is_postgres() { rows.replace(", 5)", ", '5')") } else { rows };
    let program = program(&db, &[&table, &rows], &format!("filter = \"{filter}\"")).await;
    let before = db.fingerprint("users").await;
    for command in [["profile", "check"].as_slice(), &["doctor"], &["migrate", "--dry-run"], &["migrate"]] {
        assert_eq!(kinds(&program.json(6, command)), [("filter", "refuse")], "{command:?}");
    }
    for command in [
        ["status"].as_slice(),
        &["status", "--keys"],
        &["verify"],
        &["estimate"],
        &["rewrap", "--to", "keyring:keyring.json"],
    ] {
        program.run(command).expect(6);
    }
    assert_eq!(db.fingerprint("users").await, before);
}

async fn filter_is_no_condition(db: Sql) {
    let row = "INSERT INTO users (id, tenant, email) VALUES ('1', 'a', 'a@x.org')";
    let program = program(&db, &[TABLE, row], "").await;
    let before = db.fingerprint("users").await;
    // The second names a column that there is not, in quotes.
    for filter in ["tenant = 'a') OR (1 = 1", "\\\"tennant\\\" = 'a'"] {
        let profile = format!("{PROFILE}filter = \"{filter}\"\n");
        std::fs::write(program.path().join("profile.toml"), profile).unwrap();
        assert_filter_is_refused(&program);
        assert_eq!(db.fingerprint("users").await, before);
    }
}
on_each_database! {
    async fn a_filter_that_fails_on_a_row_stops_every_command(db) {
        filter_fails_on_a_row(db).await;
    }

    async fn a_filter_that_is_no_condition_stops_every_command(db) {
        filter_is_no_condition(db).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_of_mariadb_that_is_no_condition_or_fails_on_a_row_stops_every_command() {
    filter_is_no_condition(Sql::mariadb(test_support::part!(mariadb)).await).await;
    filter_fails_on_a_row(Sql::mariadb(test_support::part!(mariadb)).await).await;
}

/// Demands that a value which the database would round or take for another number is an error of the command line.
async fn assert_values_are_not_rounded(program: &Program, db: &Sql) {
    db.execute("ALTER TABLE users ADD price decimal(6,2)").await;
    db.execute("UPDATE users SET price = 2.5").await;
    for value in ["price=2.504", "price=abc", "price=2.5x"] {
        program.run(&["migrate", "--where", value]).expect(2).says(&["price"]);
    }
    assert_eq!(program.json(0, &["status", "--where", "price=2.5"])["total"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_a_condition_that_mariadb_would_round_is_refused() {
    let db = Sql::mariadb(test_support::part!(mariadb)).await;
    let rows =
        "INSERT INTO users (id, tenant, email) VALUES ('1', 'a', 'x'), ('2', 'b', 'y'), ('3', 'a', 'z')";
    let program = program(&db, &[TABLE, rows], "").await;
    assert_values_are_not_rounded(&program, &db).await;
}

on_each_database! {
    async fn an_index_over_a_token_stops_a_migration_until_it_is_accepted(db) {
        let row = "INSERT INTO users (id, email) VALUES ('1', 'a@x.org')";
        let program = program(&db, &[TABLE, "CREATE UNIQUE INDEX by_email ON users (email)", row], "").await;
        let refused = [("unique-index", "refuse")];
        for command in [["profile", "check"].as_slice(), &["doctor"], &["migrate", "--dry-run"], &["migrate"]] {
            let report = program.json(6, command);
            assert_eq!(kinds(&report), refused, "{command:?}");
            let finding = &report["findings"][0];
            assert_eq!((finding["table"].as_str(), finding["column"].as_str()), (Some("users"), Some("email")));
            assert_eq!(finding["object"], "by_email");
            assert!(finding["hint"].as_str().unwrap().contains("lost_indexes"), "{finding}");
        }
        let human = program.run(&["migrate"]).expect(6);
        human.says(&["by_email", "lost_indexes"]);
        assert_eq!(db.rows("SELECT email FROM users").await, [[Some("a@x.org".to_owned())]]);
        std::fs::write(program.path().join("profile.toml"), format!("{PROFILE}lost_indexes = \"accept\"\n")).unwrap();
        let report = program.json(0, &["migrate"]);
        assert_eq!((report["migrated"].as_u64(), report["left"].as_u64()), (Some(1), Some(0)));
        assert_eq!(kinds(&program.json(0, &["profile", "check"])), []);
        std::fs::write(program.path().join("profile.toml"), PROFILE).unwrap();
        assert_eq!(kinds(&program.json(0, &["profile", "check"])), [("unique-index", "warn")]);
        assert_eq!(program.json(0, &["migrate"])["already"], 1);
    }

    async fn a_row_that_a_trigger_rewrites_is_named_and_the_rest_is_moved(db) {
        let program = program(&db, &[TABLE, "INSERT INTO users (id, email) VALUES ('1', 'Bob@X.com'), ('2', 'al@x.com')"], "").await;
        if db.is_postgres() {
            db.execute("CREATE FUNCTION norm() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                IF NEW.id = '1' THEN NEW.email := lower(NEW.email); END IF; RETURN NEW; END $$").await;
            db.execute("CREATE TRIGGER norm BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION norm()").await;
        } else {
            db.execute("CREATE TRIGGER norm AFTER UPDATE ON users WHEN NEW.id = '1' BEGIN \
                UPDATE users SET email = lower(NEW.email) WHERE id = NEW.id; END").await;
        }
        let report = program.json(3, &["migrate"]);
        assert_eq!(kinds(&report), [("trigger", "warn")]);
        assert_eq!((report["migrated"].as_u64(), report["failed"].as_u64(), report["left"].as_u64()), (Some(1), Some(1), Some(1)));
        assert_eq!(report["failures"][0]["row"], "id=1");
        program.feed(&["put", "--row", "id=1"], "New@X.com").expect(3);
        let read = program.run(&["get", "--row", "id=1", "--reveal"]).expect(0);
        assert_eq!(read.stdout.trim(), "Bob@X.com");
        assert_eq!(program.run(&["get", "--row", "id=2", "--reveal"]).expect(0).stdout.trim(), "al@x.com");
    }

    async fn only_the_rows_of_a_condition_are_moved(db) {
        let rows = "INSERT INTO users (id, tenant, email) VALUES ('1', 'a', 'x'), ('2', 'b', 'y'), ('3', 'a', 'z')";
        let program = program(&db, &[TABLE, rows], "").await;
        assert_eq!(program.json(0, &["status", "--where", "tenant=a"])["total"], 2);
        let report = program.json(0, &["migrate", "--where", "tenant=a", "--where", "id=3"]);
        assert_eq!((report["migrated"].as_u64(), report["left"].as_u64()), (Some(1), Some(0)));
        assert_eq!(program.json(0, &["verify", "--where", "id=3"])["ok"], 1);
        assert_eq!(program.json(4, &["verify", "--where", "tenant=b"])["plaintext"], 1);
        program.run(&["migrate", "--where", "nothing=1"]).expect(2).says(&["nothing"]);
        program.run(&["migrate", "--where", "nonsense"]).expect(2).says(&["column=value"]);
        if db.is_postgres() {
            assert_values_are_not_rounded(&program, &db).await;
        }
        assert_eq!(program.json(0, &["migrate", "--limit", "1"])["left"], 1);
    }

    async fn a_row_that_moved_is_relocated(db) {
        let rows = "INSERT INTO users (id, tenant, email) VALUES ('6', 'a', 'six@x.org'), ('8', 'a', 'eight@x.org')";
        let program = program(&db, &[TABLE, rows], "owner = [\"tenant\"]").await;
        program.run(&["migrate"]).expect(0);
        db.execute("UPDATE users SET id = '7', tenant = 'b' WHERE id = '6'").await;
        db.execute("UPDATE users SET id = '9' WHERE id = '8'").await;
        program.run(&["doctor"]).expect(4).says(&["bound_as", "relocate"]);
        let relocate = ["relocate", "--row", "id=7", "--was", "id=6,tenant=a"];
        assert_eq!(program.json(0, &[&relocate[..], &["--dry-run"]].concat())["relocated"], 1);
        program.run(&["get", "--row", "id=7"]).expect(3);
        let report = program.json(0, &relocate);
        assert_eq!((report["scanned"].as_u64(), report["relocated"].as_u64(), report["failed"].as_u64()), (Some(1), Some(1), Some(0)));
        assert_eq!(program.run(&["get", "--row", "id=7", "--reveal"]).expect(0).stdout.trim(), "six@x.org");
        let map = "{\"row\": {\"id\": \"9\"}, \"was\": {\"id\": 8}}\n{\"row\": {\"id\": \"none\"}, \"was\": {\"id\": \"8\"}}\n";
        std::fs::write(program.path().join("map.jsonl"), map).unwrap();
        let report = program.json(3, &["relocate", "--map", "map.jsonl"]);
        assert_eq!((report["relocated"].as_u64(), report["failed"].as_u64()), (Some(1), Some(1)));
        assert_eq!(report["failures"][0]["row"], "id=none");
        assert_eq!(program.json(0, &["verify"])["ok"], 2);
        std::fs::write(program.path().join("map.jsonl"), "{\"row\": 7}").unwrap();
        program.run(&["relocate", "--map", "map.jsonl"]).expect(2).says(&["line 1"]);
        program.run(&["relocate", "--row", "id=7"]).expect(2);
    }

    async fn a_value_that_does_not_open_keeps_no_other_column_from_being_read(db) {
        let table = "CREATE TABLE users (id varchar(32) PRIMARY KEY, email text, phone text)";
        let row = "INSERT INTO users VALUES ('1', 'kms:v2:broken', '123')";
        let program = program(&db, &[table, row], "").await;
        std::fs::write(program.path().join("profile.toml"), PROFILE.replace("[\"email\"]", "[\"email\", \"phone\"]")).unwrap();
        let read = program.run(&["get", "--row", "id=1", "--column", "phone", "--reveal"]).expect(0);
        assert_eq!(read.stdout.trim(), "123");
        program.run(&["get", "--row", "id=1"]).expect(3).says(&["does not open"]);
    }

    async fn what_the_database_would_change_with_a_value_stops_a_migration(db) {
        let text = if db.is_mariadb() { "varchar(900) CHARACTER SET ascii" } else { "varchar(900)" };
        let users = format!("CREATE TABLE users (id varchar(32) PRIMARY KEY, email {text} UNIQUE)");
        let others = format!(
            "CREATE TABLE o (id int PRIMARY KEY, mail {text}, FOREIGN KEY (mail) REFERENCES users (email) ON UPDATE CASCADE)"
        );
        let rows = ["INSERT INTO users VALUES ('1', 'a@x.org')", "INSERT INTO o VALUES (1, 'a@x.org')"];
        let program = program(&db, &[&users, &others, rows[0], rows[1]], "lost_indexes = \"accept\"").await;
        for command in [["profile", "check"].as_slice(), &["doctor"], &["migrate", "--dry-run"], &["migrate"]] {
            assert_eq!(kinds(&program.json(6, command)), [("referenced", "refuse")], "{command:?}");
        }
        assert_eq!(db.rows("SELECT mail FROM o").await, [[Some("a@x.org".to_owned())]]);
    }

    async fn rows_that_no_key_names_are_not_passed_over(db) {
        let table = "CREATE TABLE users (id varchar(32) UNIQUE, email text)";
        let program = program(&db, &[table, "INSERT INTO users VALUES ('1', 'a@x.org')"], "").await;
        program.run(&["migrate"]).expect(0);
        db.execute("INSERT INTO users VALUES (NULL, 'b@x.org')").await;
        program.run(&["migrate"]).expect(6).says(&["null-key"]);
        program.run(&["status", "--check"]).expect(4);
        let report = program.json(4, &["verify"]);
        assert_eq!((report["ok"].as_u64(), report["unnamed"].as_u64()), (Some(1), Some(1)));
        assert_eq!(report["failures"][0]["class"], "null_key");
    }

    async fn a_condition_is_about_one_table_where_others_lack_the_column(db) {
        let orders = "CREATE TABLE orders (id varchar(32) PRIMARY KEY, note text)";
        let rows = "INSERT INTO users (id, tenant, email) VALUES ('1', 'a', 'x'), ('2', 'b', 'y')";
        let other = "INSERT INTO orders (id, note) VALUES ('1', 'n')";
        let second = "[[tables]]\nname = \"orders\"\nkey = [\"id\"]\ntokens = [\"note\"]";
        let program = program(&db, &[TABLE, orders, rows, other], second).await;
        let condition = ["--where", "tenant=a"];
        for command in ["migrate", "verify", "status"] {
            program.run(&[&[command], &condition[..]].concat()).expect(2).says(&["orders", "--table"]);
            program.run(&[command, "--table", "nope"]).expect(2).says(&["nope", "users, orders"]);
        }
        let only = |command: &str, code| {
            program.json(code, &[&[command, "--table", "users"], &condition[..]].concat())
        };
        assert_eq!(only("migrate", 0)["migrated"], 1);
        assert_eq!((&only("verify", 0)["ok"], &only("status", 0)["total"]), (&1.into(), &1.into()));
        assert_eq!(program.json(0, &["status"])["pending"], 2);
        assert_eq!(program.json(0, &["migrate", "--table", "orders"])["migrated"], 1);
        assert_eq!(program.json(0, &["status"])["pending"], 1);
    }

    async fn an_earlier_address_names_columns_that_there_are(db) {
        let row = "INSERT INTO users (id, tenant, email) VALUES ('7', 'a', 'a@x.org')";
        let program = program(&db, &[TABLE, row], "").await;
        program.run(&["migrate"]).expect(0);
        let misspelt = ["relocate", "--row", "id=7", "--was", "idd=6"];
        program.run(&misspelt).expect(2).says(&["\"idd\"", "--former-column idd"]);
        std::fs::write(program.path().join("map.jsonl"), "{\"row\": {\"id\": \"7\"}, \"was\": {\"idd\": \"6\"}}").unwrap();
        program.run(&["relocate", "--map", "map.jsonl"]).expect(2).says(&["\"idd\""]);
        // Part of an earlier key: a column that the table has, or had.
        assert_eq!(program.json(0, &["relocate", "--row", "id=7", "--was", "tenant=a"])["already"], 1);
        program.run(&[&misspelt[..], &["--former-column", "idd"]].concat()).expect(0);
    }

    async fn a_built_in_profile_takes_a_table_whose_keys_are_of_other_types(db) {
        db.execute(
            "CREATE TABLE oauth_tokens (id varchar(36) PRIMARY KEY, user_id varchar(36) NOT NULL, access_token text, refresh_token text)",
        )
        .await;
        db.insert("oauth_tokens", &[("id", Some("7")), ("user_id", Some("u-1")), ("access_token", Some("a"))]).await;
        let mut program = Program::on(&db);
        program.set("TOKEN_PROFILE", "pulseplan");
        let report = program.json(0, &["profile", "check"]);
        assert_eq!(kinds(&report), [("key-type", "warn"), ("key-type", "warn")]);
        program.run(&["doctor"]).expect(0);
        assert_eq!(program.json(0, &["migrate"])["migrated"], 1);
        program.run(&["verify"]).expect(0);
    }

    async fn a_type_in_the_profile_that_is_not_the_columns_is_found(db) {
        let table = "CREATE TABLE users (id bigint PRIMARY KEY, tenant text, email text)";
        let row = "INSERT INTO users (id, email) VALUES (7, 'a@x.org')";
        let declared = "owner = [\"tenant\"]\ntypes = { id = \"text\", tenant = \"uuid\" }";
        let program = program(&db, &[table, row], declared).await;
        for command in [["profile", "check"].as_slice(), &["doctor"]] {
            let report = program.json(6, command);
            // SQLite has no type for UUIDs.
            let tenant = ("key-type", db.either("refuse", "warn"));
            assert_eq!(kinds(&report), [("key-type", "refuse"), tenant], "{command:?}");
            let hint = report["findings"][0]["hint"].as_str().unwrap();
            assert!(hint.contains("profile check --write"), "{hint}");
        }
        // A migration asks the database; so does a table that is migrated already.
        let report = program.json(0, &["migrate"]);
        assert_eq!(report["migrated"], 1);
        assert_eq!(kinds(&report), [("key-type", "warn"), ("key-type", "warn")]);
        program.run(&["verify"]).expect(0);
        program.run(&["profile", "check"]).expect(6);
        assert_eq!(kinds(&program.json(0, &["profile", "check", "profile.toml", "--write"])), []);
        assert_eq!(kinds(&program.json(0, &["profile", "check"])), []);
        program.run(&["doctor"]).expect(0);
        let profile = std::fs::read_to_string(program.path().join("profile.toml")).unwrap();
        let unknown = profile.replace("tenant = \"text\"", "tenant = \"string\"");
        assert_ne!(profile, unknown, "{profile}");
        std::fs::write(program.path().join("profile.toml"), unknown).unwrap();
        for command in [["profile", "check"].as_slice(), &["status"]] {
            program.run(command).expect(2).says(&["tenant", "\"string\"", "uuid or text"]);
        }
    }

    async fn names_of_rows_cannot_forge_a_line_of_a_report(db) {
        let program = program(&db, &[TABLE], "").await;
        db.run("INSERT INTO users (id, email) VALUES ($1, 'kms:v2:broken')", &[Some("\u{1b}[2J\nok")]).await;
        let run = program.run(&["migrate"]).expect(3);
        assert!(!run.stdout.contains('\u{1b}') && run.stdout.contains(r"id=\u{1b}[2J\u{a}ok"), "{}", run.stdout);
        // The name in a report is one that the command line takes.
        program.run(&["get", "--row", r"id=\u{1b}[2J\u{a}ok"]).expect(3).says(&["does not open"]);
        program.feed(&["put", "--row", r"id=\u{1b}[2J\u{a}ok", "--set", "tenant=t"], "mended").expect(0);
        assert_eq!(db.rows("SELECT tenant FROM users").await, [[Some("t".to_owned())]]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_a_column_would_cut_reads_and_writes_no_row() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let long = "x".repeat(32);
    let program = program(&db, &[TABLE], "").await;
    program.feed(&["put", "--row", &format!("id={long}")], "victim").expect(0);
    let cut = format!("id={long}mallory");
    let read = program.run(&["get", "--row", &cut, "--reveal"]).expect(3);
    assert!(!read.stdout.contains("victim"), "{}", read.stdout);
    program.feed(&["put", "--row", &cut], "mallory").expect(3);
    let read = program.run(&["get", "--row", &format!("id={long}"), "--reveal"]).expect(0);
    assert_eq!(read.stdout.trim(), "victim");
    db.execute("CREATE TABLE u (id uuid PRIMARY KEY, email text)").await;
    std::fs::write(program.path().join("profile.toml"), PROFILE.replace("\"users\"", "\"u\"")).unwrap();
    let upper = "id=6F9619FF-8B86-D011-B42D-00CF4FC964FF";
    program.feed(&["put", "--row", upper], "secret").expect(0);
    assert_eq!(program.run(&["get", "--row", upper, "--reveal"]).expect(0).stdout.trim(), "secret");
    assert_eq!(program.json(0, &["verify"])["ok"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_of_an_address_that_are_not_known_are_a_wrong_configuration() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let mut program = program(&db, &[TABLE], "").await;
    let url = db.url().to_owned();
    for parameter in ["schema=app", "currentSchema=app", "search_path=app", "ssl=true"] {
        let separator = if url.contains('?') { "&" } else { "?" };
        program.set("DATABASE_URL", &format!("{url}{separator}{parameter}"));
        program.run(&["status"]).expect(2).says(&[parameter.split('=').next().unwrap()]);
    }
}
