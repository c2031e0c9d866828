//! Addresses, schemas, search paths and poolers: only named objects are used, and unknown parameters are
//! refused.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use token_store::{Database, NewToken, StoreError, TokenKey, TokenStore, WriteFormat};

use crate::support::{Keys, Sql, migrate, profile_of, shown, verified};

#[tokio::test]
async fn parameters_that_are_not_known_are_refused_with_the_form_that_works() {
    let base = "postgres://user:S3CRET@127.0.0.1:1/db";
    for (parameter, word) in [
        ("schema=app", "search_path"),
        ("currentSchema=app", "profile"),
        ("search_path=app", "options=-csearch_path"),
        ("ssl=true", "sslmode=require"),
        ("sslmode=no-verify", "require"),
        ("pgbouncer=true", "recognized"),
        ("sslmode=require&x=1", "\"x\""),
    ] {
        let error = Database::connect(&format!("{base}?{parameter}")).await.err().unwrap();
        let StoreError::Address { reason } = &error else { panic!("{parameter}: {error:?}") };
        assert!(reason.contains(word) && !reason.contains("S3CRET"), "{parameter}: {reason}");
    }
    let error = Database::connect("sqlite://t.db?schema=x").await.err().unwrap();
    assert!(matches!(error, StoreError::Address { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_of_the_profile_is_the_one_that_is_used() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    for schema in ["app", "public"] {
        db.execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await;
        db.execute(&format!("CREATE TABLE {schema}.users (id text PRIMARY KEY, token text)")).await;
        db.execute(&format!("INSERT INTO {schema}.users VALUES ('1', 'in {schema}')")).await;
    }
    let keys = Keys::toml(&profile_of("users", &["id"], &["token"], "schema = \"app\""));
    let store = keys.store(&db).await;
    assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.migrated, 1);
    assert_eq!(
        shown(store.get(&TokenKey::from_values(["1"])).await.unwrap().column("token")),
        Some("in app")
    );
    assert_eq!(db.rows("SELECT token FROM public.users").await, [[Some("in public".to_owned())]]);
    // Without a schema it is the first in the search path, once and for all.
    let public = Keys::toml(&profile_of("users", &["id"], &["token"], ""));
    let store = public.store(&db).await;
    assert_eq!(
        shown(store.get(&TokenKey::from_values(["1"])).await.unwrap().column("token")),
        Some("in public")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_connection_writes_nothing() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    db.execute("CREATE TABLE users (id text PRIMARY KEY, token text)").await;
    let keys = Keys::toml(&profile_of("users", &["id"], &["token"], ""));
    let database = Database::connect_read_only(db.url()).await.unwrap();
    let store = TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap();
    let put =
        store.put(&TokenKey::from_values(["1"]), NewToken::new().column("token", Some("x".into()))).await;
    assert!(matches!(put, Err(StoreError::Database(_))), "{put:?}");
    assert_eq!(db.rows("SELECT id FROM users").await.len(), 0);
}

/// A pgbouncer of this test, which gives every transaction any connection of the server.
pub(crate) struct Pooler {
    child: Child,
    url: String,
    _directory: tempfile::TempDir,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pooler {
    /// Its address, for `DATABASE_URL`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `None` where pgbouncer is not installed.
    pub(crate) fn start(server: &str, ignored: &str) -> Option<Self> {
        let url = server.strip_prefix("postgres://")?;
        let (login, rest) = url.split_once('@')?;
        let (address, path) = rest.split_once('/')?;
        let (host, port) = address.split_once(':')?;
        let database = path.split('?').next()?;
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let free = std::net::TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let directory = tempfile::tempdir().ok()?;
        let file = directory.path().join("pgbouncer.ini");
        let password = if password.is_empty() { String::new() } else { format!(" password={password}") };
        let mut settings = format!(
            "[databases]\n{database} = host={host} port={port} dbname={database} user={user}{password}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {free}\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = 3\nserver_reset_query_always = 1\nunix_socket_dir =\nlogfile = {}\n",
            directory.path().join("log").display()
        );
        if !ignored.is_empty() {
            settings.push_str(&format!("ignore_startup_parameters = {ignored}\n"));
        }
        std::fs::write(&file, settings).ok()?;
        let mut command = Command::new("pgbouncer");
        // It does not run as root.
        if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
            std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
                .ok()?;
            command.args(["-u", "nobody"]);
        }
        let child = command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let url = format!("postgres://{login}@127.0.0.1:{free}/{database}?sslmode=disable");
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", free)).is_ok() {
                return Some(Self { child, url, _directory: directory });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut pooler = Self { child, url, _directory: directory };
        let _ = pooler.child.kill();
        panic!("pgbouncer does not answer")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_works_dry_runs_included() {
    for ignored in ["", "extra_float_digits, options"] {
        let db = Sql::postgres(test_support::part!(postgres)).await;
        db.execute("CREATE TABLE users (id text PRIMARY KEY, token text)").await;
        for n in 0..50 {
            db.execute(&format!("INSERT INTO users VALUES ('r{n:02}', 'token {n}')")).await;
        }
        let started = Pooler::start(db.url(), ignored);
        let started = started.ok_or_else(|| test_support::Unavailable::new("pgbouncer is not installed"));
        let test = "token-store a_pooler_in_transaction_mode_works_dry_runs_included";
        let Some(pooler) = test_support::parts::settle("pgbouncer", test, started) else { return };
        let keys = Keys::toml(&profile_of("users", &["id"], &["token"], ""));
        let open = async |read_only: bool| {
            let database = match read_only {
                true => Database::connect_read_only(&pooler.url).await.unwrap(),
                false => Database::connect(&pooler.url).await.unwrap(),
            };
            TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap()
        };
        let before = db.fingerprint("users").await;
        let dry = open(true).await;
        let mut options = crate::support::to(WriteFormat::KmsEnvelope, 7);
        options.run.dry_run = true;
        assert_eq!(crate::support::carry_out(&dry, &options).await.migrated, 50);
        assert_eq!(db.fingerprint("users").await, before);
        let put =
            dry.put(&TokenKey::from_values(["x"]), NewToken::new().column("token", Some("x".into()))).await;
        assert!(put.is_err());
        let (one, two) = (open(false).await, open(false).await);
        let (first, second) =
            tokio::join!(migrate(&one, WriteFormat::KmsEnvelope), migrate(&two, WriteFormat::KmsEnvelope));
        assert_eq!((first.migrated + second.migrated, first.failed + second.failed), (50, 0));
        assert_eq!(verified(&one).await.ok, 50);
        let put =
            one.put(&TokenKey::from_values(["x"]), NewToken::new().column("token", Some("x".into()))).await;
        put.unwrap();
        for store in [dry, one, two] {
            store.database().close().await;
        }
    }
}
