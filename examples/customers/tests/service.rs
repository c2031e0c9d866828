//! The service on a real PostgreSQL server, which `TOKENSEAL_TEST_POSTGRES_URL` names.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use customers::{Customer, connect, routes};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;
use tokenseal::{Settings, Tokenseal};
use tower::ServiceExt as _;

const MASTER_KEY: &str = "c2l4dGVlbiBieXRlcyBhbmQgdGhlbiBzaXh0ZWVuISE=";

const TABLES: [&str; 4] = [
    "CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, email text)",
    "CREATE TABLE accounts (customer bigint PRIMARY KEY, access_token text, refresh_token text)",
    "CREATE TABLE providers (name text PRIMARY KEY)",
    "CREATE TABLE links (customer bigint PRIMARY KEY, provider text REFERENCES providers)",
];

struct Setup {
    pool: PgPool,
    url: String,
    variables: BTreeMap<&'static str, String>,
    tokenseal: Tokenseal,
    routes: Router,
    _keyring: TempDir,
}

impl Setup {
    /// A database of its own, a local keyring, and the service on both.
    async fn new(name: &str) -> Self {
        let url =
            std::env::var("TOKENSEAL_TEST_POSTGRES_URL").expect("TOKENSEAL_TEST_POSTGRES_URL names a server");
        let options: PgConnectOptions = url.parse().unwrap();
        let server = PgPool::connect_with(options.clone()).await.unwrap();
        let name = format!("customers_{name}_{}", std::process::id());
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&server).await.unwrap();
        let options = options.database(&name);
        let url = sqlx::ConnectOptions::to_url_lossy(&options).to_string();
        let pool = PgPool::connect_with(options).await.unwrap();
        for table in TABLES {
            sqlx::query(table).execute(&pool).await.unwrap();
        }
        sqlx::query("INSERT INTO providers VALUES ('twitch')").execute(&pool).await.unwrap();
        let keyring = tempfile::tempdir().unwrap();
        let file = keyring.path().join("keyring.json");
        tokenseal::kms_provider::Keyring::init(&file, &MASTER_KEY.parse().unwrap()).unwrap();
        let profile = concat!(env!("CARGO_MANIFEST_DIR"), "/customers.toml");
        let variables = BTreeMap::from([
            ("KMS_KEY_ID", format!("keyring:{}", file.display())),
            ("KMS_MASTER_KEY", MASTER_KEY.to_owned()),
            ("TOKEN_PROFILE", profile.to_owned()),
            ("ENVELOPE_FORMAT", "v3".to_owned()),
        ]);
        let settings = Settings::from_variables(&|name| variables.get(name).map(Into::into)).unwrap();
        let tokenseal = connect(settings, &pool).await.unwrap();
        let routes = routes(&tokenseal, pool.clone());
        Self { pool, url, variables, tokenseal, routes, _keyring: keyring }
    }

    /// The program itself, at an address that the system chooses.
    fn start(&self) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_customers"));
        command.arg("127.0.0.1:0").env_clear().envs(&self.variables).env("DATABASE_URL", &self.url);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}"));
        Running { address: address.to_owned(), child, _output: output }
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 64 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }
}

/// The program, which is killed if its test fails.
struct Running {
    address: String,
    child: Child,
    /// The program may write until it ends.
    _output: BufReader<ChildStdout>,
}

impl Running {
    /// Sends a request, and returns the thread that reads the whole answer.
    fn ask(&self, path: &str) -> std::thread::JoinHandle<String> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: customers\r\nConnection: close\r\n\r\n").unwrap();
        std::thread::spawn(move || {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
    }

    fn terminate(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// Waits for a condition, and gives up after half a minute.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if condition().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{what}: not within half a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_begun_is_answered_after_sigterm_and_the_program_ends_with_zero() {
    let setup = Setup::new("shutdown").await;
    let ada = r#"{"name": "Ada", "email": "ada@example.org"}"#;
    assert_eq!(setup.send("POST", "/customers", ada).await.0, StatusCode::OK);
    let mut running = setup.start();
    assert!(running.ask("/readyz").join().unwrap().starts_with("HTTP/1.1 200 "));

    let mut lock = setup.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE customers IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let answer = running.ask("/customers");
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity \
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("the request waits for the lock", async || setup.count(WAITING).await == 1).await;
    running.terminate();
    let address = running.address.clone();
    eventually("no other request is taken", async || TcpStream::connect(&address).is_err()).await;
    assert!(running.child.try_wait().unwrap().is_none(), "it waits for the request");
    lock.rollback().await.unwrap();

    let answer = answer.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("ada@example.org"), "{answer}");
    let mut ended = None;
    eventually("the program ends", async || {
        ended = running.child.try_wait().unwrap();
        ended.is_some()
    })
    .await;
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_linked_as_a_whole_or_not_at_all() {
    let setup = Setup::new("links").await;
    let grant = |provider: &str| {
        format!(r#"{{"access_token": "access", "refresh_token": "refresh", "provider": "{provider}"}}"#)
    };
    let (status, _) = setup.send("POST", "/customers/7/account", &grant("unknown")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(setup.count("SELECT count(*) FROM accounts").await, 0, "rolled back with the rest");
    let (status, _) = setup.send("POST", "/customers/7/account", &grant("twitch")).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(setup.count("SELECT count(*) FROM links").await, 1);
    let sealed =
        "SELECT count(*) FROM accounts WHERE access_token LIKE 'kms:v3:%' AND refresh_token LIKE 'kms:v3:%'";
    assert_eq!(setup.count(sealed).await, 1);
    let (status, _) = setup.send("POST", "/customers/nobody/account", &grant("twitch")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "no number");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_customers_are_listed_at_once() {
    const CUSTOMERS: usize = 2_000;
    let setup = Setup::new("list").await;
    let ada = r#"{"name": "Ada", "email": "ada@example.org"}"#;
    let (status, id) = setup.send("POST", "/customers", ada).await;
    assert_eq!((status, id.as_str()), (StatusCode::OK, "\"1\""));
    for number in 1..CUSTOMERS {
        let row = tokenseal::token_store::NewToken::new()
            .column("email", Some(format!("customer-{number}@example.org").into()));
        setup.tokenseal.store().insert(Some("customers"), row).await.unwrap();
    }
    let (status, body) = setup.send("GET", "/customers", "").await;
    assert_eq!(status, StatusCode::OK);
    let customers: Vec<Customer> = serde_json::from_str(&body).unwrap();
    assert_eq!(customers.len(), CUSTOMERS);
    assert_eq!(customers[0].email.as_deref(), Some("ada@example.org"));
    assert!(customers.iter().all(|customer| customer.email.is_some()));
    assert_eq!(setup.count("SELECT count(*) FROM customers WHERE email LIKE '%example%'").await, 0);
    assert_eq!(setup.count("SELECT count(*) FROM customers WHERE name = 'Ada'").await, 1);

    let (status, metrics) = setup.send("GET", "/metrics", "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(metrics.ends_with("# EOF\n") && metrics.contains("kms_"), "{metrics}");
    let (status, ready) = setup.send("GET", "/readyz", "").await;
    assert_eq!(status, StatusCode::OK, "{ready}");
}
